//! GRU with the reset gate after the recurrent product, as PyTorch and cuDNN have it; gates r, z, n.
//!
//! ```text
//! forward    r = σ(a_r)   z = σ(a_z)   q = h U_n + b_hn   n = tanh(x W_n + b_in + r ⊙ q)
//!            h' = (1 − z) ⊙ n + z ⊙ h
//!
//! backward   da_z = dh' ⊙ (h − n) ⊙ z(1 − z)     da_n = dh' ⊙ (1 − z) ⊙ (1 − n²)
//!            da_r = da_n ⊙ q ⊙ r(1 − r)          dq = da_n ⊙ r
//!            dh = dh' ⊙ z + [da_r da_z dq] Uᵀ
//! ```
//!
//! A row of the tape is r, z, n, q, and after the backward pass da_r, da_z, da_n, dq: the first three multiply
//! x, the first two and the last multiply h.

use super::backward::{CellBackward, StepBack};
use super::forward::{self, CellForward, ForwardWeights, Step, Work};
use crate::element::Element;
use crate::math::{sigmoids_v, tanh_v};
use crate::pack::Packed;
use crate::planted::{Bug, planted};
use crate::row::sweep_of;
use crate::simd::Simd;
use crate::tile::{self, Panel, Product, Rows, TileOp};

/// The cell, for the compiler.
pub(crate) struct GruAfter;

impl CellForward for GruAfter {
    const FUSES: bool = false;

    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn step<S: Simd, const PAIRS: bool>(
        s: S,
        args: &forward::Forward<S::Elem>,
        _t: usize,
        step: Step<S::Elem>,
        weights: ForwardWeights<'_, S::Elem>,
        work: &Work,
    ) {
        let op = Forward {
            step,
            bias_hidden: args.bias_hidden,
        };
        let products = step.products(weights.first(), step.h_before);
        let panels = work.panels(weights.u.first, step.turn);
        // SAFETY: passed on from the caller.
        unsafe { sweep_of::<_, _, PAIRS>(s, &op, products, panels, work.rows.clone()) };
    }
}

struct Forward<E> {
    step: Step<E>,
    /// b_hn, H rounded up to whole vectors.
    bias_hidden: *const E,
}

impl<S: Simd> TileOp<S> for Forward<S::Elem> {
    const GATES: usize = 3;

    /// a_r and a_z so far, and b_hn for q.
    #[inline(always)]
    unsafe fn start(&self, s: S, row: usize, panel: Panel, slot: *mut S::Elem) -> *const S::Elem {
        // SAFETY: the caller vouches for row, panel and slot.
        unsafe {
            let a = self.step.init(row).add(panel.unit * 3);
            s.store(slot, s.load(a));
            s.store(slot.add(S::LANES), s.load(a.add(S::LANES)));
            let bias = s.load(self.bias_hidden.add(panel.unit));
            s.store(slot.add(2 * S::LANES), bias);
        }
        slot
    }

    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn finish(&self, s: S, row: usize, panel: Panel, acc: *mut S::Elem) {
        let h = self.step.hidden;
        let unit = panel.unit;
        let valid = h - unit;
        // SAFETY: a row of this panel is r, z and q.
        let [a_r, a_z, q] = unsafe { tile::vectors::<S, 3>(s, acc) };
        let [r, z] = sigmoids_v(s, a_r, a_z);
        // SAFETY: the caller vouches for row and panel.
        unsafe {
            let a_n = s.load(self.step.init(row).add(unit * 3 + 2 * S::LANES));
            s.store(acc, z);
            s.store(acc.add(S::LANES), s.mul_add(r, q, a_n));
            if let Some(gates) = self.step.gates(row) {
                let gates = gates.add(unit);
                tile::store(s, gates, r, valid);
                tile::store(s, gates.add(h), z, valid);
                tile::store(s, gates.add(3 * h), q, valid);
            }
        }
    }

    /// n and h' from z and the argument of tanh.
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn conclude(&self, s: S, row: usize, panel: Panel, left: *const S::Elem) {
        let h = self.step.hidden;
        let unit = panel.unit;
        let valid = h - unit;
        let one = s.splat(S::Elem::ONE);
        // SAFETY: the caller vouches for row and panel; `finish` has left two vectors.
        unsafe {
            let [z, a] = tile::vectors::<S, 2>(s, left);
            let n = tanh_v(s, a);
            let before = tile::load(s, self.step.h_before.at(row).add(unit), valid);
            let new = s.mul_add(z, before, s.mul(s.sub(one, z), n));
            tile::store(s, self.step.h.at(row).add(unit), new, valid);
            if let Some(gates) = self.step.gates(row) {
                tile::store(s, gates.add(2 * h + unit), n, valid);
            }
        }
    }
}

impl CellBackward for GruAfter {
    const CARRIES: bool = true;

    #[inline(always)]
    fn products<'a, E: Element>(
        gates: Rows<*const E>,
        ut: &'a Packed<E>,
        hidden: usize,
    ) -> [Product<'a, E>; 2] {
        let reset_and_update = Product {
            len: 2 * hidden,
            ..Product::new(gates, ut)
        };
        let new = Product {
            left: Rows {
                base: gates.base.wrapping_add(3 * hidden),
                ..gates
            },
            right: ut,
            first: 2 * hidden,
            len: hidden,
        };
        [reset_and_update, new]
    }

    /// The gate gradients in the place of r, z, n, q; dh' ⊙ z in the carry.
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn gates<S: Simd>(s: S, step: &StepBack<S::Elem>, row: usize, unit: usize, dh: S::V) {
        let one = s.splat(S::Elem::ONE);
        // SAFETY: the caller vouches for row and unit.
        unsafe {
            let valid = step.hidden - unit;
            let gate = |g: usize| step.gates(row).add(g * step.hidden + unit);
            let r = tile::load(s, gate(0), valid);
            let z = tile::load(s, gate(1), valid);
            let n = tile::load(s, gate(2), valid);
            let q = tile::load(s, gate(3), valid);
            let before = tile::load(s, step.h_before(row).add(unit), valid);
            let rest = s.sub(one, z);
            let dz = s.mul(dh, s.sub(before, n));
            let da_n = s.mul(s.mul(dh, rest), s.sub(one, s.mul(n, n)));
            let slope_r = s.mul(r, s.sub(one, r));
            tile::store(s, gate(0), s.mul(s.mul(da_n, q), slope_r), valid);
            tile::store(s, gate(1), s.mul(dz, s.mul(z, rest)), valid);
            tile::store(s, gate(2), da_n, valid);
            tile::store(s, gate(3), s.mul(da_n, r), valid);
            let kept = if planted(Bug::GruAfterCarryComplement) {
                rest
            } else {
                z
            };
            tile::store(s, step.carry(row).add(unit), s.mul(dh, kept), valid);
        }
    }
}
