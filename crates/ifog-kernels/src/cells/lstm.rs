//! LSTM, gates i, f, o, g (Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000).
//!
//! ```text
//! forward    i = σ(a_i)  f = σ(a_f)  o = σ(a_o)  g = tanh(a_g)
//!            c' = f ⊙ c + i ⊙ g      h' = o ⊙ tanh(c')
//!
//! backward   m = tanh(c')            dc' += dh' ⊙ o ⊙ (1 − m²)
//!            da_i = dc' ⊙ g ⊙ i(1 − i)      da_o = dh' ⊙ m ⊙ o(1 − o)
//!            da_f = dc' ⊙ c ⊙ f(1 − f)      da_g = dc' ⊙ i ⊙ (1 − g²)
//!            dc = dc' ⊙ f
//! ```
//!
//! m is h'/o rather than kept: a seventh less tape for a division.

use super::backward::{CellBackward, StepBack};
use super::forward::{self, CellForward, ForwardWeights, Step, Work};
use crate::element::Element;
use crate::math::{constants, sigmoid_v, sigmoids_v, tanh_v};
use crate::pack::Packed;
use crate::planted::{Bug, planted};
use crate::row::sweep_of;
use crate::simd::Simd;
use crate::tile::{self, Panel, Product, Rows, TileOp};

/// The cell, for the compiler.
pub(crate) struct Lstm;

impl CellForward for Lstm {
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
            let op = Forward {
                step,
                c_before: args.c.add(t * args.c_step),
                c: args.c.add((t + 1) * args.c_step),
            };
            let products = step.products(weights.first(), step.h_before);
            let panels = work.panels(weights.u.first, step.turn);
            sweep_of::<_, _, PAIRS>(s, &op, products, panels, work.rows.clone());
        }
    }
}

struct Forward<E> {
    step: Step<E>,
    /// `[B, H]`.
    c_before: *const E,
    /// `[B, H]`; in inference the same memory.
    c: *mut E,
}

impl<S: Simd> TileOp<S> for Forward<S::Elem> {
    const GATES: usize = 4;

    #[inline(always)]
    unsafe fn start(&self, _s: S, row: usize, panel: Panel, _slot: *mut S::Elem) -> *const S::Elem {
        // SAFETY: the caller vouches for row and panel.
        unsafe { self.step.init(row).add(panel.unit * 4) }
    }

    #[inline(always)]
    unsafe fn expect(&self, s: S, row: usize, panel: Panel) {
        self.step.expect_input(s, row, panel, 1);
    }

    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn finish(&self, s: S, row: usize, panel: Panel, acc: *mut S::Elem) {
        let h = self.step.hidden;
        let unit = panel.unit;
        let valid = h - unit;
        // SAFETY: a row of an LSTM panel is the four gates.
        let a = unsafe { tile::vectors::<S, 4>(s, acc) };
        let (g, [i, f]) = (tanh_v(s, a[3]), sigmoids_v(s, a[0], a[1]));
        // SAFETY: the caller vouches for row and panel.
        unsafe {
            let c_before = tile::load(s, self.c_before.add(row * h + unit), valid);
            let c = s.mul_add(f, c_before, s.mul(i, g));
            tile::store(s, self.c.add(row * h + unit), c, valid);
            // Behind c: of a single row, tanh(c') is what everything waits for.
            let o = sigmoid_v(s, a[2]);
            s.store(acc, o);
            s.store(acc.add(S::LANES), c);
            if let Some(gates) = self.step.gates(row) {
                let gates = gates.add(unit);
                tile::store(s, gates, i, valid);
                tile::store(s, gates.add(h), f, valid);
                tile::store(s, gates.add(2 * h), o, valid);
                tile::store(s, gates.add(3 * h), g, valid);
            }
        }
    }

    /// h' from o and c'.
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn conclude(&self, s: S, row: usize, panel: Panel, left: *const S::Elem) {
        // SAFETY: the caller vouches for row and panel; `finish` has left two vectors.
        unsafe {
            let [o, c] = tile::vectors::<S, 2>(s, left);
            let h = s.mul(o, tanh_v(s, c));
            let valid = self.step.hidden - panel.unit;
            tile::store(s, self.step.h.at(row).add(panel.unit), h, valid);
        }
    }
}

impl CellBackward for Lstm {
    const MEMORY: bool = true;

    #[inline(always)]
    fn products<'a, E: Element>(
        gates: Rows<*const E>,
        ut: &'a Packed<E>,
        _hidden: usize,
    ) -> [Product<'a, E>; 2] {
        let all = Product::new(gates, ut);
        [all, all.empty()]
    }

    /// The gate gradients of one row and vector of units, in the place of the gates; dc in the carry.
    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn gates<S: Simd>(s: S, step: &StepBack<S::Elem>, row: usize, unit: usize, dh: S::V) {
        let one = s.splat(S::Elem::ONE);
        // SAFETY: the caller vouches for row and unit.
        unsafe {
            let valid = step.hidden - unit;
            let gate = |g: usize| step.gates(row).add(g * step.hidden + unit);
            let i = tile::load(s, gate(0), valid);
            let f = tile::load(s, gate(1), valid);
            let o = tile::load(s, gate(2), valid);
            let g = tile::load(s, gate(3), valid);
            let c = tile::load(s, step.c_before(row).add(unit), valid);
            // tanh(c') again, from h' = o ⊙ tanh(c'). Where o is below all normal numbers m is too small, and so is what it is
            // multiplied with: an error of that size.
            let least = s.splat(constants::<S>().min_positive);
            let m = s.div(tile::load(s, step.h(row).add(unit), valid), s.max(least, o));
            let carry = step.dc(row).add(unit);
            let through_h = s.mul(s.mul(dh, o), s.sub(one, s.mul(m, m)));
            let dc = s.add(tile::load(s, carry, valid), through_h);
            let slope = |gate: S::V| s.mul(gate, s.sub(one, gate));
            let (to_i, to_f) = if planted(Bug::LstmGatesSwapped) {
                (1, 0)
            } else {
                (0, 1)
            };
            let m = if planted(Bug::LstmOutputGateSign) {
                s.sub(s.splat(S::Elem::ZERO), m)
            } else {
                m
            };
            let kept = if planted(Bug::LstmCarryWithoutForget) {
                one
            } else {
                f
            };
            tile::store(s, gate(to_i), s.mul(s.mul(dc, g), slope(i)), valid);
            tile::store(s, gate(to_f), s.mul(s.mul(dc, c), slope(f)), valid);
            tile::store(s, gate(2), s.mul(s.mul(dh, m), slope(o)), valid);
            tile::store(
                s,
                gate(3),
                s.mul(s.mul(dc, i), s.sub(one, s.mul(g, g))),
                valid,
            );
            tile::store(s, carry, s.mul(dc, kept), valid);
        }
    }
}
