//! The directory of a training run: model.safetensors, training-N.safetensors, metrics.jsonl, config.toml; start.safetensors where it
//! began with a trained model.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ifog::atomic_file::{create_directory, remove_unfinished, write_atomically};
use ifog::checkpoint::MODEL_FILE;
use ifog::language_model::LanguageModel;
use ifog::train::Checkpoints;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::report::{LOSS, REPORT};

/// A run directory that can be written to, with its metrics file open and locked: one process at a time.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    metrics: File,
}

impl RunDirectory {
    /// The directory the user named. A run in it is removed if `overwrite` says so: the other files
    /// would not belong to the new one.
    pub(crate) fn at(path: &Path, overwrite: bool) -> Result<Self, Failure> {
        create_all(path).map_err(|error| unwritable(path, &error))?;
        let states = Checkpoints::new(path, 1);
        // Also what another program has put there under such a name.
        let mut names = [MODEL_FILE, METRICS, CONFIG, LOSS, REPORT, START].into_iter();
        let holds = |name: &str| fs::metadata(path.join(name)).is_ok_and(|found| found.len() > 0);
        let found = names.find(|name| holds(name));
        if found.is_some() || !states.list().is_empty() {
            if !overwrite {
                return Err(Failure::work(format!(
                    "{} holds a run already (there is {}): choose another --out, continue it with --resume, or add \
                     --overwrite to replace it",
                    path.display(),
                    found.unwrap_or("a training state")
                )));
            }
            let run = Self::open(path.to_owned())?;
            let mut files = [MODEL_FILE, LOSS, REPORT, START].into_iter();
            let removed = files.try_for_each(|file| match fs::remove_file(path.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            });
            let removed = removed.and_then(|()| states.clear());
            removed.map_err(|error| unwritable(path, &error))?;
            run.sweep();
            run.truncate(0)?;
            return Ok(run);
        }
        let run = Self::open(path.to_owned())?;
        run.sweep();
        run.truncate(0)?;
        Ok(run)
    }

    /// The directory of a run that is to be continued.
    pub(crate) fn of_run(path: &Path) -> Result<Self, Failure> {
        if !path.join(CONFIG).exists() {
            return Err(Failure::work(format!(
                "there is no run in {}: give the directory of one, which has a {CONFIG}",
                path.display()
            )));
        }
        let run = Self::open(path.to_owned())?;
        run.sweep();
        Ok(run)
    }

    /// Removes what killed runs left half written.
    fn sweep(&self) {
        Checkpoints::new(&self.path, 1).sweep();
        remove_unfinished(&self.path, |name| [CONFIG, LOSS, REPORT].contains(&name));
    }

    /// A new directory below `runs`, called `name`, or `name-2` and so on if that is taken.
    pub(crate) fn below(runs: &Path, name: &str) -> Result<Self, Failure> {
        create_all(runs).map_err(|error| unwritable(runs, &error))?;
        let mut path = runs.join(name);
        for number in 2u32.. {
            // Whoever creates it owns it: two runs started at once get two directories.
            match create_directory(&path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = runs.join(format!("{name}-{number}"));
                }
                Err(error) => return Err(unwritable(&path, &error)),
            }
        }
        Self::open(path)
    }

    /// Opening the metrics file shows whether the directory can be written to, before any work is done. Its lock goes
    /// with the process, however that ends.
    fn open(path: PathBuf) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let metrics = options.open(path.join(METRICS));
        let metrics = metrics.map_err(|error| unwritable(&path, &error))?;
        // Where there are no locks, there is no harm in going on.
        if let Err(TryLockError::WouldBlock) = metrics.try_lock() {
            return Err(Failure::work(format!(
                "another process is training in {}: wait for its end, or choose another directory",
                path.display()
            )));
        }
        Ok(Self { path, metrics })
    }

    /// Cuts metrics.jsonl behind the last line of what was done in `step` steps; `validated` says whether the validation
    /// after the last of them is done. The run goes on from there, and no step stands twice.
    pub(crate) fn rewind(&mut self, step: u64, validated: bool) -> Result<(), Failure> {
        let mut text = Vec::new();
        let read = self.metrics.seek(SeekFrom::Start(0));
        let read = read.and_then(|_| self.metrics.read_to_end(&mut text));
        read.map_err(|error| unwritable(&self.path, &error))?;
        let mut kept = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let whole = line.ends_with(b"\n");
            let line_step = serde_json::from_slice::<Value>(line)
                .ok()
                .and_then(|value| {
                    Some((
                        value.get("step")?.as_u64()?,
                        value.get("val_loss").is_some(),
                    ))
                });
            match line_step {
                Some((at, validation))
                    if whole && (at < step || at == step && (validated || !validation)) =>
                {
                    kept += line.len() as u64;
                }
                // Torn by a kill, or of what is to be done again.
                _ => break,
            }
        }
        self.truncate(kept)
    }

    fn truncate(&self, len: u64) -> Result<(), Failure> {
        let mut metrics = &self.metrics;
        let cut = metrics
            .set_len(len)
            .and_then(|()| metrics.seek(SeekFrom::Start(len)));
        cut.map(drop)
            .map_err(|error| unwritable(&self.path, &error))
    }

    /// Keeps the model that the run begins with: it may be resumed when that has moved or learnt something else.
    pub(crate) fn keep_start(&self, model: &mut LanguageModel) -> Result<(), Failure> {
        model.save(&self.path.join(START))?;
        Ok(())
    }

    /// The model that the run began with.
    pub(crate) fn start(&self) -> Result<LanguageModel, Failure> {
        let start = self.path.join(START);
        LanguageModel::load(&start).map_err(|error| {
            Failure::work(format!(
                "{error}; the run began with this model: put it back as {}",
                start.display()
            ))
        })
    }

    /// Refuses a model without a training state beside it, which a run from the beginning would replace. One that has learnt nothing
    /// in this run is none.
    pub(crate) fn check_without_model(&self) -> Result<(), Failure> {
        let path = self.path.join(MODEL_FILE);
        let new = |model: LanguageModel| model.record().get("step").is_some_and(|step| step == "0");
        match path.exists() && !LanguageModel::load(&path).is_ok_and(new) {
            false => Ok(()),
            true => Err(Failure::work(format!(
                "{} has a {MODEL_FILE} and no training state (training-N.safetensors) to go on from: put that back, or train \
                 anew with --config {} and another --out",
                self.path.display(),
                self.path.join(CONFIG).display()
            ))),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes config.toml.
    pub(crate) fn write_config(&self, config: &impl Serialize) -> Result<(), Failure> {
        let text = toml::to_string(config)?;
        Ok(write_atomically(&self.path.join(CONFIG), text.as_bytes())?)
    }

    /// Appends a line to metrics.jsonl. It is with the operating system at once, so it survives a kill.
    pub(crate) fn record(&mut self, metrics: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(metrics)?;
        line.push(b'\n');
        self.metrics
            .write_all(&line)
            .map_err(|error| unwritable(&self.path, &error))
    }
}

/// A directory, with those above it.
fn create_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_all(above)?;
    }
    match create_directory(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => created,
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
        "cannot write to the run directory {}: {error}; make room there, or choose another one with --out",
        path.display()
    ))
}

