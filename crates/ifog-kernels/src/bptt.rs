//! Backpropagation through a recorded window.

use core::ops::Range;

use crate::cell::{Cell, ParamsMut};
use crate::cells::backward::Backward;
use crate::element::Element;
use crate::input::Input;
use crate::matrix::{MatMut, MatRef};
use crate::outer::{self, Left, Outer, Reduce, ones};
use crate::packed::PackedCell;
use crate::parallel::{Shared, Threads};
use crate::planted::{Bug, planted};
use crate::scatter::scatter_rows;
use crate::sequence::check_scratch;
use crate::split::Split;
use crate::tape::{Stage, Tape};

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

impl<E: Element> PackedCell<E> {
    /// Backpropagation through the recorded window. Allocates nothing (with one thread).
    ///
    /// # Panics
    /// A slice does not have the shape that [`Backprop`] says, the scratch is too short, the tape holds no
    /// forward pass, a token is outside its table, the table is that of another cell, or the cell was made without [`Uses::backward`](crate::Uses::backward), or is asked for dx and was made
    /// without [`Uses::dense_input`](crate::Uses::dense_input).
    pub fn backward(&self, run: Backprop<'_, E>, threads: Threads) {
        let Backprop {
            input,
            tape,
            dout,
            dh,
            dc,
            mut grads,
            mut dx,
            scratch,
        } = run;
        let (hidden, columns) = (self.shape().hidden(), self.shape().columns());
        let (steps, batch) = tape.window;
        assert_eq!(tape.shape(), self.shape(), "shape of the tape");
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
            Input::Dense(_) => self.shape().input(),
            Input::Tokens { table, .. } => table.vocabulary(),
        };
        assert_eq!(grads.w.len(), table_rows * columns, "length of dW");
        assert_eq!(grads.u.len(), hidden * columns, "length of dU");
        assert_eq!(grads.b.len(), self.shape().bias_len(), "length of db");
        check_scratch(scratch.len(), self.backward_scratch_len(batch, threads));
        if let Some(dx) = &dx {
            assert!(
                back.w.is_some(),
                "dx of a cell that was made without Uses::dense_input"
            );
            let inputs = self.shape().input();
            assert_eq!((dx.rows, dx.cols), (steps * batch, inputs), "shape of dx");
        }
        tape.stage = Stage::Gradients;
        if steps == 0 || batch == 0 {
            return;
        }
        let (carry, scratch) = scratch.split_at_mut(batch * hidden);
        let carries = matches!(self.shape().cell(), Cell::Gru | Cell::GruAfter);
        let args = Backward {
            steps,
            batch,
            hidden,
            gates: tape.gates.as_mut_ptr(),
            width: self.shape().bias_len(),
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
        // SAFETY: `Split::drive` hands out rows or panels to one part each.
        let shared = unsafe { Shared::new((args, back)) };
        let call = self.steps(steps, batch, back.weights());
        let split = Split::of(call, threads.count());
        // Some steps at a time, the last ones first, so that their gate gradients are still near when dW and dU are made of them.
        let piece = (outer::KC / batch).max(1);
        let mut end = steps;
        while end > 0 {
            let begin = end.saturating_sub(piece);
            // Sweep t makes the gate gradients of step t − 1, sweep T of the last.
            let sweeps = begin..end + usize::from(end == steps);
            split.drive(&call, sweeps, true, &|work| {
                let (args, back) = shared.inner();
                let run = match self.shape().cell() {
                    Cell::Rnn => E::rnn_backward,
                    Cell::Lstm => E::lstm_backward,
                    Cell::Gru => E::gru_backward,
                    Cell::GruAfter => E::gru_after_backward,
                };
                // SAFETY: lengths were checked above; everything is borrowed for the call.
                unsafe { run(self.level(), args, back.weights(), work) };
            });
            // SAFETY: lengths were checked above, and the matrices are borrowed for the call.
            unsafe {
                self.weight_gradients(tape, begin..end, &input, &mut grads, scratch, threads)
            };
            if let Some(dx) = &mut dx {
                let rows = begin * batch..end * batch;
                let mut gates = tape.input_gates().part(rows.clone());
                if planted(Bug::InputGradientOfTheFirstStep) {
                    gates = tape.input_gates();
                    gates.row_stride = 0;
                    gates.rows = rows.len();
                }
                self.input_gradient(gates, dx.part_mut(rows), threads);
            }
            end = begin;
        }
    }

