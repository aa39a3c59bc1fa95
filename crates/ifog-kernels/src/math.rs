//! exp, sigmoid and tanh, the same bits on every level with FMA.
//!
//! All three rest on one range reduction (Cody and Waite 1980): x = n·ln 2 + r with n the integer nearest to
//! x·log₂e, so that |r| ≤ ln 2/2 and
//!
//! ```text
//! eˣ = 2ⁿ·(1 + r + r²·v(r)),   v(r) = (eʳ − 1 − r)/r²
//! ```
//!
//! with v a minimax polynomial. The linear term stands alone so that the result is monotone: a step of r
//! outweighs what rounding can do to r²·v, and every later operation is monotone under IEEE rounding.
//!
//! * sigmoid(x) = 1/(1 + e⁻ˣ), where 1 + 2ⁿ is exact for |x| ≤ 16 (in f64: 36), so that the denominator is rounded once. A vector with
//!   a number beyond takes a branch of its own, where what 1 + 2ⁿ loses is given back, and numerator and denominator of results
//!   that may be subnormal are scaled by a power of two; near numbers have the same bits there.
//! * tanh(x) = 1 − 1/((1 + e²ˣ)/2) for |x| ≥ 9/16; below, x + x·s·P(s) with
//!   s = x²: the correction is at most a tenth of x, so its errors stay far below the step of
//!   the result, which keeps it monotone. The sign is copied, so tanh is odd to the bit.
//!
//! A single row waits for these functions one after the other, many rows for the places where they are computed: so they are short chains
//! of few operations. (e²ˣ − 1)/(e²ˣ + 1) would do without P, but is not monotone: two roundings may go apart.
//!
//! Accuracy over all 2³² f32 inputs (`cargo test --release -p ifog-kernels exhaustive -- --ignored`): exp 1.0,
//! sigmoid 1.7 and tanh 1.35 ULP at most, all monotone; NaN in, NaN out; ±∞ give the limits.

use crate::element::{Element, GateConstants, sealed::Vectors};
use crate::level::Level;
use crate::simd::Simd;

/// eˣ of one number at the reference level.
pub fn exp<E: Element>(x: E) -> E {
    scalar(x, exp_slice)
}

/// 1/(1 + e⁻ˣ) of one number at the reference level.
pub fn sigmoid<E: Element>(x: E) -> E {
    scalar(x, sigmoid_slice)
}

/// tanh of one number at the reference level.
pub fn tanh<E: Element>(x: E) -> E {
    scalar(x, tanh_slice)
}

/// `values[k] = exp(values[k])`.
pub fn exp_slice<E: Element>(level: Level, values: &mut [E]) {
    E::exp(level, values);
}

/// `values[k] = sigmoid(values[k])`.
pub fn sigmoid_slice<E: Element>(level: Level, values: &mut [E]) {
    E::sigmoid(level, values);
}

/// `values[k] = tanh(values[k])`.
pub fn tanh_slice<E: Element>(level: Level, values: &mut [E]) {
    E::tanh(level, values);
}

fn scalar<E: Element>(x: E, f: fn(Level, &mut [E])) -> E {
    let mut value = [x];
    // The best level is fused where the machine has such an instruction; elsewhere the C library is.
    let best = Some(Level::best()).filter(|level| level.is_fused());
    let fused = best.or_else(|| Level::available().find(|level| level.is_fused()));
    f(fused.unwrap_or(Level::PORTABLE), &mut value);
    value[0]
}

#[inline(always)]
pub(crate) fn exp_body<S: Simd>(s: S, values: &mut [S::Elem]) {
    each::<S, Exp>(s, values);
}

#[inline(always)]
pub(crate) fn sigmoid_body<S: Simd>(s: S, values: &mut [S::Elem]) {
    each::<S, Sigmoid>(s, values);
}

