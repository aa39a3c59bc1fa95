//! The register tile: the one product loop of the crate.
//!
//! ```text
//! for row r of the tile, vector v of the panel:   acc[r][v] = start(r, v)
//! for k:   acc[r][v] = fma(lhs[r][k], panel[k][v], acc[r][v])
//! finish(r, acc[r])
//! ```
//!
//! Every output element is one accumulator that runs over k in order, whatever the tile's shape: that is
//! the same-bits contract. What stands before and after the products (bias, gate functions, state
//! update, gate gradients) is a [`TileOp`]. The finished accumulators pass through a scratch of 24 vectors in
//! L1, so that the epilogue is one loop over rows, whatever the number of rows of the tile: less code by an
//! order of magnitude for 24 stores and loads a tile.
//!
//! Tricks: (1) `ACCUMULATORS / NV` rows, so that 24 (12) independent chains hide the latency of the FMA
//! and each panel row is loaded once for all of them; (2) rows are dealt evenly to the tiles (32 rows are
//! 6+6+5+5+5+5, not 5×6+2), as a tile of two rows is bound by loads; (3) panels outside, rows inside: a
//! panel is read from L2 by every tile and from further away only once.

use core::ops::Range;

use crate::element::Element;
use crate::pack::Packed;
use crate::simd::Simd;

/// Rows of a matrix behind a raw pointer, in slabs: row r is row `r % per_slab` of slab `r / per_slab`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<P> {
    pub(crate) base: P,
    pub(crate) per_slab: usize,
    pub(crate) slab_stride: usize,
    pub(crate) row_stride: usize,
}

/// The left side of a product: the first `len[0]` values of a row, then `len[1]` values from `skip` on.
#[derive(Clone, Copy)]
pub(crate) struct Lhs<E> {
    pub(crate) rows: Rows<*const E>,
    pub(crate) len: [usize; 2],
    pub(crate) skip: usize,
}

/// What a tile does around its products, row by row.
pub(crate) trait TileOp<S: Simd, const NV: usize> {
    /// How many panel rows ahead the product loop prefetches; 0: it leaves that to the hardware.
    const PREFETCH: usize = 0;
    /// Whether the left rows are read in two runs ([`Lhs::len`]).
    const TWO_RUNS: bool = false;

    /// The accumulators before the products.
    ///
    /// # Safety
    /// The op's pointers are valid for `row` and `panel`.
    unsafe fn start(&self, s: S, row: usize, panel: usize) -> [S::V; NV];

    /// Consumes the accumulators of a row.
    ///
    /// # Safety
    /// The op's pointers are valid for `row` and `panel`, and no other thread touches that part.
    unsafe fn finish(&self, s: S, row: usize, panel: usize, acc: [S::V; NV]);
}

/// The most rows of a tile on any level.
pub(crate) const MAX_ROWS: usize = 8;

impl<P> Rows<P> {
    /// Rows without slabs.
    pub(crate) fn flat(base: P, row_stride: usize) -> Self {
        Self {
            base,
            per_slab: usize::MAX,
            slab_stride: 0,
            row_stride,
        }
    }

    #[inline(always)]
    fn offset(&self, r: usize) -> usize {
        if r < self.per_slab {
            return r * self.row_stride;
        }
        (r / self.per_slab) * self.slab_stride + (r % self.per_slab) * self.row_stride
    }
}

impl<E> Rows<*const E> {
    /// # Safety
    /// Row r is inside the allocation.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, r: usize) -> *const E {
        // SAFETY: the caller vouches for row r.
        unsafe { self.base.add(self.offset(r)) }
    }
}

impl<E> Rows<*mut E> {
    /// # Safety
    /// Row r is inside the allocation.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, r: usize) -> *mut E {
        // SAFETY: the caller vouches for row r.
        unsafe { self.base.add(self.offset(r)) }
    }
}

