//! Training a language model by truncated BPTT, one window a step.
//!
//! [`Trainer`] does steps, validates and saves when it is told to. [`Run`] is a whole run as an iterator: it knows when to
//! validate, when to save and when it is over.

use std::path::Path;

use ifog_kernels::{Level, Tape, Threads};

use crate::clip::Clipper;
use crate::config::{InputConfig, NetworkConfig};
use crate::corpus::{Corpus, PartName, SplitConfig, TrainingWindows, Window};
use crate::dropout::Dropout;
use crate::init::initial_parameters;
use crate::language_model::{LanguageModel, evaluate};
use crate::learning_rate::{LearningRate, Place};
use crate::loss::softmax_cross_entropy;
use crate::network::{Inputs, Learner, Packed};
use crate::optimizer::Optimizer;
use crate::parameters::Layout;
use crate::pool::Pool;
use crate::rng::{Rng, Stream};
use crate::safetensors::data_digest;
use crate::vocabulary::Vocabulary;

pub use checkpoints::Checkpoints;
pub use config::{OptimizerName, ScheduleName, TrainConfig};
pub use error::TrainError;
pub use run::{Event, Interval, Progress, Run, Saving, Validation};

mod checkpoints;
mod config;
mod error;
mod pace;
mod run;
mod state;

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    model: LanguageModel,
    corpus: Corpus,
    windows: TrainingWindows,
    window: Window,
    level: Level,
    pool: Pool,
    weights: Packed<f32>,
    learner: Learner<f32>,
    optimizer: Optimizer,
    clipper: Clipper,
    rate: LearningRate,
    /// SHA-256 of the text.
    text_digest: String,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Passes over the training part, in fractions.
    pub epoch: f64,
    /// Mean loss of the window in nats, before the update.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Share of all steps so far whose gradient was clipped.
    pub clip_rate: f64,
    /// Learning rate used.
    pub lr: f64,
    /// Symbols predicted.
    pub characters: u64,
}

impl Trainer {
    /// A fresh model for `text`.
    ///
    /// # Errors
    /// A setting is out of range, the text is too short or has a single symbol, or the network would not fit in
    /// memory.
    pub fn new(config: TrainConfig, text: &[u8]) -> Result<Self, TrainError> {
        config.validate()?;
        let level = Level::detect()?;
        let vocabulary = Vocabulary::of_text(text, config.vocab)?;
        let symbols = vocabulary.len();
        let split = SplitConfig {
            split: config.split,
            val: config.val,
            test: config.test,
            batch: config.batch,
            seq_len: config.seq_len,
        };
        let corpus = Corpus::new(vocabulary.encode(text)?, split)?;
        let input = match config.embedding {
            0 => InputConfig::OneHot {
                vocabulary: symbols,
            },
            width => InputConfig::Embedding {
                vocabulary: symbols,
                width,
            },
        };
        let network = NetworkConfig {
            cell: config.cell,
            input,
            hidden: config.hidden,
            layers: config.layers,
            outputs: symbols,
        };
        let layout = Layout::new(network)?;
        let (steps, batch) = (corpus.seq_len(), corpus.batch());
        check_memory(&layout, steps, batch)?;
        let parameters = initial_parameters(&layout, config.init, config.forget_bias, config.seed);
        let pool = Pool::new(config.threads)?;
        let rng = Rng::new(config.seed, Stream::Dropout);
        let dropout = Dropout::new(
            config.dropout,
            network.layers,
            steps * batch * network.hidden,
            rng,
        );
        let weights = Packed::new(&layout, level, true)?;
        let learner =
            pool.install(|| Learner::new(&weights, steps, batch, dropout, Threads::current()))?;
        let mut model = LanguageModel::new(network, vocabulary, parameters)?;
        model.record = config.record();
        Ok(Self {
            optimizer: Optimizer::new(config.optimizer(), layout.len())?,
            clipper: Clipper::new(config.clip())?,
            rate: LearningRate::new(config.lr, config.warmup, config.decay()),
            text_digest: data_digest(text),
            windows: corpus.training_windows(),
            window: Window::default(),
            config,
            model,
            corpus,
            level,
            pool,
            weights,
            learner,
        })
    }

