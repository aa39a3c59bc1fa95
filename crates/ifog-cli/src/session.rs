//! A training run: steps, validations, samples, and the files they leave.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ifog::train::{StepReport, TrainError, Trainer};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::printable;
use crate::progress::{Nats, Progress, Status};
use crate::run_directory::RunDirectory;
use crate::schedule::{Moment, Schedule};

/// A run that goes on: the trainer, and what is measured and kept beside it.
pub(crate) struct Session {
    trainer: Trainer,
    directory: RunDirectory,
    progress: Progress,
    schedule: Schedule,
    /// Time between samples; `None` for none.
    sample_every: Option<Duration>,
    started: Instant,
    clocks: Clocks,
    /// Steps and epochs done, characters read.
    step: u64,
    epoch: f64,
    characters: u64,
    recent: RecentLoss,
    initial_val: f64,
    last_val: f64,
    best: Option<Best>,
}

/// The best model so far, which is the one on disk.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    /// Its validation loss in nats.
    pub(crate) val_loss: f64,
    /// SHA-256 of its weights as stored.
    pub(crate) digest: String,
}

/// Wall time, measured where it passes.
struct Clocks {
    /// When the last validation ended.
    validated: Instant,
    /// What it took.
    validation: Duration,
    /// When the last sample was printed.
    sampled: Instant,
    /// All training steps together, and nothing else.
    stepping: Duration,
}

/// A line of metrics.jsonl after a step. Losses are mean nats, times are seconds of wall time.
#[derive(Serialize)]
struct StepLine {
    step: u64,
    epoch: f64,
    loss: f64,
    grad_norm: f64,
    clip_rate: f64,
    lr: f64,
    seconds: f64,
    chars_per_s: f64,
}

/// A line of metrics.jsonl after a validation; step 0 is the untrained model.
#[derive(Serialize)]
struct ValidationLine {
    step: u64,
    epoch: f64,
    val_loss: f64,
    seconds: f64,
}

impl Session {
    /// A run that has not started. `sample_every` is the time between samples, `None` for none.
    pub(crate) fn new(
        trainer: Trainer,
        directory: RunDirectory,
        progress: Progress,
        sample_every: Option<Duration>,
    ) -> Self {
        let schedule = match (trainer.total_steps(), trainer.config().max_seconds) {
            (Some(total), _) => Schedule::of_steps(total, trainer.steps_per_epoch()),
            (None, seconds) => Schedule::of_seconds(seconds.unwrap_or(f64::MAX)),
        };
        let now = Instant::now();
        Self {
            trainer,
            directory,
            progress,
            schedule,
            sample_every,
            started: now,
            clocks: Clocks {
                validated: now,
                validation: Duration::ZERO,
                sampled: now,
                stepping: Duration::ZERO,
            },
            step: 0,
            epoch: 0.0,
            characters: 0,
            recent: RecentLoss::default(),
            initial_val: f64::NAN,
            last_val: f64::NAN,
            best: None,
        }
    }

    /// Runs to the end, at least one step. The best model is then on disk.
    pub(crate) fn train(&mut self) -> Result<Best, Failure> {
        self.initial_val = self.validate()?;
        loop {
            self.advance()?;
            let now = self.now();
            if self.schedule.validates(&now) {
                let val_loss = self.validate()?;
                self.keep_if_best(val_loss)?;
            }
            if let (true, Some(best)) = (self.schedule.is_over(&now), &self.best) {
                self.progress.finish(&self.status());
                return Ok(best.clone());
            }
            self.progress.update(&self.status());
            self.sample_if_due()?;
        }
    }

    /// What is trained.
    pub(crate) fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Where the files are.
    pub(crate) fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    /// Steps done.
    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    /// Passes over the training part done.
    pub(crate) fn epochs(&self) -> f64 {
        self.epoch
    }

    /// Mean nats over the last 50 steps.
    pub(crate) fn train_loss(&self) -> f64 {
        self.recent.mean()
    }

    /// Validation loss of the untrained model, in nats.
    pub(crate) fn initial_val_loss(&self) -> f64 {
        self.initial_val
    }

