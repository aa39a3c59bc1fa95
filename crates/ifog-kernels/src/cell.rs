//! The four cells and the shapes of their parameters.

use crate::element::Element;
use crate::matrix::ShapeError;

/// A recurrent cell. Row vectors: a = x W + h U + b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// h' = tanh(a) (Elman 1990).
    Rnn,
    /// Gates i, f, o, g (Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000).
    Lstm,
    /// Gates z, r, h~ with the reset gate before the recurrent product (Cho et al. 2014), z the share of the
    /// new value: h' = (1 − z) ⊙ h + z ⊙ h~.
    Gru,
    /// Gates r, z, n with the reset gate after the recurrent product, as PyTorch and cuDNN have it:
    /// h' = (1 − z) ⊙ n + z ⊙ h.
    GruAfter,
}

/// A cell with its widths, whose parameters are known to fit in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    cell: Cell,
    input: usize,
    hidden: usize,
}

/// Parameters of one cell, or their gradients, borrowed from a flat buffer.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a, E> {
    /// W `[I, G·H]`, gates side by side in the cell's order.
    pub w: &'a [E],
    /// U `[H, G·H]`.
    pub u: &'a [E],
    /// b `[G·H]`; reset-after: b_r, b_z, b_in, b_hn, `[4·H]`.
    pub b: &'a [E],
}

/// As [`Params`], to write to.
#[derive(Debug)]
pub struct ParamsMut<'a, E> {
    /// `[I, G·H]`.
    pub w: &'a mut [E],
    /// `[H, G·H]`.
    pub u: &'a mut [E],
    /// `[G·H]`; reset-after `[4·H]`.
    pub b: &'a mut [E],
}

impl Cell {
    /// Every cell.
    pub const ALL: [Self; 4] = [Self::Rnn, Self::Lstm, Self::Gru, Self::GruAfter];

    /// G, the blocks of H columns in W and U.
    pub const fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Lstm => 4,
            Self::Gru | Self::GruAfter => 3,
        }
    }

    /// The name on command lines and in files: `rnn`, `lstm`, `gru`, `gru-after`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rnn => "rnn",
            Self::Lstm => "lstm",
            Self::Gru => "gru",
            Self::GruAfter => "gru-after",
        }
    }

    /// The cell with that [`Cell::name`].
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cell| cell.name() == name)
    }

    /// Whether there is a cell state c beside h.
    pub const fn has_memory(self) -> bool {
        matches!(self, Self::Lstm)
    }

    /// Blocks of H columns in b and in a row of the tape: reset-after keeps h U_n + b_hn apart.
    pub(crate) const fn tape_gates(self) -> usize {
        match self {
            Self::GruAfter => 4,
            _ => self.gates(),
        }
    }
}

impl Shape {
    /// A cell of `input` inputs I and `hidden` hidden units H.
    ///
    /// # Errors
    /// A width is 0, or the parameters would not fit in memory.
    pub fn new(cell: Cell, input: usize, hidden: usize) -> Result<Self, ShapeError> {
        if input == 0 {
            return Err(ShapeError::Zero("input width"));
        }
        if hidden == 0 {
            return Err(ShapeError::Zero("hidden width"));
        }
        let columns = hidden.checked_mul(4);
        let rows = input
            .checked_add(hidden)
            .and_then(|rows| rows.checked_add(1));
        let elements = columns
            .zip(rows)
            .and_then(|(columns, rows)| columns.checked_mul(rows));
        match elements.and_then(|n| n.checked_mul(size_of::<f64>())) {
            Some(bytes) if isize::try_from(bytes).is_ok() => Ok(Self {
                cell,
                input,
                hidden,
            }),
            _ => Err(ShapeError::TooLarge("a cell's parameters")),
        }
    }

    /// The cell.
    pub const fn cell(self) -> Cell {
        self.cell
    }

    /// I.
    pub const fn input(self) -> usize {
        self.input
    }

    /// H.
    pub const fn hidden(self) -> usize {
        self.hidden
    }

    /// G·H, the columns of W and U.
    pub const fn columns(self) -> usize {
        self.cell.gates() * self.hidden
    }

    /// Elements of b.
    pub const fn bias_len(self) -> usize {
        self.cell.tape_gates() * self.hidden
    }

    /// Elements of W, U and b together.
    pub const fn param_len(self) -> usize {
        (self.input + self.hidden) * self.columns() + self.bias_len()
    }

    /// W, U and b out of a flat buffer that holds them in this order.
    ///
    /// # Errors
    /// The buffer has not [`Shape::param_len`] elements.
    pub fn split<E: Element>(self, flat: &[E]) -> Result<Params<'_, E>, ShapeError> {
        self.check("parameters", flat.len(), self.param_len())?;
        let (w, rest) = flat.split_at(self.input * self.columns());
        let (u, b) = rest.split_at(self.hidden * self.columns());
        Ok(Params { w, u, b })
    }

    /// As [`Shape::split`] of the bytes of a flat buffer, in the machine's byte order: weights in a mapped
    /// file or a static need no copy.
    ///
    /// ```
    /// # use ifog_kernels::{Cell, Shape};
    /// # fn main() -> Result<(), ifog_kernels::ShapeError> {
    /// let shape = Shape::new(Cell::Rnn, 1, 1)?;
    /// let flat = [0.5f32, -0.25, 1.0];
    /// let params = shape.split_bytes::<f32>(bytemuck::bytes_of(&flat))?;
    /// assert_eq!((params.w, params.u, params.b), (&[0.5][..], &[-0.25][..], &[1.0][..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The bytes are not those of [`Shape::param_len`] elements, or do not stand where an `E` may.
    #[cfg(feature = "bytemuck")]
    pub fn split_bytes<E: Element + bytemuck::AnyBitPattern>(
        self,
        bytes: &[u8],
    ) -> Result<Params<'_, E>, ShapeError> {
        let expected = self.param_len() * size_of::<E>();
        self.check("the byte slice", bytes.len(), expected)?;
        let flat =
            bytemuck::try_cast_slice(bytes).map_err(|_| ShapeError::Misaligned(align_of::<E>()))?;
        self.split(flat)
    }

    /// As [`Shape::split`], to write to.
    ///
    /// # Errors
    /// The buffer has not [`Shape::param_len`] elements.
    pub fn split_mut<E: Element>(self, flat: &mut [E]) -> Result<ParamsMut<'_, E>, ShapeError> {
        self.check("parameters", flat.len(), self.param_len())?;
        let (w, rest) = flat.split_at_mut(self.input * self.columns());
        let (u, b) = rest.split_at_mut(self.hidden * self.columns());
        Ok(ParamsMut { w, u, b })
    }

    pub(crate) fn check(
        self,
        what: &'static str,
        actual: usize,
        expected: usize,
    ) -> Result<(), ShapeError> {
        if actual == expected {
            return Ok(());
        }
        Err(ShapeError::Length {
            what,
            expected,
            actual,
        })
    }
}

impl core::fmt::Display for Cell {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
