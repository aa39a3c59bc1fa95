//! What a run needs of memory, before it asks for it.

use ifog_kernels::{Cell, Shape, Tape, Threads, outer_scratch_len};

use crate::config::InputConfig;
use crate::corpus::{Corpus, PartName};
use crate::cost::{MemoryError, reserve};
use crate::language_model::evaluation_steps;
use crate::parameters::Layout;
use crate::train::{TrainConfig, TrainError};

/// Bytes by part. The process itself, some megabytes, is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    parts: Vec<(&'static str, u128)>,
}

impl Memory {
    /// Of the buffers that stay, and of those for a moment, which the allocator need not give back before the next.
    pub(super) fn predict(
        layout: &Layout,
        config: &TrainConfig,
        corpus: &Corpus,
        text_bytes: usize,
        threads: usize,
    ) -> Self {
        const FLOAT: u128 = size_of::<f32>() as u128;
        let (steps, batch) = (corpus.seq_len(), corpus.batch());
        let room = config.room(steps);
        let network = layout.config();
        let parameters = layout.len() as u128;
        let masked = config.dropout_input > 0.0 || config.dropout_recurrent > 0.0;
        let copies = 1 + u128::from(config.ema > 0.0) + u128::from(masked);
        let moments = config.optimizer().buffer_names().len() as u128;
        let table = match network.input {
            InputConfig::OneHot { vocabulary } | InputConfig::Embedding { vocabulary, .. } => {
                (vocabulary * layout.shapes()[0].columns()) as u128
            }
            InputConfig::Dense { .. } => 0,
        };
        let embedded = matches!(network.input, InputConfig::Embedding { .. });
        // W of a one-hot input is the table alone.
        let packed = parameters - if embedded { 0 } else { table };
        let tapes = layout.shapes().iter().map(|shape| {
            let floats = Tape::<f32>::floats(*shape, room, batch);
            floats.map_or(u128::MAX >> 32, |floats| floats as u128)
        });
        let rows = room as u128 * batch as u128;
        // Of one layer and of the one below; of two, one stays untouched where there is but one layer.
        let sides = layout.widest() as u128 * network.layers.min(2) as u128;
        let units = layout.widths().sum::<usize>() as u128;
        let masks = if config.dropout > 0.0 { 2 * units } else { 0 };
        let activations = rows * (network.outputs as u128 + sides + masks);
        let state = (1 + u128::from(network.cell.has_memory())) * batch as u128 * units;
        let segments = (steps as u128).div_ceil(room.max(1) as u128);
        // A window of the validation, or all of it: room that is never written to is no memory.
        let validated = corpus.part(PartName::Val).map_or(0, |part| part.pairs());
        let read = evaluation_steps(corpus).min(validated.div_ceil(batch.max(1)));
        let read = read as u128 * batch as u128;
        let reader = read * (network.outputs as u128 + sides);
        // The tensors in PyTorch's order and the file; or the file of the training state.
        let saving =
            (2 * parameters).max((1 + moments + u128::from(config.ema > 0.0)) * parameters);
        // Blocks of the operands of a weight gradient, for each thread; the gradient of the state.
        let scratch = |shape: &Shape| {
            // r ⊙ h of the GRUs is a left factor of its own.
            let states = match network.cell {
                Cell::Rnn | Cell::Lstm => shape.hidden(),
                Cell::Gru | Cell::GruAfter => 2 * shape.hidden(),
            };
            let blocks = outer_scratch_len(shape.input() + states, Threads::SINGLE);
            (threads as u128 * blocks as u128) + batch as u128 * shape.hidden() as u128
        };
        let scratch = layout.shapes().iter().map(scratch).max().unwrap_or(0);
        let window = 2 * steps as u128 * batch as u128;
        let parts = [
            ("parameters and gradient", FLOAT * (copies + 1) * parameters),
            ("optimiser", FLOAT * moments * parameters),
            (
                "packed weights",
                FLOAT * (2 * packed + table * (1 + u128::from(embedded))),
            ),
            ("tape", FLOAT * tapes.sum::<u128>()),
            ("activations", FLOAT * (activations + scratch)),
            ("carried states", FLOAT * state * (segments + 1)),
            // One after the other, in the same memory.
            ("validation or saving", FLOAT * reader.max(saving)),
            (
                "text",
                text_bytes as u128 + FLOAT * (corpus.tokens().len() as u128 + window),
            ),
        ];
        Self {
            parts: parts.to_vec(),
        }
    }

    /// Name and bytes of each part.
    #[must_use]
    pub fn parts(&self) -> &[(&'static str, u128)] {
        &self.parts
    }

    /// All of them, in bytes.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Asks the system for all of it at once.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        reserve(self.total()).map_err(|MemoryError { mebibytes }| TrainError::Memory { mebibytes })
    }
}
