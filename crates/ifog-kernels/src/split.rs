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
//! units, p threads         the same with the largest share of the panels, + 1.7 MEETING
//! ```
//!
//! and WAKE_UP for more than one thread. MEETING is measured when it matters (`rehearsal.rs`), FLOPS and BYTES were on Zen 5, FAR_BYTES on
//! Emerald Rapids (`ifog bench`); they decide about speed alone, never about bits.

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
}

/// Bytes and FLOPs of a nanosecond, of one core, for f32: of the fastest seen, Zen 5, so that on others too much is left to one thread
/// rather than too little.
const FLOPS: f64 = 200.0;
const BYTES: f64 = 150.0;
/// From behind L2, where reading goes on beside half of the computing; as few beside FLOPS as on Emerald Rapids: there, inference of an LSTM of 512 units
/// of 8, 16 and 24 rows by units took 26, 18 and 20 % less time than by rows, training 17, 10 and 9 %, and of 32 rows on nothing for certain.
const FAR_BYTES: f64 = 53.0;
/// Bytes of weights that L2 keeps from step to step.
const IN_L2: f64 = 1_048_576.0;
/// Nanoseconds until all threads know that all are done: the line of each goes to the others and back. From the least that was seen to
/// the most, by where the cores are that a virtual machine gets; between them it is measured.
const MEETING: [f64; 2] = [50.0, 1_500.0];
/// What a step of shared units takes more than its part of the work, in empty meetings: states are on their way, too, and no product
/// hides the last gates. 1.5 to 2.1 of an LSTM and a GRU with the reset behind of 96 to 160 units (Zen 5).
const EXCHANGE: f64 = 1.7;
/// What a line from another core takes where many are asked for, in meetings. Weight gradients of 128 to 512 rows of 48 to 112 units, in
/// slow minutes and in quick ones (Zen 5).
const FETCH: f64 = 0.06;
const LINE: f64 = 64.0;
/// Threads are to gain more than a model can know.
const WORTH: f64 = 1.15;
/// Nanoseconds until a sleeping thread of a pool has come: 20 µs in a virtual machine (Zen 5). Of units the other thread does the steps
/// alone that long; of rows it may have to wait for one that has come late.
const WAKE_UP_FOR_ROWS: f64 = 20_000.0;
const WAKE_UP_FOR_UNITS: f64 = 8_000.0;
/// The times of a machine beside those of the fastest.
const SLOWER: f64 = 2.0;
/// Of the time that the call takes one thread, what a thread waits for others in all before it goes on without them.
const PATIENCE: f64 = 0.0625;

impl Split {
    /// The fastest split for up to `threads` threads.
    pub(crate) fn of(steps: Steps, threads: usize) -> Self {
        if threads == 1 {
            return Self::Rows(1);
        }
        by_meeting(|meeting| Self::with(steps, threads, meeting))
    }

