//! What enters a cell: vectors, or tokens whose x W + b is a row of a table.

use crate::buffer::AlignedVec;
use crate::cell::{Params, Shape};
use crate::element::Element;
use crate::level::Level;
use crate::matrix::{MatRef, ShapeError};
use crate::pack::Source;
use crate::packed::PackedCell;
use crate::parallel::Threads;

/// What enters the cell.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, E> {
    /// Vectors `[T·B, I]`, time-major: row t·B + b.
    Dense(MatRef<'a, E>),
    /// Tokens `[T·B]`, time-major, each a row of the table. The bits are those of the dense product with the embedding's rows, or
    /// with one-hot vectors; in the latter a product also adds 0 times every other weight, which may turn −0 into 0, and makes NaN of
    /// weights that are not finite.
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
    /// `[V, width]`, rows in the panel order of its cell.
    pub(crate) rows: AlignedVec<E>,
    /// Level and shape of that cell.
    made_for: (Level, Shape),
    vocabulary: usize,
}

impl<E: Element> PackedCell<E> {
    /// Room for the table of `vocabulary` tokens, all zero. It has the weights that it is filled from: fill it
    /// again after each [`PackedCell::pack`]. Cells of another level or shape refuse it.
    ///
    /// # Errors
    /// The vocabulary is empty, or the table would not fit in memory.
    pub fn token_table(&self, vocabulary: usize) -> Result<TokenTable<E>, ShapeError> {
        if vocabulary == 0 {
            return Err(ShapeError::Zero("vocabulary"));
        }
        let what = "the token table";
        let len = vocabulary.checked_mul(self.u.row_len());
        Ok(TokenTable {
            rows: AlignedVec::zeros(len.ok_or(ShapeError::TooLarge(what))?, what)?,
            made_for: (self.level(), self.shape()),
            vocabulary,
        })
    }

    /// Row v = b + row v of W: one-hot inputs. W is that of `params`, b as last packed.
    ///
    /// # Panics
    /// W has not `[V, G·H]` elements, or the table is for another cell.
    pub fn fill_one_hot(&self, params: Params<'_, E>, table: &mut TokenTable<E>) {
        let columns = self.shape().columns();
        assert_eq!(params.w.len(), table.vocabulary * columns, "length of W");
        self.check_table(table);
        let rows = table.rows.chunks_exact_mut(self.u.row_len());
        for (row, w) in rows.zip(params.w.chunks_exact(columns)) {
            self.u.pack_rows(1, self.gate_columns(w), row);
            for (to, b) in row.iter_mut().zip(&self.bias[..]) {
                *to = *b + *to;
            }
        }
    }

    /// x W + b for V input vectors `[V, I]`: how an embedding becomes token input.
    ///
    /// # Panics
    /// The shapes do not fit, or the cell was made without
    /// [`Uses::dense_input`](crate::Uses::dense_input).
    pub fn fill_table(&self, inputs: MatRef<'_, E>, table: &mut TokenTable<E>, threads: Threads) {
        self.check_table(table);
        assert_eq!(
            (inputs.rows, inputs.cols),
            (table.vocabulary, self.shape().input()),
            "shape of the inputs"
        );
        // SAFETY: the table has a row for each input.
        unsafe { self.input_rows(inputs, table.rows.as_mut_ptr(), threads) };
    }

    /// # Panics
    /// The table is for a cell of another level or shape: its rows lie in another order.
    fn check_table(&self, table: &TokenTable<E>) {
        assert!(self.reads(table), "the token table is for another cell");
    }

    /// Whether the rows of the table lie in this cell's order.
    pub(crate) fn reads(&self, table: &TokenTable<E>) -> bool {
        table.made_for == (self.level(), self.shape())
    }

    /// Rows of G·H columns, gates side by side.
    pub(crate) fn gate_columns<'a>(&self, data: &'a [E]) -> Source<'a, E> {
        Source {
            data,
            k_stride: self.shape().columns(),
            gate_stride: self.shape().hidden(),
            unit_stride: 1,
        }
    }

    /// # Panics
    /// The input is not of T·B rows of this cell.
    pub(crate) fn check_input(&self, input: &Input<'_, E>, steps: usize, batch: usize) {
        let rows = steps
            .checked_mul(batch)
            .unwrap_or_else(|| panic!("{steps} × {batch} rows"));
        match input {
            Input::Dense(x) => {
                assert_eq!(
                    (x.rows, x.cols),
                    (rows, self.shape().input()),
                    "shape of the input"
                );
            }
            Input::Tokens { ids, table } => {
                assert_eq!(ids.len(), rows, "number of tokens");
                self.check_table(table);
                let largest = ids.iter().max().map_or(0, |id| *id as usize);
                assert!(
                    largest < table.vocabulary,
                    "token {largest} is outside a vocabulary of {}",
                    table.vocabulary
                );
            }
        }
    }
}

impl<E> TokenTable<E> {
    /// V.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}
