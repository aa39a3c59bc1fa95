//! Products: what stands around the [microkernels](crate::microkernel), over many rows and panels.
//!
//! What is done before and after the products of a tile (bias, gate functions, state update, gate gradients) is a [`TileOp`];
//! its accumulators come out of a scratch in L1. Sweeps and epilogues are not compiled for each shape.
//!
//! Panels are outside, rows inside: a panel is read from L2 by every tile and from further away only once. What does not stay in L2 is
//! fetched into it ahead, the next panel by all tiles of a panel, or the next rows by every tile: a piece with every k ([`Far`]).

use core::mem::MaybeUninit;
use core::ops::Range;

use crate::caches::{Cut, Far};
use crate::element::Element;
use crate::microkernel::{Ahead, MAX_ROWS, Tile, line, most_rows};
use crate::pack::Packed;
use crate::parallel;
use crate::row::{row_panel, sweep_row};
use crate::simd::Simd;

/// Rows of a matrix behind a raw pointer, in slabs: row r is row `r % per_slab` of slab `r / per_slab`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<P> {
    pub(crate) base: P,
    pub(crate) per_slab: usize,
    pub(crate) slab_stride: usize,
    pub(crate) row_stride: usize,
}

/// One product of a sweep: `len` values of each left row, times the rows of the packed right side from `first` on.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, E> {
    pub(crate) left: Rows<*const E>,
    pub(crate) right: &'a Packed<E>,
    pub(crate) first: usize,
    pub(crate) len: usize,
}

/// What a tile does around its products, row by row. A row of a tile has as many vectors as the panel, side by side.
pub(crate) trait TileOp<S: Simd> {
    /// Vectors of a unit block: the panels have a multiple of it.
    const GATES: usize = 1;

    /// Where the accumulators of a row start: in `slot`, which is for this op to fill, or elsewhere.
    ///
    /// # Safety
    /// The op's pointers are valid for `row` and `panel`; `slot` takes the vectors of a row.
    unsafe fn start(&self, s: S, row: usize, panel: Panel, slot: *mut S::Elem) -> *const S::Elem;

    /// Where the accumulators of a row go if nothing is to be done with them; for all rows of a panel or for none.
    ///
    /// # Safety
    /// The op's pointers are valid for `row` and `panel`.
    #[inline(always)]
    unsafe fn out(&self, _row: usize, _panel: Panel) -> Option<*mut S::Elem> {
        None
    }

    /// Asks for the cache lines that [`TileOp::finish`] will want and that are far away: the products take longer than
    /// their coming.
    ///
    /// # Safety
    /// The op's pointers are valid for `row` and `panel`.
    #[inline(always)]
    unsafe fn expect(&self, _s: S, _row: usize, _panel: Panel) {}

    /// Consumes the accumulators of a row for which there is no [`TileOp::out`]; may leave something in their place.
    ///
    /// # Safety
    /// The op's pointers are valid for `row` and `panel`, and no other thread touches that part; `acc` holds the
    /// vectors of a row.
    #[inline(always)]
    unsafe fn finish(&self, _s: S, _row: usize, _panel: Panel, _acc: *mut S::Elem) {}

    /// Consumes what [`TileOp::finish`] has left, when all rows of the tile have got so far: two short chains of operations
    /// instead of a long one, so that the processor sees enough rows ahead to be busy.
    ///
    /// # Safety
    /// As for [`TileOp::finish`].
    #[inline(always)]
    unsafe fn conclude(&self, _s: S, _row: usize, _panel: Panel, _left: *const S::Elem) {}
}

/// A panel of a layout.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    /// The first.
    pub(crate) unit: usize,
    /// Its vectors, gates × unit blocks.
    pub(crate) vectors: usize,
}

/// Panels in the order in which a sweep meets them.
///
/// The steps of a sequence meet them there and back: of weights that are more than L2 keeps, what a step met last is still there
/// when the next one begins with it.
#[derive(Clone)]
pub(crate) struct Panels {
    pub(crate) range: Range<usize>,
    /// From the last to the first.
    pub(crate) back: bool,
}

impl Panels {
    /// Those of `range` in step t.
    #[inline(always)]
    pub(crate) fn of_step(range: Range<usize>, t: usize) -> Self {
        Self {
            range,
            back: t % 2 == 1,
        }
    }

    /// In ascending order.
    #[inline(always)]
    pub(crate) fn ascending(range: Range<usize>) -> Self {
        Self::of_step(range, 0)
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    /// The n-th that is met.
    #[inline(always)]
    pub(crate) fn at(&self, n: usize) -> usize {
        match self.back {
            true => self.range.end - 1 - n,
            false => self.range.start + n,
        }
    }
}

/// The most vectors of a panel.
const MAX_VECTORS: usize = 4;

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