    /// dx = dA Wᵀ: dA `[R, G·H]`, dx `[R, I]`. After a backward pass dA is [`Tape::input_gates`].
    ///
    /// # Panics
    /// The shapes do not fit, or the cell was made without
    /// [`Uses::backward`](crate::Uses::backward) and [`Uses::dense_input`](crate::Uses::dense_input).
    pub fn input_gradient(&self, gates: MatRef<'_, E>, dx: MatMut<'_, E>, threads: Threads) {
        match self.back.as_ref().and_then(|back| back.w.as_ref()) {
            Some(w) => w.multiply(gates, None, dx, threads),
            None => panic!("the cell was made without Uses::backward or Uses::dense_input"),
        }
    }

    /// dW, dU and db from the gate gradients on the tape.
    ///
    /// # Safety
    /// The lengths of the gradients and of the input were checked.
    unsafe fn weight_gradients(
        &self,
        tape: &Tape<E>,
        steps: Range<usize>,
        input: &Input<'_, E>,
        grads: &mut ParamsMut<'_, E>,
        scratch: &mut [E],
        threads: Threads,
    ) {
        let (h, columns) = (self.shape().hidden(), self.shape().columns());
        let batch = tape.window.1;
        let first = steps.start * batch;
        let width = self.shape().bias_len();
        let left = |base: *const E, row_stride, m, range, out: *mut E| {
            Some(Left {
                base,
                row_stride,
                m,
                columns: range,
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
            Input::Dense(x) => {
                let inputs = self.shape().input();
                left(
                    x.data[first * x.row_stride..].as_ptr(),
                    x.row_stride,
                    inputs,
                    (0, columns),
                    w,
                )
            }
            Input::Tokens { .. } => None,
        };
        let slot = usize::from(planted(Bug::StateAfterTheStep));
        // Of all steps: a slice of one would not do.
        let h_before = tape.h[first * h + slot * batch * h..].as_ptr();
        let state =
            |columns: (usize, usize)| left(h_before, h, h, columns, u.wrapping_add(columns.0));
        let (lefts, cuts) = match self.shape().cell() {
            Cell::Rnn | Cell::Lstm => ([state((0, columns)), None], [columns; 3]),
            Cell::Gru => {
                let rh = match planted(Bug::GruResetAfter) {
                    true => h_before,
                    false => tape.rh[first * h..].as_ptr(),
                };
                let candidate = left(rh, h, h, (2 * h, 3 * h), u.wrapping_add(2 * h));
                ([state((0, 2 * h)), candidate], [2 * h, 3 * h, 3 * h])
            }
            Cell::GruAfter => {
                // dq, behind the other gates, is the gradient of h U_n + b_hn.
                let q = match planted(Bug::GruAfterHiddenWeights) {
                    true => state((2 * h, 3 * h)),
                    false => left(h_before, h, h, (3 * h, 4 * h), u.wrapping_add(2 * h)),
                };
                ([state((0, 2 * h)), q], [2 * h, 3 * h, 4 * h])
            }
        };
        let args = Outer {
            reduce: Reduce {
                steps: steps.len(),
                batch,
            },
            lefts: [x, lefts[0], lefts[1], Some(ones(width, b))],
            right: tape.gates[first * width..].as_ptr(),
            right_stride: width,
            cuts,
        };
        // SAFETY: the tape holds T·B rows of h, r ⊙ h and gates; columns and outs are within the gradients.
        unsafe {
            if let Input::Tokens { ids, .. } = input {
                let table = Outer {
                    cuts: [columns; 3],
                    ..args
                };
                let ids = &ids[first..];
                scatter_rows(self.level(), table, ids.as_ptr(), w, threads);
            }
            // One pass over the gate gradients for W, U and b.
            outer::run(self.level(), args, scratch, threads);
        }
    }
}
