//! Time, with its spread.

use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs, of which the median counts. Calls so long that the runs would take more than twice the time meant for them get
    /// fewer, but three.
    pub runs: usize,
    /// Least duration of a run, which repeats the call as often as that takes.
    pub run: Duration,
}

/// Seconds of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Median of the runs.
    pub median: f64,
    /// The fastest run.
    pub min: f64,
    /// (Third quartile − first quartile) / median: the noise of this measurement.
    pub spread: f64,
}

impl Effort {
    /// Half a second a case.
    pub const FULL: Self = Self {
        runs: 11,
        run: Duration::from_millis(50),
    };
    /// A tenth of a second a case.
    pub const QUICK: Self = Self {
        runs: 7,
        run: Duration::from_millis(12),
    };
    /// No figure worth quoting: to see that it runs.
    pub const SMOKE: Self = Self {
        runs: 1,
        run: Duration::ZERO,
    };

    /// Whether there is to be another run after so many, which took so many seconds.
    pub(super) fn wants_more(self, runs: usize, seconds: f64) -> bool {
        let meant = self.run.as_secs_f64() * self.runs as f64;
        runs < self.runs.clamp(1, FEWEST_RUNS) || runs < self.runs && seconds < 2.0 * meant
    }
}

impl Timing {
    /// Times `call`: once to warm up, then repeated within each run.
    pub fn of(effort: Effort, mut call: impl FnMut()) -> Self {
        let repeats = repeats(effort, &mut call);
        let start = Instant::now();
        let mut runs = Vec::new();
        while effort.wants_more(runs.len(), start.elapsed().as_secs_f64()) {
            let time = time(repeats, &mut call);
            runs.push(time.as_secs_f64() / repeats as f64);
        }
        Self::of_runs(runs)
    }

    /// The timing of runs, at least one.
    pub(super) fn of_runs(mut runs: Vec<f64>) -> Self {
        runs.sort_by(f64::total_cmp);
        let at = |share: f64| crate::quantile::quantile(&runs, share);
        Self {
            median: at(0.5),
            min: runs[0],
            spread: (at(0.75) - at(0.25)) / at(0.5).max(f64::MIN_POSITIVE),
        }
    }
}

/// How many calls take as long as a run. Gets there in a few rounds, each of which also warms up.
pub(super) fn repeats(effort: Effort, call: &mut dyn FnMut()) -> u64 {
    let mut repeats = 1u64;
    loop {
        let time = time(repeats, call);
        if time >= effort.run || repeats > u64::from(u32::MAX) {
            return repeats;
        }
        let factor = effort.run.as_secs_f64() / time.as_secs_f64().max(1e-9);
        repeats = (repeats as f64 * factor.clamp(1.2, 8.0)).ceil() as u64;
    }
}

/// How long so many calls take.
pub(super) fn time(repeats: u64, call: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..repeats {
        call();
    }
    start.elapsed()
}

/// However long a call is.
const FEWEST_RUNS: usize = 3;

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn median_and_spread() {
        let timing = Timing::of_runs(vec![3.0, 1.0, 2.0, 5.0, 4.0]);
        assert_eq!((timing.median, timing.min), (3.0, 1.0));
        assert!((timing.spread - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_call_is_repeated_until_it_can_be_timed() {
        let mut calls = 0u64;
        let effort = Effort {
            runs: 3,
            run: Duration::from_millis(1),
        };
        Timing::of(effort, || calls = black_box(calls + 1));
        assert!(calls > 1000, "{calls}");
    }

    #[test]
    fn long_calls_are_repeated_less() {
        let mut calls = 0;
        let effort = Effort {
            runs: 100,
            run: Duration::from_micros(10),
        };
        let slow = Duration::from_millis(3);
        Timing::of(effort, || {
            calls += 1;
            std::thread::sleep(slow);
        });
        // One to warm up.
        assert_eq!(calls, 1 + FEWEST_RUNS);
    }
}
