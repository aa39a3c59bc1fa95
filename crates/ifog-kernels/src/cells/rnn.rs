//! Vanilla RNN (Elman 1990).
//!
//! ```text
//! forward    h' = tanh(a)
//! backward   da = dh' ⊙ (1 − h'²)
//! ```

use super::backward::{CellBackward, StepBack};
use super::forward::{self, CellForward, ForwardWeights, Step, Work};
use crate::element::Element;
use crate::math::tanh_v;
use crate::pack::Packed;
use crate::planted::{Bug, planted};
use crate::simd::Simd;
use crate::tile::{self, Panel, Product, Rows, TileOp, sweep};

/// The cell, for the compiler.
pub(crate) struct Rnn;

impl CellForward for Rnn {
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn step<S: Simd, const PAIRS: bool>(
        s: S,
        _args: &forward::Forward<S::Elem>,
        _t: usize,
        step: Step<S::Elem>,
        weights: ForwardWeights<'_, S::Elem>,
        work: &Work,
    ) {
        let products = step.products(weights.first(), step.h_before);
        let panels = work.panels(weights.u.first, step.turn);
        // SAFETY: passed on from the caller.
        unsafe { sweep(s, &Forward { step }, products, panels, work.rows.clone()) };
    }
}

struct Forward<E> {
    step: Step<E>,
}

impl<S: Simd> TileOp<S> for Forward<S::Elem> {
    #[inline(always)]
    unsafe fn start(&self, _s: S, row: usize, panel: Panel, _slot: *mut S::Elem) -> *const S::Elem {
        // SAFETY: the caller vouches for row and panel.
        unsafe { self.step.init(row).add(panel.unit) }
    }

    #[inline(always)]
    unsafe fn expect(&self, s: S, row: usize, panel: Panel) {
        self.step.expect_input(s, row, panel, panel.vectors);
    }

    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn finish(&self, s: S, row: usize, panel: Panel, acc: *mut S::Elem) {
        for v in 0..panel.vectors {
            let unit = panel.unit + v * S::LANES;
            let valid = self.step.hidden - unit;
            // SAFETY: the caller vouches for row and panel.
            unsafe {
                let a = s.load(acc.add(v * S::LANES));
                tile::store(s, self.step.h.at(row).add(unit), tanh_v(s, a), valid);
            }
        }
    }
}

impl CellBackward for Rnn {
    #[inline(always)]
    fn products<'a, E: Element>(
        gates: Rows<*const E>,
        ut: &'a Packed<E>,
        _hidden: usize,
    ) -> [Product<'a, E>; 2] {
        let all = Product::new(gates, ut);
        [all, all.empty()]
    }

    /// The gate gradient of one row and vector of units, h' from the tape.
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn gates<S: Simd>(s: S, step: &StepBack<S::Elem>, row: usize, unit: usize, dh: S::V) {
        let one = s.splat(S::Elem::ONE);
        // SAFETY: the caller vouches for row and unit.
        unsafe {
            let valid = step.hidden - unit;
            let h = tile::load(s, step.h(row).add(unit), valid);
            let squared = if planted(Bug::RnnSlopeNotSquared) {
                h
            } else {
                s.mul(h, h)
            };
            let da = s.mul(dh, s.sub(one, squared));
            tile::store(s, step.gates(row).add(unit), da, valid);
        }
    }
}
