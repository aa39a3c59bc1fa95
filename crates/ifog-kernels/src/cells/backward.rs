//! Backpropagation through time (Werbos 1990), for any cell.
//!
//! The steps run backwards. One sweep computes the product dA_{t+1} Uᵀ and, while it is in registers, the
//! gate gradients of step t:
//!
//! ```text
//! dh_t = dout_t + carry_{t+1} + dA_{t+1} Uᵀ        carry: what passes the gates by (GRU), else 0
//! dA_t, dc_t, carry_t = gate gradients of dh_t      in the place of the gates on the tape
//! ```
//!
//! dout_t is added to the finished product rather than in front of it, so that a window cut in two, with dh
//! handed over, has the bits of the whole.

use core::marker::PhantomData;

use super::forward::{Phase, Weights, Work};
use crate::element::Element;
use crate::pack::Packed;
use crate::simd::Simd;
use crate::tile::{self, Panel, Product, Rows, TileOp, sweep};

/// The memory of one backward call.
#[derive(Clone, Copy)]
pub struct Backward<E> {
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    pub(crate) hidden: usize,
    /// `[T, B, width]`: gates in, their gradients out.
    pub(crate) gates: *mut E,
    pub(crate) width: usize,
    /// `[T + 1, B, H]`.
    pub(crate) h: *const E,
    /// `[T + 1, B, H]`, LSTM only.
    pub(crate) c: *const E,
    /// Upstream gradient of h, `[T, B]` rows.
    pub(crate) dout: *const E,
    pub(crate) dout_stride: usize,
    /// Gradient of the final h in, of the initial h out, `[B, H]`.
    pub(crate) dh: *mut E,
    /// The same of c, LSTM only.
    pub(crate) dc: *mut E,
    /// `[B, H]`, GRUs only.
    pub(crate) carry: *mut E,
}

/// One step of the tape.
#[derive(Clone, Copy)]
pub(crate) struct StepBack<E> {
    args: Backward<E>,
    pub(super) t: usize,
    pub(super) hidden: usize,
}

/// Row pointers; each is sound for a row of the batch.
impl<E> StepBack<E> {
    #[inline(always)]
    unsafe fn row(&self, slot: usize, row: usize) -> usize {
        ((self.t + slot) * self.args.batch + row) * self.hidden
    }

    #[inline(always)]
    pub(super) unsafe fn gates(&self, row: usize) -> *mut E {
        // SAFETY: the caller vouches for the row.
        unsafe {
            self.args
                .gates
                .add((self.t * self.args.batch + row) * self.args.width)
        }
    }

    /// h' of the step.
    #[inline(always)]
    pub(super) unsafe fn h(&self, row: usize) -> *const E {
        // SAFETY: the caller vouches for the row.
        unsafe { self.args.h.add(self.row(1, row)) }
    }

    #[inline(always)]
    pub(super) unsafe fn h_before(&self, row: usize) -> *const E {
        // SAFETY: the caller vouches for the row.
        unsafe { self.args.h.add(self.row(0, row)) }
    }

    #[inline(always)]
    pub(super) unsafe fn c_before(&self, row: usize) -> *const E {
        // SAFETY: the caller vouches for the row.
        unsafe { self.args.c.add(self.row(0, row)) }
    }

    #[inline(always)]
    pub(super) unsafe fn dc(&self, row: usize) -> *mut E {
        // SAFETY: the caller vouches for the row.
        unsafe { self.args.dc.add(row * self.hidden) }
    }

    #[inline(always)]
    pub(super) unsafe fn carry(&self, row: usize) -> *mut E {
        // SAFETY: the caller vouches for the row.
        unsafe { self.args.carry.add(row * self.hidden) }
    }
}

/// The backward step of one cell.
pub(crate) trait CellBackward {
    /// Whether [`Backward::carry`] takes part.
    const CARRIES: bool = false;
    /// Whether the gate gradients need c.
    const MEMORY: bool = false;
    /// dA Uᵀ: the gate gradients of a tape row that belong to h, one or two runs of them.
    fn products<'a, E: Element>(
        gates: Rows<*const E>,
        ut: &'a Packed<E>,
        hidden: usize,
    ) -> [Product<'a, E>; 2];

    /// The gate gradients of one row and vector of units, in the place of the gates.
    ///
    /// # Safety
    /// `row` and `unit` are valid in the tape.
    unsafe fn gates<S: Simd>(s: S, step: &StepBack<S::Elem>, row: usize, unit: usize, dh: S::V);

    /// The second sweep of a step, where there is one.
    ///
    /// # Safety
    /// `step` holds the rows and panels of `work`.
    #[inline(always)]
    unsafe fn second_sweep<S: Simd>(
        _s: S,
        _step: StepBack<S::Elem>,
        _weights: Weights<'_, S::Elem>,
        _work: &Work,
    ) {
    }
}

