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

use ifog_kernels::{Backprop, Input, Level, LevelError, Record, Shape, ShapeError, Tape, Threads};

use crate::config::{ConfigError, InputConfig};
use crate::cost::{MemoryError, check_memory};
use crate::init::{Init, initial_parameters};
use crate::loss::softmax_cross_entropy;
use crate::network::{Inputs, Packed, Reader, matrix, matrix_mut};
use crate::parameters::Layout;
use crate::rng::{Rng, Stream};
use gates::{gates, saturation};

pub use gates::{GateFlow, gate_names, is_tanh};

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowConfig {
    /// K, the largest lag in steps.
    pub lags: usize,
    /// Positions of the text whose losses are sent back.
    pub positions: usize,
    /// Where the positions are drawn from.
    pub seed: u64,
}

/// What was found, a layer each, from the input up.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
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
    /// The gates in the cell's order.
    pub gates: Vec<GateFlow>,
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
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// `IFOG_ISA`.
    #[error(transparent)]
    Level(#[from] LevelError),
}

impl Flow {
    /// Measures a network as it is before training, with weights drawn from the seed.
    ///
    /// # Errors
    /// As [`Flow::measure`].
    ///
    /// # Panics
    /// A token is outside the vocabulary.
    pub fn of_untrained(
        layout: &Layout,
        tokens: &[u32],
        config: FlowConfig,
    ) -> Result<Self, FlowError> {
        check_memory(layout, config.lags, 1, config.positions, size_of::<f64>())?;
        let parameters = initial_parameters(layout, Init::Uniform, 1.0, config.seed);
        Self::measure(layout, &parameters, tokens, config)
    }

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
        check_memory(layout, config.lags, 1, config.positions, size_of::<f64>())?;
        let windows = Windows::draw(tokens, config)?;
        let parameters: Vec<f64> = parameters.iter().map(|&p| f64::from(p)).collect();
        let mut weights = Packed::new(layout, Level::detect()?, true)?;
        weights.load(&parameters, Threads::current());

        let batch = windows.batch;
        let layers = layout.config().layers;
        let mut norms = vec![vec![Vec::new(); 3]; layers];
        let mut record = |_lag: usize, layer: usize, dh: &[f64], dc: &[f64]| {
            let squares = |values: &[f64]| -> Vec<f64> {
                let rows = values.chunks_exact(values.len() / batch);
                rows.map(|row| row.iter().map(|x| x * x).sum()).collect()
            };
            let h = squares(dh);
            let c = if dc.is_empty() {
                vec![0.0; batch]
            } else {
                squares(dc)
            };
            let state: Vec<f64> = h.iter().zip(&c).map(|(h, c)| h + c).collect();
            for (to, squares) in norms[layer].iter_mut().zip([state, h, c]) {
                to.push(Norms::of(squares.into_iter().map(f64::sqrt).collect()));
            }
        };
        let tapes = record_window(&weights, &windows, config.lags)?;
        let saturation: Vec<_> = (0..layers).map(|layer| saturation(&tapes, layer)).collect();
        send_back(&weights, &windows, tapes, &mut record)?;

