//! One step a call, the state carried: how an audio plug-in or a server runs a cell.

use crate::buffer::AlignedVec;
use crate::cell::Cell;
use crate::cells::forward::{Forward, Init, Phase, Work};
use crate::element::Element;
use crate::matrix::ShapeError;
use crate::packed::PackedCell;

/// A stream through a cell: its state, on weights that any number of streams share.
///
/// A call of [`Stepper::step`] has the bits of one step of [`PackedCell::infer`]. It allocates nothing, takes no
/// lock, makes no system call and does not panic.
///
/// ```
/// use ifog_kernels::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shape = Shape::new(Cell::Lstm, 1, 16)?;
/// let mut cell = PackedCell::new(Level::detect()?, shape, Uses { dense_input: true, backward: false })?;
/// cell.pack(shape.split(&vec![0.1f32; shape.param_len()])?);
///
/// let (mut left, mut right) = (cell.stepper()?, cell.stepper()?);
/// let mut h = [0.0; 16];
/// left.step(&[0.5], &mut h)?;
/// right.step(&[-0.5], &mut h)?;
/// assert_ne!(left.state(), right.state());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stepper<'a, E> {
    cell: &'a PackedCell<E>,
    /// `[2, H]`: h and the one before it change places at each step.
    h: AlignedVec<E>,
    /// Which half of `h` is the state.
    now: usize,
    /// `[H]`, LSTM only.
    c: AlignedVec<E>,
    /// r ⊙ h, `[H]`; GRU reset-before only.
    rh: AlignedVec<E>,
    /// x W + b, a row in panel order; reset-after only.
    xw: AlignedVec<E>,
}

impl<E: Element> PackedCell<E> {
    /// A stream in the zero state.
    ///
    /// # Errors
    /// The cell was made without [`Uses::dense_input`](crate::Uses::dense_input), or the state would not fit in memory.
    pub fn stepper(&self) -> Result<Stepper<'_, E>, ShapeError> {
        if self.w.is_none() {
            return Err(ShapeError::NoDenseInput);
        }
        let hidden = self.shape().hidden();
        let zeros = |len| AlignedVec::zeros(len, "the state of a stream");
        let only = |cell, len| zeros(if self.shape().cell() == cell { len } else { 0 });
        Ok(Stepper {
            cell: self,
            h: zeros(2 * hidden)?,
            now: 0,
            c: only(Cell::Lstm, hidden)?,
            rh: only(Cell::Gru, hidden)?,
            xw: only(Cell::GruAfter, self.u.row_len())?,
        })
    }
}

impl<E: Element> Stepper<'_, E> {
    /// One step: x `[I]` in, h' `[H]` out.
    ///
    /// # Errors
    /// A slice has another length; the state is as it was.
    #[inline]
    pub fn step(&mut self, x: &[E], out: &mut [E]) -> Result<(), ShapeError> {
        let shape = self.cell.shape();
        shape.check("x", x.len(), shape.input())?;
        shape.check("out", out.len(), shape.hidden())?;
        self.advance(x);
        out.copy_from_slice(self.h());
        Ok(())
    }

    /// The state: h `[H]`, and c `[H]` of an LSTM.
    pub fn state(&self) -> (&[E], &[E]) {
        (self.h(), &self.c)
    }

    /// Takes up a state that [`Stepper::state`] gave.
    ///
    /// # Errors
    /// A slice has another length; the state is as it was.
    pub fn set_state(&mut self, h: &[E], c: &[E]) -> Result<(), ShapeError> {
        let shape = self.cell.shape();
        let hidden = shape.hidden();
        shape.check("h", h.len(), hidden)?;
        shape.check("c", c.len(), self.c.len())?;
        self.h[self.now * hidden..][..hidden].copy_from_slice(h);
        self.c.copy_from_slice(c);
        Ok(())
    }

    /// Back to the zero state.
    pub fn reset(&mut self) {
        self.h.fill(E::ZERO);
        self.c.fill(E::ZERO);
    }

    fn h(&self) -> &[E] {
        let hidden = self.cell.shape().hidden();
        &self.h[self.now * hidden..][..hidden]
    }

    /// x has I elements.
    fn advance(&mut self, x: &[E]) {
        let cell = self.cell;
        let hidden = cell.shape().hidden();
        let states = self.h.as_mut_ptr();
        let next = 1 - self.now;
        let mut args = Forward {
            x: x.as_ptr(),
            x_stride: x.len(),
            // The halves of `h`.
            h0: states.wrapping_add(self.now * hidden),
            h: states.wrapping_add(next * hidden),
            c: self.c.as_mut_ptr(),
            rh: self.rh.as_mut_ptr(),
            ..cell.forward_args(1)
        };
        let work = Work {
            steps: 0..1,
            rows: 0..1,
            share: (0, 1),
            phase: Phase::All,
        };
        if !self.xw.is_empty() {
            let xw = self.xw.as_mut_ptr();
            // SAFETY: `x` is the input of one row, and `xw` has room for its row.
            unsafe { cell.input_product(&args, xw, 0..1, &work) };
            args.init = Init::Rows {
                base: xw,
                stride: self.xw.len(),
            };
        }
        cell.run_forward(&args, work);
        self.now = next;
    }
}
