//! The vector vocabulary that every kernel is written in, in the words of `std::simd`.
//!
//! A kernel is generic over [`Simd`], stands once, is `#[inline(always)]`, and is entered through a
//! concrete function per level that enables the level's features (see `dispatch.rs`). A value of an
//! implementing type is the proof that the machine has the level: only `dispatch.rs` makes one, and
//! only from a [`Level`](crate::Level), which cannot be had for a level that is absent; or it is the narrow one of such a token.
//! That is what the `// SAFETY:` comments of this module lean on.
//!
//! Every operation has the same result on every level but [`Simd::mul_add`], which is fused on all
//! of them except portable, where the build's target has no FMA of x86 or the build no `std`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;
pub(crate) mod processor;

use crate::element::Element;
use crate::microkernel::{Ahead, Microkernel};

/// A level's microkernels for one element type: machine code of the level, behind pointers.
pub trait Microkernels {
    /// What a lane holds.
    type Elem: Element;

    /// The microkernel of tiles of `rows` rows and `vectors` vectors; `rows` is not more than
    /// [`most_rows`](crate::microkernel::most_rows) of the level.
    fn microkernel(rows: usize, vectors: usize, ahead: Ahead) -> Microkernel<Self::Elem>;
}

/// A level's vectors of one element type.
///
/// No method carries `#[target_feature]`; each is inlined into an entry that does.
pub trait Simd: Microkernels + Copy + Send + Sync {
    /// `LANES` elements.
    type V: Copy;
    /// Elements in a vector.
    const LANES: usize;
    /// Vector accumulators that a register tile may hold, leaving room for a panel row and the
    /// broadcast left value: 24 of 32 registers, 12 of 16.
    const ACCUMULATORS: usize;

    /// Whether a multiply-add is rounded once.
    const FUSED: bool = true;

    /// Whether a multiply-add is so slow that nothing around it matters but the size of the machine code.
    const EMULATED: bool = false;

    /// Whether [`Simd::prefetch`] does something, and panels are wide enough for it to matter.
    const FETCHES: bool = false;

    /// Vectors of half the width for half a vector of units, or the same vectors where there are none.
    type Narrow: Simd<Elem = Self::Elem>;

    /// The token of the narrow vectors, which a machine with this level has.
    fn narrow(self) -> Self::Narrow;

    /// Vectors of twice the width, for two vectors at once; the same vectors where there are none.
    type Pair: Simd<Elem = Self::Elem>;

    /// Two vectors as one of twice the width. Not to be called where there are none, as [`Simd::part`].
    #[inline(always)]
    fn join(self, _a: Self::V, _b: Self::V) -> (Self::Pair, <Self::Pair as Simd>::V) {
        unreachable!("no vectors of twice the width")
    }

    /// The two vectors of one.
    #[inline(always)]
    fn part(self, _pair: <Self::Pair as Simd>::V) -> [Self::V; 2] {
        unreachable!("no vectors of twice the width")
    }

    /// The token. Its existence asserts that the level's instructions can run.
    ///
    /// # Safety
    /// The running CPU has the level's features.
    unsafe fn assume_supported() -> Self;

    fn splat(self, x: Self::Elem) -> Self::V;

    /// # Safety
    /// `p` is valid for reading `LANES` elements; no alignment is needed.
    unsafe fn load(self, p: *const Self::Elem) -> Self::V;

    /// # Safety
    /// `p` is valid for writing `LANES` elements; no alignment is needed.
    unsafe fn store(self, p: *mut Self::Elem, v: Self::V);

    /// The first `n < LANES` lanes from memory, the rest zero.
    ///
    /// # Safety
    /// `p` is valid for reading `n` elements.
    unsafe fn load_first(self, p: *const Self::Elem, n: usize) -> Self::V;

    /// The first `n < LANES` lanes to memory; nothing else is written.
    ///
    /// # Safety
    /// `p` is valid for writing `n` elements.
    unsafe fn store_first(self, p: *mut Self::Elem, v: Self::V, n: usize);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// IEEE division.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a·b + c, rounded once.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a < b ? a : b, so that a NaN in `b` stays.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// a > b ? a : b, so that a NaN in `b` stays.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// −a; of a NaN, a NaN.
    fn neg(self, a: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    /// The magnitude of `a` with the sign of `sign`.
    fn copysign(self, a: Self::V, sign: Self::V) -> Self::V;
    /// a < b ? x : y, lane by lane; false for NaN.
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Whether a < b in any lane; false for NaN.
    fn any_lt(self, a: Self::V, b: Self::V) -> bool;
    /// 2ⁿ for integral n, given as n + [`magic`](crate::element::GateConstants::magic), with a normal result; any bits otherwise.
    fn pow2(self, n: Self::V) -> Self::V;
    /// A hint that the cache line at `p` is wanted soon; never faults.
    fn prefetch(self, p: *const Self::Elem);
    /// The same for later, of L2 rather than L1.
    fn prefetch_far(self, p: *const Self::Elem);
}
