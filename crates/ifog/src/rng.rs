//! Random numbers whose stream never changes.
//!
//! The generator is PCG XSL-RR 128/64 (MCG) from the crate `rand_pcg` (O'Neill, "PCG: A Family of
//! Simple Fast Space-Efficient Statistically Good Algorithms for Random Number Generation", 2014).
//! The conversions to floats, ranges and normals are written here, from IEEE operations only: no
//! library's distributions and no platform's `ln` stand between a seed and its numbers, so a seed
//! gives the same bits on every machine and in every later version.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng as _;

/// What random numbers are drawn for.
///
/// Each purpose has a sequence of its own, so that drawing more numbers for one (a larger model to
/// initialise, say) does not change the numbers of another. The values are part of the seed's
/// meaning: a variant may be added, none may be renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Stream {
    /// Initial weights.
    Init = 0,
    /// Order and choice of training data.
    Data = 1,
    /// Symbols sampled from a model.
    Sample = 2,
    /// Inputs and directions of gradient checks.
    Check = 3,
    /// Dropout masks.
    Dropout = 4,
    /// Synthetic inputs of benchmarks.
    Bench = 5,
    /// Masks on rows of weights.
    Rows = 6,
}

/// A seeded random number generator, one per purpose.
///
/// ```
/// use ifog::rng::{Rng, Stream};
///
/// let mut rng = Rng::new(7, Stream::Init);
/// let weight = rng.uniform_f32(-0.1, 0.1);
/// assert!((-0.1..0.1).contains(&weight));
///
/// // Exact resume: the state is three integers.
/// let mut again = Rng::restore(rng.state());
/// assert_eq!(rng.next_u64(), again.next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    generator: Pcg64Mcg,
    state: RngState,
}

/// The whole state of an [`Rng`] as plain integers, for checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RngState {
    /// The seed the generator was made with.
    pub seed: u64,
    /// The purpose it was made for.
    pub stream: Stream,
    /// How many 64-bit words have been drawn from it.
    pub drawn: u64,
}

impl Rng {
    /// The generator of `seed` for one purpose.
    ///
    /// Seed and purpose are hashed to the 128-bit start (two rounds of SplitMix64 each), so that
    /// neighbouring seeds have unrelated sequences. Two sequences overlap only by chance: for
    /// 2^40 numbers from each, with probability below 2^-84 a pair.
    #[must_use]
    pub fn new(seed: u64, stream: Stream) -> Self {
        let key = split_mix(seed) ^ split_mix(!u64::from(stream as u32));
        let high = split_mix(key);
        let low = split_mix(high ^ seed);
        Self {
            generator: Pcg64Mcg::new(u128::from(high) << 64 | u128::from(low)),
            state: RngState {
                seed,
                stream,
                drawn: 0,
            },
        }
    }

    /// The generator as it was when [`Rng::state`] was taken. Takes logarithmic time in the
    /// number of words drawn, so any state, also a damaged one, is restored at once.
    #[must_use]
    pub fn restore(state: RngState) -> Self {
        let mut rng = Self::new(state.seed, state.stream);
        rng.generator.advance(u128::from(state.drawn));
        rng.state.drawn = state.drawn;
        rng
    }

    /// The state from which [`Rng::restore`] continues this sequence exactly.
    #[must_use]
    pub fn state(&self) -> RngState {
        self.state
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state.drawn = self.state.drawn.wrapping_add(1);
        self.generator.next_u64()
    }

