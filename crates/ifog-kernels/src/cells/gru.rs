//! GRU with the reset gate before the recurrent product (Cho et al. 2014), gates z, r, h~.
//!
//! ```text
//! forward    z = σ(a_z)   r = σ(a_r)   h~ = tanh(x W_h + (r ⊙ h) U_h + b_h)
//!            h' = (1 − z) ⊙ h + z ⊙ h~
//!
//! backward   da_z = dh' ⊙ (h~ − h) ⊙ z(1 − z)        da_h = dh' ⊙ z ⊙ (1 − h~²)
//!            drh = da_h U_hᵀ                          da_r = drh ⊙ h ⊙ r(1 − r)
//!            dh = dh' ⊙ (1 − z) + drh ⊙ r + [da_z da_r] U_zrᵀ
//! ```
//!
//! A step is two sweeps each way: what U_h multiplies is not known before every r is.

use super::backward::{CellBackward, StepBack};
use super::forward::{self, CellForward, ForwardWeights, Phase, Step, Weights, Work};
use crate::element::Element;
use crate::math::{sigmoids_v, tanh_v};
use crate::pack::Packed;
use crate::planted::{Bug, planted};
use crate::simd::Simd;
use crate::tile::{self, Panel, Product, Rows, TileOp, sweep};

/// The cell, for the compiler.
pub(crate) struct Gru;

impl CellForward for Gru {
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn step<S: Simd, const PAIRS: bool>(
        s: S,
        args: &forward::Forward<S::Elem>,
        t: usize,
        step: Step<S::Elem>,
        weights: ForwardWeights<'_, S::Elem>,
        work: &Work,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let rh = args.rh.add(t * args.rh_step);
            if work.phase != Phase::Second {
                let op = ForwardGates { step, rh };
                let products = step.products(weights.first(), step.h_before);
                let panels = work.panels(weights.u.first, step.turn);
                sweep(s, &op, products, panels, work.rows.clone());
            }
            if let Some(candidate) = weights.candidate()
                && work.phase != Phase::First
            {
                let op = ForwardCandidate {
                    step,
                    offset: weights.u.first.layout.row_len(),
                };
                let rh = Rows::flat(rh.cast_const(), step.hidden);
                let panels = work.panels(candidate.u, step.turn);
                let products = step.products(candidate, rh);
                sweep(s, &op, products, panels, work.rows.clone());
            }
        }
    }
}

/// z into h' (and the gates), r ⊙ h into `rh`.
struct ForwardGates<E> {
    step: Step<E>,
    /// `[B, H]`.
    rh: *mut E,
}

/// h~ and the new state.
struct ForwardCandidate<E> {
    step: Step<E>,
    /// Where the candidate's part of a row of x W + b begins.
    offset: usize,
}

impl<S: Simd> TileOp<S> for ForwardGates<S::Elem> {
    const GATES: usize = 2;

    #[inline(always)]
    unsafe fn start(&self, _s: S, row: usize, panel: Panel, _slot: *mut S::Elem) -> *const S::Elem {
        // SAFETY: the caller vouches for row and panel.
        unsafe { self.step.init(row).add(panel.unit * 2) }
    }

    #[inline(always)]
    unsafe fn expect(&self, s: S, row: usize, panel: Panel) {
        self.step.expect_input(s, row, panel, panel.vectors / 2);
    }

    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn finish(&self, s: S, row: usize, panel: Panel, acc: *mut S::Elem) {
        let h = self.step.hidden;
        let blocks = panel.vectors / 2;
        for block in 0..blocks {
            let unit = panel.unit + block * S::LANES;
            let valid = h - unit;
            // SAFETY: the caller vouches for row and panel.
            unsafe {
                let z = s.load(acc.add(block * S::LANES));
                let r = s.load(acc.add((blocks + block) * S::LANES));
                let [z, r] = sigmoids_v(s, z, r);
                let before = tile::load(s, self.step.h_before.at(row).add(unit), valid);
                tile::store(s, self.rh.add(row * h + unit), s.mul(r, before), valid);
                // z waits in h' for the second sweep, which overwrites it.
                tile::store(s, self.step.h.at(row).add(unit), z, valid);
                if let Some(gates) = self.step.gates(row) {
                    tile::store(s, gates.add(unit), z, valid);
                    tile::store(s, gates.add(h + unit), r, valid);
                }
            }
        }
    }
}

