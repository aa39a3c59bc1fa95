//! Training a language model by truncated BPTT, one window a step.
//!
//! [`Trainer`] does steps, validates and saves when it is told to. [`Run`] is a whole run as an iterator: it knows when to
//! validate, when to save and when it is over.

use std::borrow::Cow;
use std::path::Path;

use ifog_kernels::Threads;

use crate::corpus::{Corpus, PartName, TrainingWindows, Window};
use crate::cost::{MemoryError, reserve, training_flops};
use crate::fit::{Fitter, start_tied};
use crate::init::{chrono_biases, initial_parameters};
use crate::language_model::{Evaluation, LanguageModel, evaluate_while};
use crate::learning_rate::LearningRate;
use crate::parameters::Layout;
use crate::pool::Pool;
use crate::safetensors::data_digest;
use crate::vocabulary::Vocabulary;

pub use checkpoints::Checkpoints;
pub use config::{OptimizerName, ScheduleName, TrainConfig};
pub use error::TrainError;
pub use memory::Memory;
pub use progress::Progress;
pub use run::{Event, Interval, Run, Saving, Validation};
pub use step::StepReport;

mod checkpoints;
mod config;
mod error;
mod memory;
mod pace;
mod progress;
mod run;
mod state;
mod step;

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    model: LanguageModel,
    corpus: Corpus,
    windows: TrainingWindows,
    window: Window,
    pool: Pool,
    fitter: Fitter,
    rate: LearningRate,
    /// Whether every step reads the first window.
    one_batch: bool,
    /// Whether it began with a trained model.
    trained: bool,
    /// SHA-256 of the text.
    text_digest: String,
    text_len: usize,
}

impl Trainer {
    /// A fresh model for `text`.
    ///
    /// # Errors
    /// A setting is out of range, the text is too short or has a single symbol, or the network would not fit in
    /// memory.
    pub fn new(config: TrainConfig, text: &[u8]) -> Result<Self, TrainError> {
        Self::start(config, text, None)
    }

    /// Another training of a trained model: its cells, widths and vocabulary take the place of those of `config`, its weights that of
    /// random ones.
    ///
    /// # Errors
    /// As of [`Trainer::new`], or the text has a symbol that the model does not know.
    pub fn from_model(
        mut config: TrainConfig,
        text: &[u8],
        model: &LanguageModel,
    ) -> Result<Self, TrainError> {
        config.adopt(model);
        Self::start(config, text, Some(model))
    }

    fn start(
        config: TrainConfig,
        text: &[u8],
        model: Option<&LanguageModel>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let trained = model.is_some();
        let vocabulary = match model {
            Some(model) => model.vocabulary.clone(),
            None => Vocabulary::of_text(text, config.vocab)?,
        };
        // The tokens, before there is a network to ask for.
        let tokens = size_of::<u32>() as u128 * text.len() as u128;
        reserve(tokens).map_err(|MemoryError { mebibytes }| TrainError::Memory { mebibytes })?;
        let corpus = Corpus::new(vocabulary.encode(text)?, config.parts())?;
        let network = config.network(vocabulary.len());
        let layout = Layout::with_widths(network, &config.layer_widths())?;
        let (steps, batch) = (corpus.seq_len(), corpus.batch());
        let pool = Pool::new(config.threads)?;
        Memory::predict(&layout, &config, &corpus, text.len(), pool.threads()).check()?;
        let parameters = match model {
            Some(model) => model.parameters.clone(),
            None => fresh_parameters(&layout, &config),
        };
        let (room, fit) = ((config.room(steps), batch), config.fit());
        let fitter =
            pool.install(|| Fitter::new(&layout, &parameters, room, fit, Threads::current()))?;
        let mut model = LanguageModel::with_layout(layout.clone(), vocabulary, parameters)?;
        model.record = config.record();
        Ok(Self {
            rate: LearningRate::new(config.lr, config.warmup, config.decay()),
            one_batch: false,
            trained,
            text_digest: data_digest(text),
            text_len: text.len(),
            windows: corpus.training_windows(),
            window: Window::default(),
            config,
            model,
            corpus,
            pool,
            fitter,
        })
    }

