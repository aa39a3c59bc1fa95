//! The recurrence over time, for any cell: which tiles run at each step, and on which memory.

use core::ops::Range;

use crate::element::Element;
use crate::pack::Packed;
use crate::simd::Simd;
use crate::tile::{Lhs, Rows};

/// The memory of one forward call, for the steps `0..` from which `init` and `gates` count.
///
/// Infer and train differ in the strides alone: infer keeps one c, one r ⊙ h and no gates.
#[derive(Clone, Copy)]
pub struct Forward<E> {
    pub(crate) batch: usize,
    pub(crate) hidden: usize,
    /// x W + b of the steps.
    pub(crate) init: Init<E>,
    /// Gates out, `[T, B, width]`, or null. May be the memory of `init`.
    pub(crate) gates: *mut E,
    /// H times the gates in a row of `gates` (and of `init` where that is rows).
    pub(crate) width: usize,
    /// h before the first step, `[B]` rows.
    pub(crate) h0: *const E,
    pub(crate) h0_stride: usize,
    /// h of the steps, `[T, B]` rows.
    pub(crate) h: *mut E,
    pub(crate) h_stride: usize,
    /// c before step t at `c + t · c_step`, after it one `c_step` on; `[B, H]`. LSTM only.
    pub(crate) c: *mut E,
    pub(crate) c_step: usize,
    /// r ⊙ h at step t at `rh + t · rh_step`, `[B, H]`. GRU reset-before only.
    pub(crate) rh: *mut E,
    pub(crate) rh_step: usize,
    /// b_hn, `[H]`. GRU reset-after only.
    pub(crate) bias_hidden: *const E,
}

/// Where the accumulators of the recurrent tile start: x W + b, bias first.
#[derive(Clone, Copy)]
pub(crate) enum Init<E> {
    /// `[T, B, width]`, computed by one large product.
    Rows(*const E),
    /// Rows of a table by token: what that product is for a one-hot input.
    Table {
        /// `[V, stride]`.
        table: *const E,
        stride: usize,
        /// `[T, B]`.
        ids: *const u32,
    },
}

/// What one part of a call does: some steps, some rows, one share of the unit panels.
#[derive(Clone)]
pub struct Work {
    pub(crate) steps: Range<usize>,
    pub(crate) rows: Range<usize>,
    /// Part `share.0` of `share.1` of the panels. With more than one, a call is one phase of one step.
    pub(crate) share: (usize, usize),
    pub(crate) phase: Phase,
}

/// GRU reset-before needs all of r ⊙ h before any h~; parts that share a row meet in between.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    All,
    First,
    Second,
}

impl<E> Init<E> {
    /// The row of batch row b at step t, on the columns from `column`.
    ///
    /// # Safety
    /// The row exists, and the token is a row of the table.
    #[inline(always)]
    pub(crate) unsafe fn row(&self, index: usize, width: usize) -> *const E {
        // SAFETY: the caller vouches for the row.
        unsafe {
            match *self {
                Self::Rows(base) => base.add(index * width),
                Self::Table { table, stride, ids } => table.add(*ids.add(index) as usize * stride),
            }
        }
    }
}

impl<E: Element> Forward<E> {
    /// The same call seen from step `t0` on; `init` is left to the caller.
    ///
    /// # Safety
    /// Step `t0` exists.
    pub(crate) unsafe fn seen_from(&self, t0: usize) -> Self {
        if t0 == 0 {
            return *self;
        }
        // SAFETY: the caller vouches for step t0.
        unsafe {
            let gates = match self.gates.is_null() {
                true => self.gates,
                false => self.gates.add(t0 * self.batch * self.width),
            };
            Self {
                gates,
                h0: self.h.add((t0 - 1) * self.batch * self.h_stride),
                h0_stride: self.h_stride,
                h: self.h.add(t0 * self.batch * self.h_stride),
                c: self.c.add(t0 * self.c_step),
                rh: self.rh.add(t0 * self.rh_step),
                ..*self
            }
        }
    }

    /// h before step t, as the left side of a product.
    ///
    /// # Safety
    /// Step t exists.
    unsafe fn h_before(&self, t: usize) -> Rows<*const E> {
        if t == 0 {
            return Rows::flat(self.h0, self.h0_stride);
        }
        // SAFETY: step t − 1 exists.
        let base = unsafe { self.h.add((t - 1) * self.batch * self.h_stride) };
        Rows::flat(base.cast_const(), self.h_stride)
    }
}

/// The steps of one cell: each of the four implements its sweeps.
pub(crate) trait CellForward {
    /// # Safety
    /// `args` holds step `step` and the rows and panels of `work`.
    unsafe fn step<S: Simd>(
        s: S,
        args: &Forward<S::Elem>,
        t: usize,
        step: Step<S::Elem>,
        weights: Weights<'_, S::Elem>,
        work: &Work,
    );
}

/// The packed recurrent weights; `candidate` is U_h of GRU reset-before.
#[derive(Clone, Copy)]
pub struct Weights<'a, E> {
    pub(crate) first: &'a Packed<E>,
    pub(crate) candidate: Option<&'a Packed<E>>,
}

#[inline(always)]
pub(crate) fn forward_body<S: Simd, C: CellForward>(
    s: S,
    args: &Forward<S::Elem>,
    weights: Weights<'_, S::Elem>,
    work: Work,
) {
    let b = args.batch;
    for t in work.steps.clone() {
        // SAFETY: the caller built `args` from buffers that hold every step, and hands each part rows
        // or panels of its own; the ops stay on their row and panel.
        unsafe {
            let step = Step {
                first_row: t * b,
                hidden: args.hidden,
                width: args.width,
                init: args.init,
                gates: args.gates,
                h_before: args.h_before(t),
                h: Rows::flat(args.h.add(t * b * args.h_stride), args.h_stride),
            };
            C::step(s, args, t, step, weights, &work);
        }
    }
}

impl Work {
    /// The panels of this part.
    #[inline(always)]
    pub(super) fn panels<E: Element>(&self, packed: &Packed<E>) -> Range<usize> {
        packed.layout.share(self.share.0, self.share.1)
    }
}

/// One step, as every cell's tile op needs it.
#[derive(Clone, Copy)]
pub(crate) struct Step<E> {
    /// t · B: batch row b is row `first_row + b` of `init` and `gates`.
    first_row: usize,
    pub(super) hidden: usize,
    width: usize,
    init: Init<E>,
    gates: *mut E,
    pub(super) h_before: Rows<*const E>,
    pub(super) h: Rows<*mut E>,
}

impl<E> Step<E> {
    /// h before the step on the left of a product.
    pub(super) fn lhs(&self) -> Lhs<E> {
        Lhs::new(self.h_before, self.hidden)
    }

    /// x W + b of batch row b.
    ///
    /// # Safety
    /// b is a row of the batch.
    #[inline(always)]
    pub(super) unsafe fn init(&self, row: usize) -> *const E {
        // SAFETY: passed on.
        unsafe { self.init.row(self.first_row + row, self.width) }
    }

    /// The tape's gates of batch row b; nothing without a tape.
    ///
    /// # Safety
    /// b is a row of the batch.
    #[inline(always)]
    pub(super) unsafe fn gates(&self, row: usize) -> Option<*mut E> {
        if self.gates.is_null() {
            return None;
        }
        // SAFETY: passed on.
        Some(unsafe { self.gates.add((self.first_row + row) * self.width) })
    }
}
