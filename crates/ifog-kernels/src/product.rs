//! Products with a packed matrix: out = start + X P.

use core::ops::Range;

use crate::dispatch;
use crate::element::Element;
use crate::level::Level;
use crate::matrix::{MatMut, MatRef, ShapeError};
use crate::microkernel::MAX_ROWS;
use crate::pack::{Layout, Packed, Source};
use crate::parallel::{self, Shared, Threads};
use crate::simd::Simd;
use crate::tile::{self, Panel, Panels, Product, Rows, TileOp, sweep};

/// A matrix `[K, N]` packed for one level, to be multiplied from the left many times.
///
/// out\[r\]\[n\] starts at the bias (or 0) and adds x\[r\]\[k\]·m\[k\]\[n\] for k = 0, 1, … by fused
/// multiply-add: the bits depend neither on the other rows, nor on the threads, nor on the level where it is fused
/// ([`Level::is_fused`]).
#[derive(Clone, Debug)]
pub struct PackedMatrix<E> {
    pub(crate) level: Level,
    pub(crate) packed: Packed<E>,
}

impl<E: Element> PackedMatrix<E> {
    /// Room for a matrix `[k, n]`, filled with zeros.
    ///
    /// # Errors
    /// A dimension is zero or the product does not fit in memory.
    pub fn new(level: Level, k: usize, n: usize) -> Result<Self, ShapeError> {
        if k == 0 || n == 0 {
            return Err(ShapeError::Zero("a matrix dimension"));
        }
        // So that rows rounded up to whole vectors can be counted.
        if n > isize::MAX as usize {
            return Err(ShapeError::TooLarge("a packed matrix"));
        }
        let lanes = dispatch::panel_lanes::<E>(level);
        Ok(Self {
            level,
            packed: Packed::zeros(Layout::plain(lanes, n), k)?,
        })
    }

    /// Packs `matrix`, `[K, N]`. Allocates nothing.
    ///
    /// # Panics
    /// The shape is another one.
    pub fn pack(&mut self, matrix: MatRef<'_, E>) {
        assert_eq!(
            (matrix.rows, matrix.cols),
            self.shape(),
            "shape of the matrix to pack"
        );
        self.packed.fill(Source {
            data: matrix.data,
            k_stride: matrix.row_stride,
            gate_stride: 0,
            unit_stride: 1,
        });
    }

    /// Packs the transpose of `matrix`, which is `[N, K]`. Allocates nothing.
    ///
    /// # Panics
    /// The shape is another one.
    pub fn pack_transposed(&mut self, matrix: MatRef<'_, E>) {
        assert_eq!(
            (matrix.cols, matrix.rows),
            self.shape(),
            "shape of the matrix to pack"
        );
        self.packed.fill(Source {
            data: matrix.data,
            k_stride: 1,
            gate_stride: 0,
            unit_stride: matrix.row_stride,
        });
    }

    /// (K, N).
    pub fn shape(&self) -> (usize, usize) {
        (self.packed.k, self.packed.layout.units)
    }

    /// `out = bias + x · matrix`: x `[R, K]`, bias `[N]` (none: 0), out `[R, N]`.
    ///
    /// # Panics
    /// The shapes do not fit.
    pub fn multiply(
        &self,
        x: MatRef<'_, E>,
        bias: Option<&[E]>,
        out: MatMut<'_, E>,
        threads: Threads,
    ) {
        let (k, n) = self.shape();
        assert_eq!(
            (x.cols, out.rows, out.cols),
            (k, x.rows, n),
            "shapes of x and out"
        );
        assert!(
            bias.is_none_or(|bias| bias.len() == n),
            "the bias has {n} columns"
        );
        let args = Multiply {
            left: Rows::flat(x.data.as_ptr(), x.row_stride),
            out: Rows::flat(out.data.as_mut_ptr(), out.row_stride),
            bias: bias.map_or(core::ptr::null(), <[E]>::as_ptr),
        };
        let parts = threads.worth(2 * x.rows as u64 * (k * n) as u64);
        // SAFETY: the shapes were checked; x and out are borrowed for the call, out exclusively.
        unsafe { multiply_rows(self.level, &self.packed, args, x.rows, parts) };
    }
}

