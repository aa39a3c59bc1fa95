//! Threads that stay awake between the steps of a stream.
//!
//! ```text
//! caller      job, round + 1 ─┬─ part 0 ── every part that nobody has taken ── waits ── returns
//! helper p                    └─ sees the round, takes part p, does it
//! ```
//!
//! A round costs some 400 ns: trips of cache lines, there and back, and the state that the threads exchange. That is little
//! beside a step of 128 units or more, where rousing the threads of a pool would cost more than the step. The caller never
//! waits for a helper that has not come, so a round ends whatever becomes of the helpers; it waits for one that has begun.

use std::boxed::Box;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};
use std::vec::Vec;

use crate::meeting::{Apart, MOST_PARTS};
use crate::rehearsal::this_thread;

/// Helpers for [`Stepper::with_team`](crate::Stepper::with_team).
///
/// A helper spins on its core for about a tenth of a millisecond after the last step, and then sleeps; the next step rouses
/// it (a system call) and does without it. A step never waits for a helper that has not come, but for one that has begun its
/// part, also if it loses its core there: where steps have deadlines, give helpers cores of their own, and the caller's
/// priority. Several streams may share a team; of two that step at the same time, one goes alone.
///
/// ```
/// use ifog_kernels::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shape = Shape::new(Cell::Lstm, 256, 256)?;
/// let mut cell = PackedCell::new(Level::detect()?, shape, Uses { dense_input: true, backward: false })?;
/// cell.pack(shape.split(&vec![0.01f32; shape.param_len()])?);
///
/// let team = Team::new(2, |_helper| {})?;
/// let (mut alone, mut shared) = (cell.stepper()?, cell.stepper()?.with_team(&team));
/// let (mut a, mut b) = ([0.0; 256], [0.0; 256]);
/// alone.step(&[0.5; 256], &mut a)?;
/// shared.step(&[0.5; 256], &mut b)?;
/// assert_eq!(a, b);
/// # Ok(())
/// # }
/// ```
pub struct Team {
    rounds: Arc<Rounds>,
    helpers: Vec<JoinHandle<()>>,
}

/// What caller and helpers share.
struct Rounds {
    /// The number of the last round, or [`CLOSED`]: all that a waiting helper looks at.
    round: Apart<AtomicUsize>,
    /// Written by the caller before it opens a round, read by who has taken a part of that round.
    job: UnsafeCell<Option<Job>>,
    /// One for each helper.
    parts: Box<[Part]>,
    /// A caller is in a round.
    busy: AtomicBool,
    /// A part panicked that a helper, or the caller in its place, had taken.
    broken: AtomicBool,
    /// Spins until a helper sleeps.
    patience: usize,
}

/// The part of one helper: of every round, each is taken by exactly one thread.
struct Part {
    /// The last round of which it was taken.
    taken: Apart<AtomicUsize>,
    /// The last round of which it is done.
    done: Apart<AtomicUsize>,
    asleep: Apart<AtomicBool>,
}

/// A borrow of the caller's closure, without its lifetime.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(usize) + Sync));

// SAFETY: `job` is written before a round opens and read by those who have taken a part of it; the caller leaves the
// round, and lets go of the closure, when all parts are done. The closure is `Sync`.
unsafe impl Sync for Rounds {}
// SAFETY: as above: a helper gets no more than a shared borrow of a `Sync` closure.
unsafe impl Send for Rounds {}

impl Team {
    /// A team of `threads`, the calling one among them: starts `threads` − 1 helpers, at most 15. Each calls `start` with its
    /// number, from 1, before it helps: the place to give it a core or a priority.
    ///
    /// # Errors
    /// The system does not start a thread.
    pub fn new(
        threads: usize,
        start: impl Fn(usize) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::with_patience(threads, PATIENCE, start)
    }

