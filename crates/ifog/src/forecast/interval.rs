//! Intervals that keep their promise while the errors grow and shrink.
//!
//! ```text
//! low_t = ŷ_t − s_t a_t        high_t = ŷ_t + s_t b_t
//! s ← λ s + (1 − λ) |y − ŷ|                        the size of recent errors, λ = 0.94 as in RiskMetrics (J. P. Morgan 1996)
//! a ← a + η ([y < low] − α/2)        b ← b + η ([y > high] − α/2)        1 − α = 0.8
//! ```
//!
//! once y is known, so from the past alone. The second is adaptive conformal inference (Gibbs & Candès 2021) as tracking of a
//! quantile (Angelopoulos, Candès & Tibshirani, "Conformal PID control for time series prediction", 2023, section 2): every
//! miss widens the interval by what the hits in between take away. Whatever the series does, each side misses no more than a
//! share α/2 + (a_T − a_0)/(η T) of T rows: as long as a stays bounded, no more than α/2 in the long run.

use serde::{Deserialize, Serialize};

use super::{Forecast, NOMINAL};

/// s, a and b.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Band {
    scale: f64,
    below: f64,
    above: f64,
}

impl Band {
    /// Starts with the quantiles of errors (y − ŷ) in the order of time, each known `horizon` rows later.
    pub(super) fn from_errors(errors: &[f64], horizon: usize) -> Self {
        let size = errors.iter().map(|e| e.abs()).sum::<f64>() / errors.len().max(1) as f64;
        let mut now = size;
        let mut scores = Vec::with_capacity(errors.len());
        for (t, error) in errors.iter().enumerate() {
            if let Some(known) = t.checked_sub(horizon) {
                now += (1.0 - DECAY) * (errors[known].abs() - now);
            }
            scores.push(if now > 0.0 { error / now } else { 0.0 });
        }
        Self {
            scale: size,
            below: upper_quantile(scores.iter().map(|s| -s).collect()),
            above: upper_quantile(scores),
        }
    }

    /// The forecasts `values` with their intervals; `actual[t]` is known from row t on, and is what `values[t − h]` foretold.
    pub(super) fn walk(mut self, values: &[f64], actual: &[f64], horizon: usize) -> Vec<Forecast> {
        let mut forecasts: Vec<Forecast> = Vec::with_capacity(values.len());
        for (t, (&value, &actual)) in values.iter().zip(actual).enumerate() {
            if let Some(origin) = t.checked_sub(horizon) {
                self.observe(&forecasts[origin], actual);
            }
            forecasts.push(Forecast {
                value,
                low: value - self.scale * self.below,
                high: value + self.scale * self.above,
            });
        }
        forecasts
    }

    /// Whether it can be walked with.
    pub(super) fn is_sound(&self) -> bool {
        let parts = [self.scale, self.below, self.above];
        parts.iter().all(|x| (0.0..f64::INFINITY).contains(x))
    }

    fn observe(&mut self, forecast: &Forecast, actual: f64) {
        let track = |quantile: &mut f64, missed: bool| {
            let step = RATE * (f64::from(u8::from(missed)) - TAIL);
            *quantile = (*quantile + step).max(0.0);
        };
        track(&mut self.below, actual < forecast.low);
        track(&mut self.above, actual > forecast.high);
        self.scale += (1.0 - DECAY) * ((actual - forecast.value).abs() - self.scale);
    }
}

/// The ⌈(1 − α/2)(n + 1)⌉-th smallest, or the largest, and at least 0.
fn upper_quantile(mut scores: Vec<f64>) -> f64 {
    scores.sort_by(f64::total_cmp);
    let rank = ((1.0 - TAIL) * (scores.len() + 1) as f64).ceil() as usize;
    let place = rank.min(scores.len()).saturating_sub(1);
    scores.get(place).map_or(0.0, |score| score.max(0.0))
}