impl<E> Lhs<E> {
    /// The first `len` values of each row.
    pub(crate) fn new(rows: Rows<*const E>, len: usize) -> Self {
        Self {
            rows,
            len: [len, 0],
            skip: 0,
        }
    }
}

/// Runs `op` over `rows` × the panels of `panels` in the range, all with `NV` vectors.
///
/// # Safety
/// `lhs` is valid for `rows`; its lengths add up to `rhs.k`; every panel of the range has `NV` vectors;
/// `op` is valid for the rows and panels.
#[inline(always)]
pub(crate) unsafe fn sweep<S: Simd, Op: TileOp<S, NV>, const NV: usize>(
    s: S,
    op: &Op,
    lhs: &Lhs<S::Elem>,
    rhs: &Packed<S::Elem>,
    panels: Range<usize>,
    rows: Range<usize>,
) {
    let most = const { most_rows::<S>(NV) };
    let tiles = rows.len().div_ceil(most);
    let mut scratch = Scratch([[s.splat(S::Elem::ZERO); NV]; MAX_ROWS]);
    for panel in panels {
        let weights = rhs.panel(panel);
        for tile in 0..tiles {
            let first = rows.start + rows.len() * tile / tiles;
            let end = rows.start + rows.len() * (tile + 1) / tiles;
            // SAFETY: passed on from the caller; the tile lies within `rows`.
            unsafe {
                with_rows!(end - first, most, MR => {
                    let acc = register_tile::<S, Op, MR, NV>(s, op, lhs, weights, panel, first);
                    scratch.0[..MR].copy_from_slice(&acc);
                });
                for (row, acc) in (first..end).zip(&scratch.0) {
                    op.finish(s, row, panel, *acc);
                }
            }
        }
    }
}

/// Accumulators of a tile on their way to the epilogue, on cache lines of their own.
#[repr(align(64))]
struct Scratch<V, const NV: usize>([[V; NV]; MAX_ROWS]);

/// The most rows of a tile of `vectors` vectors: all accumulators; for narrow panels no more than for three.
const fn most_rows<S: Simd>(vectors: usize) -> usize {
    if vectors < 3 {
        S::ACCUMULATORS / 3
    } else {
        S::ACCUMULATORS / vectors
    }
}

/// [`sweep`] over panels of one-gate layouts, whose last panel may have 1 to 4 vectors.
///
/// # Safety
/// As for [`sweep`].
#[inline(always)]
pub(crate) unsafe fn sweep_blocks<S: Simd, Op>(
    s: S,
    op: &Op,
    lhs: &Lhs<S::Elem>,
    rhs: &Packed<S::Elem>,
    panels: Range<usize>,
    rows: Range<usize>,
) where
    Op: TileOp<S, 1> + TileOp<S, 2> + TileOp<S, 3> + TileOp<S, 4>,
{
    if panels.is_empty() {
        return;
    }
    let last = panels.end - 1;
    let blocks = rhs.layout.blocks_of(last);
    let full = if blocks == 4 { panels.end } else { last };
    // SAFETY: passed on from the caller; only the last panel can be narrower than four vectors.
    unsafe {
        sweep::<S, Op, 4>(s, op, lhs, rhs, panels.start..full, rows.clone());
        match blocks {
            1 => sweep::<S, Op, 1>(s, op, lhs, rhs, full..panels.end, rows),
            2 => sweep::<S, Op, 2>(s, op, lhs, rhs, full..panels.end, rows),
            3 => sweep::<S, Op, 3>(s, op, lhs, rhs, full..panels.end, rows),
            _ => {}
        }
    }
}

