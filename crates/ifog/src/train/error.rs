//! Why training cannot start or go on.

use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::corpus::CorpusError;
use crate::fit::{FitError, StateError};
use crate::language_model::ModelError;
use crate::pool::PoolError;
use crate::vocabulary::VocabularyError;

/// Why training cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting out of its range.
    #[error("{what} = {value} is not possible: {range}")]
    Setting {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What would do.
        range: &'static str,
    },
    /// Weights, loss or gradient are not finite.
    #[error(
        "training diverged at step {step}: the {what} is not finite; lower the learning rate (lr), clip the gradient \
         (clip_norm) or start with a warm-up (warmup)"
    )]
    Diverged {
        /// The step that could not be done.
        step: u64,
        /// The first tensor that is not, in the order of the computation.
        what: String,
    },
    /// More memory than the system gives.
    #[error(
        "training needs about {mebibytes} MiB, which this machine does not have: give a smaller hidden width, \
         batch or sequence length, or checkpoint_every for a long one"
    )]
    Memory {
        /// What would be needed.
        mebibytes: u128,
    },
    /// A training state that cannot be read, or is damaged.
    #[error("{} is not a usable training state: {reason}", path.display())]
    DamagedState {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A training state of another run.
    #[error("the training state cannot be continued: {0}")]
    ForeignState(String),
    /// A directory without any usable training state.
    #[error(
        "{} has no usable training state ({newest}): give the directory of a run that saved one", path.display()
    )]
    NoState {
        /// The directory.
        path: PathBuf,
        /// What is wrong with the newest.
        newest: String,
    },
    /// What a step stands on: optimiser, clipping, masks, or `IFOG_ISA`.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The text.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The text's symbols.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The threads.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The model, in evaluation or sampling.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's or the training state's file.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl TrainError {
    /// Why the state in `path` is none for this trainer.
    pub(super) fn of_state(error: StateError, path: &Path) -> Self {
        match error {
            StateError::Damaged(reason) => Self::DamagedState {
                path: path.to_owned(),
                reason,
            },
            StateError::Foreign(reason) => Self::ForeignState(reason),
        }
    }
}
