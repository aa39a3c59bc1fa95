//! Threads. The only file that names rayon.
//!
//! Work is cut into parts that write disjoint memory, and each output element is computed whole by one
//! part: so the number of threads cannot change a bit.

use core::ops::Range;

use crate::meeting::Meeting;

/// How many parts a call may be cut into.
///
/// With the feature `rayon` the parts run in the pool of the calling thread; without it they run one
/// after the other. Results do not depend on it.
///
/// A thread of the pool that waits for others may run another job of the pool meanwhile, as in every `rayon::join`: do not hold a lock
/// across a call that such a job could want. Threads that share units, or the rows of a backward pass, wait spinning and yield; on one core, with priorities of a
/// real-time scheduler, one of higher priority would never let the other finish: give such threads cores of their own, or
/// [`Threads::SINGLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(usize);

impl Threads {
    /// Everything on the calling thread.
    pub const SINGLE: Self = Self(1);

    /// As many as the current rayon pool has; one without the feature `rayon`.
    pub fn current() -> Self {
        #[cfg(feature = "rayon")]
        return Self(rayon::current_num_threads());
        #[cfg(not(feature = "rayon"))]
        Self::SINGLE
    }

    /// These, but no more than `most`, or one.
    #[must_use]
    pub fn at_most(self, most: usize) -> Self {
        Self(self.0.min(most.max(1)))
    }

    /// At least 1.
    pub fn count(self) -> usize {
        self.0
    }

    /// One thread for work that is over before a second one has woken up.
    pub(crate) fn worth(self, flops: u64) -> usize {
        if flops < SMALL_FLOPS { 1 } else { self.0 }
    }
}

/// About 60 µs of one core. Waking a sleeping worker takes 5 to 10, of a virtual machine up to 50, and its operands are in another cache:
/// weight gradients of 6 to 10 million took two threads 1.1 to 1.3 times as long as one, of 14 million as long (Zen 5).
const SMALL_FLOPS: u64 = 16_000_000;

/// Calls `f(part)` for each part, at the same time where there are threads.
pub(crate) fn run(parts: usize, f: &(dyn Fn(usize) + Sync)) {
    halves(0..parts, f);
}

/// Calls `work(round, part)` for each part of each round, the rounds one after the other, and the parts of a round
/// at the same time where there are threads, which wait for each other for some `patience` nanoseconds in all, and `free` ones in
/// each round.
pub(crate) fn run_rounds(
    parts: usize,
    rounds: usize,
    patience: f64,
    free: f64,
    work: &(dyn Fn(usize, usize) + Sync),
) {
    let meeting = Meeting::new(parts, rounds, patience, free);
    run(parts, &|part| meeting.attend(part, work));
}

/// What `f` says in a pool of so many threads.
#[cfg(all(test, feature = "rayon"))]
pub(crate) fn in_pool<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap_or_else(|error| panic!("{error}")).install(f)
}

fn halves(parts: Range<usize>, f: &(dyn Fn(usize) + Sync)) {
    if parts.len() < 2 {
        return parts.for_each(f);
    }
    #[cfg(feature = "rayon")]
    {
        let middle = parts.start + parts.len() / 2;
        rayon::join(
            || halves(parts.start..middle, f),
            || halves(middle..parts.end, f),
        );
    }
    #[cfg(not(feature = "rayon"))]
    parts.for_each(f);
}

/// Part `index` of `of` parts of 0..n, which differ by one at most, the larger ones first.
#[inline(always)]
pub(crate) fn share(n: usize, index: usize, of: usize) -> Range<usize> {
    // A division is longer than the rest of a small step.
    if of == 1 {
        return 0..n;
    }
    let (size, more) = (n / of, n % of);
    let start = index * size + index.min(more);
    start..start + size + usize::from(index < more)
}

/// Arguments with raw pointers, shared between the parts of one call.
pub(crate) struct Shared<T>(T);

// SAFETY: what `Shared::new` asks for.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// The memory behind the pointers is borrowed for as long as the parts run, and each writes what is its own alone.
    pub(crate) unsafe fn new(shared: T) -> Self {
        Self(shared)
    }

    /// Through a method, so that a closure captures the wrapper and not the pointers in it.
    pub(crate) fn inner(&self) -> &T {
        &self.0
    }
}
