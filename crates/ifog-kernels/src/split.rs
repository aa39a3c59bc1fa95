//! How a call over a sequence is split between threads.
//!
//! Rows first: a thread that has rows of its own runs their whole sequences and meets nobody. If the rows are few, a thread
//! that has all units of them reads all weights at every step, and it is faster to share the units, each thread
//! reading its part, and to meet after every step.
//!
//! ```text
//! a step on one thread     max(2·B·k·n / FLOPS, bytes of k·n weights / BYTES),
//!                          of weights that L2 does not keep max(…, half of the computing + bytes / FAR_BYTES)
//! rows, p threads          the same with ⌈B/p⌉ rows
//! units, p threads         the same with the largest share of the panels, + MEETING
//! ```
//!
//! and WAKE_UP for more than one thread. FLOPS, BYTES and MEETING were measured on Zen 4, FAR_BYTES on Emerald Rapids (`ifog bench`); they
//! decide about speed alone, never about bits.

use core::ops::Range;

use crate::cells::forward::{Phase, Work};
use crate::meeting::MOST_PARTS;
use crate::parallel;

/// Who does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// Parts of the rows; one part: no threads at all.
    Rows(usize),
    /// Parts of the units of each step.
    Units(usize),
}

/// The steps of a call: their number, rows, and the recurrent matrix of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    /// H.
    pub(crate) hidden: usize,
    /// G·H.
    pub(crate) columns: usize,
    /// Bytes of an element.
    pub(crate) element: usize,
    /// Meetings of a step: 2 where the units of a step are two sweeps.
    pub(crate) phases: usize,
    /// Panels of the sweep that has the fewest: what can be shared.
    pub(crate) panels: usize,
    /// Nanoseconds of a meeting.
    pub(crate) meeting: f64,
}

/// Bytes and FLOPs of a nanosecond, of one core, for f32.
const FLOPS: f64 = 105.0;
const BYTES: f64 = 100.0;
/// From behind L2, where reading goes on beside half of the computing. Two threads on Emerald Rapids, an LSTM of 512 units: inference
/// of 8, 16 and 24 rows by units took 26, 18 and 20 % less time than by rows, training 17, 10 and 9 %, and of 32 rows on nothing for certain.
const FAR_BYTES: f64 = 28.0;
/// Bytes of weights that L2 keeps from step to step.
const IN_L2: f64 = 1_048_576.0;
/// Nanoseconds until all threads know that all are done: the line of each goes to the others and back. 370 were seen at most
/// times and 1,000 at some, by where the cores are that a virtual machine gets: who gains little from meeting should not.
pub(crate) const MEETING: f64 = 450.0;
/// The same of a round of a team: two trips, and a state that moves from cache to cache. 400 were seen at most times, and
/// 1,400.
#[cfg(feature = "std")]
pub(crate) const ROUND: f64 = 800.0;
/// Nanoseconds until a sleeping thread of a pool has come.
const WAKE_UP: f64 = 8_000.0;
/// Of the time that the call takes one thread, what a thread waits for others in all before it goes on without them.
const PATIENCE: f64 = 0.0625;

impl Split {
    /// The fastest split for up to `threads` threads.
    pub(crate) fn of(steps: Steps, threads: usize) -> Self {
        let by_rows = threads.min(steps.batch);
        let by_units = threads.min(MOST_PARTS).min(steps.panels);
        let candidates = [
            (Self::Rows(1), steps.time(1, 1)),
            (Self::Rows(by_rows), steps.time(by_rows, 1) + WAKE_UP),
            (Self::Units(by_units), steps.time(1, by_units) + WAKE_UP),
        ];
        let mut best = candidates[0];
        for candidate in candidates {
            if candidate.1 < best.1 {
                best = candidate;
            }
        }
        best.0
    }

    /// Calls `work` for every part of the steps `range` of a call, forwards or backwards.
    pub(crate) fn drive(
        self,
        call: &Steps,
        range: Range<usize>,
        backwards: bool,
        work: &(dyn Fn(Work) + Sync),
    ) {
        let (batch, phases) = (call.batch, call.phases);
        match self {
            Self::Rows(parts) => parallel::run(parts, &|part| {
                work(Work {
                    steps: range.clone(),
                    rows: parallel::share(batch, part, parts),
                    share: (0, 1),
                    phase: Phase::All,
                });
            }),
            Self::Units(parts) => {
                let rounds = range.len() * phases;
                let (patience, free) = call.waits(range.len(), rounds, (1, parts));
                parallel::run_rounds(parts, rounds, patience, free, &|round, part| {
                    let index = round / phases;
                    let t = match backwards {
                        true => range.end - 1 - index,
                        false => range.start + index,
                    };
                    work(Work {
                        steps: t..t + 1,
                        rows: 0..batch,
                        share: (part, parts),
                        phase: match (phases, round % phases) {
                            (1, _) => Phase::All,
                            (_, 0) => Phase::First,
                            _ => Phase::Second,
                        },
                    });
                });
            }
        }
    }
}

