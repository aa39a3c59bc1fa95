//! How a command ends when it does not succeed.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use ifog::config::ConfigError;
use ifog::corpus::CorpusError;
use ifog::fit::FitError;
use ifog::flow::FlowError;
use ifog::forecast::ForecastError;
use ifog::tasks::trainer::TaskError;
use ifog::train::TrainError;

/// The end of a command, with what its user is to read. The code is part of the contract.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The work could not be done: exit code 1.
    Work(String),
    /// The request makes no sense: exit code 2, as for arguments that do not parse.
    Usage(String),
    /// Training left the finite numbers: exit code 3.
    Diverged(String),
    /// Ended by a signal, with everything saved: its exit code, and the sentence to print.
    Interrupted(u8, String),
    /// Exit code 1 after a report that has said all: nothing more is printed.
    Reported,
    /// Whoever read standard output has read enough: no failure at all.
    OutputClosed,
}

impl Failure {
    /// A failure of the work, from a sentence that says what to do.
    pub(crate) fn work(message: impl Display) -> Self {
        Self::Work(message.to_string())
    }

    /// A request that makes no sense.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::Usage(message.to_string())
    }

    /// An error of a training or a measurement, with the exit code of its cause.
    pub(crate) fn of(error: impl Caused) -> Self {
        match error.cause() {
            Cause::Request => Self::usage(error),
            Cause::Divergence => Self::Diverged(error.to_string()),
            Cause::Work => Self::work(error),
        }
    }

    /// A failure to write to standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Work(format!(
                "cannot write to standard output: {error}; check where it goes"
            )),
        }
    }

    /// The same with more to try.
    pub(crate) fn and(self, advice: &str) -> Self {
        match self {
            Self::Work(message) => Self::Work(format!("{message}; {advice}")),
            other => other,
        }
    }

    /// The sentence to print, if any.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Self::Work(message)
            | Self::Usage(message)
            | Self::Diverged(message)
            | Self::Interrupted(_, message) => Some(message),
            Self::Reported | Self::OutputClosed => None,
        }
    }

    /// The exit code of the process.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Work(_) | Self::Reported => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::Diverged(_) => ExitCode::from(3),
            Self::Interrupted(code, _) => ExitCode::from(*code),
        }
    }
}

/// The library's errors are sentences already.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::work(error)
    }
}

/// What an error comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Settings that are out of range or do not fit together.
    Request,
    /// Training left the finite numbers.
    Divergence,
    /// The text, the files or the machine.
    Work,
}

/// An error whose cause can be told.
pub(crate) trait Caused: Display {
    fn cause(&self) -> Cause;
}

impl Caused for ConfigError {
    fn cause(&self) -> Cause {
        Cause::Request
    }
}

impl Caused for FitError {
    fn cause(&self) -> Cause {
        match self {
            Self::Level(_) | Self::Memory(_) => Cause::Work,
            _ => Cause::Request,
        }
    }
}

impl Caused for TrainError {
    fn cause(&self) -> Cause {
        match self {
            Self::Setting { .. }
            | Self::Config(_)
            | Self::Corpus(CorpusError::Shares { .. } | CorpusError::WindowSize { .. }) => {
                Cause::Request
            }
            Self::Fit(error) => Caused::cause(error),
            Self::Diverged { .. } => Cause::Divergence,
            _ => Cause::Work,
        }
    }
}

impl Caused for TaskError {
    fn cause(&self) -> Cause {
        match self {
            Self::Length { .. } | Self::Chrono(_) | Self::Config(_) => Cause::Request,
            Self::Fit(error) => Caused::cause(error),
            Self::Diverged(_) => Cause::Divergence,
            _ => Cause::Work,
        }
    }
}

impl Caused for ForecastError {
    fn cause(&self) -> Cause {
        match self {
            Self::Zero(_) | Self::Config(_) => Cause::Request,
            Self::Fit(error) => Caused::cause(error),
            Self::Diverged => Cause::Divergence,
            _ => Cause::Work,
        }
    }
}

impl Caused for FlowError {
    fn cause(&self) -> Cause {
        match self {
            Self::Zero(_) | Self::Config(_) => Cause::Request,
            _ => Cause::Work,
        }
    }
}
