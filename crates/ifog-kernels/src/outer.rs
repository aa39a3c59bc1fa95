//! Weight gradients: out += Σ left rowᵀ · right row, over the rows of a window.
//!
//! Rows are reduced in one fixed order, *last step first, batch rows ascending*, by fused multiply-add onto what
//! `out` already holds. So a window cut into pieces that are processed backwards, as truncated BPTT and
//! recomputed segments do, has the bits of the whole; and a thread owns outputs, never partial sums.
//!
//! Loops, outermost first (names as in Goto & van de Geijn 2008):
//!
//! ```text
//! rows, KC at a time      left block [KC, M] packed into tiles of up to 6 columns: L2
//!   panels of 4 vectors   right block [KC, 4·L] packed: KC · 256 bytes = 128 KiB, L2, read by every tile
//!     tiles of the left   register tile: loads out, runs the KC rows, stores out; the next tile's out is on its way
//! ```

mod packing;

use core::ops::Range;

use packing::{pack_left, pack_right};

use crate::dispatch;
use crate::element::Element;
use crate::level::Level;
use crate::matrix::{MatMut, MatRef};
use crate::microkernel::{Ahead, MAX_ROWS, Tile};
use crate::parallel::{self, Shared, Threads};
use crate::simd::Simd;
use crate::tile::{self, Scratch};

/// Rows packed at a time. More: fewer passes over `out`, but the blocks leave L2.
pub(crate) const KC: usize = 512;

/// Elements behind the block of a tile, which the vector of its last row may spill into. A line, so that blocks do not lie
/// a power of two apart.
const SLACK: usize = 16;

/// The rows to reduce over: `steps` slabs of `batch` rows.
#[derive(Clone, Copy)]
pub(crate) struct Reduce {
    pub(crate) steps: usize,
    pub(crate) batch: usize,
}

/// A left factor `[T·B, m]` and where its gradient goes.
#[derive(Clone, Copy)]
pub(crate) struct Left<E> {
    /// Rows `row_stride` apart; null: a column of ones (m = 1), for biases.
    pub(crate) base: *const E,
    pub(crate) row_stride: usize,
    pub(crate) m: usize,
    /// The columns of the right factor that it is multiplied with: from the first to before the last.
    pub(crate) columns: (usize, usize),
    /// `[m, n]` for the n of `columns`, rows `out_stride` apart.
    pub(crate) out: *mut E,
    pub(crate) out_stride: usize,
}

/// Left factors and ones, against one right factor `[T·B, n]`.
#[derive(Clone, Copy)]
pub struct Outer<E> {
    pub(crate) reduce: Reduce,
    pub(crate) lefts: [Option<Left<E>>; 4],
    pub(crate) right: *const E,
    pub(crate) right_stride: usize,
    /// Where its columns are cut: a left factor has all columns between two cuts, or none. The last is n.
    pub(crate) cuts: [usize; 3],
}

impl<E> Outer<E> {
    pub(crate) fn n(&self) -> usize {
        self.cuts[2]
    }

    /// The spans between the cuts.
    fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        let [first, second, n] = self.cuts;
        [0..first, first..second, second..n].into_iter()
    }

    /// Panels of up to `width` columns; none lies across a cut.
    fn panels(&self, width: usize) -> usize {
        self.spans().map(|span| span.len().div_ceil(width)).sum()
    }

    /// The first column of a panel, and how many it has.
    #[inline(always)]
    fn panel(&self, mut panel: usize, width: usize) -> (usize, usize) {
        for span in self.spans() {
            let here = span.len().div_ceil(width);
            if panel < here {
                let column = span.start + panel * width;
                return (column, width.min(span.end - column));
            }
            panel -= here;
        }
        (self.n(), 0)
    }

    /// Of the rows at the places `ks`, the one that is first in memory; where they begin or end within a step, about that.
    fn lowest(&self, ks: Range<usize>) -> *const E {
        let batch = self.reduce.batch;
        let row = self.reduce.row((ks.end - 1) / batch * batch);
        self.right.wrapping_add(row * self.right_stride)
    }

    /// The elements of the results in some panels.
    fn outputs(&self, panels: Range<usize>, width: usize) -> usize {
        let of = |panel| {
            let (column, valid) = self.panel(panel, width);
            let lefts = self.lefts.iter().flatten();
            let rows = lefts.filter(|left| left.has(column)).map(|left| left.m);
            rows.sum::<usize>() * valid
        };
        panels.map(of).sum()
    }

    /// Whether the panels can be dealt out evenly. Where they are few, or some narrow or with fewer factors, the rows of the
    /// results are dealt out instead.
    fn deals_panels(&self, parts: usize, width: usize) -> bool {
        let panels = self.panels(width);
        let outputs = self.outputs(0..panels, width);
        let fair = (outputs + outputs / 8) / parts;
        (0..parts).all(|part| self.outputs(parallel::share(panels, part, parts), width) <= fair)
    }
}

