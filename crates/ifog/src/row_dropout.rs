//! Variational dropout on the input and on the recurrence (Gal & Ghahramani 2016): one mask for a whole window.
//!
//! A mask m on the hidden state that enters the recurrent product is a mask on the rows of U:
//!
//! ```text
//! (m ⊙ h) U = h (diag(m) U)          m = 0 with probability p, else 1/(1 − p)
//! ```
//!
//! and a mask on the symbols of the vocabulary is one on the rows of the embedding, or of W for one-hot input. So the
//! kernels need not know of it: weights are masked before they are packed, and their gradient after the backward pass. In
//! the reset-before GRU the mask stands on r ⊙ h where that enters the candidate. The mask is new for each window, and all
//! streams of the batch share it.

use std::ops::Range;

use crate::config::InputConfig;
use crate::parameters::Layout;
use crate::rng::{Rng, RngState};

/// The masks of a window, over rows of the flat parameters.
#[derive(Clone, Debug)]
pub struct RowDropout {
    rng: Rng,
    rows: Vec<Row>,
    /// 0 or 1/(1 − p) a row.
    mask: Vec<f32>,
    /// The parameters behind the mask; empty if nothing is dropped.
    masked: Vec<f32>,
}

/// A row that is dropped as a whole.
#[derive(Clone, Debug)]
struct Row {
    place: Range<usize>,
    rate: f64,
}

impl RowDropout {
    /// Drops symbols with probability `input`, and hidden units on their way into the recurrence with `recurrent`.
    ///
    /// # Panics
    /// A rate is outside [0, 1).
    #[must_use]
    pub fn new(layout: &Layout, input: f64, recurrent: f64, rng: Rng) -> Self {
        for rate in [input, recurrent] {
            assert!((0.0..1.0).contains(&rate), "dropout rate {rate}");
        }
        let mut rows = Vec::new();
        let mut drop = |matrix: Range<usize>, columns: usize, rate: f64| {
            if rate > 0.0 {
                rows.extend(matrix.step_by(columns).map(|start| Row {
                    place: start..start + columns,
                    rate,
                }));
            }
        };
        for (layer, shape) in layout.shapes().iter().enumerate() {
            let (start, columns) = (layout.layer(layer).start, shape.columns());
            let w = start..start + shape.input() * columns;
            match (layer, layout.config().input) {
                (0, InputConfig::OneHot { .. }) => drop(w.clone(), columns, input),
                (0, InputConfig::Embedding { width, .. }) => drop(layout.embedding(), width, input),
                _ => {}
            }
            drop(w.end..w.end + shape.hidden() * columns, columns, recurrent);
        }
        Self {
            rng,
            mask: vec![1.0; rows.len()],
            masked: vec![0.0; if rows.is_empty() { 0 } else { layout.len() }],
            rows,
        }
    }

    /// Draws the masks of a window. Returns the parameters behind them.
    pub fn draw<'a>(&'a mut self, parameters: &'a [f32]) -> &'a [f32] {
        if self.rows.is_empty() {
            return parameters;
        }
        for (mask, row) in self.mask.iter_mut().zip(&self.rows) {
            let dropped = self.rng.unit() < row.rate;
            *mask = if dropped {
                0.0
            } else {
                (1.0 / (1.0 - row.rate)) as f32
            };
        }
        self.masked.copy_from_slice(parameters);
        scale(&mut self.masked, &self.rows, &self.mask);
        &self.masked
    }

    /// From the gradient of the masked parameters to that of the parameters.
    pub fn backward(&self, gradient: &mut [f32]) {
        scale(gradient, &self.rows, &self.mask);
    }

    /// The random state, for checkpoints.
    #[must_use]
    pub fn rng_state(&self) -> RngState {
        self.rng.state()
    }

    /// Goes on from a stored random state.
    pub fn resume(&mut self, state: RngState) {
        self.rng = Rng::restore(state);
    }
}

