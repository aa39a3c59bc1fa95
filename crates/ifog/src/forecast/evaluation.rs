//! A forecaster on rows it has not seen, beside what anybody could say without a network.

use super::baselines::{Autoregression, drift, persistence};
use super::scores::{Scores, diebold_mariano};
use super::{Forecast, ForecastError, Forecaster};

/// Scores on the rows after the training rows. The state walks forward: each is forecast from all rows up to a horizon before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The value stays.
    pub persistence: Scores,
    /// It goes on as on average so far.
    pub drift: Scores,
    /// An autoregression fitted to the training rows, with its order; none where it cannot be fitted.
    pub autoregression: Option<(usize, Scores)>,
    /// The median of the networks.
    pub network: Scores,
    /// Each network.
    pub each: Vec<Scores>,
    /// Of the median of the networks against persistence, where that can be told: see [`diebold_mariano`].
    pub diebold_mariano: Option<f64>,
    /// Share of the rows within their interval; it should be [`super::NOMINAL`].
    pub coverage: f64,
    /// What was said of each of the rows.
    pub forecasts: Vec<Forecast>,
    /// What is said of the row a horizon after the last one.
    pub next: Forecast,
}

impl Evaluation {
    /// Forecasts the rows of the first column from `training_rows` on.
    ///
    /// # Errors
    /// The columns do not fit the forecaster, or there is no such row, or none a horizon before it.
    pub fn of(
        forecaster: &Forecaster,
        columns: &[Vec<f64>],
        training_rows: usize,
    ) -> Result<Self, ForecastError> {
        let each = forecaster.each(columns)?;
        let all = forecaster.joined(&each, &columns[0]);
        let (values, horizon) = (&columns[0], forecaster.horizon());
        let Some(next) = all.last().filter(|_| training_rows < values.len()).copied() else {
            return Err(ForecastError::NoTest(training_rows));
        };
        if training_rows < horizon {
            return Err(ForecastError::Short {
                rows: training_rows,
                least: horizon,
            });
        }
        let score = |forecasts: &[f64]| Scores::ahead(forecasts, values, training_rows, horizon);
        let network: Vec<f64> = all.iter().map(|f| f.value).collect();
        let fitted = Autoregression::fit(&values[..training_rows], horizon, MOST_LAGS);

        let origins = training_rows - horizon..values.len() - horizon;
        let (now, actual) = (&values[origins.clone()], &values[training_rows..]);
        let forecasts = all[origins.clone()].to_vec();
        let inside = |(f, y): &(&Forecast, &f64)| (f.low..=f.high).contains(y);
        let held = forecasts.iter().zip(actual).filter(inside).count();
        Ok(Self {
            persistence: score(&persistence(values)),
            drift: score(&drift(values, horizon)),
            autoregression: fitted.map(|ar| (ar.order(), score(&ar.forecasts(values)))),
            network: score(&network),
            each: each.iter().map(|f| score(f)).collect(),
            diebold_mariano: diebold_mariano(&network[origins], now, actual, horizon),
            coverage: held as f64 / actual.len() as f64,
            forecasts,
            next,
        })
    }

    /// 1 − RMSE / RMSE of persistence; `None` where persistence has no error.
    pub fn skill(&self, scores: &Scores) -> Option<f64> {
        let base = self.persistence.rmse;
        (base > 0.0).then(|| 1.0 - scores.rmse / base)
    }

    /// Mean and standard deviation of the networks' RMSE; of one network there is none.
    pub fn spread(&self) -> (f64, Option<f64>) {
        let count = self.each.len() as f64;
        let mean = self.each.iter().map(|s| s.rmse).sum::<f64>() / count;
        let squares: f64 = self.each.iter().map(|s| (s.rmse - mean).powi(2)).sum();
        let deviation = (self.each.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (mean, deviation)
    }
}

/// The largest order of the autoregression: two months of days, two days of hours.
const MOST_LAGS: usize = 60;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::forecast::{ForecastConfig, example};

    const HORIZON: usize = 5;
    const ROWS: usize = 240;

    fn train(columns: &[Vec<f64>]) -> Forecaster {
        let config = ForecastConfig {
            hidden: 16,
            horizon: HORIZON,
            networks: 1,
            steps: 40,
            ..ForecastConfig::DEFAULT
        };
        Forecaster::train(config, columns, ROWS, |_| {}).unwrap()
    }

    #[test]
    fn a_ramp_rises_by_its_horizon() {
        let ramp = [(0..300).map(f64::from).collect()];
        let forecaster = train(&ramp);
        let evaluation = Evaluation::of(&forecaster, &ramp, ROWS).unwrap();
        assert_eq!(
            (evaluation.persistence.rmse, evaluation.drift.rmse),
            (5.0, 0.0)
        );
        assert!(
            evaluation
                .autoregression
                .is_some_and(|(_, ar)| ar.rmse < 1e-6)
        );
        // Who learnt to say the change of one row would miss by 4.
        let rmse = evaluation.network.rmse;
        assert!(rmse < 2.5, "{rmse}");
    }

    #[test]
    fn rows_to_come_change_nothing_said_before() {
        let series = example::ar2(300, 1).values;
        let mut spoilt = series.clone();
        spoilt[270..].fill(1e3);
        let forecaster = train(std::slice::from_ref(&series));
        let [before, after] = [&series, &spoilt]
            .map(|y| Evaluation::of(&forecaster, std::slice::from_ref(y), ROWS).unwrap());
        // Row 240 was forecast in row 235, row 275 in row 270.
        let all = forecaster.forecasts(std::slice::from_ref(&series)).unwrap();
        assert_eq!(before.forecasts, all[235..295]);
        assert_eq!(before.forecasts[..35], after.forecasts[..35]);
        assert_ne!(before.forecasts[35], after.forecasts[35]);
        let fitted = Autoregression::fit(&series[..ROWS], HORIZON, MOST_LAGS).unwrap();
        let scores = Scores::ahead(&fitted.forecasts(&spoilt), &spoilt, ROWS, HORIZON);
        assert_eq!(after.autoregression, Some((fitted.order(), scores)));
    }
}
