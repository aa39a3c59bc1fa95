//! Forecasts that a network has to beat. Each gives for every row t the forecast of row t + h from the rows up to t.

/// The value stays as it is.
pub fn persistence(values: &[f64]) -> Vec<f64> {
    values.to_vec()
}

/// The value goes on as it did on average so far: y_t + h (y_t − y_0)/t (Hyndman & Athanasopoulos, *Forecasting*, 5.2).
pub fn drift(values: &[f64], horizon: usize) -> Vec<f64> {
    let slope = |(t, y): (usize, &f64)| y + horizon as f64 * (y - values[0]) / t.max(1) as f64;
    values.iter().enumerate().map(slope).collect()
}

/// An autoregression fitted by least squares on the first rows, straight for the horizon:
///
/// ```text
/// y_{t+h} = a_0 + a_1 y_t + … + a_p y_{t−p+1} + e
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Autoregression {
    /// a_0 … a_p.
    pub coefficients: Vec<f64>,
}

impl Autoregression {
    /// Fits the order from 1 to `most` with the least BIC, n ln(Σe²/n) + p ln n, on `training` values. `None` if there are too
    /// few or they do not vary.
    pub fn fit(training: &[f64], horizon: usize, most: usize) -> Option<Self> {
        let normal = NormalEquations::new(training, horizon, most.min(training.len() / 10))?;
        let fits = (1..normal.size).filter_map(|order| normal.fit(order));
        fits.min_by(|a, b| a.1.total_cmp(&b.1)).map(|best| best.0)
    }

    /// p.
    pub fn order(&self) -> usize {
        self.coefficients.len() - 1
    }

    /// The forecasts; rows before the first value count as the first.
    pub fn forecasts(&self, values: &[f64]) -> Vec<f64> {
        let forecast = |t: usize| {
            let lags = self.coefficients[1..].iter().enumerate();
            let sum: f64 = lags.map(|(lag, a)| a * values[t.saturating_sub(lag)]).sum();
            self.coefficients[0] + sum
        };
        (0..values.len()).map(forecast).collect()
    }
}

/// XᵀX a = Xᵀy of the largest order. Those of a smaller one, on the same rows, are their first rows and columns.
struct NormalEquations<'a> {
    values: &'a [f64],
    horizon: usize,
    rows: std::ops::Range<usize>,
    /// Coefficients of the largest order.
    size: usize,
    /// XᵀX, `[size, size]`, the lower triangle.
    matrix: Vec<f64>,
    /// Xᵀy, `[size]`.
    right: Vec<f64>,
}

impl<'a> NormalEquations<'a> {
    fn new(values: &'a [f64], horizon: usize, most: usize) -> Option<Self> {
        let size = most + 1;
        let mut normal = Self {
            values,
            horizon,
            rows: most.checked_sub(1)?..values.len().checked_sub(horizon)?,
            size,
            matrix: vec![0.0; size * size],
            right: vec![0.0; size],
        };
        for t in normal.rows.clone() {
            let x: Vec<f64> = normal.regressors(t, most).collect();
            let y = values[t + horizon] - values[0];
            for (i, xi) in x.iter().enumerate() {
                normal.right[i] += xi * y;
                for (sum, xj) in normal.matrix[i * size..].iter_mut().zip(&x[..=i]) {
                    *sum += xi * xj;
                }
            }
        }
        Some(normal)
    }

    /// The autoregression of one order with its BIC.
    fn fit(&self, order: usize) -> Option<(Autoregression, f64)> {
        let n = order + 1;
        let rows = self.matrix.chunks(self.size).take(n);
        let block = rows.flat_map(|row| &row[..n]).copied().collect();
        let mut solution = solve(block, self.right[..n].to_vec())?;
        let origin = self.values[0];
        let error = |t: usize| {
            let x = self.regressors(t, order).zip(&solution);
            self.values[t + self.horizon] - origin - x.map(|(x, a)| x * a).sum::<f64>()
        };
        let squares: f64 = self.rows.clone().map(|t| error(t).powi(2)).sum();
        let count = self.rows.len() as f64;
        // A fit without error is the best of its order.
        let variance = (squares / count).max(f64::MIN_POSITIVE);
        let bic = count * variance.ln() + order as f64 * count.ln();
        solution[0] += origin * (1.0 - solution[1..].iter().sum::<f64>());
        let fitted = Autoregression {
            coefficients: solution,
        };
        bic.is_finite().then_some((fitted, bic))
    }

    /// 1, y_t, …, y_{t−p+1}, around the first value so that a large level costs no digits.
    fn regressors(&self, t: usize, order: usize) -> impl Iterator<Item = f64> {
        let lags = (0..order).map(move |lag| self.values[t - lag] - self.values[0]);
        std::iter::once(1.0).chain(lags)
    }
}

/// A x = b for a symmetric positive definite A, given by its lower triangle, by Cholesky's decomposition; `None` if it is not.
fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for j in 0..n {
        let scale = a[j * n + j];
        for k in 0..j {
            a[j * n + j] -= a[j * n + k] * a[j * n + k];
        }
        if a[j * n + j] <= 1e-12 * scale || !a[j * n + j].is_finite() {
            return None;
        }
        a[j * n + j] = a[j * n + j].sqrt();
        for i in j + 1..n {
            for k in 0..j {
                a[i * n + j] -= a[i * n + k] * a[j * n + k];
            }
            a[i * n + j] /= a[j * n + j];
        }
    }
    for i in 0..n {
        for k in 0..i {
            b[i] -= a[i * n + k] * b[k];
        }
        b[i] /= a[i * n + i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            b[i] -= a[k * n + i] * b[k];
        }
        b[i] /= a[i * n + i];
    }
    Some(b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::forecast::example::ar2;

    #[test]
    fn an_autoregression_finds_its_coefficients() {
        let series: Vec<f64> = ar2(5000, 2).values.iter().map(|y| y + 1000.0).collect();
        let fitted = Autoregression::fit(&series, 1, 10).unwrap();
        // Standard errors are √((1 − 0.5²)/5000) = 0.012; BIC chooses a larger order in less than 1 % of the seeds.
        assert_eq!(fitted.order(), 2);
        assert!((fitted.coefficients[1] - 1.2).abs() < 0.04, "{fitted:?}");
        assert!((fitted.coefficients[2] + 0.5).abs() < 0.04, "{fitted:?}");
        let last = fitted.forecasts(&series)[4999];
        assert!(
            (last - ar2(5000, 2).best[4999] - 1000.0).abs() < 0.5,
            "{last}"
        );
        // A straight line, twelve rows ahead: without error.
        let line: Vec<f64> = (0..240).map(f64::from).collect();
        let fitted = Autoregression::fit(&line, 12, 10).unwrap();
        assert!((fitted.forecasts(&line)[200] - 212.0).abs() < 1e-6);
        assert_eq!(Autoregression::fit(&[3.0; 100], 1, 5), None);
        assert_eq!(Autoregression::fit(&[1.0, 2.0, 3.0], 1, 5), None);
    }

    #[test]
    fn drift_goes_on_as_before() {
        assert_eq!(drift(&[1.0, 3.0, 5.0], 2), [1.0, 7.0, 9.0]);
    }
}
