//! The recurrence over time, for any cell: which tiles run at each step, and on which memory.

use core::ops::Range;

use crate::element::Element;
use crate::pack::Packed;
use crate::row::sweep_of;
use crate::simd::Simd;
use crate::tile::{Panel, Panels, Product, Rows, TileOp};

/// The memory of one forward call, for the steps `0..` from which `init` and `gates` count.
///
/// Infer and forward differ in the strides alone: infer keeps one c, one r ⊙ h and no gates.
#[derive(Clone, Copy)]
pub struct Forward<E> {
    pub(crate) batch: usize,
    pub(crate) hidden: usize,
    /// Where the accumulators start.
    pub(crate) init: Init<E>,
    /// The inputs, `[T, B]` rows; read where x W is not in `init`.
    pub(crate) x: *const E,
    pub(crate) x_stride: usize,
    /// Gates out, `[T, B, width]`, or null.
    pub(crate) gates: *mut E,
    /// H times the gates in a row of `gates`.
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
    /// b_hn, H rounded up to whole vectors. GRU reset-after only.
    pub(crate) bias_hidden: *const E,
    /// Steps before the first, as far as it decides which way a sweep goes ([`Panels`]).
    pub(crate) turn: usize,
}

/// Where the accumulators of a step start: rows in panel order ([`Packed`]), bias first.
#[derive(Clone, Copy)]
pub(crate) enum Init<E> {
    /// b, the same for every row: x W is part of the step.
    Bias(*const E),
    /// x W + b, `[T, B]` rows of `stride`, computed by one large product.
    Rows {
        /// The first row.
        base: *const E,
        /// Elements of a row.
        stride: usize,
    },
    /// Rows of a table by token: what that product is for a one-hot input.
    Table {
        /// `[V, stride]`.
        table: *const E,
        /// Elements of a row.
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
    /// The row of batch row b at step t, at t · B + b.
    ///
    /// # Safety
    /// The row exists, and the token is a row of the table.
    #[inline(always)]
    unsafe fn row(&self, index: usize) -> *const E {
        // SAFETY: the caller vouches for the row.
        unsafe {
            match *self {
                Self::Bias(bias) => bias,
                Self::Rows { base, stride } => base.add(index * stride),
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
                x: self.x.wrapping_add(t0 * self.batch * self.x_stride),
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
    /// Whether x W can be part of a step. Reset-after keeps x W_n and h U_n apart.
    const FUSES: bool = true;

    /// With `PAIRS`, of a single row, two panels at a time ([`sweep_of`]); cells whose panels are several blocks of units
    /// ignore it.
    ///
    /// # Safety
    /// `args` holds step `step` and the rows and panels of `work`.
    unsafe fn step<S: Simd, const PAIRS: bool>(
        s: S,
        args: &Forward<S::Elem>,
        t: usize,
        step: Step<S::Elem>,
        weights: ForwardWeights<'_, S::Elem>,
        work: &Work,
    );
}

/// A packed matrix of weights; `candidate` is the part of h~ in GRU reset-before, which is a sweep of its own.
#[derive(Clone, Copy)]
pub struct Weights<'a, E> {
    pub(crate) first: &'a Packed<E>,
    pub(crate) candidate: Option<&'a Packed<E>>,
}

/// What a step multiplies: U, and W where x W is part of the step.
#[derive(Clone, Copy)]
pub struct ForwardWeights<'a, E> {
    pub(crate) u: Weights<'a, E>,
    pub(crate) w: Option<Weights<'a, E>>,
}

/// The weights of one sweep.
#[derive(Clone, Copy)]
pub(crate) struct SweepWeights<'a, E> {
    pub(crate) u: &'a Packed<E>,
    w: Option<&'a Packed<E>>,
}

impl<'a, E: Element> ForwardWeights<'a, E> {
    #[inline(always)]
    pub(super) fn first(&self) -> SweepWeights<'a, E> {
        SweepWeights {
            u: self.u.first,
            w: self.w.map(|w| w.first),
        }
    }

    #[inline(always)]
    pub(super) fn candidate(&self) -> Option<SweepWeights<'a, E>> {
        self.u.candidate.map(|u| SweepWeights {
            u,
            w: self.w.and_then(|w| w.candidate),
        })
    }
}

/// # Safety
/// The pointers of `args` are valid for the steps, rows and panels of `work`, and nobody else writes them.
#[inline(always)]
pub(crate) unsafe fn forward_body<S: Simd, C: CellForward, const PAIRS: bool>(
    s: S,
    args: &Forward<S::Elem>,
    weights: ForwardWeights<'_, S::Elem>,
    work: Work,
) {
    let b = args.batch;
    let x = |t: usize| Rows::flat(args.x.wrapping_add(t * b * args.x_stride), args.x_stride);
    for t in work.steps.clone() {
        // SAFETY: passed on from the caller; the ops stay on their row and panel.
        unsafe {
            let step = Step {
                first_row: t * b,
                turn: args.turn + t,
                hidden: args.hidden,
                width: args.width,
                init: args.init,
                x: x(t),
                x_next: matches!(args.init, Init::Bias(_)).then(|| x(t + 1)),
                gates: args.gates,
                h_before: args.h_before(t),
                h: Rows::flat(args.h.add(t * b * args.h_stride), args.h_stride),
            };
            if work.share.1 > 1 {
                // What other threads have just written comes all at once, not line by line.
                for row in work.rows.clone() {
                    let h = step.h_before.at(row);
                    for unit in (0..args.hidden).step_by(64 / size_of::<S::Elem>()) {
                        s.prefetch(h.wrapping_add(unit));
                    }
                }
            }
            C::step::<S, PAIRS>(s, args, t, step, weights, &work);
        }
    }
}

