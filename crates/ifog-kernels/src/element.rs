//! The element types, f32 and f64, and the constants that the gate functions need of each.

use core::fmt::{Debug, Display};
use core::iter::Sum;
use core::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use crate::dispatch::Entries;
use crate::simd::{Simd, portable};

/// What the kernels compute in: `f32` or `f64`. Sealed.
///
/// Both run through the same text, so that a gradient check in f64 exercises the code that trains in
/// f32.
pub trait Element:
    Copy
    + Default
    + PartialEq
    + PartialOrd
    + Debug
    + Display
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
    + sealed::Vectors
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The name Rust gives the type.
    const NAME: &'static str;

    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// `self`, exactly.
    fn to_f64(self) -> f64;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

pub(crate) mod sealed {
    use super::{Entries, GateConstants, Simd};

    /// The vectors of each level for an element type, and its constants.
    pub trait Vectors: Sized + Entries + 'static {
        type Portable: Simd<Elem = Self>;
        type ScalarFma: Simd<Elem = Self>;
        #[cfg(target_arch = "x86_64")]
        type Avx2: Simd<Elem = Self>;
        #[cfg(target_arch = "x86_64")]
        type Avx512: Simd<Elem = Self>;
        const GATES: GateConstants<Self>;
    }
}

/// Constants of exp, sigmoid and tanh; `math.rs` says how they are used.
///
/// The polynomials are minimax fits (Remez's exchange algorithm, in 300-bit arithmetic), rounded to the type. How far the functions are
/// from the truth is measured in the tests of `math.rs`.
#[derive(Clone, Copy)]
pub struct GateConstants<E: 'static> {
    /// 1.5 · 2^(mantissa bits) + the exponents' bias: adding it to n rounds to an integer, with the exponent bits of 2ⁿ lowest.
    pub magic: E,
    pub log2_e: E,
    /// ln 2 cut short so that n · `ln2_hi` is exact for every exponent n.
    pub ln2_hi: E,
    pub ln2_lo: E,
    /// The number nearest to ln 2, and what is missing.
    pub ln2: E,
    pub ln2_rest: E,
    /// Whether, up to `sigmoid_near`, n · `ln2_rest` does not matter in r²·v(r).
    pub ln2_rest_is_small: bool,
    /// v(r) = (eʳ − 1 − r)/r² for |r| ≤ ln 2/2, from the highest power down.
    pub exp: &'static [E],
    /// Above: exp is +∞. Below its negative partner: exp is 0.
    pub exp_max: E,
    pub exp_min: E,
    /// Up to it, on both sides, 1 + 2ⁿ is exact for the n of e⁻ˣ.
    pub sigmoid_near: E,
    /// Arguments beyond which e⁻ˣ adds nothing to 1.
    pub sigmoid_max: E,
    /// Below it sigmoid is 0 in this type.
    pub sigmoid_min: E,
    /// Where sigmoid(x) = eˣ to the last bit and is computed scaled by `2^sigmoid_shift`.
    pub sigmoid_scaled: E,
    pub sigmoid_shift: E,
    /// 2^−`sigmoid_shift`.
    pub sigmoid_scale: E,
    /// Below: the odd polynomial. Above: 1 − 2/(1 + e²ˣ).
    pub tanh_small: E,
    /// P(s) with tanh x = x + x·s·P(s), s = x², from the highest power down.
    pub tanh: &'static [E],
    /// Beyond it tanh is ±1 in this type.
    pub tanh_max: E,
    /// The least normal number.
    pub min_positive: E,
}

macro_rules! element {
    ($t:ty, $avx2:ident, $avx512:ident, $gates:ident) => {
        impl Element for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NAME: &'static str = stringify!($t);

            #[inline]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline]
            #[allow(
                clippy::unnecessary_cast,
                reason = "f64 to f64 in one of two instances"
            )]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline]
            fn is_finite(self) -> bool {
                <$t>::is_finite(self)
            }
        }

        impl sealed::Vectors for $t {
            type Portable = portable::Portable<$t>;
            type ScalarFma = portable::ScalarFma<$t>;
            #[cfg(target_arch = "x86_64")]
            type Avx2 = crate::simd::avx2::$avx2;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = crate::simd::avx512::$avx512;
            const GATES: GateConstants<$t> = $gates;
        }
    };
}

element!(f32, Avx2F32, Avx512F32, GATES_F32);
element!(f64, Avx2F64, Avx512F64, GATES_F64);

#[expect(clippy::excessive_precision, reason = "as the fit printed them")]
const GATES_F32: GateConstants<f32> = GateConstants {
    magic: 12_582_912.0 + 127.0,
    log2_e: core::f32::consts::LOG2_E,
    ln2_hi: 0.693_359_375,
    ln2_lo: -2.121_944_400_5e-4,
    ln2: core::f32::consts::LN_2,
    ln2_rest: -1.904_654_299_957_767_9e-9,
    ln2_rest_is_small: true,
    exp: &[
        0.0013816873542964458,
        0.008368640206754208,
        0.04166834056377411,
        0.1666652113199234,
        0.4999999403953552,
    ],
    exp_max: 89.0,
    exp_min: -104.0,
    sigmoid_near: 16.0,
    sigmoid_max: 87.0,
    sigmoid_min: -104.0,
    sigmoid_scaled: -44.0,
    sigmoid_shift: 64.0,
    sigmoid_scale: 1.0 / 18_446_744_073_709_551_616.0,
    tanh_small: 0.5625,
    tanh: &[
        -0.006179817020893097,
        0.021007465198636055,
        -0.05383743345737457,
        0.1333245187997818,
        -0.3333331346511841,
    ],
    tanh_max: 10.0,
    min_positive: f32::MIN_POSITIVE,
};

#[expect(clippy::excessive_precision, reason = "as the fit printed them")]
const GATES_F64: GateConstants<f64> = GateConstants {
    magic: 6_755_399_441_055_744.0 + 1023.0,
    log2_e: core::f64::consts::LOG2_E,
    ln2_hi: 0.693_147_180_369_123_816_490,
    ln2_lo: 1.908_214_929_270_587_700_02e-10,
    ln2: core::f64::consts::LN_2,
    ln2_rest: 2.319_046_813_846_299_6e-17,
    ln2_rest_is_small: false,
    exp: &[
        2.0828458493697411054e-9,
        2.5111821474006525393e-8,
        2.7557573460396063635e-7,
        2.7557235557006274735e-6,
        0.000024801586940990187769,
        0.00019841269895583617347,
        0.0013888888889104294038,
        0.0083333333333174179048,
        0.041666666666666134602,
        0.16666666666666682788,
        0.50000000000000000389,
    ],
    exp_max: 710.0,
    exp_min: -746.0,
    sigmoid_near: 36.0,
    sigmoid_max: 700.0,
    sigmoid_min: -746.0,
    sigmoid_scaled: -350.0,
    sigmoid_shift: 512.0,
    sigmoid_scale: 7.458_340_731_200_207e-155,
    tanh_small: 0.5625,
    tanh: &[
        7.20460221893759446e-6,
        -0.000032533425055986090324,
        0.000093632910620166469454,
        -0.00023806606298204432189,
        0.00058979160150528674694,
        -0.0014557982167680739266,
        0.0035921242302295983146,
        -0.008863235261794775994,
        0.02186948852409971332,
        -0.053968253967935648846,
        0.13333333333332911101,
        -0.33333333333333331377,
    ],
    tanh_max: 20.0,
    min_positive: f64::MIN_POSITIVE,
};
