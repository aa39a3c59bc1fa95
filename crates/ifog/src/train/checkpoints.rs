//! The training states of a run directory: the last few, each complete on disk or not there at all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::atomic_file::{remove_unfinished, write_atomically};
use crate::checkpoint::CheckpointError;
use crate::train::TrainError;

/// `training-{step}.safetensors` in a directory.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    directory: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// The states in `directory`; a save leaves the last `keep` (at least one).
    #[must_use]
    pub fn new(directory: &Path, keep: usize) -> Self {
        Self {
            directory: directory.to_owned(),
            keep: keep.max(1),
        }
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of the state after `step` steps.
    #[must_use]
    pub fn file(&self, step: u64) -> PathBuf {
        self.directory.join(format!("{PREFIX}{step:09}{SUFFIX}"))
    }

    /// Writes a state crash-safely, then removes those that are too old.
    ///
    /// # Errors
    /// It cannot be written; the older ones are as they were.
    pub fn save(&self, step: u64, state: &[u8]) -> Result<PathBuf, TrainError> {
        let path = self.file(step);
        write_atomically(&path, state).map_err(CheckpointError::from)?;
        // Newer states are damaged ones that a resumed run went back behind, and make no state too old. One that cannot be removed
        // is no harm.
        let written = self.list().into_iter().filter(|(at, _)| *at <= step);
        for (_, old) in written.skip(self.keep) {
            let _ = fs::remove_file(old);
        }
        Ok(path)
    }

    /// Steps and files, the newest first; empty if the directory cannot be read.
    #[must_use]
    pub fn list(&self) -> Vec<(u64, PathBuf)> {
        let mut states: Vec<_> = self
            .files()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?;
                let step = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
                Some((step.parse().ok()?, path))
            })
            .collect();
        states.sort_unstable();
        states.reverse();
        states
    }

    /// Removes all states, for a new run in their directory.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn clear(&self) -> std::io::Result<()> {
        self.list()
            .into_iter()
            .try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// Removes what killed runs left half written. Only for who holds the directory alone.
    pub fn sweep(&self) {
        remove_unfinished(&self.directory, |name| name.ends_with(SUFFIX));
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let entries = fs::read_dir(&self.directory).ok().into_iter().flatten();
        entries.flatten().map(|entry| entry.path())
    }
}

const PREFIX: &str = "training-";
const SUFFIX: &str = ".safetensors";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn the_state_just_written_is_kept_behind_newer_ones() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(directory.path(), 1);
        for step in [70, 80, 90] {
            fs::write(checkpoints.file(step), "damaged").unwrap();
        }
        for step in [10, 20] {
            let path = checkpoints.save(step, b"state").unwrap();
            assert_eq!(fs::read(path).unwrap(), b"state");
        }
        let steps: Vec<u64> = checkpoints.list().iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [90, 80, 70, 20]);
    }
}
