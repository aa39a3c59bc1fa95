//! Losses over the rows of a window, with the gradient in the place of the outputs.

use ifog_kernels::{Element, Level, math};

use crate::rng::ln;

/// Softmax cross-entropy in nats.
///
/// `logits` `[R, V]` become the gradient (softmax − one-hot)/`mean_over` of Σ −ln softmax\[target\]/`mean_over`, which is
/// returned. Only the first `targets.len()` rows count, the others get gradient 0. In a rayon pool its threads share the rows.
///
/// # Panics
/// There are fewer rows than targets, or a target is outside the vocabulary.
pub fn softmax_cross_entropy<E: Element>(
    level: Level,
    logits: &mut [E],
    vocabulary: usize,
    targets: &[u32],
    mean_over: usize,
) -> f64 {
    let sum = summed_cross_entropy(level, logits, vocabulary, targets, mean_over);
    sum / mean_over as f64
}

/// The same gradient, and the sum of the losses, ln Σ e^(l − max) + max − l\[target\] each.
pub(crate) fn summed_cross_entropy<E: Element>(
    level: Level,
    logits: &mut [E],
    vocabulary: usize,
    targets: &[u32],
    mean_over: usize,
) -> f64 {
    let rows = logits.len() / vocabulary;
    assert!(
        targets.len() <= rows,
        "{} targets of {rows} rows",
        targets.len()
    );
    if let Some(target) = targets.iter().find(|t| **t as usize >= vocabulary) {
        panic!("target {target} is outside a vocabulary of {vocabulary}");
    }
    let (counted, rest) = logits.split_at_mut(targets.len() * vocabulary);
    rest.fill(E::ZERO);
    let scale = E::from_f64(1.0 / mean_over as f64);
    let losses = |logits: &mut [E], targets: &[u32]| -> f64 {
        let mut sum = 0.0;
        let mut shifted = 0.0;
        for (row, target) in logits.chunks_exact_mut(vocabulary).zip(targets) {
            let max = maximum(row);
            row.iter_mut().for_each(|l| *l -= max);
            shifted += row[*target as usize].to_f64();
        }
        math::exp_slice(level, logits);
        let groups = logits.chunks_mut(GROUP * vocabulary);
        for (group, targets) in groups.zip(targets.chunks(GROUP)) {
            let totals = totals(group, vocabulary);
            let rows = group.chunks_exact_mut(vocabulary).zip(targets);
            for ((row, target), total) in rows.zip(totals) {
                let sum_of_row = total.to_f64();
                // What is no number has no exponent to take apart.
                sum += if sum_of_row.is_nan() {
                    sum_of_row
                } else {
                    ln(sum_of_row)
                };
                let factor = scale / total;
                row.iter_mut().for_each(|p| *p *= factor);
                row[*target as usize] -= scale;
            }
        }
        sum - shifted
    };
    rows_in_chunks(counted, vocabulary, targets, losses)
}

/// Applies `f` to chunks of rows and adds up its results in the order of the rows.
fn rows_in_chunks<E: Element>(
    rows: &mut [E],
    width: usize,
    targets: &[u32],
    f: impl Fn(&mut [E], &[u32]) -> f64 + Sync,
) -> f64 {
    #[cfg(feature = "rayon")]
    if crate::pool::is_here() {
        use rayon::prelude::*;
        let sums: Vec<f64> = rows
            .par_chunks_mut(ROWS * width)
            .zip(targets.par_chunks(ROWS))
            .map(|(rows, targets)| f(rows, targets))
            .collect();
        return sums.into_iter().sum();
    }
    let chunks = rows.chunks_mut(ROWS * width).zip(targets.chunks(ROWS));
    chunks.map(|(rows, targets)| f(rows, targets)).sum()
}

/// The largest value. Which of several comparisons comes first changes nothing, so [`LANES`] are made at once.
fn maximum<E: Element>(row: &[E]) -> E {
    let larger = |a: E, b: E| if b > a { b } else { a };
    let (vectors, rest) = row.as_chunks::<LANES>();
    let mut maxima = [row[0]; LANES];
    for vector in vectors {
        for (max, l) in maxima.iter_mut().zip(vector) {
            *max = larger(*max, *l);
        }
    }
    maxima
        .iter()
        .chain(rest)
        .fold(row[0], |max, l| larger(max, *l))
}

/// The sums of up to [`GROUP`] rows, each in the order of its values. The rows go side by side: no addition waits for the one
/// before it.
fn totals<E: Element>(rows: &[E], width: usize) -> [E; GROUP] {
    let mut totals = [E::ZERO; GROUP];
    if rows.len() == GROUP * width {
        for column in 0..width {
            for (r, total) in totals.iter_mut().enumerate() {
                *total += rows[r * width + column];
            }
        }
    } else {
        for (row, total) in rows.chunks_exact(width).zip(&mut totals) {
            *total = row.iter().copied().sum();
        }
    }
    totals
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

/// Rows that one task takes: some 10 µs of exp.
const ROWS: usize = 64;
/// Sums at a time: two additions a cycle, each with a latency of four.
const GROUP: usize = 8;
/// Comparisons at a time: four vectors of the least that every processor has.
const LANES: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    /// Against the definition in f64, with logits large enough that a naive softmax overflows.
    #[test]
    fn cross_entropy_is_stable_and_its_gradient_sums_to_zero() {
        let logits = [[1000.0f64, 999.0, 998.0], [-3.0, 0.5, 2.0], [7.0, 7.0, 7.0]];
        let mut rows: Vec<f64> = logits.concat();
        let loss = summed_cross_entropy(Level::best(), &mut rows, 3, &[1, 2], 2);
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

    /// Rows are alone in what they give: in a group of eight, in a part of one, at any width.
    #[test]
    fn a_row_has_the_same_bits_in_any_company() {
        for width in [2, 15, 16, 17, 65] {
            let rows = 2 * ROWS + GROUP + 3;
            let logits: Vec<f32> = (0..rows * width)
                .map(|k| ((k * 7919) % 1013) as f32 * 0.013 - 6.0)
                .collect();
            let targets: Vec<u32> = (0..rows as u32).map(|k| k % width as u32).collect();
            let level = Level::best();
            let mut all = logits.clone();
            let loss = summed_cross_entropy(level, &mut all, width, &targets, rows);
            let mut sum = 0.0;
            for (k, row) in logits.chunks_exact(width).enumerate() {
                let mut alone = row.to_vec();
                sum += summed_cross_entropy(level, &mut alone, width, &targets[k..=k], rows);
                assert_eq!(alone, all[k * width..][..width], "row {k} of width {width}");
            }
            assert!((loss - sum).abs() <= 1e-12 * sum, "{loss} {sum}");
        }
    }

    #[test]
    fn squared_error_and_gradient() {
        let mut y = [1.0f32, -2.0, 0.5];
        let loss = squared_error(&mut y, &[0.0, 0.0, 0.5], 3);
        assert!((loss - 5.0 / 3.0).abs() < 1e-7);
        assert_eq!(y, [2.0 / 3.0, -4.0 / 3.0, 0.0]);
    }
}
