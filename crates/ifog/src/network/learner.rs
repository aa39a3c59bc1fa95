//! Truncated BPTT.
//!
//! A window that is longer than the room for it is cut into segments (Chen et al. 2016; for recurrent networks Gruslys et
//! al. 2016): forward, only the state before each segment is kept; backward, from the last segment to the first, each is
//! computed again and then runs back. For T steps in segments of k that is a tape of k steps and T/k states, least at
//! k = √T up to a constant.

use std::ops::Range;

use ifog_kernels::{Backprop, Element, Input, ParamsMut, Record, Tape, Threads, accumulate_outer};

use super::{Inputs, Packed, State, matrix, matrix_mut, window_rows};
use crate::config::{ConfigError, InputConfig};
use crate::dropout::{Dropout, Segment};
use crate::parameters::Layout;
use crate::pool::in_pieces;
use crate::rng::RngState;

/// Learns from windows: forward pass with a tape, and BPTT.
#[derive(Debug)]
pub struct Learner<E> {
    layout: Layout,
    threads: Threads,
    /// The carried state.
    pub state: State<E>,
    tapes: Vec<Tape<E>>,
    dropout: Dropout<E>,
    /// Steps there is room for: the longest segment.
    room: usize,
    batch: usize,
    /// The states before each segment.
    starts: Vec<State<E>>,
    /// `[T·B, O]`: outputs, then their gradient.
    outputs: Vec<E>,
    /// Gradients of the outputs of a layer and of the one below, `[T·B, H]`.
    dout: [Vec<E>; 2],
    /// Gradients of the states of each layer, which come from the segment behind: `[B, H]`.
    dstate: State<E>,
    /// Gradient of the token table of an embedded input, `[V, G·H]`.
    dtable: Vec<E>,
    /// Gradient of the parameters, laid out as they are.
    pub gradient: Vec<E>,
    scratch: Vec<E>,
}

impl<E: Element> Learner<E> {
    /// Room for windows of up to `steps` × `batch`, always of the same `batch`, and for longer ones in segments of so many
    /// steps ([`Learner::learn_in_segments`]).
    ///
    /// # Errors
    /// `steps` or `batch` is 0, or the tape would not fit in memory.
    pub fn new(
        weights: &Packed<E>,
        steps: usize,
        batch: usize,
        dropout: Dropout<E>,
        threads: Threads,
    ) -> Result<Self, ConfigError> {
        let layout = weights.layout.clone();
        let config = *layout.config();
        let rows = window_rows(&layout, steps, batch)?;
        let tapes = layout
            .shapes()
            .iter()
            .map(|shape| Tape::new(*shape, steps, batch));
        let tapes = tapes
            .collect::<Result<_, _>>()
            .map_err(ConfigError::Shape)?;
        let cells = weights.cells.iter().map(|cell| {
            let forward = cell.forward_scratch_len(steps, batch);
            forward.max(cell.backward_scratch_len(batch, threads))
        });
        // Of the decoder and the embedding, too: their left factors are the state of a cell and the input of one.
        let scratch = cells.max().unwrap_or(0);
        let dtable = match config.input {
            InputConfig::Embedding { vocabulary, .. } => vocabulary * layout.shapes()[0].columns(),
            InputConfig::OneHot { .. } | InputConfig::Dense { .. } => 0,
        };
        Ok(Self {
            threads,
            room: steps,
            batch,
            starts: Vec::new(),
            state: State::zeros(&layout, batch),
            tapes,
            dropout,
            outputs: vec![E::ZERO; rows * config.outputs],
            dout: [(); 2].map(|()| vec![E::ZERO; rows * layout.widest()]),
            dstate: State::zeros(&layout, batch),
            dtable: vec![E::ZERO; dtable],
            gradient: vec![E::ZERO; layout.len()],
            scratch: vec![E::ZERO; scratch],
            layout,
        })
    }

    /// One window: reads T = `steps` steps, asks `loss` for the loss of the outputs `[T·B, O]` and for their
    /// gradient in their place, and leaves the gradient of the parameters in [`Learner::gradient`]. The state
    /// is carried on. Returns the loss.
    ///
    /// # Panics
    /// The window is larger than the room, or as in [`Learner::learn_in_segments`].
    pub fn learn(
        &mut self,
        weights: &Packed<E>,
        inputs: Inputs<'_, E>,
        steps: usize,
        loss: impl FnOnce(&mut [E]) -> f64,
    ) -> f64 {
        assert!(
            steps <= self.room,
            "a window of {steps} steps in room for {}",
            self.room
        );
        let mut loss = Some(loss);
        self.learn_in_segments(weights, inputs, steps, |_, outputs| {
            loss.take().map_or(0.0, |loss| loss(outputs))
        })
    }