#[inline(always)]
pub(crate) fn tanh_body<S: Simd>(s: S, values: &mut [S::Elem]) {
    each::<S, Tanh>(s, values);
}

/// A function of one vector. A type and no closure: that would be a call of its own, compiled without the instructions of the level.
trait OfVector {
    fn of<S: Simd>(s: S, x: S::V) -> S::V;
}

struct Exp;
struct Sigmoid;
struct Tanh;

impl OfVector for Exp {
    #[inline(always)]
    fn of<S: Simd>(s: S, x: S::V) -> S::V {
        exp_v(s, x)
    }
}

impl OfVector for Sigmoid {
    #[inline(always)]
    fn of<S: Simd>(s: S, x: S::V) -> S::V {
        sigmoid_v(s, x)
    }
}

impl OfVector for Tanh {
    #[inline(always)]
    fn of<S: Simd>(s: S, x: S::V) -> S::V {
        tanh_v(s, x)
    }
}

#[inline(always)]
fn each<S: Simd, F: OfVector>(s: S, values: &mut [S::Elem]) {
    let mut chunks = values.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        let p = chunk.as_mut_ptr();
        // SAFETY: the chunk has LANES elements.
        unsafe { s.store(p, F::of(s, s.load(p))) };
    }
    let tail = chunks.into_remainder();
    let (p, n) = (tail.as_mut_ptr(), tail.len());
    // SAFETY: the remainder has n < LANES elements.
    unsafe { s.store_first(p, F::of(s, s.load_first(p, n)), n) };
}

#[cfg_attr(not(ifog_unoptimised), inline(always))]
pub(crate) fn exp_v<S: Simd>(s: S, x: S::V) -> S::V {
    let k = constants::<S>();
    let x = s.max(s.splat(k.exp_min), s.min(s.splat(k.exp_max), x));
    let (n, r) = reduce(s, x);
    let p = s.add(
        s.splat(S::Elem::ONE),
        s.mul_add(s.mul(r, r), horner(s, r, k.exp), r),
    );
    // n reaches beyond the normal exponents: scale in two steps, the second one rounds.
    let magic = s.splat(k.magic);
    let half = s.mul_add(n, s.splat(S::Elem::from_f64(0.5)), magic);
    let rest = s.sub(n, s.sub(half, magic));
    s.mul(s.mul(p, s.pow2(half)), s.pow2(s.add(rest, magic)))
}

/// The sigmoids of two vectors: of narrow ones at once, in one of twice the width.
#[cfg_attr(not(ifog_unoptimised), inline(always))]
pub(crate) fn sigmoids_v<S: Simd>(s: S, a: S::V, b: S::V) -> [S::V; 2] {
    if S::Pair::LANES == 2 * S::LANES {
        let (pair, both) = s.join(a, b);
        return s.part(sigmoid_v(pair, both));
    }
    [sigmoid_v(s, a), sigmoid_v(s, b)]
}

#[cfg_attr(not(ifog_unoptimised), inline(always))]
pub(crate) fn sigmoid_v<S: Simd>(s: S, x: S::V) -> S::V {
    let k = constants::<S>();
    if s.any_lt(s.splat(k.sigmoid_near), s.abs(x)) {
        return far_sigmoid_v(s, x);
    }
    let one = s.splat(S::Elem::ONE);
    let e = GateExp::of(s, s.neg(x));
    let sum = e.sum(s, if rest_is_small::<S>() { e.near } else { e.r });
    // 1 + 2ⁿ is exact.
    let power = s.pow2(e.shifted);
    s.div(one, s.mul_add(sum, power, s.add(one, power)))
}

