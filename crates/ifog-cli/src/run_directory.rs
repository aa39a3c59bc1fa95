//! The directory of a training run: model.safetensors, metrics.jsonl, config.toml.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ifog::atomic_file::write_atomically;
use serde::Serialize;

use crate::failure::Failure;

/// A run directory that can be written to, with its metrics file open.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    metrics: BufWriter<File>,
}

impl RunDirectory {
    /// The directory the user named. A model in it is removed if `overwrite` says so: the other files
    /// would not belong to it.
    pub(crate) fn at(path: &Path, overwrite: bool) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(|error| unwritable(path, &error))?;
        let model = path.join(MODEL);
        if model.exists() {
            if !overwrite {
                return Err(Failure::work(format!(
                    "{} holds a model already: choose another --out, or add --overwrite to replace it",
                    path.display()
                )));
            }
            fs::remove_file(&model).map_err(|error| unwritable(path, &error))?;
        }
        Self::open(path.to_owned())
    }

    /// A new directory below `runs`, called `name`, or `name-2` and so on if that is taken.
    pub(crate) fn below(runs: &Path, name: &str) -> Result<Self, Failure> {
        fs::create_dir_all(runs).map_err(|error| unwritable(runs, &error))?;
        let mut path = runs.join(name);
        for number in 2u32.. {
            // Whoever creates it owns it: two runs started at once get two directories.
            match fs::create_dir(&path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = runs.join(format!("{name}-{number}"));
                }
                Err(error) => return Err(unwritable(&path, &error)),
            }
        }
        Self::open(path)
    }

    /// Opening the metrics file shows whether the directory can be written to, before any work is done.
    fn open(path: PathBuf) -> Result<Self, Failure> {
        let metrics =
            File::create(path.join(METRICS)).map_err(|error| unwritable(&path, &error))?;
        Ok(Self {
            path,
            metrics: BufWriter::new(metrics),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the model is to be written.
    pub(crate) fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Writes config.toml.
    pub(crate) fn write_config(&self, config: &impl Serialize) -> Result<(), Failure> {
        let text = toml::to_string(config)?;
        Ok(write_atomically(&self.path.join(CONFIG), text.as_bytes())?)
    }

    /// Appends a line to metrics.jsonl; it is on its way to the file after [`flush`](Self::flush).
    pub(crate) fn record(&mut self, metrics: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(metrics)?;
        writeln!(self.metrics, "{line}").map_err(|error| unwritable(&self.path, &error))
    }

    /// Hands the lines so far to the operating system.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.metrics.flush();
        flushed.map_err(|error| unwritable(&self.path, &error))
    }
}

/// The name of the run directory for a corpus file: its name without the extension.
pub(crate) fn name_for(corpus: &Path) -> String {
    let stem = corpus.file_stem().unwrap_or_default().to_string_lossy();
    match stem.trim_start_matches('.') {
        "" => "corpus".to_owned(),
        name => name.to_owned(),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::work(format!(
        "cannot write to the run directory {}: {error}; choose another one with --out",
        path.display()
    ))
}

const MODEL: &str = "model.safetensors";
const METRICS: &str = "metrics.jsonl";
const CONFIG: &str = "config.toml";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn runs_of_the_same_name_are_numbered() {
        let root = tempfile::tempdir().unwrap();
        for name in ["book", "book-2", "book-3"] {
            let run = RunDirectory::below(root.path(), "book").unwrap();
            assert_eq!(run.path(), root.path().join(name));
        }
    }

    #[test]
    fn a_model_is_replaced_only_on_request() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::at(root.path(), false).unwrap();
        fs::write(run.model(), "model").unwrap();
        let refused = RunDirectory::at(root.path(), false).unwrap_err();
        assert!(refused.message().unwrap().contains("--overwrite"));
        assert!(run.model().exists());
        RunDirectory::at(root.path(), true).unwrap();
        assert!(!run.model().exists());
    }

    #[test]
    fn names_come_from_the_file() {
        assert_eq!(name_for(Path::new("../texts/hello.txt")), "hello");
        assert_eq!(name_for(Path::new("war.and.peace.txt")), "war.and.peace");
        assert_eq!(name_for(Path::new("/proc/.hidden")), "hidden");
        assert_eq!(name_for(Path::new("..")), "corpus");
    }
}