    /// One step: the next window forward and backward, the gradient clipped, the parameters updated.
    ///
    /// # Errors
    /// [`TrainError::Diverged`]: the loss or the gradient is not finite. The parameters were not touched.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        self.step_at(0.0)
    }

    /// As [`Trainer::step`], with the part of the run that is done, 0 to 1: what a cosine schedule follows in a run
    /// that is limited by the clock. A run of a known number of steps follows those.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn step_at(&mut self, fraction: f64) -> Result<StepReport, TrainError> {
        let step = self.optimizer.steps() + 1;
        let lr = self.rate.at(Place {
            step,
            epoch: self.windows.position().epoch,
            fraction: match self.total_steps() {
                Some(total) => (step - 1) as f64 / total as f64,
                None => fraction,
            },
        });
        self.windows.read(self.corpus.tokens(), &mut self.window);
        if self.window.first {
            self.learner.state.reset();
        }
        let (window, level) = (&self.window, self.level);
        let (weights, learner) = (&mut self.weights, &mut self.learner);
        let (clipper, optimizer, model) = (&mut self.clipper, &mut self.optimizer, &mut self.model);
        let vocabulary = model.vocabulary.len();
        let rows = window.targets.len();
        let (loss, grad_norm) = self.pool.install(|| {
            weights.load(&model.parameters, Threads::current());
            let inputs = Inputs::Tokens(&window.inputs);
            let sum = learner.learn(weights, inputs, window.seq_len, |logits| {
                softmax_cross_entropy(level, logits, vocabulary, &window.targets, rows)
            });
            let norm = clipper.clip(&mut learner.gradient);
            if sum.is_finite() && norm.is_finite() {
                optimizer.step(&mut model.parameters, &learner.gradient, lr);
            }
            (sum / rows as f64, norm)
        });
        if !loss.is_finite() || !grad_norm.is_finite() {
            return Err(TrainError::Diverged {
                step,
                what: self.non_finite(loss),
            });
        }
        let position = self.windows.position();
        let share = position.window as f64 / self.windows.windows_per_epoch() as f64;
        Ok(StepReport {
            step,
            epoch: position.epoch as f64 + share,
            loss,
            grad_norm,
            clip_rate: self.clipper.stats().rate(),
            lr,
            characters: rows as u64,
        })
    }

    /// Mean loss over the validation part, in nats.
    ///
    /// # Errors
    /// There is no such part.
    pub fn validate(&mut self) -> Result<f64, TrainError> {
        let (weights, model) = (&mut self.weights, &self.model);
        let (level, corpus) = (self.level, &self.corpus);
        let evaluation = self.pool.install(|| {
            weights.load(&model.parameters, Threads::current());
            evaluate(weights, level, corpus, PartName::Val)
        });
        Ok(evaluation?.loss)
    }

    /// A sample of the model as it is.
    ///
    /// # Errors
    /// The temperature is out of range, or `prime` has symbols outside the vocabulary.
    pub fn sample(
        &self,
        length: usize,
        temperature: f64,
        prime: &[u8],
        seed: u64,
    ) -> Result<Vec<u8>, TrainError> {
        let mut generator = self.model.generator(seed, temperature, None)?;
        generator.feed(prime)?;
        let mut text = Vec::new();
        for _ in 0..length {
            text.extend_from_slice(generator.next_symbol()?);
        }
        Ok(text)
    }

    /// Saves the model, with the validation loss on record; returns the digest of the weights.
    ///
    /// # Errors
    /// The file cannot be written; an older one stays as it was.
    pub fn save(&mut self, path: &Path, val_loss: f64) -> Result<String, TrainError> {
        let record = &mut self.model.record;
        record.insert("step".to_owned(), self.optimizer.steps().to_string());
        record.insert("val_loss".to_owned(), format!("{val_loss:.6}"));
        Ok(self.model.save(path)?)
    }

    /// Sentences about what was not done as asked, such as a batch shrunk to a small text.
    pub fn notes(&self) -> Vec<String> {
        self.corpus
            .notes()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Steps until `steps` or `epochs` are done, whichever comes first; `None` without either.
    pub fn total_steps(&self) -> Option<u64> {
        let of_epochs = self.config.epochs.map(|epochs| {
            let steps = (epochs * self.steps_per_epoch() as f64).ceil();
            // Saturates: a run of 2⁶⁴ steps is as long as any.
            (steps as u64).max(1)
        });
        match (self.config.steps, of_epochs) {
            (Some(steps), Some(of_epochs)) => Some(steps.min(of_epochs)),
            (steps, of_epochs) => steps.or(of_epochs),
        }
    }

    /// Windows of one pass over the training part.
    pub fn steps_per_epoch(&self) -> u64 {
        self.windows.windows_per_epoch() as u64
    }

    /// Tells the schedule of a validation loss.
    pub fn observe(&mut self, val_loss: f64) {
        self.rate.observe(val_loss);
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Whether [`Trainer::total_steps`] are done.
    pub fn finished(&self) -> bool {
        self.total_steps()
            .is_some_and(|total| self.optimizer.steps() >= total)
    }

    /// The model as it is.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// What is not finite: in the order of the computation, a weight, the output of a layer, the loss, the gradient of a
    /// tensor.
    fn non_finite(&self, loss: f64) -> String {
        let tensors = self.model.layout.tensors();
        let bad = |values: &[f32]| values.iter().any(|x| !x.is_finite());
        let first = |values: &[f32]| {
            let mut tensors = tensors.iter();
            let tensor = tensors.find(|(_, range)| bad(&values[range.clone()]));
            tensor.map(|(name, _)| name.clone())
        };
        if let Some(name) = first(&self.model.parameters) {
            return format!("weight tensor {name}");
        }
        let layers = 0..self.config.layers;
        let mut outputs = layers.filter(|layer| !self.learner.output_is_finite(*layer));
        if let Some(layer) = outputs.next() {
            return format!("output of layer {layer}");
        }
        if !loss.is_finite() {
            return "loss".to_owned();
        }
        let gradient = first(&self.learner.gradient);
        gradient.map_or("norm of the gradient".to_owned(), |name| {
            format!("gradient of {name}")
        })
    }
}

/// Asks the system for all the memory at once, and gives it back: a refusal here is a sentence, later it would be an
/// abort.
fn check_memory(layout: &Layout, steps: usize, batch: usize) -> Result<(), TrainError> {
    // Parameters, gradient, two moments, and two packings.
    let parameters = 6 * layout.len() as u128;
    let config = layout.config();
    let rows = steps as u128 * batch as u128;
    let tapes = layout.shapes().iter().map(|shape| {
        Tape::<f32>::floats(*shape, steps, batch).map_or(u128::MAX >> 32, |floats| floats as u128)
    });
    // Outputs of the decoder, gradients of two layers' outputs, two masks a layer.
    let rest = rows * (config.outputs + (2 + 2 * config.layers) * config.hidden) as u128;
    let bytes = 4 * (parameters + tapes.sum::<u128>() + rest);
    let mut probe = Vec::<u8>::new();
    let fits = usize::try_from(bytes).is_ok_and(|bytes| probe.try_reserve_exact(bytes).is_ok());
    if fits {
        Ok(())
    } else {
        Err(TrainError::Memory {
            mebibytes: bytes >> 20,
        })
    }
}