    /// Characters a second of training steps: validation, samples and saving are left out.
    pub(crate) fn chars_per_s(&self) -> f64 {
        self.characters as f64 / self.clocks.stepping.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// One training step.
    fn advance(&mut self) -> Result<(), Failure> {
        let before = Instant::now();
        let report = self.trainer.step();
        self.clocks.stepping += before.elapsed();
        let StepReport {
            step,
            epoch,
            loss,
            grad_norm,
            clip_rate,
            lr,
            characters,
        } = report.map_err(|error| self.failure(error))?;
        self.step = step;
        self.epoch = epoch;
        self.characters += characters;
        self.recent.push(loss);
        self.directory.record(&StepLine {
            step,
            epoch,
            loss,
            grad_norm,
            clip_rate,
            lr,
            seconds: self.started.elapsed().as_secs_f64(),
            chars_per_s: self.chars_per_s(),
        })
    }

    /// The loss on the validation part.
    fn validate(&mut self) -> Result<f64, Failure> {
        let before = Instant::now();
        let loss = self.trainer.validate();
        self.clocks.validation = before.elapsed();
        self.clocks.validated = Instant::now();
        let val_loss = loss.map_err(|error| self.failure(error))?;
        if !val_loss.is_finite() {
            let what = "validation loss".to_owned();
            return Err(self.failure(TrainError::Diverged {
                step: self.step,
                what,
            }));
        }
        self.last_val = val_loss;
        self.directory.record(&ValidationLine {
            step: self.step,
            epoch: self.epoch,
            val_loss,
            seconds: self.started.elapsed().as_secs_f64(),
        })?;
        self.directory.flush()?;
        Ok(val_loss)
    }

    /// Writes the model if none before it was as good on the validation part.
    fn keep_if_best(&mut self, val_loss: f64) -> Result<(), Failure> {
        if self
            .best
            .as_ref()
            .is_none_or(|best| val_loss < best.val_loss)
        {
            let digest = self.trainer.save(&self.directory.model(), val_loss)?;
            self.best = Some(Best { val_loss, digest });
        }
        Ok(())
    }

    fn sample_if_due(&mut self) -> Result<(), Failure> {
        let due = |every| self.clocks.sampled.elapsed() >= every;
        if !self.sample_every.is_some_and(due) {
            return Ok(());
        }
        let text = self
            .trainer
            .sample(SAMPLE_LENGTH, SAMPLE_TEMPERATURE, b"", self.step)?;
        self.progress.note(format!(
            "--- sample at step {} ---\n{}\n---",
            self.step,
            printable(&text)
        ));
        self.clocks.sampled = Instant::now();
        Ok(())
    }

    fn now(&self) -> Moment {
        Moment {
            step: self.step,
            elapsed: self.started.elapsed(),
            since_validation: self.clocks.validated.elapsed(),
            validation: self.clocks.validation,
        }
    }

    fn status(&self) -> Status {
        let now = self.now();
        Status {
            fraction: self.schedule.fraction(&now),
            step: self.step,
            epoch: self.epoch,
            train: Nats(self.recent.mean()),
            val: Nats(self.last_val),
            chars_per_s: self.chars_per_s(),
            left: self.schedule.left(&now),
        }
    }

    /// A training error, with what is left of the run.
    fn failure(&self, error: TrainError) -> Failure {
        if !matches!(error, TrainError::Diverged { .. }) {
            return error.into();
        }
        Failure::Diverged(match &self.best {
            None => error.to_string(),
            Some(best) => format!(
                "{error}; the best model before that, with a validation loss of {}, is in {}",
                Nats(best.val_loss),
                self.directory.path().display()
            ),
        })
    }
}

/// Mean of the last [`RECENT_STEPS`] training losses: one window alone says little.
#[derive(Debug, Default)]
struct RecentLoss {
    losses: VecDeque<f64>,
}

impl RecentLoss {
    fn push(&mut self, loss: f64) {
        if self.losses.len() == RECENT_STEPS {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
    }

    /// NaN before the first step.
    fn mean(&self) -> f64 {
        self.losses.iter().sum::<f64>() / self.losses.len() as f64
    }
}

const RECENT_STEPS: usize = 50;
const SAMPLE_LENGTH: usize = 160;
const SAMPLE_TEMPERATURE: f64 = 0.8;
