//! Vectors as arrays: the portable level, and the scalar-FMA level that is the reference for the
//! bits of all others.

use core::marker::PhantomData;

use super::Simd;

/// Lanes of the array vectors: what SSE2 and a NEON register hold of f32.
const LANES: usize = 4;

/// Arrays that the compiler may vectorise at the target's own level. Fused where the build's target has x86's
/// FMA, and `std`; on others a product is rounded before it is added.
#[derive(Clone, Copy)]
pub struct Portable<E>(PhantomData<E>);

/// Arrays with a fused multiply-add always, by the C library where the hardware lacks it.
#[derive(Clone, Copy)]
pub struct ScalarFma<E>(PhantomData<E>);

macro_rules! arrays {
    ($token:ident, $t:ty, $bits:ty, $sign_shift:expr, $mantissa:expr, $mul_add:expr, $fused:expr, $emulated:expr) => {
        impl Simd for $token<$t> {
            type V = [$t; LANES];
            const LANES: usize = LANES;
            const ACCUMULATORS: usize = 8;
            const FUSED: bool = $fused;
            const EMULATED: bool = $emulated;
            type Narrow = Self;
            type Pair = Self;

            #[inline(always)]
            fn narrow(self) -> Self {
                self
            }

            #[inline(always)]
            unsafe fn assume_supported() -> Self {
                Self(PhantomData)
            }
            #[inline(always)]
            fn splat(self, x: $t) -> Self::V {
                [x; LANES]
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> Self::V {
                // SAFETY: the caller vouches for LANES elements.
                unsafe { p.cast::<Self::V>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, v: Self::V) {
                // SAFETY: the caller vouches for LANES elements.
                unsafe { p.cast::<Self::V>().write_unaligned(v) }
            }
            #[inline(always)]
            unsafe fn load_first(self, p: *const $t, n: usize) -> Self::V {
                let mut v = [0.0; LANES];
                // SAFETY: the caller vouches for n elements, and n < LANES.
                unsafe { core::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n.min(LANES)) };
                v
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, v: Self::V, n: usize) {
                // SAFETY: the caller vouches for n elements, and n < LANES.
                unsafe { core::ptr::copy_nonoverlapping(v.as_ptr(), p, n.min(LANES)) };
            }
            #[inline(always)]
            fn add(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| a + b)
            }
            #[inline(always)]
            fn sub(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| a - b)
            }
            #[inline(always)]
            fn mul(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| a * b)
            }
            #[inline(always)]
            fn div(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| a / b)
            }
            #[inline(always)]
            fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                if Self::EMULATED {
                    called(a, b, c, $mul_add)
                } else {
                    zip3(a, b, c, $mul_add)
                }
            }
            #[inline(always)]
            fn min(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| if a < b { a } else { b })
            }
            #[inline(always)]
            fn max(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| if a > b { a } else { b })
            }
            #[inline(always)]
            fn neg(self, a: Self::V) -> Self::V {
                zip(a, a, |a, _| -a)
            }
            #[inline(always)]
            fn abs(self, a: Self::V) -> Self::V {
                zip(a, a, |a, _| {
                    <$t>::from_bits(a.to_bits() & !(1 << $sign_shift))
                })
            }
            #[inline(always)]
            fn copysign(self, a: Self::V, sign: Self::V) -> Self::V {
                zip(a, sign, |a, sign| {
                    let mask: $bits = 1 << $sign_shift;
                    <$t>::from_bits((a.to_bits() & !mask) | (sign.to_bits() & mask))
                })
            }
            #[inline(always)]
            fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
                let mut out = y;
                for l in 0..LANES {
                    if a[l] < b[l] {
                        out[l] = x[l];
                    }
                }
                out
            }
            #[inline(always)]
            fn any_lt(self, a: Self::V, b: Self::V) -> bool {
                (0..LANES).any(|l| a[l] < b[l])
            }
            #[inline(always)]
            fn pow2(self, n: Self::V) -> Self::V {
                zip(n, n, |n, _| <$t>::from_bits(n.to_bits() << $mantissa))
            }
            #[inline(always)]
            fn prefetch(self, _p: *const $t) {}
            #[inline(always)]
            fn prefetch_far(self, _p: *const $t) {}
        }
    };
}

/// Lane by lane; `f` is scalar, so no vector crosses a call.
#[inline(always)]
fn zip<E: Copy>(a: [E; LANES], b: [E; LANES], f: impl Fn(E, E) -> E) -> [E; LANES] {
    zip3(a, b, b, |a, b, _| f(a, b))
}

#[inline(always)]
fn zip3<E: Copy>(
    a: [E; LANES],
    b: [E; LANES],
    c: [E; LANES],
    f: impl Fn(E, E, E) -> E,
) -> [E; LANES] {
    core::array::from_fn(|l| f(a[l], b[l], c[l]))
}

/// [`zip3`] behind one call for every vector: with one for every lane, of the C library, in every kernel, this level was two
/// fifths of the machine code of the crate.
#[inline(never)]
fn called<E: Copy>(
    a: [E; LANES],
    b: [E; LANES],
    c: [E; LANES],
    f: impl Fn(E, E, E) -> E,
) -> [E; LANES] {
    zip3(a, b, c, f)
}

/// Whether the C library does the scalar-FMA level's multiply-adds: on all targets but those that are known to have an instruction.
pub(crate) const EMULATED: bool = !cfg!(any(
    target_feature = "fma",
    target_arch = "aarch64",
    target_arch = "powerpc64",
    target_arch = "s390x",
    target_arch = "loongarch64",
    target_feature = "d",
));

/// Whether the portable level's multiply-adds are rounded once.
pub(crate) const PORTABLE_FUSES: bool = cfg!(all(target_feature = "fma", feature = "std"));

#[cfg(not(target_feature = "fma"))]
macro_rules! target_mul_add {
    () => {
        |a, b, c| a * b + c
    };
}
#[cfg(target_feature = "fma")]
macro_rules! target_mul_add {
    () => {
        fused!()
    };
}

#[cfg(feature = "std")]
macro_rules! fused {
    () => {
        |a, b, c| a.mul_add(b, c)
    };
}
// `core` has no fused multiply-add: without `std` the scalar-FMA level cannot be asked for (`level.rs`), and the portable
// one is not fused, whatever the target has.
#[cfg(not(feature = "std"))]
macro_rules! fused {
    () => {
        |a, b, c| a * b + c
    };
}

arrays!(
    Portable,
    f32,
    u32,
    31,
    23,
    target_mul_add!(),
    PORTABLE_FUSES,
    false
);
arrays!(
    Portable,
    f64,
    u64,
    63,
    52,
    target_mul_add!(),
    PORTABLE_FUSES,
    false
);
arrays!(
    ScalarFma,
    f32,
    u32,
    31,
    23,
    fused!(),
    cfg!(feature = "std"),
    EMULATED
);
arrays!(
    ScalarFma,
    f64,
    u64,
    63,
    52,
    fused!(),
    cfg!(feature = "std"),
    EMULATED
);