    /// Mean loss over the validation part, in nats.
    ///
    /// # Errors
    /// There is no such part.
    pub fn validate(&mut self) -> Result<f64, TrainError> {
        Ok(self.validate_while(|_| true)?.loss)
    }

    /// [`Trainer::validate`] as far as `goes_on` wants it, which is told how many symbols were read.
    pub(crate) fn validate_while(
        &mut self,
        goes_on: impl Fn(u64) -> bool + Sync,
    ) -> Result<Evaluation, TrainError> {
        let (fitter, parameters) = (&mut self.fitter, &self.model.parameters);
        self.pool.install(|| fitter.load_evaluated(parameters));
        let (weights, level, corpus) = (&fitter.weights, fitter.level, &self.corpus);
        let evaluation =
            evaluate_while(weights, level, corpus, PartName::Val, &self.pool, goes_on)?;
        Ok(evaluation)
    }

    /// A sample of the model as it is, with averaged parameters if they are averaged.
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
        let model = self.evaluated_model();
        let mut generator = model.generator(seed, temperature, None)?;
        generator.feed(prime)?;
        Ok(generator.next_symbols(length)?)
    }

    /// Saves the model, with the validation loss on record if there is one; returns the digest of the weights.
    ///
    /// # Errors
    /// The file cannot be written; an older one stays as it was.
    pub fn save(&mut self, path: &Path, val_loss: Option<f64>) -> Result<String, TrainError> {
        let record = &mut self.model.record;
        record.insert("step".to_owned(), self.fitter.steps().to_string());
        match val_loss {
            Some(loss) => record.insert("val_loss".to_owned(), format!("{loss:.6}")),
            None => record.remove("val_loss"),
        };
        match self.averaged() {
            Some(mut averaged) => Ok(averaged.save(path)?),
            None => Ok(self.model.save(path)?),
        }
    }

    /// The model with averaged weights, if they are averaged.
    fn averaged(&self) -> Option<LanguageModel> {
        (self.config.ema > 0.0).then(|| LanguageModel {
            layout: self.model.layout.clone(),
            vocabulary: self.model.vocabulary.clone(),
            parameters: self.fitter.evaluated(&self.model.parameters).to_vec(),
            record: self.model.record.clone(),
            digest: String::new(),
        })
    }

    /// What the run needs of memory, predicted.
    pub fn memory(&self) -> Memory {
        Memory::predict(
            &self.model.layout,
            &self.config,
            &self.corpus,
            self.text_len,
            self.pool.threads(),
        )
    }

    /// Floating-point operations of a training step for each character: three times those of the forward pass, in which a
    /// one-hot or embedded input is a row copy.
    pub fn flops_per_character(&self) -> u64 {
        training_flops(&self.model.layout)
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
            // 0.07 epochs of 100 steps are 7, not 8, though their product in floating point is a little more.
            let steps = (epochs * self.steps_per_epoch() as f64 - 1e-6).ceil();
            // Saturates: a run of 2⁶⁴ steps is as long as any.
            (steps as u64).max(1)
        });
        match (self.config.steps, of_epochs) {
            (Some(steps), Some(of_epochs)) => Some(steps.min(of_epochs)),
            (steps, of_epochs) => steps.or(of_epochs),
        }
    }

    /// Ends after so many steps, whatever the settings said of epochs.
    pub fn end_after(&mut self, steps: u64) {
        (self.config.epochs, self.config.steps) = (None, Some(steps));
        self.model.record = self.config.record();
    }

    /// Windows of one pass over the training part.
    pub fn steps_per_epoch(&self) -> u64 {
        self.windows.windows_per_epoch() as u64
    }

    /// Training steps that take as long as a validation, which has no backward pass: a third of what it reads. 0 if that is so
    /// little that nobody waits for it.
    pub(crate) fn steps_per_validation(&self) -> u64 {
        let symbols = self.validation_symbols();
        if symbols < BRIEF {
            return 0;
        }
        let window = self.corpus.batch() * self.corpus.seq_len();
        symbols.div_ceil(3 * window as u64)
    }

    /// Symbols that a validation predicts.
    pub(crate) fn validation_symbols(&self) -> u64 {
        let part = self.corpus.part(PartName::Val);
        part.map_or(0, |part| part.pairs() as u64)
    }

    /// Tells the schedule of a validation loss.
    pub fn observe(&mut self, val_loss: f64) {
        self.rate.observe(val_loss);
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.fitter.steps()
    }

    /// Whether [`Trainer::total_steps`] are done.
    pub fn finished(&self) -> bool {
        self.total_steps()
            .is_some_and(|total| self.fitter.steps() >= total)
    }

    /// The model with the newest parameters, also where averaged ones are what is evaluated.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// The model that [`Trainer::validate`], [`Trainer::sample`] and [`Trainer::save`] are about: with averaged parameters, if
    /// they are averaged.
    pub fn evaluated_model(&self) -> Cow<'_, LanguageModel> {
        self.averaged()
            .map_or(Cow::Borrowed(&self.model), Cow::Owned)
    }

    /// Whether it began with a trained model ([`Trainer::from_model`]).
    pub fn began_trained(&self) -> bool {
        self.trained
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }
}