/// [`sigmoid_v`] of any numbers, with the same bits: a gate that is so firmly shut or open is rare enough for a branch.
#[cfg_attr(not(ifog_unoptimised), inline(always))]
fn far_sigmoid_v<S: Simd>(s: S, x: S::V) -> S::V {
    let k = constants::<S>();
    let zero = s.splat(S::Elem::ZERO);
    let one = s.splat(S::Elem::ONE);
    let (near, distance) = (s.splat(k.sigmoid_near), s.abs(x));
    let x = s.max(s.splat(k.sigmoid_min), s.min(s.splat(k.sigmoid_max), x));
    let scaled = s.splat(k.sigmoid_scaled);
    let shift = s.select_lt(x, scaled, s.splat(k.sigmoid_shift), zero);
    let numerator = s.select_lt(x, scaled, s.splat(k.sigmoid_scale), one);
    let e = GateExp::of(s, s.neg(x));
    let at = match rest_is_small::<S>() {
        true => s.select_lt(near, distance, e.r, e.near),
        false => e.r,
    };
    let sum = e.sum(s, at);
    let power = s.pow2(s.sub(e.shifted, shift));
    // What the first sum loses (at n = 24 in f32: all of the 1; of near numbers nothing) is given back before the last rounding.
    let large = s.add(numerator, power);
    let lost = s.sub(numerator, s.sub(large, power));
    s.div(numerator, s.add(large, s.mul_add(sum, power, lost)))
}

#[cfg_attr(not(ifog_unoptimised), inline(always))]
pub(crate) fn tanh_v<S: Simd>(s: S, x: S::V) -> S::V {
    let k = constants::<S>();
    let one = s.splat(S::Elem::ONE);
    let t = s.abs(x);
    // 1 − 1/((1 + e²ᵗ)/2)
    let half_sum = half_one_plus_exp_twice(s, s.min(s.splat(k.tanh_max), t));
    let large = s.sub(one, s.div(one, half_sum));
    // t + t·s·P(s)
    let square = s.mul(t, t);
    let small = s.mul_add(s.mul(t, square), horner(s, square, k.tanh), t);
    s.copysign(s.select_lt(t, s.splat(k.tanh_small), small, large), x)
}

/// x = n·ln 2 + r, n integral, |r| ≤ ln 2/2 but for rounding.
#[cfg_attr(not(ifog_unoptimised), inline(always))]
fn reduce<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let k = constants::<S>();
    let magic = s.splat(k.magic);
    let n = s.sub(s.mul_add(x, s.splat(k.log2_e), magic), magic);
    let minus_n = s.sub(s.splat(S::Elem::ZERO), n);
    let r = s.mul_add(minus_n, s.splat(k.ln2_hi), x);
    (n, s.mul_add(minus_n, s.splat(k.ln2_lo), r))
}

/// x = n·ln 2 + r of a number whose eˣ is a normal one.
struct GateExp<V> {
    /// n + magic.
    shifted: V,
    /// r, but for what a product of n and ln 2 as one number lacks.
    near: V,
    r: V,
}

impl<V: Copy> GateExp<V> {
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    fn of<S: Simd<V = V>>(s: S, x: V) -> Self {
        let k = constants::<S>();
        let magic = s.splat(k.magic);
        let shifted = s.mul_add(x, s.splat(k.log2_e), magic);
        let n = s.sub(shifted, magic);
        let [ln2, rest] = ln2::<S>();
        let near = s.mul_add(n, s.splat(-ln2), x);
        Self {
            shifted,
            near,
            r: s.mul_add(n, s.splat(-rest), near),
        }
    }

    /// eʳ − 1, with v at `at`: r, or what is near enough.
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    fn sum<S: Simd<V = V>>(&self, s: S, at: V) -> V {
        let square = s.mul(at, at);
        let v = pairs::<S, 0>(s, at, square, constants::<S>().exp);
        s.mul_add(square, v, self.r)
    }
}