impl<E: Element> Outer<E> {
    /// The same over some of its steps.
    pub(crate) fn of_steps(&self, steps: Range<usize>) -> Self {
        let first = steps.start * self.reduce.batch;
        let some = |left: Left<E>| Left {
            base: left.base.wrapping_add(first * left.row_stride),
            ..left
        };
        Self {
            reduce: Reduce {
                steps: steps.len(),
                ..self.reduce
            },
            lefts: self.lefts.map(|left| left.map(some)),
            right: self.right.wrapping_add(first * self.right_stride),
            ..*self
        }
    }

    /// FLOPs of a row of the right factor.
    pub(crate) fn flops_of_a_row(&self, level: Level) -> u64 {
        let width = 4 * dispatch::lanes::<E>(level);
        2 * self.outputs(0..self.panels(width), width) as u64
    }

    /// # Panics
    /// The scratch of a thread is too short.
    pub(crate) fn check_scratch(&self, each: usize) {
        // `outer_scratch_len` has room for the ones beside the columns of the left factors.
        let products = self.lefts.iter().flatten();
        let products = products.filter(|left| !left.base.is_null());
        let columns = products.map(|left| left.m).sum();
        assert!(
            each >= outer_scratch_len(columns, Threads::SINGLE),
            "scratch of the outer product"
        );
    }
}

impl<E> Left<E> {
    /// Whether it is multiplied with a column of the right factor.
    #[inline(always)]
    fn has(&self, column: usize) -> bool {
        (self.columns.0..self.columns.1).contains(&column)
    }
}

impl Reduce {
    pub(crate) fn rows(self) -> usize {
        self.steps * self.batch
    }

    /// The row that comes at place k of the order.
    #[inline(always)]
    pub(crate) fn row(self, k: usize) -> usize {
        (self.steps - 1 - k / self.batch) * self.batch + k % self.batch
    }

    /// The rows of the places `ks`, in that order, as ranges of rows that lie one behind the other.
    #[inline(always)]
    fn runs(self, ks: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut k = ks.start;
        let (mut step, mut first) = (self.steps - 1 - k / self.batch, k % self.batch);
        core::iter::from_fn(move || {
            if k == ks.end {
                return None;
            }
            let row = step * self.batch + first;
            let len = (self.batch - first).min(ks.end - k);
            k += len;
            // From the beginning of the step before.
            step = step.saturating_sub(1);
            first = 0;
            Some(row..row + len)
        })
    }
}

/// `out += leftᵀ · right`, and `bias += Σ rows of right`, reduced over the rows last step first.
///
/// left `[T·B, M]`, right `[T·B, N]`, out `[M, N]`, bias `[N]`; `steps` is T. This is the gradient of a linear
/// layer's weights from its inputs and the gradient of its outputs.
///
/// `scratch` needs [`outer_scratch_len`] elements.
///
/// # Panics
/// The shapes do not fit, T does not divide the rows, or `scratch` is too short.
pub fn accumulate_outer<E: Element>(
    level: Level,
    (left, right, steps): (MatRef<'_, E>, MatRef<'_, E>, usize),
    out: MatMut<'_, E>,
    bias: Option<&mut [E]>,
    scratch: &mut [E],
    threads: Threads,
) {
    assert_eq!(left.rows, right.rows, "rows of left and right");
    assert_eq!(
        (out.rows, out.cols),
        (left.cols, right.cols),
        "shape of out"
    );
    assert!(
        steps > 0 && left.rows.is_multiple_of(steps),
        "{steps} steps in {} rows",
        left.rows
    );
    assert!(
        bias.as_ref().is_none_or(|bias| bias.len() == right.cols),
        "length of the bias"
    );
    let n = right.cols;
    let product = Left {
        base: left.data.as_ptr(),
        row_stride: left.row_stride,
        m: left.cols,
        columns: (0, n),
        out: out.data.as_mut_ptr(),
        out_stride: out.row_stride,
    };
    let args = Outer {
        reduce: Reduce {
            steps,
            batch: left.rows / steps,
        },
        lefts: [
            Some(product),
            bias.map(|bias| ones(n, bias.as_mut_ptr())),
            None,
            None,
        ],
        right: right.data.as_ptr(),
        right_stride: right.row_stride,
        cuts: [n; 3],
    };
    // SAFETY: the shapes were checked; the matrices are borrowed for the call, out and bias exclusively.
    unsafe { run(level, args, scratch, threads) };
}

