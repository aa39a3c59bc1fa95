//! Threads that share the units of every step, and meet after it.
//!
//! ```text
//! round     part 0      part 1      part 2        a round is a step (or half of one), a part some units
//!   0       ────────┐   ─────┐      ───────┐
//!   1               ├────    ├────────     ├──    no part of a round starts before all of the last are done
//! ```
//!
//! A part belongs to a thread, whose caches hold its weights, but a thread that waits takes over the part of one
//! that is not there. So whoever calls can finish alone: a pool that never runs the others, or runs them when all is over,
//! makes the call slower, not stuck. A thread that has lost its core is waited for once, and is left out for the rest of
//! the call. Nobody sleeps, nobody holds a lock.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most parts. More threads than that share rows or nothing.
pub(crate) const MOST_PARTS: usize = 16;

/// The state of one call.
pub(crate) struct Meeting {
    parts: [Part; MOST_PARTS],
    count: usize,
    rounds: usize,
}

/// A part on a cache line of its own, away from the line that the adjacent-line prefetcher brings along.
#[repr(align(128))]
struct Part {
    /// The first round of this part that nobody has taken.
    taken: AtomicUsize,
    /// Rounds of this part that are done.
    done: AtomicUsize,
    /// Whether its own thread has come.
    attended: AtomicBool,
    /// Whether its own thread was too long in coming back, and does no more rounds. A thread leaves another one out only
    /// while it waits, so the last never is.
    left_out: AtomicBool,
}

impl Meeting {
    /// `count` parts, at most [`MOST_PARTS`], of each of `rounds` rounds.
    pub(crate) fn new(count: usize, rounds: usize) -> Self {
        debug_assert!(count <= MOST_PARTS);
        Self {
            parts: [const {
                Part {
                    taken: AtomicUsize::new(0),
                    done: AtomicUsize::new(0),
                    attended: AtomicBool::new(false),
                    left_out: AtomicBool::new(false),
                }
            }; MOST_PARTS],
            count,
            rounds,
        }
    }

    /// Does part `own` of every round, and parts of others that do not come. When the last thread returns, all rounds
    /// are done.
    ///
    /// `work(round, part)` is called once for each, whatever the number of threads; what it wrote in one round is visible
    /// to every call of the next.
    pub(crate) fn attend(&self, own: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        self.parts[own].attended.store(true, Ordering::Relaxed);
        // Who is late joins the last round that this part has seen, which others may still be working on.
        let first = self.parts[own].done.load(Ordering::Acquire);
        let first = first.saturating_sub(1);
        for round in first..self.rounds {
            if self.parts[own].left_out.load(Ordering::Relaxed) {
                return;
            }
            self.take(own, round, work);
            for other in (0..self.count).filter(|part| *part != own) {
                self.await_part(other, round, work);
            }
            self.await_part(own, round, work);
        }
    }

    fn await_part(&self, part: usize, round: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        let state = &self.parts[part];
        let mut spins = 0usize;
        while state.done.load(Ordering::Acquire) <= round {
            let attended = state.attended.load(Ordering::Relaxed);
            if spins == PATIENCE && attended {
                state.left_out.store(true, Ordering::Relaxed);
            }
            let absent = !attended || state.left_out.load(Ordering::Relaxed);
            if absent && self.take(part, round, work) {
                return;
            }
            spins += 1;
            wait(spins);
        }
    }

    /// Does the part of the round unless somebody else has taken it.
    fn take(&self, part: usize, round: usize, work: &(dyn Fn(usize, usize) + Sync)) -> bool {
        let state = &self.parts[part];
        let taken = state
            .taken
            .compare_exchange(round, round + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if taken {
            work(round, part);
            state.done.store(round + 1, Ordering::Release);
        }
        taken
    }
}

/// A moment of waiting. A thread that waits for long gives its core to whoever it waits for.
fn wait(spins: usize) {
    #[cfg(feature = "std")]
    if spins > PATIENCE && spins.is_multiple_of(64) {
        return std::thread::yield_now();
    }
    let _ = spins;
    core::hint::spin_loop();
}

/// Spins, about 20 ns each, after which a thread counts as gone: parts are of equal size, and end within microseconds of each
/// other while everybody has a core.
const PATIENCE: usize = 10_000;

#[cfg(all(test, feature = "std"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use std::sync::Mutex;
    use std::vec::Vec;

    /// Every round and part once, and no round before the one before it is over, for threads that come, come late or
    /// never come.
    #[test]
    fn every_part_of_every_round_is_done_once_and_in_order() {
        const ROUNDS: usize = 300;
        for count in 1..=4 {
            for attending in 1..=count {
                let meeting = Meeting::new(count, ROUNDS);
                let log = Mutex::new(Vec::new());
                let work = |round, part| log.lock().unwrap().push((round, part));
                std::thread::scope(|scope| {
                    let (meeting, work) = (&meeting, &work);
                    for own in 1..attending {
                        scope.spawn(move || {
                            if own == 2 {
                                std::thread::yield_now();
                            }
                            meeting.attend(own, work);
                        });
                    }
                    meeting.attend(0, work);
                });
                let log = log.into_inner().unwrap();
                let rounds: Vec<usize> = log.iter().map(|(round, _)| *round).collect();
                assert!(rounds.is_sorted(), "{count} parts, {attending} threads");
                let mut all = log.clone();
                all.sort_unstable();
                let expected =
                    (0..ROUNDS).flat_map(|round| (0..count).map(move |part| (round, part)));
                assert!(
                    all.into_iter().eq(expected),
                    "{count} parts, {attending} threads"
                );
            }
        }
    }

    #[test]
    fn who_comes_when_all_is_over_does_nothing() {
        let meeting = Meeting::new(2, 3);
        let calls = AtomicUsize::new(0);
        let work = |_, _| {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        meeting.attend(0, &work);
        meeting.attend(1, &work);
        assert_eq!(calls.into_inner(), 6);
    }
}
