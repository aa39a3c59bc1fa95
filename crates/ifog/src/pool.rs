//! The threads of a run.

/// A pool of its own, or none without the feature `rayon`.
#[derive(Debug)]
pub struct Pool {
    #[cfg(feature = "rayon")]
    pool: rayon::ThreadPool,
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads ({reason}): ask for fewer")]
pub struct PoolError {
    threads: usize,
    reason: String,
}

impl PoolError {
    /// So many threads, and what the system says.
    pub(crate) fn new(threads: usize, reason: impl ToString) -> Self {
        Self {
            threads,
            reason: reason.to_string(),
        }
    }
}

/// Whether the caller is on a thread of a pool. Elsewhere work is not shared out: rayon would start its global pool for it.
#[cfg(feature = "rayon")]
pub(crate) fn is_here() -> bool {
    rayon::current_thread_index().is_some()
}

/// Both, at once if the caller is in a pool that has a thread for it and is not to stay `alone`.
pub(crate) fn join<A: Send, B: Send>(
    alone: bool,
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    #[cfg(feature = "rayon")]
    if !alone && is_here() {
        return rayon::join(a, b);
    }
    let _ = alone;
    (a(), b())
}

/// Calls `f` for pieces of the values, at once if the caller is in a pool.
pub(crate) fn in_pieces<T: Send>(values: &mut [T], f: &(impl Fn(&mut [T]) + Sync)) {
    if values.len() <= PIECE {
        return f(values);
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    join(false, || in_pieces(left, f), || in_pieces(right, f));
}

/// Values that are gone through in some microseconds, about what a task costs.
const PIECE: usize = 65_536;

/// More than any machine has; each thread costs memory for its stack and its scratch.
pub const MOST_THREADS: usize = 1024;

impl Pool {
    /// `threads` threads; 0: one for each core.
    ///
    /// # Errors
    /// The system refuses to start so many.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        Self::started(threads, |_| {})
    }

    /// The same with every thread on a core of its own, where the system lets one choose: what is measured should not share
    /// a core while another is idle.
    ///
    /// # Errors
    /// The system refuses to start so many.
    pub fn pinned(threads: usize) -> Result<Self, PoolError> {
        Self::started(threads, pin)
    }

    fn started(
        threads: usize,
        start: impl Fn(usize) + Send + Sync + 'static,
    ) -> Result<Self, PoolError> {
        if threads > MOST_THREADS {
            let reason = format!("the most is {MOST_THREADS}");
            return Err(PoolError::new(threads, reason));
        }
        #[cfg(feature = "rayon")]
        {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .start_handler(start)
                .build();
            let pool = pool.map_err(|error| PoolError::new(threads, error))?;
            Ok(Self { pool })
        }
        #[cfg(not(feature = "rayon"))]
        {
            let _ = start;
            Ok(Self {})
        }
    }

    /// The number of the calling thread in its pool.
    pub(crate) fn this_thread() -> usize {
        #[cfg(feature = "rayon")]
        return rayon::current_thread_index().unwrap_or(0);
        #[cfg(not(feature = "rayon"))]
        0
    }

    /// How many threads.
    pub fn threads(&self) -> usize {
        #[cfg(feature = "rayon")]
        return self.pool.current_num_threads();
        #[cfg(not(feature = "rayon"))]
        1
    }

    /// Runs `f` with these threads.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        #[cfg(feature = "rayon")]
        return self.pool.install(f);
        #[cfg(not(feature = "rayon"))]
        f()
    }
}

/// Moves the calling thread to one of the cores that the process may use: the n-th, counted round.
#[cfg(target_os = "linux")]
pub(crate) fn pin(n: usize) {
    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
    // Those of the first thread, which is never moved; a new thread begins with those of the one that started it.
    let process = Pid::from_raw(std::process::id().cast_signed());
    let Ok(allowed) = sched_getaffinity(process) else {
        return;
    };
    let cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    if let Some(core) = cores.cycle().nth(n) {
        let mut only = CpuSet::new();
        only.set(core);
        // A system that does not want it leaves the thread where it is.
        let _ = sched_setaffinity(None, &only);
    }
}

/// Only Linux is asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_: usize) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    #[test]
    fn every_value_is_in_one_piece() {
        let mut values = vec![0u8; 3 * PIECE + 5];
        let add_one = |piece: &mut [u8]| piece.iter_mut().for_each(|value| *value += 1);
        in_pieces(&mut values, &add_one);
        Pool::new(2)
            .unwrap()
            .install(|| in_pieces(&mut values, &add_one));
        assert!(values.iter().all(|value| *value == 2));
    }
}
