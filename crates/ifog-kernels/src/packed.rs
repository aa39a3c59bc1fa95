//! A cell ready to run: its weights packed, and the calls over a sequence.

use core::ops::Range;

use crate::buffer::AlignedVec;
use crate::cell::{Cell, Params, ParamsMut, Shape};
use crate::cells::backward::Backward;
use crate::cells::forward::{Forward, Init, Phase, Weights, Work};
use crate::dispatch;
use crate::element::Element;
use crate::level::Level;
use crate::matrix::{MatMut, MatRef, ShapeError};
use crate::outer::{self, Left, Outer, Reduce, ones};
use crate::pack::{Layout, Packed, Source};
use crate::parallel::{self, Shared, Threads};
use crate::planted::{Bug, planted};
use crate::product::{PackedMatrix, Product, multiply_rows};
use crate::tape::{Stage, Tape};
use crate::tile::{Lhs, Rows};

/// What a packed cell will be used for; packing skips the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// [`Input::Dense`]. Without it only [`Input::Tokens`].
    pub dense_input: bool,
    /// [`PackedCell::backward`].
    pub backward: bool,
}

/// The weights of one cell, packed for one level.
#[derive(Clone, Debug)]
pub struct PackedCell<E> {
    level: Level,
    shape: Shape,
    uses: Uses,
    /// `[bias_len]`.
    bias: AlignedVec<E>,
    /// `[I, G·H]`.
    w: Option<PackedMatrix<E>>,
    /// The recurrent weights of the first sweep of a step: all, or z and r of GRU reset-before.
    u: Packed<E>,
    /// U_h of GRU reset-before.
    candidate: Option<Packed<E>>,
    back: Option<Transposed<E>>,
}

/// Packings of the transposes, for the backward pass.
#[derive(Clone, Debug)]
struct Transposed<E> {
    /// `[columns of the first sweep, H]`.
    u: Packed<E>,
    /// U_hᵀ of GRU reset-before.
    candidate: Option<Packed<E>>,
    /// `[G·H, I]`.
    w: Option<PackedMatrix<E>>,
}

/// What enters the cell.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, E> {
    /// Vectors `[T·B, I]`, time-major: row t·B + b.
    Dense(MatRef<'a, E>),
    /// Tokens `[T·B]`, time-major, each a row of the table. The bits are those of the dense product with
    /// one-hot vectors (or with the embedding's rows).
    Tokens {
        /// Row numbers of `table`.
        ids: &'a [u32],
        /// x W + b of every token.
        table: &'a TokenTable<E>,
    },
}

/// x W + b for every token of a vocabulary: what makes a one-hot or embedded input a row copy.
#[derive(Clone, Debug)]
pub struct TokenTable<E> {
    /// `[V, G·H]`.
    rows: AlignedVec<E>,
    vocabulary: usize,
}

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
    /// At least [`PackedCell::infer_scratch_len`] elements, of any content.
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
}

/// A backward pass over a recorded window.
#[derive(Debug)]
pub struct Backprop<'a, E> {
    /// The inputs of the forward pass.
    pub input: Input<'a, E>,
    /// The tape of the forward pass; its gates become their gradients.
    pub tape: &'a mut Tape<E>,
    /// Gradient of the loss with respect to every output, `[T·B, H]`.
    pub dout: MatRef<'a, E>,
    /// Gradient of the final h in, of the initial h out, `[B, H]`.
    pub dh: &'a mut [E],
    /// The same of c; empty unless the cell is an LSTM.
    pub dc: &'a mut [E],
    /// Gradients of the parameters are *added* to what is here. With [`Input::Tokens`], `w` is the gradient of
    /// the table, `[V, G·H]`: for a one-hot input that is W's own.
    pub grads: ParamsMut<'a, E>,
    /// Takes the gradient of a dense input, `[T·B, I]`.
    pub dx: Option<MatMut<'a, E>>,
    /// At least [`PackedCell::backward_scratch_len`] elements, of any content.
    pub scratch: &'a mut [E],
}

/// Bytes of x W + b computed ahead of the recurrence, so that it is still in L2 (1 MiB, shared with a panel)
/// when the tiles start from it.
const CHUNK_BYTES: usize = 256 * 1024;