    /// The same rows of every step: `count` of a batch of `batch`.
    pub(crate) fn of_steps(base: P, count: usize, batch: usize, row_stride: usize) -> Self {
        Self {
            base,
            per_slab: count,
            slab_stride: batch * row_stride,
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
    /// Where row r is or would be.
    #[inline(always)]
    pub(crate) fn wrapping_at(&self, r: usize) -> *const E {
        self.base.wrapping_add(self.offset(r))
    }

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

impl<'a, E: Element> Product<'a, E> {
    /// The whole of `right`, from the beginning of each left row.
    pub(crate) fn new(left: Rows<*const E>, right: &'a Packed<E>) -> Self {
        Self {
            left,
            right,
            first: 0,
            len: right.k,
        }
    }

    /// Some of its k.
    #[inline(always)]
    fn some(self, ks: Range<usize>) -> Self {
        let base = self.left.base.wrapping_add(ks.start);
        Self {
            left: Rows { base, ..self.left },
            first: self.first + ks.start,
            len: ks.len(),
            ..self
        }
    }

    /// The first of its rows of the right side in a panel of `width` columns.
    #[inline(always)]
    fn right_rows(&self, panel: usize, width: usize) -> *const E {
        self.right.panel(panel).wrapping_add(self.first * width)
    }

    /// The same with nothing to multiply.
    pub(crate) fn empty(self) -> Self {
        Self { len: 0, ..self }
    }
}

/// Part `part` of `parts` of the products, as if the k of the second came behind those of the first: parts in order are the whole in order.
#[inline(always)]
fn part_of<E: Element>(
    products: [Product<'_, E>; 2],
    part: usize,
    parts: usize,
) -> [Product<'_, E>; 2] {
    if parts == 1 {
        return products;
    }
    let [first, second] = products;
    let share = parallel::share(first.len + second.len, part, parts);
    let before = |k: usize| k.min(first.len);
    let behind = |k: usize| k.saturating_sub(first.len);
    [
        first.some(before(share.start)..before(share.end)),
        second.some(behind(share.start)..behind(share.end)),
    ]
}

/// Runs `op` over `rows` × the panels of `panels`. The products are done one after the other; the first says how the
/// panels lie.
///
/// # Safety
/// The left sides are valid for `rows`; the right sides have the same panels, and hold the rows that are asked of them;
/// `op` is valid for the rows and panels.
#[cfg_attr(not(ifog_unoptimised), inline(always))]
pub(crate) unsafe fn sweep<S: Simd, Op: TileOp<S> + TileOp<S::Narrow>>(
    s: S,
    op: &Op,
    products: [Product<'_, S::Elem>; 2],
    panels: Panels,
    rows: Range<usize>,
) {
    let layout = &products[0].right.layout;
    if rows.len() == 1 && panels.len() == 1 && layout.is_one() && !S::EMULATED {
        // No loop over panels: constants stay in memory until they are used, and registers are what limits how far the
        // processor sees ahead into the next step. Up to an eighth of the time of a step of 16 units.
        // SAFETY: passed on from the caller.
        return unsafe { row_panel(s, op, &products, 0, rows.start) };
    }
    let wide = layout.wide_panels();
    // SAFETY: passed on from the caller.
    unsafe {
        let Panels { range, back } = panels;
        let of = |range| Panels { range, back };
        let whole = of(range.start..range.end.min(wide));
        sweep_panels(s, op, products, whole, rows.clone());
        if S::Narrow::LANES < S::LANES {
            let rest = of(range.start.max(wide)..range.end);
            sweep_panels(s.narrow(), op, products, rest, rows);
        }
    }
}

/// [`sweep`] over panels of vectors of one width.
///
/// # Safety
/// As for [`sweep`].
#[cfg_attr(not(ifog_unoptimised), inline(always))]
unsafe fn sweep_panels<S: Simd, Op: TileOp<S>>(
    s: S,
    op: &Op,
    products: [Product<'_, S::Elem>; 2],
    panels: Panels,
    rows: Range<usize>,
) {
    if rows.len() == 1 && !S::EMULATED {
        // SAFETY: passed on from the caller.
        return unsafe { sweep_row(s, op, products, panels, rows.start) };
    }
    let layout = products[0].right.layout;
    let far = Far::of(&products, rows.len());
    let cut = Cut::of(
        &products,
        rows.len(),
        most_rows(S::ACCUMULATORS, MAX_VECTORS),
    );
    // Not initialised: 2 KiB of zeros would cost as much as a small step.
    let mut scratch = MaybeUninit::<Scratch<S::V>>::uninit();
    let slots = scratch.as_mut_ptr().cast::<S::Elem>();
    let slot = |r: usize| slots.wrapping_add(r * MAX_VECTORS * S::LANES);
    let mut sums = MaybeUninit::<[[S::V; MAX_VECTORS]; Cut::MOST_ROWS]>::uninit();
    let sums = sums.as_mut_ptr().cast::<S::Elem>();
    let mut tile = Tile::blank();
    let mut next = cut.first(panels.len());
    while let Some(place) = next {
        next = cut.after(place, panels.len());
        let index = panels.at(place.panel);
        let panel = Panel {
            unit: layout.first_unit(index),
            vectors: layout.vectors(index),
        };
        let width = panel.vectors * S::LANES;
        let rows = cut.rows(&rows, place.block);
        let most = most_rows(S::ACCUMULATORS, panel.vectors);
        let tiles = rows.len().div_ceil(most);
        let asks = far.ahead(rows.len(), tiles, next.is_none());
        let parts = part_of(products, place.part, cut.parts);
        for (run, part) in tile.runs.iter_mut().zip(&parts) {
            run.right = part.right_rows(index, width);
            run.len = part.len;
        }
        let panels_come = far == Far::Panels && asks == Ahead::Next;
        if let Some(next) = next.filter(|_| panels_come) {
            let parts = part_of(products, next.part, cut.parts);
            for (run, part) in tile.runs.iter_mut().zip(&parts) {
                run.next = part.right_rows(panels.at(next.panel), width);
                // So much a product that the last tile asks for the rest: the gentler, the less the products wait.
                run.next_stride = width.div_ceil(tiles).min(line::<S::Elem>());
            }
        }
        for index in 0..tiles {
            let share = far.deal(rows.len(), most, index, tiles);
            let (first, end) = (rows.start + share.start, rows.start + share.end);
            if panels_come && index > 0 {
                for run in &mut tile.runs {
                    run.next = run.next.wrapping_add(run.len * run.next_stride);
                }
            }
            if far == Far::Rows {
                // As if there were no gap between them.
                let next = far.deal(rows.len(), most, (index + 1) % tiles, tiles);
                for (run, part) in tile.runs.iter_mut().zip(&parts) {
                    run.next = part.left.wrapping_at(rows.start + next.start);
                    run.next_stride = next.len();
                }
            }
            // SAFETY: passed on from the caller; the tile lies within `rows`, and has at most MAX_ROWS rows with a slot
            // for each; where k is cut, the rows have a place in `sums`.
            unsafe {
                let mut finishes = false;
                for (r, row) in (first..end).enumerate() {
                    for (run, part) in tile.runs.iter_mut().zip(&parts) {
                        run.left[r] = part.left.at(row);
                    }
                    tile.start[r] = op.start(s, row, panel, slot(r));
                    op.expect(s, row, panel);
                    let out = op.out(row, panel);
                    finishes = out.is_none();
                    tile.out[r] = out.unwrap_or(slot(r));
                }
                // Behind the loop: one more branch in it was 7 % of the time with 32 units.
                if cut.parts > 1 {
                    for r in 0..share.len() {
                        let sum = sums.add((share.start + r) * MAX_VECTORS * S::LANES);
                        if place.part > 0 {
                            tile.start[r] = sum.cast_const();
                        }
                        if place.part + 1 < cut.parts {
                            tile.out[r] = sum;
                            finishes = false;
                        }
                    }
                }
                S::microkernel(end - first, panel.vectors, asks)(&tile);
                if finishes {
                    for (r, row) in (first..end).enumerate() {
                        op.finish(s, row, panel, slot(r));
                    }
                    for (r, row) in (first..end).enumerate() {
                        op.conclude(s, row, panel, slot(r));
                    }
                }
            }
        }
    }
}

/// Rows of a tile on cache lines of their own: accumulators on their way to the epilogue, or rows of a result of which not all
/// vectors exist.
#[repr(align(64))]
pub(crate) struct Scratch<V>(pub(crate) [[V; MAX_VECTORS]; MAX_ROWS]);

/// # Safety
/// `from` is readable for NV vectors.
#[inline(always)]
pub(crate) unsafe fn vectors<S: Simd, const NV: usize>(s: S, from: *const S::Elem) -> [S::V; NV] {
    let mut all = [s.splat(S::Elem::ZERO); NV];
    for v in 0..NV {
        // SAFETY: the caller vouches for NV vectors.
        all[v] = unsafe { s.load(from.add(v * S::LANES)) };
    }
    all
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

/// Stores zeros in the vectors of a row.
///
/// # Safety
/// `slot` takes the vectors of the panel.
#[inline(always)]
pub(crate) unsafe fn zeros<S: Simd>(s: S, panel: Panel, slot: *mut S::Elem) -> *const S::Elem {
    for v in 0..panel.vectors {
        // SAFETY: passed on from the caller.
        unsafe { s.store(slot.add(v * S::LANES), s.splat(S::Elem::ZERO)) };
    }
    slot
}
