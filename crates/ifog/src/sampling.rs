//! From the logits of a model to the next token.

use std::cmp::Ordering;

use crate::rng::Rng;

/// Draws tokens from softmax(logits / temperature), limited to the k most likely.
///
/// ```
/// use ifog::rng::{Rng, Stream};
/// use ifog::sampling::Sampler;
///
/// let mut rng = Rng::new(0, Stream::Sample);
/// let mut greedy = Sampler::new(0.0, None)?;
/// assert_eq!(greedy.sample(&[0.5, 2.0, -1.0], &mut rng)?, 1);
/// # Ok::<(), ifog::sampling::SamplingError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f64,
    top_k: Option<usize>,
    /// Scratch of the last call, so that a long text allocates once.
    probabilities: Vec<f64>,
    order: Vec<usize>,
}

/// Why nothing can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A temperature below 0, infinite or NaN.
    #[error(
        "the temperature {temperature} is out of range: it must be finite and not negative (0 \
         takes the most likely symbol, 1 the model's own distribution)"
    )]
    Temperature {
        /// The temperature given.
        temperature: f64,
    },
    /// A choice among no symbols.
    #[error("top-k of 0 leaves nothing to choose from: give at least 1, or no limit")]
    TopK,
    /// A logit is NaN or +∞, so there is no distribution.
    #[error(
        "the model's output for token {token} is {logit}: its weights are damaged or its training diverged"
    )]
    Logit {
        /// Index of the logit.
        token: usize,
        /// Its value.
        logit: f32,
    },
    /// There are no logits, or all are −∞.
    #[error(
        "the model's output excludes every token: its weights are damaged or its training diverged"
    )]
    NoToken,
}

impl Sampler {
    /// A sampler with `temperature` ≥ 0 and, optionally, a limit to the `top_k` most likely tokens.
    ///
    /// Temperature 0 takes the most likely token, the first of equals, and draws no random number.
    ///
    /// # Errors
    ///
    /// [`SamplingError::Temperature`], [`SamplingError::TopK`].
    pub fn new(temperature: f64, top_k: Option<usize>) -> Result<Self, SamplingError> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(SamplingError::Temperature { temperature });
        }
        if top_k == Some(0) {
            return Err(SamplingError::TopK);
        }
        Ok(Self {
            temperature,
            top_k,
            probabilities: Vec::new(),
            order: Vec::new(),
        })
    }

    /// Draws a token from `logits`, `[V]`, by inversion of the cumulative distribution: one random
    /// number a token, none at temperature 0.
    ///
    /// # Errors
    ///
    /// [`SamplingError::Logit`], [`SamplingError::NoToken`].
    pub fn sample(&mut self, logits: &[f32], rng: &mut Rng) -> Result<u32, SamplingError> {
        if self.temperature == 0.0 {
            return Ok(most_likely(logits)? as u32);
        }
        self.distribution(logits)?;
        let mut rest = rng.unit() * self.probabilities.iter().sum::<f64>();
        let mut chosen = 0;
        for (token, &p) in self.probabilities.iter().enumerate() {
            // Rounding may use up the list: the last possible token stands for the rest.
            if p > 0.0 {
                chosen = token;
                rest -= p;
                if rest < 0.0 {
                    break;
                }
            }
        }
        Ok(chosen as u32)
    }

    /// The probabilities, `[V]`, that [`sample`](Self::sample) draws from: they sum to 1 up to
    /// rounding, and are 0 outside the top k.
    ///
    /// # Errors
    ///
    /// [`SamplingError::Logit`], [`SamplingError::NoToken`].
    pub fn distribution(&mut self, logits: &[f32]) -> Result<&[f64], SamplingError> {
        softmax(logits, self.temperature, &mut self.probabilities)?;
        if let Some(k) = self.top_k.filter(|&k| k < logits.len()) {
            self.keep_top(logits, k);
        }
        Ok(&self.probabilities)
    }

    /// Sets all but the `k` < V most likely to 0 and divides the rest by their sum. Of equals at the
    /// border the first are kept, so that exactly k remain.
    fn keep_top(&mut self, logits: &[f32], k: usize) {
        self.order.clear();
        self.order.extend(0..logits.len());
        self.order
            .select_nth_unstable_by(k, |&a, &b| more_likely_first(logits, a, b));
        for &token in &self.order[k..] {
            self.probabilities[token] = 0.0;
        }
        let sum: f64 = self.probabilities.iter().sum();
        for p in &mut self.probabilities {
            *p /= sum;
        }
    }
}

