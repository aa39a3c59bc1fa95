//! What a forward pass leaves for the backward pass.

use crate::buffer::AlignedVec;
use crate::cell::Shape;
use crate::element::Element;
use crate::matrix::{MatRef, ShapeError};

/// The states and gates of a window of up to T steps of B rows.
///
/// Floats kept per step, row and unit: RNN 2 (h, and room for the gradient of a), LSTM 6 (i, f, o, g, c, h), GRU 5 (z, r, h~,
/// r ⊙ h, h), GRU reset-after 5 (r, z, n, h U_n + b_hn, h); and one more h (and c) per row for the initial state. The gates'
/// memory serves twice: it takes the gates, then their gradients. Not kept: tanh(c'), which is h'/o.
#[derive(Clone, Debug)]
pub struct Tape<E> {
    shape: Shape,
    capacity: usize,
    max_batch: usize,
    /// Steps and rows of the recorded window.
    pub(crate) window: (usize, usize),
    pub(crate) stage: Stage,
    /// `[T, B, gates · H]`.
    pub(crate) gates: AlignedVec<E>,
    /// `[T + 1, B, H]`, slot 0 is the initial state.
    pub(crate) h: AlignedVec<E>,
    /// The same of c; LSTM only.
    pub(crate) c: AlignedVec<E>,
    /// r ⊙ h, `[T, B, H]`; GRU reset-before only.
    pub(crate) rh: AlignedVec<E>,
}

/// What is on the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Blank,
    Gates,
    Gradients,
}

impl<E: Element> Tape<E> {
    /// Room for windows of up to `steps` × `batch`.
    ///
    /// # Errors
    /// A size is 0, or the tape would not fit in memory.
    pub fn new(shape: Shape, steps: usize, batch: usize) -> Result<Self, ShapeError> {
        if steps == 0 || batch == 0 {
            return Err(ShapeError::Zero("a size of the tape"));
        }
        let cell = shape.cell();
        // One that overflows is too large; each part of one that does not is checked when it is made.
        let what = "the tape";
        Self::floats(shape, steps, batch).ok_or(ShapeError::TooLarge(what))?;
        let states = (steps + 1) * batch * shape.hidden();
        let outputs = steps * batch * shape.hidden();
        Ok(Self {
            shape,
            capacity: steps * batch,
            max_batch: batch,
            window: (0, 0),
            stage: Stage::Blank,
            gates: AlignedVec::zeros(outputs * cell.tape_gates(), what)?,
            h: AlignedVec::zeros(states, what)?,
            c: AlignedVec::zeros(if cell.has_memory() { states } else { 0 }, what)?,
            rh: AlignedVec::zeros(if cell == crate::Cell::Gru { outputs } else { 0 }, what)?,
        })
    }

    /// Elements that a tape for windows of `steps` × `batch` holds; `None` if that overflows.
    pub fn floats(shape: Shape, steps: usize, batch: usize) -> Option<usize> {
        let cell = shape.cell();
        let outputs = steps.checked_mul(batch)?.checked_mul(shape.hidden())?;
        let states = outputs.checked_add(batch.checked_mul(shape.hidden())?)?;
        let per_output = cell.tape_gates() + usize::from(cell == crate::Cell::Gru);
        let per_state = 1 + usize::from(cell.has_memory());
        outputs
            .checked_mul(per_output)?
            .checked_add(states.checked_mul(per_state)?)
    }

    /// Whether a window of `steps` × `batch` fits.
    pub fn fits(&self, steps: usize, batch: usize) -> bool {
        batch <= self.max_batch
            && steps
                .checked_mul(batch)
                .is_some_and(|rows| rows <= self.capacity)
    }

    /// The shape of the cell it is for.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// (T, B) of the recorded window; (0, 0) before the first.
    pub fn window(&self) -> (usize, usize) {
        self.window
    }

    /// h of every step, `[T·B, H]`.
    pub fn output(&self) -> MatRef<'_, E> {
        let (steps, batch) = self.window;
        let h = self.shape.hidden();
        let data = &self.h[batch * h..][..steps * batch * h];
        MatRef {
            data,
            rows: steps * batch,
            cols: h,
            row_stride: h,
        }
    }

    /// h after step t − 1, and so before step t, `[B, H]`; t = 0: the initial state.
    ///
    /// # Panics
    /// t is larger than T.
    pub fn h(&self, t: usize) -> &[E] {
        self.state(&self.h, t)
    }

    /// As [`Tape::h`], of c. Empty unless the cell is an LSTM.
    ///
    /// # Panics
    /// t is larger than T.
    pub fn c(&self, t: usize) -> &[E] {
        if self.c.is_empty() {
            return &[];
        }
        self.state(&self.c, t)
    }

    /// The gates `[T·B, gates·H]` in the cell's order (reset-after: r, z, n, h U_n + b_hn; RNN: nothing of
    /// meaning, its backward pass needs h alone), or their gradients once the backward pass has run.
    pub fn gates(&self) -> MatRef<'_, E> {
        let (steps, batch) = self.window;
        let cols = self.shape.bias_len();
        MatRef {
            data: &self.gates[..steps * batch * cols],
            rows: steps * batch,
            cols,
            row_stride: cols,
        }
    }

    /// The columns of [`Tape::gates`] that belong to x W, `[T·B, G·H]`: all, but for reset-after, whose h U_n + b_hn stands behind
    /// them. Once the backward pass has run they are what [`PackedCell::input_gradient`](crate::PackedCell::input_gradient) takes.
    pub fn input_gates(&self) -> MatRef<'_, E> {
        MatRef {
            cols: self.shape.columns(),
            ..self.gates()
        }
    }

    fn state<'a>(&self, states: &'a [E], t: usize) -> &'a [E] {
        let (steps, batch) = self.window;
        assert!(t <= steps, "state {t} of a window of {steps} steps");
        let len = batch * self.shape.hidden();
        &states[t * len..][..len]
    }
}
