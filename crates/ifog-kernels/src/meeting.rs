//! Threads that share the units of every step, and meet after it; or the weight gradients of some steps.
//!
//! ```text
//! round     part 0      part 1      part 2        a round is a step (or half of one), a part some units,
//!                                                 or a piece of BPTT and some rows
//!   0       ────────┐   ─────┐      ───────┐
//!   1               ├────    ├────────     ├──    no part of a round starts before all of the last are done
//! ```
//!
//! A part belongs to a thread, whose caches hold its weights, but a thread that waits takes over the part of one
//! that is not there. So whoever calls can finish alone: a pool that never runs the others, or runs them when all is over,
//! makes the call slower, not stuck. A thread that has lost its core is waited for until the waiting since the last one was left out
//! comes to a share of the call's time, and is then left out for the rest of it: to go on without it costs more the more is left to do, and parts of one
//! round may differ by more than the steps of a small call take. About half of a part's time, in each round, does not count: a core that
//! is slower than the others by so much is still better than none. Nobody sleeps, nobody holds a lock.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most parts. More threads than that share rows or nothing.
pub(crate) const MOST_PARTS: usize = 16;

/// The state of one call.
pub(crate) struct Meeting {
    parts: [Part; MOST_PARTS],
    count: usize,
    rounds: usize,
    /// Bit p: the thread of part p has come, and is not left out.
    here: AtomicUsize,
    /// Whether some work panicked, and its part will never be done.
    broken: AtomicBool,
    /// Spins that a thread waits in all, those at the beginning of each wait apart, before it leaves another one out.
    patience: usize,
    /// Spins at the beginning of each wait that count for nothing.
    free: usize,
}

struct Part {
    claim: Apart<Claim>,
    /// Rounds of this part that are done: what the others look at all the time.
    done: Apart<AtomicUsize>,
}

/// Left alone by the others while its thread is there.
struct Claim {
    /// The first round of this part that nobody has taken.
    taken: AtomicUsize,
    /// Who took it last.
    holder: AtomicUsize,
}

/// On a cache line of its own, away from the line that the adjacent-line prefetcher brings along.
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

impl Meeting {
    /// `count` parts of each of `rounds` rounds; `patience` is nanoseconds beside [`LEAST_PATIENCE`], `free` are those of each wait beside
    /// [`LEAST_FREE`].
    ///
    /// # Panics
    /// `count` is more than [`MOST_PARTS`].
    pub(crate) fn new(count: usize, rounds: usize, patience: f64, free: f64) -> Self {
        assert!(count <= MOST_PARTS, "{count} parts");
        Self {
            parts: [const {
                Part {
                    claim: Apart(Claim {
                        taken: AtomicUsize::new(0),
                        holder: AtomicUsize::new(0),
                    }),
                    done: Apart(AtomicUsize::new(0)),
                }
            }; MOST_PARTS],
            count,
            rounds,
            here: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            patience: LEAST_PATIENCE.saturating_add((patience / SPIN) as usize),
            free: LEAST_FREE.saturating_add((free / SPIN) as usize),
        }
    }

    /// Does part `own` of every round, and parts of others that do not come. When the last thread returns, all rounds
    /// are done.
    ///
    /// `work(round, part)` is called once for each, whatever the number of threads; what it wrote in one round is visible
    /// to every call of the next.
    ///
    /// # Panics
    /// `work` panicked, on this thread or another.
    pub(crate) fn attend(&self, own: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        self.here.fetch_or(1 << own, Ordering::Relaxed);
        // Who is late joins the last round that this part has seen, which others may still be working on.
        let first = self.parts[own].done.0.load(Ordering::Acquire);
        let mut patience = self.patience;
        for round in first.saturating_sub(1)..self.rounds {
            if !self.is_here(own) {
                return;
            }
            self.take(own, own, round, work);
            for other in (0..self.count).filter(|part| *part != own) {
                self.await_part(own, other, round, &mut patience, work);
            }
            self.await_part(own, own, round, &mut patience, work);
        }
    }

    fn is_here(&self, thread: usize) -> bool {
        self.here.load(Ordering::Relaxed) & (1 << thread) != 0
    }

    fn await_part(
        &self,
        own: usize,
        part: usize,
        round: usize,
        patience: &mut usize,
        work: &(dyn Fn(usize, usize) + Sync),
    ) {
        let state = &self.parts[part];
        let mut spins = 0usize;
        while state.done.0.load(Ordering::Acquire) <= round {
            assert!(
                !self.broken.load(Ordering::Relaxed),
                "another part of the call panicked"
            );
            if spins >= self.free {
                match patience.checked_sub(1) {
                    Some(rest) => *patience = rest,
                    None => {
                        self.leave_out(own, part, round);
                        *patience = self.patience;
                    }
                }
            }
            if !self.is_here(part) && self.take(own, part, round, work) {
                return;
            }
            spins += 1;
            wait(spins);
        }
    }

