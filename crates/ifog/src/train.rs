//! Training a language model by truncated BPTT, one window a step.
//!
//! [`Trainer`] does steps, validates and saves when it is told to. [`Run`] is a whole run as an iterator: it knows when to
//! validate, when to save and when it is over.

use std::path::Path;

use ifog_kernels::{Level, Threads};

use crate::average::Average;
use crate::clip::Clipper;
use crate::config::{InputConfig, NetworkConfig};
use crate::corpus::{Corpus, PartName, SplitConfig, TrainingWindows, Window};
use crate::cost::training_flops;
use crate::dropout::Dropout;
use crate::init::{chrono_biases, initial_parameters};
use crate::language_model::{LanguageModel, evaluate};
use crate::learning_rate::{LearningRate, Place};
use crate::loss::softmax_cross_entropy;
use crate::network::{Inputs, Learner, Packed};
use crate::optimizer::Optimizer;
use crate::parameters::Layout;
use crate::pool::Pool;
use crate::rng::{Rng, Stream};
use crate::row_dropout::RowDropout;
use crate::safetensors::data_digest;
use crate::vocabulary::Vocabulary;

use tying::{fold_tied, tie};

pub use checkpoints::Checkpoints;
pub use config::{OptimizerName, ScheduleName, TrainConfig};
pub use error::TrainError;
pub use memory::Memory;
pub use progress::Progress;
pub use run::{Event, Interval, Run, Saving, Validation};

