//! How the time of a whole comparison is shared out: between training, validation, and what follows it.

use std::time::Instant;

/// The time that a comparison may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    started: Instant,
    seconds: f64,
}

/// What takes time beside training, in seconds for all cells together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// A validation.
    pub(super) validation: f64,
    /// Gradients and samples at the end.
    pub(super) end: f64,
}

impl Budget {
    /// From now on.
    pub(super) fn start(seconds: f64) -> Self {
        Self {
            started: Instant::now(),
            seconds,
        }
    }

    /// Since the start, in seconds.
    pub(super) fn spent(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// In seconds; below 0 where too much was spent.
    pub(super) fn left(&self) -> f64 {
        self.seconds - self.spent()
    }
}

impl Costs {
    /// Into how many rounds of training, each with a validation, so many seconds are divided: validation takes a third of them at
    /// most, but for [`LEAST_ROUNDS`].
    pub(super) fn rounds(&self, left: f64) -> u32 {
        let fitting = (left - self.end) / (3.0 * self.validation);
        (fitting as u32).clamp(LEAST_ROUNDS, MOST_ROUNDS)
    }

    /// Seconds of training for each of `cells` in the first of the `rounds` that are to come in so many seconds.
    pub(super) fn training(&self, left: f64, rounds: u32, cells: usize) -> f64 {
        let rounds = f64::from(rounds.max(1));
        let training = left - self.end - rounds * self.validation;
        (training / (rounds * cells as f64)).max(0.0)
    }
}

/// Losses at equal steps are read between two validations, so there is one within the run.
const LEAST_ROUNDS: u32 = 2;
/// More points tell nothing more of a curve.
const MOST_ROUNDS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_goes_to_training() {
        let costs = Costs {
            validation: 1.0,
            end: 2.0,
        };
        // 40 − 2 − 8 seconds, a quarter of an eighth of them.
        assert_eq!(costs.training(40.0, 8, 4), 30.0 / 32.0);
        // If all takes what was foreseen, all is spent in the end.
        let (mut left, rounds) = (30.0, 5);
        for round in 0..rounds {
            left -= 4.0 * costs.training(left, rounds - round, 4) + costs.validation;
        }
        assert!((left - costs.end).abs() < 1e-9, "{left}");
        assert_eq!(costs.training(3.0, 2, 4), 0.0);
        assert_eq!(costs.training(-1.0, 0, 4), 0.0);
    }

    #[test]
    fn dear_validations_are_fewer() {
        let rounds = |left, validation| {
            let end = 0.0;
            Costs { validation, end }.rounds(left)
        };
        assert_eq!(rounds(100.0, 1.0), 8);
        assert_eq!(rounds(100.0, 10.0), 3);
        assert_eq!(rounds(100.0, 80.0), 2);
        assert_eq!((rounds(-1.0, 1.0), rounds(1.0, 0.0)), (2, 8));
    }
}
