//! How good forecasts are.

/// Errors of forecasts against what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Mean absolute error in percent of the actual value; `None` if one of them is 0.
    pub mape: Option<f64>,
    /// Share of the changes whose direction was foretold, among those that were foretold to be changes; `None` without any.
    pub direction: Option<f64>,
}

impl Scores {
    /// Compares forecasts with actual values, both after `now`, the values known when they were made.
    ///
    /// # Panics
    /// The lengths differ.
    pub fn of(forecasts: &[f64], actual: &[f64], now: &[f64]) -> Self {
        assert!(
            forecasts.len() == actual.len() && now.len() == actual.len(),
            "one forecast an actual value"
        );
        let count = actual.len() as f64;
        let errors = || forecasts.iter().zip(actual).map(|(f, a)| f - a);
        let relative: f64 = errors().zip(actual).map(|(e, a)| (e / a).abs()).sum();
        let changes = forecasts
            .iter()
            .zip(actual)
            .zip(now)
            .map(|((f, a), n)| (f - n) * (a - n));
        let foretold: Vec<f64> = changes.filter(|product| *product != 0.0).collect();
        let right = foretold.iter().filter(|product| **product > 0.0).count();
        Self {
            rmse: (errors().map(|e| e * e).sum::<f64>() / count).sqrt(),
            mae: errors().map(f64::abs).sum::<f64>() / count,
            mape: relative.is_finite().then_some(100.0 * relative / count),
            direction: (!foretold.is_empty()).then(|| right as f64 / foretold.len() as f64),
        }
    }

    /// Of the rows from `first` on, where `forecasts[t]` is what was said of row t + `horizon` when row t was known.
    ///
    /// # Panics
    /// `first` is below the horizon or beyond the values, or the lengths differ.
    pub fn ahead(forecasts: &[f64], values: &[f64], first: usize, horizon: usize) -> Self {
        let origins = first - horizon..values.len() - horizon;
        Self::of(
            &forecasts[origins.clone()],
            &values[first..],
            &values[origins],
        )
    }
}

/// The statistic of Diebold & Mariano 1995 for squared errors: mean loss difference over its standard error, whose variance
/// counts the autocovariances up to lag h − 1, with the correction for few rows of Harvey, Leybourne & Newbold 1997. Above
/// 2, `forecasts` are better than `rival` beyond chance; below −2, worse.
///
/// `None` where it cannot tell: fewer rows than [`ROWS_A_HORIZON`] horizons, or a variance that is estimated as none.
///
/// # Panics
/// The lengths differ.
pub fn diebold_mariano(
    forecasts: &[f64],
    rival: &[f64],
    actual: &[f64],
    horizon: usize,
) -> Option<f64> {
    assert!(
        forecasts.len() == actual.len() && rival.len() == actual.len(),
        "one forecast an actual value"
    );
    let square = |f: &f64, a: &f64| (f - a) * (f - a);
    let gains = forecasts
        .iter()
        .zip(rival)
        .zip(actual)
        .map(|((f, r), a)| square(r, a) - square(f, a));
    let gains: Vec<f64> = gains.collect();
    let count = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / count;
    let covariance = |lag: usize| {
        let pairs = gains.iter().zip(gains.iter().skip(lag));
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / count
    };
    if gains.len() / ROWS_A_HORIZON < horizon {
        return None;
    }
    let variance = covariance(0) + 2.0 * (1..horizon).map(covariance).sum::<f64>();
    let h = horizon as f64;
    let correction = (count + 1.0 - 2.0 * h + h * (h - 1.0) / count) / count;
    (variance > 0.0).then(|| mean / (variance / count).sqrt() * correction.sqrt())
}