    /// 32 uniform bits: the upper half of one 64-bit word.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A uniform number in [0, 1), a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * UNIT_STEP
    }

    /// A uniform number in [`low`, `high`).
    ///
    /// # Panics
    ///
    /// If not `low < high`, or if `high - low` is not finite.
    pub fn uniform_f64(&mut self, low: f64, high: f64) -> f64 {
        assert!(
            low < high && (high - low).is_finite(),
            "a uniform range needs low < high, both finite, not [{low}, {high})"
        );
        // The product may round up to `high`, which is outside.
        (low + (high - low) * self.unit()).min(high.next_down())
    }

    /// A uniform number in [`low`, `high`), computed in f64 and rounded once.
    ///
    /// # Panics
    ///
    /// If not `low < high`, or if either is not finite.
    pub fn uniform_f32(&mut self, low: f32, high: f32) -> f32 {
        (self.uniform_f64(f64::from(low), f64::from(high)) as f32).min(high.next_down())
    }

    /// A uniform integer in 0..`n` without bias (Lemire, "Fast Random Integer Generation in an
    /// Interval", 2019: multiply, and reject the incomplete last interval).
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "there is no integer below 0 to draw");
        let incomplete = n.wrapping_neg() % n; // 2^64 mod n
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= incomplete {
                return (product >> 64) as u64;
            }
        }
    }

    /// A standard normal number (Marsaglia and Bray's polar method, 1964). The second number of
    /// the pair is dropped: the state stays a plain count of words.
    pub fn normal(&mut self) -> f64 {
        loop {
            let x = 2.0 * self.unit() - 1.0;
            let y = 2.0 * self.unit() - 1.0;
            let s = x * x + y * y;
            if s > 0.0 && s < 1.0 {
                return x * (-2.0 * ln(s) / s).sqrt();
            }
        }
    }
}

/// Natural logarithm of a positive, normal, finite number, from exactly rounded operations only
/// and therefore with the same bits on every machine; within 4 ULP (tested on the numbers
/// [`Rng::normal`] can ask for).
///
/// x = m·2^e with m in [√½, √2);  ln x = e ln 2 + 2 artanh(s),  s = (m − 1)/(m + 1),  |s| < 0.172.
/// The series of artanh is cut after s^21: the first term left out is below 0.172^23/23 < 2^-62
/// relative to s·2^-3.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut m = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let mut series = 1.0 / 21.0;
    for odd in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        series = series * s2 + 1.0 / odd;
    }
    let artanh = s + s * s2 * series;
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * artanh
}

