//! A cell ready to run: its weights packed for one level.

use crate::buffer::AlignedVec;
use crate::cell::{Cell, Params, Shape};
use crate::cells::forward::Weights;
use crate::dispatch;
use crate::element::Element;
use crate::level::Level;
use crate::matrix::{MatRef, ShapeError};
use crate::outer;
use crate::pack::{Layout, Packed, Source};
use crate::parallel::Threads;
use crate::product::PackedMatrix;

/// What a packed cell will be used for; packing skips the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// [`Input::Dense`](crate::Input::Dense). Without it only [`Input::Tokens`](crate::Input::Tokens).
    pub dense_input: bool,
    /// [`PackedCell::backward`].
    pub backward: bool,
}

/// The weights of one cell, packed for one level.
#[derive(Clone, Debug)]
pub struct PackedCell<E> {
    level: Level,
    shape: Shape,
    /// A row in panel order: b without b_hn.
    pub(crate) bias: AlignedVec<E>,
    /// b_hn, H rounded up to whole vectors; reset-after only.
    pub(crate) bias_hidden: AlignedVec<E>,
    /// `[I, G·H]`.
    pub(crate) w: Option<GateMatrix<E>>,
    /// `[H, G·H]`.
    pub(crate) u: GateMatrix<E>,
    pub(crate) back: Option<Transposed<E>>,
}

/// W or U in panels of all gates of the same units.
#[derive(Clone, Debug)]
pub struct GateMatrix<E> {
    /// What the first sweep of a step multiplies: all, or z and r of GRU reset-before.
    first: Packed<E>,
    /// h~ of GRU reset-before.
    candidate: Option<Packed<E>>,
}

/// Packings of the transposes, for the backward pass.
#[derive(Clone, Debug)]
pub(crate) struct Transposed<E> {
    /// `[columns of the first sweep, H]`.
    u: Packed<E>,
    /// U_hᵀ of GRU reset-before.
    candidate: Option<Packed<E>>,
    /// `[G·H, I]`.
    pub(crate) w: Option<PackedMatrix<E>>,
}

/// Bytes of x W + b computed ahead of the recurrence at least, so that it is still in L2 (1 MiB, shared with a panel)
/// when the tiles start from it.
const CHUNK_BYTES: usize = 256 * 1024;

/// The bytes of U for one of x W + b ahead: W, once read from behind L2, is to serve many steps. Measured on Zen 4 for H = 1024:
/// 0.75 to 0.88 of the limit with 8 rows; on Emerald Rapids for 512 and 700: 1 to 4 % less time with 1 to 24 rows.
const U_A_CHUNK: usize = 4;

/// The most bytes of weights of which a single row multiplies two panels at a time: what L1 keeps from step to step. Measured on Zen 5: of
/// weights that come from L2 one panel after the other takes 5 to 41 % less time (an LSTM, steps of 40 to 128 units, sequences of 64 to 128),
/// of those in L1 two at a time 16 to 30 %. On Emerald Rapids two at a time were 4 % less up to 128 units.
const IN_L1: usize = 48 << 10;

impl<E: Element> PackedCell<E> {
    /// Room for the weights of `shape`, zero until [`PackedCell::pack`].
    ///
    /// # Errors
    /// The packed weights would not fit in memory.
    pub fn new(level: Level, shape: Shape, uses: Uses) -> Result<Self, ShapeError> {
        let (input, hidden) = (shape.input(), shape.hidden());
        let level = dispatch::level_for::<E>(level, hidden);
        let u = GateMatrix::zeros(level, shape, hidden)?;
        let back = match uses.backward {
            true => Some(Transposed::zeros(level, shape, uses.dense_input)?),
            false => None,
        };
        Ok(Self {
            level,
            shape,
            bias: AlignedVec::zeros(u.row_len(), "the bias")?,
            bias_hidden: AlignedVec::zeros(
                match shape.cell() {
                    Cell::GruAfter => u.hidden_in_vectors(),
                    _ => 0,
                },
                "the bias",
            )?,
            w: match uses.dense_input {
                true => Some(GateMatrix::zeros(level, shape, input)?),
                false => None,
            },
            u,
            back,
        })
    }