    /// As [`Learner::learn`], for windows of any length: those that are longer than the room are cut into segments, for
    /// the price of a second forward pass. The gradient has the same bits. `loss` is asked once a segment, the last
    /// first, with the rows of the window that its outputs are; the sum of what it says is returned.
    ///
    /// # Panics
    /// The window is empty, the weights are of another network, the inputs are not those of its rows (tokens of the vocabulary, or
    /// vectors where the network takes them), or [`Learner::state`] is of another batch.
    pub fn learn_in_segments(
        &mut self,
        weights: &Packed<E>,
        inputs: Inputs<'_, E>,
        steps: usize,
        mut loss: impl FnMut(Range<usize>, &mut [E]) -> f64,
    ) -> f64 {
        assert!(steps > 0, "a window of no steps");
        assert_eq!(weights.layout(), &self.layout, "layout of the weights");
        let config = *self.layout.config();
        let batch = self.batch;
        inputs.check(steps * batch, &config);
        self.state.check(&self.layout, batch);
        let window = Segment {
            before: 0,
            rows: steps * batch,
            batch,
        };
        let segments = steps.div_ceil(self.room).max(1);
        let rows_of = |k: usize| (k * self.room * batch)..((k + 1) * self.room).min(steps) * batch;
        let rows: Vec<Range<usize>> = (0..segments).map(rows_of).collect();
        self.starts.resize_with(segments - 1, || State {
            h: Vec::new(),
            c: Vec::new(),
        });
        for (k, rows) in rows.iter().enumerate() {
            if k + 1 < segments {
                self.starts[k].copy_from(&self.state);
            }
            self.forward(weights, inputs.rows(rows, &config), rows, &window);
        }
        let end = (segments > 1).then(|| self.state.clone());
        in_pieces(&mut self.gradient, &|piece| piece.fill(E::ZERO));
        self.dstate.reset();
        self.dtable.fill(E::ZERO);
        let mut losses = Vec::with_capacity(segments);
        for (k, rows) in rows.iter().enumerate().rev() {
            let inputs = inputs.rows(rows, &config);
            if k + 1 < segments {
                std::mem::swap(&mut self.state, &mut self.starts[k]);
                self.forward(weights, inputs, rows, &window);
            }
            self.decode(weights, rows.len());
            let outputs = &mut self.outputs[..rows.len() * config.outputs];
            losses.push(loss(rows.clone(), outputs));
            self.backward(weights, inputs, rows.len() / batch, batch);
        }
        if !self.dtable.is_empty() {
            let (dtable, scratch) = (&self.dtable, &mut self.scratch);
            embedding_gradient(weights, dtable, &mut self.gradient, scratch, self.threads);
        }
        if let Some(end) = end {
            self.state = end;
        }
        self.dropout.advance(&window);
        losses.into_iter().rev().sum()
    }

    /// The tape of a layer: states and gates (gradients after [`Learner::learn`]) of the last window.
    pub fn tape(&self, layer: usize) -> &Tape<E> {
        &self.tapes[layer]
    }

    /// Whether the outputs of a layer in the last window are all finite, as far as they are kept: of a window in segments
    /// that is the first one, and the state at the end, where what is not finite stays.
    pub fn output_is_finite(&self, layer: usize) -> bool {
        let output = self.tapes[layer].output();
        let mut rows = (0..output.rows())
            .map(|r| output.row(r))
            .chain([&*self.state.h[layer]]);
        rows.all(|row| row.iter().all(|y| y.to_f64().is_finite()))
    }

    /// B.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// The masks, with the random state they come from.
    pub fn dropout(&self) -> &Dropout<E> {
        &self.dropout
    }

    /// Goes on drawing masks from a stored random state.
    pub fn resume_dropout(&mut self, state: RngState) {
        self.dropout.resume(state);
    }

    /// Records `rows` of a window on the tapes.
    fn forward(
        &mut self,
        weights: &Packed<E>,
        inputs: Inputs<'_, E>,
        rows: &Range<usize>,
        window: &Segment,
    ) {
        let segment = Segment {
            before: rows.start,
            ..window.clone()
        };
        let (batch, rows) = (window.batch, rows.len());
        let steps = rows / batch;
        for (layer, cell) in weights.cells.iter().enumerate() {
            let (below, rest) = self.tapes.split_at_mut(layer);
            let input = match below.last() {
                Some(below) => Input::Dense(self.dropout.output(layer - 1, below)),
                None => weights.first_input(inputs, rows),
            };
            let (h, c) = (&mut self.state.h[layer], &mut self.state.c[layer]);
            let tape = &mut rest[0];
            cell.forward(
                Record {
                    steps,
                    batch,
                    input,
                    h,
                    c,
                    tape,
                    scratch: &mut self.scratch,
                },
                self.threads,
            );
            h.copy_from_slice(tape.h(steps));
            c.copy_from_slice(tape.c(steps));
            self.dropout.draw(layer, &segment, tape.output());
        }
    }

