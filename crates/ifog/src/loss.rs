//! Losses over the rows of a window, with the gradient in the place of the outputs.

use ifog_kernels::{Element, Level, math};

/// Softmax cross-entropy in nats.
///
/// `logits` `[R, V]` become their gradient for a *mean* loss, (softmax − one-hot)/`mean_over`; only the first
/// `targets.len()` rows count, the others get gradient 0. Returns the sum of the losses of these rows,
/// −ln softmax\[target\] = ln Σ e^(l − max) + max − l\[target\].
///
/// # Panics
/// The lengths do not fit, or a target is outside the vocabulary.
pub fn softmax_cross_entropy<E: Element>(
    level: Level,
    logits: &mut [E],
    vocabulary: usize,
    targets: &[u32],
    mean_over: usize,
) -> f64 {
    let (counted, rest) = logits.split_at_mut(targets.len() * vocabulary);
    rest.fill(E::ZERO);
    let scale = E::from_f64(1.0 / mean_over as f64);
    let losses = |logits: &mut [E], targets: &[u32]| -> f64 {
        let mut sum = 0.0;
        let mut shifted = 0.0;
        for (row, target) in logits.chunks_exact_mut(vocabulary).zip(targets) {
            let max = row
                .iter()
                .fold(row[0], |max, l| if *l > max { *l } else { max });
            row.iter_mut().for_each(|l| *l -= max);
            shifted += row[*target as usize].to_f64();
        }
        math::exp_slice(level, logits);
        for (row, target) in logits.chunks_exact_mut(vocabulary).zip(targets) {
            let total: E = row.iter().copied().sum();
            sum += total.to_f64().ln();
            let factor = scale / total;
            row.iter_mut().for_each(|p| *p *= factor);
            row[*target as usize] -= scale;
        }
        sum - shifted
    };
    rows_in_chunks(counted, vocabulary, targets, losses)
}

/// Rows that one task takes: some 10 µs of exp.
const ROWS: usize = 64;

/// Applies `f` to chunks of rows and adds up its results in the order of the rows.
fn rows_in_chunks<E: Element>(
    rows: &mut [E],
    width: usize,
    targets: &[u32],
    f: impl Fn(&mut [E], &[u32]) -> f64 + Sync,
) -> f64 {
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        let sums: Vec<f64> = rows
            .par_chunks_mut(ROWS * width)
            .zip(targets.par_chunks(ROWS))
            .map(|(rows, targets)| f(rows, targets))
            .collect();
        sums.into_iter().sum()
    }
    #[cfg(not(feature = "rayon"))]
    {
        let chunks = rows.chunks_mut(ROWS * width).zip(targets.chunks(ROWS));
        chunks.map(|(rows, targets)| f(rows, targets)).sum()
    }
}

/// Squared error: `outputs` `[R, O]` become the gradient of Σ (y − t)²/`mean_over`, which is returned.
///
/// # Panics
/// The lengths differ.
pub fn squared_error<E: Element>(outputs: &mut [E], targets: &[E], mean_over: usize) -> f64 {
    assert_eq!(outputs.len(), targets.len(), "outputs and targets");
    let scale = E::from_f64(2.0 / mean_over as f64);
    let mut sum = 0.0;
    for (y, t) in outputs.iter_mut().zip(targets) {
        let error = *y - *t;
        sum += error.to_f64() * error.to_f64();
        *y = error * scale;
    }
    sum / mean_over as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    /// Against the definition in f64, with logits large enough that a naive softmax overflows.
    #[test]
    fn cross_entropy_is_stable_and_its_gradient_sums_to_zero() {
        let logits = [[1000.0f64, 999.0, 998.0], [-3.0, 0.5, 2.0], [7.0, 7.0, 7.0]];
        let mut rows: Vec<f64> = logits.concat();
        let loss = softmax_cross_entropy(Level::best(), &mut rows, 3, &[1, 2], 2);
        let mut expected = 0.0;
        for (logits, target) in logits.iter().zip([1, 2]) {
            let total: f64 = logits.iter().map(|l| (l - logits[target]).exp()).sum();
            expected += total.ln();
        }
        assert!((loss - expected).abs() < 1e-12, "{loss} {expected}");
        for row in rows.chunks_exact(3) {
            assert!(row.iter().sum::<f64>().abs() < 1e-15);
        }
        assert_eq!(rows[6..], [0.0; 3]);
    }

    #[test]
    fn squared_error_and_gradient() {
        let mut y = [1.0f32, -2.0, 0.5];
        let loss = squared_error(&mut y, &[0.0, 0.0, 0.5], 3);
        assert!((loss - 5.0 / 3.0).abs() < 1e-7);
        assert_eq!(y, [2.0 / 3.0, -4.0 / 3.0, 0.0]);
    }
}
