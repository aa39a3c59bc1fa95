//! Runs the binary.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A run of `ifog` in a directory of its own.
pub(crate) struct Ifog {
    command: Command,
}

/// What it left behind.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A directory for the corpora and runs of one test.
pub(crate) struct Folder {
    directory: TempDir,
}

/// 2,400 bytes of regular text: small enough for a debug build, and something to learn.
pub(crate) fn rhyme() -> String {
    "the fog comes in on little feet, it sits and looks and then moves on.\n".repeat(34)
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// `ifog` with this folder as working directory, and without what the caller's environment may ask for.
    pub(crate) fn ifog<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ifog {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ifog"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("IFOG_ISA")
            .stdin(Stdio::null());
        Ifog { command }
    }

    /// A small model of [`rhyme`] trained for 20 steps, in `run`.
    pub(crate) fn small_model(&self) -> (PathBuf, PathBuf) {
        let corpus = self.file("rhyme.txt", rhyme());
        let out = self.path("run");
        let trained = self
            .ifog([
                "train",
                "rhyme.txt",
                "--out",
                "run",
                "--hidden",
                "16",
                "--steps",
                "20",
            ])
            .args(["--batch", "4", "--seq-len", "16", "--quiet"])
            .run();
        trained.succeeded();
        (corpus, out)
    }
}

impl Ifog {
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn command(self) -> Command {
        self.command
    }

    pub(crate) fn run(mut self) -> Outcome {
        let output = self.command.output().unwrap();
        let outcome = Outcome {
            // A signal has no code.
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        outcome
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn succeeded(&self) -> &Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Ended with `code`, nothing on standard output, and one line on standard error that has all `parts`.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert_eq!(self.stdout, "");
        let sentence = self.stderr.lines().next().unwrap_or_default();
        for part in parts {
            assert!(
                sentence.contains(part),
                "{part:?} is not in {}",
                self.stderr
            );
        }
        // What clap refuses has a hint at --help below it.
        let rest = self.stderr.lines().skip(1);
        assert!(code == 2 || rest.count() == 0, "{}", self.stderr);
    }

    /// Standard output as one JSON object.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.succeeded();
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// The lines of a file as JSON objects.
pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
