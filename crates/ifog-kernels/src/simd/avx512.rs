//! AVX-512 (F, DQ and VL): 16 lanes of f32, 8 of f64, 32 registers, masked tails; and vectors of half the width.

use core::arch::x86_64::*;

use super::Simd;

/// AVX-512, f32.
#[derive(Clone, Copy)]
pub struct Avx512F32(());

/// AVX-512, f64.
#[derive(Clone, Copy)]
pub struct Avx512F64(());

/// AVX-512, f32, vectors of 256 bits.
#[derive(Clone, Copy)]
pub struct Avx512HalfF32(());

/// AVX-512, f64, vectors of 256 bits.
#[derive(Clone, Copy)]
pub struct Avx512HalfF64(());

/// One intrinsic.
macro_rules! op {
    ($e:expr) => {{
        // SAFETY: `self` exists, so the CPU has AVX-512 F, DQ and VL; memory operands are vouched for by
        // the caller of the method.
        #[allow(clippy::macro_metavars_in_unsafe, reason = "one reason for every intrinsic here")]
        unsafe {
            $e
        }
    }};
}

/// Vectors of twice the width, with what makes one of two, its first half, and its second.
macro_rules! pair {
    ($pair:ident, $cast:ident $insert:ident $first:ident $second:ident) => {
        type Pair = $pair;

        #[inline(always)]
        fn join(self, a: Self::V, b: Self::V) -> ($pair, <$pair as Simd>::V) {
            ($pair(()), op!($insert::<1>($cast(a), b)))
        }
        #[inline(always)]
        fn part(self, pair: <$pair as Simd>::V) -> [Self::V; 2] {
            op!([$first(pair), $second::<1>(pair)])
        }
    };
    (none) => {
        type Pair = Self;
    };
}

/// A level. Half of a narrow vector is loaded and stored without a mask: a masked store, which the next step reads, made training of 20
/// units take 6 % longer (Zen 5).
macro_rules! avx512 {
    ($token:ident, $narrow:ident, $t:ty, $v:ty, $lanes:expr, $mask:ty, $mantissa:expr,
     $set1:ident $load:ident $store:ident $maskload:ident $maskstore:ident
     $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident $min:ident $max:ident
     $and:ident $andnot:ident $or:ident $cmp:ident $blend:ident
     $slli:ident $to_int:ident $from_int:ident;
     [$($widen:ident $halfload:ident $half:ident $halfstore:ident)?] $($pair:tt)*) => {
        impl Simd for $token {
            type V = $v;
            const LANES: usize = $lanes;
            const ACCUMULATORS: usize = 24;
            const FETCHES: bool = $lanes * size_of::<$t>() == 64;
            type Narrow = $narrow;

            #[inline(always)]
            fn narrow(self) -> $narrow {
                $narrow(())
            }

            pair!($($pair)*);

            #[inline(always)]
            unsafe fn assume_supported() -> Self {
                Self(())
            }
            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                op!($set1(x))
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> $v {
                op!($load(p))
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, v: $v) {
                op!($store(p, v))
            }
            #[inline(always)]
            unsafe fn load_first(self, p: *const $t, n: usize) -> $v {
                $(if n == $lanes / 2 {
                    return op!($widen($halfload(p)));
                })?
                let mask = ((1u32 << n.min($lanes)) - 1) as $mask;
                op!($maskload(mask, p))
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, v: $v, n: usize) {
                $(if n == $lanes / 2 {
                    return op!($halfstore(p, $half(v)));
                })?
                let mask = ((1u32 << n.min($lanes)) - 1) as $mask;
                op!($maskstore(p, mask, v))
            }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                op!($add(a, b))
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                op!($sub(a, b))
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                op!($mul(a, b))
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                op!($div(a, b))
            }
            #[inline(always)]
            fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                op!($fmadd(a, b, c))
            }
            #[inline(always)]
            fn min(self, a: $v, b: $v) -> $v {
                op!($min(a, b))
            }
            #[inline(always)]
            fn max(self, a: $v, b: $v) -> $v {
                op!($max(a, b))
            }
            #[inline(always)]
            fn neg(self, a: $v) -> $v {
                op!($sub($set1(-0.0), a))
            }
            #[inline(always)]
            fn abs(self, a: $v) -> $v {
                op!($andnot($set1(-0.0), a))
            }
            #[inline(always)]
            fn copysign(self, a: $v, sign: $v) -> $v {
                op!({
                    let mask = $set1(-0.0);
                    $or($andnot(mask, a), $and(mask, sign))
                })
            }
            #[inline(always)]
            fn select_lt(self, a: $v, b: $v, x: $v, y: $v) -> $v {
                op!($blend($cmp::<_CMP_LT_OQ>(a, b), y, x))
            }
            #[inline(always)]
            fn any_lt(self, a: $v, b: $v) -> bool {
                op!($cmp::<_CMP_LT_OQ>(a, b)) != 0
            }
            #[inline(always)]
            fn pow2(self, n: $v) -> $v {
                op!($from_int($slli::<$mantissa>($to_int(n))))
            }
            #[inline(always)]
            fn prefetch(self, p: *const $t) {
                op!(_mm_prefetch::<_MM_HINT_T0>(p.cast()))
            }
            #[inline(always)]
            fn prefetch_far(self, p: *const $t) {
                op!(_mm_prefetch::<_MM_HINT_T1>(p.cast()))
            }
        }
    };
}

