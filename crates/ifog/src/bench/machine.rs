//! What the machine can do: multiply-adds and reading, measured.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use ifog_kernels::Level;
use ifog_kernels::machine::{multiply_add_peak, read_stream};

use crate::pool::{PoolError, pin};

/// The limits of this machine, each measured when it is first asked for.
#[derive(Clone, Debug)]
pub struct Machine {
    level: Level,
    /// FLOP/s by threads.
    peaks: HashMap<usize, f64>,
    /// Byte/s by bytes a thread and threads.
    bandwidths: HashMap<(usize, usize), f64>,
    /// Of all measurements.
    runs: u32,
    /// What every bandwidth is, for tests of formulas.
    assumed: Option<f64>,
}

impl Machine {
    /// Nothing is measured yet. `level` is the one that the cases run at.
    pub fn new(level: Level) -> Self {
        Self {
            level,
            peaks: HashMap::new(),
            bandwidths: HashMap::new(),
            runs: RUNS,
            assumed: None,
        }
    }

    /// FLOP/s of f32 multiply-adds on registers, all threads together.
    ///
    /// # Errors
    /// The system refuses to start so many threads.
    pub fn peak(&mut self, threads: usize) -> Result<f64, PoolError> {
        if let Some(&known) = self.peaks.get(&threads) {
            return Ok(known);
        }
        let level = self.level;
        let peak = best(self.runs, threads, &|_| {
            let start = Instant::now();
            let mut flops = 0;
            while start.elapsed() < RUN {
                flops += black_box(multiply_add_peak::<f32>(level, 20_000)).0;
            }
            flops as f64 / start.elapsed().as_secs_f64()
        })?;
        self.peaks.insert(threads, peak);
        Ok(peak)
    }

    /// Byte/s of reading a working set of `bytes`, at most 1 GiB, over and over, split between the threads.
    ///
    /// # Errors
    /// The system refuses to start so many threads.
    pub fn bandwidth(&mut self, bytes: f64, threads: usize) -> Result<f64, PoolError> {
        if let Some(assumed) = self.assumed {
            return Ok(assumed);
        }
        // Half-octaves: neighbouring sizes are neighbours in speed.
        let bytes = bytes.min(MOST_BYTES) / threads as f64;
        let step = (2.0 * bytes.max(4096.0).log2()).round() / 2.0;
        let each = (step.exp2() as usize).next_multiple_of(LINE);
        if let Some(&known) = self.bandwidths.get(&(each, threads)) {
            return Ok(known);
        }
        let level = self.level;
        // As packed weights: a vector never straddles two lines.
        let data = vec![0.5f32; (each * threads + LINE) / 4];
        let data = &data[data.as_ptr().align_offset(LINE)..];
        let bandwidth = best(self.runs, threads, &|thread| {
            let data = &data[thread * (each / 4)..][..each / 4];
            // The first pass brings it into the cache.
            black_box(read_stream(level, data, 1));
            let start = Instant::now();
            let mut bytes = 0;
            while start.elapsed() < RUN {
                let passes = PASS_BYTES.div_ceil(each);
                bytes += black_box(read_stream(level, black_box(data), passes)).0;
            }
            bytes as f64 / start.elapsed().as_secs_f64()
        })?;
        self.bandwidths.insert((each, threads), bandwidth);
        Ok(bandwidth)
    }

    /// A machine of which everything is known.
    #[cfg(test)]
    pub(super) fn assumed(peak: f64, bandwidth: f64) -> Self {
        Self {
            peaks: HashMap::from([(1, peak)]),
            assumed: Some(bandwidth),
            ..Self::new(Level::PORTABLE)
        }
    }
}

/// The best of some runs of `rate` on all threads at once; rates add up.
fn best(runs: u32, threads: usize, rate: &(dyn Fn(usize) -> f64 + Sync)) -> Result<f64, PoolError> {
    let once = || {
        // Held while the threads start, so that those which are there wait for the others; and let go if one is refused.
        let start = RwLock::new(());
        std::thread::scope(|scope| {
            let closed = start.write();
            let spawn = |thread| {
                let start = &start;
                std::thread::Builder::new().spawn_scoped(scope, move || {
                    if threads > 1 {
                        pin(thread);
                    }
                    drop(start.read());
                    rate(thread)
                })
            };
            let workers: Result<Vec<_>, _> = (0..threads).map(spawn).collect();
            drop(closed);
            let workers = workers.map_err(|error| PoolError::new(threads, error))?;
            let rates = workers.into_iter().map(|worker| worker.join());
            Ok(rates.map(|rate| rate.unwrap_or(0.0)).sum::<f64>())
        })
    };
    (0..runs.max(1)).try_fold(f64::MIN_POSITIVE, |best, _| Ok(best.max(once()?)))
}

/// Bytes of a cache line.
const LINE: usize = 64;
const RUNS: u32 = 5;
const RUN: Duration = Duration::from_millis(12);
/// A thread looks at the clock after so many bytes.
const PASS_BYTES: usize = 1 << 20;
/// Of all threads together; beyond every cache.
const MOST_BYTES: f64 = (1u64 << 30) as f64;
