//! How far a run is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::fit::{Numbers, StateError};
use crate::safetensors::Metadata;
use crate::train::StepReport;

/// How far a run is; kept in its training states.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Passes over the training part, in fractions.
    pub epoch: f64,
    /// Validation loss of the model before the first step, of an untrained one over some 65,536 symbols at most; NaN before.
    pub initial_val: f64,
    /// The last one.
    pub last_val: f64,
    /// The lowest one after a step, or of a trained model before it; infinite before that.
    pub best_val: f64,
    /// SHA-256 of the best model's weights as stored; empty without a directory.
    pub digest: String,
    /// Step of the last validation.
    pub validated: Option<u64>,
    /// Validations since the best one.
    pub stale: u64,
    /// Step of the last save.
    pub saved: Option<u64>,
    /// Wall time of the whole run, before this process.
    pub elapsed: Duration,
    /// What the last validation took: of a run that the clock ends, so much is left for the last one.
    pub validation: Duration,
    /// Losses of the last 50 steps.
    recent: VecDeque<f64>,
}

impl Progress {
    /// Takes in a step.
    pub(super) fn advance(&mut self, report: &StepReport) {
        self.step = report.step;
        self.epoch = report.epoch;
        if self.recent.len() == RECENT_STEPS {
            self.recent.pop_front();
        }
        self.recent.push_back(report.loss);
    }

    /// Mean training loss in nats over the last 50 steps; NaN before the first.
    #[must_use]
    pub fn train_loss(&self) -> f64 {
        self.recent.iter().sum::<f64>() / self.recent.len() as f64
    }

    pub(super) fn kept(&self, elapsed: Duration) -> Metadata {
        let step = |step: Option<u64>| step.map_or(NEVER.to_owned(), |step| step.to_string());
        let recent: Vec<_> = self.recent.iter().map(f64::to_string).collect();
        let entries = [
            ("step", self.step.to_string()),
            ("epoch", self.epoch.to_string()),
            ("initial_val", self.initial_val.to_string()),
            ("last_val", self.last_val.to_string()),
            ("best_val", self.best_val.to_string()),
            ("digest", self.digest.clone()),
            ("validated", step(self.validated)),
            ("stale", self.stale.to_string()),
            ("saved", step(self.saved)),
            ("elapsed", elapsed.as_nanos().to_string()),
            ("validation", self.validation.as_nanos().to_string()),
            ("recent", recent.join(" ")),
        ];
        entries.map(|(name, value)| (name.to_owned(), value)).into()
    }

    pub(super) fn read(kept: &Metadata) -> Result<Self, StateError> {
        let numbers = Numbers(kept);
        let step = |name: &str| match kept.get(name).map(String::as_str) {
            Some(NEVER) => Ok(None),
            _ => numbers.number(name).map(Some),
        };
        let recent = kept.get("recent").map_or("", String::as_str);
        Ok(Self {
            step: numbers.count("step")?,
            epoch: numbers.number("epoch")?,
            initial_val: numbers.number("initial_val")?,
            last_val: numbers.number("last_val")?,
            best_val: numbers.number("best_val")?,
            digest: numbers.number("digest")?,
            validated: step("validated")?,
            stale: numbers.count("stale")?,
            saved: step("saved")?,
            elapsed: numbers.number("elapsed").map(Duration::from_nanos)?,
            validation: match kept.contains_key("validation") {
                true => numbers.number("validation").map(Duration::from_nanos)?,
                // Of a version that did not keep it.
                false => Duration::ZERO,
            },
            recent: recent
                .split_whitespace()
                .filter_map(|loss| loss.parse().ok())
                .take(RECENT_STEPS)
                .collect(),
        })
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            step: 0,
            epoch: 0.0,
            initial_val: f64::NAN,
            last_val: f64::NAN,
            best_val: f64::INFINITY,
            digest: String::new(),
            validated: None,
            stale: 0,
            saved: None,
            elapsed: Duration::ZERO,
            validation: Duration::ZERO,
            recent: VecDeque::new(),
        }
    }
}

const NEVER: &str = "never";
/// One window alone says little.
const RECENT_STEPS: usize = 50;
