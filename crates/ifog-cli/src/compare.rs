//! `ifog compare`: the four cells side by side.

mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use ifog::Cell;
use ifog::corpus::read_corpus_file;
use ifog::cost::{tape_bytes, training_flops, width_for};
use ifog::flow::{Flow, FlowConfig};
use ifog::train::{TrainConfig, TrainError, Trainer};
use ifog::vocabulary::{Mode, Vocabulary};

use crate::args::{at_least_one, positive, seconds};
use crate::failure::Failure;
use crate::output::{log, printable};
use crate::picture_file::ReportOptions;
use crate::{embedded, level};
use report::{Point, Report, Run, print, statement, write};

/// Train RNN, LSTM, GRU and GRU-after with equal parameters and equal time, and compare them.
///
/// Each gets a quarter of the budget as training time, in turns; validation is not counted.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog compare --budget 60\n  ifog compare book.txt --hidden 256 --out compare.html\n  \
    ifog compare book.txt --params 1000000 --budget 600 --json"
)]
pub(crate) struct Compare {
    /// Text to learn; without one, the Rust sources of ifog itself.
    pub(crate) corpus: Option<PathBuf>,
    /// Width of the LSTM; the others are as wide as gives as many parameters.
    #[arg(long, default_value_t = 128, value_parser = at_least_one, value_name = "N")]
    pub(crate) hidden: usize,
    /// Parameters of each, instead of --hidden.
    #[arg(long, value_parser = at_least_one, value_name = "N", conflicts_with = "hidden")]
    pub(crate) params: Option<usize>,
    /// Stacked layers.
    #[arg(long, default_value_t = 2, value_parser = at_least_one, value_name = "N")]
    pub(crate) layers: usize,
    /// Time of training for all four together, in seconds or as 10m.
    #[arg(long, default_value = "120s", value_parser = seconds, value_name = "TIME")]
    pub(crate) budget: f64,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 2e-3, value_parser = positive, value_name = "X")]
    pub(crate) lr: f64,
    /// Parallel streams.
    #[arg(long, default_value_t = 50, value_parser = at_least_one, value_name = "N")]
    pub(crate) batch: usize,
    /// Time steps of a window.
    #[arg(long, default_value_t = 50, value_parser = at_least_one, value_name = "N")]
    pub(crate) seq_len: usize,
    /// Threads; without it, all of the machine.
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// Trains and compares.
pub(crate) fn run(args: &Compare) -> Result<(), Failure> {
    args.report.check()?;
    level::level()?;
    let (text, name) = match &args.corpus {
        Some(path) => (
            read_corpus_file(path)?,
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        ),
        None => (embedded::SOURCES.to_vec(), embedded::NAME.to_owned()),
    };
    let vocabulary = Vocabulary::of_text(&text, Mode::Auto)?;
    let parameters = match args.params {
        Some(parameters) => parameters,
        None => one_hot_parameters(args, vocabulary.len())?,
    };
    let contestants = Cell::ALL.iter().map(|&cell| {
        let hidden = width_for(cell, args.layers, vocabulary.len(), parameters);
        let hidden = hidden.map_err(Failure::of)?;
        Contestant::new(args, cell, hidden, &text)
    });
    let mut contestants: Vec<Contestant> = contestants.collect::<Result<_, _>>()?;
    // The same of all: they follow from the text, the batch and the window.
    let notes = contestants
        .first()
        .map_or(Vec::new(), |c| c.trainer.notes());
    notes.iter().for_each(log);
    let seconds_each = args.budget / Cell::ALL.len() as f64;
    // In turns, so that whatever else the machine does slows all of them alike.
    for part in 1..=VALIDATIONS {
        for contestant in &mut contestants {
            contestant.train_until(seconds_each * f64::from(part) / f64::from(VALIDATIONS))?;
            log(format_args!(
                "{:<9} width {:<4} {:>6} steps  validation {:.3} nats",
                contestant.cell.name(),
                contestant.hidden,
                contestant.step,
                contestant.curve[part as usize].val_loss
            ));
        }
    }
    let common_steps = contestants.iter().map(|c| c.step).min().unwrap_or(0);
    let finished = contestants
        .into_iter()
        .map(|c| c.finish(args, common_steps, &text));
    let cells: Vec<Run> = finished.collect::<Result<_, _>>()?;
    let report = Report {
        corpus: name,
        seconds_each,
        common_steps,
        notes,
        statement: statement(&cells),
        cells,
    };
    let draw = |out: &Path| write(out, &report);
    args.report.deliver(&report, draw, || print(&report))
}

/// Of an LSTM of the width asked for.
fn one_hot_parameters(args: &Compare, symbols: usize) -> Result<usize, Failure> {
    let network = ifog::config::NetworkConfig {
        cell: Cell::Lstm,
        input: ifog::config::InputConfig::OneHot {
            vocabulary: symbols,
        },
        hidden: args.hidden,
        layers: args.layers,
        outputs: symbols,
    };
    let layout = ifog::parameters::Layout::new(network).map_err(Failure::of)?;
    Ok(layout.len())
}

