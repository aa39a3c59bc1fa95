//! Progress on standard error: a bar on a terminal, a line every few seconds elsewhere.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ifog::train::StepReport;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::log;

/// Where a run is, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// The part of the run that is done, 0 to 1.
    pub(crate) fraction: f64,
    /// Steps done.
    pub(crate) step: u64,
    /// Passes over the training part done.
    pub(crate) epoch: f64,
    /// Recent training loss.
    pub(crate) train: Nats,
    /// The last validation loss.
    pub(crate) val: Nats,
    /// Characters a second in training.
    pub(crate) chars_per_s: f64,
    /// The last step, for learning rate, gradient norm and clip rate.
    pub(crate) last: Option<StepReport>,
    /// Time left.
    pub(crate) left: Duration,
}

/// A loss in nats; displayed with the same in bits, four decimals unless a precision is given, and with an exponent where it
/// is absurd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nats(pub(crate) f64);

/// Shows a run while it goes on.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing, as asked for.
    Quiet,
    /// A bar that is drawn over and over.
    Bar(ProgressBar),
    /// Lines, for a file or a pipe.
    Lines {
        /// When the last one was printed.
        last: Instant,
    },
}

impl Progress {
    /// The form that suits standard error.
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines {
                last: Instant::now(),
            };
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        let style = ProgressStyle::with_template("{bar:16} {wide_msg}")
            .expect("the template is well-formed")
            .progress_chars("━╸ ");
        Self::Bar(ProgressBar::with_draw_target(Some(BAR_LENGTH), target).with_style(style))
    }

    /// Prints a line, such as a note on how the corpus was cut.
    pub(crate) fn note(&self, line: impl fmt::Display) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => bar.suspend(|| log(line)),
            Self::Lines { .. } => log(line),
        }
    }

    /// Shows the status. Called at every step, it decides itself what is worth showing.
    pub(crate) fn update(&mut self, status: &Status) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => {
                bar.set_position((status.fraction * BAR_LENGTH as f64) as u64);
                bar.set_message(status.to_string());
            }
            Self::Lines { last } if last.elapsed() >= LINE_INTERVAL => {
                *last = Instant::now();
                log(status);
            }
            Self::Lines { .. } => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }

    /// Shows the last status and takes the bar away.
    pub(crate) fn finish(&self, status: &Status) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => {
                bar.finish_and_clear();
                log(status);
            }
            Self::Lines { .. } => log(status),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fraction,
            step,
            epoch,
            train,
            val,
            chars_per_s,
            last,
            left,
        } = self;
        // A narrow terminal cuts the end off: what matters most comes first.
        write!(
            f,
            "{:3.0} %  {} left  train {train:.3}  val {val:.3}  {chars_per_s:.0} chars/s  step {step}  epoch {epoch:.2}",
            100.0 * fraction,
            Clock(*left)
        )?;
        let Some(last) = last else {
            return Ok(());
        };
        write!(
            f,
            "  lr {:.2e}  norm {:.2}  clipped {:.0} %",
            last.lr,
            last.grad_norm,
            100.0 * last.clip_rate
        )
    }
}

impl Nats {
    /// The same in bits: nats / ln 2.
    pub(crate) fn bits(self) -> f64 {
        self.0 / std::f64::consts::LN_2
    }
}

impl fmt::Display for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(4);
        if self.0.abs() >= ABSURD {
            return write!(f, "{:.1e} nats ({:.1e} bits)", self.0, self.bits());
        }
        write!(
            f,
            "{:.digits$} nats ({:.digits$} bits)",
            self.0,
            self.bits()
        )
    }
}

/// A duration as minutes and seconds, from an hour on with hours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(pub(crate) Duration);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}:{minutes:02}:{:02}", seconds % 60)
        } else {
            write!(f, "{minutes}:{:02}", seconds % 60)
        }
    }
}

/// Steps of the bar: finer than any terminal can show.
const BAR_LENGTH: u64 = 1000;
const REDRAWS_PER_SECOND: u8 = 8;
/// Nats a symbol that no vocabulary has.
const ABSURD: f64 = 1e6;
const LINE_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let clock = |seconds| Clock(Duration::from_secs(seconds)).to_string();
        assert_eq!(clock(9), "0:09");
        assert_eq!(clock(3599), "59:59");
        assert_eq!(clock(7205), "2:00:05");
        // A fair coin has ln 2 nats, which is 1 bit.
        assert_eq!(
            Nats(std::f64::consts::LN_2).to_string(),
            "0.6931 nats (1.0000 bits)"
        );
    }
}