fn scale(values: &mut [f32], rows: &[Row], mask: &[f32]) {
    for (row, mask) in rows.iter().zip(mask) {
        values[row.place.clone()]
            .iter_mut()
            .for_each(|x| *x *= mask);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::config::NetworkConfig;
    use crate::dropout::Dropout;
    use crate::network::{Inputs, Learner, Packed};
    use crate::rng::Stream;
    use crate::{Cell, Level, Threads};

    fn layout(cell: Cell, input: InputConfig) -> Layout {
        Layout::new(NetworkConfig {
            cell,
            input,
            hidden: 8,
            layers: 2,
            outputs: 5,
        })
        .unwrap()
    }

    #[test]
    fn rows_are_dropped_at_their_rate_and_scaled() {
        let layout = layout(Cell::Lstm, InputConfig::OneHot { vocabulary: 5 });
        let mut dropout = RowDropout::new(&layout, 0.0, 0.25, Rng::new(3, Stream::Rows));
        let ones = vec![1.0; layout.len()];
        let mut zeros = 0;
        for _ in 0..1000 {
            let masked = dropout.draw(&ones);
            for (name, place) in layout.tensors() {
                for row in masked[place].chunks_exact(if name.starts_with("u_l") { 32 } else { 1 })
                {
                    let kept = [1.0, (1.0f64 / 0.75) as f32][usize::from(name.starts_with("u_l"))];
                    assert!(row.iter().all(|x| *x == row[0]) && (row[0] == kept || row[0] == 0.0));
                    assert!(name.starts_with("u_l") || row[0] != 0.0);
                    zeros += usize::from(row[0] == 0.0);
                }
            }
        }
        // Binomial(16,000, 1/4): sigma 54.8; five of it.
        assert!((zeros as f64 - 4000.0).abs() < 274.0, "{zeros}");
    }

    /// The loss with a fixed mask has the gradient that comes back through it: central differences in f32 of a loss that is
    /// linear in the outputs, in f64 packing of the masked weights.
    #[test]
    fn the_gradient_passes_through_the_mask() {
        for cell in Cell::ALL {
            for input in [
                InputConfig::OneHot { vocabulary: 5 },
                InputConfig::Embedding {
                    vocabulary: 5,
                    width: 3,
                },
            ] {
                let layout = layout(cell, input);
                let mut rng = Rng::new(7, Stream::Check);
                let theta: Vec<f64> = (0..layout.len())
                    .map(|_| rng.uniform_f64(-0.5, 0.5))
                    .collect();
                let mut dropout = RowDropout::new(&layout, 0.3, 0.3, Rng::new(1, Stream::Rows));
                dropout.draw(&vec![0.0; layout.len()]);
                let masked = |theta: &[f64]| {
                    let mut masked = theta.to_vec();
                    for (row, mask) in dropout.rows.iter().zip(&dropout.mask) {
                        masked[row.place.clone()]
                            .iter_mut()
                            .for_each(|x| *x *= f64::from(*mask));
                    }
                    masked
                };
                let tokens = [0, 1, 2, 3, 4, 0, 2, 4, 1, 3];
                let mut packed = Packed::new(&layout, Level::best(), true).unwrap();
                let mut loss = |theta: &[f64]| {
                    packed.load(&masked(theta), Threads::SINGLE);
                    let mut learner =
                        Learner::new(&packed, 5, 2, Dropout::off(), Threads::SINGLE).unwrap();
                    let loss = learner.learn(&packed, Inputs::Tokens(&tokens), 5, |outputs| {
                        let sum = outputs
                            .iter()
                            .enumerate()
                            .map(|(k, y)| y * (k % 7) as f64)
                            .sum();
                        outputs
                            .iter_mut()
                            .enumerate()
                            .for_each(|(k, y)| *y = (k % 7) as f64);
                        sum
                    });
                    (loss, learner.gradient)
                };
                let gradient: Vec<f32> = loss(&theta).1.iter().map(|g| *g as f32).collect();
                let mut ours = gradient.clone();
                dropout.backward(&mut ours);
                let largest = ours.iter().fold(0.0f32, |max, g| max.max(g.abs()));
                for k in (0..layout.len()).step_by(3) {
                    let at = |step: f64| {
                        let mut theta = theta.clone();
                        theta[k] += step;
                        theta
                    };
                    let h = 1e-5;
                    let difference = (loss(&at(h)).0 - loss(&at(-h)).0) / (2.0 * h);
                    // The gradient is rounded to f32 twice.
                    let error = (difference - f64::from(ours[k])).abs();
                    assert!(
                        error < 4e-7 * f64::from(largest),
                        "{cell} {k}: {difference} {}",
                        ours[k]
                    );
                }
            }
        }
    }
}
