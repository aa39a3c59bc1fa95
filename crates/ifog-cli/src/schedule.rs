//! When to validate, and when training is over.

use std::time::Duration;

/// The two moments, for a run limited by its steps or by the clock.
///
/// A run of a known number of steps never looks at the clock: the steps at which it validates, and so
/// the model it keeps, are the same on every machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schedule {
    /// Validate after every so many steps, and at the end.
    Steps {
        /// Steps between validations, at least 1.
        every: u64,
        /// All steps.
        total: u64,
    },
    /// Validate after every so much time, and at the end.
    Clock {
        /// Time between validations.
        every: Duration,
        /// All the time there is, the last validation included.
        limit: Duration,
    },
}

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Steps done.
    pub(crate) step: u64,
    /// Wall time since training started.
    pub(crate) elapsed: Duration,
    /// Wall time since the last validation ended.
    pub(crate) since_validation: Duration,
    /// What a validation takes.
    pub(crate) validation: Duration,
}

impl Schedule {
    /// For a run of `total` steps: a validation each epoch, but at least [`FEWEST`] and at most [`MOST`]
    /// in all, as far as there are steps.
    pub(crate) fn of_steps(total: u64, steps_per_epoch: u64) -> Self {
        let every = steps_per_epoch.clamp(total.div_ceil(MOST), total.div_ceil(FEWEST));
        Self::Steps {
            every: every.max(1),
            total,
        }
    }

    /// For a run of so many seconds: a validation every tenth of them, but not more than two a second and
    /// at least every 8 seconds.
    pub(crate) fn of_seconds(limit: f64) -> Self {
        let limit = Duration::try_from_secs_f64(limit).unwrap_or(Duration::MAX);
        Self::Clock {
            every: (limit / 10).clamp(Duration::from_millis(500), Duration::from_secs(8)),
            limit,
        }
    }

    /// Whether a validation is due. At the end there always is one.
    pub(crate) fn validates(&self, now: &Moment) -> bool {
        self.is_over(now)
            || match *self {
                Self::Steps { every, .. } => now.step.is_multiple_of(every),
                Self::Clock { every, .. } => now.since_validation >= every,
            }
    }

    /// Whether the last step is done.
    pub(crate) fn is_over(&self, now: &Moment) -> bool {
        match *self {
            Self::Steps { total, .. } => now.step >= total,
            Self::Clock { limit, .. } => now.elapsed.saturating_add(now.validation) >= limit,
        }
    }

    /// The part of the run that is done, 0 to 1.
    pub(crate) fn fraction(&self, now: &Moment) -> f64 {
        let fraction = match *self {
            Self::Steps { total, .. } => now.step as f64 / total as f64,
            Self::Clock { limit, .. } => now.elapsed.as_secs_f64() / limit.as_secs_f64(),
        };
        fraction.clamp(0.0, 1.0)
    }

    /// The time that is left, at the speed so far.
    pub(crate) fn left(&self, now: &Moment) -> Duration {
        match *self {
            Self::Steps { total, .. } => {
                let per_step = now.elapsed.as_secs_f64() / now.step.max(1) as f64;
                let left = per_step * total.saturating_sub(now.step) as f64;
                Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)
            }
            Self::Clock { limit, .. } => limit.saturating_sub(now.elapsed),
        }
    }
}

/// Validations of a run, at least and at most: enough to catch the best model, and few enough to cost a
/// small part of the training.
const FEWEST: u64 = 20;
const MOST: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: u64, seconds: u64) -> Moment {
        Moment {
            step,
            elapsed: Duration::from_secs(seconds),
            since_validation: Duration::from_secs(seconds),
            validation: Duration::ZERO,
        }
    }

    fn every(total: u64, steps_per_epoch: u64) -> u64 {
        match Schedule::of_steps(total, steps_per_epoch) {
            Schedule::Steps { every, .. } => every,
            Schedule::Clock { .. } => panic!("a schedule of steps"),
        }
    }

    #[test]
    fn steps_between_validations() {
        assert_eq!(every(4000, 100), 100); // 40 epochs
        assert_eq!(every(4000, 400), 200); // 10 epochs: 20 validations
        assert_eq!(every(500, 1), 10); // 500 epochs: 50 validations
        assert_eq!(every(1, 1), 1);
        assert_eq!(every(u64::MAX, u64::MAX), u64::MAX.div_ceil(20));
    }

    #[test]
    fn a_run_of_steps_does_not_look_at_the_clock() {
        let schedule = Schedule::of_steps(100, 1000);
        for step in 1..=100 {
            let (early, late) = (at(step, 0), at(step, 1_000_000));
            assert_eq!(schedule.validates(&early), schedule.validates(&late));
            assert_eq!(schedule.is_over(&early), schedule.is_over(&late));
        }
        assert!(schedule.is_over(&at(100, 0)) && schedule.validates(&at(100, 0)));
        assert!(!schedule.is_over(&at(99, 0)));
    }

    #[test]
    fn a_limit_beyond_all_time_is_no_panic() {
        let schedule = Schedule::of_seconds(1e300);
        assert!(!schedule.is_over(&at(1, 1)));
        assert_eq!(
            Schedule::of_steps(u64::MAX, 1).left(&at(1, u64::MAX)),
            Duration::MAX
        );
    }

    #[test]
    fn the_last_validation_is_within_the_time() {
        let schedule = Schedule::of_seconds(60.0);
        let mut now = at(5, 58);
        assert!(!schedule.is_over(&now));
        now.validation = Duration::from_secs(2);
        assert!(schedule.is_over(&now) && schedule.validates(&now));
    }
}
