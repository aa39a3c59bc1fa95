//! The factors of weight gradients, side by side as the register tiles read them.

use core::ops::Range;

use super::{Left, Outer, Reduce, SLACK, tile_columns};
use crate::element::Element;
use crate::planted::{Bug, planted};
use crate::simd::Simd;
use crate::tile;

/// Rows of the left factor that are packed for all tiles before the next ones: 16 rows of 512 columns fill L1.
const ROWS_TO_ALL: usize = 16;

/// Packs `[ks, columns]` tile by tile: element (k, column c of the tile) at `k · tile width + c`. Some rows at a time go to
/// all tiles, so that they are read once and in order, while the next ones are asked for.
#[inline(always)]
pub(super) unsafe fn pack_left<S: Simd>(
    s: S,
    most: usize,
    (reduce, left, columns, ks): (Reduce, &Left<S::Elem>, Range<usize>, Range<usize>),
    to: *mut S::Elem,
) {
    if columns.is_empty() {
        return;
    }
    if left.base.is_null() {
        // SAFETY: the one column is all there is.
        return unsafe { pack_ones(reduce, ks, to) };
    }
    let tiles = columns.len().div_ceil(most);
    let behind = |k: usize| k..ks.end.min(k + ROWS_TO_ALL);
    let mut rows = row_pointers(reduce, left, behind(ks.start));
    for first in ks.clone().step_by(ROWS_TO_ALL) {
        let some = behind(first);
        let next = row_pointers(reduce, left, behind(some.end));
        let mut tile_start = to;
        for tile in 0..tiles {
            let here = tile_columns(&columns, tile, tiles);
            // Whether whole vectors of the row can be read.
            let whole = here.start + here.len().next_multiple_of(S::LANES) <= left.m;
            // SAFETY: the rows are of T·B, the columns are of the left; `to` has len(ks) · columns elements and the slack of
            // each tile.
            unsafe {
                let mut to = tile_start.add((first - ks.start) * here.len());
                for (row, next) in rows[..some.len()].iter().zip(&next) {
                    s.prefetch(next.wrapping_add(here.start));
                    // A whole vector: what is too much is overwritten by the next row, or lies in the slack. The
                    // bound is a constant, so that masks are made before the loop over the rows.
                    for c in (0..most).step_by(S::LANES) {
                        if c < here.len() {
                            let valid = if whole { S::LANES } else { here.len() - c };
                            let from = row.add(here.start + c);
                            s.store(to.add(c), tile::load(s, from, valid));
                        }
                    }
                    to = to.add(here.len());
                }
                tile_start = tile_start.add(ks.len() * here.len() + SLACK);
            }
        }
        rows = next;
    }
}

/// Where the rows at the places `ks` are, of which there are up to so many; behind them the first row.
#[inline(always)]
fn row_pointers<E>(reduce: Reduce, left: &Left<E>, ks: Range<usize>) -> [*const E; ROWS_TO_ALL] {
    let mut pointers = [left.base; ROWS_TO_ALL];
    if !ks.is_empty() {
        for (pointer, row) in pointers.iter_mut().zip(reduce.runs(ks).flatten()) {
            *pointer = left.base.wrapping_add(row * left.row_stride);
        }
    }
    pointers
}

/// The column of ones for the places `ks`.
///
/// # Safety
/// `to` takes as many elements.
#[inline(always)]
unsafe fn pack_ones<E: Element>(reduce: Reduce, ks: Range<usize>, to: *mut E) {
    for (at, k) in ks.enumerate() {
        let row = reduce.row(k);
        let lost = planted(Bug::BiasMissesARow) && row == (reduce.steps - 1) * reduce.batch;
        // SAFETY: the caller vouches for the elements.
        unsafe { to.add(at).write(if lost { E::ZERO } else { E::ONE }) };
    }
}

/// Packs `[ks, valid]` of the right factor in whole vectors, zero beyond its last column.
#[inline(always)]
pub(super) unsafe fn pack_right<S: Simd>(
    s: S,
    args: &Outer<S::Elem>,
    (column, valid): (usize, usize),
    ks: Range<usize>,
    mut to: *mut S::Elem,
) {
    for run in args.reduce.runs(ks) {
        for row in run {
            // SAFETY: `valid` columns exist from `column` on in each of the T·B rows; `to` takes their vectors.
            unsafe {
                let from = args.right.add(row * args.right_stride + column);
                if valid == 4 * S::LANES {
                    for v in 0..4 {
                        s.store(to.add(v * S::LANES), s.load(from.add(v * S::LANES)));
                    }
                    to = to.add(4 * S::LANES);
                    continue;
                }
                for lane in (0..valid).step_by(S::LANES) {
                    s.store(to, tile::load(s, from.add(lane), valid - lane));
                    to = to.add(S::LANES);
                }
            }
        }
    }
}