/// Recurrent weights from which on a step is long enough to be shared between threads that meet after it.
const SHARED_STEP_BYTES: usize = 1 << 20;

impl<E: Element> PackedCell<E> {
    /// Room for the weights of `shape`, zero until [`PackedCell::pack`].
    ///
    /// # Errors
    /// The packed weights would not fit in memory.
    pub fn new(level: Level, shape: Shape, uses: Uses) -> Result<Self, ShapeError> {
        let lanes = dispatch::lanes::<E>(level);
        let (i, h, columns) = (shape.input(), shape.hidden(), shape.columns());
        let layout = |gates, blocks| Layout {
            lanes,
            gates,
            blocks,
            units: h,
        };
        let (first, first_columns) = match shape.cell() {
            Cell::Rnn => (layout(1, 4), h),
            Cell::Lstm => (layout(4, 1), 4 * h),
            Cell::Gru => (layout(2, 2), 2 * h),
            Cell::GruAfter => (layout(3, 1), 3 * h),
        };
        let plain = || Packed::zeros(Layout::plain(lanes, h), h);
        let two_sweeps = shape.cell() == Cell::Gru;
        let w = |k, n| {
            uses.dense_input
                .then(|| PackedMatrix::new(level, k, n))
                .transpose()
        };
        let back = match uses.backward {
            true => Some(Transposed {
                u: Packed::zeros(Layout::plain(lanes, h), first_columns),
                candidate: two_sweeps.then(plain),
                w: w(columns, i)?,
            }),
            false => None,
        };
        Ok(Self {
            level,
            shape,
            uses,
            bias: AlignedVec::zeros(shape.bias_len()),
            w: w(i, columns)?,
            u: Packed::zeros(first, h),
            candidate: two_sweeps.then(plain),
            back,
        })
    }

    /// Packs new weights. Allocates nothing.
    ///
    /// # Panics
    /// The lengths are not those of the shape.
    pub fn pack(&mut self, params: Params<'_, E>) {
        let (i, h, columns) = (
            self.shape.input(),
            self.shape.hidden(),
            self.shape.columns(),
        );
        assert_eq!(params.u.len(), h * columns, "length of U");
        self.bias.copy_from_slice(params.b);
        let u = Source {
            data: params.u,
            k_stride: columns,
            gate_stride: h,
            unit_stride: 1,
        };
        // Uᵀ: row k is column k of U; unit j is row j of U.
        let ut = Source {
            data: params.u,
            k_stride: 1,
            gate_stride: 0,
            unit_stride: columns,
        };
        let from_candidate = 2 * h;
        self.u.fill(u);
        if let Some(candidate) = &mut self.candidate {
            candidate.fill(Source {
                data: &params.u[from_candidate..],
                ..u
            });
        }
        let w = MatRef {
            data: params.w,
            rows: i,
            cols: columns,
            row_stride: columns,
        };
        if let Some(packed) = &mut self.w {
            assert_eq!(params.w.len(), i * columns, "length of W");
            packed.pack(w);
        }
        if let Some(back) = &mut self.back {
            back.u.fill(ut);
            if let Some(candidate) = &mut back.candidate {
                candidate.fill(Source {
                    data: &params.u[from_candidate..],
                    ..ut
                });
            }
            if let Some(packed) = &mut back.w {
                packed.pack_transposed(w);
            }
        }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        let matrix = |m: &Option<PackedMatrix<E>>| m.as_ref().map_or(0, |m| m.packed.bytes());
        let packed = |p: &Option<Packed<E>>| p.as_ref().map_or(0, Packed::bytes);
        let back = self
            .back
            .as_ref()
            .map_or(0, |b| b.u.bytes() + packed(&b.candidate) + matrix(&b.w));
        self.u.bytes() + packed(&self.candidate) + matrix(&self.w) + back
    }

    /// Elements of scratch that [`PackedCell::infer`] needs for T = `steps`, B = `batch`.
    pub fn infer_scratch_len(&self, steps: usize, batch: usize) -> usize {
        let rows = if self.uses.dense_input {
            self.chunk(steps, batch) * batch
        } else {
            0
        };
        let rh = if self.candidate.is_some() {
            batch * self.shape.hidden()
        } else {
            0
        };
        rows * self.shape.bias_len() + rh
    }

