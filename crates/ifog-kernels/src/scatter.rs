//! Row sums by token: the gradient of a token table.

use core::ops::Range;

use crate::dispatch;
use crate::element::Element;
use crate::level::Level;
use crate::outer::Outer;
use crate::parallel;
use crate::planted::{Bug, planted};
use crate::simd::Simd;
use crate::tile;

/// How many rows before its turn a row is asked for: of those that another thread wrote, the lines come from its cache.
const ROWS_AHEAD: usize = 4;

/// Row sums by token: `out[ids[row]] += right[row]`, in the order of the weight gradients; one of some parts of the columns.
///
/// # Safety
/// `right` holds T·B rows of `n`, `ids` as many tokens, each a row of `out`; nobody else works on this part.
pub(crate) unsafe fn part<E: Element>(
    level: Level,
    args: &Outer<E>,
    ids: *const u32,
    out: *mut E,
    (part, parts): (usize, usize),
) {
    let vectors = args.n().div_ceil(dispatch::lanes::<E>(level));
    // SAFETY: passed on from the caller.
    unsafe { E::scatter(level, args, ids, out, parallel::share(vectors, part, parts)) };
}

/// # Safety
/// The pointers are valid, every id is a row of `out`, and nobody else writes the columns of `vectors`.
#[inline(always)]
pub(crate) unsafe fn scatter_body<S: Simd>(
    s: S,
    args: &Outer<S::Elem>,
    ids: *const u32,
    out: *mut S::Elem,
    vectors: Range<usize>,
) {
    let rows = args.reduce.rows();
    for k in 0..rows {
        let row = args.reduce.row(k);
        let later = args.reduce.row((k + ROWS_AHEAD).min(rows - 1));
        let later = args.right.wrapping_add(later * args.right_stride);
        for v in vectors.clone() {
            let column = v * S::LANES;
            let valid = args.n() - column;
            s.prefetch(later.wrapping_add(column));
            // SAFETY: the row is one of T·B, its token a row of out; vector v starts before column n.
            unsafe {
                let from = args.right.add(row * args.right_stride + column);
                let token = if planted(Bug::TokenOfTheNextRow) {
                    (row + 1) % args.reduce.rows()
                } else {
                    row
                };
                let to = out.add(*ids.add(token) as usize * args.n() + column);
                let sum = s.add(tile::load(s, to, valid), tile::load(s, from, valid));
                tile::store(s, to, sum, valid);
            }
        }
    }
}