/// Elements of scratch for [`accumulate_outer`] with left factors of `m` columns in all.
pub fn outer_scratch_len(m: usize, threads: Threads) -> usize {
    // Left block with the slack of its tiles, ones, right block of the widest level, and what rounds up to a line.
    let left = (KC + SLACK).saturating_mul(m.saturating_add(1));
    let each = left.saturating_add(KC * 4 * 16 + 16);
    each.saturating_mul(threads.count())
}

/// A column of ones on the left: out is the sum of the right rows, of `n` columns.
pub(crate) fn ones<E>(n: usize, out: *mut E) -> Left<E> {
    Left {
        base: core::ptr::null(),
        row_stride: 0,
        m: 1,
        columns: (0, n),
        out,
        out_stride: 0,
    }
}

/// # Safety
/// The pointers of `args` are valid for their shapes, the outs exclusively.
unsafe fn run<E: Element>(level: Level, args: Outer<E>, scratch: &mut [E], threads: Threads) {
    let flops = args.reduce.rows() as u64 * args.flops_of_a_row(level);
    if flops == 0 {
        return;
    }
    let parts = threads.worth(flops);
    let each = scratch.len() / threads.count();
    args.check_scratch(each);
    // SAFETY: each part below has its piece of the scratch.
    let shared = unsafe { Shared::new((args, scratch.as_mut_ptr())) };
    parallel::run(parts, &|index| {
        let (args, scratch) = shared.inner();
        // SAFETY: index < threads, and `scratch` holds `each` elements for every thread; the rest is the caller's word.
        unsafe { part(level, args, scratch.add(index * each), (index, parts)) };
    });
}

/// One of some parts of the results: panels, or where these cannot be dealt out evenly, rows.
///
/// # Safety
/// The pointers of `args` are valid for their shapes; nobody else works on this part; `scratch` is that of one thread.
pub(crate) unsafe fn part<E: Element>(
    level: Level,
    args: &Outer<E>,
    scratch: *mut E,
    (part, parts): (usize, usize),
) {
    let width = 4 * dispatch::lanes::<E>(level);
    let whole = (0, 1);
    let (columns, rows) = match args.deals_panels(parts, width) {
        true => ((part, parts), whole),
        false => (whole, (part, parts)),
    };
    let panels = parallel::share(args.panels(width), columns.0, columns.1);
    // SAFETY: passed on from the caller.
    unsafe { E::outer(level, args, panels, rows, scratch) };
}

/// # Safety
/// The pointers of `args` are valid for their shapes; nobody else writes the results of these panels and rows; `scratch` is that
/// of one thread.
#[inline(always)]
pub(crate) unsafe fn outer_body<S: Simd>(
    s: S,
    args: &Outer<S::Elem>,
    panels: Range<usize>,
    (part, parts): (usize, usize),
    scratch: *mut S::Elem,
) {
    let width = 4 * S::LANES;
    let total = args.reduce.rows();
    let mut k0 = 0;
    while k0 < total {
        let kc = KC.min(total - k0);
        // SAFETY: the scratch holds the right block, then the left blocks; the rest is passed on from the caller.
        unsafe {
            let right = scratch.add(scratch.align_offset(64));
            let lefts = right.add(KC * width);
            let mut place = lefts;
            for left in args.lefts.iter().flatten() {
                let columns = parallel::share(left.m, part, parts);
                let what = (args.reduce, left, columns.clone(), k0..k0 + kc);
                // Where a tile is a vector of half the width, what is stored lies across two lines less often.
                if most::<S>() <= S::Narrow::LANES {
                    pack_left(s.narrow(), most::<S>(), what, place);
                } else {
                    pack_left(s, most::<S>(), what, place);
                }
                place = place.add((kc + SLACK) * columns.len());
            }
            for panel in panels.clone() {
                let (column, valid) = args.panel(panel, width);
                pack_right::<S>(s, args, (column, valid), k0..k0 + kc, right);
                let mut place = lefts.cast_const();
                let mut next = (panel + 1 < panels.end).then(|| {
                    let (column, _) = args.panel(panel + 1, width);
                    args.lowest(k0..k0 + kc).wrapping_add(column)
                });
                for left in args.lefts.iter().flatten() {
                    let columns = parallel::share(left.m, part, parts);
                    if left.has(column) {
                        let columns = (columns.clone(), (column, valid));
                        let far = next.map(|next| (next, args.right_stride));
                        tiles(s, left, columns, kc, (place, right), far);
                        next = None;
                    }
                    place = place.add((kc + SLACK) * columns.len());
                }
            }
        }
        k0 += kc;
    }
}

/// The most columns of the left that a register tile takes.
const fn most<S: Simd>() -> usize {
    S::ACCUMULATORS / 4
}

