//! An exponential moving average of the parameters, for evaluation (Polyak & Juditsky 1992).
//!
//! ```text
//! θ̄ ← d θ̄ + (1 − d) θ        d = min(decay, (1 + t)/(10 + t)) at step t = 1, 2, …
//! ```
//!
//! The smaller decay of the first steps lets the average leave the initial weights behind.

/// The averaged parameters.
#[derive(Clone, Debug)]
pub struct Average {
    decay: f64,
    /// θ̄, laid out as the parameters.
    pub values: Vec<f32>,
}

impl Average {
    /// Starts at `parameters`.
    #[must_use]
    pub fn new(decay: f64, parameters: &[f32]) -> Self {
        Self {
            decay,
            values: parameters.to_vec(),
        }
    }

    /// Takes in the parameters after step `step`.
    pub fn update(&mut self, parameters: &[f32], step: u64) {
        let t = step as f64;
        let decay = self.decay.min((1.0 + t) / (10.0 + t));
        let new = (1.0 - decay) as f32;
        for (average, theta) in self.values.iter_mut().zip(parameters) {
            // Not d θ̄ + (1 − d) θ: rounded, the two need not sum to 1, and the average of what stays would shrink.
            *average += new * (theta - *average);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut average = Average::new(0.75, &[0.0, 1.0]);
        // t = 1: d = 2/11.
        average.update(&[1.0, 1.0], 1);
        assert!((average.values[0] - 9.0 / 11.0).abs() < 1e-6 && average.values[1] == 1.0);
        // t = 1000: d = 0.75.
        average.update(&[2.0, 1.0], 1000);
        assert!((average.values[0] - (0.75 * 9.0 / 11.0 + 0.5)).abs() < 1e-6);
    }

    #[test]
    fn what_stays_is_its_own_average() {
        let stays = [0.7, -0.3, 1e-30];
        let mut average = Average::new(0.99999, &stays);
        (0..10_000).for_each(|step| average.update(&stays, 1_000_000 + step));
        assert_eq!(average.values, stays);
    }
}