/// Calls `$body` with the constant `$MR` equal to `$rows`, at most `$most`.
macro_rules! with_rows {
    ($rows:expr, $most:expr, $MR:ident => $body:block) => {
        match $rows {
            1 => {
                const $MR: usize = 1;
                $body
            }
            2 if $most >= 2 => {
                const $MR: usize = 2;
                $body
            }
            3 if $most >= 3 => {
                const $MR: usize = 3;
                $body
            }
            4 if $most >= 4 => {
                const $MR: usize = 4;
                $body
            }
            5 if $most >= 5 => {
                const $MR: usize = 5;
                $body
            }
            6 if $most >= 6 => {
                const $MR: usize = 6;
                $body
            }
            7 if $most >= 7 => {
                const $MR: usize = 7;
                $body
            }
            8 if $most >= 8 => {
                const $MR: usize = 8;
                $body
            }
            _ => {}
        }
    };
}
pub(crate) use with_rows;

#[inline(always)]
unsafe fn register_tile<S: Simd, Op: TileOp<S, NV>, const MR: usize, const NV: usize>(
    s: S,
    op: &Op,
    lhs: &Lhs<S::Elem>,
    weights: *const S::Elem,
    panel: usize,
    row: usize,
) -> [[S::V; NV]; MR] {
    let mut acc = [[s.splat(S::Elem::ZERO); NV]; MR];
    let mut left = [lhs.rows.base; MR];
    // SAFETY: the caller of `sweep` vouches for the rows, the panel and the op.
    unsafe {
        for r in 0..MR {
            acc[r] = op.start(s, row + r, panel);
            left[r] = lhs.rows.at(row + r);
        }
        accumulate::<S, MR, NV>(
            s,
            &mut acc,
            |r, k| left[r].add(k),
            weights,
            lhs.len[0],
            Op::PREFETCH,
        );
        if Op::TWO_RUNS {
            let weights = weights.add(lhs.len[0] * NV * S::LANES);
            let skip = lhs.skip;
            accumulate::<S, MR, NV>(
                s,
                &mut acc,
                |r, k| left[r].add(skip + k),
                weights,
                lhs.len[1],
                0,
            );
        }
    }
    acc
}

/// `acc[r][v] += Σ_k *left(r, k) · weights[k][v]`, k in order, each step fused.
///
/// # Safety
/// `left(r, k)` is readable for r < MR, k < len; `weights` for len · NV · LANES elements.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    acc: &mut [[S::V; NV]; MR],
    left: impl Fn(usize, usize) -> *const S::Elem,
    weights: *const S::Elem,
    len: usize,
    prefetch: usize,
) {
    let mut sums = *acc;
    let mut row = weights;
    for k in 0..len {
        // SAFETY: the caller vouches for `left` and `weights`; a prefetch never faults.
        unsafe {
            if prefetch > 0 {
                for v in 0..NV {
                    s.prefetch(row.wrapping_add((prefetch * NV + v) * S::LANES));
                }
            }
            let mut w = [s.splat(S::Elem::ZERO); NV];
            for v in 0..NV {
                w[v] = s.load(row.add(v * S::LANES));
            }
            for r in 0..MR {
                let x = s.splat(*left(r, k));
                for v in 0..NV {
                    sums[r][v] = s.mul_add(x, w[v], sums[r][v]);
                }
            }
            row = row.add(NV * S::LANES);
        }
    }
    *acc = sums;
}

/// Loads a vector of which `valid` lanes exist.
///
/// # Safety
/// `p` is readable for min(`valid`, LANES) elements.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(s: S, p: *const S::Elem, valid: usize) -> S::V {
    // SAFETY: passed on from the caller.
    unsafe {
        if valid >= S::LANES {
            s.load(p)
        } else {
            s.load_first(p, valid)
        }
    }
}

/// Stores the lanes of a vector that exist.
///
/// # Safety
/// `p` is writable for min(`valid`, LANES) elements.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(s: S, p: *mut S::Elem, v: S::V, valid: usize) {
    // SAFETY: passed on from the caller.
    unsafe {
        if valid >= S::LANES {
            s.store(p, v)
        } else {
            s.store_first(p, v, valid)
        }
    }
}
