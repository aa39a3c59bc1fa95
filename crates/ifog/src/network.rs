//! A network at work: stacked layers over windows, with the state carried from one to the next.
//!
//! ```text
//! x → [embedding] → layer 0 → … → layer L−1 → decoder: y = h W + b
//! ```
//!
//! Truncated BPTT (Williams & Peng 1990): gradients flow back to the start of the window and stop there; h and
//! c are carried over to the next window as constants.

use std::ops::Range;

use ifog_kernels::{Element, MatMut, MatRef};

use crate::config::{ConfigError, NetworkConfig};
use crate::parameters::Layout;

pub use learner::Learner;
pub use packed::Packed;
pub use reader::Reader;

mod learner;
mod packed;
mod reader;

/// Inputs of a window, time-major.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a, E> {
    /// `[T·B]` tokens, for one-hot and embedded inputs.
    Tokens(&'a [u32]),
    /// `[T·B, I]` vectors.
    Vectors(&'a [E]),
}

/// h and c of every layer for B streams.
#[derive(Clone, Debug, PartialEq)]
pub struct State<E> {
    /// `[B, H]` a layer.
    pub h: Vec<Vec<E>>,
    /// `[B, H]` a layer; empty unless the cell is an LSTM.
    pub c: Vec<Vec<E>>,
}

/// Rows T·B of a window for which there can be room.
fn window_rows(layout: &Layout, steps: usize, batch: usize) -> Result<usize, ConfigError> {
    for (what, size) in [("steps", steps), ("batch", batch)] {
        if size == 0 {
            return Err(ConfigError::Zero { what });
        }
    }
    let config = layout.config();
    let widest = layout
        .widest()
        .max(config.outputs)
        .max(config.input.width());
    let rows = steps.checked_mul(batch);
    let most = isize::MAX as usize / size_of::<f64>();
    let room = rows.and_then(|rows| rows.checked_mul(widest));
    match (rows, room) {
        (Some(rows), Some(room)) if room <= most => Ok(rows),
        _ => Err(ConfigError::TooLarge {
            what: "rows of a window",
            value: rows.unwrap_or(usize::MAX),
            most: most / widest,
        }),
    }
}

impl<'a, E> Inputs<'a, E> {
    /// Refuses those of another number of rows.
    fn check(&self, rows: usize, config: &NetworkConfig) {
        match self {
            Self::Tokens(tokens) => assert_eq!(tokens.len(), rows, "tokens: T × B"),
            Self::Vectors(x) => {
                assert_eq!(x.len(), rows * config.input.width(), "inputs: T × B × I")
            }
        }
    }

    /// Those of some rows of the window.
    fn rows(self, rows: &Range<usize>, config: &NetworkConfig) -> Self {
        match self {
            Self::Tokens(tokens) => Self::Tokens(&tokens[rows.clone()]),
            Self::Vectors(x) => {
                let width = config.input.width();
                Self::Vectors(&x[rows.start * width..rows.end * width])
            }
        }
    }
}

impl<E: Element> State<E> {
    /// Takes the values of another; in the same memory, where it has had any.
    fn copy_from(&mut self, other: &Self) {
        self.h.clone_from(&other.h);
        self.c.clone_from(&other.c);
    }

    /// All zero.
    pub fn zeros(layout: &Layout, batch: usize) -> Self {
        let zeros = |width: usize| vec![E::ZERO; batch * width];
        let memory = layout.config().cell.has_memory();
        let of_c = |width| zeros(if memory { width } else { 0 });
        Self {
            h: layout.widths().map(zeros).collect(),
            c: layout.widths().map(of_c).collect(),
        }
    }

    /// The values by name: `h_l0`, …, and `c_l0`, … where there are any; in the order of
    /// [`State::values_mut`].
    pub fn values(&self) -> impl Iterator<Item = (String, &[E])> {
        let h = self.h.iter().enumerate();
        let c = self.c.iter().enumerate().filter(|(_, c)| !c.is_empty());
        let h = h.map(|(layer, h)| (format!("h_l{layer}"), &h[..]));
        h.chain(c.map(|(layer, c)| (format!("c_l{layer}"), &c[..])))
    }

    /// The values, to be replaced by others of their number.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Vec<E>> {
        let c = self.c.iter_mut().filter(|c| !c.is_empty());
        self.h.iter_mut().chain(c)
    }

    /// Refuses that of another batch.
    fn check(&self, layout: &Layout, batch: usize) {
        let memory = layout.config().cell.has_memory();
        let (h, c) = (self.h.iter().map(Vec::len), self.c.iter().map(Vec::len));
        let of_c = |width| if memory { batch * width } else { 0 };
        assert!(
            h.eq(layout.widths().map(|width| batch * width)) && c.eq(layout.widths().map(of_c)),
            "the state is not that of {batch} streams of this network"
        );
    }

    /// Forgets everything of one stream: where its sequence has ended and those beside it go on.
    ///
    /// # Panics
    /// There are not so many streams.
    pub fn reset_stream(&mut self, stream: usize, batch: usize) {
        assert!(stream < batch, "stream {stream} of {batch}");
        for values in self.h.iter_mut().chain(&mut self.c) {
            let width = values.len() / batch;
            values[stream * width..][..width].fill(E::ZERO);
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        for values in self.h.iter_mut().chain(&mut self.c) {
            values.fill(E::ZERO);
        }
    }
}

/// `values` as a matrix whose size is known to fit.
pub(crate) fn matrix<E>(values: &[E], rows: usize, cols: usize) -> MatRef<'_, E> {
    MatRef::new(values, rows, cols).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn matrix_mut<E>(values: &mut [E], rows: usize, cols: usize) -> MatMut<'_, E> {
    MatMut::new(values, rows, cols).unwrap_or_else(|error| panic!("{error}"))
}
