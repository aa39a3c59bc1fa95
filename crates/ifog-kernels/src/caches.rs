//! What a sweep does for the caches: what it asks for ahead, and what it cuts so that it stays.
//!
//! Decides about speed alone, never about bits: each sum runs over k in order.

use core::ops::Range;

use crate::element::Element;
use crate::microkernel::Ahead;
use crate::pack::Packed;
use crate::parallel;
use crate::simd::processor;
use crate::tile::Product;

/// What a sweep has to fetch from behind L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    /// Little.
    Nothing,
    /// Panels; the rows stay in L2.
    Panels,
    /// Rows, for every panel again; a panel stays.
    Rows,
    /// Rows, beside a panel that takes much of L2 itself.
    All,
}

impl Far {
    /// What is not more is left to stay in L2 by itself. With more, measured on Emerald Rapids: 6 to 13 % less
    /// time for the inference of an LSTM of 256 and 512 units, 32 and 50 rows.
    const IN_L2: usize = 512 << 10;

    /// The largest panel beside which rows are fetched ahead. Products of 2,500 rows, measured on Emerald Rapids: 5 to 10 % less time
    /// with K up to 512, nothing from 768 on, and 5 % more with 4,096.
    const SMALL_PANEL: usize = 128 << 10;

    /// What the tiles of a panel are to ask for, `rows` rows in so many tiles; the next step begins with the `last` panel.
    ///
    /// With one or two tiles there is little time to fetch the next panel in, and where the processor sees panels coming by itself, asking for
    /// it only delays the one at hand: then a single tile asks for its own panel, a little ahead, and two tiles for nothing. h U of an
    /// LSTM of 512 units on Zen 5: 4 rows at 0.83 of the peak instead of 0.69, 5 at 0.91 instead of 0.80, 8 at 0.88 instead of 0.80.
    #[inline(always)]
    pub(crate) fn ahead(self, rows: usize, tiles: usize, last: bool) -> Ahead {
        match self {
            Self::Nothing => Ahead::Nothing,
            Self::All => Ahead::SamePanel,
            Self::Panels if tiles <= 2 && processor::sees_panels_coming() => match rows {
                // Of three rows in one tile −3 to +13 %, of two −6 to +10 %.
                3.. if tiles == 1 => Ahead::SamePanel,
                _ => Ahead::Nothing,
            },
            Self::Panels if last => Ahead::Nothing,
            Self::Panels | Self::Rows => Ahead::Next,
        }
    }

    /// Rows of tile `tile` of `tiles`, dealt evenly: 32 rows are 6+6+5+5+5+5, not 5×6+2, as a tile of two rows is bound by loads.
    ///
    /// But of two tiles the first is the one that a panel from behind L2 keeps waiting, so it has five of eight rows: those 8 rows
    /// at 0.93 of the peak.
    #[inline(always)]
    pub(crate) fn deal(self, rows: usize, most: usize, tile: usize, tiles: usize) -> Range<usize> {
        if self == Self::Panels && tiles == 2 {
            let first = (rows * 5).div_ceil(8).min(most);
            if first + 2 <= rows {
                return match tile {
                    0 => 0..first,
                    _ => first..rows,
                };
            }
        }
        parallel::share(rows, tile, tiles)
    }

    /// Of products of `rows` rows.
    #[inline(always)]
    pub(crate) fn of<E: Element>(products: &[Product<'_, E>; 2], rows: usize) -> Self {
        let len = products.iter().map(|product| product.len).sum::<usize>();
        let (left, right) = (rows * len * size_of::<E>(), sum(products, Packed::bytes));
        if left > right.max(Self::IN_L2) {
            return match sum(products, Packed::panel_bytes) <= Self::SMALL_PANEL {
                true => Self::Rows,
                false => Self::All,
            };
        }
        match right > Self::IN_L2 {
            true => Self::Panels,
            false => Self::Nothing,
        }
    }
}

/// How a sweep is cut. A panel that L2 does not keep from tile to tile is multiplied in parts of k, each with some rows before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Of k.
    pub(crate) parts: usize,
    /// Of rows, whose unfinished sums are kept.
    blocks: usize,
}

/// One piece of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) panel: usize,
    pub(crate) block: usize,
    pub(crate) part: usize,
}

impl Cut {
    /// The most bytes of a part of a panel: half of the L2 of the processors that have 1 MiB of it. Measured on Zen 5: products with
    /// K = 4,096 of 16, 32, 64 and 128 rows at 0.99 of the peak, where they were at 0.83 to 0.95; training of 64 rows of an LSTM of
    /// 1,024 units 2 to 3 % less time.
    const PART: usize = 512 << 10;
    /// Rows of unfinished sums, which take 16 KiB of stack.
    pub(crate) const MOST_ROWS: usize = 64;

