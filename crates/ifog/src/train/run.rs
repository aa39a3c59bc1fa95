//! A whole run as an iterator: steps, validations, saves, until it is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::checkpoint::{MAX_FILE_BYTES, MODEL_FILE};
use crate::fit::StateError;
use crate::language_model::{Evaluation, LanguageModel};
use crate::regular_file::read_regular;
use crate::train::checkpoints::Checkpoints;
use crate::train::pace::{Moment, Pace};
use crate::train::progress::Progress;
use crate::train::{StepReport, TrainError, Trainer};

/// A trainer that goes on by itself. Each item is one thing that happened.
///
/// ```
/// use ifog::train::{Event, Run, TrainConfig, Trainer};
///
/// # fn main() -> Result<(), ifog::train::TrainError> {
/// let config = TrainConfig { hidden: 16, layers: 1, steps: Some(40), ..TrainConfig::default() };
/// let mut run = Run::new(Trainer::new(config, b"hello hello hello")?);
/// for event in &mut run {
///     if let Event::Validated(validation) = event? {
///         println!("step {}: {:.3} nats", validation.step, validation.loss);
///     }
/// }
/// assert_eq!(run.trainer().steps(), 40);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Run {
    trainer: Trainer,
    saving: Option<Saving>,
    pace: Pace,
    progress: Progress,
    clocks: Clocks,
    stop: Option<Arc<AtomicBool>>,
    /// Whether that ended it.
    stopped: bool,
    /// After an error there is nothing more.
    ended: bool,
}

/// Where and how often a run saves: the best model as `model.safetensors`, the training state as
/// `training-{step}.safetensors`.
#[derive(Clone, Debug)]
pub struct Saving {
    /// The training states; their directory, which must exist, also gets the model.
    pub checkpoints: Checkpoints,
    /// Beside after each validation and at the end.
    pub every: Interval,
}

/// Between two saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Steps.
    Steps(u64),
    /// Wall time.
    Time(Duration),
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A training step.
    Stepped(StepReport),
    /// A validation; the first is of the untrained model, and reads some 65,536 symbols at most.
    Validated(Validation),
    /// The training state was saved to this file.
    Saved(PathBuf),
}

/// A validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// Steps done before it.
    pub step: u64,
    /// Passes over the training part, in fractions.
    pub epoch: f64,
    /// Mean loss in nats.
    pub loss: f64,
    /// Whether it is the lowest of the run. That of an untrained model does not count.
    pub best: bool,
}

/// Wall time, measured where it passes, and what was done in it. A resumed run may be on another machine: nothing of this is
/// kept.
#[derive(Debug)]
struct Clocks {
    started: Instant,
    /// Training steps since then.
    steps: u64,
    /// Characters read in them.
    characters: u64,
    /// What they alone took.
    stepping: Duration,
    /// When the last validation ended.
    validated: Instant,
    saved: Instant,
}

impl Run {
    /// A run that keeps nothing on disk. It ends with the first of the limits of [`TrainConfig`](super::TrainConfig);
    /// without any, never by itself.
    #[must_use]
    pub fn new(trainer: Trainer) -> Self {
        let config = trainer.config();
        let lengths = (trainer.steps_per_epoch(), trainer.steps_per_validation());
        let pace = Pace::of(trainer.total_steps(), config.max_seconds, lengths);
        let pace = pace.every(config.val_every);
        let now = Instant::now();
        Self {
            trainer,
            saving: None,
            pace,
            progress: Progress::default(),
            clocks: Clocks {
                started: now,
                steps: 0,
                characters: 0,
                stepping: Duration::ZERO,
                validated: now,
                saved: now,
            },
            stop: None,
            stopped: false,
            ended: false,
        }
    }

