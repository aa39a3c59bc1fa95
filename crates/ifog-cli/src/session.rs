//! A training run in a terminal: what the library's run does is shown, written down, and stopped by signals.

use std::time::{Duration, Instant};

use ifog::train::{Event, Run, StepReport, TrainError, Validation};
use serde::Serialize;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{printable, shell_word};
use crate::progress::{Nats, Progress, Status};
use crate::run_directory::RunDirectory;

/// A run that goes on, and what is shown and kept beside it.
pub(crate) struct Session {
    run: Run,
    directory: RunDirectory,
    progress: Progress,
    interrupt: Interrupt,
    /// Time between samples; `None` for none.
    sample_every: Option<Duration>,
    sampled: Instant,
    /// The last step.
    report: Option<StepReport>,
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

/// A line of metrics.jsonl after a validation; step 0 is the model before it.
#[derive(Serialize)]
struct ValidationLine {
    step: u64,
    epoch: f64,
    val_loss: f64,
    seconds: f64,
}

/// A line of metrics.jsonl with a text of the model as it was.
#[derive(Serialize)]
struct SampleLine<'a> {
    step: u64,
    sample: &'a str,
}

impl Session {
    /// A run that has not started, or stands where it was resumed. `sample_every` is the time between samples, `None`
    /// for none.
    pub(crate) fn new(
        run: Run,
        directory: RunDirectory,
        progress: Progress,
        sample_every: Option<Duration>,
    ) -> Result<Self, Failure> {
        let interrupt = Interrupt::watch()?;
        Ok(Self {
            run: run.stopping_on(interrupt.asked()),
            directory,
            progress,
            interrupt,
            sample_every,
            sampled: Instant::now(),
            report: None,
        })
    }

    /// Runs to the end. The best model is then on disk.
    pub(crate) fn train(&mut self) -> Result<(), Failure> {
        while let Some(event) = self.run.next() {
            match event.map_err(|error| self.failure(error))? {
                Event::Stepped(report) => {
                    self.take_step(report)?;
                    self.sample_if_due()?;
                }
                Event::Validated(validation) => self.validated(validation)?,
                Event::Saved(_) => {}
            }
        }
        if let (true, Some(code)) = (self.run.stopped(), self.interrupt.code()) {
            return Err(self.stop(code)?);
        }
        if self.run.stopped_early() {
            let stale = self.run.progress().stale;
            self.progress.note(format!(
                "stopped early: no better validation in the last {stale}"
            ));
        }
        self.progress.finish(&self.status());
        if let Some(note) = self.learnt_nothing() {
            self.progress.note(note);
        }
        Ok(())
    }

    /// That it was in vain.
    pub(crate) fn learnt_nothing(&self) -> Option<String> {
        let done = self.run.progress();
        let (best, initial) = (done.best_val, done.initial_val);
        (best >= initial && best.is_finite()).then(|| {
            format!(
                "no validation was better than that before the first step, {}: it did not learn; try a lower --lr",
                Nats(initial)
            )
        })
    }

    /// The run.
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// Whether it has trained at all.
    pub(crate) fn stepped(&self) -> bool {
        self.report.is_some()
    }

    /// Where the files are.
    pub(crate) fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    fn take_step(&mut self, report: StepReport) -> Result<(), Failure> {
        self.report = Some(report);
        self.directory.record(&StepLine {
            step: report.step,
            epoch: report.epoch,
            loss: report.loss,
            grad_norm: report.grad_norm,
            clip_rate: report.clip_rate,
            lr: report.lr,
            seconds: self.run.elapsed().as_secs_f64(),
            chars_per_s: self.run.chars_per_s(),
        })?;
        self.progress.update(&self.status());
        Ok(())
    }

    fn validated(&mut self, validation: Validation) -> Result<(), Failure> {
        self.directory.record(&ValidationLine {
            step: validation.step,
            epoch: validation.epoch,
            val_loss: validation.loss,
            seconds: self.run.elapsed().as_secs_f64(),
        })
    }

    fn sample_if_due(&mut self) -> Result<(), Failure> {
        let due = |every| self.sampled.elapsed() >= every;
        if !self.sample_every.is_some_and(due) {
            return Ok(());
        }
        let step = self.run.progress().step;
        let trainer = self.run.trainer();
        // A model that has none has left the finite numbers, which the next step tells.
        let Ok(text) = trainer.sample(SAMPLE_LENGTH, SAMPLE_TEMPERATURE, b"", step) else {
            return Ok(());
        };
        let text = printable(&text);
        self.progress
            .note(format!("--- sample at step {step} ---\n{text}\n---"));
        self.directory.record(&SampleLine {
            step,
            sample: &text,
        })?;
        self.sampled = Instant::now();
        Ok(())
    }

    /// Saves where the run stands; the step is done.
    fn stop(&mut self, code: u8) -> Result<Failure, Failure> {
        self.run.save()?;
        self.progress.clear();
        let directory = shell_word(self.directory.path());
        Ok(Failure::Interrupted(
            code,
            format!(
                "stopped after step {}, everything is saved; to go on: ifog train --resume {directory}",
                self.run.progress().step
            ),
        ))
    }

    fn status(&self) -> Status {
        let progress = self.run.progress();
        Status {
            fraction: self.run.fraction(),
            step: progress.step,
            epoch: progress.epoch,
            train: Nats(progress.train_loss()),
            val: Nats(progress.last_val),
            chars_per_s: self.run.chars_per_s(),
            last: self.report,
            left: self.run.left(),
        }
    }

    /// A training error, with what is left of the run.
    fn failure(&self, error: TrainError) -> Failure {
        let best = self.run.progress().best_val;
        match Failure::of(error) {
            Failure::Diverged(sentence) if best.is_finite() => Failure::Diverged(format!(
                "{sentence}; the best model before that, with a validation loss of {}, is in {}",
                Nats(best),
                self.directory.path().display()
            )),
            failure => failure,
        }
    }
}

const SAMPLE_LENGTH: usize = 160;
const SAMPLE_TEMPERATURE: f64 = 0.8;