/// softmax(logits / temperature), `[V]`, into `probabilities`, in f64 and without overflow:
///
/// ```text
/// p_j = exp((l_j − max l)/τ) / Σ_i exp((l_i − max l)/τ)
/// ```
///
/// A logit of −∞ has probability 0. Temperature 0 gives the most likely token, the first of equals,
/// probability 1. The exponential is this module's own, so the bits are the same on every machine.
///
/// # Errors
///
/// [`SamplingError::Temperature`]; [`SamplingError::Logit`] for NaN and +∞;
/// [`SamplingError::NoToken`].
pub fn softmax(
    logits: &[f32],
    temperature: f64,
    probabilities: &mut Vec<f64>,
) -> Result<(), SamplingError> {
    if !(temperature >= 0.0 && temperature.is_finite()) {
        return Err(SamplingError::Temperature { temperature });
    }
    let best = most_likely(logits)?;
    probabilities.clear();
    if temperature == 0.0 {
        probabilities.resize(logits.len(), 0.0);
        probabilities[best] = 1.0;
        return Ok(());
    }
    let max = f64::from(logits[best]);
    probabilities.extend(
        logits
            .iter()
            .map(|&logit| exp((f64::from(logit) - max) / temperature)),
    );
    let sum: f64 = probabilities.iter().sum(); // ≥ 1: the best contributes exp(0)
    for p in probabilities {
        *p /= sum;
    }
    Ok(())
}

/// The first of the largest logits.
fn most_likely(logits: &[f32]) -> Result<usize, SamplingError> {
    if let Some(token) = logits
        .iter()
        .position(|&l| l.is_nan() || l == f32::INFINITY)
    {
        return Err(SamplingError::Logit {
            token,
            logit: logits[token],
        });
    }
    (0..logits.len())
        .min_by(|&a, &b| more_likely_first(logits, a, b))
        .filter(|&best| logits[best] > f32::NEG_INFINITY)
        .ok_or(SamplingError::NoToken)
}

/// A total order of the tokens, for logits without NaN.
fn more_likely_first(logits: &[f32], a: usize, b: usize) -> Ordering {
    let by_logit = logits[b].partial_cmp(&logits[a]);
    by_logit.unwrap_or(Ordering::Equal).then(a.cmp(&b))
}

/// eˣ for x ≤ 0 from exactly rounded operations only, within 2 ULP (tested); 0 below −708, where the
/// result would lose digits.
///
/// x = n ln 2 + r with |r| ≤ ½ ln 2;  eˣ = 2ⁿ eʳ,  eʳ by its series to r¹³/13!: the first term left
/// out is below 0.347¹⁴/14! < 2^-57.
fn exp(x: f64) -> f64 {
    if x < -708.0 {
        return 0.0;
    }
    let n = (x * std::f64::consts::LOG2_E).round();
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut series = 1.0;
    for k in (1..=13).rev() {
        series = 1.0 + r / f64::from(k) * series;
    }
    let two_to_n = f64::from_bits(((n as i64 + 1023) as u64) << 52);
    series * two_to_n
}

