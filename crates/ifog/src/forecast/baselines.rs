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
        let most = most.min(training.len() / 10);
        let fits = (1..=most).filter_map(|order| least_squares(training, horizon, order, most));
        let best = fits.min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Self {
            coefficients: best.0,
        })
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

/// Coefficients and BIC of one order; all orders are fitted on the same rows.
fn least_squares(
    values: &[f64],
    horizon: usize,
    order: usize,
    most: usize,
) -> Option<(Vec<f64>, f64)> {
    // Around the first value, so that a large level costs no digits.
    let origin = values[0];
    let n = order + 1;
    let regressors = |t: usize| -> Vec<f64> {
        let lags = (0..order).map(|lag| values[t - lag] - origin);
        std::iter::once(1.0).chain(lags).collect()
    };
    let rows = most - 1..values.len().checked_sub(horizon)?;
    let (mut normal, mut right) = (vec![0.0; n * n], vec![0.0; n]);
    for t in rows.clone() {
        let x = regressors(t);
        for i in 0..n {
            right[i] += x[i] * (values[t + horizon] - origin);
            for j in 0..n {
                normal[i * n + j] += x[i] * x[j];
            }
        }
    }
    let mut solution = solve(normal, right)?;
    let squares: f64 = rows
        .clone()
        .map(|t| {
            let fitted: f64 = regressors(t)
                .iter()
                .zip(&solution)
                .map(|(x, a)| x * a)
                .sum();
            (values[t + horizon] - origin - fitted).powi(2)
        })
        .sum();
    let count = rows.len() as f64;
    let bic = count * (squares / count).ln() + order as f64 * count.ln();
    solution[0] += origin * (1.0 - solution[1..].iter().sum::<f64>());
    bic.is_finite().then_some((solution, bic))
}

/// A x = b for a symmetric positive definite A, by Cholesky's decomposition; `None` if it is not.
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
        assert_eq!(Autoregression::fit(&[3.0; 100], 1, 5), None);
        assert_eq!(Autoregression::fit(&[1.0, 2.0, 3.0], 1, 5), None);
    }

    #[test]
    fn drift_goes_on_as_before() {
        assert_eq!(drift(&[1.0, 3.0, 5.0], 2), [1.0, 7.0, 9.0]);
    }
}