/// The output function of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014): a bijection of 64 bits that mixes every input bit into every output bit.
fn split_mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 2^-53, the spacing of f64 below 1.
const UNIT_STEP: f64 = 1.0 / (1u64 << 53) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values come from a second implementation in another language. A change here
    /// means that every seed of every user has changed its meaning.
    #[test]
    fn first_numbers_are_fixed_for_ever() {
        let mut rng = Rng::new(0, Stream::Init);
        let words: [u64; 4] = std::array::from_fn(|_| rng.next_u64());
        assert_eq!(
            words,
            [
                0xfff7_c0e6_75fd_b72b,
                0x468e_2ac3_c68c_dae2,
                0x2c9b_d047_68d8_e1da,
                0xa7dc_a5c4_da05_516c
            ]
        );

        let mut rng = Rng::new(1234, Stream::Sample);
        assert_eq!(rng.next_u32(), 0xc11e_6051);
        assert_eq!(rng.unit().to_bits(), 0x3fe5_b143_72d8_87b4);
        assert_eq!(rng.uniform_f32(-0.08, 0.08).to_bits(), 0x3d12_476c);
        assert_eq!(rng.uniform_f64(-3.0, 5.0).to_bits(), 0x4011_5162_5182_2f4c);
        assert_eq!(rng.below(65), 44);
        assert_eq!(rng.normal().to_bits(), 0x3fe5_d3e0_3e6a_eb3f);
        assert_eq!(rng.normal().to_bits(), 0xbfea_847a_6d2e_1522);
    }

    #[test]
    fn purposes_and_seeds_do_not_share_numbers() {
        let all = [
            Stream::Init,
            Stream::Data,
            Stream::Sample,
            Stream::Check,
            Stream::Dropout,
            Stream::Bench,
            Stream::Rows,
        ];
        let mut seen = std::collections::HashSet::new();
        for seed in 0..100 {
            for stream in all {
                let mut rng = Rng::new(seed, stream);
                // 80,000 words of 64 bits: an accidental repeat has probability 8e4²/2^65 < 1e-10.
                for _ in 0..100 {
                    assert!(seen.insert(rng.next_u64()), "seed {seed}, {stream:?}");
                }
            }
        }
    }

    #[test]
    fn restore_continues_the_sequence() {
        let mut rng = Rng::new(42, Stream::Dropout);
        for _ in 0..1000 {
            rng.normal();
            rng.below(7);
        }
        let mut again = Rng::restore(rng.state());
        assert_eq!(again.state(), rng.state());
        for _ in 0..100 {
            assert_eq!(rng.normal().to_bits(), again.normal().to_bits());
        }
        let fresh = Rng::restore(RngState {
            drawn: 0,
            ..rng.state()
        });
        assert_eq!(fresh.state(), Rng::new(42, Stream::Dropout).state());
    }

    #[test]
    fn any_stored_state_is_restored_at_once() {
        let state = RngState {
            seed: u64::MAX,
            stream: Stream::Data,
            drawn: u64::MAX,
        };
        let mut rng = Rng::restore(state);
        rng.next_u64();
        assert_eq!(rng.state().drawn, 0);
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut rng = Rng::new(3, Stream::Check);
        let n = 6;
        let draws = 60_000;
        let mut counts = [0u32; 6];
        for _ in 0..draws {
            counts[rng.below(n) as usize] += 1;
        }
        // Binomial(60000, 1/6): mean 10000, sigma 91.3; six sigma for a fixed seed.
        for count in counts {
            assert!(
                (f64::from(count) - 10_000.0).abs() < 6.0 * 91.3,
                "{counts:?}"
            );
        }
        // The rejection is exercised: for n = 2^63 + 1 almost half of the words are refused.
        let before = rng.state().drawn;
        for _ in 0..100 {
            assert!(rng.below((1 << 63) + 1) <= 1 << 63);
        }
        assert!(rng.state().drawn - before > 120);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn uniform_excludes_its_upper_end() {
        let mut rng = Rng::new(5, Stream::Check);
        let low = 1.0f32;
        let high = low.next_up();
        for _ in 0..1000 {
            // Half of the exact values round to `high`.
            assert_eq!(rng.uniform_f32(low, high), low);
            assert_eq!(rng.uniform_f64(1.0, 1.0f64.next_up()), 1.0);
        }
        let mut sum = 0.0;
        for _ in 0..10_000 {
            let x = rng.uniform_f64(-2.0, 4.0);
            assert!((-2.0..4.0).contains(&x));
            sum += x;
        }
        // Mean 1, sigma of the mean 6/√12/100 = 0.0173; six sigma.
        assert!((sum / 1e4 - 1.0).abs() < 0.104, "{sum}");
    }

    #[test]
    #[should_panic(expected = "low < high")]
    fn uniform_refuses_an_empty_range() {
        Rng::new(0, Stream::Check).uniform_f64(1.0, 1.0);
    }

    #[test]
    fn normal_has_the_moments_of_a_normal() {
        let mut rng = Rng::new(11, Stream::Check);
        let n = 100_000;
        let (mut m1, mut m2, mut m4) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = rng.normal();
            m1 += x;
            m2 += x * x;
            m4 += x * x * x * x;
        }
        let n = f64::from(n);
        // Standard deviations of the estimates: 1/√n, √2/√n, √96/√n; six of each.
        let sigma = n.sqrt().recip();
        assert!((m1 / n).abs() < 6.0 * sigma);
        assert!((m2 / n - 1.0).abs() < 6.0 * 1.415 * sigma);
        assert!((m4 / n - 3.0).abs() < 6.0 * 9.8 * sigma);
    }

    #[test]
    fn ln_is_within_four_ulp_of_the_platform() {
        let mut rng = Rng::new(13, Stream::Check);
        for i in 0..100_000 {
            // Over the whole range of s in `normal`: 2^-104 to 1.
            let x = (1.0 - rng.unit()) * (0.5f64).powi(i % 105);
            let (ours, std) = (ln(x), x.ln());
            let ulp = (std.abs().next_up() - std.abs()).max(f64::MIN_POSITIVE);
            assert!(
                (ours - std).abs() <= 4.0 * ulp,
                "ln({x:e}): {ours:e}, {std:e}"
            );
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