impl<S: Simd> TileOp<S> for ForwardCandidate<S::Elem> {
    #[inline(always)]
    unsafe fn start(&self, _s: S, row: usize, panel: Panel, _slot: *mut S::Elem) -> *const S::Elem {
        // SAFETY: the caller vouches for row and panel.
        unsafe { self.step.init(row).add(self.offset + panel.unit) }
    }

    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn finish(&self, s: S, row: usize, panel: Panel, acc: *mut S::Elem) {
        let h = self.step.hidden;
        let one = s.splat(S::Elem::ONE);
        for v in 0..panel.vectors {
            let unit = panel.unit + v * S::LANES;
            let valid = h - unit;
            // SAFETY: the caller vouches for row and panel.
            unsafe {
                let candidate = tanh_v(s, s.load(acc.add(v * S::LANES)));
                let out = self.step.h.at(row).add(unit);
                let z = tile::load(s, out, valid);
                let before = tile::load(s, self.step.h_before.at(row).add(unit), valid);
                let kept = s.mul(s.sub(one, z), before);
                tile::store(s, out, s.mul_add(z, candidate, kept), valid);
                if let Some(gates) = self.step.gates(row) {
                    tile::store(s, gates.add(2 * h + unit), candidate, valid);
                }
            }
        }
    }
}

impl CellBackward for Gru {
    const CARRIES: bool = true;

    #[inline(always)]
    fn products<'a, E: Element>(
        gates: Rows<*const E>,
        ut: &'a Packed<E>,
        _hidden: usize,
    ) -> [Product<'a, E>; 2] {
        let update_and_reset = Product::new(gates, ut);
        [update_and_reset, update_and_reset.empty()]
    }

    /// da_z and da_h in the place of z and h~, dh' ⊙ (1 − z) in the carry; r stays.
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn gates<S: Simd>(s: S, step: &StepBack<S::Elem>, row: usize, unit: usize, dh: S::V) {
        let one = s.splat(S::Elem::ONE);
        // SAFETY: the caller vouches for row and unit.
        unsafe {
            let valid = step.hidden - unit;
            let gate = |g: usize| step.gates(row).add(g * step.hidden + unit);
            let z = tile::load(s, gate(0), valid);
            let candidate = tile::load(s, gate(2), valid);
            let before = tile::load(s, step.h_before(row).add(unit), valid);
            let rest = s.sub(one, z);
            let dz = s.mul(dh, s.sub(candidate, before));
            let slope = s.sub(one, s.mul(candidate, candidate));
            tile::store(s, gate(0), s.mul(dz, s.mul(z, rest)), valid);
            tile::store(s, gate(2), s.mul(s.mul(dh, z), slope), valid);
            let kept = if planted(Bug::GruCarryLost) {
                s.splat(S::Elem::ZERO)
            } else {
                rest
            };
            tile::store(s, step.carry(row).add(unit), s.mul(dh, kept), valid);
        }
    }

    #[inline(always)]
    unsafe fn second_sweep<S: Simd>(
        s: S,
        step: StepBack<S::Elem>,
        weights: Weights<'_, S::Elem>,
        work: &Work,
    ) {
        let Some(candidate) = weights.candidate else {
            return;
        };
        // SAFETY: passed on from the caller.
        unsafe {
            let product = Product::new(step.gate_rows(2 * step.hidden), candidate);
            let panels = work.panels(candidate, step.t);
            let op = BackwardReset { step };
            sweep(
                s,
                &op,
                [product, product.empty()],
                panels,
                work.rows.clone(),
            );
        }
    }
}

/// The second sweep of a backward step: drh = da_h U_hᵀ gives da_r, in the place of r, and adds to the carry.
struct BackwardReset<E> {
    step: StepBack<E>,
}

impl<S: Simd> TileOp<S> for BackwardReset<S::Elem> {
    #[inline(always)]
    unsafe fn start(&self, s: S, _row: usize, panel: Panel, slot: *mut S::Elem) -> *const S::Elem {
        // SAFETY: passed on from the caller.
        unsafe { tile::zeros(s, panel, slot) }
    }

    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn finish(&self, s: S, row: usize, panel: Panel, acc: *mut S::Elem) {
        let one = s.splat(S::Elem::ONE);
        for v in 0..panel.vectors {
            let unit = panel.unit + v * S::LANES;
            let valid = self.step.hidden - unit;
            // SAFETY: the caller vouches for row and panel.
            unsafe {
                let drh = s.load(acc.add(v * S::LANES));
                let gate = self.step.gates(row).add(self.step.hidden + unit);
                let carry = self.step.carry(row).add(unit);
                let r = tile::load(s, gate, valid);
                let before = tile::load(s, self.step.h_before(row).add(unit), valid);
                let slope = s.mul(r, s.sub(one, r));
                tile::store(s, gate, s.mul(s.mul(drh, before), slope), valid);
                let reset = if planted(Bug::GruResetForgotten) {
                    one
                } else {
                    r
                };
                tile::store(
                    s,
                    carry,
                    s.mul_add(drh, reset, tile::load(s, carry, valid)),
                    valid,
                );
            }
        }
    }
}