mod checkpoints;
mod config;
mod divergence;
mod error;
mod memory;
mod pace;
mod progress;
mod run;
mod state;
mod tying;

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
    rows: RowDropout,
    average: Option<Average>,
    /// Whether every step reads the first window.
    one_batch: bool,
    /// SHA-256 of the text.
    text_digest: String,
    text_len: usize,
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
        let layout = Layout::with_widths(network, &config.layer_widths())?;
        let (steps, batch) = (corpus.seq_len(), corpus.batch());
        let room = match config.checkpoint_every {
            0 => steps,
            every => every.min(steps),
        };
        let pool = Pool::new(config.threads)?;
        Memory::predict(&layout, &config, &corpus, text.len(), pool.threads()).check()?;
        let mut parameters =
            initial_parameters(&layout, config.init, config.forget_bias, config.seed);
        if config.chrono > 0 {
            chrono_biases(&layout, &mut parameters, config.chrono);
        }
        if config.tie {
            tie(&layout, &mut parameters);
        }
        let rng = Rng::new(config.seed, Stream::Dropout);
        let dropout = Dropout::new(config.dropout, layout.widths(), room * batch, rng);
        let dropout = dropout.variational(config.variational);
        let weights = Packed::new(&layout, level, true)?;
        let learner =
            pool.install(|| Learner::new(&weights, room, batch, dropout, Threads::current()))?;
        let mut model = LanguageModel::with_layout(layout.clone(), vocabulary, parameters)?;
        model.record = config.record();
        Ok(Self {
            optimizer: Optimizer::new(config.optimizer(), layout.len())?,
            clipper: Clipper::new(config.clip())?,
            rate: LearningRate::new(config.lr, config.warmup, config.decay()),
            rows: RowDropout::new(
                &layout,
                config.dropout_input,
                config.dropout_recurrent,
                Rng::new(config.seed, Stream::Rows),
            ),
            average: (config.ema > 0.0).then(|| Average::new(config.ema, &model.parameters)),
            one_batch: false,
            text_digest: data_digest(text),
            text_len: text.len(),
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
    /// [`TrainError::Diverged`]: the loss or the gradient is not finite, and the parameters were not touched; or they, or the
    /// optimiser's state, are not finite after the update.
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
        if !(self.one_batch && step > 1) {
            self.windows.read(self.corpus.tokens(), &mut self.window);
        }
        if self.window.first || self.one_batch {
            self.learner.state.reset();
        }
        let (window, level) = (&self.window, self.level);
        let (weights, learner) = (&mut self.weights, &mut self.learner);
        let (clipper, optimizer, model) = (&mut self.clipper, &mut self.optimizer, &mut self.model);
        let (masks, average) = (&mut self.rows, &mut self.average);
        let vocabulary = model.vocabulary.len();
        let (rows, tied) = (window.targets.len(), self.config.tie);
        let (loss, grad_norm, updated) = self.pool.install(|| {
            weights.load(masks.draw(&model.parameters), Threads::current());
            let inputs = Inputs::Tokens(&window.inputs);
            let sum =
                learner.learn_in_segments(weights, inputs, window.seq_len, |range, logits| {
                    let targets = &window.targets[range];
                    softmax_cross_entropy(level, logits, vocabulary, targets, rows)
                });
            masks.backward(&mut learner.gradient);
            if tied {
                fold_tied(&model.layout, &mut learner.gradient);
            }
            let norm = clipper.clip(&mut learner.gradient);
            // Also a weight that this window does not read is seen behind the update.
            let updated = sum.is_finite()
                && norm.is_finite()
                && optimizer.step(&mut model.parameters, &learner.gradient, lr);
            if updated && tied {
                tie(&model.layout, &mut model.parameters);
            }
            if let (true, Some(average)) = (updated, average) {
                average.update(&model.parameters, step);
            }
            (sum / rows as f64, norm, updated)
        });
        if !updated {
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
        let average = self.average.as_ref();
        let evaluated = average.map_or(&model.parameters, |average| &average.values);
        self.pool
            .install(|| weights.load(evaluated, Threads::current()));
        let (level, corpus) = (self.level, &self.corpus);
        Ok(evaluate(weights, level, corpus, PartName::Val, &self.pool)?.loss)
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
        let averaged = self.averaged();
        let model = averaged.as_ref().unwrap_or(&self.model);
        let mut generator = model.generator(seed, temperature, None)?;
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
        match self.averaged() {
            Some(mut averaged) => Ok(averaged.save(path)?),
            None => Ok(self.model.save(path)?),
        }
    }

    /// The model with averaged weights, if they are averaged.
    fn averaged(&self) -> Option<LanguageModel> {
        let average = self.average.as_ref()?;
        Some(LanguageModel {
            parameters: average.values.clone(),
            ..self.model.clone()
        })
    }

    /// From now on every step reads the same window, from the zero state: a model and a learning rate that cannot learn
    /// one batch by heart have something wrong.
    pub fn overfit_one_batch(&mut self) {
        self.one_batch = true;
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
}

#[cfg(test)]
impl Trainer {
    /// Puts a value where a weight was.
    fn plant(&mut self, value: f32) {
        self.model.parameters[3] = value;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn config() -> TrainConfig {
        TrainConfig {
            hidden: 8,
            layers: 2,
            batch: 2,
            seq_len: 10,
            threads: 1,
            ..TrainConfig::default()
        }
    }

    const TEXT: &[u8] = b"the fog comes in on little feet, it sits and looks and then moves on.\n";

    /// Planted at a step, found at that step, named as the first tensor it is in.
    #[test]
    fn a_planted_nan_is_named() {
        let plant = |name: &str| {
            let mut trainer = Trainer::new(config(), TEXT).unwrap();
            trainer.step().unwrap();
            let tensors = trainer.model.layout.tensors();
            let (_, range) = tensors.into_iter().find(|(n, _)| n == name).unwrap();
            trainer.model.parameters[range.end - 1] = f32::NAN;
            let error = trainer.step().unwrap_err();
            assert!(
                matches!(error, TrainError::Diverged { step: 2, .. }),
                "{error}"
            );
            error.to_string()
        };
        for name in ["w_l0", "u_l0", "b_l1", "decoder_w"] {
            assert!(plant(name).contains(&format!("weight tensor {name} is not finite")));
        }
        // A carried state that is none shows in the layer that reads it, and no parameter is touched.
        let mut trainer = Trainer::new(config(), &TEXT.repeat(3)).unwrap();
        trainer.step().unwrap();
        trainer.learner.state.h[1][0] = f32::NAN;
        let before = trainer.model.parameters.clone();
        let error = trainer.step().unwrap_err().to_string();
        assert!(
            error.contains("output of layer 1") && error.contains("learning rate"),
            "{error}"
        );
        assert_eq!(trainer.model.parameters, before);
    }

    /// The step that makes them is the one that is named, so that no state with them is ever saved.
    #[test]
    fn an_update_beyond_the_numbers_is_found_in_its_step() {
        let diverged = |config: TrainConfig| {
            let mut trainer = Trainer::new(config, TEXT).unwrap();
            let error = trainer.step().unwrap_err();
            assert!(
                matches!(error, TrainError::Diverged { step: 1, .. }),
                "{error}"
            );
            error.to_string()
        };
        let optimizer = OptimizerName::Sgd;
        let beyond = diverged(TrainConfig {
            lr: 1e39,
            optimizer,
            ..config()
        });
        assert!(beyond.contains("the weight tensor w_l0 is"), "{beyond}");
        // Gradients whose squares are beyond f32 leave their weights where they are.
        let mut trainer = Trainer::new(config(), TEXT).unwrap();
        let mut gradient = vec![0.0; trainer.model.parameters.len()];
        let place = trainer.model.layout.decoder_bias().start;
        gradient[place] = 1e30;
        assert!(
            !trainer
                .optimizer
                .step(&mut trainer.model.parameters, &gradient, 1e-3)
        );
        assert_eq!(trainer.non_finite(1.0), "optimiser's v of decoder_b");
    }

    #[test]
    fn one_batch_is_learnt_by_heart() {
        let mut trainer = Trainer::new(
            TrainConfig {
                lr: 0.02,
                ..config()
            },
            TEXT,
        )
        .unwrap();
        trainer.overfit_one_batch();
        let losses: Vec<f64> = (0..300).map(|_| trainer.step().unwrap().loss).collect();
        assert!(losses[299] < 0.05, "{}", losses[299]);
        assert_eq!(trainer.windows.position().window, 1);
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
                assert_eq!(trainer.learner.gradient[w], 0.0);
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
        plain.model.parameters = trainer.average.as_ref().unwrap().values.clone();
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
                lr_decay: 0.0,
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