/// A cell in training, with its clock.
struct Contestant {
    cell: Cell,
    hidden: usize,
    trainer: Trainer,
    /// Training alone.
    spent: Duration,
    step: u64,
    symbols: u64,
    curve: Vec<Point>,
}

impl Contestant {
    fn new(args: &Compare, cell: Cell, hidden: usize, text: &[u8]) -> Result<Self, Failure> {
        let config = TrainConfig {
            cell,
            hidden,
            layers: args.layers,
            lr: args.lr,
            batch: args.batch,
            seq_len: args.seq_len,
            seed: args.report.seed,
            threads: args.threads.unwrap_or(0),
            ..TrainConfig::default()
        };
        let mut trainer = Trainer::new(config, text).map_err(Failure::of)?;
        let val_loss = trainer.validate()?;
        Ok(Self {
            cell,
            hidden,
            trainer,
            spent: Duration::ZERO,
            step: 0,
            symbols: 0,
            curve: vec![Point {
                step: 0,
                seconds: 0.0,
                val_loss,
            }],
        })
    }

    /// Trains until it has had `seconds` in all, and validates.
    fn train_until(&mut self, seconds: f64) -> Result<(), Failure> {
        while self.spent.as_secs_f64() < seconds {
            let started = Instant::now();
            let report = self.trainer.step().map_err(|error| self.failure(error))?;
            self.spent += started.elapsed();
            self.step = report.step;
            self.symbols += report.characters;
        }
        let val_loss = self.trainer.validate()?;
        if !val_loss.is_finite() {
            return Err(self.failure(TrainError::Diverged {
                step: self.step,
                what: "validation loss".to_owned(),
            }));
        }
        self.curve.push(Point {
            step: self.step,
            seconds: self.spent.as_secs_f64(),
            val_loss,
        });
        Ok(())
    }

    /// A training error, with the cell that it befell.
    fn failure(&self, error: TrainError) -> Failure {
        match Failure::of(error) {
            Failure::Diverged(sentence) => {
                Failure::Diverged(format!("{}: {sentence}", self.cell.name()))
            }
            failure => failure,
        }
    }

    fn finish(self, args: &Compare, common_steps: u64, text: &[u8]) -> Result<Run, Failure> {
        let model = self.trainer.model();
        let tokens = model.vocabulary().encode(text)?;
        // The end of the text is the validation part; one lag needs two symbols.
        let held_out = (tokens.len() / 10).max(2).min(tokens.len());
        let held_out = &tokens[tokens.len() - held_out..];
        let flow = FlowConfig {
            lags: LAGS.min(held_out.len().saturating_sub(1)).max(1),
            positions: 32,
            seed: args.report.seed,
        };
        let flow = Flow::measure(model.layout(), model.weights(), held_out, flow)?;
        let top = flow.layers.last();
        Ok(Run {
            cell: self.cell.name(),
            hidden: self.hidden,
            parameters: model.parameters(),
            flops_per_symbol: training_flops(model.layout()),
            tape_bytes_per_symbol: tape_bytes(model.layout(), args.seq_len),
            symbols_per_s: self.symbols as f64 / self.spent.as_secs_f64(),
            steps: self.step,
            val_loss_at_equal_steps: loss_at(&self.curve, common_steps),
            val_loss_at_equal_time: self.curve[self.curve.len() - 1].val_loss,
            gradient_half_lag: top.and_then(|layer| layer.falls_to(0.5)),
            gradient_gain_per_step: top.map_or(f64::NAN, |layer| layer.gain()),
            sample: printable(&self.trainer.sample(SAMPLE, 0.8, b"", args.report.seed)?),
            curve: self.curve,
        })
    }
}

/// Between the two validations around `step`, in a straight line.
fn loss_at(curve: &[Point], step: u64) -> f64 {
    let after = curve
        .partition_point(|p| p.step < step)
        .clamp(1, curve.len() - 1);
    let (a, b) = (curve[after - 1], curve[after]);
    let share = (step.saturating_sub(a.step)) as f64 / (b.step - a.step).max(1) as f64;
    a.val_loss + share.min(1.0) * (b.val_loss - a.val_loss)
}

/// Validations of a run, evenly over its time.
const VALIDATIONS: u32 = 8;
/// Steps that gradients are followed back.
const LAGS: usize = 50;
const SAMPLE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_between_validations() {
        let point = |step, val_loss| Point {
            step,
            seconds: 0.0,
            val_loss,
        };
        let curve = [point(0, 4.0), point(10, 3.0), point(30, 2.0)];
        for (step, loss) in [
            (0, 4.0),
            (5, 3.5),
            (10, 3.0),
            (20, 2.5),
            (30, 2.0),
            (99, 2.0),
        ] {
            assert_eq!(loss_at(&curve, step), loss, "{step}");
        }
    }
}