avx512!(Avx512F32, Avx512HalfF32, f32, __m512, 16, __mmask16, 23,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_maskz_loadu_ps _mm512_mask_storeu_ps
    _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps _mm512_fmadd_ps _mm512_min_ps _mm512_max_ps
    _mm512_and_ps _mm512_andnot_ps _mm512_or_ps _mm512_cmp_ps_mask _mm512_mask_blend_ps
    _mm512_slli_epi32 _mm512_castps_si512 _mm512_castsi512_ps; [] none);
avx512!(Avx512HalfF32, Self, f32, __m256, 8, __mmask8, 23,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_maskz_loadu_ps _mm256_mask_storeu_ps
    _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_fmadd_ps _mm256_min_ps _mm256_max_ps
    _mm256_and_ps _mm256_andnot_ps _mm256_or_ps _mm256_cmp_ps_mask _mm256_mask_blend_ps
    _mm256_slli_epi32 _mm256_castps_si256 _mm256_castsi256_ps;
    [_mm256_zextps128_ps256 _mm_loadu_ps _mm256_castps256_ps128 _mm_storeu_ps] Avx512F32, _mm512_castps256_ps512 _mm512_insertf32x8 _mm512_castps512_ps256 _mm512_extractf32x8_ps);
avx512!(Avx512F64, Avx512HalfF64, f64, __m512d, 8, __mmask8, 52,
    _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_maskz_loadu_pd _mm512_mask_storeu_pd
    _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_div_pd _mm512_fmadd_pd _mm512_min_pd _mm512_max_pd
    _mm512_and_pd _mm512_andnot_pd _mm512_or_pd _mm512_cmp_pd_mask _mm512_mask_blend_pd
    _mm512_slli_epi64 _mm512_castpd_si512 _mm512_castsi512_pd; [] none);
avx512!(Avx512HalfF64, Self, f64, __m256d, 4, __mmask8, 52,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_maskz_loadu_pd _mm256_mask_storeu_pd
    _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd _mm256_fmadd_pd _mm256_min_pd _mm256_max_pd
    _mm256_and_pd _mm256_andnot_pd _mm256_or_pd _mm256_cmp_pd_mask _mm256_mask_blend_pd
    _mm256_slli_epi64 _mm256_castpd_si256 _mm256_castsi256_pd;
    [_mm256_zextpd128_pd256 _mm_loadu_pd _mm256_castpd256_pd128 _mm_storeu_pd] Avx512F64, _mm512_castpd256_pd512 _mm512_insertf64x4 _mm512_castpd512_pd256 _mm512_extractf64x4_pd);