    /// Packs new weights. Allocates nothing.
    ///
    /// # Panics
    /// The lengths are not those of the shape; that of W, which a cell without dense inputs does not read, is left open there.
    pub fn pack(&mut self, params: Params<'_, E>) {
        let (input, hidden) = (self.shape.input(), self.shape.hidden());
        let columns = self.shape.columns();
        assert_eq!(params.u.len(), hidden * columns, "length of U");
        assert_eq!(params.b.len(), self.shape.bias_len(), "length of b");
        if self.w.is_some() {
            assert_eq!(params.w.len(), input * columns, "length of W");
        }
        let u = self.gate_columns(params.u);
        self.u.fill(u);
        let (bias, bias_hidden) = params.b.split_at(columns);
        let bias = self.gate_columns(bias);
        self.u.pack_rows(1, bias, &mut self.bias);
        self.bias_hidden[..bias_hidden.len()].copy_from_slice(bias_hidden);
        let w = self.gate_columns(params.w);
        if let Some(packed) = &mut self.w {
            packed.fill(w);
        }
        if let Some(back) = &mut self.back {
            back.fill(params, self.shape);
        }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The level of its kernels: the one it was made for, or a narrower one that is faster for so few units.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        let w = self.w.as_ref().map_or(0, GateMatrix::bytes);
        self.u.bytes() + w + self.back.as_ref().map_or(0, Transposed::bytes)
    }

    /// Elements of scratch that [`PackedCell::infer`] and [`PackedCell::forward`] need for T = `steps`, B = `batch`; enough for
    /// fewer steps and smaller batches, too.
    pub fn forward_scratch_len(&self, steps: usize, batch: usize) -> usize {
        let chunk = self.input_scratch_len(steps, batch);
        chunk.saturating_add(self.reset_len(batch))
    }

    /// Elements of scratch that [`PackedCell::backward`] needs for B = `batch`.
    pub fn backward_scratch_len(&self, batch: usize, threads: Threads) -> usize {
        // The candidates of the GRUs have a left factor of their own.
        let factors = match self.shape.cell() {
            Cell::Rnn | Cell::Lstm => 1,
            Cell::Gru | Cell::GruAfter => 2,
        };
        let left = self.shape.input() + factors * self.shape.hidden();
        let carry = batch.saturating_mul(self.shape.hidden());
        carry.saturating_add(outer::outer_scratch_len(left, threads))
    }

    /// x W + b of a chunk, on a cache line.
    fn input_scratch_len(&self, steps: usize, batch: usize) -> usize {
        match self.w {
            Some(_) => {
                // Of any chunk of as many rows or fewer: so the scratch for the largest batch does for all.
                let rows = steps
                    .saturating_mul(batch)
                    .min(self.rows_ahead())
                    .max(batch);
                let len = rows.saturating_mul(self.u.row_len());
                len.saturating_add(64 / size_of::<E>())
            }
            None => 0,
        }
    }

    /// r ⊙ h of one step, where it is not on a tape.
    pub(crate) fn reset_len(&self, batch: usize) -> usize {
        match self.shape.cell() {
            Cell::Gru => batch.saturating_mul(self.shape.hidden()),
            _ => 0,
        }
    }

    /// H rounded up to whole vectors.
    pub(crate) fn hidden_in_vectors(&self) -> usize {
        self.u.hidden_in_vectors()
    }

    /// Whether a single row multiplies two panels at a time: of the cells whose panels are one block of units, if a thread that has one of
    /// `parts` of the weights, with W or without, has them in L1.
    #[inline]
    pub(crate) fn in_pairs(&self, with_w: bool, parts: usize) -> bool {
        let w = self.w.as_ref().filter(|_| with_w);
        let bytes = self.u.first.bytes() + w.map_or(0, |w| w.first.bytes());
        matches!(self.shape.cell(), Cell::Lstm | Cell::GruAfter)
            && self.u.first.layout.panels() > 1
            && bytes <= IN_L1 * parts
    }

    /// Steps whose x W + b is computed ahead.
    pub(crate) fn chunk(&self, steps: usize, batch: usize) -> usize {
        (self.rows_ahead() / batch.max(1)).clamp(1, steps.max(1))
    }

    /// The most rows of x W + b that are computed ahead, if those of one step are not more.
    fn rows_ahead(&self) -> usize {
        let bytes = (self.u.bytes() / U_A_CHUNK).max(CHUNK_BYTES);
        bytes / (self.u.row_len() * size_of::<E>())
    }
}

