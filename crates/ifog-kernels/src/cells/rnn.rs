//! Vanilla RNN (Elman 1990).
//!
//! ```text
//! forward    h' = tanh(a)
//! backward   da = dh' ⊙ (1 − h'²)
//! ```

use super::backward::{CellBackward, StepBack};
use super::forward::{self, CellForward, Step, Weights, Work};
use crate::element::Element;
use crate::math::tanh_v;
use crate::planted::{Bug, planted};
use crate::simd::Simd;
use crate::tile::{self, Lhs, Rows, TileOp, sweep_blocks};

/// The cell, for the compiler.
pub(crate) struct Rnn;

impl CellForward for Rnn {
    #[inline(always)]
    unsafe fn step<S: Simd>(
        s: S,
        _args: &forward::Forward<S::Elem>,
        _t: usize,
        step: Step<S::Elem>,
        weights: Weights<'_, S::Elem>,
        work: &Work,
    ) {
        let panels = work.panels(weights.first);
        // SAFETY: passed on from the caller.
        unsafe {
            sweep_blocks(
                s,
                &Forward { step },
                &step.lhs(),
                weights.first,
                panels,
                work.rows.clone(),
            )
        };
    }
}

struct Forward<E> {
    step: Step<E>,
}

impl<S: Simd, const NV: usize> TileOp<S, NV> for Forward<S::Elem> {
    #[inline(always)]
    unsafe fn start(&self, s: S, row: usize, panel: usize) -> [S::V; NV] {
        let mut acc = [s.splat(S::Elem::ZERO); NV];
        for v in 0..NV {
            let unit = (panel * 4 + v) * S::LANES;
            // SAFETY: the caller vouches for row and panel.
            acc[v] =
                unsafe { tile::load(s, self.step.init(row).add(unit), self.step.hidden - unit) };
        }
        acc
    }

    #[inline(always)]
    unsafe fn finish(&self, s: S, row: usize, panel: usize, acc: [S::V; NV]) {
        for v in 0..NV {
            let unit = (panel * 4 + v) * S::LANES;
            let valid = self.step.hidden - unit;
            // SAFETY: the caller vouches for row and panel.
            unsafe { tile::store(s, self.step.h.at(row).add(unit), tanh_v(s, acc[v]), valid) };
        }
    }
}

impl CellBackward for Rnn {
    #[inline(always)]
    fn lhs<E>(gates: Rows<*const E>, hidden: usize) -> Lhs<E> {
        Lhs::new(gates, hidden)
    }

    /// The gate gradient of one row and vector of units, h' from the tape.
    #[inline(always)]
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
