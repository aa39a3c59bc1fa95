//! Gradient clipping: the remedy for exploding gradients.
//!
//! By global norm: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural
//! networks", 2013, algorithm 1. By value: Mikolov, "Statistical Language Models Based on Neural
//! Networks", 2012, section 3.2.2.

use ifog_kernels::{Level, Vectorize};

use crate::pool::{in_pieces, join};

/// What is done to a gradient that is too large.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ClipRule {
    /// Nothing: the norm is measured only.
    #[default]
    Off,
    /// If the norm ‖g‖ over all parameters exceeds this, g is multiplied by max / ‖g‖. PyTorch's
    /// `clip_grad_norm_` does the same up to the 1e-6 that it adds to the divisor.
    GlobalNorm(f64),
    /// Each component is cut to [−max, max], as char-rnn does.
    Value(f32),
}

/// A rule with the record of what it did.
///
/// ```
/// use ifog::clip::{ClipRule, Clipper};
///
/// let mut clipper = Clipper::new(ClipRule::GlobalNorm(1.0))?;
/// let mut gradient = [3.0, 4.0];
/// assert_eq!(clipper.clip(&mut gradient), 5.0);
/// assert_eq!(gradient, [0.6, 0.8]);
/// assert_eq!(clipper.stats().rate(), 1.0);
/// # Ok::<(), ifog::clip::ClipError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Clipper {
    rule: ClipRule,
    stats: ClipStats,
}

/// How often clipping was needed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClipStats {
    /// Gradients seen.
    pub steps: u64,
    /// Gradients changed.
    pub clipped: u64,
    /// Norm of the last gradient before clipping.
    pub last_norm: f64,
}

/// A limit that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ClipError {
    /// The limit is zero, negative, infinite or NaN.
    #[error("gradients cannot be clipped to {limit}: give a finite limit above 0, or no limit")]
    Limit {
        /// The limit given.
        limit: f64,
    },
}

impl Clipper {
    /// A clipper that has seen nothing yet.
    ///
    /// # Errors
    ///
    /// [`ClipError`] unless the rule's limit is finite and above 0.
    pub fn new(rule: ClipRule) -> Result<Self, ClipError> {
        match rule {
            ClipRule::Off => {}
            ClipRule::GlobalNorm(max) => check_limit(max)?,
            ClipRule::Value(max) => check_limit(f64::from(max))?,
        }
        Ok(Self {
            rule,
            stats: ClipStats::default(),
        })
    }

    /// Goes on counting from `stats`.
    pub fn resume(&mut self, stats: ClipStats) {
        self.stats = stats;
    }

    /// Clips the gradient of all parameters and returns its norm *before* that.
    ///
    /// A gradient whose norm is not finite is left as it is and not counted as clipped: the caller
    /// sees it by the returned value and stops.
    pub fn clip(&mut self, gradient: &mut [f32]) -> f64 {
        let norm = global_norm(gradient);
        let clipped = norm.is_finite()
            && match self.rule {
                ClipRule::Off => false,
                ClipRule::GlobalNorm(max) => scale_to(gradient, norm, max),
                ClipRule::Value(max) => cut_to(gradient, max),
            };
        self.stats.steps += 1;
        self.stats.clipped += u64::from(clipped);
        self.stats.last_norm = norm;
        norm
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> ClipRule {
        self.rule
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> ClipStats {
        self.stats
    }
}

impl ClipStats {
    /// The share of gradients that were changed, 0 to 1; 0 before the first.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.clipped as f64 / self.steps.max(1) as f64
    }
}

/// ‖g‖ = √Σ g², summed in f64: NaN or infinite exactly if a component is (the squares of finite f32
/// do not overflow in f64).
///
/// The order of the sum is fixed by the length alone (blocks of 16,384 values, halved recursively), so
/// the result has the same bits with any number of threads.
#[must_use]
pub fn global_norm(gradient: &[f32]) -> f64 {
    sum_of_squares(gradient).sqrt()
}

fn sum_of_squares(values: &[f32]) -> f64 {
    if values.len() <= BLOCK {
        return Level::best().vectorize(Squares(values));
    }
    let (left, right) = values.split_at((values.len() / 2).next_multiple_of(BLOCK));
    let (left, right) = join(false, || sum_of_squares(left), || sum_of_squares(right));
    left + right
}

/// Values that one thread sums in one go.
struct Squares<'a>(&'a [f32]);

impl Vectorize for Squares<'_> {
    type Output = f64;

    /// [`LANES`] interleaved sums, which the compiler keeps in vector registers, then those in order.
    #[inline(always)]
    fn run(self) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (vectors, rest) = self.0.as_chunks::<LANES>();
        for vector in vectors {
            for (sum, &value) in sums.iter_mut().zip(vector) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        for (sum, &value) in sums.iter_mut().zip(rest) {
            *sum += f64::from(value) * f64::from(value);
        }
        sums.iter().sum()
    }
}

/// Returns whether the gradient was changed.
fn scale_to(gradient: &mut [f32], norm: f64, max: f64) -> bool {
    if norm <= max {
        return false;
    }
    let scale = (max / norm) as f32;
    in_pieces(gradient, &|piece| {
        piece.iter_mut().for_each(|value| *value *= scale);
    });
    true
}