impl Work {
    /// The panels of this part in step t.
    #[inline(always)]
    pub(super) fn panels<E: Element>(&self, packed: &Packed<E>, t: usize) -> Panels {
        Panels::of_step(packed.layout.share(self.share.0, self.share.1), t)
    }
}

/// One step, as every cell's tile op needs it.
#[derive(Clone, Copy)]
pub(crate) struct Step<E> {
    /// t · B: batch row b is row `first_row + b` of `init` and `gates`.
    first_row: usize,
    /// Which way the sweeps go.
    pub(super) turn: usize,
    pub(super) hidden: usize,
    width: usize,
    init: Init<E>,
    x: Rows<*const E>,
    /// x of the next step, where x W is part of a step.
    x_next: Option<Rows<*const E>>,
    gates: *mut E,
    pub(super) h_before: Rows<*const E>,
    pub(super) h: Rows<*mut E>,
}

impl<E: Element> Step<E> {
    /// x W + left U, or left U alone.
    #[inline(always)]
    pub(super) fn products<'a>(
        &self,
        weights: SweepWeights<'a, E>,
        left: Rows<*const E>,
    ) -> [Product<'a, E>; 2] {
        let recurrent = Product::new(left, weights.u);
        match weights.w {
            Some(w) => [Product::new(self.x, w), recurrent],
            None => [recurrent, recurrent.empty()],
        }
    }

    /// Asks for what the next step will read of the input of batch row b: as much as there are units in the `blocks` of a panel. So
    /// where there are as many inputs as units, its panels ask for all of it. From memory it keeps the first panel of each step
    /// waiting: an LSTM of 128 units takes 2 to 4 % less time, of 256 units 1 to 2 % (inference, 32 to 128 rows, Zen 5).
    #[inline(always)]
    pub(super) fn expect_input<S: Simd<Elem = E>>(
        &self,
        s: S,
        row: usize,
        panel: Panel,
        blocks: usize,
    ) {
        if let Some(x) = self.x_next {
            let x = x.wrapping_at(row).wrapping_add(panel.unit);
            for block in 0..blocks {
                s.prefetch_far(x.wrapping_add(block * S::LANES));
            }
        }
    }

    /// Where the accumulators of batch row b start.
    ///
    /// # Safety
    /// b is a row of the batch.
    #[inline(always)]
    pub(super) unsafe fn init(&self, row: usize) -> *const E {
        // SAFETY: passed on.
        unsafe { self.init.row(self.first_row + row) }
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

/// x W + b of many rows, into rows in panel order.
#[derive(Clone, Copy)]
pub struct InputProduct<E> {
    pub(crate) left: Rows<*const E>,
    pub(crate) out: Rows<*mut E>,
    /// A row in panel order.
    pub(crate) bias: *const E,
}

/// # Safety
/// The pointers of `args` are valid for `rows` and the panels of `share`, and nobody else writes them.
#[inline(always)]
pub(crate) unsafe fn input_body<S: Simd, const PAIRS: bool>(
    s: S,
    args: &InputProduct<S::Elem>,
    w: Weights<'_, S::Elem>,
    rows: Range<usize>,
    share: (usize, usize),
) {
    let mut offset = 0;
    for packed in [Some(w.first), w.candidate].into_iter().flatten() {
        let layout = &packed.layout;
        let op = InputOp {
            out: args.out,
            bias: args.bias,
            offset,
            gates: layout.gates,
        };
        let product = Product::new(args.left, packed);
        let panels = layout.share(share.0, share.1);
        // SAFETY: passed on from the caller.
        unsafe {
            sweep_of::<_, _, PAIRS>(
                s,
                &op,
                [product, product.empty()],
                Panels::ascending(panels),
                rows.clone(),
            )
        };
        offset += layout.row_len();
    }
}

struct InputOp<E> {
    out: Rows<*mut E>,
    bias: *const E,
    /// Where the part of this sweep begins in a row.
    offset: usize,
    /// Vectors of one unit block.
    gates: usize,
}

impl<S: Simd> TileOp<S> for InputOp<S::Elem> {
    #[inline(always)]
    unsafe fn start(
        &self,
        _s: S,
        _row: usize,
        panel: Panel,
        _slot: *mut S::Elem,
    ) -> *const S::Elem {
        // SAFETY: the bias is a row of all panels.
        unsafe { self.bias.add(self.offset + panel.unit * self.gates) }
    }

    #[inline(always)]
    unsafe fn out(&self, row: usize, panel: Panel) -> Option<*mut S::Elem> {
        // SAFETY: the row has all panels.
        Some(unsafe { self.out.at(row).add(self.offset + panel.unit * self.gates) })
    }
}