/// α/2: what may lie below, and what above.
const TAIL: f64 = (1.0 - NOMINAL) / 2.0;
/// λ.
const DECAY: f64 = 0.94;
/// η, in units of s. For normal errors a and b then wander by 8 % around 1.6 and settle within about 140 rows.
const RATE: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Stream};

    /// Shares of rows below and above the interval around 0, from row `from` on.
    fn misses(errors: &[f64], from: usize, horizon: usize) -> (f64, f64) {
        let band = Band::from_errors(&errors[..from], horizon);
        // Row t foretells row t + h.
        let forecasts = band.walk(&vec![0.0; errors.len()], errors, horizon);
        let tested = || errors[from..].iter().zip(&forecasts[from - horizon..]);
        let share = |count: usize| count as f64 / (errors.len() - from) as f64;
        (
            share(tested().filter(|(e, f)| **e < f.low).count()),
            share(tested().filter(|(e, f)| **e > f.high).count()),
        )
    }

    #[test]
    fn coverage_holds_while_the_variance_changes() {
        let mut rng = Rng::new(5, Stream::Data);
        let mut noise = |size: &dyn Fn(usize) -> f64| -> Vec<f64> {
            (0..2000).map(|t| size(t) * rng.normal()).collect()
        };
        let steady = noise(&|_| 1.0);
        let jump = noise(&|t| if t < 1000 { 1.0 } else { 4.0 });
        let fall = noise(&|t| if t < 1000 { 1.0 } else { 0.2 });
        let season = noise(&|t| 1.5 + (t as f64 / 60.0).sin());
        let mut clustered = steady.clone();
        let mut variance: f64 = 1.0;
        for error in &mut clustered {
            *error *= variance.sqrt();
            variance = 0.02 + 0.1 * *error * *error + 0.88 * variance;
        }
        for errors in [steady, jump, fall, season, clustered] {
            for horizon in [1, 5] {
                let (below, above) = misses(&errors, 500, horizon);
                // The quantiles move by less than 1.5 in 1500 steps of 0.05: (a_T − a_0)/(η T) < 0.02.
                assert!((below - TAIL).abs() < 0.02, "{below}");
                assert!((above - TAIL).abs() < 0.02, "{above}");
            }
        }
    }

    #[test]
    fn errors_of_one_sign_or_none_make_one_side_of_the_interval() {
        let band = Band::from_errors(&[1.0; 50], 1);
        assert_eq!((band.scale, band.below), (1.0, 0.0));
        assert!((band.above - 1.0).abs() < 1e-12);
        assert_eq!(Band::from_errors(&[0.0; 9], 2), Band::default());
        assert_eq!(Band::from_errors(&[], 1), Band::default());
    }

    #[test]
    fn quantiles_by_hand() {
        // ⌈0.9 · 10⌉ = 9.
        assert_eq!(upper_quantile((1..=9).map(f64::from).collect()), 9.0);
        // ⌈0.9 · 20⌉ = 18, or 19 if 0.9 is a little more.
        let of_19 = upper_quantile((1..=19).map(f64::from).collect());
        assert!((18.0..=19.0).contains(&of_19));
        assert_eq!(upper_quantile(vec![-2.0, -1.0]), 0.0);
    }

    /// Each value is what comes three rows later.
    #[test]
    fn the_interval_narrows_once_hits_are_known() {
        let (horizon, actual) = (3, [2.0, -5.0, 7.0, 1.0, 8.0, -2.0, 8.0, 1.0, 0.0, 0.0, 0.0]);
        let band = Band {
            scale: 1.0,
            below: 1.0,
            above: 2.0,
        };
        let forecasts = band.walk(&actual[horizon..], &actual, horizon);
        for (t, forecast) in forecasts.iter().enumerate() {
            // The forecast of row 0 is known to be right in row 3.
            let known = (t + 1).saturating_sub(horizon) as i32;
            let quantiles = 3.0 - 2.0 * RATE * TAIL * f64::from(known);
            let width = DECAY.powi(known) * quantiles;
            assert!((forecast.high - forecast.low - width).abs() < 1e-12, "{t}");
        }
    }

    #[test]
    fn an_error_is_known_a_horizon_later() {
        // Of a mean size of 2; in row 2 only the 1 of row 0 is known.
        let band = Band::from_errors(&[1.0, 1.0, 4.0], 2);
        assert_eq!((band.scale, band.below), (2.0, 0.0));
        assert!((band.above - 4.0 / (2.0 - 0.06)).abs() < 1e-12);
    }
}
