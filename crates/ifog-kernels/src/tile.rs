//! The register tile: the one product loop of the crate.
//!
//! ```text
//! for row r of the tile, vector v of the panel:   acc[r][v] = start[r][v]
//! for each run, for k in the run:                 acc[r][v] = fma(left[r][k], right[k][v], acc[r][v])
//! out[r][v] = acc[r][v]
//! ```
//!
//! Every output element is one accumulator that runs over k in order, whatever the tile's shape: that is the same-bits
//! contract. A [`Tile`] is pointers alone, so one microkernel for each number of rows and vectors serves every product of
//! the crate (inputs, recurrence, BPTT, weight gradients), is compiled once a level, and is called through a table; nor are
//! sweeps and epilogues compiled for each shape. What
//! stands before and after the products (bias, gate functions, state update, gate gradients) is a [`TileOp`]; its
//! accumulators come out of a scratch in L1.
//!
//! Tricks: (1) `ACCUMULATORS / NV` rows, so that 24 (12) independent chains hide the latency of the FMA and each panel row
//! is loaded once for all of them; (2) rows are dealt evenly to the tiles (32 rows are 6+6+5+5+5+5, not 5×6+2), as a tile of
//! two rows is bound by loads; (3) panels outside, rows inside: a panel is read from L2 by every tile and from further
//! away only once; (4) two runs, so that x W and h U share one set of accumulators that never leaves the registers;
//! (5) of weights that do not stay in L2, while the first tiles of a panel run, the next panel is fetched into it, a line with every k.

use core::mem::MaybeUninit;
use core::ops::Range;

use crate::element::Element;
use crate::pack::Packed;
use crate::parallel;
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

    /// Whether the product loop asks for [`Ahead::SamePanel`]: a product that is not done again soon.
    const PREFETCH: bool = false;

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

/// A tile, ready to run. The rows beyond those of the microkernel are not read.
pub struct Tile<E> {
    pub(crate) start: [*const E; MAX_ROWS],
    pub(crate) out: [*mut E; MAX_ROWS],
    pub(crate) runs: [Run<E>; 2],
}

/// `len` products of every row: left values `stride` apart, right rows one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Run<E> {
    pub(crate) left: [*const E; MAX_ROWS],
    pub(crate) stride: usize,
    pub(crate) right: *const E,
    pub(crate) len: usize,
    /// Where [`Ahead::NextPanel`] asks for a line with every k. May lie outside of anything.
    pub(crate) next: *const E,
}

/// What the product loop asks the caches for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// Nothing: the hardware sees rows one behind the other by itself.
    Nothing,
    /// Some rows ahead.
    SamePanel,
    /// A part of the next panel, so that it is in L2 when its time comes.
    NextPanel,
}

/// A microkernel, entered at its level.
pub(crate) type Microkernel<E> = unsafe fn(&Tile<E>);

/// The most rows of a tile on any level.
pub(crate) const MAX_ROWS: usize = 8;
/// The most vectors of a panel.
const MAX_VECTORS: usize = 4;

/// Panel rows that the product loop prefetches ahead where it does. Measured on Zen 4: 97 to 111 GFLOP/s for products with
/// many rows.
const PREFETCH_ROWS: usize = 8;

/// Packed weights of so many bytes stay in L2 by themselves; fetching them all the same costs some percent. Measured on
/// Emerald Rapids: 6 to 12 % less time for the inference of an LSTM of 256 and 512 units.
const IN_L2: usize = 512 << 10;

/// Elements of a cache line.
const fn line<E>() -> usize {
    64 / size_of::<E>()
}

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

    /// The same with nothing to multiply.
    pub(crate) fn empty(self) -> Self {
        Self { len: 0, ..self }
    }
}

impl<E: Element> Tile<E> {
    /// No rows.
    pub(crate) fn blank() -> Self {
        let none = Run {
            left: [core::ptr::null(); MAX_ROWS],
            stride: 1,
            right: core::ptr::null(),
            len: 0,
            next: core::ptr::null(),
        };
        Self {
            start: [core::ptr::null(); MAX_ROWS],
            out: [core::ptr::null_mut(); MAX_ROWS],
            runs: [none; 2],
        }
    }
}

/// Runs `op` over `rows` × the panels of `panels`. The products are done one after the other; the first says how the
/// panels lie.
///
/// # Safety
/// The left sides are valid for `rows`; the right sides have the same panels, and hold the rows that are asked of them;
/// `op` is valid for the rows and panels.
#[inline(always)]
pub(crate) unsafe fn sweep<S: Simd, Op: TileOp<S> + TileOp<S::Narrow>>(
    s: S,
    op: &Op,
    products: [Product<'_, S::Elem>; 2],
    panels: Range<usize>,
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
        let whole = panels.start..panels.end.min(wide);
        sweep_panels(s, op, products, whole, rows.clone());
        if S::Narrow::LANES < S::LANES {
            let rest = panels.start.max(wide)..panels.end;
            sweep_panels(s.narrow(), op, products, rest, rows);
        }
    }
}

