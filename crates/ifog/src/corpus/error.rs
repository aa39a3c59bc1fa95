//! Why a text cannot be used as a corpus.

use std::io;
use std::path::PathBuf;

/// Why a text cannot be used as a corpus.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// There is no such file.
    #[error("there is no file {}: check the path", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A directory was given.
    #[error("{} is a directory: give the path of one text file", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
    },
    /// The file does not end within what can be trained on.
    #[error("{} has more than 4 GiB, or no end: give a part of it", path.display())]
    LargeFile {
        /// As asked for.
        path: PathBuf,
    },
    /// The file has no content.
    #[error("the file {} is empty: give a text of at least two symbols", path.display())]
    EmptyFile {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot read {}: {source}; check that it is a file you may read", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Fewer than two tokens: no pair.
    #[error(
        "the text has {found} symbol(s) and at least 2 are needed: one to read and one to predict"
    )]
    TooShort {
        /// Tokens found.
        found: usize,
    },
    /// Shares that leave no training part.
    #[error(
        "the shares val = {val} and test = {test} are out of range: neither may be negative and \
         their sum must be below 1"
    )]
    Shares {
        /// Share of the validation part.
        val: f64,
        /// Share of the test part.
        test: f64,
    },
    /// A batch or a window of no size.
    #[error(
        "batch {batch} and sequence length {seq_len} are out of range: both must be at least 1"
    )]
    WindowSize {
        /// B wanted.
        batch: usize,
        /// T wanted.
        seq_len: usize,
    },
    /// A training position of another corpus or configuration.
    #[error(
        "the stored training position is window {window} of an epoch, which has only \
         {windows_per_epoch} here: resume with the corpus, batch and sequence length of the saved run"
    )]
    Position {
        /// Window stored.
        window: u64,
        /// Windows there are.
        windows_per_epoch: usize,
    },
}