impl Steps {
    /// The fastest number of parts of the units, up to `threads`, for threads that are awake.
    #[cfg(feature = "std")]
    pub(crate) fn units_worth(&self, threads: usize) -> usize {
        let most = threads.min(MOST_PARTS).min(self.panels);
        let time = |parts: &usize| self.time(1, *parts);
        (1..=most)
            .min_by(|a, b| time(a).total_cmp(&time(b)))
            .unwrap_or(1)
    }

    /// Nanoseconds that a thread may wait for others: in all of so many steps, and in each of their rounds for nothing. The rows are in
    /// `rows` parts, or the units in `units`.
    pub(crate) fn waits(
        &self,
        steps: usize,
        rounds: usize,
        (rows, units): (usize, usize),
    ) -> (f64, f64) {
        let here = Self { steps, ..*self };
        // Half of a part's time: a core that is slower by that much is worth waiting for.
        let free = here.time(rows, units) / rounds as f64 / 2.0;
        (here.time(1, 1) * PATIENCE, free)
    }

    /// Nanoseconds with the rows in `rows` parts and the units in `units`.
    fn time(&self, rows: usize, units: usize) -> f64 {
        let here = self.batch.div_ceil(rows) as f64;
        // The largest share of the panels.
        let share = self.panels.div_ceil(units) as f64 / self.panels as f64;
        let weights = (self.hidden * self.columns) as f64 * share;
        let scale = self.element as f64 / 4.0;
        // A panel is read once for each tile of rows; the second time from L1 or L2.
        let compute = 2.0 * here * weights * scale / FLOPS;
        let bytes = weights * self.element as f64;
        let read = if bytes > IN_L2 {
            bytes / FAR_BYTES + compute / 2.0
        } else {
            bytes / BYTES
        };
        let meetings = if units > 1 {
            self.meeting * self.phases as f64
        } else {
            0.0
        };
        (compute.max(read) + meetings) * self.steps as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lstm(steps: usize, batch: usize, hidden: usize) -> Steps {
        Steps {
            steps,
            batch,
            hidden,
            columns: 4 * hidden,
            element: 4,
            phases: 1,
            panels: hidden.div_ceil(16),
            meeting: MEETING,
        }
    }

    #[test]
    fn rows_first_then_units_and_nothing_for_a_moment_of_work() {
        assert_eq!(Split::of(lstm(64, 32, 256), 2), Split::Rows(2));
        assert_eq!(Split::of(lstm(256, 1, 256), 2), Split::Units(2));
        // A row a thread reads all weights twice; sharing the units reads them once.
        assert_eq!(Split::of(lstm(64, 2, 1024), 2), Split::Units(2));
        // Of weights behind L2 also some rows a thread do, as long as reading takes longer than half of the computing.
        assert_eq!(Split::of(lstm(64, 16, 512), 2), Split::Units(2));
        assert_eq!(Split::of(lstm(64, 32, 512), 2), Split::Rows(2));
        assert_eq!(Split::of(lstm(64, 16, 256), 2), Split::Rows(2));
        assert_eq!(Split::of(lstm(1, 1, 64), 2), Split::Rows(1));
        assert_eq!(Split::of(lstm(256, 1, 16), 8), Split::Rows(1));
        assert_eq!(Split::of(lstm(256, 1, 64), 2), Split::Rows(1));
        assert_eq!(Split::of(lstm(64, 32, 256), 1), Split::Rows(1));
    }

    /// BPTT drives a call in pieces: what a round may wait is not that of the whole.
    #[test]
    fn a_piece_waits_for_its_own_steps() {
        let call = lstm(64, 16, 512);
        let (patience, free) = call.waits(64, 64, (1, 2));
        let (of_a_piece, free_there) = call.waits(32, 32, (1, 2));
        assert!((of_a_piece * 2.0 / patience - 1.0).abs() < 1e-9);
        assert!((free_there / free - 1.0).abs() < 1e-9);
    }

    #[cfg(feature = "std")]
    #[test]
    fn a_team_shares_steps_that_are_long_beside_its_round() {
        let parts = |width| {
            let step = Steps {
                // W and U.
                hidden: 2 * width,
                meeting: ROUND,
                ..lstm(1, 1, width)
            };
            step.units_worth(2)
        };
        assert_eq!([16, 64, 96, 512].map(parts), [1, 1, 2, 2]);
    }
}