/// [`sweep`] over panels of vectors of one width.
///
/// # Safety
/// As for [`sweep`].
#[inline(always)]
unsafe fn sweep_panels<S: Simd, Op: TileOp<S>>(
    s: S,
    op: &Op,
    products: [Product<'_, S::Elem>; 2],
    panels: Range<usize>,
    rows: Range<usize>,
) {
    if rows.len() == 1 && !S::EMULATED {
        // SAFETY: passed on from the caller.
        return unsafe { sweep_row(s, op, products, panels, rows.start) };
    }
    let layout = products[0].right.layout;
    let bytes = |product: &Product<'_, S::Elem>| product.right.bytes() * product.len.min(1);
    let far = products.iter().map(bytes).sum::<usize>() > IN_L2;
    // Not initialised: 2 KiB of zeros would cost as much as a small step.
    let mut scratch = MaybeUninit::<Scratch<S::V>>::uninit();
    let slots = scratch.as_mut_ptr().cast::<S::Elem>();
    let slot = |r: usize| slots.wrapping_add(r * MAX_VECTORS * S::LANES);
    let mut tile = Tile::blank();
    for index in panels.clone() {
        // The last panel is followed by the first, of the next step.
        let next = match index + 1 < panels.end {
            true => index + 1,
            false => panels.start,
        };
        let panel = Panel {
            unit: layout.first_unit(index),
            vectors: layout.vectors(index),
        };
        for (run, product) in tile.runs.iter_mut().zip(&products) {
            let first = product.first * panel.vectors * S::LANES;
            run.right = product.right.panel(index).wrapping_add(first);
            run.len = product.len;
        }
        let tiles = rows
            .len()
            .div_ceil(most_rows(S::ACCUMULATORS, panel.vectors));
        // Of a panel row, and so the tiles after which all of the next panel has been asked for.
        let lines = panel.vectors * S::LANES / line::<S::Elem>();
        for index in 0..tiles {
            let ahead = match Op::PREFETCH {
                true => Ahead::SamePanel,
                false if far && index < lines => {
                    for (run, product) in tile.runs.iter_mut().zip(&products) {
                        let part = product.first * lines + index * product.len;
                        let next = product.right.panel(next);
                        run.next = next.wrapping_add(part * line::<S::Elem>());
                    }
                    Ahead::NextPanel
                }
                false => Ahead::Nothing,
            };
            let share = parallel::share(rows.len(), index, tiles);
            let (first, end) = (rows.start + share.start, rows.start + share.end);
            // SAFETY: passed on from the caller; the tile lies within `rows`, and has at most MAX_ROWS rows with a slot
            // for each.
            unsafe {
                let mut finishes = false;
                for (r, row) in (first..end).enumerate() {
                    for (run, product) in tile.runs.iter_mut().zip(&products) {
                        run.left[r] = product.left.at(row);
                    }
                    op.expect(s, row, panel);
                    tile.start[r] = op.start(s, row, panel, slot(r));
                    let out = op.out(row, panel);
                    finishes = out.is_none();
                    tile.out[r] = out.unwrap_or(slot(r));
                }
                S::microkernel(end - first, panel.vectors, ahead)(&tile);
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

/// [`sweep`] over a single row, where a step may be shorter than the call of a microkernel with its pointers: products and
/// epilogue are inlined, and what passes between them stays in registers.
///
/// # Safety
/// As for [`sweep`].
#[inline(always)]
unsafe fn sweep_row<S: Simd, Op: TileOp<S>>(
    s: S,
    op: &Op,
    products: [Product<'_, S::Elem>; 2],
    panels: Range<usize>,
    row: usize,
) {
    for panel in panels {
        // SAFETY: passed on from the caller.
        unsafe { row_panel(s, op, &products, panel, row) };
    }
}

/// One panel of a single row.
///
/// # Safety
/// As for [`sweep`].
#[inline(always)]
unsafe fn row_panel<S: Simd, Op: TileOp<S>>(
    s: S,
    op: &Op,
    products: &[Product<'_, S::Elem>; 2],
    panel: usize,
    row: usize,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        match products[0].right.layout.vectors(panel) {
            1 => row_tile::<S, Op, 1>(s, op, products, panel, row),
            2 => row_tile::<S, Op, 2>(s, op, products, panel, row),
            3 => row_tile::<S, Op, 3>(s, op, products, panel, row),
            _ => row_tile::<S, Op, 4>(s, op, products, panel, row),
        }
    }
}

/// The same of NV vectors. Nothing where panels of `Op` cannot be of so many.
///
/// # Safety
/// As for [`sweep`].
#[inline(always)]
unsafe fn row_tile<S: Simd, Op: TileOp<S>, const NV: usize>(
    s: S,
    op: &Op,
    products: &[Product<'_, S::Elem>; 2],
    index: usize,
    row: usize,
) {
    if !NV.is_multiple_of(Op::GATES) {
        return;
    }
    let panel = Panel {
        unit: products[0].right.layout.first_unit(index),
        vectors: NV,
    };
    let mut acc = [s.splat(S::Elem::ZERO); NV];
    let slot = acc.as_mut_ptr().cast::<S::Elem>();
    // SAFETY: passed on from the caller; `acc` takes the vectors of a row.
    unsafe {
        let mut sum: [S::V; NV] = vectors(s, op.start(s, row, panel, slot));
        for product in products {
            let left = product.left.at(row);
            let mut right = product.right.panel(index);
            right = right.wrapping_add(product.first * NV * S::LANES);
            for k in 0..product.len {
                let x = s.splat(*left.add(k));
                let w: [S::V; NV] = vectors(s, right);
                for v in 0..NV {
                    sum[v] = s.mul_add(x, w[v], sum[v]);
                }
                right = right.add(NV * S::LANES);
            }
        }
        let out = op.out(row, panel);
        for v in 0..NV {
            s.store(out.unwrap_or(slot).add(v * S::LANES), sum[v]);
        }
        if out.is_none() {
            op.finish(s, row, panel, slot);
            op.conclude(s, row, panel, slot);
        }
    }
}

/// Accumulators of a tile on their way to the epilogue, on cache lines of their own.
#[repr(align(64))]
struct Scratch<V>([[V; MAX_VECTORS]; MAX_ROWS]);

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

/// The most rows of a tile of `vectors` vectors: all accumulators; for narrow panels no more than for three; and with
/// 16 registers no tile of 4 × 3, which leaves none for the left value.
pub(crate) const fn most_rows(accumulators: usize, vectors: usize) -> usize {
    match vectors {
        1 | 2 => accumulators / 3,
        3 if accumulators < 16 => accumulators / 4,
        _ => accumulators / vectors,
    }
}

/// The microkernel of `MR` rows and `NV` vectors.
///
/// # Safety
/// The first MR rows of the tile are valid: starts readable and outs writable for NV vectors, left values and right rows
/// readable for every k of the runs.
#[inline(always)]
pub(crate) unsafe fn tile_body<S: Simd, const MR: usize, const NV: usize, const AHEAD: u8>(
    s: S,
    tile: &Tile<S::Elem>,
) {
    let mut acc = [[s.splat(S::Elem::ZERO); NV]; MR];
    // SAFETY: the caller vouches for the rows of the tile; a prefetch never faults.
    unsafe {
        for r in 0..MR {
            acc[r] = vectors(s, tile.start[r]);
        }
        for run in &tile.runs {
            let mut left = [core::ptr::null(); MR];
            left.copy_from_slice(&run.left[..MR]);
            let mut right = run.right;
            let mut next = run.next;
            let mut at = 0;
            for _ in 0..run.len {
                if AHEAD == Ahead::SamePanel as u8 {
                    for v in 0..NV {
                        s.prefetch(right.wrapping_add((PREFETCH_ROWS * NV + v) * S::LANES));
                    }
                }
                if AHEAD == Ahead::NextPanel as u8 {
                    s.prefetch_far(next);
                    next = next.wrapping_add(line::<S::Elem>());
                }
                // `make machine-code` has a bounds check to find.
                #[cfg(ifog_planted)]
                assert!(at <= isize::MAX as usize, "in bounds");
                // Beside the accumulators one side of the tile waits in registers, and one vector of the other: on
                // AVX2, 3 × 4 + 3 + 1 is all there is.
                if MR < NV || S::ACCUMULATORS < 16 {
                    let mut x = [s.splat(S::Elem::ZERO); MR];
                    for r in 0..MR {
                        x[r] = s.splat(*left[r].add(at));
                    }
                    for v in 0..NV {
                        let w = s.load(right.add(v * S::LANES));
                        for r in 0..MR {
                            acc[r][v] = s.mul_add(x[r], w, acc[r][v]);
                        }
                    }
                } else {
                    let w: [S::V; NV] = vectors(s, right);
                    for r in 0..MR {
                        let x = s.splat(*left[r].add(at));
                        for v in 0..NV {
                            acc[r][v] = s.mul_add(x, w[v], acc[r][v]);
                        }
                    }
                }
                at += run.stride;
                right = right.add(NV * S::LANES);
            }
        }
        for r in 0..MR {
            for v in 0..NV {
                s.store(tile.out[r].add(v * S::LANES), acc[r][v]);
            }
        }
    }
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
