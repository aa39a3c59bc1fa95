//! A cell over a sequence: without a tape, and recording one.

use core::ops::Range;

use crate::cell::Cell;
use crate::cells::forward::{
    CellForward, Forward, ForwardWeights, Init, InputProduct, Phase, Weights, Work,
};
use crate::cells::{gru::Gru, gru_after::GruAfter, lstm::Lstm, rnn::Rnn};
use crate::dispatch;
use crate::element::Element;
use crate::input::Input;
use crate::matrix::{MatMut, MatRef};
use crate::packed::{GateMatrix, PackedCell};
use crate::parallel::{self, Shared, Threads};
use crate::split::{Split, Steps};
use crate::tape::{Stage, Tape};
use crate::tile::Rows;

/// A forward pass that keeps nothing but the outputs.
#[derive(Debug)]
pub struct Infer<'a, E> {
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    /// The inputs of T·B rows.
    pub input: Input<'a, E>,
    /// Initial h in, final h out, `[B, H]`.
    pub h: &'a mut [E],
    /// The same of c; empty unless the cell is an LSTM.
    pub c: &'a mut [E],
    /// h of every step, `[T·B, H]`.
    pub out: MatMut<'a, E>,
    /// At least [`PackedCell::forward_scratch_len`] elements, of any content.
    pub scratch: &'a mut [E],
}

/// A forward pass that records a tape.
#[derive(Debug)]
pub struct Record<'a, E> {
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    /// The inputs of T·B rows.
    pub input: Input<'a, E>,
    /// Initial h, `[B, H]`.
    pub h: &'a [E],
    /// Initial c; empty unless the cell is an LSTM.
    pub c: &'a [E],
    /// Takes the states and gates; the final state is `tape.h(steps)`.
    pub tape: &'a mut Tape<E>,
    /// At least [`PackedCell::forward_scratch_len`] elements, of any content.
    pub scratch: &'a mut [E],
}

/// Rows of a thread from which on x W is part of each step, rather than a product of its own for many steps.
const FUSED_ROWS: usize = 32;
/// Up to so many inputs it also is for one row with a vector of units, or a pair: the processor works on it while the gates of the
/// step before are waited for. Measured on Zen 4: up to 14 % less time with 8 to 16 units; with 32 inputs nothing, with 64 a loss. On
/// Emerald Rapids with 17 to 32 units and 1 input 9 to 11 % less, with 16 inputs 1 to 8 %; of more panels up to 13 % more.
const FUSED_INPUTS: usize = 16;

impl<E: Element> PackedCell<E> {
    /// Runs T steps and keeps the outputs. Allocates nothing (with one thread).
    ///
    /// # Panics
    /// A slice does not have the shape that [`Infer`] says, the scratch is too short, a token is outside its
    /// table, the table is that of another cell, or the cell was made without dense inputs and is given them.
    pub fn infer(&self, run: Infer<'_, E>, threads: Threads) {
        let Infer {
            steps,
            batch,
            input,
            h,
            c,
            out,
            scratch,
        } = run;
        let hidden = self.shape().hidden();
        self.check_input(&input, steps, batch);
        self.check_dense(&input);
        self.check_state(h.len(), c.len(), batch);
        assert_eq!(
            (out.rows, out.cols),
            (steps * batch, hidden),
            "shape of out"
        );
        check_scratch(scratch.len(), self.forward_scratch_len(steps, batch));
        if steps == 0 || batch == 0 {
            return;
        }
        let (rh, xw) = scratch.split_at_mut(self.reset_len(batch));
        let args = Forward {
            gates: core::ptr::null_mut(),
            h0: h.as_ptr(),
            h: out.data.as_mut_ptr(),
            h_stride: out.row_stride,
            c: c.as_mut_ptr(),
            c_step: 0,
            rh: rh.as_mut_ptr(),
            rh_step: 0,
            ..self.forward_args(batch)
        };
        // SAFETY: lengths were checked above; everything is borrowed for the call.
        unsafe { self.sequence(args, input, xw, steps, threads) };
        for (row, last) in h.chunks_exact_mut(hidden).zip((steps - 1) * batch..) {
            row.copy_from_slice(&out.data[last * out.row_stride..][..hidden]);
        }
    }

