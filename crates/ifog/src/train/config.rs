//! Everything that determines a run.

use ifog_kernels::Cell;
use serde::{Deserialize, Serialize};

use crate::clip::ClipRule;
use crate::config::{InputConfig, NetworkConfig};
use crate::corpus::{Split, SplitConfig};
use crate::fit::FitConfig;
use crate::init::Init;
use crate::language_model::{LanguageModel, TrainingRecord};
use crate::learning_rate::Decay;
use crate::optimizer::OptimizerConfig;
use crate::vocabulary::{Kind, Mode};

mod cell;
mod checks;
mod seed;

/// Everything that determines a run. The defaults are those of `ifog train`, but for the length: without `epochs`, `steps` or
/// `max_seconds` a [`Run`](super::Run) goes on for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The cell of every layer.
    #[serde(with = "cell")]
    pub cell: Cell,
    /// H.
    pub hidden: usize,
    /// Stacked layers.
    pub layers: usize,
    /// H of each of the `layers`, the lowest first, where they differ; empty: `hidden` for all.
    pub widths: Vec<usize>,
    /// Width of a learned embedding; 0: one-hot.
    pub embedding: usize,
    /// Initial weights.
    pub init: Init,
    /// Initial bias of an LSTM's forget gate.
    pub forget_bias: f32,
    /// Largest time scale in steps of chrono initialisation ([`chrono_biases`](crate::init::chrono_biases)); 0: none.
    pub chrono: u64,
    /// The decoder's weights are the embedding's, which must be as wide as the hidden state (Press & Wolf 2017).
    pub tie: bool,
    /// Bytes or characters.
    pub vocab: Mode,
    /// Streams B.
    pub batch: usize,
    /// Steps T of a window.
    pub seq_len: usize,
    /// Keep the tape of so many steps only, and compute longer windows twice in segments of these; 0: of all. Does not
    /// change a bit of the model.
    pub checkpoint_every: usize,
    /// Stop after so many passes over the training part.
    pub epochs: Option<f64>,
    /// Stop after so many windows.
    pub steps: Option<u64>,
    /// Stop after so many seconds of wall time in all, the time between a stop and its resumption left out, be the steps done
    /// or not; kept by [`Run`](super::Run).
    pub max_seconds: Option<f64>,
    /// Stop after so many validations in a row without a new best; 0: never. Kept by [`Run`](super::Run).
    pub early_stop: u64,
    /// Steps between validations; 0: as many as suit the length and what a validation takes.
    pub val_every: u64,
    /// The update rule.
    pub optimizer: OptimizerName,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Decay β₁ of Adam's mean of the gradients.
    pub beta1: f64,
    /// Decay β₂ of Adam's mean of their squares.
    pub beta2: f64,
    /// Learning rate η.
    pub lr: f64,
    /// What becomes of it: see [`Decay`].
    pub lr_schedule: ScheduleName,
    /// Factor of the schedules `step` and `plateau`; without it [`STEP_FACTOR`](Self::STEP_FACTOR) and
    /// [`PLATEAU_FACTOR`](Self::PLATEAU_FACTOR).
    pub lr_decay: Option<f64>,
    /// Epochs with the full rate, for `step`.
    pub lr_decay_after: u64,
    /// Lowest rate of `cosine` and `plateau`.
    pub lr_min: f64,
    /// Validations in a row that need not improve, for `plateau`.
    pub lr_patience: u64,
    /// Steps over which the rate grows to its full height.
    pub warmup: u64,
    /// Largest global norm of the gradient; 0: no limit.
    pub clip_norm: f64,
    /// Largest absolute value of a gradient; 0: no limit. Excludes `clip_norm`.
    pub clip_value: f64,
    /// λ of AdamW.
    pub weight_decay: f64,
    /// Probability of dropping an output on its way to the next layer or the decoder.
    pub dropout: f64,
    /// Probability of dropping a symbol of the vocabulary from the input for a window ([`RowDropout`]).
    ///
    /// [`RowDropout`]: crate::row_dropout::RowDropout
    pub dropout_input: f64,
    /// Probability of dropping a hidden unit on its way into the recurrence, for a window.
    pub dropout_recurrent: f64,
    /// The masks of `dropout` are the same at all steps of a window.
    pub variational: bool,
    /// Decay of the averaged weights ([`Average`](crate::average::Average)), which are then what is validated, sampled and
    /// saved; 0: none. Where the learning rate stays, they swing less about the minimum than the newest do: after 3,000 steps of
    /// tinyshakespeare 1.572 nats instead of 1.598; at the end of a cosine it makes no difference.
    pub ema: f64,
    /// How the corpus is split.
    pub split: Split,
    /// Share for validation.
    pub val: f64,
    /// Share for the test at the end.
    pub test: f64,
    /// Where every random choice comes from.
    #[serde(with = "seed")]
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
    /// SGD.
    Sgd,
}

