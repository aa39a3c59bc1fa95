//! How far gradients flow back through time, measured on a network and a text.
//!
//! The loss at one position T is sent back alone, a step at a time, so that the gradient of the state is seen at every lag:
//!
//! ```text
//! ∂loss_T/∂s_{T−k}        s = h, or (h, c) of an LSTM: what a layer carries from step T − k into the next
//! ```
//!
//! If its norm falls by a factor each step, nothing further back than a few steps can be learnt (Bengio, Simard,
//! Frasconi 1994); if it grows, training is unstable without clipping (Pascanu, Mikolov, Bengio 2013). All is in f64,
//! because a vanishing gradient soon leaves the range of f32.

mod gates;
mod sweep;
mod windows;

use std::ops::Range;

use ifog_kernels::{Level, LevelError, Threads};

use crate::config::ConfigError;
use crate::cost::{MemoryError, check_memory};
use crate::network::Packed;
use crate::parameters::Layout;
use crate::quantile::quantile;
use sweep::{record_window, send_back};
use windows::Windows;

pub use gates::{GateSpectrum, Saturation, gate_names, is_tanh, spectra};

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowConfig {
    /// K, the largest lag in steps.
    pub lags: usize,
    /// Positions of the text whose losses are sent back, or all that a short text has.
    pub positions: usize,
    /// Where the positions are drawn from.
    pub seed: u64,
}

/// What was found, a layer each, from the input up.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Positions that were measured, all different.
    pub positions: usize,
    /// The layers.
    pub layers: Vec<LayerFlow>,
}

/// The flow in one layer. The norms are indexed by the lag, 0 to K.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerFlow {
    /// Of the gradient of the whole carried state: h, and c for an LSTM.
    pub state: Vec<Norms>,
    /// Of h alone.
    pub h: Vec<Norms>,
    /// Of c alone; empty unless the cell is an LSTM. Lag 0 is 0: no loss depends on c but through h.
    pub c: Vec<Norms>,
    /// How often the gates were saturated, in the cell's order.
    pub gates: Vec<Saturation>,
}

/// Euclidean norms of a gradient over the positions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Norms {
    /// Mean.
    pub mean: f64,
    /// 10 % are below.
    pub low: f64,
    /// Half are below.
    pub median: f64,
    /// 90 % are below.
    pub high: f64,
}