    /// The same if a meeting takes so many nanoseconds.
    fn with(steps: Steps, threads: usize, meeting: f64) -> Self {
        let by_rows = threads.min(steps.batch);
        let by_units = threads.min(MOST_PARTS).min(steps.panels);
        let rows = steps.time(by_rows, 1, meeting);
        let units = steps.time(1, by_units, meeting);
        let (shared, time) = match rows <= units {
            true => (Self::Rows(by_rows), rows + WAKE_UP_FOR_ROWS),
            false => (Self::Units(by_units), units + WAKE_UP_FOR_UNITS),
        };
        match time * WORTH < steps.time(1, 1, meeting) {
            true => shared,
            false => Self::Rows(1),
        }
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

/// What a model says, whose answer may depend on the nanoseconds of a meeting: these are measured where it does.
fn by_meeting<T: PartialEq>(model: impl Fn(f64) -> T) -> T {
    let [quick, slow] = MEETING.map(&model);
    #[cfg(feature = "rayon")]
    if quick != slow {
        return model(crate::rehearsal::meeting_time());
    }
    let _ = quick;
    slow
}

/// Into how many parts work is cut whose operands one thread has just made: so many FLOPs, and bytes that the others have to fetch.
pub(crate) fn parts_worth(flops: f64, bytes: f64, threads: usize) -> usize {
    by_meeting(|meeting| parts_with(flops, bytes, threads, meeting))
}

/// The same if a meeting takes so many nanoseconds.
fn parts_with(flops: f64, bytes: f64, threads: usize, meeting: f64) -> usize {
    let fetched = bytes / LINE * meeting * FETCH;
    let shared = flops / FLOPS / threads as f64 + fetched + WAKE_UP_FOR_ROWS;
    match shared * WORTH < flops / FLOPS {
        true => threads,
        false => 1,
    }
}

impl Steps {
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
        let free = here.time(rows, units, MEETING[1]) / rounds as f64 / 2.0;
        (here.time(1, 1, 0.0) * PATIENCE * SLOWER, free * SLOWER)
    }

    /// Nanoseconds with the rows in `rows` parts and the units in `units`, whose threads take so long to meet.
    fn time(&self, rows: usize, units: usize, meeting: f64) -> f64 {
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
            meeting * EXCHANGE * self.phases as f64
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
        }
    }

    #[test]
    fn rows_first_then_units_and_nothing_for_a_moment_of_work() {
        // However long a meeting takes.
        let of = |steps, threads| {
            let [quick, slow] = MEETING.map(|meeting| Split::with(steps, threads, meeting));
            assert_eq!(quick, slow, "{steps:?}");
            quick
        };
        assert_eq!(of(lstm(64, 32, 256), 2), Split::Rows(2));
        assert_eq!(of(lstm(256, 1, 256), 2), Split::Units(2));
        // A row a thread reads all weights twice; sharing the units reads them once.
        assert_eq!(of(lstm(64, 2, 1024), 2), Split::Units(2));
        // Of weights behind L2 also some rows a thread do, as long as reading takes longer than half of the computing.
        assert_eq!(of(lstm(64, 16, 512), 2), Split::Units(2));
        assert_eq!(of(lstm(64, 32, 512), 2), Split::Rows(2));
        assert_eq!(of(lstm(64, 16, 256), 2), Split::Rows(2));
        assert_eq!(of(lstm(1, 1, 64), 2), Split::Rows(1));
        assert_eq!(of(lstm(256, 1, 16), 8), Split::Rows(1));
        assert_eq!(of(lstm(256, 1, 48), 2), Split::Rows(1));
        assert_eq!(of(lstm(64, 32, 256), 1), Split::Rows(1));
    }

    /// Two threads of one complex of cores share what those of two leave to one.
    #[test]
    fn a_slow_meeting_is_for_long_steps() {
        let least = |meeting| {
            let shared = |hidden| Split::with(lstm(256, 1, hidden), 2, meeting) == Split::Units(2);
            (16..).step_by(16).find(|hidden| shared(*hidden))
        };
        let [quick, slow] = [95.0, 450.0].map(least);
        assert!(Some(64) < quick && quick <= Some(96), "{quick:?}");
        assert!(Some(112) < slow && slow <= Some(160), "{slow:?}");
    }

    #[test]
    fn what_others_would_have_to_fetch_is_worth_it_from_some_size_on() {
        // Weight gradients and dx of 64 rows of an LSTM as wide as its input.
        let parts = |h: f64, meeting| parts_with(64.0 * 24.0 * h * h, 64.0 * 16.0 * h, 2, meeting);
        assert_eq!([48.0, 128.0, 512.0].map(|h| parts(h, 95.0)), [1, 2, 2]);
        assert_eq!([48.0, 128.0, 512.0].map(|h| parts(h, 450.0)), [1, 1, 2]);
        assert_eq!(parts_with(1e9, 0.0, 1, 95.0), 1);
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
}
