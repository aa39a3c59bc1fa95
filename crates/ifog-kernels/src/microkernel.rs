//! The register tile: the one product loop of the crate.
//!
//! ```text
//! for row r of the tile, vector v of the panel:   acc[r][v] = start[r][v]
//! for each run, for k in the run:                 acc[r][v] = fma(left[r][k], right[k][v], acc[r][v])
//! out[r][v] = acc[r][v]
//! ```
//!
//! Every output element is one accumulator that runs over k in order, whatever the tile's shape: that is the same-bits
//! contract. A [`Tile`] is pointers alone, so one microkernel for each number of rows and vectors serves every product of
//! the crate (inputs, recurrence, BPTT, weight gradients), is compiled once a level, and is called through a table.
//!
//! There are up to `ACCUMULATORS / 4` rows of four vectors, so that 24 (12) independent chains hide the latency of the FMA and
//! each panel row is loaded once for all of them; of fewer vectors, some more rows ([`most_rows`]). And there are two runs, so that
//! x W and h U share one set of accumulators that never leaves the registers.

use crate::element::Element;
use crate::simd::Simd;
use crate::tile::vectors;

/// A tile, ready to run. The rows beyond those of the microkernel are not read.
pub struct Tile<E> {
    pub(crate) start: [*const E; MAX_ROWS],
    pub(crate) out: [*mut E; MAX_ROWS],
    pub(crate) runs: [Run<E>; 2],
}

/// `len` products of every row: left values `stride` apart, right rows one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Run<E> {
    pub(crate) left: [*const E; MAX_ROWS],
    pub(crate) stride: usize,
    pub(crate) right: *const E,
    pub(crate) len: usize,
    /// Where [`Ahead::Next`] asks for a line with every k. May lie outside of anything.
    pub(crate) next: *const E,
    /// From one k to the next: with less than a line it is asked for several times, which costs little.
    pub(crate) next_stride: usize,
}

/// What the product loop asks the caches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// Nothing: the hardware sees rows one behind the other by itself.
    Nothing,
    /// Some rows ahead.
    SamePanel,
    /// A part of the next panel or rows, so that it is in L2 when its time comes.
    Next,
}

/// A microkernel, entered at its level.
pub(crate) type Microkernel<E> = unsafe fn(&Tile<E>);

/// The most rows of a tile on any level.
pub(crate) const MAX_ROWS: usize = 8;
/// Panel rows that the product loop prefetches ahead where it does. Measured on Zen 4: 97 to 111 GFLOP/s for products with
/// many rows.
const PREFETCH_ROWS: usize = 8;

/// Elements of a cache line.
pub(crate) const fn line<E>() -> usize {
    64 / size_of::<E>()
}

impl<E: Element> Tile<E> {
    /// No rows.
    pub(crate) fn blank() -> Self {
        let none = Run {
            left: [core::ptr::null(); MAX_ROWS],
            stride: 1,
            right: core::ptr::null(),
            len: 0,
            next: core::ptr::null(),
            next_stride: 0,
        };
        Self {
            start: [core::ptr::null(); MAX_ROWS],
            out: [core::ptr::null_mut(); MAX_ROWS],
            runs: [none; 2],
        }
    }
}

/// The most rows of a tile of `vectors` vectors: all accumulators; for narrow panels no more than for three; and with
/// 16 registers no tile of 4 × 3, which leaves none for the left value.
pub(crate) const fn most_rows(accumulators: usize, vectors: usize) -> usize {
    match vectors {
        1 | 2 => accumulators / 3,
        3 if accumulators < 16 => accumulators / 4,
        _ => accumulators / vectors,
    }
}

/// The microkernel of `MR` rows and `NV` vectors.
///
/// # Safety
/// The first MR rows of the tile are valid: starts readable and outs writable for NV vectors, left values and right rows
/// readable for every k of the runs.
#[cfg_attr(not(ifog_unoptimised), inline(always))]
pub(crate) unsafe fn tile_body<S: Simd, const MR: usize, const NV: usize, const AHEAD: u8>(
    s: S,
    tile: &Tile<S::Elem>,
) {
    let mut acc = [[s.splat(S::Elem::ZERO); NV]; MR];
    // SAFETY: the caller vouches for the rows of the tile; a prefetch never faults.
    unsafe {
        for r in 0..MR {
            acc[r] = vectors(s, tile.start[r]);
        }
        for run in &tile.runs {
            let mut left = [core::ptr::null(); MR];
            left.copy_from_slice(&run.left[..MR]);
            let mut right = run.right;
            let mut next = run.next;
            let mut at = 0;
            for _ in 0..run.len {
                if AHEAD == Ahead::SamePanel as u8 {
                    for v in 0..NV {
                        s.prefetch(right.wrapping_add((PREFETCH_ROWS * NV + v) * S::LANES));
                    }
                }
                if AHEAD == Ahead::Next as u8 {
                    s.prefetch_far(next);
                    next = next.wrapping_add(run.next_stride);
                }
                // `make machine-code` has a bounds check to find.
                #[cfg(ifog_planted)]
                assert!(at <= isize::MAX as usize, "in bounds");
                // Beside the accumulators one side of the tile waits in registers, and one vector of the other: on
                // AVX2, 3 × 4 + 3 + 1 is all there is.
                if MR < NV || S::ACCUMULATORS < 16 {
                    let mut x = [s.splat(S::Elem::ZERO); MR];
                    for r in 0..MR {
                        x[r] = s.splat(*left[r].add(at));
                    }
                    for v in 0..NV {
                        let w = s.load(right.add(v * S::LANES));
                        for r in 0..MR {
                            acc[r][v] = s.mul_add(x[r], w, acc[r][v]);
                        }
                    }
                } else {
                    let w: [S::V; NV] = vectors(s, right);
                    for r in 0..MR {
                        let x = s.splat(*left[r].add(at));
                        for v in 0..NV {
                            acc[r][v] = s.mul_add(x, w[v], acc[r][v]);
                        }
                    }
                }
                at += run.stride;
                right = right.add(NV * S::LANES);
            }
        }
        for r in 0..MR {
            for v in 0..NV {
                s.store(tile.out[r].add(v * S::LANES), acc[r][v]);
            }
        }
    }
}
