//! AVX2 and FMA: 8 lanes of f32, 4 of f64, 16 registers.

use core::arch::x86_64::*;

use super::Simd;

/// AVX2 + FMA, f32.
#[derive(Clone, Copy)]
pub struct Avx2F32(());

/// AVX2 + FMA, f64.
#[derive(Clone, Copy)]
pub struct Avx2F64(());

/// A window that starts n before the zeros is the mask of the first n lanes.
static MASK_F32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static MASK_F64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

/// One intrinsic.
macro_rules! op {
    ($e:expr) => {{
        // SAFETY: `self` exists, so the CPU has AVX2 and FMA; memory operands are vouched for by the
        // caller of the method.
        #[allow(clippy::macro_metavars_in_unsafe, reason = "one reason for every intrinsic here")]
        unsafe {
            $e
        }
    }};
}

macro_rules! avx2 {
    ($token:ident, $t:ty, $v:ty, $lanes:expr, $mask:ident, $mantissa:expr,
     $set1:ident $load:ident $store:ident $maskload:ident $maskstore:ident
     $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident $min:ident $max:ident
     $and:ident $andnot:ident $or:ident $cmp:ident $movemask:ident $blend:ident
     $slli:ident $to_int:ident $from_int:ident) => {
        impl Simd for $token {
            type V = $v;
            const LANES: usize = $lanes;
            const ACCUMULATORS: usize = 12;
            const FETCHES: bool = true;
            type Narrow = Self;
            type Pair = Self;

            #[inline(always)]
            fn narrow(self) -> Self {
                self
            }

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
                let n = n.min($lanes);
                op!({
                    let mask = _mm256_loadu_si256($mask.as_ptr().add($lanes - n).cast());
                    $maskload(p, mask)
                })
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, v: $v, n: usize) {
                let n = n.min($lanes);
                op!({
                    let mask = _mm256_loadu_si256($mask.as_ptr().add($lanes - n).cast());
                    $maskstore(p, mask, v)
                })
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
                op!($blend(y, x, $cmp::<_CMP_LT_OQ>(a, b)))
            }
            #[inline(always)]
            fn any_lt(self, a: $v, b: $v) -> bool {
                op!($movemask($cmp::<_CMP_LT_OQ>(a, b))) != 0
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

avx2!(Avx2F32, f32, __m256, 8, MASK_F32, 23,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_maskload_ps _mm256_maskstore_ps
    _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_fmadd_ps _mm256_min_ps _mm256_max_ps
    _mm256_and_ps _mm256_andnot_ps _mm256_or_ps _mm256_cmp_ps _mm256_movemask_ps _mm256_blendv_ps
    _mm256_slli_epi32 _mm256_castps_si256 _mm256_castsi256_ps);
avx2!(Avx2F64, f64, __m256d, 4, MASK_F64, 52,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_maskload_pd _mm256_maskstore_pd
    _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd _mm256_fmadd_pd _mm256_min_pd _mm256_max_pd
    _mm256_and_pd _mm256_andnot_pd _mm256_or_pd _mm256_cmp_pd _mm256_movemask_pd _mm256_blendv_pd
    _mm256_slli_epi64 _mm256_castpd_si256 _mm256_castsi256_pd);
