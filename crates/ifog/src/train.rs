//! Training a language model by truncated BPTT, one window a step.

use std::path::Path;

use ifog_kernels::{Cell, Level, LevelError, Tape, Threads};
use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointError;
use crate::clip::{ClipError, ClipRule, Clipper};
use crate::config::{ConfigError, InputConfig, NetworkConfig};
use crate::corpus::{Corpus, CorpusError, PartName, Split, SplitConfig, TrainingWindows, Window};
use crate::dropout::Dropout;
use crate::init::{Init, initial_parameters};
use crate::language_model::{LanguageModel, ModelError, TrainingRecord, evaluate};
use crate::loss::softmax_cross_entropy;
use crate::network::{Inputs, Learner, Packed};
use crate::optimizer::{Optimizer, OptimizerConfig, OptimizerError};
use crate::parameters::Layout;
use crate::pool::{Pool, PoolError};
use crate::rng::{Rng, Stream};
use crate::vocabulary::{Mode, Vocabulary, VocabularyError};

/// Everything that determines a run. The defaults are those of `ifog train`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The cell of every layer.
    #[serde(with = "cell_name")]
    pub cell: Cell,
    /// H.
    pub hidden: usize,
    /// Stacked layers.
    pub layers: usize,
    /// Width of a learned embedding; 0: one-hot.
    pub embedding: usize,
    /// Initial weights.
    pub init: Init,
    /// Initial bias of an LSTM's forget gate.
    pub forget_bias: f32,
    /// Bytes or characters.
    #[serde(with = "mode_name")]
    pub vocab: Mode,
    /// Streams B.
    pub batch: usize,
    /// Steps T of a window.
    pub seq_len: usize,
    /// Stop after so many passes over the training part.
    pub epochs: Option<f64>,
    /// Stop after so many windows.
    pub steps: Option<u64>,
    /// Stop after so much wall time; it is for the caller to keep.
    pub max_seconds: Option<f64>,
    /// The update rule.
    pub optimizer: OptimizerName,
    /// Learning rate.
    pub lr: f64,
    /// Largest global norm of the gradient; 0: no limit.
    pub clip_norm: f64,
    /// Largest absolute value of a gradient; 0: no limit. Excludes `clip_norm`.
    pub clip_value: f64,
    /// λ of AdamW.
    pub weight_decay: f64,
    /// Probability of dropping an output on its way to the next layer or the decoder.
    pub dropout: f64,
    /// How the corpus is split.
    pub split: Split,
    /// Share for validation.
    pub val: f64,
    /// Share for the test at the end.
    pub test: f64,
    /// Where every random choice comes from.
    pub seed: u64,
    /// 0: one for each core.
    pub threads: usize,
}

/// An update rule with its default constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// Adam; AdamW with weight decay.
    Adam,
    /// RMSprop with char-rnn's decay of 0.95.
    Rmsprop,
    /// Adagrad.
    Adagrad,
    /// SGD with momentum 0.9.
    Sgd,
}

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

/// Why training cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting out of its range.
    #[error("{what} = {value} is out of range: {range}")]
    Setting {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What would do.
        range: &'static str,
    },
    /// Loss or gradient is not finite. The model is as it was before the step.
    #[error(
        "training diverged at step {step}: the {what} is not finite; lower the learning rate or clip the gradient"
    )]
    Diverged {
        /// The step that was not done.
        step: u64,
        /// Loss, or the tensor with the first non-finite gradient.
        what: String,
    },
    /// More memory than the system gives.
    #[error(
        "training needs about {mebibytes} MiB, which this machine does not have: give a smaller hidden width, \
         batch or sequence length"
    )]
    Memory {
        /// What would be needed.
        mebibytes: u128,
    },
    /// The network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The text.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The text's symbols.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The update rule.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// The clipping.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// `IFOG_ISA`.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The threads.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The model, in evaluation or sampling.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            cell: Cell::Lstm,
            hidden: 128,
            layers: 2,
            embedding: 0,
            init: Init::Uniform,
            forget_bias: 1.0,
            vocab: Mode::Auto,
            batch: 50,
            seq_len: 50,
            epochs: None,
            steps: None,
            max_seconds: None,
            optimizer: OptimizerName::Adam,
            lr: 2e-3,
            clip_norm: 5.0,
            clip_value: 0.0,
            weight_decay: 0.0,
            dropout: 0.0,
            split: Split::Contiguous,
            val: 0.1,
            test: 0.0,
            seed: 0,
            threads: 0,
        }
    }
}