    /// Outputs from the topmost tape.
    fn decode(&mut self, weights: &Packed<E>, rows: usize) {
        let config = *self.layout.config();
        let top = self
            .dropout
            .output(config.layers - 1, &self.tapes[config.layers - 1]);
        let outputs = matrix_mut(
            &mut self.outputs[..rows * config.outputs],
            rows,
            config.outputs,
        );
        weights
            .decoder
            .multiply(top, Some(&weights.decoder_bias), outputs, self.threads);
    }

    fn backward(&mut self, weights: &Packed<E>, inputs: Inputs<'_, E>, steps: usize, batch: usize) {
        let config = *self.layout.config();
        let (h, o, rows) = (config.hidden, config.outputs, steps * batch);
        let threads = self.threads;
        let (cells, decoder) = self
            .gradient
            .split_at_mut(self.layout.decoder_weight().start);
        let (decoder_w, decoder_b) = decoder.split_at_mut(h * o);
        let doutputs = matrix(&self.outputs[..rows * o], rows, o);
        let top = self
            .dropout
            .output(config.layers - 1, &self.tapes[config.layers - 1]);
        let to = matrix_mut(decoder_w, h, o);
        let operands = (top, doutputs, steps);
        accumulate_outer(
            weights.level,
            operands,
            to,
            Some(decoder_b),
            &mut self.scratch,
            threads,
        );
        let [dout, dx] = &mut self.dout;
        let (mut dout, mut dx) = (&mut dout[..], &mut dx[..]);
        if let Some(back) = &weights.decoder_back {
            let to = matrix_mut(&mut dout[..rows * h], rows, h);
            back.multiply(doutputs, None, to, threads);
        }
        for (layer, cell) in weights.cells.iter().enumerate().rev() {
            let (h, i) = (cell.shape().hidden(), cell.shape().input());
            let of_layer = &mut dout[..rows * h];
            self.dropout.backward(layer, of_layer);
            let (below, rest) = self.tapes.split_at_mut(layer);
            let input = match below.last() {
                Some(below) => Input::Dense(self.dropout.output(layer - 1, below)),
                None => weights.first_input(inputs, rows),
            };
            let mut grads = split_mut(&self.layout, cells, layer);
            let embedded = layer == 0 && !self.dtable.is_empty();
            if embedded {
                grads.w = &mut self.dtable;
            }
            let backprop = Backprop {
                input,
                tape: &mut rest[0],
                dout: matrix(of_layer, rows, h),
                dh: &mut self.dstate.h[layer],
                dc: &mut self.dstate.c[layer],
                grads,
                dx: if layer > 0 {
                    Some(matrix_mut(&mut dx[..rows * i], rows, i))
                } else {
                    None
                },
                scratch: &mut self.scratch,
            };
            cell.backward(backprop, threads);
            std::mem::swap(&mut dout, &mut dx);
        }
    }
}

/// From the gradient of the token table, dE = dTable Wᵀ and dW = Eᵀ dTable: V rows instead of T·B.
fn embedding_gradient<E: Element>(
    weights: &Packed<E>,
    dtable: &[E],
    gradient: &mut [E],
    scratch: &mut [E],
    threads: Threads,
) {
    let InputConfig::Embedding { vocabulary, width } = weights.layout.config().input else {
        return;
    };
    let columns = weights.layout.shapes()[0].columns();
    let dtable = matrix(dtable, vocabulary, columns);
    let (to_embedding, layers) = gradient.split_at_mut(vocabulary * width);
    let to_w = matrix_mut(&mut layers[..width * columns], width, columns);
    let embedding = matrix(&weights.embedding, vocabulary, width);
    accumulate_outer(
        weights.level,
        (embedding, dtable, 1),
        to_w,
        None,
        scratch,
        threads,
    );
    weights.cells[0].input_gradient(dtable, matrix_mut(to_embedding, vocabulary, width), threads);
}

fn split_mut<'a, E: Element>(
    layout: &Layout,
    params: &'a mut [E],
    layer: usize,
) -> ParamsMut<'a, E> {
    let flat = &mut params[layout.layer(layer)];
    layout.shapes()[layer]
        .split_mut(flat)
        .unwrap_or_else(|error| panic!("{error}"))
}