/// Sweep t of T..=0 takes the gradient from step t to step t − 1: `work.steps` are these t, run backwards.
///
/// # Safety
/// The pointers of `args` are valid for the steps, rows and panels of `work`, and nobody else writes them.
#[inline(always)]
pub(crate) unsafe fn backward_body<S: Simd, C: CellBackward>(
    s: S,
    args: &Backward<S::Elem>,
    weights: Weights<'_, S::Elem>,
    work: Work,
) {
    let h = args.hidden;
    for t in work.steps.clone().rev() {
        let target = t.checked_sub(1).map(|t| StepBack {
            args: *args,
            t,
            hidden: h,
        });
        // SAFETY: passed on from the caller; the ops stay on their row and panel.
        unsafe {
            if work.phase != Phase::Second {
                let from_state = t == args.steps;
                let products = if from_state {
                    let nothing = Rows::flat(args.dh.cast_const(), h);
                    [Product::new(nothing, weights.first).empty(); 2]
                } else {
                    C::products(args.gate_rows(t, 0), weights.first, h)
                };
                let op = Recur::<_, C> {
                    args: *args,
                    from_state,
                    target,
                    _cell: PhantomData,
                };
                let panels = work.panels(weights.first, t);
                sweep(s, &op, products, panels, work.rows.clone());
            }
            if let Some(step) = target
                && work.phase != Phase::First
            {
                C::second_sweep(s, step, weights, &work);
            }
        }
    }
}

impl<E> Backward<E> {
    /// The rows of step t on the tape from `column` on.
    ///
    /// # Safety
    /// They exist.
    unsafe fn gate_rows(&self, t: usize, column: usize) -> Rows<*const E> {
        // SAFETY: the caller vouches for step and column.
        let base = unsafe { self.gates.add(t * self.batch * self.width + column) };
        Rows::flat(base.cast_const(), self.width)
    }
}

impl<E> StepBack<E> {
    /// The rows of the step on the tape from `column` on.
    ///
    /// # Safety
    /// They exist.
    pub(super) unsafe fn gate_rows(&self, column: usize) -> Rows<*const E> {
        // SAFETY: passed on.
        unsafe { self.args.gate_rows(self.t, column) }
    }
}

/// Ends the product dA Uᵀ of one step and starts the step before it.
struct Recur<E, C> {
    args: Backward<E>,
    /// The last step: its dh comes from the gradient of the final state.
    from_state: bool,
    /// None behind the first step: dh is the gradient of the initial state.
    target: Option<StepBack<E>>,
    _cell: PhantomData<C>,
}

impl<S: Simd, C: CellBackward> TileOp<S> for Recur<S::Elem, C> {
    #[inline(always)]
    unsafe fn start(&self, s: S, _row: usize, panel: Panel, slot: *mut S::Elem) -> *const S::Elem {
        // SAFETY: passed on from the caller.
        unsafe { tile::zeros(s, panel, slot) }
    }

    #[inline(always)]
    unsafe fn expect(&self, s: S, row: usize, panel: Panel) {
        let (args, h) = (&self.args, self.args.hidden);
        let Some(step) = &self.target else {
            return;
        };
        for v in 0..panel.vectors {
            let unit = panel.unit + v * S::LANES;
            // SAFETY: the caller vouches for row and panel.
            unsafe {
                for column in (unit..args.width).step_by(h) {
                    s.prefetch(step.gates(row).add(column));
                }
                let upstream = (step.t * args.batch + row) * args.dout_stride + unit;
                s.prefetch(args.dout.add(upstream));
                s.prefetch(step.h_before(row).add(unit));
                if C::MEMORY {
                    s.prefetch(step.c_before(row).add(unit));
                }
            }
        }
    }

    #[cfg_attr(not(ifog_unoptimised), inline(always))]
    unsafe fn finish(&self, s: S, row: usize, panel: Panel, acc: *mut S::Elem) {
        let args = &self.args;
        let h = args.hidden;
        for v in 0..panel.vectors {
            let unit = panel.unit + v * S::LANES;
            let valid = h - unit;
            // SAFETY: the caller vouches for row and panel.
            unsafe {
                let state = args.dh.add(row * h + unit);
                let mut dh = s.load(acc.add(v * S::LANES));
                if self.from_state {
                    dh = tile::load(s, state, valid);
                } else if C::CARRIES {
                    dh = s.add(dh, tile::load(s, args.carry.add(row * h + unit), valid));
                }
                let Some(step) = &self.target else {
                    tile::store(s, state, dh, valid);
                    continue;
                };
                let dout = args
                    .dout
                    .add((step.t * args.batch + row) * args.dout_stride + unit);
                C::gates(s, step, row, unit, s.add(tile::load(s, dout, valid), dh));
            }
        }
    }
}