        let memory = layout.config().cell.has_memory();
        let flows = norms.into_iter().zip(saturation).enumerate();
        let layers = flows.map(|(layer, (norms, saturation))| {
            let [state, h, c]: [Vec<Norms>; 3] = norms.try_into().unwrap_or_default();
            LayerFlow {
                state,
                h,
                c: if memory { c } else { Vec::new() },
                gates: gates(layout, &parameters, layer, &saturation),
            }
        });
        Ok(Self {
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
        let usable = self.state.iter().skip(1).map(|n| n.median);
        let usable: Vec<f64> = usable
            .take_while(|n| *n >= f64::MIN_POSITIVE && n.is_finite())
            .collect();
        match usable[..] {
            [first, .., last] => (last / first).powf(1.0 / (usable.len() - 1) as f64),
            _ => f64::NAN,
        }
    }
}

impl Norms {
    fn of(mut norms: Vec<f64>) -> Self {
        norms.sort_by(f64::total_cmp);
        let at = |share: f64| norms[((norms.len() - 1) as f64 * share).round() as usize];
        Self {
            mean: norms.iter().sum::<f64>() / norms.len() as f64,
            low: at(0.1),
            median: at(0.5),
            high: at(0.9),
        }
    }
}

/// Pieces of the text, a row of the batch each: some steps to warm up, then K steps, and the symbol after them.
struct Windows {
    batch: usize,
    /// `[steps, B]` before the K steps.
    warm_up: Vec<u32>,
    /// `[K, B]`.
    tokens: Vec<u32>,
    /// `[B]`.
    targets: Vec<u32>,
}

impl Windows {
    fn draw(text: &[u32], config: FlowConfig) -> Result<Self, FlowError> {
        let FlowConfig {
            lags,
            positions,
            seed,
        } = config;
        for (what, value) in [
            ("the number of lags", lags),
            ("the number of positions", positions),
        ] {
            if value == 0 {
                return Err(FlowError::Zero(what));
            }
        }
        if text.len() < lags + 1 {
            return Err(FlowError::Short {
                symbols: text.len(),
                lags,
                needed: lags + 1,
            });
        }
        // A state as it is in the middle of a text, as far as the text allows.
        let warm_up = lags.min((text.len() - lags - 1) / 2);
        let starts = text.len() - warm_up - lags;
        let mut rng = Rng::new(seed, Stream::Check);
        let starts: Vec<usize> = (0..positions)
            .map(|_| rng.below(starts as u64) as usize)
            .collect();
        let row = |step: usize| starts.iter().map(move |start| text[start + step]);
        Ok(Self {
            batch: positions,
            warm_up: (0..warm_up).flat_map(row).collect(),
            tokens: (warm_up..warm_up + lags).flat_map(row).collect(),
            targets: row(warm_up + lags).collect(),
        })
    }
}

/// The forward pass over the K steps, with a tape for each step and layer: `[K][L]`.
fn record_window(
    weights: &Packed<f64>,
    windows: &Windows,
    lags: usize,
) -> Result<Vec<Vec<Tape<f64>>>, FlowError> {
    if matches!(weights.layout().config().input, InputConfig::Dense { .. }) {
        return Err(FlowError::Dense);
    }
    let (batch, threads) = (windows.batch, Threads::current());
    let warm_up = windows.warm_up.len() / batch;
    let mut reader = Reader::new(weights, warm_up.max(1), batch);
    if warm_up > 0 {
        reader.read(weights, Inputs::Tokens(&windows.warm_up), warm_up, threads);
    }
    let (mut state, mut scratch) = (reader.state, Vec::new());
    let mut tapes: Vec<Vec<Tape<f64>>> = Vec::with_capacity(lags);
    for ids in windows.tokens.chunks_exact(batch) {
        let mut step: Vec<Tape<f64>> = Vec::with_capacity(weights.cells.len());
        for (layer, cell) in weights.cells.iter().enumerate() {
            let too_large = |_: ShapeError| FlowError::Tape(lags);
            let mut tape = Tape::new(cell.shape(), 1, batch).map_err(too_large)?;
            let input = layer_input(weights, &step, ids);
            let (h, c) = (&state.h[layer], &state.c[layer]);
            let tape_of_step = &mut tape;
            scratch.resize(cell.forward_scratch_len(1, batch), 0.0);
            cell.forward(
                Record {
                    steps: 1,
                    batch,
                    input,
                    h,
                    c,
                    tape: tape_of_step,
                    scratch: &mut scratch,
                },
                threads,
            );
            state.h[layer].copy_from_slice(tape.h(1));
            state.c[layer].copy_from_slice(tape.c(1));
            step.push(tape);
        }
        tapes.push(step);
    }
    Ok(tapes)
}

/// What enters the layer above those on `below`.
fn layer_input<'a>(
    weights: &'a Packed<f64>,
    below: &'a [Tape<f64>],
    ids: &'a [u32],
) -> Input<'a, f64> {
    match below.last() {
        Some(below) => Input::Dense(below.output()),
        None => weights.first_input(Inputs::Tokens(ids), ids.len()),
    }
}

