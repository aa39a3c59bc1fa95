//! Initial parameters.

use ifog_kernels::Cell;
use serde::{Deserialize, Serialize};

use crate::config::InputConfig;
use crate::dot::dot;
use crate::parameters::Layout;
use crate::rng::{Rng, Stream, ln};

/// How weights start. Biases start at 0, but for the forget gate's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Uniform in ±√(3/n), variance 1/n, for the n inputs that a matrix sums (LeCun, Bottou, Orr & Müller 1998, section 4.6).
    /// Of a table of symbols, which is an embedding or the W of a one-hot input, one row is read at a time: there n = 1.
    #[default]
    FanIn,
    /// Uniform in ±1/√H of their layer, as PyTorch's recurrent layers. Symbols read one-hot are then hardly heard at first: for
    /// hundreds of steps a training does little but let their weights grow.
    Uniform,
    /// Uniform in ±0.08, as char-rnn and Sutskever, Vinyals & Le 2014.
    CharRnn,
    /// Recurrent weights orthogonal gate by gate (Saxe, McClelland & Ganguli 2014), the rest as `Uniform`.
    Orthogonal,
}

/// Fills a flat buffer for `layout`.
///
/// An LSTM's forget gate gets the bias `forget_bias`: 1 keeps the cell state flowing from the start (Gers et
/// al. 2000; Jozefowicz et al. 2015).
pub fn initial_parameters(layout: &Layout, init: Init, forget_bias: f32, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, Stream::Init);
    let limit = |inputs: usize, hidden: usize| match init {
        Init::FanIn => (3.0 / inputs as f64).sqrt() as f32,
        Init::CharRnn => 0.08,
        Init::Uniform | Init::Orthogonal => (1.0 / (hidden as f64).sqrt()) as f32,
    };
    let mut params = vec![0.0f32; layout.len()];
    let mut uniform = |values: &mut [f32], inputs: usize, hidden: usize| {
        let limit = limit(inputs, hidden);
        values
            .iter_mut()
            .for_each(|value| *value = rng.uniform_f32(-limit, limit));
    };
    let (lowest, last) = (layout.shapes()[0].hidden(), layout.config().hidden);
    uniform(&mut params[layout.embedding()], 1, lowest);
    for (layer, shape) in layout.shapes().iter().enumerate() {
        let (range, hidden) = (layout.layer(layer), shape.hidden());
        let recurrent = range.start + shape.input() * shape.columns();
        let biases = range.end - shape.bias_len();
        let one_hot = layer == 0 && matches!(layout.config().input, InputConfig::OneHot { .. });
        let inputs = if one_hot { 1 } else { shape.input() };
        uniform(&mut params[range.start..recurrent], inputs, hidden);
        uniform(&mut params[recurrent..biases], hidden, hidden);
        if shape.cell() == Cell::Lstm {
            params[biases + hidden..biases + 2 * hidden].fill(forget_bias);
        }
    }
    uniform(&mut params[layout.decoder_weight()], last, last);
    if init == Init::Orthogonal {
        for (layer, shape) in layout.shapes().iter().enumerate() {
            let (columns, hidden) = (shape.columns(), shape.hidden());
            let start = layout.layer(layer).start + shape.input() * columns;
            let u = &mut params[start..start + hidden * columns];
            for gate in 0..shape.cell().gates() {
                let q = orthogonal(hidden, &mut rng);
                for (row, q) in u.chunks_exact_mut(columns).zip(q.chunks_exact(hidden)) {
                    for (to, q) in row[gate * hidden..][..hidden].iter_mut().zip(q) {
                        *to = *q as f32;
                    }
                }
            }
        }
    }
    params
}

/// Gives the gates a range of time scales up to `t_max` steps (Tallec & Ollivier, "Can recurrent neural networks warp
/// time?", 2018, equation 16):
///
/// ```text
/// LSTM   b_f = ln s     b_i = −b_f
/// GRU    b_z = −ln s    (reset-after, where z is the share that is kept: + ln s)
/// ```
///
/// They draw s from U(1, t_max − 1). Here unit j of a layer has its quantile at (j + ½)/H: the same distribution without
/// chance, so that narrow layers, too, have all time scales.
///
/// Returns whether the cell has such a gate; an RNN has none.
///
/// # Panics
/// `t_max` is below 3: the range would be empty.
pub fn chrono_biases(layout: &Layout, params: &mut [f32], t_max: u64) -> bool {
    assert!(t_max > 2, "no time scales up to {t_max} steps");
    for (layer, shape) in layout.shapes().iter().enumerate() {
        let (h, range) = (shape.hidden(), layout.layer(layer));
        let biases = &mut params[range.end - shape.bias_len()..range.end];
        for j in 0..h {
            let scale = 1.0 + (t_max - 2) as f64 * ((j as f64 + 0.5) / h as f64);
            let keep = ln(scale) as f32;
            match shape.cell() {
                Cell::Lstm => (biases[j], biases[h + j]) = (-keep, keep),
                Cell::Gru => biases[j] = -keep,
                Cell::GruAfter => biases[h + j] = keep,
                Cell::Rnn => return false,
            }
        }
    }
    true
}

