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

use core::ops::Range;

use super::backward::{CellBackward, StepBack};
use super::forward::{self, CellForward, Phase, Step, Weights, Work};
use crate::element::Element;
use crate::math::{sigmoid_v, tanh_v};
use crate::pack::Packed;
use crate::planted::{Bug, planted};
use crate::simd::Simd;
use crate::tile::{self, Lhs, Rows, TileOp, sweep, sweep_blocks};

/// The cell, for the compiler.
pub(crate) struct Gru;

impl CellForward for Gru {
    #[inline(always)]
    unsafe fn step<S: Simd>(
        s: S,
        args: &forward::Forward<S::Elem>,
        t: usize,
        step: Step<S::Elem>,
        weights: Weights<'_, S::Elem>,
        work: &Work,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let rh = args.rh.add(t * args.rh_step);
            if work.phase != Phase::Second {
                let op = ForwardGates { step, rh };
                let panels = work.panels(weights.first);
                sweep_gates(
                    s,
                    &op,
                    &step.lhs(),
                    weights.first,
                    panels,
                    work.rows.clone(),
                );
            }
            if let Some(candidate) = weights.candidate
                && work.phase != Phase::First
            {
                let op = ForwardCandidate { step };
                let lhs = Lhs::new(Rows::flat(rh.cast_const(), step.hidden), step.hidden);
                let panels = work.panels(candidate);
                sweep_blocks(s, &op, &lhs, candidate, panels, work.rows.clone());
            }
        }
    }
}

/// z into the gates (or in place of a_z), r ⊙ h into `rh`.
struct ForwardGates<E> {
    step: Step<E>,
    /// `[B, H]`.
    rh: *mut E,
}

/// h~ and the new state.
struct ForwardCandidate<E> {
    step: Step<E>,
}

/// Sweeps the panels of z and r: two unit blocks of two gates, the last panel may have one.
///
/// # Safety
/// As for [`sweep`].
#[inline(always)]
unsafe fn sweep_gates<S: Simd>(
    s: S,
    op: &ForwardGates<S::Elem>,
    lhs: &Lhs<S::Elem>,
    u: &Packed<S::Elem>,
    panels: Range<usize>,
    rows: Range<usize>,
) {
    if panels.is_empty() {
        return;
    }
    let last = panels.end - 1;
    let full = if u.layout.blocks_of(last) == 2 {
        panels.end
    } else {
        last
    };
    // SAFETY: passed on; only the last panel can have a single block.
    unsafe {
        sweep::<S, _, 4>(s, op, lhs, u, panels.start..full, rows.clone());
        sweep::<S, _, 2>(s, op, lhs, u, full..panels.end, rows);
    }
}

impl<S: Simd, const NV: usize> TileOp<S, NV> for ForwardGates<S::Elem> {
    #[inline(always)]
    unsafe fn start(&self, s: S, row: usize, panel: usize) -> [S::V; NV] {
        let mut acc = [s.splat(S::Elem::ZERO); NV];
        let blocks = NV / 2;
        for v in 0..NV {
            let unit = (panel * 2 + v % blocks) * S::LANES;
            // SAFETY: the caller vouches for row and panel.
            acc[v] = unsafe {
                let a = self
                    .step
                    .init(row)
                    .add(v / blocks * self.step.hidden + unit);
                tile::load(s, a, self.step.hidden - unit)
            };
        }
        acc
    }

    #[inline(always)]
    unsafe fn finish(&self, s: S, row: usize, panel: usize, acc: [S::V; NV]) {
        let h = self.step.hidden;
        let blocks = NV / 2;
        for block in 0..blocks {
            let unit = (panel * 2 + block) * S::LANES;
            let valid = h - unit;
            let z = sigmoid_v(s, acc[block]);
            let r = sigmoid_v(s, acc[blocks + block]);
            // SAFETY: the caller vouches for row and panel.
            unsafe {
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

impl<S: Simd, const NV: usize> TileOp<S, NV> for ForwardCandidate<S::Elem> {
    #[inline(always)]
    unsafe fn start(&self, s: S, row: usize, panel: usize) -> [S::V; NV] {
        let mut acc = [s.splat(S::Elem::ZERO); NV];
        for v in 0..NV {
            let unit = (panel * 4 + v) * S::LANES;
            // SAFETY: the caller vouches for row and panel.
            acc[v] = unsafe {
                let a = self.step.init(row).add(2 * self.step.hidden + unit);
                tile::load(s, a, self.step.hidden - unit)
            };
        }
        acc
    }

    #[inline(always)]
    unsafe fn finish(&self, s: S, row: usize, panel: usize, acc: [S::V; NV]) {
        let h = self.step.hidden;
        let one = s.splat(S::Elem::ONE);
        for v in 0..NV {
            let unit = (panel * 4 + v) * S::LANES;
            let valid = h - unit;
            let candidate = tanh_v(s, acc[v]);
            // SAFETY: the caller vouches for row and panel.
            unsafe {
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
    fn lhs<E>(gates: Rows<*const E>, hidden: usize) -> Lhs<E> {
        Lhs::new(gates, 2 * hidden)
    }

    /// da_z and da_h in the place of z and h~, dh' ⊙ (1 − z) in the carry; r stays.
    #[inline(always)]
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
            let lhs = Lhs::new(step.gate_rows(2 * step.hidden), step.hidden);
            let panels = work.panels(candidate);
            sweep_blocks(
                s,
                &BackwardReset { step },
                &lhs,
                candidate,
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

impl<S: Simd, const NV: usize> TileOp<S, NV> for BackwardReset<S::Elem> {
    #[inline(always)]
    unsafe fn start(&self, s: S, _row: usize, _panel: usize) -> [S::V; NV] {
        [s.splat(S::Elem::ZERO); NV]
    }

    #[inline(always)]
    unsafe fn finish(&self, s: S, row: usize, panel: usize, acc: [S::V; NV]) {
        let one = s.splat(S::Elem::ONE);
        for v in 0..NV {
            let unit = (panel * 4 + v) * S::LANES;
            let valid = self.step.hidden - unit;
            // SAFETY: the caller vouches for row and panel.
            unsafe {
                let gate = self.step.gates(row).add(self.step.hidden + unit);
                let carry = self.step.carry(row).add(unit);
                let r = tile::load(s, gate, valid);
                let before = tile::load(s, self.step.h_before(row).add(unit), valid);
                let slope = s.mul(r, s.sub(one, r));
                tile::store(s, gate, s.mul(s.mul(acc[v], before), slope), valid);
                let reset = if planted(Bug::GruResetForgotten) {
                    one
                } else {
                    r
                };
                tile::store(
                    s,
                    carry,
                    s.mul_add(acc[v], reset, tile::load(s, carry, valid)),
                    valid,
                );
            }
        }
    }
}