/// Sends the loss after the last step back and shows the gradient of every layer's state, `visit(lag, layer, dh, dc)`,
/// both `[B, H]`. A window cut into single steps, with dh and dc handed over, has the bits of the whole.
fn send_back(
    weights: &Packed<f64>,
    windows: &Windows,
    mut tapes: Vec<Vec<Tape<f64>>>,
    visit: &mut impl FnMut(usize, usize, &[f64], &[f64]),
) -> Result<(), ConfigError> {
    let config = *weights.layout().config();
    let (batch, threads) = (windows.batch, Threads::current());
    let states = |kept: bool| -> Vec<Vec<f64>> {
        let widths = weights.layout().widths();
        widths
            .map(|width| vec![0.0; if kept { batch * width } else { 0 }])
            .collect()
    };
    let (mut dh, mut dc) = (states(true), states(config.cell.has_memory()));
    // The gradients of the weights come with the pass; nobody looks at them.
    let ignored = weights.layout().shapes().iter().enumerate();
    let mut ignored = ignored
        .map(|(layer, shape)| {
            let inputs = match weights.layout().config().input {
                InputConfig::OneHot { vocabulary } | InputConfig::Embedding { vocabulary, .. }
                    if layer == 0 =>
                {
                    vocabulary
                }
                _ => shape.input(),
            };
            let shape =
                Shape::new(shape.cell(), inputs, shape.hidden()).map_err(ConfigError::Shape)?;
            Ok((shape, vec![0.0; shape.param_len()]))
        })
        .collect::<Result<Vec<(Shape, Vec<f64>)>, ConfigError>>()?;
    let scratch = weights
        .cells
        .iter()
        .map(|c| c.backward_scratch_len(batch, threads));
    let mut scratch = vec![0.0; scratch.max().unwrap_or(0)];
    let widest = batch * weights.layout().widest();

    let mut dout = output_gradient(weights, windows, &tapes);
    dout.resize(widest, 0.0);
    let mut dx = vec![0.0; widest];
    for lag in 1..=tapes.len() {
        let t = tapes.len() - lag;
        let ids = &windows.tokens[t * batch..][..batch];
        for (layer, cell) in weights.cells.iter().enumerate().rev() {
            let (width, inputs) = (cell.shape().hidden(), cell.shape().input());
            let upstream = &dout[..batch * width];
            if lag == 1 {
                visit(0, layer, upstream, &[]);
            }
            let (below, tape) = tapes[t].split_at_mut(layer);
            let (shape, ignored) = &mut ignored[layer];
            let grads = shape.split_mut(ignored).map_err(ConfigError::Shape)?;
            cell.backward(
                Backprop {
                    input: layer_input(weights, below, ids),
                    tape: &mut tape[0],
                    dout: matrix(upstream, batch, width),
                    dh: &mut dh[layer],
                    dc: &mut dc[layer],
                    grads,
                    dx: (layer > 0).then(|| matrix_mut(&mut dx[..batch * inputs], batch, inputs)),
                    scratch: &mut scratch,
                },
                threads,
            );
            visit(lag, layer, &dh[layer], &dc[layer]);
            std::mem::swap(&mut dout, &mut dx);
        }
        // The losses before the last are not sent back.
        dout.fill(0.0);
    }
    Ok(())
}