    /// The run ends once `stop` is true: a step is finished, a validation given up after the window it is at. [`Run::save`] then keeps
    /// what was done; a resumed run makes up for the validation.
    #[must_use]
    pub fn stopping_on(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// The run with its directory.
    #[must_use]
    pub fn saving(mut self, saving: Saving) -> Self {
        self.saving = Some(saving);
        self
    }

    /// Goes on from the newest usable training state of `checkpoints`. Returns a sentence for each newer one that is
    /// damaged, and for a best model that is lost.
    ///
    /// # Errors
    /// No state is usable, or the states are of a run with other settings or another text.
    pub fn resume(&mut self, checkpoints: &Checkpoints) -> Result<Vec<String>, TrainError> {
        let (mut notes, mut newest) = (Vec::new(), None);
        for (_, path) in checkpoints.list() {
            match self.restore(&path) {
                Ok(()) => {
                    notes.extend(self.miss_best());
                    return Ok(notes);
                }
                Err(error @ TrainError::DamagedState { .. }) => {
                    notes.push(format!("{error}; trying the one before"));
                    newest.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(TrainError::NoState {
            path: checkpoints.directory().to_owned(),
            newest: newest.map_or("there is none".to_owned(), |error| error.to_string()),
        })
    }

    /// How often it will validate its whole validation part; `None` where the clock decides.
    #[must_use]
    pub fn validations(&self) -> Option<u64> {
        self.pace.validations()
    }

    /// What is trained.
    #[must_use]
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// What was trained, with the newest parameters.
    #[must_use]
    pub fn into_trainer(self) -> Trainer {
        self.trainer
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The part of the run that is done, 0 to 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.pace.fraction(&self.now())
    }

    /// Characters a second of the training steps since the start, or since the run was resumed; 0 before the first. Validation
    /// and saving are left out.
    #[must_use]
    pub fn chars_per_s(&self) -> f64 {
        let seconds = self.clocks.stepping.as_secs_f64();
        self.clocks.characters as f64 / seconds.max(f64::MIN_POSITIVE)
    }

    /// The time that is left, at the speed since the start, or since the run was resumed.
    #[must_use]
    pub fn left(&self) -> Duration {
        let (steps, time) = match self.clocks.steps {
            // Of this process nothing is known yet.
            0 => (self.progress.step, self.progress.elapsed),
            steps => (steps, self.clocks.started.elapsed()),
        };
        let per_step = time.as_secs_f64() / steps.max(1) as f64;
        self.pace.left(&self.now(), per_step)
    }

    /// Wall time of the whole run, with that before it was resumed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.progress.elapsed + self.clocks.started.elapsed()
    }

    /// Saves the training state, unless that of this step is saved already; the file, if there is a directory. Before the first
    /// validation the model is saved, too: later the best one is.
    ///
    /// # Errors
    /// It cannot be written; the older ones are as they were.
    pub fn save(&mut self) -> Result<Option<PathBuf>, TrainError> {
        let Some(saving) = &self.saving else {
            return Ok(None);
        };
        let step = self.progress.step;
        if self.progress.saved == Some(step) {
            return Ok(Some(saving.checkpoints.file(step)));
        }
        if step > 0 && self.progress.best_val.is_infinite() {
            let path = saving.checkpoints.directory().join(MODEL_FILE);
            // In the place of a best model that was lost.
            let validated = self.progress.validated == Some(step);
            let loss = validated.then_some(self.progress.last_val);
            self.progress.digest = self.trainer.save(&path, loss)?;
            self.progress.best_val = loss.unwrap_or(f64::INFINITY);
        }
        // Part of the state, so it is set before that is written.
        let before = self.progress.saved.replace(step);
        let state = self.trainer.state(&self.progress.kept(self.elapsed()));
        let written = state.and_then(|state| saving.checkpoints.save(step, &state));
        match written {
            Ok(_) => self.clocks.saved = Instant::now(),
            Err(_) => self.progress.saved = before,
        }
        written.map(Some)
    }

    fn restore(&mut self, path: &Path) -> Result<(), TrainError> {
        let bytes = read_regular(path, MAX_FILE_BYTES);
        let bytes = bytes.map_err(|error| TrainError::DamagedState {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let kept = self.trainer.restore_state(&bytes);
        let kept = kept.map_err(|error| TrainError::of_state(error, path))?;
        let progress = Progress::read(&kept).map_err(|error| TrainError::of_state(error, path))?;
        if progress.step != self.trainer.steps() {
            let reason = "the run and its trainer are at different steps".to_owned();
            return Err(TrainError::of_state(StateError::Damaged(reason), path));
        }
        self.progress = progress;
        Ok(())
    }

    /// If the best model is gone or damaged, the run has none until the next save, and says so. One of another digest is of
    /// this run's future, saved before a kill: it comes back where validations stay at the same steps.
    fn miss_best(&mut self) -> Option<String> {
        let path = self
            .saving
            .as_ref()?
            .checkpoints
            .directory()
            .join(MODEL_FILE);
        if self.progress.digest.is_empty() {
            return None;
        }
        let error = LanguageModel::load(&path).err()?;
        self.progress.best_val = f64::INFINITY;
        self.progress.saved = None;
        Some(format!(
            "the best model so far is lost ({error}): the newest takes its place until a validation finds a better one"
        ))
    }

    fn event(&mut self) -> Result<Option<Event>, TrainError> {
        let now = self.now();
        let started = self.progress.step > 0;
        let validated = self.progress.validated == Some(self.progress.step);
        if !validated && (!started || self.pace.validates(&now)) {
            let validation = self.validate()?;
            self.stopped = validation.is_none();
            return Ok(validation.map(Event::Validated));
        }
        if self.save_due(validated) {
            return Ok(self.save()?.map(Event::Saved));
        }
        if self.is_over() {
            return Ok(None);
        }
        if asked(self.stop.as_deref()) {
            self.stopped = true;
            return Ok(None);
        }
        self.step().map(|report| Some(Event::Stepped(report)))
    }

    fn step(&mut self) -> Result<StepReport, TrainError> {
        let fraction = self.pace.fraction(&self.now());
        let before = Instant::now();
        let report = self.trainer.step_at(fraction)?;
        self.progress.advance(&report);
        self.clocks.steps += 1;
        self.clocks.characters += report.characters;
        self.clocks.stepping += before.elapsed();
        Ok(report)
    }

    /// Nothing if it was given up.
    fn validate(&mut self) -> Result<Option<Validation>, TrainError> {
        let before = Instant::now();
        let (step, epoch) = (self.progress.step, self.progress.epoch);
        let guesses = step == 0 && !self.trainer.began_trained();
        let all = self.trainer.validation_symbols();
        let enough = if guesses { all.min(GUESSES) } else { all };
        let stop = self.stop.as_deref();
        if asked(stop) {
            return Ok(None);
        }
        let goes_on = |read| read < enough && !asked(stop);
        let Evaluation { loss, chars, .. } = self.trainer.validate_while(goes_on)?;
        if chars < enough {
            return Ok(None);
        }
        self.progress.validation = before.elapsed().mul_f64(all as f64 / chars as f64);
        self.clocks.validated = Instant::now();
        if !loss.is_finite() {
            let what = "validation loss".to_owned();
            return Err(TrainError::Diverged { step, what });
        }
        // An untrained model is none to keep.
        let best = (step > 0 || self.trainer.began_trained()) && loss < self.progress.best_val;
        if best && let Some(saving) = &self.saving {
            let path = saving.checkpoints.directory().join(MODEL_FILE);
            self.progress.digest = self.trainer.save(&path, Some(loss))?;
        }
        let progress = &mut self.progress;
        progress.validated = Some(step);
        // A state saved between this step and its validation does not know of it.
        progress.saved = None;
        progress.last_val = loss;
        if step == 0 {
            progress.initial_val = loss;
        }
        if step > 0 || best {
            self.trainer.observe(loss);
            progress.stale = if best { 0 } else { progress.stale + 1 };
        }
        if best {
            progress.best_val = loss;
        }
        Ok(Some(Validation {
            step,
            epoch,
            loss,
            best,
        }))
    }

    fn save_due(&self, validated: bool) -> bool {
        let Some(saving) = &self.saving else {
            return false;
        };
        let (step, saved) = (self.progress.step, self.progress.saved);
        saved != Some(step)
            && (validated
                || match saving.every {
                    Interval::Steps(every) => step.is_multiple_of(every.max(1)),
                    Interval::Time(every) => self.clocks.saved.elapsed() >= every,
                })
    }

    /// Whether there is nothing more to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended
            || self.progress.step > 0 && (self.pace.is_over(&self.now()) || self.stopped_early())
    }

    /// Whether it ended before its end, as [`Run::stopping_on`] lets it.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether it ended, or will end now, because validation did not improve for as long as the settings allow.
    #[must_use]
    pub fn stopped_early(&self) -> bool {
        let patience = self.trainer.config().early_stop;
        patience > 0 && self.progress.stale >= patience
    }

    fn now(&self) -> Moment {
        Moment {
            step: self.progress.step,
            elapsed: self.elapsed(),
            since_validation: self.clocks.validated.elapsed(),
            validation: self.progress.validation,
        }
    }
}

impl Iterator for Run {
    type Item = Result<Event, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let event = self.event();
        self.ended = !matches!(event, Ok(Some(_)));
        event.transpose()
    }
}

fn asked(stop: Option<&AtomicBool>) -> bool {
    stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// Of so many symbols the loss of an untrained model, which is about that of guessing, says enough.
const GUESSES: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::train::TrainConfig;

    /// A run of 100 steps that saves after every fifth.
    fn start(directory: &Path) -> Run {
        let config = TrainConfig {
            hidden: 8,
            layers: 1,
            batch: 2,
            seq_len: 10,
            steps: Some(100),
            threads: 1,
            ..TrainConfig::default()
        };
        let text =
            b"the fog comes in on little feet, it sits and looks and then moves on.\n".repeat(3);
        Run::new(Trainer::new(config, &text).unwrap()).saving(Saving {
            checkpoints: Checkpoints::new(directory, 2),
            every: Interval::Steps(5),
        })
    }

    #[test]
    fn what_is_not_finite_ends_the_run_and_leaves_the_best_model() {
        let directory = tempfile::tempdir().unwrap();
        let start = || start(directory.path());
        let mut run = start();
        while run.progress().step < 31 {
            run.next().unwrap().unwrap();
        }
        let model = std::fs::read(directory.path().join(MODEL_FILE)).unwrap();
        run.trainer.plant(f32::NAN);
        let error = run.next().unwrap().unwrap_err();
        assert!(
            matches!(error, TrainError::Diverged { step: 32, .. }),
            "{error}"
        );
        assert!(run.next().is_none());
        assert_eq!(
            std::fs::read(directory.path().join(MODEL_FILE)).unwrap(),
            model
        );
        let mut again = start();
        again
            .resume(&Checkpoints::new(directory.path(), 2))
            .unwrap();
        assert!(again.by_ref().all(|event| event.is_ok()));
        assert_eq!(again.progress().step, 100);
    }

    /// A run that is over and has lost its model gets the newest, not none.
    #[test]
    fn a_best_model_that_is_lost_is_replaced_and_told() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(directory.path(), 2);
        let model = directory.path().join(MODEL_FILE);
        assert!(start(directory.path()).all(|event| event.is_ok()));
        let mut whole = start(directory.path());
        assert!(whole.resume(&checkpoints).unwrap().is_empty());
        for damage in [None, Some("damaged")] {
            match damage {
                None => std::fs::remove_file(&model).unwrap(),
                Some(content) => std::fs::write(&model, content).unwrap(),
            }
            let mut again = start(directory.path());
            let notes = again.resume(&checkpoints).unwrap();
            assert!(
                notes.len() == 1 && notes[0].contains("is lost"),
                "{notes:?}"
            );
            assert!(again.by_ref().all(|event| event.is_ok()));
            assert_eq!(again.progress().best_val, again.progress().last_val);
            let newest = LanguageModel::load(&model).unwrap();
            let trainer = again.into_trainer();
            assert!(newest.parameters == trainer.evaluated_model().parameters);
            assert!(newest.record.contains_key("val_loss"));
        }
    }

    /// Stopped between a step and the validation that was due after it: what that finds is not forgotten by a later resumption.
    #[test]
    fn a_validation_after_a_save_of_the_same_step_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(directory.path(), 2);
        let mut run = start(directory.path());
        while run.progress().step < 100 {
            run.next().unwrap().unwrap();
        }
        run.save().unwrap();
        let resumed = || {
            let mut run = start(directory.path());
            run.resume(&checkpoints).unwrap();
            run
        };
        let mut run = resumed();
        assert_eq!(run.progress().validated, Some(95));
        assert!(run.by_ref().all(|event| event.is_ok()));
        let again = resumed();
        assert_eq!(again.progress().validated, Some(100));
        assert_eq!(again.progress().best_val, run.progress().best_val);
        assert_eq!(again.progress().digest, run.progress().digest);
        assert!(again.progress().validation > Duration::ZERO);
    }

    /// A stop leaves a validation unfinished, and nothing of it is lost.
    #[test]
    fn a_stopped_run_goes_on_to_the_same_bits() {
        let whole = tempfile::tempdir().unwrap();
        assert!(start(whole.path()).all(|event| event.is_ok()));
        let directory = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        // Before the first validation, between steps, and between the last step and its validation.
        for (at, done) in [(0, 0), (7, 7), (100, 100)] {
            stop.store(false, Ordering::Relaxed);
            let mut run = start(directory.path()).stopping_on(Arc::clone(&stop));
            if at > 0 {
                run.resume(&Checkpoints::new(directory.path(), 2)).unwrap();
            }
            while run.progress().step < at {
                run.next().unwrap().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            assert!(run.next().is_none() && run.stopped() && run.next().is_none());
            assert_eq!(run.progress().step, done);
            assert_ne!(run.progress().validated, Some(done));
            run.save().unwrap();
        }
        let mut last = start(directory.path()).stopping_on(Arc::new(AtomicBool::new(false)));
        last.resume(&Checkpoints::new(directory.path(), 2)).unwrap();
        assert!(last.by_ref().all(|event| event.is_ok()) && !last.stopped());
        let model = |of: &Path| std::fs::read(of.join(MODEL_FILE)).unwrap();
        assert!(model(directory.path()) == model(whole.path()));
    }

    /// What is over is not stopped.
    #[test]
    fn a_run_asked_to_stop_at_its_end_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut run = start(directory.path()).stopping_on(Arc::clone(&stop));
        while run.progress().validated != Some(100) {
            run.next().unwrap().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(run.next(), Some(Ok(Event::Saved(_)))));
        assert!(run.next().is_none() && !run.stopped());
    }

    /// Guesses are not worth the time of reading all.
    #[test]
    fn the_validation_of_an_untrained_model_is_short() {
        let config = TrainConfig {
            hidden: 8,
            layers: 1,
            batch: 50,
            steps: Some(1),
            threads: 1,
            ..TrainConfig::default()
        };
        let text = b"the fog comes in on little feet.\n".repeat(25_000);
        let mut trainer = Trainer::new(config, &text).unwrap();
        let all = trainer.validation_symbols();
        assert!(all > GUESSES);
        let some = trainer.validate_while(|read| read < GUESSES).unwrap();
        assert!((GUESSES..GUESSES + 50 * 50).contains(&some.chars));
        let whole = trainer.validate().unwrap();
        let mut run = Run::new(trainer);
        let Some(Ok(Event::Validated(first))) = run.next() else {
            panic!("it begins with a validation");
        };
        assert_eq!(first.loss, some.loss);
        assert_ne!(first.loss, whole);
        run.next().unwrap().unwrap();
        let Some(Ok(Event::Validated(last))) = run.next() else {
            panic!("it ends with a validation");
        };
        assert_eq!(last.loss, run.trainer.validate().unwrap());
    }

    #[test]
    fn a_resumed_run_tells_its_own_speed() {
        let directory = tempfile::tempdir().unwrap();
        let mut run = start(directory.path());
        while run.progress().step < 12 {
            run.next().unwrap().unwrap();
        }
        assert!(run.chars_per_s() > 0.0);
        // As if the machine had been a slow one.
        let slow = Duration::from_secs(1_000_000);
        run.progress.elapsed = slow;
        run.save().unwrap();
        let mut again = start(directory.path());
        again
            .resume(&Checkpoints::new(directory.path(), 2))
            .unwrap();
        // 88 steps to go, 12 done.
        assert!(again.left() >= 7 * slow);
        assert_eq!(again.chars_per_s(), 0.0);
        while again.progress().step == 12 {
            again.next().unwrap().unwrap();
        }
        assert!(again.left() < slow / 1000);
        assert!(again.elapsed() >= slow);
        // A step reads 2 · 10 characters.
        let stepping = again.clocks.stepping.as_secs_f64();
        assert!((again.chars_per_s() * stepping - 20.0).abs() < 1e-6);
    }

    #[test]
    fn a_save_that_failed_is_made_up_for() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("run");
        let checkpoints = Checkpoints::new(&directory, 1);
        let config = TrainConfig {
            hidden: 4,
            threads: 1,
            ..TrainConfig::default()
        };
        let mut run = Run::new(Trainer::new(config, b"hello hello").unwrap()).saving(Saving {
            checkpoints: checkpoints.clone(),
            every: Interval::Steps(5),
        });
        assert!(run.save().is_err());
        std::fs::create_dir(&directory).unwrap();
        assert!(run.save().unwrap().unwrap().exists());
        let written = std::fs::metadata(checkpoints.file(0)).unwrap().modified();
        run.save().unwrap();
        let again = std::fs::metadata(checkpoints.file(0)).unwrap().modified();
        assert_eq!(again.unwrap(), written.unwrap());
    }
}