fn fresh_parameters(layout: &Layout, config: &TrainConfig) -> Vec<f32> {
    let mut parameters = initial_parameters(layout, config.init, config.forget_bias, config.seed);
    if config.chrono > 0 {
        chrono_biases(layout, &mut parameters, config.chrono);
    }
    if config.tie {
        start_tied(layout, &mut parameters);
    }
    parameters
}

#[cfg(test)]
impl Trainer {
    /// Puts a value where a weight was.
    fn plant(&mut self, value: f32) {
        self.model.parameters[3] = value;
    }
}

/// Symbols of a validation that even a large model reads in a moment.
const BRIEF: u64 = 5000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::optimizer::OptimizerConfig;

    pub(super) fn config() -> TrainConfig {
        TrainConfig {
            hidden: 8,
            layers: 2,
            batch: 2,
            seq_len: 10,
            threads: 1,
            ..TrainConfig::default()
        }
    }

    pub(super) const TEXT: &[u8] =
        b"the fog comes in on little feet, it sits and looks and then moves on.\n";

    #[test]
    fn the_constants_of_adam_are_the_usual_ones() {
        let config = TrainConfig::default();
        assert_eq!(config.optimizer(), OptimizerConfig::adam());
        let momentum = TrainConfig {
            momentum: 0.9,
            ..config
        };
        assert!(Trainer::new(momentum.clone(), b"hello hello").is_err());
        let sgd = TrainConfig {
            optimizer: OptimizerName::Sgd,
            ..momentum
        };
        assert_eq!(sgd.optimizer(), OptimizerConfig::Sgd { momentum: 0.9 });
    }

    /// Windows of 20 symbols, forward alone: a third each.
    #[test]
    fn a_validation_is_counted_in_steps_where_it_takes_long() {
        let steps = |symbols: usize| {
            let text: Vec<u8> = TEXT.iter().copied().cycle().take(symbols).collect();
            Trainer::new(config(), &text)
                .unwrap()
                .steps_per_validation()
        };
        assert_eq!([steps(40_000), steps(60_000)], [0, 100]);
    }

    /// 2.2 · 25 and 4.4 · 25 are more than 55 and 110 in floating point.
    #[test]
    fn a_share_of_an_epoch_is_no_step_too_long() {
        let text: Vec<u8> = TEXT.iter().copied().cycle().take(560).collect();
        for (epochs, steps) in [(2.2, 55), (4.4, 110), (2.21, 56), (0.001, 1)] {
            let config = TrainConfig {
                epochs: Some(epochs),
                ..config()
            };
            let trainer = Trainer::new(config, &text).unwrap();
            assert_eq!(
                (trainer.steps_per_epoch(), trainer.total_steps()),
                (25, Some(steps))
            );
        }
    }

    #[test]
    fn tied_weights_stay_tied() {
        let config = TrainConfig {
            embedding: 8,
            tie: true,
            ..config()
        };
        let mut trainer = Trainer::new(config, TEXT).unwrap();
        let before = trainer.model.parameters.clone();
        // Drawn for the H = 8 inputs of the decoder, not as rows that are read alone.
        let limit = (3.0f32 / 8.0).sqrt();
        assert!(
            before[trainer.model.layout.embedding()]
                .iter()
                .all(|e| e.abs() <= limit)
        );
        for _ in 0..5 {
            trainer.step().unwrap();
        }
        let layout = trainer.model.layout.clone();
        let symbols = layout.config().outputs;
        let (e, w) = (layout.embedding(), layout.decoder_weight());
        for v in 0..symbols {
            for h in 0..8 {
                let [e, w] = [e.start + v * 8 + h, w.start + h * symbols + v];
                assert_eq!(trainer.model.parameters[e], trainer.model.parameters[w]);
                assert_ne!(trainer.model.parameters[e], before[e]);
                assert_eq!(trainer.fitter.gradient()[w], 0.0);
            }
        }
    }

    #[test]
    fn averaged_weights_are_what_is_evaluated() {
        let config = TrainConfig {
            ema: 0.99,
            lr: 0.05,
            ..config()
        };
        let mut trainer = Trainer::new(config.clone(), TEXT).unwrap();
        let mut plain = Trainer::new(TrainConfig { ema: 0.0, ..config }, TEXT).unwrap();
        for _ in 0..20 {
            let (ours, theirs) = (trainer.step().unwrap().loss, plain.step().unwrap().loss);
            assert_eq!(ours, theirs, "averaging changes no step");
        }
        assert_ne!(trainer.validate().unwrap(), plain.validate().unwrap());
        plain.model.parameters = trainer.evaluated_model().parameters.clone();
        assert_eq!(trainer.validate().unwrap(), plain.validate().unwrap());
    }

    #[test]
    fn settings_that_do_not_fit_together_are_refused() {
        let refused = |config: TrainConfig, what: &str| {
            let error = Trainer::new(config, TEXT).unwrap_err();
            assert!(error.to_string().starts_with(what), "{error}");
        };
        refused(
            TrainConfig {
                tie: true,
                embedding: 5,
                ..config()
            },
            "embedding = 5",
        );
        refused(
            TrainConfig {
                clip_value: 1.0,
                ..config()
            },
            "clip_value = 1",
        );
        refused(
            TrainConfig {
                chrono: 2,
                ..config()
            },
            "chrono = 2",
        );
        refused(
            TrainConfig {
                chrono: 9,
                cell: ifog_kernels::Cell::Rnn,
                ..config()
            },
            "chrono",
        );
        refused(
            TrainConfig {
                steps: Some(0),
                ..config()
            },
            "steps = 0",
        );
        refused(
            TrainConfig {
                lr_schedule: ScheduleName::Cosine,
                ..config()
            },
            "lr_min = 0 ",
        );
        let (wide, three) = (vec![1 << 21, 8], vec![4, 5, 6]);
        refused(
            TrainConfig {
                widths: three,
                ..config()
            },
            "layers = 2",
        );
        refused(
            TrainConfig {
                widths: wide,
                ..config()
            },
            "a network with hidden",
        );
        refused(
            TrainConfig {
                lr_min: 1.0,
                ..config()
            },
            "lr_min = 1",
        );
        refused(
            TrainConfig {
                lr_decay: Some(0.0),
                ..config()
            },
            "lr_decay = 0",
        );
        refused(
            TrainConfig {
                dropout_recurrent: 1.0,
                ..config()
            },
            "dropout_recurrent = 1",
        );
        refused(
            TrainConfig {
                ema: 1.0,
                ..config()
            },
            "ema = 1",
        );
    }
}
