//! A case in turns with what it is compared with.
//!
//! A shared machine changes its speed by a third within seconds. What was measured a minute ago, the peak or one thread's time, says
//! little of what is measured now; what was measured just before and just after says most of it.

use super::timing::repeats;
use super::{BenchError, Case, Effort, Machine, Timing, Workload};
use crate::quantile::quantile;

/// A case, beside the limit of the machine and one thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Seconds of a call.
    pub timing: Timing,
    /// Seconds at the limit of the machine ([`Case::bound`]), at the speed that the machine had meanwhile: the median of bound / time,
    /// each run beside the bounds before and behind it, times the median time.
    pub bound: f64,
    /// With several threads, how many times one thread's speed: a median, too.
    pub speed_up: Option<f64>,
}

impl Measured {
    /// Bound / time.
    pub fn fraction(&self) -> f64 {
        self.bound / self.timing.median
    }
}

impl Workload {
    /// Times calls of the pass in turns with the limits of the machine and, if it has several threads, with one thread.
    ///
    /// # Errors
    /// The machine cannot be measured with so many threads, or there is no memory for the case of one thread.
    pub fn measure_in_turns(
        &mut self,
        effort: Effort,
        machine: &mut Machine,
    ) -> Result<Measured, BenchError> {
        let case = self.case();
        let mut single = match case.threads {
            1 => None,
            _ => Some(Workload::new(Case { threads: 1, ..case }, self.level())?),
        };
        let calls = self.with_call(|call| repeats(effort, call));
        let single_calls = single
            .as_mut()
            .map_or(1, |single| single.with_call(|call| repeats(effort, call)));
        let mut beside = |machine: &mut Machine| -> Result<_, BenchError> {
            machine.renew();
            let bound = case.bound(machine)?;
            let time = single.as_mut().map(|single| single.seconds(single_calls));
            Ok((bound, time))
        };
        let (mut runs, mut fractions, mut speed_ups) = (Vec::new(), Vec::new(), Vec::new());
        let mut before = beside(machine)?;
        let mut spent = 0.0;
        while effort.wants_more(runs.len(), spent) {
            let time = self.seconds(calls);
            spent += time * calls as f64;
            let behind = beside(machine)?;
            runs.push(time);
            fractions.push((before.0 + behind.0) / 2.0 / time);
            if let (Some(before), Some(behind)) = (before.1, behind.1) {
                speed_ups.push((before + behind) / 2.0 / time);
            }
            before = behind;
        }
        let timing = Timing::of_runs(runs);
        Ok(Measured {
            timing,
            bound: median(fractions) * timing.median,
            speed_up: (case.threads > 1).then(|| median(speed_ups)),
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::time::Duration;

    use ifog_kernels::{Cell, Level};

    use super::*;
    use crate::bench::Pass;

    /// What is known of a machine is of another moment: this one would need hours.
    #[test]
    fn the_limit_is_measured_with_the_case() {
        let case = Case {
            pass: Pass::Infer,
            cell: Cell::Rnn,
            batch: 1,
            steps: 1,
            input: 64,
            hidden: 64,
            threads: 1,
        };
        let mut machine = Machine::assumed(1.0, 1e12);
        let mut workload = Workload::new(case, Level::PORTABLE).unwrap();
        let measured = workload.measure_in_turns(Effort::SMOKE, &mut machine);
        assert!(measured.unwrap().bound < 1.0 && case.flops() > 3600.0);
    }

    #[test]
    fn several_threads_are_put_beside_one() {
        let level = Level::best();
        let mut machine = Machine::new(level);
        for pass in [Pass::Infer, Pass::Train, Pass::Step] {
            let batch = if pass == Pass::Step { 1 } else { 4 };
            for threads in [1, 2] {
                let case = Case {
                    pass,
                    cell: Cell::Lstm,
                    batch,
                    steps: 1,
                    input: 8,
                    hidden: 32,
                    threads,
                };
                let effort = Effort {
                    runs: 3,
                    run: Duration::from_micros(100),
                };
                let mut workload = Workload::new(case, level).unwrap();
                let measured = workload.measure_in_turns(effort, &mut machine).unwrap();
                assert_eq!(measured.speed_up.is_some(), threads > 1);
                assert!(measured.speed_up.is_none_or(|times| times > 0.0));
                assert!(measured.bound > 0.0 && measured.timing.min > 0.0);
            }
        }
    }
}
