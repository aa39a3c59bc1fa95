//! The threads of a run.

/// A pool of its own, or none without the feature `rayon`.
#[derive(Debug)]
pub struct Pool {
    #[cfg(feature = "rayon")]
    pool: rayon::ThreadPool,
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads ({reason}): give a smaller --threads")]
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

/// More than any machine has; each thread costs memory for its stack and its scratch.
const MOST_THREADS: usize = 1024;

impl Pool {
    /// `threads` threads; 0: one for each core.
    ///
    /// # Errors
    /// The system refuses to start so many.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        if threads > MOST_THREADS {
            let reason = format!("the most is {MOST_THREADS}");
            return Err(PoolError::new(threads, reason));
        }
        #[cfg(feature = "rayon")]
        {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|error| PoolError::new(threads, error))?;
            Ok(Self { pool })
        }
        #[cfg(not(feature = "rayon"))]
        Ok(Self {})
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