/// Why nothing can be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// No lag, or no position.
    #[error("{0} is 0: give at least 1")]
    Zero(&'static str),
    /// The text is shorter than the largest lag.
    #[error(
        "the text has {symbols} symbols, and {lags} lags need at least {needed}: give a longer text or fewer lags"
    )]
    Short {
        /// What there is.
        symbols: usize,
        /// What was asked for.
        lags: usize,
        /// What that needs.
        needed: usize,
    },
    /// The network takes vectors, so there are no tokens to predict.
    #[error("the flow is measured on networks that read symbols")]
    Dense,
    /// The network does not fit in memory.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tapes do not fit in memory.
    #[error("the tape of {0} lags does not fit in memory: give fewer lags or positions")]
    Tape(usize),
    /// More memory than the machine has.
    #[error(
        "this needs about {} MiB, which this machine does not have: give fewer lags or positions, or a smaller width",
        .0.mebibytes
    )]
    Memory(#[from] MemoryError),
    /// `IFOG_ISA`.
    #[error(transparent)]
    Level(#[from] LevelError),
}

impl FlowConfig {
    /// Whether the machine has the memory for a measurement: [`Flow::measure`] asks this first, and who would do much before
    /// it asks earlier.
    ///
    /// # Errors
    /// The system refuses so much.
    pub fn check_memory(&self, layout: &Layout) -> Result<(), FlowError> {
        check_memory(layout, self.lags, 1, self.positions, size_of::<f64>())?;
        Ok(())
    }
}

impl Flow {
    /// Measures the network with these parameters on a text of tokens.
    ///
    /// # Errors
    /// The text is too short for the lags, or the tape does not fit in memory.
    ///
    /// # Panics
    /// `parameters` has another length than the layout, or a token is outside the vocabulary.
    pub fn measure(
        layout: &Layout,
        parameters: &[f32],
        tokens: &[u32],
        config: FlowConfig,
    ) -> Result<Self, FlowError> {
        config.check_memory(layout)?;
        let windows = Windows::draw(tokens, config)?;
        let parameters: Vec<f64> = parameters.iter().map(|&p| f64::from(p)).collect();
        let mut weights = Packed::new(layout, Level::detect()?, true)?;
        weights.load(&parameters, Threads::current());

        let batch = windows.batch;
        let layers = layout.config().layers;
        let mut norms = vec![vec![Vec::new(); 3]; layers];
        let mut record = |_lag: usize, layer: usize, dh: &[f64], dc: &[f64]| {
            let of_rows = |values: &[f64]| -> Vec<f64> {
                let rows = values.chunks_exact(values.len() / batch);
                rows.map(norm).collect()
            };
            let h = of_rows(dh);
            let c = if dc.is_empty() {
                vec![0.0; batch]
            } else {
                of_rows(dc)
            };
            let state: Vec<f64> = h.iter().zip(&c).map(|(h, c)| h.hypot(*c)).collect();
            for (to, of_rows) in norms[layer].iter_mut().zip([state, h, c]) {
                to.push(Norms::of(of_rows));
            }
        };
        let tapes = record_window(&weights, &windows, config.lags)?;
        let gates: Vec<_> = (0..layers).map(|l| Saturation::of(&tapes, l)).collect();
        send_back(&weights, &windows, tapes, &mut record)?;

        let memory = layout.config().cell.has_memory();
        let layers = norms.into_iter().zip(gates).map(|(norms, gates)| {
            let [state, h, c]: [Vec<Norms>; 3] = norms.try_into().unwrap_or_default();
            LayerFlow {
                state,
                h,
                c: if memory { c } else { Vec::new() },
                gates,
            }
        });
        Ok(Self {
            positions: batch,
            layers: layers.collect(),
        })
    }
}

impl LayerFlow {
    /// The first lag at which the gradient of the state is at most `share` of that at lag 1.
    pub fn falls_to(&self, share: f64) -> Option<usize> {
        let start = self.state.get(1)?.median;
        let found = self
            .state
            .iter()
            .skip(1)
            .position(|n| n.median <= share * start);
        found.map(|lag| lag + 1)
    }

    /// What a step multiplies the gradient of the state by, in the geometric mean over the lags from 1 on.
    ///
    /// A gradient that leaves the normal numbers of f64 is followed as far as they go; NaN for a single lag.
    pub fn gain(&self) -> f64 {
        self.gain_within(1..self.state.len())
    }

    /// The same over some of the lags.
    pub fn gain_within(&self, lags: Range<usize>) -> f64 {
        let norms = self.state.get(lags).unwrap_or_default().iter();
        let usable: Vec<f64> = norms
            .map(|n| n.median)
            .take_while(|n| *n >= f64::MIN_POSITIVE && n.is_finite())
            .collect();
        match usable[..] {
            [first, .., last] => (last / first).powf(1.0 / (usable.len() - 1) as f64),
            _ => f64::NAN,
        }
    }

    /// What is left at a lag of the gradient at lag 1.
    pub fn share_at(&self, lag: usize) -> f64 {
        let norm = |lag: usize| self.state.get(lag).map_or(f64::NAN, |n| n.median);
        norm(lag) / norm(1)
    }
}

/// As a multiple of the largest value: squares alone would leave the range of f64 beyond 1e±154.
fn norm(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    // What has no such multiples has the norm of its squares: 0, or what is not finite.
    let unit = match largest > 0.0 && largest.is_finite() {
        true => largest,
        false => 1.0,
    };
    let squares = values.iter().map(|x| (x / unit).powi(2));
    unit * squares.sum::<f64>().sqrt()
}

impl Norms {
    fn of(mut norms: Vec<f64>) -> Self {
        norms.sort_by(f64::total_cmp);
        Self {
            mean: norms.iter().sum::<f64>() / norms.len() as f64,
            low: quantile(&norms, 0.1),
            median: quantile(&norms, 0.5),
            high: quantile(&norms, 0.9),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use ifog_kernels::Cell;

    use super::*;
    use crate::config::{InputConfig, NetworkConfig};

    #[test]
    fn a_linear_recurrence_has_its_gain() {
        // Tiny weights keep tanh linear: h' = 0.5 h, so each step back halves the gradient.
        let input = InputConfig::OneHot { vocabulary: 5 };
        let layout = Layout::new(NetworkConfig {
            cell: Cell::Rnn,
            input,
            hidden: 2,
            layers: 1,
            outputs: 5,
        })
        .unwrap();
        let mut parameters = vec![0.0f32; layout.len()];
        let u = 5 * 2;
        (parameters[u], parameters[u + 3]) = (0.5, 0.5);
        parameters[layout.decoder_weight()]
            .iter_mut()
            .enumerate()
            .for_each(|(i, w)| *w = i as f32 * 0.1);
        let text: Vec<u32> = (0..60).map(|i| i * i % 5).collect();
        let config = FlowConfig {
            lags: 9,
            positions: 4,
            seed: 0,
        };
        let flow = Flow::measure(&layout, &parameters, &text, config).unwrap();
        assert_eq!(flow.positions, 4);
        let all = FlowConfig {
            positions: 99,
            ..config
        };
        // 60 symbols: 9 to warm up, 9 lags, and 42 places for the symbol after them.
        let all = Flow::measure(&layout, &parameters, &text, all).unwrap();
        assert_eq!(all.positions, 42);
        let layer = &flow.layers[0];
        assert!((layer.gain() - 0.5).abs() < 1e-12, "{}", layer.gain());
        assert!((layer.gain_within(3..6) - 0.5).abs() < 1e-12);
        assert!(layer.gain_within(9..99).is_nan());
        assert!((layer.share_at(4) - 0.125).abs() < 1e-12);
        assert_eq!(layer.falls_to(0.5), Some(2));
        assert_eq!(layer.falls_to(1e-9), None);
        assert_eq!(layer.state.len(), 10);
        assert_eq!((layer.gates[0].left, layer.gates[0].right), (0.0, 0.0));
        let of_u = &spectra(&layout, &parameters, 0)[0];
        assert!((of_u.radius - 0.5).abs() < 1e-4);
        assert!((of_u.largest_singular_value - 0.5).abs() < 1e-12);
    }

    /// Without W and biases h stays 0 and tanh' = 1, and all five symbols are equally likely. After symbols 1 only, ∂loss/∂h is then
    /// 0.2 − 0.1 in both units, and U multiplies it at each lag. Some 300 products round to 1e-13.
    #[test]
    fn gradients_are_followed_as_far_as_numbers_go() {
        let input = InputConfig::OneHot { vocabulary: 5 };
        let layout = Layout::new(NetworkConfig {
            cell: Cell::Rnn,
            input,
            hidden: 2,
            layers: 1,
            outputs: 5,
        })
        .unwrap();
        for (u, at_160) in [(0.1f32, 1.414e-161), (10.0, 1.414e159)] {
            let mut parameters = vec![0.0f32; layout.len()];
            (parameters[10], parameters[13]) = (u, u);
            let decoder = layout.decoder_weight();
            for (i, w) in parameters[decoder].iter_mut().enumerate() {
                *w = i as f32 * 0.1;
            }
            let config = FlowConfig {
                lags: 300,
                positions: 2,
                seed: 0,
            };
            let flow = Flow::measure(&layout, &parameters, &[1; 700], config).unwrap();
            let layer = &flow.layers[0];
            assert!((layer.state[160].median / at_160 - 1.0).abs() < 1e-3);
            for lag in [160, 290, 300] {
                let expected = layer.state[0].median * f64::from(u).powi(lag as i32);
                let [state, h] = [&layer.state, &layer.h].map(|norms| norms[lag].median);
                assert!((state / expected - 1.0).abs() < 1e-12, "{u} {lag}: {state}");
                assert_eq!(state, h);
            }
            assert!((layer.gain() / f64::from(u) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn norms_of_any_size() {
        for size in [1e-300, 1.0, 1e300] {
            let of = norm(&[3.0 * size, 0.0, -4.0 * size]);
            assert!((of / (5.0 * size) - 1.0).abs() < 1e-15, "{of}");
        }
        assert_eq!([norm(&[]), norm(&[0.0, -0.0])], [0.0; 2]);
        assert_eq!(norm(&[1.0, f64::NEG_INFINITY]), f64::INFINITY);
        assert!(norm(&[f64::NAN, 0.0]).is_nan() && norm(&[f64::NAN, 1.0]).is_nan());
    }
}