/// ∂loss/∂h of the top layer after the last step, `[B, H]`, each row of its own position.
fn output_gradient(weights: &Packed<f64>, windows: &Windows, tapes: &[Vec<Tape<f64>>]) -> Vec<f64> {
    let config = weights.layout().config();
    let (batch, threads) = (windows.batch, Threads::current());
    let mut logits = vec![0.0; batch * config.outputs];
    let mut dout = vec![0.0; batch * config.hidden];
    if let (Some(top), Some(back)) = (tapes.last().and_then(|s| s.last()), &weights.decoder_back) {
        let to = matrix_mut(&mut logits, batch, config.outputs);
        weights
            .decoder
            .multiply(top.output(), Some(&weights.decoder_bias), to, threads);
        softmax_cross_entropy(
            weights.level,
            &mut logits,
            config.outputs,
            &windows.targets,
            1,
        );
        let dlogits = matrix(&logits, batch, config.outputs);
        back.multiply(
            dlogits,
            None,
            matrix_mut(&mut dout, batch, config.hidden),
            threads,
        );
    }
    dout
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use ifog_kernels::Cell;

    use super::*;
    use crate::config::NetworkConfig;

    const LAGS: usize = 6;
    const VOCABULARY: usize = 5;

    fn layout(cell: Cell, input: InputConfig) -> Layout {
        let config = NetworkConfig {
            cell,
            input,
            hidden: 4,
            layers: 2,
            outputs: VOCABULARY,
        };
        Layout::new(config).unwrap()
    }

    fn text(symbols: usize) -> Vec<u32> {
        let mut rng = Rng::new(3, Stream::Data);
        (0..symbols)
            .map(|_| rng.below(VOCABULARY as u64) as u32)
            .collect()
    }

    /// The loss after the last step if component `unit` of the state of `layer`, carried out of the step `lag` before the
    /// end, is moved by `e`.
    fn moved_loss(
        weights: &Packed<f64>,
        windows: &Windows,
        at: (usize, usize, usize, bool),
        e: f64,
    ) -> f64 {
        let (lag, layer, unit, memory) = at;
        let mut reader = Reader::new(weights, 16, 1);
        let threads = Threads::SINGLE;
        reader.read(
            weights,
            Inputs::Tokens(&windows.warm_up),
            windows.warm_up.len(),
            threads,
        );
        let (before, after) = windows.tokens.split_at(windows.tokens.len() - lag);
        if !before.is_empty() {
            reader.read(weights, Inputs::Tokens(before), before.len(), threads);
        }
        let state = &mut reader.state;
        let values = if memory { &mut state.c } else { &mut state.h };
        values[layer][unit] += e;
        let outputs = reader.read(weights, Inputs::Tokens(after), lag, threads);
        let logits = &mut outputs[(lag - 1) * VOCABULARY..];
        softmax_cross_entropy(weights.level, logits, VOCABULARY, &windows.targets, 1)
    }

    /// Central differences with step 1e-5 have a truncation error of 1e-10 f'''/6 and a rounding error of 1e-16/1e-5:
    /// both far below the 1e-7 of the largest component that is asked for here.
    #[test]
    fn gradients_at_every_lag_equal_central_differences() {
        let one_hot = InputConfig::OneHot {
            vocabulary: VOCABULARY,
        };
        let embedded = InputConfig::Embedding {
            vocabulary: VOCABULARY,
            width: 3,
        };
        for (cell, input) in Cell::ALL
            .iter()
            .flat_map(|c| [(*c, one_hot), (*c, embedded)])
        {
            let layout = layout(cell, input);
            let parameters = initial_parameters(&layout, Init::Uniform, 1.0, 7);
            let parameters: Vec<f64> = parameters.into_iter().map(|p| f64::from(p) * 2.0).collect();
            let mut weights = Packed::new(&layout, Level::best(), true).unwrap();
            weights.load(&parameters, Threads::SINGLE);
            let config = FlowConfig {
                lags: LAGS,
                positions: 1,
                seed: 1,
            };
            let windows = Windows::draw(&text(40), config).unwrap();
            let tapes = record_window(&weights, &windows, LAGS).unwrap();
            let mut checked = 0;
            send_back(&weights, &windows, tapes, &mut |lag, layer, dh, dc| {
                if lag == 0 {
                    return;
                }
                for (gradient, memory) in [(dh, false), (dc, true)] {
                    let scale = gradient.iter().fold(0.0, |max: f64, g| max.max(g.abs()));
                    for (unit, g) in gradient.iter().enumerate() {
                        let loss =
                            |e| moved_loss(&weights, &windows, (lag, layer, unit, memory), e);
                        let difference = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                        let error = (g - difference).abs();
                        assert!(
                            error <= 1e-7 * scale.max(1e-3),
                            "{cell:?} lag {lag} layer {layer}: {g} {difference}"
                        );
                        checked += 1;
                    }
                }
            })
            .unwrap();
            let states = if cell.has_memory() { 2 } else { 1 };
            assert_eq!(checked, LAGS * 2 * 4 * states);
        }
    }

    #[test]
    fn a_linear_recurrence_has_its_gain() {
        // Tiny weights keep tanh linear: h' = 0.5 h, so each step back halves the gradient.
        let input = InputConfig::OneHot {
            vocabulary: VOCABULARY,
        };
        let layout = Layout::new(NetworkConfig {
            cell: Cell::Rnn,
            input,
            hidden: 2,
            layers: 1,
            outputs: VOCABULARY,
        })
        .unwrap();
        let mut parameters = vec![0.0f32; layout.len()];
        let u = VOCABULARY * 2;
        (parameters[u], parameters[u + 3]) = (0.5, 0.5);
        parameters[layout.decoder_weight()]
            .iter_mut()
            .enumerate()
            .for_each(|(i, w)| *w = i as f32 * 0.1);
        let config = FlowConfig {
            lags: 9,
            positions: 4,
            seed: 0,
        };
        let flow = Flow::measure(&layout, &parameters, &text(60), config).unwrap();
        let layer = &flow.layers[0];
        assert!((layer.gain() - 0.5).abs() < 1e-12, "{}", layer.gain());
        assert_eq!(layer.falls_to(0.5), Some(2));
        assert_eq!(layer.falls_to(1e-9), None);
        assert_eq!(layer.state.len(), 10);
        assert!((layer.gates[0].spectral_radius - 0.5).abs() < 1e-4);
        assert!((layer.gates[0].largest_singular_value - 0.5).abs() < 1e-12);
        assert_eq!((layer.gates[0].left, layer.gates[0].right), (0.0, 0.0));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let draw = |symbols, lags, positions| {
            Windows::draw(
                &text(symbols),
                FlowConfig {
                    lags,
                    positions,
                    seed: 0,
                },
            )
            .err()
        };
        assert!(matches!(
            draw(10, 10, 1),
            Some(FlowError::Short { needed: 11, .. })
        ));
        assert_eq!(draw(11, 10, 1), None);
        assert!(matches!(draw(11, 0, 1), Some(FlowError::Zero(_))));
        assert!(matches!(draw(11, 1, 0), Some(FlowError::Zero(_))));
    }
}
