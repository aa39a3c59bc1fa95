//! A network at work: stacked layers over windows, with the state carried from one to the next.
//!
//! ```text
//! x → [embedding] → layer 0 → … → layer L−1 → decoder: y = h W + b
//! ```
//!
//! Truncated BPTT (Williams & Peng 1990): gradients flow back to the start of the window and stop there; h and
//! c are carried over to the next window as constants.

use ifog_kernels::{
    Backprop, Element, Infer, Input, Level, MatMut, MatRef, PackedCell, PackedMatrix, Params,
    ParamsMut, Record, Tape, Threads, TokenTable, Uses, accumulate_outer, outer_scratch_len,
};

use crate::config::{ConfigError, InputConfig};
use crate::dropout::Dropout;
use crate::parameters::Layout;

/// Inputs of a window, time-major.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a, E> {
    /// `[T·B]` tokens, for one-hot and embedded inputs.
    Tokens(&'a [u32]),
    /// `[T·B, I]` vectors.
    Vectors(&'a [E]),
}

/// The weights of a network, packed for the kernels.
#[derive(Debug)]
pub struct Packed<E> {
    layout: Layout,
    pub(crate) level: Level,
    pub(crate) cells: Vec<PackedCell<E>>,
    table: Option<TokenTable<E>>,
    /// `[H, O]`.
    pub(crate) decoder: PackedMatrix<E>,
    /// `[O, H]`, for training.
    pub(crate) decoder_back: Option<PackedMatrix<E>>,
    pub(crate) decoder_bias: Vec<E>,
    /// `[V, D]`, for the gradient of W behind an embedding; empty without one.
    embedding: Vec<E>,
}

/// h and c of every layer for B streams.
#[derive(Clone, Debug, PartialEq)]
pub struct State<E> {
    /// `[B, H]` a layer.
    pub h: Vec<Vec<E>>,
    /// `[B, H]` a layer; empty unless the cell is an LSTM.
    pub c: Vec<Vec<E>>,
}

/// Reads windows: the forward pass without a tape.
#[derive(Debug)]
pub struct Reader<E> {
    layout: Layout,
    steps: usize,
    batch: usize,
    /// The carried state.
    pub state: State<E>,
    /// `[T·B, H]`, in turn for odd and even layers.
    out: [Vec<E>; 2],
    /// `[T·B, O]`.
    outputs: Vec<E>,
    scratch: Vec<E>,
}

/// Learns from windows: forward pass with a tape, and BPTT.
#[derive(Debug)]
pub struct Learner<E> {
    layout: Layout,
    threads: Threads,
    /// The carried state.
    pub state: State<E>,
    tapes: Vec<Tape<E>>,
    dropout: Dropout<E>,
    /// `[T·B, O]`: outputs, then their gradient.
    outputs: Vec<E>,
    /// Gradients of the outputs of a layer and of the one below, `[T·B, H]`.
    dout: [Vec<E>; 2],
    dh: Vec<E>,
    dc: Vec<E>,
    /// Gradient of the token table of an embedded input, `[V, G·H]`.
    dtable: Vec<E>,
    /// Gradient of the parameters, laid out as they are.
    pub gradient: Vec<E>,
    scratch: Vec<E>,
}

impl<E: Element> Packed<E> {
    /// Room for the weights of `layout`; [`Packed::load`] fills it.
    ///
    /// # Errors
    /// The packed weights would not fit in memory.
    pub fn new(layout: &Layout, level: Level, train: bool) -> Result<Self, ConfigError> {
        let config = layout.config();
        let dense_first = !matches!(config.input, InputConfig::OneHot { .. });
        let cells = layout.shapes().iter().enumerate().map(|(layer, shape)| {
            let dense_input = layer > 0 || dense_first;
            PackedCell::new(
                level,
                *shape,
                Uses {
                    dense_input,
                    backward: train,
                },
            )
        });
        let cells = cells
            .collect::<Result<_, _>>()
            .map_err(ConfigError::Shape)?;
        let table = match config.input {
            InputConfig::OneHot { vocabulary } | InputConfig::Embedding { vocabulary, .. } => {
                Some(TokenTable::new(layout.shapes()[0], vocabulary).map_err(ConfigError::Shape)?)
            }
            InputConfig::Dense { .. } => None,
        };
        let (h, o) = (config.hidden, config.outputs);
        let back = if train {
            Some(PackedMatrix::new(level, o, h))
        } else {
            None
        };
        Ok(Self {
            layout: layout.clone(),
            level,
            cells,
            table,
            decoder: PackedMatrix::new(level, h, o).map_err(ConfigError::Shape)?,
            decoder_back: back.transpose().map_err(ConfigError::Shape)?,
            decoder_bias: vec![E::ZERO; o],
            embedding: vec![E::ZERO; layout.embedding().len()],
        })
    }

    /// Packs `params`.
    ///
    /// # Panics
    /// `params` has another length than the layout.
    pub fn load(&mut self, params: &[E], threads: Threads) {
        assert_eq!(params.len(), self.layout.len(), "number of parameters");
        let config = *self.layout.config();
        for (layer, cell) in self.cells.iter_mut().enumerate() {
            cell.pack(split(&self.layout, params, layer));
        }
        self.embedding
            .copy_from_slice(&params[self.layout.embedding()]);
        if let Some(table) = &mut self.table {
            match config.input {
                InputConfig::Embedding { vocabulary, width } => {
                    let rows = matrix(&params[self.layout.embedding()], vocabulary, width);
                    self.cells[0].fill_table(rows, table, threads);
                }
                InputConfig::OneHot { .. } | InputConfig::Dense { .. } => {
                    table.fill_one_hot(split(&self.layout, params, 0));
                }
            }
        }
        let weight = matrix(
            &params[self.layout.decoder_weight()],
            config.hidden,
            config.outputs,
        );
        self.decoder.pack(weight);
        if let Some(back) = &mut self.decoder_back {
            back.pack_transposed(weight);
        }
        self.decoder_bias
            .copy_from_slice(&params[self.layout.decoder_bias()]);
    }

    /// The layout it was made for.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The inputs as the first layer takes them.
    pub(crate) fn first_input<'a>(&'a self, inputs: Inputs<'a, E>, rows: usize) -> Input<'a, E> {
        match (inputs, &self.table) {
            (Inputs::Tokens(ids), Some(table)) => Input::Tokens { ids, table },
            (Inputs::Vectors(x), None) => {
                Input::Dense(matrix(x, rows, self.layout.config().input.width()))
            }
            (Inputs::Tokens(_), None) => panic!("the network takes vectors, not tokens"),
            (Inputs::Vectors(_), Some(_)) => panic!("the network takes tokens, not vectors"),
        }
    }
}

impl<E: Element> State<E> {
    /// All zero.
    pub fn zeros(layout: &Layout, batch: usize) -> Self {
        let config = layout.config();
        let len = batch * config.hidden;
        let memory = if config.cell.has_memory() { len } else { 0 };
        Self {
            h: vec![vec![E::ZERO; len]; config.layers],
            c: vec![vec![E::ZERO; memory]; config.layers],
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        for values in self.h.iter_mut().chain(&mut self.c) {
            values.fill(E::ZERO);
        }
    }
}

impl<E: Element> Reader<E> {
    /// Room for windows of up to `steps` × `batch`, always of the same `batch`.
    pub fn new(weights: &Packed<E>, steps: usize, batch: usize) -> Self {
        let config = weights.layout.config();
        let rows = steps * batch;
        let scratch = weights
            .cells
            .iter()
            .map(|cell| cell.infer_scratch_len(steps, batch));
        Self {
            layout: weights.layout.clone(),
            steps,
            batch,
            state: State::zeros(&weights.layout, batch),
            out: [(); 2].map(|()| vec![E::ZERO; rows * config.hidden]),
            outputs: vec![E::ZERO; rows * config.outputs],
            scratch: vec![E::ZERO; scratch.max().unwrap_or(0)],
        }
    }

    /// Reads T = `steps` steps and carries the state on. Returns the decoder's outputs `[T·B, O]`.
    ///
    /// # Panics
    /// The window is larger than the room, or the inputs do not have its rows.
    pub fn read(
        &mut self,
        weights: &Packed<E>,
        inputs: Inputs<'_, E>,
        steps: usize,
        threads: Threads,
    ) -> &mut [E] {
        assert!(
            steps <= self.steps,
            "a window of {steps} steps in room for {}",
            self.steps
        );
        let config = *self.layout.config();
        let (batch, rows) = (self.batch, steps * self.batch);
        let first = weights.first_input(inputs, rows);
        let len = rows * config.hidden;
        let [even, odd] = &mut self.out;
        let (even, odd) = (&mut even[..len], &mut odd[..len]);
        let state = self.state.h.iter_mut().zip(&mut self.state.c);
        for (layer, (cell, (h, c))) in weights.cells.iter().zip(state).enumerate() {
            let (to, from) = if layer % 2 == 0 {
                (&mut *even, &*odd)
            } else {
                (&mut *odd, &*even)
            };
            let input = if layer == 0 {
                first
            } else {
                Input::Dense(matrix(from, rows, config.hidden))
            };
            let (out, scratch) = (matrix_mut(to, rows, config.hidden), &mut self.scratch[..]);
            cell.infer(
                Infer {
                    steps,
                    batch,
                    input,
                    h,
                    c,
                    out,
                    scratch,
                },
                threads,
            );
        }
        let top = if config.layers % 2 == 1 { even } else { odd };
        let outputs = &mut self.outputs[..rows * config.outputs];
        let to = matrix_mut(outputs, rows, config.outputs);
        let top = matrix(top, rows, config.hidden);
        weights
            .decoder
            .multiply(top, Some(&weights.decoder_bias), to, threads);
        outputs
    }
}

impl<E: Element> Learner<E> {
    /// Room for windows of up to `steps` × `batch`, always of the same `batch`.
    ///
    /// # Errors
    /// The tape would not fit in memory.
    pub fn new(
        weights: &Packed<E>,
        steps: usize,
        batch: usize,
        dropout: Dropout<E>,
        threads: Threads,
    ) -> Result<Self, ConfigError> {
        let layout = weights.layout.clone();
        let config = *layout.config();
        let tapes = layout
            .shapes()
            .iter()
            .map(|shape| Tape::new(*shape, steps, batch));
        let tapes = tapes
            .collect::<Result<_, _>>()
            .map_err(ConfigError::Shape)?;
        let rows = steps * batch;
        let cells = weights
            .cells
            .iter()
            .map(|cell| cell.backward_scratch_len(batch, threads));
        let decoder = outer_scratch_len(config.hidden, threads);
        let embedding = outer_scratch_len(config.input.width(), threads);
        let scratch = cells.max().unwrap_or(0).max(decoder).max(embedding);
        let dtable = match config.input {
            InputConfig::Embedding { vocabulary, .. } => vocabulary * layout.shapes()[0].columns(),
            InputConfig::OneHot { .. } | InputConfig::Dense { .. } => 0,
        };
        let memory = if config.cell.has_memory() {
            batch * config.hidden
        } else {
            0
        };
        Ok(Self {
            threads,
            state: State::zeros(&layout, batch),
            tapes,
            dropout,
            outputs: vec![E::ZERO; rows * config.outputs],
            dout: [(); 2].map(|()| vec![E::ZERO; rows * config.hidden]),
            dh: vec![E::ZERO; batch * config.hidden],
            dc: vec![E::ZERO; memory],
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
    /// The window is larger than the room, or the inputs do not have its rows.
    pub fn learn(
        &mut self,
        weights: &Packed<E>,
        inputs: Inputs<'_, E>,
        steps: usize,
        loss: impl FnOnce(&mut [E]) -> f64,
    ) -> f64 {
        let batch = self.state.h[0].len() / self.layout.config().hidden;
        self.forward(weights, inputs, steps, batch);
        let loss = loss(&mut self.outputs[..steps * batch * self.layout.config().outputs]);
        self.backward(weights, inputs, steps, batch);
        loss
    }

    /// The tape of a layer: states and gates (gradients after [`Learner::learn`]) of the last window.
    pub fn tape(&self, layer: usize) -> &Tape<E> {
        &self.tapes[layer]
    }

    /// The masks, with the random state they come from.
    pub fn dropout(&self) -> &Dropout<E> {
        &self.dropout
    }

    fn forward(&mut self, weights: &Packed<E>, inputs: Inputs<'_, E>, steps: usize, batch: usize) {
        let config = *self.layout.config();
        let rows = steps * batch;
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
                },
                self.threads,
            );
            h.copy_from_slice(tape.h(steps));
            c.copy_from_slice(tape.c(steps));
            self.dropout.draw(layer, tape.output());
        }
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
        self.gradient.fill(E::ZERO);
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
        let (mut dout, mut dx) = (&mut dout[..rows * h], &mut dx[..rows * h]);
        if let Some(back) = &weights.decoder_back {
            back.multiply(doutputs, None, matrix_mut(dout, rows, h), threads);
        }
        for (layer, cell) in weights.cells.iter().enumerate().rev() {
            self.dropout.backward(layer, dout);
            self.dh.fill(E::ZERO);
            self.dc.fill(E::ZERO);
            let (below, rest) = self.tapes.split_at_mut(layer);
            let input = match below.last() {
                Some(below) => Input::Dense(self.dropout.output(layer - 1, below)),
                None => weights.first_input(inputs, rows),
            };
            let mut grads = split_mut(&self.layout, cells, layer);
            let embedded = layer == 0 && !self.dtable.is_empty();
            if embedded {
                self.dtable.fill(E::ZERO);
                grads.w = &mut self.dtable;
            }
            let backprop = Backprop {
                input,
                tape: &mut rest[0],
                dout: matrix(dout, rows, h),
                dh: &mut self.dh,
                dc: &mut self.dc,
                grads,
                dx: if layer > 0 {
                    Some(matrix_mut(dx, rows, h))
                } else {
                    None
                },
                scratch: &mut self.scratch,
            };
            cell.backward(backprop, threads);
            if embedded {
                embedding_gradient(weights, &self.dtable, cells, &mut self.scratch, threads);
            }
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

/// `values` as a matrix whose size is known to fit.
pub(crate) fn matrix<E>(values: &[E], rows: usize, cols: usize) -> MatRef<'_, E> {
    MatRef::new(values, rows, cols).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn matrix_mut<E>(values: &mut [E], rows: usize, cols: usize) -> MatMut<'_, E> {
    MatMut::new(values, rows, cols).unwrap_or_else(|error| panic!("{error}"))
}

/// The parameters of one layer.
fn split<'a, E: Element>(layout: &Layout, params: &'a [E], layer: usize) -> Params<'a, E> {
    let flat = &params[layout.layer(layer)];
    layout.shapes()[layer]
        .split(flat)
        .unwrap_or_else(|error| panic!("{error}"))
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
