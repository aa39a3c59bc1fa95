//! What came of a training.

use std::path::PathBuf;
use std::time::Duration;

use ifog::Level;
use ifog::checkpoint::MODEL_FILE;
use ifog::language_model::LanguageModel;
use serde::Serialize;

use crate::failure::Failure;
use crate::memory::{self, peak_bytes};
use crate::output::{print_line, shell_word};
use crate::progress::Nats;
use crate::sample;
use crate::session::Session;

/// What `--json` prints. Losses in nats.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    best_val_loss: f64,
    /// Mean over the last steps.
    final_train_loss: f64,
    initial_val_loss: f64,
    /// Of this command's training steps alone.
    chars_per_s: f64,
    /// Of the whole run.
    steps: u64,
    /// Of the whole run.
    epochs: f64,
    /// Wall time of this command.
    seconds: f64,
    parameters: usize,
    seed: u64,
    threads: usize,
    isa: &'static str,
    digest: String,
    /// The most this process had in memory, in bytes; null where the system does not say.
    peak_memory: Option<u64>,
    /// The same, predicted.
    predicted_memory: u64,
    out: String,
    /// What was not done as asked, such as a batch shrunk to a small text.
    notes: Vec<String>,
    /// The directory as it is: not every name is text.
    #[serde(skip)]
    directory: PathBuf,
}

impl Summary {
    /// Of a session that is over and took `elapsed`; the process had `process` bytes before it.
    /// `notes` are those of how the run was begun or resumed.
    pub(crate) fn new(
        session: &Session,
        level: Level,
        process: u64,
        elapsed: Duration,
        mut notes: Vec<String>,
    ) -> Self {
        let run = session.run();
        let (trainer, done) = (run.trainer(), run.progress());
        notes.extend(trainer.notes());
        notes.extend(session.learnt_nothing());
        Self {
            best_val_loss: done.best_val,
            final_train_loss: done.train_loss(),
            initial_val_loss: done.initial_val,
            chars_per_s: run.chars_per_s(),
            steps: done.step,
            epochs: done.epoch,
            seconds: elapsed.as_secs_f64(),
            parameters: trainer.model().parameters(),
            seed: trainer.config().seed,
            threads: trainer.threads(),
            isa: level.name(),
            digest: done.digest.clone(),
            peak_memory: peak_bytes(),
            predicted_memory: memory::predicted(trainer, process),
            out: session.directory().path().display().to_string(),
            notes,
            directory: session.directory().path().to_owned(),
        }
    }

    /// The lowest validation loss of the run, in nats.
    pub(crate) fn best(&self) -> f64 {
        self.best_val_loss
    }

    /// Rows of name and value, for people.
    pub(crate) fn facts(&self) -> Vec<Vec<String>> {
        let Self {
            seconds,
            steps,
            epochs,
            ..
        } = self;
        let mut facts = vec![
            ("best validation loss", Nats(self.best_val_loss).to_string()),
            (
                "final training loss",
                Nats(self.final_train_loss).to_string(),
            ),
            ("speed", format!("{:.0} characters/s", self.chars_per_s)),
            (
                "time",
                format!("{seconds:.1} s, {steps} steps, {epochs:.2} epochs"),
            ),
        ];
        if let Some(peak) = self.peak_memory {
            let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (peak, predicted) = (mebibytes(peak), mebibytes(self.predicted_memory));
            facts.push((
                "memory",
                format!("{peak:.1} MiB at the peak, {predicted:.1} predicted"),
            ));
        }
        facts.push(("digest", self.digest.clone()));
        facts
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect()
    }

    /// To standard output, with what the model on disk now writes if `samples` says so.
    pub(crate) fn print(&self, samples: bool) -> Result<(), Failure> {
        for fact in self.facts() {
            print_line(format!("{:<22}{}", fact[0], fact[1]))?;
        }
        let model = self.directory.join(MODEL_FILE);
        print_line(format!("model                 {}", model.display()))?;
        let directory = shell_word(&self.directory);
        print_line(format!("more text             ifog sample {directory}"))?;
        if samples {
            print_line("")?;
            sample::write(
                &LanguageModel::load(&self.directory)?,
                &sample::Request::default(),
            )?;
        }
        Ok(())
    }
}
