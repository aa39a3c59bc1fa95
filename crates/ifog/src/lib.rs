//! Recurrent networks that learn: stacked RNN, LSTM or GRU layers, truncated backpropagation through time,
//! character-level language models.
//!
//! ```text
//! x_t → [embedding] → layer 0 → … → layer L−1 → y_t = h_t W + b
//! language model     loss = mean over t of −ln softmax(y_t)[x_{t+1}]        (nats)
//! truncated BPTT     ∂loss/∂θ over T steps; the state (h, c) is carried into the next T as a constant
//! ```
//!
//! ```
//! use ifog::train::{TrainConfig, Trainer};
//!
//! # fn main() -> Result<(), ifog::train::TrainError> {
//! let config = TrainConfig { hidden: 32, layers: 1, lr: 1e-2, threads: 1, ..TrainConfig::default() };
//! let mut trainer = Trainer::new(config, b"hello")?;
//! for _ in 0..200 {
//!     trainer.step()?;
//! }
//! // "h" predicts "e", "e" predicts "l", the first "l" another, the second "o".
//! assert_eq!(trainer.sample(4, 0.0, b"h", 0)?, b"ello");
//! # Ok(())
//! # }
//! ```
//!
//! * [`train`]: the trainer of language models; [`fit`]: its step, for any loss. [`language_model`]: evaluation and sampling. [`checkpoint`]: files, named as PyTorch's; [`pytorch`]: weights from and for a `state_dict`.
//! * [`network`]: the layers at work, in f32 and f64. [`parameters`]: one flat buffer. [`loss`], [`optimizer`],
//!   [`learning_rate`], [`clip`], [`dropout`], [`row_dropout`], [`average`], [`init`].
//! * [`corpus`], [`vocabulary`], [`sampling`], [`rng`]: text in and out.
//! * [`flow`], [`spectrum`]: how gradients flow back through time, and why. [`toy`]: the same by hand.
//! * [`probe`]: what the units of a model do. [`forecast`]: the next value of a series. [`tasks`]: the classic long-range tasks, and training on them.
//! * [`cost`]: parameters, operations and memory. [`atomic_file`], [`regular_file`]: writing and reading without surprises.
//! * [`gradcheck`]: every gradient against central differences. [`mod@bench`]: cell throughput beside the machine's limit.
//!
//! A seed determines every bit of a run, on every machine with fused multiply-add and for any number of threads. The
//! feature `rayon` (default) brings the threads. There is no `unsafe` here.

#![forbid(unsafe_code)]

pub mod atomic_file;
pub mod average;
pub mod bench;
pub mod checkpoint;
pub mod clip;
pub mod config;
pub mod corpus;
pub mod cost;
mod dot;
pub mod dropout;
mod finite;
pub mod fit;
pub mod flow;
pub mod forecast;
pub mod gradcheck;
pub mod init;
pub mod language_model;
pub mod learning_rate;
pub mod loss;
pub mod network;
pub mod optimizer;
pub mod parameters;
pub mod pool;
pub mod probe;
pub mod pytorch;
mod quantile;
pub mod regular_file;
pub mod rng;
pub mod row_dropout;
pub mod safetensors;
pub mod sampling;
pub mod spectrum;
pub mod tasks;
pub mod toy;
pub mod train;
pub mod vocabulary;

pub use ifog_kernels as kernels;
pub use ifog_kernels::{Cell, Element, Level, LevelError, ShapeError, Threads};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