/// The first 32 significant bits of ln 2, so that n·LN_2_HIGH is exact for |n| < 2^21.
const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
/// ln 2 − LN_2_HIGH.
const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::rng::Stream;

    fn distribution(logits: &[f32], temperature: f64, top_k: Option<usize>) -> Vec<f64> {
        let mut sampler = Sampler::new(temperature, top_k).unwrap();
        sampler.distribution(logits).unwrap().to_vec()
    }

    #[test]
    fn exp_is_within_two_ulp_of_the_platform() {
        let mut rng = Rng::new(1, Stream::Check);
        for _ in 0..100_000 {
            let x = -708.0 * rng.unit() * rng.unit();
            let (ours, std) = (exp(x), x.exp());
            let ulp = std.next_up() - std;
            assert!(
                (ours - std).abs() <= 2.0 * ulp,
                "exp({x}): {ours:e}, {std:e}"
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert!(exp(-708.0) > 0.0);
        assert_eq!(exp(-1e300), 0.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
    }

    #[test]
    fn softmax_by_hand() {
        let logits = [0.0, std::f32::consts::LN_2, f32::NEG_INFINITY];
        let p = distribution(&logits, 1.0, None);
        // ln 2 rounded to f32 is off by at most 2^-25: so are the probabilities.
        assert!((p[0] - 1.0 / 3.0).abs() < 3e-8 && (p[1] - 2.0 / 3.0).abs() < 3e-8);
        assert_eq!(p[2], 0.0);
        // τ = ½ squares the ratio.
        let p = distribution(&logits, 0.5, None);
        assert!((p[0] - 0.2).abs() < 3e-8 && (p[1] - 0.8).abs() < 3e-8);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let p = distribution(&[f32::MAX, f32::MAX, f32::MIN], 1e-300, None);
        assert_eq!(p, [0.5, 0.5, 0.0]);
        let p = distribution(&[f32::MAX, f32::MIN], 1e300, None);
        assert_eq!(p, [0.5, 0.5]);
    }

    #[test]
    fn temperature_zero_takes_the_first_maximum_and_no_random_number() {
        let mut rng = Rng::new(0, Stream::Sample);
        let mut sampler = Sampler::new(0.0, None).unwrap();
        let logits = [1.0, 3.0, -2.0, 3.0];
        assert_eq!(sampler.sample(&logits, &mut rng), Ok(1));
        assert_eq!(rng.state().drawn, 0);
        assert_eq!(sampler.distribution(&logits).unwrap(), [0.0, 1.0, 0.0, 0.0]);
        // −0 and 0 are equal.
        assert_eq!(sampler.sample(&[-0.0, 0.0], &mut rng), Ok(0));
        // The limit τ → 0 agrees where the maximum is single.
        let mut cold = Sampler::new(1e-6, None).unwrap();
        assert_eq!(cold.sample(&[1.0, 3.0, 2.999], &mut rng), Ok(1));
    }

    #[test]
    fn high_temperature_is_uniform() {
        for p in distribution(&[-5.0, 0.0, 5.0, 1.0], 1e12, None) {
            assert!((p - 0.25).abs() < 1e-11);
        }
    }

    #[test]
    fn top_k_keeps_exactly_k_and_their_ratios() {
        let logits = [0.5, 2.0, -1.0, 2.0, 1.0, 2.0, 0.0];
        let all = distribution(&logits, 0.7, None);
        let ranking = [1, 3, 5, 4, 0, 6, 2]; // equals in the order of tokens
        for k in 1..=9 {
            let p = distribution(&logits, 0.7, Some(k));
            let kept = &ranking[..k.min(7)];
            let sum: f64 = kept.iter().map(|&token| all[token]).sum();
            for token in 0..7 {
                let expected = if kept.contains(&token) {
                    all[token] / sum
                } else {
                    0.0
                };
                assert!(
                    (p[token] - expected).abs() < 1e-15,
                    "k = {k}, token {token}"
                );
            }
            assert_eq!(p.iter().filter(|&&p| p > 0.0).count(), k.min(7));
        }
        let mut rng = Rng::new(9, Stream::Sample);
        let mut sampler = Sampler::new(5.0, Some(2)).unwrap();
        for _ in 0..1000 {
            assert!([1, 3].contains(&sampler.sample(&logits, &mut rng).unwrap()));
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.0, 1.0, 2.0, f32::NEG_INFINITY, -3.0, 0.5];
        let mut sampler = Sampler::new(0.8, None).unwrap();
        let p = sampler.distribution(&logits).unwrap().to_vec();
        let mut rng = Rng::new(21, Stream::Sample);
        let draws = 100_000;
        let mut counts = [0u32; 6];
        for _ in 0..draws {
            counts[sampler.sample(&logits, &mut rng).unwrap() as usize] += 1;
        }
        assert_eq!(counts[3], 0);
        // Each count is binomial: six standard deviations, exceeded by chance once in 10^8.
        let n = f64::from(draws);
        for (count, p) in counts.into_iter().zip(p) {
            let bound = 6.0 * (n * p * (1.0 - p)).sqrt();
            assert!((f64::from(count) - n * p).abs() <= bound, "{counts:?}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits: Vec<f32> = (0..65).map(|i| (i as f32 * 0.7).sin()).collect();
        let draw = |seed| -> Vec<u32> {
            let mut rng = Rng::new(seed, Stream::Sample);
            let mut sampler = Sampler::new(1.0, Some(40)).unwrap();
            (0..50)
                .map(|_| sampler.sample(&logits, &mut rng).unwrap())
                .collect()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        let mut rng = Rng::new(0, Stream::Sample);
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(temperature, Some(1)).unwrap();
            let error = sampler.sample(&[0.0, f32::NAN], &mut rng).unwrap_err();
            assert!(matches!(error, SamplingError::Logit { token: 1, .. }));
            assert!(error.to_string().contains("token 1 is NaN"), "{error}");
            assert!(sampler.sample(&[f32::INFINITY], &mut rng).is_err());
            for none in [&[][..], &[f32::NEG_INFINITY; 3]] {
                assert_eq!(sampler.sample(none, &mut rng), Err(SamplingError::NoToken));
            }
            assert_eq!(sampler.sample(&[f32::NEG_INFINITY, -1e30], &mut rng), Ok(1));
        }
    }

    #[test]
    fn useless_settings_are_refused() {
        for temperature in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(Sampler::new(temperature, None).is_err());
            assert!(softmax(&[0.0], temperature, &mut Vec::new()).is_err());
        }
        assert_eq!(Sampler::new(1.0, Some(0)).unwrap_err(), SamplingError::TopK);
    }
}