/// Columns dealt evenly to tiles of at most [`most`]; tile i of n.
#[inline(always)]
fn tile_columns(columns: &Range<usize>, tile: usize, tiles: usize) -> Range<usize> {
    let share = parallel::share(columns.len(), tile, tiles);
    columns.start + share.start..columns.start + share.end
}

/// All tiles of one left factor against one packed right block; meanwhile rows from `far` on, so far apart, come into L2.
#[inline(always)]
unsafe fn tiles<S: Simd>(
    s: S,
    left: &Left<S::Elem>,
    (columns, (column, valid)): (Range<usize>, (usize, usize)),
    kc: usize,
    (mut packed, right): (*const S::Elem, *const S::Elem),
    far: Option<(*const S::Elem, usize)>,
) {
    let count = columns.len().div_ceil(most::<S>());
    let first = column - left.columns.0;
    let vectors = valid.div_ceil(S::LANES);
    let whole = valid == vectors * S::LANES;
    let mut edge = Scratch([[s.splat(S::Elem::ZERO); 4]; MAX_ROWS]);
    let slots = edge.0.as_mut_ptr().cast::<S::Elem>();
    let mut tile = Tile::blank();
    tile.runs[0].right = right;
    tile.runs[0].len = kc;
    for index in 0..count {
        let here = tile_columns(&columns, index, count);
        tile.runs[0].stride = here.len();
        // SAFETY: out has the tile's rows, `packed` its kc · columns elements, `right` kc rows; a row of which not all
        // vectors exist goes through its slot.
        unsafe {
            let out = |r: usize| left.out.add((here.start + r) * left.out_stride + first);
            for r in 0..here.len() {
                let slot = slots.add(r * 4 * S::LANES);
                if !whole {
                    copy_lanes(s, slot, out(r).cast_const(), valid);
                }
                tile.runs[0].left[r] = packed.add(r);
                tile.out[r] = if whole { out(r) } else { slot };
                tile.start[r] = tile.out[r].cast_const();
            }
            if index + 1 < count {
                for row in tile_columns(&columns, index + 1, count) {
                    for v in 0..vectors {
                        let next = left.out.wrapping_add(row * left.out_stride + first);
                        s.prefetch(next.wrapping_add(v * S::LANES));
                    }
                }
            }
            // A vector of each row by every tile.
            let ahead = match far {
                Some((from, stride)) if index < 4 => {
                    tile.runs[0].next = from.wrapping_add(index * S::LANES);
                    tile.runs[0].next_stride = stride;
                    Ahead::Next
                }
                _ => Ahead::Nothing,
            };
            S::microkernel(here.len(), vectors, ahead)(&tile);
            if !whole {
                for r in 0..here.len() {
                    let slot = slots.add(r * 4 * S::LANES);
                    copy_lanes(s, out(r), slot.cast_const(), valid);
                }
            }
            packed = packed.add(kc * here.len() + SLACK);
        }
    }
}

/// Copies the first `valid` elements of four vectors.
///
/// # Safety
/// `from` is readable, `to` writable for `valid` elements.
#[inline(always)]
unsafe fn copy_lanes<S: Simd>(s: S, to: *mut S::Elem, from: *const S::Elem, valid: usize) {
    for lane in (0..valid).step_by(S::LANES) {
        // SAFETY: passed on from the caller.
        unsafe {
            let vector = tile::load(s, from.add(lane), valid - lane);
            tile::store(s, to.add(lane), vector, valid - lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_dealt_out_where_they_are_even() {
        let left = |m, columns| {
            Some(Left {
                m,
                columns,
                ..ones(0, core::ptr::null_mut::<f32>())
            })
        };
        let args = |lefts, cuts| Outer {
            reduce: Reduce { steps: 1, batch: 1 },
            lefts,
            right: core::ptr::null(),
            right_stride: 0,
            cuts,
        };
        let plain = |m, n| args([left(m, (0, n)), left(1, (0, n)), None, None], [n; 3]);
        let dealt = |of: Outer<f32>| [1, 2, 3].map(|parts| of.deals_panels(parts, 64));
        // An LSTM of 128; a decoder of 65 symbols, whose second panel has one column; fewer columns than a panel.
        assert_eq!(dealt(plain(256, 512)), [true, true, true]);
        assert_eq!(dealt(plain(128, 65)), [true, false, false]);
        assert_eq!(dealt(plain(128, 40)), [true, false, false]);
        // A GRU with the reset behind the product: its last half has one factor where the first has two.
        let h = 128;
        let lefts = [
            left(h, (0, 3 * h)),
            left(h, (0, 2 * h)),
            left(h, (3 * h, 4 * h)),
            None,
        ];
        assert_eq!(
            dealt(args(lefts, [2 * h, 3 * h, 4 * h])),
            [true, false, false]
        );
    }
}