/// A random orthogonal matrix `[n, n]`: the rows of a normal matrix, orthonormalised (modified Gram-Schmidt, twice
/// is enough: Giraud et al. 2005).
fn orthogonal(n: usize, rng: &mut Rng) -> Vec<f64> {
    let mut q: Vec<f64> = (0..n * n).map(|_| rng.normal()).collect();
    for i in 0..n {
        let (done, rest) = q.split_at_mut(i * n);
        let row = &mut rest[..n];
        for _ in 0..2 {
            for other in done.chunks_exact(n) {
                let along = dot(row, other);
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|a| *a /= norm);
    }
    q
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::config::NetworkConfig;

    fn layout(cell: Cell) -> Layout {
        let input = InputConfig::Embedding {
            vocabulary: 7,
            width: 3,
        };
        Layout::new(NetworkConfig {
            cell,
            input,
            hidden: 16,
            layers: 2,
            outputs: 7,
        })
        .unwrap()
    }

    #[test]
    fn limits_biases_and_seed() {
        let layout = layout(Cell::Lstm);
        let params = initial_parameters(&layout, Init::Uniform, 1.0, 3);
        for (name, range) in layout.tensors() {
            let values = &params[range];
            if name.starts_with("b_") {
                assert!(values[16..32].iter().all(|b| *b == 1.0));
                assert!(values[..16].iter().chain(&values[32..]).all(|b| *b == 0.0));
            } else if name != "decoder_b" {
                assert!(values.iter().all(|w| w.abs() <= 0.25), "{name}");
                assert!(values.iter().any(|w| w.abs() > 0.125), "{name}");
            }
        }
        assert_eq!(params, initial_parameters(&layout, Init::Uniform, 1.0, 3));
        assert_ne!(params, initial_parameters(&layout, Init::Uniform, 1.0, 4));
    }

    /// The largest of many uniform numbers is close to their limit, √(3/n).
    #[test]
    fn the_limit_follows_from_the_inputs_of_a_matrix() {
        let widest = |input: InputConfig, name: &str| {
            let layout = Layout::new(NetworkConfig {
                cell: Cell::Gru,
                input,
                hidden: 48,
                layers: 2,
                outputs: 30,
            })
            .unwrap();
            let params = initial_parameters(&layout, Init::FanIn, 1.0, 3);
            let tensors = layout.tensors();
            let (_, range) = tensors.into_iter().find(|(n, _)| n == name).unwrap();
            params[range]
                .iter()
                .fold(0.0f32, |most, w| most.max(w.abs()))
        };
        let one_hot = InputConfig::OneHot { vocabulary: 30 };
        let embedded = InputConfig::Embedding {
            vocabulary: 30,
            width: 12,
        };
        for (input, name, inputs) in [
            (one_hot, "w_l0", 1.0),
            (one_hot, "u_l0", 48.0),
            (one_hot, "w_l1", 48.0),
            (one_hot, "decoder_w", 48.0),
            (embedded, "embedding", 1.0),
            (embedded, "w_l0", 12.0),
            (InputConfig::Dense { width: 12 }, "w_l0", 12.0),
        ] {
            let of_limit = widest(input, name) / (3.0f32 / inputs).sqrt();
            assert!((0.95..=1.0).contains(&of_limit), "{name}: {of_limit}");
        }
    }

    /// A bias b keeps its memory for 1 + e^b steps: from 2 to `t_max`, evenly spread.
    #[test]
    fn chrono_biases_span_the_time_scales() {
        for (cell, gate, sign) in [
            (Cell::Lstm, 1, 1.0),
            (Cell::Gru, 0, -1.0),
            (Cell::GruAfter, 1, 1.0),
        ] {
            let layout = layout(cell);
            let plain = initial_parameters(&layout, Init::Uniform, 1.0, 3);
            let mut params = plain.clone();
            assert!(chrono_biases(&layout, &mut params, 18));
            for (name, range) in layout.tensors() {
                if !name.starts_with("b_l") {
                    assert_eq!(params[range.clone()], plain[range], "{name}");
                    continue;
                }
                let bias = &params[range];
                let of_gate = &bias[gate * 16..][..16];
                for (j, b) in of_gate.iter().enumerate() {
                    // 16 units over the scales from 1 to 17.
                    let scale = (sign * b).exp();
                    assert!((scale - (j as f32 + 1.5)).abs() < 1e-4, "{cell:?} {j} {b}");
                }
                if cell == Cell::Lstm {
                    assert!(bias[..16].iter().zip(of_gate).all(|(i, f)| *i == -f));
                }
            }
        }
        let rnn = layout(Cell::Rnn);
        assert!(!chrono_biases(&rnn, &mut vec![0.0; rnn.len()], 10));
    }

    #[test]
    fn recurrent_gates_are_orthogonal() {
        let layout = layout(Cell::Gru);
        let params = initial_parameters(&layout, Init::Orthogonal, 1.0, 0);
        let (_, u) = layout
            .tensors()
            .into_iter()
            .find(|(name, _)| name == "u_l1")
            .unwrap();
        let u = &params[u];
        for gate in 0..3 {
            let row = |r: usize| &u[r * 48 + gate * 16..][..16];
            for i in 0..16 {
                for j in 0..16 {
                    let dot: f32 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
                    // Entries are rounded to f32: 16 products of errors below 2⁻²⁵.
                    assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-6);
                }
            }
        }
    }
}
