//! Weights in the order in which the tiles read them.
//!
//! A panel holds, for every k, the vectors of one register tile side by side. For an LSTM a tile is
//! the four gates of `LANES` hidden units (hence the name of the whole):
//!
//! ```text
//! panel p   k = 0   i i i i │ f f f f │ o o o o │ g g g g      units p·L .. p·L + L
//!           k = 1   i i i i │ f f f f │ o o o o │ g g g g
//!           …
//! ```
//!
//! In general a panel is `gates × blocks` vectors, a block being `LANES` units: LSTM 4×1, GRU
//! reset-after 3×1, the z and r of GRU reset-before 2×2, everything else 1×4. The last panel may have fewer
//! blocks; units beyond the last are zero, so no tile has a masked product. On AVX-512 the last panel is of vectors of
//! half the width where that is less to pad: 20 units of an LSTM cost 16 + 8 rather than 32.
//!
//! A panel of K = 512 f32 rows at AVX-512 is 128 KiB: it lives in L2 while the row tiles sweep over it.

use core::ops::Range;

use crate::buffer::AlignedVec;
use crate::element::Element;
use crate::matrix::ShapeError;
use crate::parallel;

/// Which vectors stand in a panel, and how many panels there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) lanes: usize,
    /// Vectors of one unit block, side by side.
    pub(crate) gates: usize,
    /// Unit blocks of a full panel.
    blocks: usize,
    pub(crate) units: usize,
    /// Full panels. Kept, like `one`: a small step has no time for divisions.
    full: usize,
    /// The panel behind them: its unit blocks, 0 if there is none, and the elements of its vectors.
    last: (usize, usize),
    /// There is one panel, of whole vectors.
    one: bool,
}

/// Elements of the vectors of a level.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    pub(crate) whole: usize,
    /// Of the vectors for what is left of the units; the same where there are no others.
    pub(crate) narrow: usize,
}

/// A matrix `[k, gates · units]` packed into panels.
#[derive(Clone, Debug)]
pub struct Packed<E> {
    pub(crate) layout: Layout,
    pub(crate) k: usize,
    /// Elements of a full panel.
    panel_len: usize,
    data: AlignedVec<E>,
}

/// Where element (k, gate, unit) stands in the matrix to pack: `data[k·k_stride + gate·gate_stride + unit·unit_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, E> {
    pub(crate) data: &'a [E],
    pub(crate) k_stride: usize,
    pub(crate) gate_stride: usize,
    pub(crate) unit_stride: usize,
}

impl Layout {
    pub(crate) fn new(lanes: Lanes, gates: usize, blocks: usize, units: usize) -> Self {
        let full = units / (blocks * lanes.whole);
        let rest = units - full * blocks * lanes.whole;
        let last = |lanes: usize| (rest.div_ceil(lanes), lanes);
        let padded = |(blocks, lanes)| blocks * lanes;
        let (wide, narrow) = (last(lanes.whole), last(lanes.narrow));
        // Two narrow ones side by side are multiplied as a whole one.
        let operations = match gates * narrow.0 {
            pairs if pairs.is_multiple_of(2) => pairs / 2,
            single => single,
        };
        let is_narrow =
            narrow.0 <= blocks && padded(narrow) < padded(wide) && operations <= gates * wide.0;
        Self {
            lanes: lanes.whole,
            gates,
            blocks,
            units,
            full,
            one: full + usize::from(rest > 0) == 1 && !is_narrow,
            last: if is_narrow { narrow } else { wide },
        }
    }

    /// A plain matrix: four vectors of columns a panel.
    pub(crate) fn plain(lanes: Lanes, columns: usize) -> Self {
        Self::new(lanes, 1, 4, columns)
    }

    pub(crate) fn panels(&self) -> usize {
        self.full + usize::from(self.last.0 > 0)
    }

    /// The panels of whole vectors; behind them there may be a narrow one.
    pub(crate) fn wide_panels(&self) -> usize {
        self.full + usize::from(self.last.0 > 0 && self.last.1 == self.lanes)
    }

    /// There is one panel, of whole vectors.
    pub(crate) fn is_one(&self) -> bool {
        self.one
    }

    /// The first unit of a panel.
    pub(crate) fn first_unit(&self, panel: usize) -> usize {
        panel * self.blocks * self.lanes
    }

    /// Unit blocks of a panel, and the elements of its vectors.
    fn blocks_of(&self, panel: usize) -> (usize, usize) {
        match panel < self.full {
            true => (self.blocks, self.lanes),
            false => self.last,
        }
    }

    /// Vectors of a panel, gates × unit blocks.
    pub(crate) fn vectors(&self, panel: usize) -> usize {
        self.gates * self.blocks_of(panel).0
    }

    /// Elements of a row in panel order, whole vectors: what the accumulators of all panels take.
    pub(crate) fn row_len(&self) -> usize {
        let (blocks, lanes) = self.last;
        self.gates * (self.first_unit(self.full) + blocks * lanes)
    }

    /// The panels of part `index` of `of`.
    pub(crate) fn share(&self, index: usize, of: usize) -> Range<usize> {
        parallel::share(self.panels(), index, of)
    }
}