const START: &str = "start.safetensors";
pub(crate) const METRICS: &str = "metrics.jsonl";
pub(crate) const CONFIG: &str = "config.toml";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn directories_are_made_with_those_above_them() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        for _ in 0..2 {
            drop(RunDirectory::at(&deep, false).unwrap());
        }
        fs::write(root.path().join("file"), "").unwrap();
        let refused = RunDirectory::at(&root.path().join("file/run"), false).unwrap_err();
        assert!(
            refused
                .message()
                .unwrap()
                .contains("cannot write to the run directory")
        );
    }

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
        let model = run.path().join(MODEL_FILE);
        fs::write(&model, "model").unwrap();
        fs::write(run.path().join(REPORT), "of that run").unwrap();
        drop(run);
        // What others put there is nobody's to cut.
        for name in [CONFIG, METRICS, LOSS, REPORT] {
            let other = tempfile::tempdir().unwrap();
            fs::write(other.path().join(name), "theirs").unwrap();
            let refused = RunDirectory::at(other.path(), false).unwrap_err();
            assert!(refused.message().unwrap().contains(name));
            let kept = fs::read_to_string(other.path().join(name)).unwrap();
            assert_eq!(kept, "theirs");
        }
        let refused = RunDirectory::at(root.path(), false).unwrap_err();
        assert!(refused.message().unwrap().contains("--overwrite"));
        assert!(model.exists());
        RunDirectory::at(root.path(), true).unwrap();
        assert!(!model.exists() && !root.path().join(REPORT).exists());
    }

    #[test]
    fn metrics_are_rewound_to_a_step() {
        let root = tempfile::tempdir().unwrap();
        let lines = [
            r#"{"step":0,"val_loss":4.0}"#,
            r#"{"step":1,"loss":3.9}"#,
            r#"{"step":2,"loss":3.8}"#,
            r#"{"step":2,"val_loss":3.7}"#,
            r#"{"step":3,"loss":3"#,
        ];
        let metrics = root.path().join(METRICS);
        let kept = |step, validated| {
            fs::write(&metrics, lines.join("\n")).unwrap();
            let mut run = RunDirectory::open(root.path().to_owned()).unwrap();
            run.rewind(step, validated).unwrap();
            run.record(&"next").unwrap();
            fs::read_to_string(&metrics).unwrap().lines().count() - 1
        };
        assert_eq!(
            [
                kept(0, true),
                kept(1, false),
                kept(2, false),
                kept(2, true),
                kept(9, true)
            ],
            [1, 2, 3, 4, 4]
        );
    }

    #[test]
    fn what_a_kill_left_half_written_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(root.path().join(name), "half").unwrap();
        let ours = [
            CONFIG,
            LOSS,
            REPORT,
            MODEL_FILE,
            START,
            "training-000000007.safetensors",
        ];
        for overwrite in [false, true] {
            ours.iter()
                .for_each(|name| put(&format!(".{name}.123-4.tmp")));
            ["notes.tmp", ".notes.txt.1-1.tmp"]
                .into_iter()
                .for_each(put);
            if overwrite {
                put(CONFIG);
            }
            drop(RunDirectory::at(root.path(), overwrite).unwrap());
            let left = fs::read_dir(root.path()).unwrap().flatten();
            let left = left.filter(|entry| entry.path().extension().is_some_and(|e| e == "tmp"));
            assert_eq!(left.count(), 2, "what is not ours stays");
        }
    }

    #[test]
    fn a_directory_takes_one_run_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let _first = RunDirectory::at(root.path(), false).unwrap();
        let refused = RunDirectory::at(root.path(), true).unwrap_err();
        assert!(refused.message().unwrap().contains("another process"));
    }

    #[test]
    fn names_come_from_the_file() {
        assert_eq!(name_for(Path::new("../texts/hello.txt")), "hello");
        assert_eq!(name_for(Path::new("war.and.peace.txt")), "war.and.peace");
        assert_eq!(name_for(Path::new("/proc/.hidden")), "hidden");
        assert_eq!(name_for(Path::new("..")), "corpus");
    }
}
