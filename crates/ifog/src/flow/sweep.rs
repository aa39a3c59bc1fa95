//! Forward over a window and back again, a step at a time.

use ifog_kernels::{Backprop, Input, Record, Shape, ShapeError, Tape, Threads};

use super::FlowError;
use super::windows::Windows;
use crate::config::{ConfigError, InputConfig};
use crate::loss::summed_cross_entropy;
use crate::network::{Inputs, Packed, Reader, matrix, matrix_mut};

/// The forward pass over the K steps, with a tape for each step and layer: `[K][L]`.
pub(super) fn record_window(
    weights: &Packed<f64>,
    windows: &Windows,
    lags: usize,
) -> Result<Vec<Vec<Tape<f64>>>, FlowError> {
    if matches!(weights.layout().config().input, InputConfig::Dense { .. }) {
        return Err(FlowError::Dense);
    }
    let (batch, threads) = (windows.batch, Threads::current());
    let warm_up = windows.warm_up.len() / batch;
    let mut reader = Reader::new(weights, warm_up.max(1), batch)?;
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
pub(super) fn send_back(
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
        summed_cross_entropy(
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
    use ifog_kernels::{Cell, Level};

    use super::*;
    use crate::config::NetworkConfig;
    use crate::flow::FlowConfig;
    use crate::init::{Init, initial_parameters};
    use crate::parameters::Layout;
    use crate::rng::{Rng, Stream};

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
        let mut reader = Reader::new(weights, 16, 1).unwrap();
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
        summed_cross_entropy(weights.level, logits, VOCABULARY, &windows.targets, 1)
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
}
