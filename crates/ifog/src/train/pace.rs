//! When to validate, and when training is over.

use std::time::Duration;

/// The two moments, for a run limited by its steps or by the clock.
///
/// A run of a known number of steps looks at the clock for its limit alone, if it has one: the steps at which it validates,
/// and so the model it keeps, are the same on every machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// Validate after every so many steps, and at the end.
    Steps {
        /// Steps between validations, at least 1.
        every: u64,
        /// All steps.
        total: u64,
        /// All the time there is, the last validation included.
        limit: Duration,
    },
    /// Validate after every so much time, and at the end.
    Clock {
        /// Time between validations, if they are short.
        every: Duration,
        /// Or steps between them.
        steps: Option<u64>,
        /// All the time there is, the last validation included.
        limit: Duration,
    },
}

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Steps done.
    pub(super) step: u64,
    /// Wall time since training started.
    pub(super) elapsed: Duration,
    /// Wall time since the last validation ended.
    pub(super) since_validation: Duration,
    /// What a validation takes.
    pub(super) validation: Duration,
}

impl Pace {
    /// For a run that ends after so many steps or seconds, whichever comes first; without either, it goes on for ever. An epoch
    /// takes `epoch` steps, and a validation as long as `validation` of them.
    pub(super) fn of(
        total: Option<u64>,
        seconds: Option<f64>,
        (epoch, validation): (u64, u64),
    ) -> Self {
        let seconds = seconds.unwrap_or(f64::MAX);
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        match total {
            Some(total) => Self::of_steps(total, limit, epoch, validation),
            None => Self::of_time(limit),
        }
    }

    /// For a run of `total` steps: a validation each epoch, but at most [`MOST`] in all and at least [`FEWEST`]; fewer where
    /// these would take more than 1/[`RARITY`] of the time, but at least one every quarter.
    fn of_steps(total: u64, limit: Duration, epoch: u64, validation: u64) -> Self {
        let rare = validation
            .saturating_mul(RARITY.into())
            .min(total.div_ceil(4));
        let every = epoch.clamp(total.div_ceil(MOST), total.div_ceil(FEWEST).max(rare));
        Self::Steps {
            every: every.max(1),
            total,
            limit,
        }
    }

    /// For a run of so much time: a validation every tenth of it, but not more than two a second and
    /// at least every 8 seconds; more seldom where that would take more than 1/[`RARITY`] of the time, but at least every
    /// quarter.
    fn of_time(limit: Duration) -> Self {
        Self::Clock {
            every: (limit / 10).clamp(Duration::from_millis(500), Duration::from_secs(8)),
            steps: None,
            limit,
        }
    }

    /// With so many steps between validations; with 0 as it was.
    pub(super) fn every(mut self, given: u64) -> Self {
        if given > 0 {
            match &mut self {
                Self::Steps { every, .. } => *every = given,
                Self::Clock { steps, .. } => *steps = Some(given),
            }
        }
        self
    }

    /// Whether a validation is due. At the end there always is one.
    pub(super) fn validates(&self, now: &Moment) -> bool {
        self.is_over(now)
            || match *self {
                Self::Steps { every, .. } => now.step.is_multiple_of(every),
                Self::Clock {
                    steps: Some(every), ..
                } => now.step.is_multiple_of(every),
                Self::Clock { every, limit, .. } => {
                    let rare = now.validation.saturating_mul(RARITY);
                    now.since_validation >= every.max(rare.min(limit / 4))
                }
            }
    }

    /// Validations after the first, of a run of steps.
    pub(super) fn validations(&self) -> Option<u64> {
        match *self {
            Self::Steps { every, total, .. } => Some(total.div_ceil(every)),
            Self::Clock { .. } => None,
        }
    }

    /// Whether the last step is done.
    pub(super) fn is_over(&self, now: &Moment) -> bool {
        let (Self::Steps { limit, .. } | Self::Clock { limit, .. }) = *self;
        let done = matches!(*self, Self::Steps { total, .. } if now.step >= total);
        done || now.elapsed.saturating_add(now.validation) >= limit
    }

    /// The part of the run that is done, 0 to 1: of the steps where they are known, be there time for all of them or not.
    pub(super) fn fraction(&self, now: &Moment) -> f64 {
        let fraction = match *self {
            Self::Steps { total, .. } => now.step as f64 / total as f64,
            Self::Clock { limit, .. } => now.elapsed.as_secs_f64() / limit.as_secs_f64(),
        };
        fraction.clamp(0.0, 1.0)
    }

    /// The time that is left if a step takes `per_step` seconds, with its share of validation and saving.
    pub(super) fn left(&self, now: &Moment, per_step: f64) -> Duration {
        match *self {
            Self::Steps { total, limit, .. } => {
                let left = per_step * total.saturating_sub(now.step) as f64;
                let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
                left.min(limit.saturating_sub(now.elapsed))
            }
            Self::Clock { limit, .. } => limit.saturating_sub(now.elapsed),
        }
    }
}

