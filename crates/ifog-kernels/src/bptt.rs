//! Backpropagation through a recorded window.

use core::ops::Range;

use crate::cell::{Cell, ParamsMut};
use crate::cells::backward::Backward;
use crate::cells::forward::{Phase, Work};
use crate::element::Element;
use crate::gradients::Gradients;
use crate::input::Input;
use crate::matrix::{MatMut, MatRef};
use crate::meeting::MOST_PARTS;
use crate::outer;
use crate::packed::PackedCell;
use crate::parallel::{self, Shared, Threads};
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
        let room = (scratch, threads.count());
        let gradients = Gradients::new(self, &args, (&input, tape), &mut grads, dx.as_mut(), room);
        // SAFETY: lengths were checked above, and everything is borrowed for the call; each part below has rows, panels or parts of
        // its own.
        let shared = unsafe { Shared::new((args, gradients, back)) };
        let sweep = |work| {
            let (args, _, back) = shared.inner();
            let run = match self.shape().cell() {
                Cell::Rnn => E::rnn_backward,
                Cell::Lstm => E::lstm_backward,
                Cell::Gru => E::gru_backward,
                Cell::GruAfter => E::gru_after_backward,
            };
            // SAFETY: as above.
            unsafe { run(self.level(), args, back.weights(), work) };
        };
        // Some steps at a time, the last ones first, so that their gate gradients are still near when dW and dU are made of them.
        let piece = (outer::KC / batch).max(1);
        let pieces = steps.div_ceil(piece);
        let of = |index: usize| {
            let end = steps - index * piece;
            end.saturating_sub(piece)..end
        };
        // Sweep t makes the gate gradients of step t − 1, sweep T of the last.
        let sweeps = |of: Range<usize>| of.start..of.end + usize::from(of.end == steps);
        let call = self.steps(steps, batch, back.weights());
        match Split::of(call, threads.count()) {
            Split::Rows(parts @ 2..=MOST_PARTS) => {
                let (patience, free) = call.waits(steps, pieces, (parts, 1));
                parallel::run_rounds(parts, pieces + 1, patience, free, &|round, part| {
                    let (_, gradients, _) = shared.inner();
                    // Of the piece before all gate gradients are there now, also those of the others.
                    if round > 0 {
                        // SAFETY: as above.
                        unsafe { gradients.weights(of(round - 1), (part, parts)) };
                    }
                    if round < pieces {
                        let rows = parallel::share(batch, part, parts);
                        sweep(Work {
                            steps: sweeps(of(round)),
                            rows: rows.clone(),
                            share: (0, 1),
                            phase: Phase::All,
                        });
                        // SAFETY: as above.
                        unsafe { gradients.inputs(of(round), rows) };
                    }
                });
            }
            split => {
                for steps in (0..pieces).map(of) {
                    split.drive(&call, sweeps(steps.clone()), true, &sweep);
                    let (_, gradients, _) = shared.inner();
                    let parts = gradients.parts(steps.len(), threads.count());
                    parallel::run(parts, &|part| {
                        let (_, gradients, _) = shared.inner();
                        let some = parallel::share(steps.len(), part, parts);
                        let some = steps.start + some.start..steps.start + some.end;
                        // SAFETY: as above.
                        unsafe {
                            gradients.weights(steps.clone(), (part, parts));
                            gradients.inputs(some, 0..batch);
                        }
                    });
                }
            }
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
}
