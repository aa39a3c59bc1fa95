//! The inner product of two vectors.

/// Of vectors of one length. In eight sums, so that none waits for the last: an orthogonal matrix of 1,024 rows has a billion such
/// products.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (eights, rest) = (a.chunks_exact(8).zip(b.chunks_exact(8)), a.len() / 8 * 8);
    for (a, b) in eights {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest = a[rest..].iter().zip(&b[rest..]);
    sums.iter().sum::<f64>() + rest.map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, so that no order rounds.
    #[test]
    fn every_element_counts_once() {
        for n in 0..35 {
            let a: Vec<f64> = (0..n).map(f64::from).collect();
            let b: Vec<f64> = a.iter().map(|a| 2.0 * a + 1.0).collect();
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(dot(&a, &b), expected, "{n} elements");
        }
    }
}
