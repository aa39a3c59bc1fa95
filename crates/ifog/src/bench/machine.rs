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
    /// Whether what a core alone decides is measured in a moment, again and again.
    brief: bool,
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
            brief: false,
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
        let (runs, run) = self.effort(0);
        let peak = best(runs, threads, &|_| {
            let start = Instant::now();
            let mut flops = 0;
            while start.elapsed() < run {
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
        let (runs, run) = self.effort(each);
        // As packed weights: a vector never straddles two lines.
        let data = vec![0.5f32; (each * threads + LINE) / 4];
        let data = &data[data.as_ptr().align_offset(LINE)..];
        let bandwidth = best(runs, threads, &|thread| {
            let data = &data[thread * (each / 4)..][..each / 4];
            // The first pass brings it into the cache.
            black_box(read_stream(level, data, 1));
            let start = Instant::now();
            let mut bytes = 0;
            while start.elapsed() < run {
                let passes = PASS_BYTES.div_ceil(each);
                bytes += black_box(read_stream(level, black_box(data), passes)).0;
            }
            bytes as f64 / start.elapsed().as_secs_f64()
        })?;
        self.bandwidths.insert((each, threads), bandwidth);
        Ok(bandwidth)
    }

    /// Forgets what goes with the clock of a core: the peak, and reading from its own caches. From now on that is measured in a moment.
    pub(super) fn renew(&mut self) {
        self.brief = true;
        self.peaks.clear();
        self.bandwidths.retain(|(each, _), _| *each > OWN_BYTES);
    }

    /// Runs, of which the best counts, and how long each is, for a working set of `each` bytes a thread.
    fn effort(&self, each: usize) -> (u32, Duration) {
        match self.brief && each <= OWN_BYTES {
            true => (1, BRIEF_RUN),
            false => (RUNS, RUN),
        }
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
                    pin(thread);
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
    (0..runs).try_fold(f64::MIN_POSITIVE, |best, _| Ok(best.max(once()?)))
}

/// Bytes of a cache line.
const LINE: usize = 64;
const RUNS: u32 = 5;
const RUN: Duration = Duration::from_millis(12);
const BRIEF_RUN: Duration = Duration::from_millis(1);
/// What a core keeps in caches of its own, about.
const OWN_BYTES: usize = 2 << 20;
/// A thread looks at the clock after so many bytes.
const PASS_BYTES: usize = 1 << 20;
/// Of all threads together; beyond every cache.
const MOST_BYTES: f64 = (1u64 << 30) as f64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn what_goes_with_the_clock_is_measured_again() {
        let mut machine = Machine::new(Level::best());
        machine.peaks.insert(1, 1.0);
        machine.bandwidths.insert((4096, 1), 1.0);
        let far = (1 << 24, 1);
        machine.bandwidths.insert(far, 2.0);
        assert_eq!(machine.peak(1).unwrap(), 1.0);
        assert_eq!(machine.bandwidth(4096.0, 1).unwrap(), 1.0);
        machine.renew();
        assert!(machine.peak(1).unwrap() > 1e6 && machine.bandwidth(4096.0, 1).unwrap() > 1e6);
        assert_eq!(machine.bandwidth(far.0 as f64, 1).unwrap(), 2.0);
    }
}