impl TrainConfig {
    /// Checks the settings that no other part checks.
    fn validate(&self) -> Result<(), TrainError> {
        let checks = [
            (
                "lr",
                self.lr,
                self.lr > 0.0 && self.lr.is_finite(),
                "give a finite number above 0",
            ),
            (
                "dropout",
                self.dropout,
                (0.0..1.0).contains(&self.dropout),
                "give a share from 0 to below 1",
            ),
            (
                "forget_bias",
                f64::from(self.forget_bias),
                self.forget_bias.is_finite(),
                "give a finite number",
            ),
            (
                "epochs",
                self.epochs.unwrap_or(1.0),
                self.epochs.is_none_or(|e| e > 0.0 && e.is_finite()),
                "give a finite number above 0",
            ),
            (
                "max_seconds",
                self.max_seconds.unwrap_or(1.0),
                self.max_seconds.is_none_or(|s| s > 0.0 && s.is_finite()),
                "give a finite number above 0",
            ),
            (
                "clip_norm",
                self.clip_norm,
                self.clip_norm >= 0.0 && self.clip_norm.is_finite(),
                "give a finite number, 0 for no clipping",
            ),
            (
                "clip_value",
                self.clip_value,
                self.clip_value >= 0.0 && self.clip_value.is_finite(),
                "give a finite number, 0 for no clipping",
            ),
            (
                "weight_decay",
                self.weight_decay,
                self.weight_decay == 0.0 || self.optimizer == OptimizerName::Adam,
                "only Adam decays weights, the other optimisers need 0",
            ),
        ];
        match checks.into_iter().find(|(_, _, ok, _)| !ok) {
            Some((what, value, _, range)) => Err(TrainError::Setting { what, value, range }),
            None => Ok(()),
        }
    }

    fn optimizer(&self) -> OptimizerConfig {
        match self.optimizer {
            OptimizerName::Sgd => OptimizerConfig::sgd(),
            OptimizerName::Adagrad => OptimizerConfig::adagrad(),
            OptimizerName::Rmsprop => OptimizerConfig::rmsprop(),
            OptimizerName::Adam => match OptimizerConfig::adam() {
                OptimizerConfig::Adam {
                    beta1, beta2, eps, ..
                } => OptimizerConfig::Adam {
                    beta1,
                    beta2,
                    eps,
                    weight_decay: self.weight_decay,
                },
                other => other,
            },
        }
    }

    fn clip(&self) -> ClipRule {
        match (self.clip_norm > 0.0, self.clip_value > 0.0) {
            (_, true) => ClipRule::Value(self.clip_value as f32),
            (true, false) => ClipRule::GlobalNorm(self.clip_norm),
            (false, false) => ClipRule::Off,
        }
    }

    /// What a checkpoint keeps of the run; nothing that depends on time or machine.
    fn record(&self) -> TrainingRecord {
        let split = match self.split {
            Split::Contiguous => "contiguous",
            Split::Streams => "streams",
        };
        let entries = [
            ("split", split.to_owned()),
            ("val", self.val.to_string()),
            ("test", self.test.to_string()),
            ("batch", self.batch.to_string()),
            ("seq_len", self.seq_len.to_string()),
            ("optimizer", self.optimizer().name().to_owned()),
            ("lr", self.lr.to_string()),
            ("clip_norm", self.clip_norm.to_string()),
            ("dropout", self.dropout.to_string()),
            ("seed", self.seed.to_string()),
        ];
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
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
        self.windows.read(self.corpus.tokens(), &mut self.window);
        if self.window.first {
            self.learner.state.reset();
        }
        let step = self.optimizer.steps() + 1;
        let (window, level, lr) = (&self.window, self.level, self.config.lr);
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

    /// What is not finite: the loss, or the first tensor whose gradient is not.
    fn non_finite(&self, loss: f64) -> String {
        if !loss.is_finite() {
            return "loss".to_owned();
        }
        let mut tensors = self.model.layout.tensors().into_iter();
        let gradient = &self.learner.gradient;
        let bad = tensors.find(|(_, range)| gradient[range.clone()].iter().any(|g| !g.is_finite()));
        bad.map_or("norm of the gradient".to_owned(), |(name, _)| {
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

/// [`Cell`] by name.
mod cell_name {
    use ifog_kernels::Cell;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(cell: &Cell, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(cell.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Cell, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = || {
            D::Error::custom(format!(
                "unknown cell '{name}': lstm, gru, gru-after or rnn"
            ))
        };
        Cell::named(&name).ok_or_else(unknown)
    }
}

/// [`Mode`] by name.
mod mode_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::vocabulary::Mode;

    const NAMES: [(&str, Mode); 3] = [
        ("auto", Mode::Auto),
        ("bytes", Mode::Bytes),
        ("characters", Mode::Characters),
    ];

    pub(super) fn serialize<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
        let name = NAMES.iter().find(|(_, known)| known == mode);
        serializer.serialize_str(name.map_or("auto", |(name, _)| name))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Mode, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let unknown = || {
            D::Error::custom(format!(
                "unknown vocabulary '{name}': auto, bytes or characters"
            ))
        };
        known.map(|(_, mode)| *mode).ok_or_else(unknown)
    }
}