    fn with_patience(
        threads: usize,
        patience: usize,
        start: impl Fn(usize) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let helpers = threads.clamp(1, MOST_PARTS) - 1;
        let part = || Part {
            taken: Apart(AtomicUsize::new(0)),
            done: Apart(AtomicUsize::new(0)),
            asleep: Apart(AtomicBool::new(false)),
        };
        let rounds = Arc::new(Rounds {
            round: Apart(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            parts: core::iter::repeat_with(part).take(helpers).collect(),
            busy: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            patience,
        });
        let mut team = Self {
            rounds: Arc::clone(&rounds),
            helpers: Vec::new(),
        };
        for helper in 0..helpers {
            let (rounds, start) = (Arc::clone(&rounds), start.clone());
            let thread = std::thread::Builder::new().spawn(move || {
                start(helper + 1);
                rounds.help(helper);
            })?;
            team.helpers.push(thread);
        }
        Ok(team)
    }

    /// Threads, the caller's among them.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Waits until every helper has come to a round; false if that takes longer than some milliseconds.
    pub(crate) fn rally(&self) -> bool {
        let caller = this_thread();
        let start = Instant::now();
        loop {
            let alone = AtomicBool::new(false);
            self.run(&|part| {
                if part > 0 && this_thread() == caller {
                    alone.store(true, Ordering::Relaxed);
                }
                // So that a helper has time to take its part.
                while part == 0 && start.elapsed() < RALLY && self.waits_for_a_helper() {
                    spin_loop();
                }
            });
            if !alone.load(Ordering::Relaxed) {
                return true;
            }
            if start.elapsed() > RALLY {
                return false;
            }
        }
    }

    /// Whether a part of the open round was not taken yet.
    fn waits_for_a_helper(&self) -> bool {
        let round = self.rounds.round.0.load(Ordering::Relaxed);
        let mut parts = self.rounds.parts.iter();
        parts.any(|part| part.taken.0.load(Ordering::Relaxed) < round)
    }

    /// Calls `work(part)` once for each part below [`Team::threads`]; what it wrote is visible when this returns.
    ///
    /// # Panics
    /// `work` panicked, on this thread or another.
    pub(crate) fn run(&self, work: &(dyn Fn(usize) + Sync)) {
        let rounds = &*self.rounds;
        if rounds.busy.swap(true, Ordering::Acquire) {
            return (0..self.threads()).for_each(work);
        }
        let round = rounds.round.0.load(Ordering::Relaxed) + 1;
        if round == CLOSED {
            // Of 32 bits, after a day of 48,000 rounds a second: `busy` stays, and everybody goes alone.
            return (0..self.threads()).for_each(work);
        }
        let work_until_done: *const (dyn Fn(usize) + Sync + '_) = work;
        // SAFETY: no round is open, so nobody reads the job. Its lifetime is forgotten for as long as this call lasts: `Open`
        // does not let it end before every part is done, be it by a panic.
        let job = unsafe {
            let job = Job(core::mem::transmute::<
                *const (dyn Fn(usize) + Sync + '_),
                *const (dyn Fn(usize) + Sync + 'static),
            >(work_until_done));
            *rounds.job.get() = Some(job);
            job
        };
        // Of a round before, whose caller knows.
        rounds.broken.store(false, Ordering::Relaxed);
        // Either this thread sees a helper asleep, or the helper sees the round.
        rounds.round.0.store(round, Ordering::SeqCst);
        let open = Open { rounds, round };
        for (part, helper) in rounds.parts.iter().zip(&self.helpers) {
            part.rouse(helper.thread());
        }
        work(0);
        for (helper, part) in rounds.parts.iter().enumerate() {
            if part.take(round) {
                // SAFETY: the round is open, and the part is this thread's.
                unsafe { rounds.finish(helper, round, job) };
            }
        }
        drop(open);
        assert!(
            !rounds.broken.load(Ordering::Relaxed),
            "a part of the team's work panicked"
        );
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.rounds.round.0.store(CLOSED, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A panic was reported by `run`.
            let _ = helper.join();
        }
    }
}

impl core::fmt::Debug for Team {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Team")
            .field("threads", &self.threads())
            .finish()
    }
}

impl Rounds {
    /// The life of a helper.
    fn help(&self, helper: usize) {
        let part = &self.parts[helper];
        let mut seen = 0;
        let mut spins = 0;
        loop {
            let round = self.round.0.load(Ordering::Acquire);
            if round == CLOSED {
                return;
            }
            if round != seen {
                seen = round;
                spins = 0;
                if part.take(round) {
                    // SAFETY: the part of the open round is this thread's, so the caller waits, and the job stands.
                    let Some(job) = (unsafe { *self.job.get() }) else {
                        continue;
                    };
                    // SAFETY: as above.
                    unsafe { self.finish(helper, round, job) };
                }
            } else if spins < self.patience {
                spins += 1;
                spin_loop();
            } else {
                spins = 0;
                part.asleep.0.store(true, Ordering::SeqCst);
                if self.round.0.load(Ordering::SeqCst) == seen {
                    std::thread::park();
                }
                part.asleep.0.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Does the part of a helper. The job stays a pointer: the caller may free the closure as soon as the part is done, which
    /// is before this returns, and an argument that is a reference would have to be valid until then.
    ///
    /// # Safety
    /// The calling thread has taken the part, and `job` is that of the open round.
    unsafe fn finish(&self, helper: usize, round: usize, job: Job) {
        let mut finish = Finish {
            rounds: self,
            part: &self.parts[helper],
            round,
            whole: false,
        };
        // SAFETY: the part is not done before `finish` is dropped, so the caller waits, and the closure stands during this call.
        unsafe { (*job.0)(helper + 1) };
        finish.whole = true;
    }
}

impl Part {
    /// Whether the part of this round is now the calling thread's.
    fn take(&self, round: usize) -> bool {
        let last = self.taken.0.load(Ordering::Relaxed);
        last < round
            && self
                .taken
                .0
                .compare_exchange(last, round, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    fn rouse(&self, thread: &Thread) {
        if self.asleep.0.load(Ordering::SeqCst) {
            thread.unpark();
        }
    }
}

/// An open round. Dropped, it waits for every part that was taken, and sees to it that no other is: after a panic the result
/// is lost anyway.
struct Open<'a> {
    rounds: &'a Rounds,
    round: usize,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        for part in &self.rounds.parts {
            if part.take(self.round) {
                continue;
            }
            let mut spins = 0_usize;
            while part.done.0.load(Ordering::Acquire) < self.round {
                spins += 1;
                if spins > YIELD_AFTER {
                    // It has lost its core.
                    std::thread::yield_now();
                } else {
                    spin_loop();
                }
            }
        }
        self.rounds.busy.store(false, Ordering::Release);
    }
}

/// A part of a round. Dropped, it is done, be it by a panic.
struct Finish<'a> {
    rounds: &'a Rounds,
    part: &'a Part,
    round: usize,
    /// Whether the work has come to its end.
    whole: bool,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.rounds.broken.store(true, Ordering::Relaxed);
        }
        self.part.done.0.store(self.round, Ordering::Release);
    }
}

/// What helpers may take to come, as after their start.
const RALLY: Duration = Duration::from_millis(5);
/// No round has this number.
const CLOSED: usize = usize::MAX;
/// Spins of a helper, about 20 ns each, from the last round until it sleeps.
const PATIENCE: usize = 5_000;
/// Spins of a caller until it gives its core to a helper that has begun.
const YIELD_AFTER: usize = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Each part of each round once, and visible after it, with helpers that are awake, fall asleep at once, or more than the
    /// machine has cores.
    #[test]
    fn every_part_of_every_round_is_done_once() {
        for threads in 1..=4 {
            for patience in [0, 50, PATIENCE] {
                let team = Team::with_patience(threads, patience, |_| {}).unwrap();
                assert_eq!(team.threads(), threads);
                let counts: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
                for round in 1..=2_000 {
                    team.run(&|part| {
                        counts[part].fetch_add(1, Ordering::Relaxed);
                    });
                    for count in &counts {
                        assert_eq!(count.load(Ordering::Relaxed), round);
                    }
                }
            }
        }
    }

    #[test]
    fn helpers_rally_unless_somebody_else_has_them() {
        let team = Team::new(2, |_| {}).unwrap();
        // Under other load some milliseconds may not do.
        assert!((0..100).any(|_| team.rally()));
        team.rounds.busy.store(true, Ordering::Relaxed);
        assert!(!team.rally());
        team.rounds.busy.store(false, Ordering::Relaxed);
    }

    #[test]
    fn of_two_callers_one_goes_alone() {
        let team = Team::new(2, |_| {}).unwrap();
        let sum = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        team.run(&|part| {
                            sum.fetch_add(1 + part as u64, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 2 * 2_000 * 3);
    }

    #[test]
    fn a_panic_on_any_thread_ends_the_round_and_is_reported() {
        for at in 0..4 {
            let team = Team::new(4, |_| {}).unwrap();
            let run = || {
                for _ in 0..10_000 {
                    team.run(&|part| assert!(part != at, "planted"));
                }
            };
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
            // A helper whose work panicked is gone, and others do its part.
            let sum = AtomicU64::new(0);
            let add = |part: usize| {
                sum.fetch_add(1u64 << part, Ordering::Relaxed);
            };
            team.run(&add);
            assert_eq!(sum.into_inner(), 0b1111);
        }
    }
}
