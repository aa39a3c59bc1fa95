//! What a language model does inside while it reads a text (Karpathy, Johnson & Li 2015).

pub mod features;
pub mod finder;

use ifog_kernels::{Cell, Input, Level, Record, Tape, Threads};

use crate::config::ConfigError;
use crate::cost::check_memory;
use crate::flow::gate_names;
use crate::language_model::{LanguageModel, ModelError};
use crate::network::{Inputs, matrix_mut};

/// A text as a model reads it, from the zero state.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The symbols, `[T]`.
    pub tokens: Vec<u32>,
    /// From the input up.
    pub layers: Vec<LayerTrace>,
    /// Logits of the symbol after each, `[T, V]`.
    pub logits: Vec<f32>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct LayerTrace {
    /// H, the units of this layer.
    pub hidden: usize,
    /// h first, then c of an LSTM, then the gates.
    pub quantities: Vec<Quantity>,
}

/// A value of each unit at each symbol.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// `h`, `c`, or a gate's name.
    pub name: &'static str,
    /// `[T, H]`.
    pub values: Vec<f32>,
}

impl Trace {
    /// Reads `text`.
    ///
    /// # Errors
    /// The text is empty or has symbols outside the vocabulary, or the trace does not fit in memory.
    pub fn record(model: &LanguageModel, text: &[u8]) -> Result<Self, ModelError> {
        let tokens = model.vocabulary().encode(text)?;
        let (config, threads) = (*model.config(), Threads::current());
        let weights = model.packed(Level::detect()?)?;
        let steps = tokens.len();
        // The tapes, and what is copied from them.
        check_memory(model.layout(), 2, steps, 1, size_of::<f32>())?;
        let zeros = vec![0.0; model.layout().widest()];
        let mut scratch = Vec::new();
        let mut tapes: Vec<Tape<f32>> = Vec::new();
        for cell in &weights.cells {
            let mut tape = Tape::new(cell.shape(), steps, 1).map_err(ConfigError::Shape)?;
            let input = match tapes.last() {
                Some(below) => Input::Dense(below.output()),
                None => weights.first_input(Inputs::Tokens(&tokens), steps),
            };
            let state = &zeros[..cell.shape().hidden()];
            scratch.resize(cell.forward_scratch_len(steps, 1), 0.0);
            let run = Record {
                steps,
                batch: 1,
                input,
                h: state,
                c: if config.cell.has_memory() { state } else { &[] },
                tape: &mut tape,
                scratch: &mut scratch,
            };
            cell.forward(run, threads);
            tapes.push(tape);
        }
        let mut logits = vec![0.0; steps * config.outputs];
        if let Some(top) = tapes.last() {
            let to = matrix_mut(&mut logits, steps, config.outputs);
            weights
                .decoder
                .multiply(top.output(), Some(&weights.decoder_bias), to, threads);
        }
        Ok(Self {
            layers: tapes
                .iter()
                .map(|tape| LayerTrace::of(tape, steps))
                .collect(),
            tokens,
            logits,
        })
    }

    /// T.
    pub fn steps(&self) -> usize {
        self.tokens.len()
    }
}

impl LayerTrace {
    fn of(tape: &Tape<f32>, steps: usize) -> Self {
        let (cell, hidden) = (tape.shape().cell(), tape.shape().hidden());
        let states =
            |of: &dyn Fn(usize) -> Vec<f32>| (1..=steps).flat_map(of).collect::<Vec<f32>>();
        let mut quantities = vec![Quantity {
            name: "h",
            values: states(&|t| tape.h(t).to_vec()),
        }];
        if cell.has_memory() {
            quantities.push(Quantity {
                name: "c",
                values: states(&|t| tape.c(t).to_vec()),
            });
        }
        // An RNN's only gate is h itself.
        let names = if cell == Cell::Rnn {
            &[]
        } else {
            gate_names(cell)
        };
        let gates = tape.gates();
        for (gate, name) in names.iter().enumerate() {
            let row = |t: usize| gates.row(t)[gate * hidden..][..hidden].iter().copied();
            quantities.push(Quantity {
                name,
                values: (0..steps).flat_map(row).collect(),
            });
        }
        Self { hidden, quantities }
    }
}

impl Quantity {
    /// Shares of the symbols for which each of the `hidden` units is below `left` and above `right`; empty for no units.
    pub fn saturation(&self, hidden: usize, left: f32, right: f32) -> Vec<(f64, f64)> {
        let steps = (self.values.len() / hidden.max(1)).max(1) as f64;
        let share = |unit: usize, beyond: &dyn Fn(f32) -> bool| {
            let values = self.values.iter().skip(unit).step_by(hidden);
            values.filter(|v| beyond(**v)).count() as f64 / steps
        };
        (0..hidden)
            .map(|unit| (share(unit, &|v| v < left), share(unit, &|v| v > right)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::train::{TrainConfig, Trainer};

    /// The trace against the generator, which reads symbol by symbol through other code.
    #[test]
    fn a_trace_ends_in_the_logits_of_the_generator() {
        let text = b"abcabdabcabd abc";
        for cell in Cell::ALL {
            let config = TrainConfig {
                cell,
                hidden: 5,
                threads: 1,
                ..TrainConfig::default()
            };
            let trainer = Trainer::new(config, text).unwrap();
            let trace = Trace::record(trainer.model(), text).unwrap();
            let mut generator = trainer.model().generator(0, 1.0, None).unwrap();
            generator.feed(text).unwrap();
            let symbols = trainer.model().config().outputs;
            assert_eq!(
                trace.logits[15 * symbols..],
                *generator.logits(),
                "{cell:?}"
            );
            let names: Vec<_> = trace.layers[1].quantities.iter().map(|q| q.name).collect();
            let expected: &[&str] = match cell {
                Cell::Rnn => &["h"],
                Cell::Lstm => &["h", "c", "i", "f", "o", "g"],
                Cell::Gru => &["h", "z", "r", "h~"],
                Cell::GruAfter => &["h", "r", "z", "n"],
            };
            assert_eq!(names, expected);
            for quantity in &trace.layers[0].quantities {
                assert_eq!(quantity.values.len(), 16 * 5);
            }
            if cell == Cell::Lstm {
                // h' = o ⊙ tanh(c'), to the accuracy of tanh in f32.
                let of = |name| {
                    &trace.layers[0]
                        .quantities
                        .iter()
                        .find(|q| q.name == name)
                        .unwrap()
                        .values
                };
                for ((h, o), c) in of("h").iter().zip(of("o")).zip(of("c")) {
                    assert!((h - o * c.tanh()).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn saturation_is_counted_by_unit() {
        let values = vec![0.05, 0.5, 0.95, 0.5, 0.05, 0.99];
        let gate = Quantity { name: "f", values };
        let found = gate.saturation(2, 0.1, 0.9);
        assert_eq!(found, [(2.0 / 3.0, 1.0 / 3.0), (0.0, 1.0 / 3.0)]);
        assert_eq!(gate.saturation(0, 0.1, 0.9), []);
    }
}