    /// Elements of scratch that [`PackedCell::backward`] needs for B = `batch`.
    pub fn backward_scratch_len(&self, batch: usize, threads: Threads) -> usize {
        let left = self.shape.input() + self.shape.hidden();
        batch * self.shape.hidden() + outer::outer_scratch_len(left, threads)
    }

    /// Steps whose x W + b is computed ahead.
    fn chunk(&self, steps: usize, batch: usize) -> usize {
        let row = self.shape.bias_len() * size_of::<E>();
        (CHUNK_BYTES / (row * batch.max(1))).clamp(1, steps.max(1))
    }

    /// Runs T steps and keeps the outputs. Allocates nothing (with one thread).
    ///
    /// # Panics
    /// A slice does not have the shape that [`Infer`] says, the scratch is too short, a token is outside its
    /// table, or the cell was made without dense inputs and is given them.
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
        let hidden = self.shape.hidden();
        self.check_input(&input, steps, batch);
        self.check_state(h.len(), c.len(), batch);
        assert_eq!(
            (out.rows, out.cols),
            (steps * batch, hidden),
            "shape of out"
        );
        assert!(
            scratch.len() >= self.infer_scratch_len(steps, batch),
            "scratch of infer"
        );
        if steps == 0 || batch == 0 {
            return;
        }
        let rows = scratch.len()
            - if self.candidate.is_some() {
                batch * hidden
            } else {
                0
            };
        let (xw, rh) = scratch.split_at_mut(rows);
        let args = Forward {
            batch,
            hidden,
            init: Init::Rows(xw.as_ptr()),
            gates: core::ptr::null_mut(),
            width: self.shape.bias_len(),
            h0: h.as_ptr(),
            h0_stride: hidden,
            h: out.data.as_mut_ptr(),
            h_stride: out.row_stride,
            c: c.as_mut_ptr(),
            c_step: 0,
            rh: rh.as_mut_ptr(),
            rh_step: 0,
            bias_hidden: self.bias_hidden(),
        };
        // SAFETY: lengths were checked above; everything is borrowed for the call.
        unsafe { self.sequence(args, input, xw.as_mut_ptr(), false, steps, threads) };
        for (row, last) in h.chunks_exact_mut(hidden).zip((steps - 1) * batch..) {
            row.copy_from_slice(&out.data[last * out.row_stride..][..hidden]);
        }
    }

    /// Runs T steps and records the tape. Allocates nothing (with one thread).
    ///
    /// # Panics
    /// A slice does not have the shape that [`Record`] says, the tape is for another shape or too small, a token
    /// is outside its table, or the cell was made without dense inputs and is given them.
    pub fn forward(&self, run: Record<'_, E>, threads: Threads) {
        let Record {
            steps,
            batch,
            input,
            h,
            c,
            tape,
        } = run;
        let hidden = self.shape.hidden();
        self.check_input(&input, steps, batch);
        self.check_state(h.len(), c.len(), batch);
        assert_eq!(tape.shape(), self.shape, "shape of the tape");
        assert!(
            tape.fits(steps, batch),
            "a window of {steps} × {batch} does not fit the tape"
        );
        tape.window = (steps, batch);
        tape.stage = Stage::Gates;
        let state = batch * hidden;
        tape.h[..state].copy_from_slice(h);
        tape.c[..c.len()].copy_from_slice(c);
        if steps == 0 || batch == 0 {
            return;
        }
        let states = tape.h.as_mut_ptr();
        let args = Forward {
            batch,
            hidden,
            init: Init::Rows(tape.gates.as_ptr()),
            gates: tape.gates.as_mut_ptr(),
            width: self.shape.bias_len(),
            h0: states,
            h0_stride: hidden,
            // SAFETY: the tape has steps + 1 states.
            h: unsafe { states.add(state) },
            h_stride: hidden,
            c: tape.c.as_mut_ptr(),
            c_step: if self.shape.cell().has_memory() {
                state
            } else {
                0
            },
            rh: tape.rh.as_mut_ptr(),
            rh_step: if self.candidate.is_some() { state } else { 0 },
            bias_hidden: self.bias_hidden(),
        };
        // SAFETY: lengths were checked above; everything is borrowed for the call.
        unsafe { self.sequence(args, input, args.gates, true, steps, threads) };
    }

    /// Backpropagation through the recorded window. Allocates nothing (with one thread).
    ///
    /// # Panics
    /// A slice does not have the shape that [`Backprop`] says, the scratch is too short, the tape holds no
    /// forward pass, or the cell was made without [`Uses::backward`].
    pub fn backward(&self, run: Backprop<'_, E>, threads: Threads) {
        let Backprop {
            input,
            tape,
            dout,
            dh,
            dc,
            grads,
            dx,
            scratch,
        } = run;
        let (hidden, columns) = (self.shape.hidden(), self.shape.columns());
        let (steps, batch) = tape.window;
        assert_eq!(tape.shape(), self.shape, "shape of the tape");
        assert_eq!(tape.stage, Stage::Gates, "the tape holds no forward pass");
        let Some(back) = &self.back else {
            panic!("the cell was made without Uses::backward");
        };
        self.check_input(&input, steps, batch);
        self.check_state(dh.len(), dc.len(), batch);
        assert_eq!(
            (dout.rows, dout.cols),
            (steps * batch, hidden),
            "shape of dout"
        );
        let table_rows = match &input {
            Input::Dense(_) => self.shape.input(),
            Input::Tokens { table, .. } => table.vocabulary,
        };
        assert_eq!(grads.w.len(), table_rows * columns, "length of dW");
        assert_eq!(grads.u.len(), hidden * columns, "length of dU");
        assert_eq!(grads.b.len(), self.bias.len(), "length of db");
        assert!(
            scratch.len() >= self.backward_scratch_len(batch, threads),
            "scratch of backward"
        );
        tape.stage = Stage::Gradients;
        if steps == 0 || batch == 0 {
            return;
        }
        let (carry, scratch) = scratch.split_at_mut(batch * hidden);
        let carries = matches!(self.shape.cell(), Cell::Gru | Cell::GruAfter);
        let args = Backward {
            steps,
            batch,
            hidden,
            gates: tape.gates.as_mut_ptr(),
            width: self.shape.bias_len(),
            h: tape.h.as_ptr(),
            c: tape.c.as_ptr(),
            dout: dout.data.as_ptr(),
            dout_stride: dout.row_stride,
            dh: dh.as_mut_ptr(),
            dc: dc.as_mut_ptr(),
            carry: if carries {
                carry.as_mut_ptr()
            } else {
                core::ptr::null_mut()
            },
        };
        let shared = Shared((args, back));
        self.drive(
            0..steps + 1,
            true,
            batch,
            threads.worth(self.step_flops(steps, batch)),
            &|work| {
                let (args, back) = shared.inner();
                let weights = Weights {
                    first: &back.u,
                    candidate: back.candidate.as_ref(),
                };
                let run = match self.shape.cell() {
                    Cell::Rnn => E::rnn_backward,
                    Cell::Lstm => E::lstm_backward,
                    Cell::Gru => E::gru_backward,
                    Cell::GruAfter => E::gru_after_backward,
                };
                run(self.level, args, weights, work);
            },
        );
        // SAFETY: lengths were checked above, and the matrices are borrowed for the call.
        unsafe { self.weight_gradients(tape, input, grads, scratch, threads) };
        if let Some(dx) = dx {
            let width = if planted(Bug::InputGradientOfTheFirstStep) {
                0
            } else {
                self.bias.len()
            };
            let gates = MatRef {
                cols: columns,
                row_stride: width,
                ..tape.gates()
            };
            self.input_gradient(gates, dx, threads);
        }
    }

    /// dx = dA Wᵀ: dA `[R, G·H]`, dx `[R, I]`.
    ///
    /// # Panics
    /// The shapes do not fit, or the cell was made without [`Uses::backward`] and [`Uses::dense_input`].
    pub fn input_gradient(&self, gates: MatRef<'_, E>, dx: MatMut<'_, E>, threads: Threads) {
        match self.back.as_ref().and_then(|back| back.w.as_ref()) {
            Some(w) => w.multiply(gates, None, dx, threads),
            None => panic!("the cell was made without Uses::backward or Uses::dense_input"),
        }
    }

    /// x W + b for R input vectors `[R, I]`, into the rows of a table: how an embedding becomes token input.
    ///
    /// # Panics
    /// The shapes do not fit, or the cell was made without [`Uses::dense_input`].
    pub fn fill_table(&self, inputs: MatRef<'_, E>, table: &mut TokenTable<E>, threads: Threads) {
        let columns = self.shape.columns();
        assert_eq!(table.rows.len(), inputs.rows * columns, "size of the table");
        let rows = MatMut {
            rows: inputs.rows,
            cols: columns,
            row_stride: columns,
            data: &mut table.rows,
        };
        match &self.w {
            Some(w) => w.multiply(inputs, Some(&self.bias[..columns]), rows, threads),
            None => panic!("the cell was made without Uses::dense_input"),
        }
    }

    /// b_hn of GRU reset-after.
    fn bias_hidden(&self) -> *const E {
        self.bias[self.shape.columns().min(self.bias.len())..].as_ptr()
    }

    fn step_flops(&self, steps: usize, batch: usize) -> usize {
        2 * steps * batch * self.shape.hidden() * self.shape.columns()
    }

    /// The chunks of a forward pass: x W + b of some steps, then their recurrence.
    ///
    /// # Safety
    /// `args` is valid for `steps`; `xw` for the rows of all steps (`whole`) or of one chunk.
    unsafe fn sequence(
        &self,
        args: Forward<E>,
        input: Input<'_, E>,
        xw: *mut E,
        whole: bool,
        steps: usize,
        threads: Threads,
    ) {
        let batch = args.batch;
        let threads = threads.worth(self.shape.forward_flops(steps, batch));
        let chunk = self.chunk(steps, batch);
        let shared = Shared((args, xw));
        let part = |steps: Range<usize>, rows: Range<usize>| {
            let (args, xw) = shared.inner();
            let mut t0 = steps.start;
            while t0 < steps.end {
                let t1 = (t0 + chunk).min(steps.end);
                // SAFETY: steps t0..t1 exist.
                let mut args = unsafe { args.seen_from(t0) };
                // SAFETY: `xw` has room for the chunk, at its place or at the start.
                let xw = unsafe { xw.add(if whole { t0 * batch * args.width } else { 0 }) };
                args.init = self.input_product(&input, xw, &args, t0..t1, rows.clone(), 1);
                let work = Work {
                    steps: 0..t1 - t0,
                    rows: rows.clone(),
                    share: (0, 1),
                    phase: Phase::All,
                };
                self.run_forward(&args, work);
                t0 = t1;
            }
        };
        if !self.shares_steps(batch, threads) {
            let parts = threads.min(batch);
            return parallel::run(parts, &|p| part(0..steps, parallel::share(batch, p, parts)));
        }
        for t0 in (0..steps).step_by(chunk) {
            let t1 = (t0 + chunk).min(steps);
            // SAFETY: steps t0..t1 exist, and `xw` has room for them.
            let mut args = unsafe { shared.inner().0.seen_from(t0) };
            // SAFETY: as above.
            let xw = unsafe { xw.add(if whole { t0 * batch * args.width } else { 0 }) };
            args.init = self.input_product(&input, xw, &args, t0..t1, 0..batch, threads);
            let shared = Shared(args);
            self.drive(0..t1 - t0, false, batch, threads, &|work| {
                self.run_forward(shared.inner(), work);
            });
        }
    }

    /// One part of the recurrence.
    fn run_forward(&self, args: &Forward<E>, work: Work) {
        let weights = Weights {
            first: &self.u,
            candidate: self.candidate.as_ref(),
        };
        let run = match self.shape.cell() {
            Cell::Rnn => E::rnn_forward,
            Cell::Lstm => E::lstm_forward,
            Cell::Gru => E::gru_forward,
            Cell::GruAfter => E::gru_after_forward,
        };
        run(self.level, args, weights, work);
    }

    /// x W + b of steps × rows into `xw`, or the table that makes it unnecessary.
    fn input_product(
        &self,
        input: &Input<'_, E>,
        xw: *mut E,
        args: &Forward<E>,
        steps: Range<usize>,
        rows: Range<usize>,
        parts: usize,
    ) -> Init<E> {
        let (batch, width) = (args.batch, args.width);
        let (x, w) = match (input, &self.w) {
            (Input::Tokens { ids, table }, _) => {
                return Init::Table {
                    table: table.rows.as_ptr(),
                    stride: self.shape.columns(),
                    ids: ids[steps.start * batch..].as_ptr(),
                };
            }
            (Input::Dense(x), Some(w)) => (x, w),
            (Input::Dense(_), None) => panic!("the cell was made without Uses::dense_input"),
        };
        let first = &x.data[(steps.start * batch + rows.start) * x.row_stride..];
        let product = Product {
            lhs: Lhs::new(
                Rows {
                    base: first.as_ptr(),
                    per_slab: rows.len(),
                    slab_stride: batch * x.row_stride,
                    row_stride: x.row_stride,
                },
                self.shape.input(),
            ),
            out: Rows {
                base: xw.wrapping_add(rows.start * width),
                per_slab: rows.len(),
                slab_stride: batch * width,
                row_stride: width,
            },
            bias: self.bias.as_ptr(),
        };
        // SAFETY: the input was checked to have T·B rows; `xw` has room for the chunk.
        unsafe {
            multiply_rows(
                self.level,
                &w.packed,
                product,
                steps.len() * rows.len(),
                parts,
            )
        };
        Init::Rows(xw)
    }

    /// Whether the threads share the units of each step rather than the rows.
    fn shares_steps(&self, batch: usize, threads: usize) -> bool {
        let recurrent = self.shape.hidden() * self.shape.columns() * size_of::<E>();
        batch < threads && recurrent >= SHARED_STEP_BYTES
    }

    /// Hands out the sweeps of `steps`: rows to each thread, or the units of one step after the other.
    fn drive(
        &self,
        steps: Range<usize>,
        backwards: bool,
        batch: usize,
        threads: usize,
        f: &(dyn Fn(Work) + Sync),
    ) {
        if !self.shares_steps(batch, threads) {
            let parts = threads.min(batch);
            return parallel::run(parts, &|p| {
                let rows = parallel::share(batch, p, parts);
                f(Work {
                    steps: steps.clone(),
                    rows,
                    share: (0, 1),
                    phase: Phase::All,
                });
            });
        }
        let step = |t: usize| {
            let phases: &[Phase] = match self.candidate {
                Some(_) => &[Phase::First, Phase::Second],
                None => &[Phase::All],
            };
            for phase in phases {
                parallel::run(threads, &|p| {
                    f(Work {
                        steps: t..t + 1,
                        rows: 0..batch,
                        share: (p, threads),
                        phase: *phase,
                    });
                });
            }
        };
        if backwards {
            steps.rev().for_each(step)
        } else {
            steps.for_each(step)
        }
    }

    /// dW, dU and db from the gate gradients on the tape.
    ///
    /// # Safety
    /// The lengths of the gradients and of the input were checked.
    unsafe fn weight_gradients(
        &self,
        tape: &Tape<E>,
        input: Input<'_, E>,
        grads: ParamsMut<'_, E>,
        scratch: &mut [E],
        threads: Threads,
    ) {
        let (h, columns) = (self.shape.hidden(), self.shape.columns());
        let (steps, batch) = tape.window;
        let width = self.shape.bias_len();
        let gates = |column: usize, n: usize, lefts: [Option<Left<E>>; 3]| Outer {
            reduce: Reduce { steps, batch },
            lefts,
            right: tape.gates[column..].as_ptr(),
            right_stride: width,
            n,
        };
        let left = |base: *const E, row_stride, m, out: *mut E| {
            Some(Left {
                base,
                row_stride,
                m,
                out,
                out_stride: columns,
            })
        };
        let (w, u, b) = (
            grads.w.as_mut_ptr(),
            grads.u.as_mut_ptr(),
            grads.b.as_mut_ptr(),
        );
        let x = match input {
            Input::Dense(x) => left(x.data.as_ptr(), x.row_stride, self.shape.input(), w),
            Input::Tokens { .. } => None,
        };
        let slot = usize::from(planted(Bug::StateAfterTheStep));
        let h_before = tape.h(slot).as_ptr();
        // SAFETY: the tape holds T·B rows of h, r ⊙ h and gates; columns and outs are within the gradients.
        unsafe {
            if let Input::Tokens { ids, .. } = input {
                let table = gates(0, columns, [None; 3]);
                outer::scatter_rows(self.level, table, ids.as_ptr(), w, threads);
            }
            let mut run = |args| outer::run(self.level, args, scratch, threads);
            match self.shape.cell() {
                // One pass over the gate gradients for W, U and b.
                Cell::Rnn | Cell::Lstm => {
                    run(gates(
                        0,
                        columns,
                        [x, left(h_before, h, h, u), Some(ones(b))],
                    ));
                }
                Cell::Gru => {
                    run(gates(0, columns, [x, Some(ones(b)), None]));
                    run(gates(0, 2 * h, [left(h_before, h, h, u), None, None]));
                    let rh = if planted(Bug::GruResetAfter) {
                        h_before
                    } else {
                        tape.rh.as_ptr()
                    };
                    run(gates(2 * h, h, [left(rh, h, h, u.add(2 * h)), None, None]));
                }
                Cell::GruAfter => {
                    run(gates(0, columns, [x, Some(ones(b)), None]));
                    run(gates(0, 2 * h, [left(h_before, h, h, u), None, None]));
                    let bias = Some(ones(b.add(3 * h)));
                    let dq = if planted(Bug::GruAfterHiddenBias) {
                        2 * h
                    } else {
                        3 * h
                    };
                    run(gates(
                        dq,
                        h,
                        [left(h_before, h, h, u.add(2 * h)), bias, None],
                    ));
                }
            }
        }
    }

    fn check_input(&self, input: &Input<'_, E>, steps: usize, batch: usize) {
        let rows = steps
            .checked_mul(batch)
            .unwrap_or_else(|| panic!("{steps} × {batch} rows"));
        match input {
            Input::Dense(x) => {
                assert_eq!(
                    (x.rows, x.cols),
                    (rows, self.shape.input()),
                    "shape of the input"
                );
            }
            Input::Tokens { ids, table } => {
                assert_eq!(ids.len(), rows, "number of tokens");
                assert_eq!(
                    table.rows.len(),
                    table.vocabulary * self.shape.columns(),
                    "the token table"
                );
                let largest = ids.iter().max().map_or(0, |id| *id as usize);
                assert!(
                    largest < table.vocabulary,
                    "token {largest} of {}",
                    table.vocabulary
                );
            }
        }
    }

    fn check_state(&self, h: usize, c: usize, batch: usize) {
        let state = batch * self.shape.hidden();
        let memory = if self.shape.cell().has_memory() {
            state
        } else {
            0
        };
        assert_eq!((h, c), (state, memory), "lengths of h and c");
    }
}