/// Test rows for each row of the horizon that [`diebold_mariano`] needs. Without any difference between two forecasts whose
/// errors are moving averages of order h − 1, its magnitude is above 2 in 5 to 10 % of the series from there on.
pub const ROWS_A_HORIZON: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Stream};

    #[test]
    fn scores_by_hand() {
        let scores = Scores::of(&[11.0, 8.0, 10.0], &[12.0, 12.0, 10.0], &[10.0, 10.0, 10.0]);
        assert!((scores.rmse - (17f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((scores.mae - 5.0 / 3.0).abs() < 1e-12);
        assert_eq!(scores.direction, Some(0.5));
        assert!(
            (scores.mape.unwrap_or(0.0) - 100.0 * (1.0 / 12.0 + 4.0 / 12.0) / 3.0).abs() < 1e-12
        );
        let zero = Scores::of(&[1.0], &[0.0], &[1.0]);
        assert_eq!((zero.mape, zero.direction), (None, None));
    }

    #[test]
    fn a_difference_beyond_chance_is_seen() {
        let actual: Vec<f64> = (0..200).map(|t| f64::from(t % 7) - 3.0).collect();
        let rival = vec![0.0; 200];
        let statistic =
            |forecasts, rival, horizon| diebold_mariano(forecasts, rival, &actual, horizon);
        assert!(statistic(&actual, &rival, 1).is_some_and(|dm| dm > 5.0));
        assert!(statistic(&rival, &actual, 3).is_some_and(|dm| dm < -5.0));
        // No difference, and horizons of which the rows hold too few.
        assert_eq!(statistic(&rival, &rival, 1), None);
        // 200 rows are ten horizons of 20.
        for horizon in [21, 200, usize::MAX] {
            assert_eq!(statistic(&actual, &rival, horizon), None);
        }
    }
    /// Two forecasts of series that nobody can foretell, with errors that are moving averages of order h − 1: a claim of a difference
    /// is wrong. 3.9, 6.5 and 9.7 % of 2,000 series were seen; with ten rows a horizon fewer, a third.
    #[test]
    fn chance_is_seldom_taken_for_a_difference() {
        let mut rng = Rng::new(3, Stream::Check);
        for (rows, horizon) in [(40, 1), (60, 5), (240, 24)] {
            let claims = (0..1000).filter(|_| {
                let noise: Vec<[f64; 2]> = (0..rows + horizon)
                    .map(|_| [rng.normal(), rng.normal()])
                    .collect();
                let errors = |which: usize| -> Vec<f64> {
                    let windows = noise.windows(horizon).take(rows);
                    windows.map(|w| w.iter().map(|e| e[which]).sum()).collect()
                };
                let actual = vec![0.0; rows];
                let statistic = diebold_mariano(&errors(0), &errors(1), &actual, horizon);
                statistic.is_some_and(|dm| dm.abs() > 2.0)
            });
            let share = claims.count() as f64 / 1000.0;
            println!("{rows} rows, horizon {horizon}: {share}");
            assert!(share < 0.13, "{rows} {horizon}: {share}");
        }
    }

    #[test]
    fn a_forecast_is_scored_a_horizon_later() {
        let line: Vec<f64> = (0..30).map(f64::from).collect();
        let ahead = |forecasts: &[f64]| Scores::ahead(forecasts, &line, 20, 5);
        let known: Vec<f64> = line.iter().map(|y| y + 5.0).collect();
        assert_eq!((ahead(&line).rmse, ahead(&line).direction), (5.0, None));
        assert_eq!(
            (ahead(&known).rmse, ahead(&known).direction),
            (0.0, Some(1.0))
        );
    }

    /// Gains of 1, 1, 9, 9, … in 20 rows: mean 5, variance 16, autocovariance 16/20.
    #[test]
    fn the_statistic_by_hand() {
        let rival: Vec<f64> = (0..20).map(|t| f64::from(1 + t / 2 % 2 * 2)).collect();
        let zero = [0.0; 20];
        // Harvey's factors are (n + 1 − 2)/n and (n + 1 − 4 + 2/n)/n.
        for (horizon, variance, factor) in [(1, 16.0, 19.0 / 20.0), (2, 17.6, 17.1 / 20.0)] {
            let squared = 25.0 / (variance / 20.0) * factor;
            let statistic = diebold_mariano(&zero, &rival, &zero, horizon);
            assert!(statistic.is_some_and(|dm| (dm * dm - squared).abs() < 1e-12 * squared));
        }
    }
}