/// Validations of a run of steps, as far as they are short, at least and at most: enough to catch the best model.
const FEWEST: u64 = 20;
const MOST: u64 = 50;
/// Time between validations over that of one, at least.
const RARITY: u32 = 20;

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

    fn of_steps(total: u64, epoch: u64, validation: u64) -> Pace {
        Pace::of(Some(total), None, (epoch, validation))
    }

    fn of_seconds(limit: f64) -> Pace {
        Pace::of(None, Some(limit), (1, 0))
    }

    fn every(total: u64, epoch: u64, validation: u64) -> u64 {
        match of_steps(total, epoch, validation) {
            Pace::Steps { every, .. } => every,
            Pace::Clock { .. } => panic!("a pace of steps"),
        }
    }

    #[test]
    fn steps_between_validations() {
        assert_eq!(every(4000, 100, 1), 100); // 40 epochs
        assert_eq!(every(4000, 400, 1), 200); // 10 epochs: 20 validations
        assert_eq!(every(4000, 400, 15), 300); // each as long as 15 steps
        assert_eq!(every(4000, 400, 30), 400); // as long as 30: one an epoch
        assert_eq!(every(4000, 100, 15), 100); // an epoch is enough
        assert_eq!(every(400, 446, 150), 100); // every quarter
        assert_eq!(every(500, 1, 0), 10); // 500 epochs: 50 validations
        assert_eq!(every(1, 1, 1), 1);
        assert_eq!(every(u64::MAX, u64::MAX, 0), u64::MAX.div_ceil(20));
        assert_eq!(every(u64::MAX, u64::MAX, u64::MAX), u64::MAX.div_ceil(4));
    }

    #[test]
    fn a_run_of_steps_does_not_look_at_the_clock() {
        let pace = of_steps(100, 1000, 1);
        for step in 1..=100 {
            let (early, late) = (at(step, 0), at(step, 1_000_000));
            assert_eq!(pace.validates(&early), pace.validates(&late));
            assert_eq!(pace.is_over(&early), pace.is_over(&late));
        }
        assert!(pace.is_over(&at(100, 0)) && pace.validates(&at(100, 0)));
        assert!(!pace.is_over(&at(99, 0)));
    }

    #[test]
    fn a_limit_beyond_all_time_is_no_panic() {
        let pace = of_seconds(1e300);
        assert!(!pace.is_over(&at(1, 1)));
        let left = of_steps(u64::MAX, 1, 1).left(&at(1, 1), 1e9);
        assert_eq!(left, Duration::MAX - Duration::from_secs(1));
    }

    #[test]
    fn of_steps_and_seconds_the_first_ends_a_run() {
        let pace = Pace::of(Some(100), Some(60.0), (10, 0));
        let ends =
            [(99, 59), (100, 1), (1, 60)].map(|(step, second)| pace.is_over(&at(step, second)));
        assert_eq!(ends, [false, true, true]);
        // The clock does not move the validations, nor the schedule.
        assert!(pace.validates(&at(5, 1)) && !pace.validates(&at(4, 50)));
        assert_eq!(pace.fraction(&at(50, 59)), 0.5);
        let left = |per_step| pace.left(&at(50, 20), per_step);
        assert_eq!([left(0.1), left(1.0)].map(|left| left.as_secs()), [5, 40]);
    }

    #[test]
    fn validations_as_often_as_asked() {
        for pace in [of_steps(100, 10, 1), of_seconds(60.0)] {
            let pace = pace.every(7);
            let validates = |step| pace.validates(&at(step, 0));
            assert!(validates(7) && validates(14) && !validates(10));
            assert!(pace.every(0).validates(&at(7, 0)));
        }
    }

    /// A large model's validation is not done every 8 seconds, nor never in a short run.
    #[test]
    fn validations_take_a_twentieth_of_the_time() {
        let due = |limit: f64, validation: u64, since: u64| {
            let now = Moment {
                validation: Duration::from_secs(validation),
                ..at(5, since)
            };
            of_seconds(limit).validates(&now)
        };
        assert!(!due(3600.0, 0, 7) && due(3600.0, 0, 8));
        assert!(!due(3600.0, 4, 79) && due(3600.0, 4, 80));
        assert!(!due(20.0, 4, 4) && due(20.0, 4, 5));
        assert!(due(1e300, u64::MAX, u64::MAX));
    }

    #[test]
    fn the_last_validation_is_within_the_time() {
        let pace = of_seconds(60.0);
        let mut now = at(5, 58);
        assert!(!pace.is_over(&now));
        now.validation = Duration::from_secs(2);
        assert!(pace.is_over(&now) && pace.validates(&now));
    }
}
