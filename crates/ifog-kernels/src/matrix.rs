//! Borrowed row-major matrices, right by construction.

use core::fmt;

/// A matrix of `rows × cols` that is read: row r starts at `data[r · row_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, E> {
    pub(crate) data: &'a [E],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
}

/// A matrix of `rows × cols` that is written: row r starts at `data[r · row_stride]`.
#[derive(Debug)]
pub struct MatMut<'a, E> {
    pub(crate) data: &'a mut [E],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
}

/// Sizes that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShapeError {
    /// A dimension is zero.
    Zero(&'static str),
    /// A product of dimensions does not fit in memory.
    TooLarge(&'static str),
    /// A slice has another length than its shape says.
    Length {
        /// Which slice.
        what: &'static str,
        /// Elements that the shape asks for.
        expected: usize,
        /// Elements that it has.
        actual: usize,
    },
    /// Rows overlap: the stride is smaller than the columns.
    Stride {
        /// Elements from one row to the next.
        row_stride: usize,
        /// Columns of a row.
        cols: usize,
    },
    /// Bytes that do not start at a multiple of this many.
    Misaligned(usize),
    /// A cell that was packed for tokens alone is to read vectors.
    NoDenseInput,
    /// A token table of a cell of another level or shape.
    OtherTable,
    /// A token that is not in its table.
    Token {
        /// Which one.
        token: u32,
        /// Tokens of the table.
        vocabulary: usize,
    },
}

impl<'a, E> MatRef<'a, E> {
    /// Rows that follow each other without a gap: `data` is `[rows, cols]`.
    ///
    /// # Errors
    /// `data` has another length, or no memory has room for `rows` × `cols`.
    pub fn new(data: &'a [E], rows: usize, cols: usize) -> Result<Self, ShapeError> {
        check_dense(data.len(), rows, cols)?;
        Ok(Self {
            data,
            rows,
            cols,
            row_stride: cols,
        })
    }

    /// Rows that start `row_stride` elements apart.
    ///
    /// # Errors
    /// `data` is too short, or the stride smaller than `cols`, or no memory has room for the rows.
    pub fn with_stride(
        data: &'a [E],
        rows: usize,
        cols: usize,
        row_stride: usize,
    ) -> Result<Self, ShapeError> {
        check_strided(data.len(), rows, cols, row_stride)?;
        Ok(Self {
            data,
            rows,
            cols,
            row_stride,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row to the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// All elements, `[rows, cols]`, if no gap is between the rows.
    pub fn as_slice(&self) -> Option<&'a [E]> {
        let dense = self.row_stride == self.cols || self.rows <= 1;
        dense.then(|| &self.data[..self.rows * self.cols])
    }

    /// Row r, `[cols]`.
    ///
    /// # Panics
    /// r is not smaller than [`MatRef::rows`].
    pub fn row(&self, r: usize) -> &'a [E] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        &self.data[r * self.row_stride..][..self.cols]
    }
}

impl<'a, E> MatMut<'a, E> {
    /// Rows that follow each other without a gap: `data` is `[rows, cols]`.
    ///
    /// # Errors
    /// `data` has another length, or no memory has room for `rows` × `cols`.
    pub fn new(data: &'a mut [E], rows: usize, cols: usize) -> Result<Self, ShapeError> {
        check_dense(data.len(), rows, cols)?;
        Ok(Self {
            data,
            rows,
            cols,
            row_stride: cols,
        })
    }

    /// Rows that start `row_stride` elements apart.
    ///
    /// # Errors
    /// `data` is too short, or the stride smaller than `cols`, or no memory has room for the rows.
    pub fn with_stride(
        data: &'a mut [E],
        rows: usize,
        cols: usize,
        row_stride: usize,
    ) -> Result<Self, ShapeError> {
        check_strided(data.len(), rows, cols, row_stride)?;
        Ok(Self {
            data,
            rows,
            cols,
            row_stride,
        })
    }

    /// The same to read.
    pub fn as_ref(&self) -> MatRef<'_, E> {
        MatRef {
            data: self.data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
        }
    }

    /// The same for a call that takes it, to be used again after that.
    pub fn reborrow(&mut self) -> MatMut<'_, E> {
        MatMut {
            data: self.data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
        }
    }

    /// Row r, `[cols]`.
    ///
    /// # Panics
    /// r is not smaller than the number of rows.
    pub fn row_mut(&mut self, r: usize) -> &mut [E] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        &mut self.data[r * self.row_stride..][..self.cols]
    }
}

fn check_dense(len: usize, rows: usize, cols: usize) -> Result<(), ShapeError> {
    let expected = rows
        .checked_mul(cols)
        .ok_or(ShapeError::TooLarge("matrix"))?;
    if len == expected {
        return Ok(());
    }
    Err(ShapeError::Length {
        what: "matrix",
        expected,
        actual: len,
    })
}

fn check_strided(
    len: usize,
    rows: usize,
    cols: usize,
    row_stride: usize,
) -> Result<(), ShapeError> {
    if row_stride < cols {
        return Err(ShapeError::Stride { row_stride, cols });
    }
    let needed = match rows.checked_sub(1) {
        Some(last) => last
            .checked_mul(row_stride)
            .and_then(|start| start.checked_add(cols)),
        None => Some(0),
    };
    let expected = needed.ok_or(ShapeError::TooLarge("matrix"))?;
    if len >= expected {
        return Ok(());
    }
    Err(ShapeError::Length {
        what: "matrix",
        expected,
        actual: len,
    })
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(what) => write!(f, "{what} is 0, and must be at least 1"),
            Self::TooLarge(what) => write!(f, "{what} is larger than the memory that can be had"),
            Self::Length {
                what,
                expected,
                actual,
            } => {
                write!(
                    f,
                    "{what} has {actual} elements, and its shape asks for {expected}"
                )
            }
            Self::Stride { row_stride, cols } => {
                write!(
                    f,
                    "rows of {cols} columns cannot start {row_stride} elements apart"
                )
            }
            Self::Misaligned(to) => write!(f, "the bytes do not start at a multiple of {to}"),
            Self::NoDenseInput => f.write_str(
                "the cell was packed for tokens alone: pack it with Uses::dense_input to feed it vectors",
            ),
            Self::OtherTable => f.write_str("the token table is for a cell of another level or shape"),
            Self::Token { token, vocabulary } => {
                write!(f, "token {token} is outside a table of {vocabulary}")
            }
        }
    }
}

impl core::error::Error for ShapeError {}
