//! The forward pass without a tape.

use ifog_kernels::{Element, Infer, Input, Threads};

use super::{Inputs, Packed, State, matrix, matrix_mut, window_rows};
use crate::config::ConfigError;
use crate::parameters::Layout;

/// Reads windows: the forward pass without a tape.
#[derive(Clone, Debug)]
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

impl<E: Element> Reader<E> {
    /// Room for windows of up to `steps` × `batch`, always of the same `batch`.
    ///
    /// # Errors
    /// One of them is 0, or the room does not fit in memory.
    pub fn new(weights: &Packed<E>, steps: usize, batch: usize) -> Result<Self, ConfigError> {
        let config = weights.layout.config();
        let rows = window_rows(&weights.layout, steps, batch)?;
        let scratch = weights
            .cells
            .iter()
            .map(|cell| cell.forward_scratch_len(steps, batch));
        Ok(Self {
            layout: weights.layout.clone(),
            steps,
            batch,
            state: State::zeros(&weights.layout, batch),
            out: [(); 2].map(|()| vec![E::ZERO; rows * weights.layout.widest()]),
            outputs: vec![E::ZERO; rows * config.outputs],
            scratch: vec![E::ZERO; scratch.max().unwrap_or(0)],
        })
    }

    /// Reads T = `steps` steps and carries the state on. Returns the decoder's outputs `[T·B, O]`.
    ///
    /// # Panics
    /// The window is larger than the room, the weights are of another network, the inputs are not those of its rows (tokens of the
    /// vocabulary, or vectors where the network takes them), or [`Reader::state`] is of another batch.
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
        assert_eq!(weights.layout(), &self.layout, "layout of the weights");
        let config = *self.layout.config();
        let (batch, rows) = (self.batch, steps * self.batch);
        inputs.check(rows, &config);
        self.state.check(&self.layout, batch);
        let first = weights.first_input(inputs, rows);
        let [even, odd] = &mut self.out;
        let state = self.state.h.iter_mut().zip(&mut self.state.c);
        for (layer, (cell, (h, c))) in weights.cells.iter().zip(state).enumerate() {
            let (to, from) = if layer % 2 == 0 {
                (&mut *even, &*odd)
            } else {
                (&mut *odd, &*even)
            };
            let shape = cell.shape();
            let input = if layer == 0 {
                first
            } else {
                let width = shape.input();
                Input::Dense(matrix(&from[..rows * width], rows, width))
            };
            let to = &mut to[..rows * shape.hidden()];
            let (out, scratch) = (matrix_mut(to, rows, shape.hidden()), &mut self.scratch[..]);
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
        let top = matrix(&top[..rows * config.hidden], rows, config.hidden);
        weights
            .decoder
            .multiply(top, Some(&weights.decoder_bias), to, threads);
        outputs
    }
}
