//! Seeded draws: a sample of coordinates and a direction of random signs.

use std::collections::BTreeSet;
use std::ops::Range;

/// A vector of `n` independent random signs, each −1 or +1 (a Rademacher vector), `[n]`.
///
/// As a direction for [`directional`](crate::directional) it weighs every coordinate alike: an error
/// `δ` of the gradient shows as `v·δ`, whose mean square over the seeds is `‖δ‖²`.
#[must_use]
pub fn rademacher(n: usize, seed: u64) -> Vec<f64> {
    let mut generator = SplitMix64::new(seed);
    let sign = |_| {
        if generator.next() >> 63 == 0 {
            1.0
        } else {
            -1.0
        }
    };
    (0..n).map(sign).collect()
}

/// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
pub(crate) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        SplitMix64 { state: seed }
    }

    /// `n` different members of `range` in ascending order, each subset equally likely.
    ///
    /// Floyd's algorithm (Bentley and Floyd, *Communications of the ACM* 30, 1987): memory for `n` members
    /// whatever the length of the range. Requires `n ≤ range.len()`.
    pub(crate) fn sample(&mut self, n: usize, range: Range<usize>) -> Vec<usize> {
        debug_assert!(
            n <= range.len(),
            "a sample without repetition fits its range"
        );
        let mut chosen = BTreeSet::new();
        for last in range.end - n..range.end {
            let candidate = range.start + self.below(last - range.start + 1);
            if !chosen.insert(candidate) {
                chosen.insert(last);
            }
        }
        chosen.into_iter().collect()
    }

    /// Uniform in `0..n`, by the high half of a 128-bit product; its bias is below `n / 2⁶⁴`.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // First outputs for seed 0, computed independently from the published recurrence.
        let mut generator = SplitMix64::new(0);
        assert_eq!(generator.next(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(generator.next(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn every_subset_is_about_equally_likely() {
        // 2 of 4: six subsets, 6000 draws, 1000 ± 29 each (binomial); 5 σ = 145.
        let mut counts = [[0_u32; 4]; 4];
        let mut generator = SplitMix64::new(7);
        for _ in 0..6000 {
            let pair = generator.sample(2, 10..14);
            counts[pair[0] - 10][pair[1] - 10] += 1;
        }
        for (a, row) in counts.iter().enumerate() {
            for (b, &count) in row.iter().enumerate() {
                if a < b {
                    assert!(count.abs_diff(1000) < 145, "{{{a}, {b}}}: {count}");
                } else {
                    assert_eq!(count, 0);
                }
            }
        }
    }
}