    /// Runs T steps and records the tape. Allocates nothing (with one thread).
    ///
    /// # Panics
    /// A slice does not have the shape that [`Record`] says, the tape is for another shape or too small, the scratch is too
    /// short, a token is outside its table, the table is that of another cell, or the cell was made without dense inputs and is given
    /// them.
    pub fn forward(&self, run: Record<'_, E>, threads: Threads) {
        let Record {
            steps,
            batch,
            input,
            h,
            c,
            tape,
            scratch,
        } = run;
        let hidden = self.shape().hidden();
        self.check_input(&input, steps, batch);
        self.check_dense(&input);
        self.check_state(h.len(), c.len(), batch);
        assert_eq!(tape.shape(), self.shape(), "shape of the tape");
        assert!(
            tape.fits(steps, batch),
            "a window of {steps} × {batch} does not fit the tape"
        );
        check_scratch(scratch.len(), self.forward_scratch_len(steps, batch));
        tape.window = (steps, batch);
        tape.stage = Stage::Gates;
        let state = batch * hidden;
        tape.h[..state].copy_from_slice(h);
        tape.c[..c.len()].copy_from_slice(c);
        if steps == 0 || batch == 0 {
            return;
        }
        let states = tape.h.as_mut_ptr();
        let per_step = |buffer: &[E]| if buffer.is_empty() { 0 } else { state };
        let args = Forward {
            gates: tape.gates.as_mut_ptr(),
            h0: states,
            // SAFETY: the tape has steps + 1 states.
            h: unsafe { states.add(state) },
            h_stride: hidden,
            c: tape.c.as_mut_ptr(),
            c_step: per_step(&tape.c),
            rh: tape.rh.as_mut_ptr(),
            rh_step: per_step(&tape.rh),
            ..self.forward_args(batch)
        };
        // SAFETY: lengths were checked above; everything is borrowed for the call.
        unsafe { self.sequence(args, input, scratch, steps, threads) };
    }

    /// What infer and forward have in common; the pointers are to be filled in.
    pub(crate) fn forward_args(&self, batch: usize) -> Forward<E> {
        let hidden = self.shape().hidden();
        Forward {
            batch,
            hidden,
            init: Init::Bias(self.bias.as_ptr()),
            x: core::ptr::null(),
            x_stride: 0,
            gates: core::ptr::null_mut(),
            width: self.shape().bias_len(),
            h0: core::ptr::null(),
            h0_stride: hidden,
            h: core::ptr::null_mut(),
            h_stride: hidden,
            c: core::ptr::null_mut(),
            c_step: 0,
            rh: core::ptr::null_mut(),
            rh_step: 0,
            bias_hidden: self.bias_hidden.as_ptr(),
            turn: 0,
        }
    }

    /// The recurrence, with x W + b where it is wanted: from a table, as a product ahead of some steps, or in each step.
    ///
    /// # Safety
    /// `args` is valid for `steps` but for its inputs; `scratch` takes the x W + b of one chunk.
    unsafe fn sequence(
        &self,
        mut args: Forward<E>,
        input: Input<'_, E>,
        scratch: &mut [E],
        steps: usize,
        threads: Threads,
    ) {
        let batch = args.batch;
        let call = self.steps(steps, batch, self.u.weights());
        let split = Split::of(call, threads.count());
        let rows = match split {
            Split::Rows(parts) => batch.div_ceil(parts),
            Split::Units(_) => batch,
        };
        let mut chunk = steps;
        let mut xw = core::ptr::null_mut();
        match input {
            Input::Tokens { ids, table } => {
                args.init = Init::Table {
                    table: table.rows.as_ptr(),
                    stride: self.u.row_len(),
                    ids: ids.as_ptr(),
                };
            }
            Input::Dense(x) => {
                args.x = x.data.as_ptr();
                args.x_stride = x.row_stride;
                if !self.fuses(rows) {
                    chunk = self.chunk(steps, batch);
                    xw = scratch.as_mut_ptr();
                    xw = xw.wrapping_add(xw.align_offset(64));
                }
            }
        }
        // SAFETY: `Split::drive` hands out rows or panels to one part each.
        let shared = unsafe { Shared::new((args, xw)) };
        split.drive(&call, 0..steps, false, &|work| {
            let (args, xw) = shared.inner();
            let mut t0 = work.steps.start;
            while t0 < work.steps.end {
                let start = t0 / chunk * chunk;
                let t1 = (start + chunk).min(work.steps.end);
                // SAFETY: steps start..t1 exist, and `xw` has room for a chunk.
                unsafe {
                    let mut args = args.seen_from(start);
                    if !xw.is_null() {
                        if t0 == start && work.phase != Phase::Second {
                            let whole = start..(start + chunk).min(steps);
                            self.input_product(&args, *xw, whole, &work);
                        }
                        args.init = Init::Rows {
                            base: *xw,
                            stride: self.u.row_len(),
                        };
                    }
                    self.run_forward(
                        &args,
                        Work {
                            steps: t0 - start..t1 - start,
                            ..work.clone()
                        },
                    );
                }
                t0 = t1;
            }
        });
    }

    /// One part of the recurrence.
    ///
    /// # Safety
    /// The pointers of `args` are valid for the steps, rows and panels of `work`, and nobody else writes them.
    pub(crate) unsafe fn run_forward(&self, args: &Forward<E>, work: Work) {
        let fused = matches!(args.init, Init::Bias(_));
        let weights = ForwardWeights {
            u: self.u.weights(),
            w: self.w.as_ref().filter(|_| fused).map(GateMatrix::weights),
        };
        let pairs = work.rows.len() == 1 && self.in_pairs(fused, work.share.1);
        let run = match self.shape().cell() {
            Cell::Rnn => E::rnn_forward,
            Cell::Lstm if pairs => E::lstm_pairs_forward,
            Cell::Lstm => E::lstm_forward,
            Cell::Gru => E::gru_forward,
            Cell::GruAfter if pairs => E::gru_after_pairs_forward,
            Cell::GruAfter => E::gru_after_forward,
        };
        // SAFETY: passed on from the caller.
        unsafe { run(self.level(), args, weights, work) };
    }

