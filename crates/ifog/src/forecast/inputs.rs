//! What the networks read.
//!
//! For each column y three numbers a row, each over its root mean square in the training rows:
//!
//! ```text
//! y_t − y_{t−1}        y_t − m_t        y_t − M_t        m_t ← m_{t−1} + α (y_t − m_{t−1}), M likewise, slower
//! ```

use serde::{Deserialize, Serialize};

use super::size;

/// Root mean squares of what is read of a column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Scale([f64; INPUTS]);

impl Scale {
    /// Of the training rows; there is one at least.
    pub(super) fn of(values: &[f64]) -> Self {
        let read: Vec<[f64; INPUTS]> = readings(values).collect();
        Self(std::array::from_fn(|input| {
            let one: Vec<f64> = read.iter().map(|r| r[input]).collect();
            size(&one)
        }))
    }

    /// Whether it can be divided by.
    pub(super) fn is_sound(&self) -> bool {
        self.0.iter().all(|scale| *scale > 0.0 && scale.is_finite())
    }
}

/// `[rows, 3 · columns]`. The columns are of equal length, at least 1.
pub(super) fn inputs(columns: &[&[f64]], scales: &[Scale]) -> Vec<f32> {
    let width = INPUTS * columns.len();
    let mut inputs = vec![0.0f32; columns[0].len() * width];
    for (number, (column, Scale(scale))) in columns.iter().zip(scales).enumerate() {
        let rows = inputs.chunks_exact_mut(width);
        for (row, read) in rows.zip(readings(column)) {
            let to = row[INPUTS * number..].iter_mut();
            for ((to, value), scale) in to.zip(read).zip(scale) {
                *to = (value / scale).clamp(-FARTHEST, FARTHEST) as f32;
            }
        }
    }
    inputs
}

fn readings(values: &[f64]) -> impl Iterator<Item = [f64; INPUTS]> {
    let (mut before, mut fast, mut slow) = (values[0], values[0], values[0]);
    values.iter().map(move |&y| {
        fast += FAST * (y - fast);
        slow += SLOW * (y - slow);
        let read = [y - before, y - fast, y - slow];
        before = y;
        read
    })
}

/// Of a column.
pub(super) const INPUTS: usize = 3;
/// α of m: about the last 20 rows.
const FAST: f64 = 0.1;
/// α of M: about the last 100.
const SLOW: f64 = 0.02;
/// Inputs are held within this many root mean squares.
const FARTHEST: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (y, still) = ([1.0, 3.0, 1.0], [5.0; 3]);
        let scales = [Scale([2.0, 0.9, 1.0]), Scale::of(&still)];
        let read = inputs(&[&y, &still], &scales);
        // m = 1, 1.2, 1.18; M = 1, 1.04, 1.0392.
        let expected = [[0.0, 0.0, 0.0], [1.0, 2.0, 1.96], [-1.0, -0.2, -0.0392]];
        for (row, expected) in read.chunks(2 * INPUTS).zip(expected) {
            for (x, expected) in row.iter().zip(expected) {
                assert!((x - expected).abs() < 1e-6, "{row:?}");
            }
            assert_eq!(row[INPUTS..], [0.0; INPUTS]);
        }
    }
}