/// The kind of a [`Decay`]; its constants are settings of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// [`Decay::Constant`].
    Constant,
    /// [`Decay::Step`].
    Step,
    /// [`Decay::Cosine`].
    Cosine,
    /// [`Decay::Plateau`].
    Plateau,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            cell: Cell::Lstm,
            hidden: 128,
            layers: 2,
            widths: Vec::new(),
            embedding: 0,
            init: Init::FanIn,
            forget_bias: 1.0,
            chrono: 0,
            tie: false,
            vocab: Mode::Auto,
            batch: 50,
            seq_len: 50,
            checkpoint_every: 0,
            epochs: None,
            steps: None,
            max_seconds: None,
            early_stop: 0,
            val_every: 0,
            optimizer: OptimizerName::Adam,
            momentum: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            lr: 2e-3,
            lr_schedule: ScheduleName::Constant,
            lr_decay: None,
            lr_decay_after: 10,
            lr_min: 0.0,
            lr_patience: 3,
            warmup: 0,
            clip_norm: 5.0,
            clip_value: 0.0,
            weight_decay: 0.0,
            dropout: 0.0,
            dropout_input: 0.0,
            dropout_recurrent: 0.0,
            variational: false,
            ema: 0.99,
            split: Split::Contiguous,
            val: 0.1,
            test: 0.0,
            seed: 0,
            threads: 0,
        }
    }
}

impl TrainConfig {
    /// Settings that may change when a run is continued. The last two do not change a bit of it. The others say when it validates and
    /// ends: the steps stay the same ones, unless the learning rate follows the length (`cosine`) or the validations (`plateau`).
    pub const FREE_ON_RESUME: [&'static str; 7] = [
        "epochs",
        "steps",
        "max_seconds",
        "early_stop",
        "val_every",
        "threads",
        "checkpoint_every",
    ];

    /// Factor of `step` for each epoch: char-rnn's.
    pub const STEP_FACTOR: f64 = 0.97;
    /// Factor of `plateau`, which a run applies a few times.
    pub const PLATEAU_FACTOR: f64 = 0.5;

    /// H of each layer, the lowest first.
    #[must_use]
    pub fn layer_widths(&self) -> Vec<usize> {
        match self.widths.is_empty() {
            true => vec![self.hidden; self.layers.min(NetworkConfig::MAX_LAYERS)],
            false => self.widths.clone(),
        }
    }

    /// Takes over what a trained model decides.
    pub(super) fn adopt(&mut self, model: &LanguageModel) {
        let network = model.config();
        let widths: Vec<usize> = model.layout().widths().collect();
        self.cell = network.cell;
        self.hidden = network.hidden;
        self.layers = network.layers;
        self.widths = match widths.iter().all(|width| *width == network.hidden) {
            true => Vec::new(),
            false => widths,
        };
        self.embedding = match network.input {
            InputConfig::Embedding { width, .. } => width,
            InputConfig::OneHot { .. } | InputConfig::Dense { .. } => 0,
        };
        self.vocab = match model.vocabulary().kind() {
            Kind::Bytes => Mode::Bytes,
            Kind::Characters => Mode::Characters,
        };
        self.tie = model.record().get("tie").is_some_and(|tied| tied == "1");
        self.chrono = 0;
    }