impl Layout {
    /// Writes the k rows of `source` in panel order; elements beyond the last unit stay as they are.
    ///
    /// Some rows at a time go to all panels: those that lie one behind the other are read in order, and of a transposed
    /// source, whose columns are read, what is written stays in L1.
    pub(crate) fn pack<E: Element>(&self, k: usize, source: Source<'_, E>, to: &mut [E]) {
        let some = if source.unit_stride == 1 { 8 } else { 64 };
        for first in (0..k).step_by(some) {
            let ks = first..k.min(first + some);
            let mut rest = &mut *to;
            for panel in 0..self.panels() {
                let width = self.vectors(panel) * self.blocks_of(panel).1;
                let (rows, tail) = rest.split_at_mut(k * width);
                rest = tail;
                let rows = &mut rows[ks.start * width..ks.end * width];
                self.pack_panel(panel, ks.start, source, rows);
            }
        }
    }

    /// Some rows of a panel, from row `first` of the source on.
    fn pack_panel<E: Element>(
        &self,
        panel: usize,
        first: usize,
        source: Source<'_, E>,
        to: &mut [E],
    ) {
        let (blocks, lanes) = self.blocks_of(panel);
        let width = self.gates * blocks * lanes;
        for gate in 0..self.gates {
            for block in 0..blocks {
                let unit = self.first_unit(panel) + block * lanes;
                let valid = lanes.min(self.units - unit);
                let column = (gate * blocks + block) * lanes;
                let from = gate * source.gate_stride + unit * source.unit_stride;
                let from = &source.data[from + first * source.k_stride..];
                if source.unit_stride == 1 {
                    for (k, row) in to.chunks_exact_mut(width).enumerate() {
                        let (row, from) = (&mut row[column..], &from[k * source.k_stride..]);
                        match valid {
                            // A copy of a known length is no call.
                            16 => row[..16].copy_from_slice(&from[..16]),
                            8 => row[..8].copy_from_slice(&from[..8]),
                            n => row[..n].copy_from_slice(&from[..n]),
                        }
                    }
                } else {
                    for lane in 0..valid {
                        let from = from[lane * source.unit_stride..].iter();
                        let to = to[column + lane..].iter_mut().step_by(width);
                        to.zip(from.step_by(source.k_stride))
                            .for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

impl<E: Element> Packed<E> {
    /// # Errors
    /// The panels would not fit in memory.
    pub(crate) fn zeros(layout: Layout, k: usize) -> Result<Self, ShapeError> {
        let what = "a packed matrix";
        let len = layout.row_len().checked_mul(k);
        let len = len.ok_or(ShapeError::TooLarge(what))?;
        Ok(Self {
            layout,
            k,
            // Of one that is not full it is more than there is, and is not used.
            panel_len: k.saturating_mul(layout.gates * layout.blocks * layout.lanes),
            data: AlignedVec::zeros(len, what)?,
        })
    }

    /// The panel's rows: element (k, vector v, lane l) at `k·vectors·lanes + v·lanes + l`.
    pub(crate) fn panel(&self, panel: usize) -> *const E {
        debug_assert!(panel < self.layout.panels());
        self.data.as_ptr().wrapping_add(panel * self.panel_len)
    }

    /// Writes all panels anew from `source`; allocates nothing.
    pub(crate) fn fill(&mut self, source: Source<'_, E>) {
        self.layout.pack(self.k, source, &mut self.data);
    }

    /// Bytes of a full panel.
    pub(crate) fn panel_bytes(&self) -> usize {
        self.panel_len.saturating_mul(size_of::<E>())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len() * size_of::<E>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Narrow where that is less to pad and no more to multiply.
    #[test]
    fn the_last_panel_is_narrow_where_that_costs_less() {
        let lanes = Lanes {
            whole: 16,
            narrow: 8,
        };
        let shape = |layout: Layout| {
            let last = layout.panels() - 1;
            (layout.vectors(last), layout.row_len(), layout.wide_panels())
        };
        // An LSTM of 20 units: 16 and 8 of four gates.
        assert_eq!(shape(Layout::new(lanes, 4, 1, 20)), (4, 96, 1));
        // Columns: three narrow vectors would be three multiplications, two whole ones are two; four narrow ones are two as well.
        assert_eq!(shape(Layout::plain(lanes, 20)), (2, 32, 1));
        assert_eq!(shape(Layout::plain(lanes, 32)), (2, 32, 1));
        assert_eq!(shape(Layout::plain(lanes, 8)), (1, 8, 0));
    }

    #[test]
    fn more_than_there_can_be_is_refused() {
        let lanes = Lanes {
            whole: 16,
            narrow: 8,
        };
        for units in [1, 16, 100] {
            let layout = Layout::new(lanes, 4, 1, units);
            for k in [usize::MAX / 64, usize::MAX / 8, usize::MAX] {
                let refused = Packed::<f32>::zeros(layout, k);
                assert!(
                    matches!(refused, Err(ShapeError::TooLarge(_))),
                    "{units} {k}"
                );
            }
        }
    }
}