    /// Of products of `rows` rows, in tiles of up to `most`.
    #[inline(always)]
    pub(crate) fn of<E: Element>(products: &[Product<'_, E>; 2], rows: usize, most: usize) -> Self {
        let bytes = sum(products, Packed::panel_bytes);
        // A single tile reads it once.
        if bytes <= Self::PART || rows <= most {
            return Self {
                parts: 1,
                blocks: 1,
            };
        }
        Self {
            parts: bytes.div_ceil(Self::PART),
            blocks: rows.div_ceil(Self::MOST_ROWS),
        }
    }

    /// The rows of a block.
    #[inline(always)]
    pub(crate) fn rows(self, rows: &Range<usize>, block: usize) -> Range<usize> {
        let share = parallel::share(rows.len(), block, self.blocks);
        rows.start + share.start..rows.start + share.end
    }

    /// The first piece.
    #[inline(always)]
    pub(crate) fn first(self, panels: usize) -> Option<Place> {
        (panels > 0).then_some(Place {
            panel: 0,
            block: 0,
            part: 0,
        })
    }

    /// The piece after one.
    #[inline(always)]
    pub(crate) fn after(self, Place { panel, block, part }: Place, panels: usize) -> Option<Place> {
        if part + 1 < self.parts {
            return Some(Place {
                panel,
                block,
                part: part + 1,
            });
        }
        if block + 1 < self.blocks {
            return Some(Place {
                panel,
                block: block + 1,
                part: 0,
            });
        }
        (panel + 1 < panels).then_some(Place {
            panel: panel + 1,
            block: 0,
            part: 0,
        })
    }
}

/// Of the products that there are.
#[inline(always)]
fn sum<E: Element>(products: &[Product<'_, E>; 2], bytes: fn(&Packed<E>) -> usize) -> usize {
    let of = |product: &Product<'_, E>| bytes(product.right) * product.len.min(1);
    products.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::level::Level;
    use crate::product::PackedMatrix;
    use crate::tile::Rows;

    #[test]
    fn a_panel_that_l2_does_not_keep_is_cut() {
        let cut = |rows, k| {
            let matrix = PackedMatrix::<f32>::new(Level::best(), k, 64).unwrap();
            let product = Product::new(Rows::flat(core::ptr::null(), k), &matrix.packed);
            Cut::of(&[product, product.empty()], rows, 6)
        };
        let whole = Cut {
            parts: 1,
            blocks: 1,
        };
        assert_eq!(cut(64, 1024), whole);
        // Read once, however large.
        assert_eq!(cut(6, 32_768), whole);
        assert_eq!(cut(7, 32_768).blocks, 1);
        let four = cut(130, 32_768);
        assert!(four.parts >= 4 && four.blocks == 3, "{four:?}");
        let cut = Cut {
            parts: 2,
            blocks: 2,
        };
        let places: Vec<Place> =
            core::iter::successors(cut.first(2), |place| cut.after(*place, 2)).collect();
        let of = |panel, block, part| Place { panel, block, part };
        let one = |panel| {
            [
                of(panel, 0, 0),
                of(panel, 0, 1),
                of(panel, 1, 0),
                of(panel, 1, 1),
            ]
        };
        assert_eq!(places, [one(0), one(1)].concat());
    }

    #[test]
    fn each_row_is_in_one_tile() {
        let all = [Far::Nothing, Far::Panels, Far::Rows, Far::All];
        for far in all {
            for (rows, most) in (1..40_usize).flat_map(|rows| [(rows, 3), (rows, 6), (rows, 8)]) {
                let tiles = rows.div_ceil(most);
                let dealt = (0..tiles).map(|tile| far.deal(rows, most, tile, tiles));
                assert!(
                    dealt
                        .clone()
                        .all(|tile| tile.len() <= most && !tile.is_empty())
                );
                assert!(dealt.flatten().eq(0..rows), "{rows} rows of {far:?}");
            }
        }
        assert_eq!(Far::Panels.deal(8, 6, 0, 2), 0..5);
        assert_eq!(Far::Nothing.deal(8, 6, 0, 2), 0..4);
        // A tile of one row is bound by loads.
        assert_eq!(Far::Panels.deal(4, 3, 0, 2), 0..2);
    }

    #[test]
    fn many_tiles_ask_for_the_next_panel_while_there_is_one() {
        assert_eq!(Far::Panels.ahead(32, 6, false), Ahead::Next);
        assert_eq!(Far::Panels.ahead(32, 6, true), Ahead::Nothing);
        assert_eq!(Far::Rows.ahead(32, 6, true), Ahead::Next);
        assert_eq!(Far::Nothing.ahead(4, 1, false), Ahead::Nothing);
        let alone = match processor::sees_panels_coming() {
            true => [Ahead::SamePanel, Ahead::Nothing],
            false => [Ahead::Next; 2],
        };
        assert_eq!(
            [(4, 1), (8, 2)].map(|(rows, tiles)| Far::Panels.ahead(rows, tiles, false)),
            alone
        );
    }

    #[test]
    fn what_is_larger_comes_from_far_away() {
        let far = |rows, k, n| {
            let matrix = PackedMatrix::<f32>::new(Level::best(), k, n).unwrap();
            let left = Rows::flat(core::ptr::null(), k);
            let product = Product::new(left, &matrix.packed);
            Far::of(&[product, product.empty()], rows)
        };
        assert_eq!(far(48, 128, 512), Far::Nothing);
        assert_eq!(far(48, 512, 2048), Far::Panels);
        assert_eq!(far(2500, 512, 128), Far::Rows);
        // A panel of 512 KiB (of AVX-512; half of it for AVX2).
        assert_eq!(far(2500, 2048, 512), Far::All);
        // Of two products both count: two of 512 KiB are more than L2 is trusted with.
        let matrix = PackedMatrix::<f32>::new(Level::best(), 128, 1024).unwrap();
        let left = Rows::flat(core::ptr::null(), 128);
        let product = Product::new(left, &matrix.packed);
        assert_eq!(Far::of(&[product, product.empty()], 32), Far::Nothing);
        assert_eq!(Far::of(&[product, product], 32), Far::Panels);
    }
}