impl<E: Element> GateMatrix<E> {
    fn zeros(level: Level, shape: Shape, k: usize) -> Result<Self, ShapeError> {
        let lanes = dispatch::panel_lanes::<E>(level);
        let layout = |gates, blocks| Layout::new(lanes, gates, blocks, shape.hidden());
        let first = match shape.cell() {
            Cell::Rnn => layout(1, 4),
            Cell::Lstm => layout(4, 1),
            Cell::Gru => layout(2, 2),
            Cell::GruAfter => layout(3, 1),
        };
        let two_sweeps = shape.cell() == Cell::Gru;
        Ok(Self {
            first: Packed::zeros(first, k)?,
            candidate: match two_sweeps {
                true => Some(Packed::zeros(layout(1, 4), k)?),
                false => None,
            },
        })
    }

    fn fill(&mut self, source: Source<'_, E>) {
        self.first.fill(source);
        if let Some(candidate) = &mut self.candidate {
            candidate.fill(candidate_of(source));
        }
    }

    /// Packs rows of other matrices with the same columns, k of them, one sweep's part behind the other.
    pub(crate) fn pack_rows(&self, k: usize, source: Source<'_, E>, to: &mut [E]) {
        let (first, candidate) = to.split_at_mut(k * self.first.layout.row_len());
        self.first.layout.pack(k, source, first);
        if let Some(packed) = &self.candidate {
            packed.layout.pack(k, candidate_of(source), candidate);
        }
    }

    /// Elements of a row in panel order.
    pub(crate) fn row_len(&self) -> usize {
        let candidate = self.candidate.as_ref();
        self.first.layout.row_len() + candidate.map_or(0, |packed| packed.layout.row_len())
    }

    fn hidden_in_vectors(&self) -> usize {
        let layout = &self.first.layout;
        layout.units.next_multiple_of(layout.lanes)
    }

    #[inline(always)]
    pub(crate) fn weights(&self) -> Weights<'_, E> {
        Weights {
            first: &self.first,
            candidate: self.candidate.as_ref(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.first.bytes() + self.candidate.as_ref().map_or(0, Packed::bytes)
    }
}

/// The columns of h~, behind those of z and r.
fn candidate_of<E>(source: Source<'_, E>) -> Source<'_, E> {
    Source {
        data: &source.data[2 * source.gate_stride..],
        ..source
    }
}

impl<E: Element> Transposed<E> {
    fn zeros(level: Level, shape: Shape, dense_input: bool) -> Result<Self, ShapeError> {
        let (hidden, columns) = (shape.hidden(), shape.columns());
        let plain = |k| Packed::zeros(Layout::plain(dispatch::panel_lanes::<E>(level), hidden), k);
        let two_sweeps = shape.cell() == Cell::Gru;
        Ok(Self {
            u: plain(if two_sweeps { 2 * hidden } else { columns })?,
            candidate: match two_sweeps {
                true => Some(plain(hidden)?),
                false => None,
            },
            w: match dense_input {
                true => Some(PackedMatrix::new(level, columns, shape.input())?),
                false => None,
            },
        })
    }

    /// Row k of Uᵀ is column k of U; its unit j is row j of U.
    fn fill(&mut self, params: Params<'_, E>, shape: Shape) {
        let columns = shape.columns();
        let ut = Source {
            data: params.u,
            k_stride: 1,
            gate_stride: 0,
            unit_stride: columns,
        };
        self.u.fill(ut);
        if let Some(candidate) = &mut self.candidate {
            candidate.fill(Source {
                data: &params.u[2 * shape.hidden()..],
                ..ut
            });
        }
        if let Some(packed) = &mut self.w {
            packed.pack_transposed(MatRef {
                data: params.w,
                rows: shape.input(),
                cols: columns,
                row_stride: columns,
            });
        }
    }

    pub(crate) fn weights(&self) -> Weights<'_, E> {
        Weights {
            first: &self.u,
            candidate: self.candidate.as_ref(),
        }
    }

    fn bytes(&self) -> usize {
        let candidate = self.candidate.as_ref().map_or(0, Packed::bytes);
        self.u.bytes() + candidate + self.w.as_ref().map_or(0, |w| w.packed.bytes())
    }
}