    /// Leaves out whoever the part of the round is waiting for. Only a thread that is in leaves another one out, in one
    /// step: so somebody always stays.
    fn leave_out(&self, own: usize, part: usize, round: usize) {
        let state = &self.parts[part];
        let late = match state.claim.0.taken.load(Ordering::Relaxed) > round {
            true => state.claim.0.holder.load(Ordering::Relaxed),
            false => part,
        };
        if late == own {
            return;
        }
        let without = |here: usize| (here & (1 << own) != 0).then_some(here & !(1 << late));
        // That it was left out meanwhile, or that this thread was, is as good.
        let _ = self
            .here
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, without);
    }

    /// Does the part of the round unless somebody else has taken it.
    fn take(
        &self,
        own: usize,
        part: usize,
        round: usize,
        work: &(dyn Fn(usize, usize) + Sync),
    ) -> bool {
        let state = &self.parts[part];
        let taken = state
            .claim
            .0
            .taken
            .compare_exchange(round, round + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if taken {
            state.claim.0.holder.store(own, Ordering::Relaxed);
            let broken = BrokenUnlessForgotten(&self.broken);
            work(round, part);
            core::mem::forget(broken);
            state.done.0.store(round + 1, Ordering::Release);
        }
        taken
    }
}

/// A moment of waiting. A thread that waits for long gives its core to whoever it waits for.
fn wait(spins: usize) {
    #[cfg(feature = "std")]
    if spins > LEAST_PATIENCE && spins.is_multiple_of(64) {
        return std::thread::yield_now();
    }
    let _ = spins;
    core::hint::spin_loop();
}

/// Dropped by a panic alone: nobody waits for ever for a part that will not come.
struct BrokenUnlessForgotten<'a>(&'a AtomicBool);

impl Drop for BrokenUnlessForgotten<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Nanoseconds of a spin, about.
const SPIN: f64 = 20.0;
/// Spins of patience in the shortest call: parts are of about equal size, and end within microseconds of each other while everybody
/// has a core.
const LEAST_PATIENCE: usize = 10_000;
/// Spins at the beginning of each wait that count for nothing at least: what a meeting takes.
const LEAST_FREE: usize = 50;

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
                let meeting = Meeting::new(count, ROUNDS, 0.0, 0.0);
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

    /// With no patience everybody leaves everybody out all the time; somebody must stay, and do everything.
    #[test]
    fn threads_that_leave_each_other_out_leave_nothing_undone() {
        const ROUNDS: usize = 400;
        for trial in 0..20 {
            let count = 2 + trial % 3;
            let mut meeting = Meeting::new(count, ROUNDS, 0.0, 0.0);
            meeting.patience = trial % 4;
            let log = Mutex::new(Vec::new());
            let work = |round: usize, part: usize| {
                if (round * 7 + part * 3 + trial).is_multiple_of(5) {
                    std::thread::yield_now();
                }
                log.lock().unwrap().push((round, part));
            };
            std::thread::scope(|scope| {
                for own in 1..count {
                    let (meeting, work) = (&meeting, &work);
                    scope.spawn(move || meeting.attend(own, work));
                }
                meeting.attend(0, &work);
            });
            let mut log = log.into_inner().unwrap();
            assert!(log.iter().is_sorted_by_key(|(round, _)| *round));
            log.sort_unstable();
            let all = (0..ROUNDS).flat_map(|round| (0..count).map(move |part| (round, part)));
            assert!(log.into_iter().eq(all), "trial {trial}");
        }
    }

    /// Whether both threads of two do all of their own parts, with parts of 5 ms until both have come and `slow` ones of the second
    /// afterwards.
    fn is_waited_for(patience: f64, free: f64, slow: fn(usize) -> bool) -> bool {
        const ROUNDS: usize = 60;
        let meeting = Meeting::new(2, ROUNDS, patience, free);
        let log = Mutex::new(Vec::new());
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for own in 0..2 {
                let (meeting, log, start) = (&meeting, &log, &start);
                scope.spawn(move || {
                    start.wait();
                    meeting.attend(own, &|round, part| {
                        if round < 10 || (part == 1 && slow(round)) {
                            std::thread::sleep(std::time::Duration::from_millis(5));
                        }
                        log.lock().unwrap().push((round, part, own));
                    });
                });
            }
        });
        let log = log.into_inner().unwrap();
        let own = |(round, part, by): &(usize, usize, usize)| *round <= 30 || part == by;
        log.iter().all(own)
    }

    #[test]
    fn who_is_late_for_once_is_left_out_only_for_want_of_patience() {
        let once = |round| round == 30;
        assert!(is_waited_for(10e9, 0.0, once));
        assert!(!is_waited_for(0.0, 0.0, once));
    }

    #[test]
    fn who_is_slower_in_every_round_stays_where_that_is_free() {
        let always = |_| true;
        assert!(is_waited_for(0.0, 1e9, always));
        assert!(!is_waited_for(0.0, 0.0, always));
    }

    #[test]
    fn a_panic_of_one_part_ends_the_others() {
        let meeting = Meeting::new(2, 50, 0.0, 0.0);
        let work = |round: usize, part: usize| assert!(round < 20 || part == 0, "planted");
        let ended = std::thread::scope(|scope| {
            let threads = [0, 1].map(|own| {
                let (meeting, work) = (&meeting, &work);
                scope.spawn(move || meeting.attend(own, work))
            });
            threads.map(|thread| thread.join().is_err())
        });
        assert!(ended[0] || ended[1]);
    }

    #[test]
    fn who_comes_when_all_is_over_does_nothing() {
        let meeting = Meeting::new(2, 3, 0.0, 0.0);
        let calls = AtomicUsize::new(0);
        let work = |_, _| {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        meeting.attend(0, &work);
        meeting.attend(1, &work);
        assert_eq!(calls.into_inner(), 6);
    }
}
