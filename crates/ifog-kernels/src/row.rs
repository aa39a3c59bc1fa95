//! Products of a single row, where a step may be shorter than the call of a microkernel with its pointers: products and epilogue
//! are inlined, and what passes between them stays in registers.
//!
//! A panel is a chain of multiply-adds for each of its vectors, at most four, and every link waits for the one before it. A processor
//! that begins two in a cycle and ends each in four could work on eight chains: those of two panels. Where L1 has both; from L2 one panel
//! comes faster than two.

use core::ops::Range;

use crate::element::Element;
use crate::simd::Simd;
use crate::tile::{Panel, Panels, Product, TileOp, sweep, vectors};

/// [`sweep`] over a single row, a panel at a time.
///
/// # Safety
/// As for [`sweep`].
#[cfg_attr(not(ifog_unoptimised), inline(always))]
pub(crate) unsafe fn sweep_row<S: Simd, Op: TileOp<S>>(
    s: S,
    op: &Op,
    products: [Product<'_, S::Elem>; 2],
    panels: Panels,
    row: usize,
) {
    for n in 0..panels.len() {
        // SAFETY: passed on from the caller.
        unsafe { row_panel(s, op, &products, panels.at(n), row) };
    }
}

/// One panel of a single row.
///
/// # Safety
/// As for [`sweep`].
#[cfg_attr(not(ifog_unoptimised), inline(always))]
pub(crate) unsafe fn row_panel<S: Simd, Op: TileOp<S>>(
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
#[cfg_attr(not(ifog_unoptimised), inline(always))]
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

/// [`sweep`]; with `PAIRS` there is one row, and it meets two panels at a time.
///
/// # Safety
/// As for [`sweep`]; with `PAIRS` each panel is one block of units.
#[inline(always)]
pub(crate) unsafe fn sweep_of<S: Simd, Op: TileOp<S> + TileOp<S::Narrow>, const PAIRS: bool>(
    s: S,
    op: &Op,
    products: [Product<'_, S::Elem>; 2],
    panels: Panels,
    rows: Range<usize>,
) {
    let vectors = products[0].right.layout.vectors(0);
    // SAFETY: passed on from the caller.
    unsafe {
        match (PAIRS && !S::EMULATED, vectors) {
            (true, 3) => sweep_pairs::<S, Op, 3>(s, op, &products, panels.range, rows.start),
            (true, _) => sweep_pairs::<S, Op, 4>(s, op, &products, panels.range, rows.start),
            (false, _) => sweep(s, op, products, panels, rows),
        }
    }
}

/// [`sweep`] over a single row, two panels of NV vectors at a time: eight chains instead of four. Nothing where panels of `Op` cannot
/// be of so many.
///
/// # Safety
/// As for [`sweep`]; each panel is of NV vectors.
#[cfg_attr(not(ifog_unoptimised), inline(always))]
unsafe fn sweep_pairs<S: Simd, Op: TileOp<S> + TileOp<S::Narrow>, const NV: usize>(
    s: S,
    op: &Op,
    products: &[Product<'_, S::Elem>; 2],
    panels: Range<usize>,
    row: usize,
) {
    if !NV.is_multiple_of(<Op as TileOp<S>>::GATES) {
        return;
    }
    let wide = products[0].right.layout.wide_panels().min(panels.end);
    // SAFETY: passed on from the caller.
    unsafe {
        let mut at = panels.start;
        while at + 2 <= wide {
            row_pair::<S, S, Op, NV>((s, s), op, products, at, row);
            at += 2;
        }
        // A whole one, a narrow one, or one of each.
        match (at < wide, at.max(wide) < panels.end) {
            (true, true) => {
                row_pair::<S, S::Narrow, Op, NV>((s, s.narrow()), op, products, at, row)
            }
            (true, false) => row_panel(s, op, products, at, row),
            (false, true) => row_panel(s.narrow(), op, products, at, row),
            (false, false) => {}
        }
    }
}

/// Panels `at` and `at + 1` of a single row, of vectors of one width each.
///
/// # Safety
/// As for [`sweep_pairs`].
#[cfg_attr(not(ifog_unoptimised), inline(always))]
unsafe fn row_pair<S, T, Op, const NV: usize>(
    (s, t): (S, T),
    op: &Op,
    products: &[Product<'_, S::Elem>; 2],
    at: usize,
    row: usize,
) where
    S: Simd,
    T: Simd<Elem = S::Elem>,
    Op: TileOp<S> + TileOp<T>,
{
    let layout = &products[0].right.layout;
    let of = |index| Panel {
        unit: layout.first_unit(index),
        vectors: NV,
    };
    let (one, two) = (of(at), of(at + 1));
    let mut acc = ([s.splat(S::Elem::ZERO); NV], [t.splat(S::Elem::ZERO); NV]);
    let slots = (acc.0.as_mut_ptr().cast(), acc.1.as_mut_ptr().cast());
    // SAFETY: passed on from the caller; `acc` takes the vectors of two panels.
    unsafe {
        let mut a: [S::V; NV] = vectors(s, TileOp::<S>::start(op, s, row, one, slots.0));
        let mut b: [T::V; NV] = vectors(t, TileOp::<T>::start(op, t, row, two, slots.1));
        for product in products {
            let left = product.left.at(row);
            let mut w = product.right.panel(at);
            w = w.wrapping_add(product.first * NV * S::LANES);
            let mut v = product.right.panel(at + 1);
            v = v.wrapping_add(product.first * NV * T::LANES);
            for k in 0..product.len {
                let x = *left.add(k);
                let (x, y) = (s.splat(x), t.splat(x));
                for i in 0..NV {
                    a[i] = s.mul_add(x, s.load(w.add(i * S::LANES)), a[i]);
                    b[i] = t.mul_add(y, t.load(v.add(i * T::LANES)), b[i]);
                }
                w = w.add(NV * S::LANES);
                v = v.add(NV * T::LANES);
            }
        }
        let outs = (
            TileOp::<S>::out(op, row, one),
            TileOp::<T>::out(op, row, two),
        );
        for i in 0..NV {
            s.store(outs.0.unwrap_or(slots.0).add(i * S::LANES), a[i]);
            t.store(outs.1.unwrap_or(slots.1).add(i * T::LANES), b[i]);
        }
        if outs.0.is_none() {
            TileOp::<S>::finish(op, s, row, one, slots.0);
            TileOp::<T>::finish(op, t, row, two, slots.1);
            TileOp::<S>::conclude(op, s, row, one, slots.0);
            TileOp::<T>::conclude(op, t, row, two, slots.1);
        }
    }
}