    /// The network for a vocabulary of so many symbols.
    pub(super) fn network(&self, symbols: usize) -> NetworkConfig {
        let input = match self.embedding {
            0 => InputConfig::OneHot {
                vocabulary: symbols,
            },
            width => InputConfig::Embedding {
                vocabulary: symbols,
                width,
            },
        };
        NetworkConfig {
            cell: self.cell,
            input,
            hidden: self.hidden,
            layers: self.layers,
            outputs: symbols,
        }
    }

    /// How the text is cut.
    pub(super) fn parts(&self) -> SplitConfig {
        SplitConfig {
            split: self.split,
            val: self.val,
            test: self.test,
            batch: self.batch,
            seq_len: self.seq_len,
        }
    }

    pub(super) fn optimizer(&self) -> OptimizerConfig {
        match self.optimizer {
            OptimizerName::Sgd => OptimizerConfig::Sgd {
                momentum: self.momentum,
            },
            OptimizerName::Adagrad => OptimizerConfig::adagrad(),
            OptimizerName::Rmsprop => OptimizerConfig::rmsprop(),
            OptimizerName::Adam => match OptimizerConfig::adam() {
                OptimizerConfig::Adam { eps, .. } => OptimizerConfig::Adam {
                    beta1: self.beta1,
                    beta2: self.beta2,
                    eps,
                    weight_decay: self.weight_decay,
                },
                other => other,
            },
        }
    }

    pub(super) fn decay(&self) -> Decay {
        match self.lr_schedule {
            ScheduleName::Constant => Decay::Constant,
            ScheduleName::Step => Decay::Step {
                factor: self.lr_decay.unwrap_or(Self::STEP_FACTOR),
                after: self.lr_decay_after,
            },
            ScheduleName::Cosine => Decay::Cosine { floor: self.lr_min },
            ScheduleName::Plateau => Decay::Plateau {
                factor: self.lr_decay.unwrap_or(Self::PLATEAU_FACTOR),
                patience: self.lr_patience,
                floor: self.lr_min,
            },
        }
    }

    /// Steps of the tape, of windows of so many.
    pub(super) fn room(&self, steps: usize) -> usize {
        match self.checkpoint_every {
            0 => steps,
            every => every.min(steps),
        }
    }

    /// How a step learns.
    pub(super) fn fit(&self) -> FitConfig {
        FitConfig {
            optimizer: self.optimizer(),
            clip: self.clip(),
            dropout: self.dropout,
            variational: self.variational,
            dropout_input: self.dropout_input,
            dropout_recurrent: self.dropout_recurrent,
            ema: self.ema,
            tie: self.tie,
            seed: self.seed,
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
    pub(super) fn record(&self) -> TrainingRecord {
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
        // Only where they are used, so that the file of a plain run stays what it was.
        let optional = [
            ("dropout_input", self.dropout_input),
            ("dropout_recurrent", self.dropout_recurrent),
            ("ema", self.ema),
            ("clip_value", self.clip_value),
            ("chrono", self.chrono as f64),
            ("tie", f64::from(u8::from(self.tie))),
        ];
        let used = optional.into_iter().filter(|(_, value)| *value != 0.0);
        let used = used.map(|(key, value)| (key, value.to_string()));
        entries
            .into_iter()
            .chain(used)
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// Every setting by name, as JSON; what two runs must share to be one.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let value = serde_json::to_value(self);
        let Ok(serde_json::Value::Object(settings)) = value else {
            return Vec::new();
        };
        let mut settings: Vec<_> = settings
            .into_iter()
            .filter(|(name, _)| !Self::FREE_ON_RESUME.contains(&name.as_str()))
            .map(|(name, value)| (name, value.to_string()))
            .collect();
        settings.sort_unstable();
        settings
    }
}