/// Returns whether the gradient was changed.
fn cut_to(gradient: &mut [f32], max: f32) -> bool {
    let mut changed = false;
    for value in gradient {
        changed |= value.abs() > max;
        *value = value.clamp(-max, max);
    }
    changed
}

fn check_limit(limit: f64) -> Result<(), ClipError> {
    if limit > 0.0 && limit.is_finite() {
        Ok(())
    } else {
        Err(ClipError::Limit { limit })
    }
}

/// Values summed by one thread in one go: 64 KiB, so that a block is worth a task.
const BLOCK: usize = 16_384;
/// Independent sums: two AVX-512 or four AVX2 vectors of f64, which hide the latency of an addition.
const LANES: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::rng::{Rng, Stream};

    fn normals(n: usize) -> Vec<f32> {
        let mut rng = Rng::new(1, Stream::Check);
        (0..n).map(|_| rng.normal() as f32).collect()
    }

    #[test]
    fn the_norm_of_whole_numbers_is_exact() {
        // Squares and sums below 2^53 are exact in any order, at every length around a block.
        for n in [
            0,
            1,
            15,
            16,
            17,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            3 * BLOCK + 5,
            100_003,
        ] {
            let values: Vec<f32> = (0..n).map(|i| (i % 13) as f32 - 6.0).collect();
            let exact: f64 = values.iter().map(|&v| f64::from(v * v)).sum();
            assert_eq!(global_norm(&values), exact.sqrt(), "n = {n}");
        }
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn the_norm_has_the_same_bits_with_any_number_of_threads() {
        let values = normals(10 * BLOCK + 7);
        let norms: Vec<_> = [1, 2, 3]
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.unwrap().install(|| global_norm(&values)).to_bits()
            })
            .into();
        assert!(norms.iter().all(|&norm| norm == norms[0]), "{norms:?}");
    }

    #[test]
    fn the_norm_does_not_overflow() {
        assert_eq!(global_norm(&[f32::MAX; 4]), 2.0 * f64::from(f32::MAX));
        assert!(global_norm(&[1.0, f32::NAN]).is_nan());
        assert_eq!(global_norm(&[1.0, f32::NEG_INFINITY]), f64::INFINITY);
    }

    #[test]
    fn clipping_by_norm_keeps_the_direction_and_reaches_the_limit() {
        let before = normals(5000);
        let mut after = before.clone();
        let mut clipper = Clipper::new(ClipRule::GlobalNorm(5.0)).unwrap();
        let norm = clipper.clip(&mut after);
        assert_eq!(norm, global_norm(&before));
        let scale = (5.0 / norm) as f32;
        for (after, before) in after.iter().zip(&before) {
            assert_eq!(*after, before * scale);
        }
        // The scale and each product are rounded once: relative error of the norm ≤ 2 · 2^-24.
        assert!((global_norm(&after) / 5.0 - 1.0).abs() <= f64::from(f32::EPSILON));
    }

    #[test]
    fn what_is_small_enough_is_left_alone() {
        for rule in [
            ClipRule::Off,
            ClipRule::GlobalNorm(5.0),
            ClipRule::Value(4.0),
        ] {
            let mut gradient = [3.0, -4.0];
            let mut clipper = Clipper::new(rule).unwrap();
            assert_eq!(clipper.clip(&mut gradient), 5.0);
            assert_eq!(gradient, [3.0, -4.0]);
            assert_eq!(
                clipper.stats(),
                ClipStats {
                    steps: 1,
                    clipped: 0,
                    last_norm: 5.0
                }
            );
        }
    }

    #[test]
    fn clipping_by_value_cuts_each_component() {
        let mut gradient = [3.0, -4.0, 0.5];
        let mut clipper = Clipper::new(ClipRule::Value(1.0)).unwrap();
        clipper.clip(&mut gradient);
        assert_eq!(gradient, [1.0, -1.0, 0.5]);
        clipper.clip(&mut gradient);
        assert_eq!(
            clipper.stats(),
            ClipStats {
                steps: 2,
                clipped: 1,
                last_norm: 1.5
            }
        );
        assert_eq!(clipper.stats().rate(), 0.5);
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_reported_and_left() {
        for rule in [ClipRule::GlobalNorm(1.0), ClipRule::Value(1.0)] {
            let mut clipper = Clipper::new(rule).unwrap();
            let mut gradient = [2.0, f32::INFINITY];
            assert_eq!(clipper.clip(&mut gradient), f64::INFINITY);
            assert_eq!(gradient, [2.0, f32::INFINITY]);
            assert!(clipper.clip(&mut [f32::NAN]).is_nan());
            assert_eq!(clipper.stats().clipped, 0);
        }
    }

    #[test]
    fn useless_limits_are_refused() {
        for limit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Clipper::new(ClipRule::GlobalNorm(limit)).is_err());
            assert!(Clipper::new(ClipRule::Value(limit as f32)).is_err());
        }
        assert_eq!(
            Clipper::new(ClipRule::Value(-2.0)).unwrap_err().to_string(),
            "gradients cannot be clipped to -2: give a finite limit above 0, or no limit"
        );
    }
}
