//! Learning rates over a run.
//!
//! ```text
//! constant   η
//! step       η · factor^(max(0, e + 1 − after)) in epoch e = 0, 1, …        char-rnn
//! cosine     floor + (η − floor) · (1 + cos π p)/2, p the part of the run    Loshchilov & Hutter 2017, one cycle
//! plateau    η · factor^k, k the times validation did not improve            PyTorch's ReduceLROnPlateau
//! ```
//!
//! Each is multiplied by min(1, t/warm-up) at step t = 1, 2, … From exact operations only: no platform's `cos` or `pow`
//! stands between a seed and its model.

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// Always η.
    Constant,
    /// A factor after each epoch from a given one on.
    Step {
        /// In (0, 1].
        factor: f64,
        /// Epochs with the full rate.
        after: u64,
    },
    /// Down a half cosine over the whole run.
    Cosine {
        /// Rate at the end.
        floor: f64,
    },
    /// A factor when the validation loss stays.
    Plateau {
        /// In (0, 1].
        factor: f64,
        /// Validations in a row that need not improve.
        patience: u64,
        /// Never below.
        floor: f64,
    },
}

/// A rule at work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    base: f64,
    warmup: u64,
    decay: Decay,
    plateau: Plateau,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The step about to be done, from 1.
    pub step: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Part of the run done, 0 to 1.
    pub fraction: f64,
}

/// What [`Decay::Plateau`] has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// The lowest validation loss; infinite before the first.
    pub best: f64,
    /// Validations since then, or since the last reduction.
    pub stale: u64,
    /// Reductions so far.
    pub reductions: u64,
}

impl Place {
    /// Step `step`, from 1, of a run of `total` steps in one epoch.
    #[must_use]
    pub fn of(step: u64, total: u64) -> Self {
        Self {
            step,
            epoch: 0,
            fraction: step.saturating_sub(1) as f64 / total as f64,
        }
    }
}

impl LearningRate {
    /// η = `base`, reached after `warmup` steps.
    #[must_use]
    pub fn new(base: f64, warmup: u64, decay: Decay) -> Self {
        Self {
            base,
            warmup,
            decay,
            plateau: Plateau::default(),
        }
    }

    /// The rate of the step at `place`.
    #[must_use]
    pub fn at(&self, place: Place) -> f64 {
        let rate = match self.decay {
            Decay::Constant => self.base,
            Decay::Step { factor, after } => {
                self.base * power(factor, (place.epoch + 1).saturating_sub(after))
            }
            Decay::Cosine { floor } => {
                floor + (self.base - floor) * half_cosine(place.fraction.clamp(0.0, 1.0))
            }
            Decay::Plateau { factor, floor, .. } => {
                (self.base * power(factor, self.plateau.reductions)).max(floor.min(self.base))
            }
        };
        match place.step < self.warmup {
            true => rate * (place.step as f64 / self.warmup as f64),
            false => rate,
        }
    }

    /// Tells of a validation.
    pub fn observe(&mut self, loss: f64) {
        let Decay::Plateau { patience, .. } = self.decay else {
            return;
        };
        let seen = &mut self.plateau;
        if loss < seen.best {
            (seen.best, seen.stale) = (loss, 0);
            return;
        }
        seen.stale += 1;
        if seen.stale > patience {
            seen.stale = 0;
            seen.reductions += 1;
        }
    }

    /// What was seen, for checkpoints.
    #[must_use]
    pub fn plateau(&self) -> Plateau {
        self.plateau
    }

    /// Goes on from what was seen.
    pub fn resume(&mut self, plateau: Plateau) {
        self.plateau = plateau;
    }
}

impl Default for Plateau {
    fn default() -> Self {
        Self {
            best: f64::INFINITY,
            stale: 0,
            reductions: 0,
        }
    }
}

/// `base`^`exponent` by squaring: the platform's `pow` is not the same everywhere.
pub(crate) fn power(base: f64, mut exponent: u64) -> f64 {
    let mut square = base;
    let mut product = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    product
}

/// (1 + cos πp)/2 = cos²(πp/2) for p in [0, 1], by the series of the cosine on [0, π/2]: the first term left out is
/// (π/2)²²/22! < 2e-17.
fn half_cosine(p: f64) -> f64 {
    let y = std::f64::consts::FRAC_PI_2 * p;
    let y2 = y * y;
    let mut cosine = 1.0;
    for k in (1..=10).rev() {
        cosine = 1.0 - cosine * y2 / f64::from((2 * k - 1) * (2 * k));
    }
    (cosine * cosine).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(step: u64, epoch: u64, fraction: f64) -> Place {
        Place {
            step,
            epoch,
            fraction,
        }
    }

    #[test]
    fn constant_is_the_base_to_the_bit() {
        let rate = LearningRate::new(2e-3, 0, Decay::Constant);
        for step in [1, 7, u64::MAX] {
            assert_eq!(rate.at(place(step, step, 0.5)), 2e-3);
        }
    }

    /// char-rnn: at the end of an epoch e ≥ after, lr ← lr · factor.
    #[test]
    fn steps_begin_after_the_given_epoch() {
        let rate = LearningRate::new(
            1.0,
            0,
            Decay::Step {
                factor: 0.5,
                after: 10,
            },
        );
        let at = |epoch| rate.at(place(1, epoch, 0.0));
        assert_eq!([at(0), at(9), at(10), at(12)], [1.0, 1.0, 0.5, 0.125]);
    }

    #[test]
    fn cosine_goes_from_the_base_to_the_floor() {
        let rate = LearningRate::new(1.0, 0, Decay::Cosine { floor: 0.1 });
        let at = |fraction| rate.at(place(9, 0, fraction));
        assert_eq!(at(0.0), 1.0);
        assert!((at(0.5) - 0.55).abs() < 1e-15 && (at(1.0) - 0.1).abs() < 1e-15);
        for k in 0..=1000 {
            let p = f64::from(k) / 1000.0;
            let exact = 0.5 * (1.0 + (std::f64::consts::PI * p).cos());
            assert!((half_cosine(p) - exact).abs() < 4e-16, "{p}");
        }
    }

    #[test]
    fn warm_up_is_linear_and_ends() {
        let rate = LearningRate::new(1.0, 4, Decay::Constant);
        let rates = [1, 2, 3, 4, 5].map(|step| rate.at(place(step, 0, 0.0)));
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0]);
    }

    #[test]
    fn plateau_waits_for_its_patience() {
        let decay = Decay::Plateau {
            factor: 0.5,
            patience: 2,
            floor: 0.3,
        };
        let mut rate = LearningRate::new(1.0, 0, decay);
        let mut after = |loss| {
            rate.observe(loss);
            rate.at(place(1, 0, 0.0))
        };
        let rates = [3.0, 2.0, 2.5, 2.5, 2.0, 1.9, 1.9, 1.9, 1.9, 9.0].map(&mut after);
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3]);
        let mut again = LearningRate::new(1.0, 0, decay);
        again.resume(rate.plateau());
        assert_eq!(again, rate);
    }

    #[test]
    fn power_is_the_power() {
        assert_eq!(power(0.5, 10), 0.5f64.powi(10));
        assert_eq!(power(0.9, 0), 1.0);
        assert_eq!(power(0.0, 3), 0.0);
        assert!((power(0.999, 12_345) / 0.999f64.powi(12_345) - 1.0).abs() < 1e-12);
        assert_eq!(power(0.9, u64::MAX), 0.0);
    }
}