    /// x W + b of the steps `whole`, which `args` is seen from, for the rows and units of `work`.
    ///
    /// # Safety
    /// The steps exist, and `xw` has room for them.
    pub(crate) unsafe fn input_product(
        &self,
        args: &Forward<E>,
        xw: *mut E,
        whole: Range<usize>,
        work: &Work,
    ) {
        let Some(w) = &self.w else {
            unreachable!("dense inputs were checked");
        };
        let (rows, width) = (&work.rows, self.u.row_len());
        let (first, count) = (rows.start, rows.len());
        let x = args.x.wrapping_add(first * args.x_stride);
        let xw = xw.wrapping_add(first * width);
        let product = InputProduct {
            left: Rows::of_steps(x, count, args.batch, args.x_stride),
            out: Rows::of_steps(xw, count, args.batch, width),
            bias: self.bias.as_ptr(),
        };
        let all = 0..whole.len() * count;
        // SAFETY: passed on from the caller.
        unsafe { E::input_product(self.level(), &product, w.weights(), all, work.share) };
    }

    /// x W + b of R input vectors into rows in panel order.
    ///
    /// # Panics
    /// The cell was made without dense inputs.
    ///
    /// # Safety
    /// `to` takes R rows.
    pub(crate) unsafe fn input_rows(&self, x: MatRef<'_, E>, to: *mut E, threads: Threads) {
        let Some(w) = &self.w else {
            panic!("the cell was made without Uses::dense_input");
        };
        let width = self.u.row_len();
        let product = InputProduct {
            left: Rows::flat(x.data.as_ptr(), x.row_stride),
            out: Rows::flat(to, width),
            bias: self.bias.as_ptr(),
        };
        let weights = x.cols * self.shape().columns();
        let parts = threads.worth(2 * x.rows as u64 * weights as u64);
        // SAFETY: each part below has rows of its own.
        let shared = unsafe { Shared::new(product) };
        parallel::run(parts, &|part| {
            let rows = parallel::share(x.rows, part, parts);
            // SAFETY: x has these rows, and the caller vouches for `to`.
            unsafe { E::input_product(self.level(), shared.inner(), w.weights(), rows, (0, 1)) };
        });
    }

    /// Whether x W is part of a step of so many rows.
    fn fuses(&self, rows: usize) -> bool {
        let can = match self.shape().cell() {
            Cell::Rnn => Rnn::FUSES,
            Cell::Lstm => Lstm::FUSES,
            Cell::Gru => Gru::FUSES,
            Cell::GruAfter => GruAfter::FUSES,
        };
        let vectors = self.hidden_in_vectors() / dispatch::lanes::<E>(self.level());
        let short = vectors == 1 || (vectors == 2 && self.in_pairs(true, 1));
        let small = rows == 1 && short && self.shape().input() <= FUSED_INPUTS;
        can && (small || rows >= FUSED_ROWS)
    }

    /// Sweeps of a step that wait for each other.
    pub(crate) fn phases(&self) -> usize {
        if self.shape().cell() == Cell::Gru {
            2
        } else {
            1
        }
    }

    /// The recurrence, for [`Split::of`].
    pub(crate) fn steps(&self, steps: usize, batch: usize, weights: Weights<'_, E>) -> Steps {
        let all = [Some(weights.first), weights.candidate];
        let panels = all
            .into_iter()
            .flatten()
            .map(|packed| packed.layout.panels());
        let panels = panels.min().unwrap_or(1);
        Steps {
            steps,
            batch,
            hidden: self.shape().hidden(),
            columns: self.shape().columns(),
            element: size_of::<E>(),
            phases: self.phases(),
            panels,
        }
    }

    /// # Panics
    /// Vectors are fed to a cell that was made for tokens alone.
    fn check_dense(&self, input: &Input<'_, E>) {
        assert!(
            self.w.is_some() || !matches!(input, Input::Dense(_)),
            "the cell was made without Uses::dense_input"
        );
    }

    /// # Panics
    /// The states are not of B rows.
    pub(crate) fn check_state(&self, h: usize, c: usize, batch: usize) {
        let state = batch * self.shape().hidden();
        let memory = if self.shape().cell().has_memory() {
            state
        } else {
            0
        };
        assert_eq!((h, c), (state, memory), "lengths of h and c");
    }
}

/// # Panics
/// A call needs more scratch than it is given.
pub(crate) fn check_scratch(given: usize, needed: usize) {
    assert!(
        given >= needed,
        "scratch of {given} elements where {needed} are needed"
    );
}