/// The pointers of one product.
#[derive(Clone, Copy)]
pub struct Multiply<E> {
    pub(crate) left: Rows<*const E>,
    pub(crate) out: Rows<*mut E>,
    /// `[N]`, or null for zero.
    pub(crate) bias: *const E,
}

/// Runs `args` over rows 0..`rows`, cut into `parts`.
///
/// # Safety
/// The pointers of `args` are valid for `rows` rows of `packed`'s shape, `out` exclusively.
unsafe fn multiply_rows<E: Element>(
    level: Level,
    packed: &Packed<E>,
    args: Multiply<E>,
    rows: usize,
    parts: usize,
) {
    // SAFETY: each part below has rows or panels of its own.
    let shared = unsafe { Shared::new(args) };
    // Few rows: deal out the columns instead.
    let by_rows = rows >= parts * MAX_ROWS;
    let panels = packed.layout.panels();
    let parts = if by_rows { parts } else { parts.min(panels) };
    parallel::run(parts, &|part| {
        let (rows, panels) = if by_rows {
            (parallel::share(rows, part, parts), 0..panels)
        } else {
            (0..rows, parallel::share(panels, part, parts))
        };
        // SAFETY: the caller vouches for all rows.
        unsafe { E::product(level, packed, shared.inner(), rows, panels) };
    });
}

/// # Safety
/// The pointers of `args` are valid for `rows` and `panels`, and nobody else writes them.
#[inline(always)]
pub(crate) unsafe fn multiply_body<S: Simd>(
    s: S,
    packed: &Packed<S::Elem>,
    args: &Multiply<S::Elem>,
    rows: Range<usize>,
    panels: Range<usize>,
) {
    let op = MultiplyOp {
        out: args.out,
        bias: args.bias,
        columns: packed.layout.units,
    };
    let product = Product::new(args.left, packed);
    // SAFETY: passed on from the caller.
    unsafe {
        sweep(
            s,
            &op,
            [product, product.empty()],
            Panels::ascending(panels),
            rows,
        )
    };
}

/// Bias in front, a plain store behind. Whole panels go straight to the result.
struct MultiplyOp<E> {
    out: Rows<*mut E>,
    bias: *const E,
    columns: usize,
}

impl<E> MultiplyOp<E> {
    /// First column of a panel, and how many there are from it on.
    #[inline(always)]
    fn columns(&self, panel: Panel) -> (usize, usize) {
        (panel.unit, self.columns - panel.unit)
    }
}

impl<S: Simd> TileOp<S> for MultiplyOp<S::Elem> {
    #[inline(always)]
    unsafe fn start(&self, s: S, _row: usize, panel: Panel, slot: *mut S::Elem) -> *const S::Elem {
        let (column, valid) = self.columns(panel);
        // SAFETY: the bias has `columns` elements, and every vector of the panel starts before the last.
        unsafe {
            if self.bias.is_null() {
                return tile::zeros(s, panel, slot);
            }
            let bias = self.bias.add(column);
            if valid >= panel.vectors * S::LANES {
                return bias;
            }
            for v in 0..panel.vectors {
                let lane = v * S::LANES;
                s.store(slot.add(lane), tile::load(s, bias.add(lane), valid - lane));
            }
            slot
        }
    }

    #[inline(always)]
    unsafe fn out(&self, row: usize, panel: Panel) -> Option<*mut S::Elem> {
        let (column, valid) = self.columns(panel);
        // SAFETY: the row has `columns` elements.
        (valid >= panel.vectors * S::LANES).then(|| unsafe { self.out.at(row).add(column) })
    }

    #[inline(always)]
    unsafe fn finish(&self, s: S, row: usize, panel: Panel, acc: *mut S::Elem) {
        let (column, valid) = self.columns(panel);
        for v in 0..panel.vectors {
            let lane = v * S::LANES;
            // SAFETY: the row has `columns` elements, and vector v starts before the last.
            unsafe {
                let out = self.out.at(row).add(column + lane);
                tile::store(s, out, s.load(acc.add(lane)), valid - lane);
            }
        }
    }
}