/// (1 + e²ᵗ)/2 for 0 ≤ t ≤ [`tanh_max`](crate::element::GateConstants::tanh_max).
///
/// The larger t is, the less of an error in e²ᵗ comes through to tanh, so ln 2 is one number here, and the sum of r, r²·(…) and r⁴·(…)
/// may be rounded twice. Every constant is scaled by a power of two, which changes no bit: ρ = r/2,
/// σ = (eʳ − 1)/2 = ρ + ρ²·2v(2ρ), and the result is (1 + 2ⁿ)/2 + 2ⁿ·σ.
#[cfg_attr(not(ifog_unoptimised), inline(always))]
fn half_one_plus_exp_twice<S: Simd>(s: S, t: S::V) -> S::V {
    let k = constants::<S>();
    let e = S::Elem::from_f64;
    let half = s.splat(e(0.5));
    let magic = s.splat(k.magic);
    let shifted = s.mul_add(t, s.splat(k.log2_e * e(2.0)), magic);
    let n = s.sub(shifted, magic);
    let [ln2, rest] = ln2::<S>().map(|part| s.splat(-part * e(0.5)));
    let mut r = s.mul_add(n, ln2, t);
    if !S::FUSED {
        r = s.mul_add(n, rest, r);
    }
    let square = s.mul(r, r);
    let (high, low) = k.exp.split_at(k.exp.len() - 2);
    let low = s.mul_add(square, pairs::<S, 1>(s, r, square, low), r);
    let high = pairs::<S, 3>(s, r, square, high);
    let sum = s.mul_add(s.mul(square, square), high, low);
    let power = s.pow2(shifted);
    s.mul_add(sum, power, s.mul_add(power, half, half))
}

/// ln 2, and what it lacks. A product that is rounded before it is added has to be exact: there the first part is shorter.
#[inline(always)]
fn ln2<S: Simd>() -> [S::Elem; 2] {
    let k = constants::<S>();
    match S::FUSED {
        true => [k.ln2, k.ln2_rest],
        false => [k.ln2_hi, k.ln2_lo],
    }
}

/// Whether, of near numbers, v may be taken at x − n·ln 2 without what ln 2 lacks: an operation less in the chain.
#[inline(always)]
fn rest_is_small<S: Simd>() -> bool {
    S::FUSED && constants::<S>().ln2_rest_is_small
}

/// c₀·xᵈ + … + c_d with the steps of [`horner`] two at a time (Knuth, TAOCP 2, 4.6.4): half the chain. With `SCALE` ≥ 1, coefficient j
/// from the end times 2^(j + `SCALE`): those of 2^`SCALE`·p(2x).
#[cfg_attr(not(ifog_unoptimised), inline(always))]
fn pairs<S: Simd, const SCALE: usize>(
    s: S,
    x: S::V,
    square: S::V,
    coefficients: &'static [S::Elem],
) -> S::V {
    let degree = coefficients.len() - 1;
    let c = |j: usize| {
        let scale = match SCALE {
            0 => 1.0,
            _ => (1u64 << (degree - j + SCALE)) as f64,
        };
        s.splat(coefficients[j] * S::Elem::from_f64(scale))
    };
    let odd = degree % 2;
    let mut acc = if odd == 1 {
        s.mul_add(c(0), x, c(1))
    } else {
        c(0)
    };
    for j in (odd + 1..degree).step_by(2) {
        acc = s.mul_add(acc, square, s.mul_add(c(j), x, c(j + 1)));
    }
    acc
}

/// c₀·xᵈ + … + c_d, coefficients from the highest power down (Horner 1819).
#[cfg_attr(not(ifog_unoptimised), inline(always))]
fn horner<S: Simd>(s: S, x: S::V, coefficients: &'static [S::Elem]) -> S::V {
    let mut acc = s.splat(coefficients[0]);
    for c in &coefficients[1..] {
        acc = s.mul_add(acc, x, s.splat(*c));
    }
    acc
}

#[inline(always)]
pub(crate) fn constants<S: Simd>() -> GateConstants<S::Elem> {
    <S::Elem as Vectors>::GATES
}

#[cfg(all(test, feature = "std"))]
mod tests;
