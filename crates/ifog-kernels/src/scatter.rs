//! Row sums by token: the gradient of a token table.

use core::ops::Range;

use crate::dispatch;
use crate::element::Element;
use crate::level::Level;
use crate::outer::Outer;
use crate::parallel::{self, Shared, Threads};
use crate::planted::{Bug, planted};
use crate::simd::Simd;
use crate::tile;

/// FLOPs that a core does in the time of adding one element to a row, which waits for memory.
const FLOPS_AN_ADDITION: u64 = 20;

/// Row sums by token: `out[ids[row]] += right[row]`, in the order of the weight gradients.
///
/// # Safety
/// `right` holds T·B rows of `n`, `ids` as many tokens, each a row of `out`; out exclusively.
pub(crate) unsafe fn scatter_rows<E: Element>(
    level: Level,
    args: Outer<E>,
    ids: *const u32,
    out: *mut E,
    threads: Threads,
) {
    let vectors = args.n().div_ceil(dispatch::lanes::<E>(level));
    let parts = threads
        .worth(args.reduce.rows() as u64 * args.n() as u64 * FLOPS_AN_ADDITION)
        .min(vectors);
    // SAFETY: each part below has columns of its own.
    let shared = unsafe { Shared::new((args, ids, out)) };
    parallel::run(parts, &|part| {
        let (args, ids, out) = shared.inner();
        let vectors = parallel::share(vectors, part, parts);
        // SAFETY: passed on from the caller.
        unsafe { E::scatter(level, args, *ids, *out, vectors) };
    });
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
    for k in 0..args.reduce.rows() {
        let row = args.reduce.row(k);
        for v in vectors.clone() {
            let column = v * S::LANES;
            let valid = args.n() - column;
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
