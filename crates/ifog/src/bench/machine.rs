//! What the machine can do: multiply-adds and reading, measured.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use ifog_kernels::Level;
use ifog_kernels::machine::{multiply_add_peak, read_stream};

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
    pub fn peak(&mut self, threads: usize) -> f64 {
        let (level, runs) = (self.level, self.runs);
        *self.peaks.entry(threads).or_insert_with(|| {
            best(runs, threads, &|_| {
                let start = Instant::now();
                let mut flops = 0;
                while start.elapsed() < RUN {
                    flops += black_box(multiply_add_peak::<f32>(level, 20_000)).0;
                }
                flops as f64 / start.elapsed().as_secs_f64()
            })
        })
    }

    /// Byte/s of reading a working set of `bytes` over and over, split between the threads.
    pub fn bandwidth(&mut self, bytes: f64, threads: usize) -> f64 {
        if let Some(assumed) = self.assumed {
            return assumed;
        }
        // Half-octaves: neighbouring sizes are neighbours in speed.
        let step = (2.0 * (bytes / threads as f64).max(4096.0).log2()).round() / 2.0;
        let each = (step.exp2() as usize).next_multiple_of(LINE);
        let (level, runs) = (self.level, self.runs);
        *self.bandwidths.entry((each, threads)).or_insert_with(|| {
            // As packed weights: a vector never straddles two lines.
            let data = vec![0.5f32; (each * threads + LINE) / 4];
            let data = &data[data.as_ptr().align_offset(LINE)..];
            best(runs, threads, &|thread| {
                let data = &data[thread * (each / 4)..][..each / 4];
                // The first pass brings it into the cache.
                black_box(read_stream(level, data, 1));
                let start = Instant::now();
                let mut bytes = 0;
                while start.elapsed() < RUN {
                    bytes += black_box(read_stream(
                        level,
                        black_box(data),
                        PASS_BYTES.div_ceil(each),
                    ))
                    .0;
                }
                bytes as f64 / start.elapsed().as_secs_f64()
            })
        })
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
fn best(runs: u32, threads: usize, rate: &(dyn Fn(usize) -> f64 + Sync)) -> f64 {
    let once = || {
        let barrier = Barrier::new(threads);
        let rates = std::thread::scope(|scope| {
            let workers = (0..threads).map(|thread| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    rate(thread)
                })
            });
            let workers: Vec<_> = workers.collect();
            let rates = workers.into_iter().map(|worker| worker.join());
            rates.map(|rate| rate.unwrap_or(0.0)).sum::<f64>()
        });
        if rates > 0.0 {
            rates
        } else {
            f64::MIN_POSITIVE
        }
    };
    (0..runs.max(1)).map(|_| once()).fold(0.0, f64::max)
}

/// Bytes of a cache line.
const LINE: usize = 64;
const RUNS: u32 = 5;
const RUN: Duration = Duration::from_millis(12);
/// A thread looks at the clock after so many bytes.
const PASS_BYTES: usize = 1 << 20;