impl<E: Element> TokenTable<E> {
    /// Room for `vocabulary` tokens of a cell of that shape, all zero.
    ///
    /// # Errors
    /// The vocabulary is empty, or the table would not fit in memory.
    pub fn new(shape: Shape, vocabulary: usize) -> Result<Self, ShapeError> {
        if vocabulary == 0 {
            return Err(ShapeError::Zero("vocabulary"));
        }
        let len = vocabulary.checked_mul(shape.columns());
        let bytes = len.and_then(|len| len.checked_mul(size_of::<E>()));
        match len.zip(bytes) {
            Some((len, bytes)) if isize::try_from(bytes).is_ok() => Ok(Self {
                rows: AlignedVec::zeros(len),
                vocabulary,
            }),
            _ => Err(ShapeError::TooLarge("the token table")),
        }
    }

    /// Row v = b + row v of W: one-hot inputs.
    ///
    /// # Panics
    /// W has not `[V, G·H]` elements.
    pub fn fill_one_hot(&mut self, params: Params<'_, E>) {
        assert_eq!(params.w.len(), self.rows.len(), "length of W");
        let columns = self.rows.len() / self.vocabulary;
        let rows = self.rows.chunks_exact_mut(columns);
        for (row, w) in rows.zip(params.w.chunks_exact(columns)) {
            for ((to, w), b) in row.iter_mut().zip(w).zip(params.b) {
                *to = *b + *w;
            }
        }
    }

    /// V.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}
