//! `ifog compare`: the four cells side by side.

mod budget;
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

use crate::args::{at_least_one, positive, seconds, threads};
use crate::failure::Failure;
use crate::output::{counted, log, printable};
use crate::picture_file::ReportOptions;
use crate::{embedded, level};
use budget::{Budget, Costs};
use report::{Point, Report, Run, print, statement, write};

/// Train RNN, LSTM, GRU and GRU-after with equal parameters and equal time, and compare them.
///
/// Each is trained for the same time, in turns: a quarter of what the budget leaves beside validation, gradients and samples.
/// Validation reads the last tenth of the text, 120,000 bytes at most.
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
    /// Time of the whole, in seconds or as 10m: training, validation, gradients and samples of all four.
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
    #[arg(long, value_parser = threads, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// Trains and compares.
pub(crate) fn run(args: &Compare) -> Result<(), Failure> {
    args.report.check()?;
    level::level()?;
    let budget = Budget::start(args.budget);
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
    let mut notes = contestants
        .first()
        .map_or(Vec::new(), |c| c.trainer.notes());
    notes.extend(unmet(parameters, &contestants));
    notes.iter().for_each(log);
    train(&mut contestants, budget, args, &text)?;
    let common_steps = contestants.iter().map(|c| c.step).min().unwrap_or(0);
    let spent: f64 = contestants.iter().map(|c| c.spent.as_secs_f64()).sum();
    let seconds_each = spent / contestants.len() as f64;
    let finished = contestants
        .into_iter()
        .map(|c| c.finish(args, common_steps, &text));
    let cells: Vec<Run> = finished.collect::<Result<_, _>>()?;
    let hurried = hurried(budget.spent(), args.budget, common_steps);
    hurried.iter().for_each(log);
    notes.extend(hurried);
    let report = Report {
        corpus: name,
        seconds: budget.spent(),
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

/// That a cell has other parameters than were asked for, if no width comes near them.
fn unmet(asked: usize, contestants: &[Contestant]) -> Option<String> {
    let counts = || contestants.iter().map(|c| c.trainer.model().parameters());
    let (least, most) = (counts().min()?, counts().max()?);
    let share = |count: usize| (count as f64 / asked as f64 - 1.0).abs();
    (share(least).max(share(most)) > NEAR).then(|| {
        format!(
            "no widths give all cells {}: the nearest give {least} to {most}",
            counted(asked, "parameter")
        )
    })
}

/// That the budget was no time to learn in.
fn hurried(spent: f64, budget: f64, steps: u64) -> Option<String> {
    (spent > 1.2 * budget || steps < FEW_STEPS).then(|| {
        format!(
            "only {} of each cell in {spent:.0} seconds, as validations and the look at each cell at the end take long of this text: give a \
             --budget that is several times larger",
            counted(steps as usize, "step")
        )
    })
}

/// Spends the budget, less what the end takes.
fn train(
    contestants: &mut [Contestant],
    budget: Budget,
    args: &Compare,
    text: &[u8],
) -> Result<(), Failure> {
    let cells = contestants.len();
    let mut costs = Costs {
        validation: contestants.iter().map(|c| c.validation).sum(),
        end: 0.0,
    };
    // What the end takes of all is what it takes of one, which is tried.
    if let Some(contestant) = contestants.first() {
        let before = budget.spent();
        contestant.gradients(args, text)?;
        contestant.sample(args)?;
        costs.end = (budget.spent() - before) * cells as f64;
    }
    let rounds = costs.rounds(budget.left());
    let mut until = 0.0;
    // In turns, so that whatever else the machine does slows all of them alike.
    for round in 0..rounds {
        until += costs.training(budget.left(), rounds - round, cells);
        for contestant in contestants.iter_mut() {
            let val_loss = contestant.train_until(until)?;
            log(format_args!(
                "{:<9} width {:<4} {:>6} steps  validation {val_loss:.3} nats",
                contestant.cell.name(),
                contestant.hidden,
                contestant.step,
            ));
        }
        costs.validation = contestants.iter().map(|c| c.validation).sum();
    }
    Ok(())
}

/// A cell in training, with its clock.
struct Contestant {
    cell: Cell,
    hidden: usize,
    trainer: Trainer,
    /// Training alone.
    spent: Duration,
    /// Seconds of the last validation.
    validation: f64,
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
            val: validation_share(text.len()),
            // Curves of what learns, from the first step on.
            ema: 0.0,
            ..TrainConfig::default()
        };
        let mut trainer = Trainer::new(config, text).map_err(Failure::of)?;
        let started = Instant::now();
        let val_loss = trainer.validate()?;
        Ok(Self {
            validation: started.elapsed().as_secs_f64(),
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

    /// Trains until it has had `seconds` in all, for a step at least, and validates: the loss.
    fn train_until(&mut self, seconds: f64) -> Result<f64, Failure> {
        loop {
            let started = Instant::now();
            let report = self.trainer.step().map_err(|error| self.failure(error))?;
            self.spent += started.elapsed();
            self.step = report.step;
            self.symbols += report.characters;
            if self.spent.as_secs_f64() >= seconds {
                break;
            }
        }
        let started = Instant::now();
        let val_loss = self.trainer.validate()?;
        self.validation = started.elapsed().as_secs_f64();
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
        Ok(val_loss)
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

    /// How far gradients flow back on the end of the text, which is the validation part.
    fn gradients(&self, args: &Compare, text: &[u8]) -> Result<Flow, Failure> {
        let model = self.trainer.model();
        let tokens = model.vocabulary().encode(text)?;
        // One lag needs two symbols.
        let share = validation_share(text.len());
        let held_out = (tokens.len() as f64 * share) as usize;
        let held_out = held_out.max(2).min(tokens.len());
        let held_out = &tokens[tokens.len() - held_out..];
        let flow = FlowConfig {
            lags: LAGS.min(held_out.len().saturating_sub(1)).max(1),
            positions: 32,
            seed: args.report.seed,
        };
        Ok(Flow::measure(
            model.layout(),
            model.weights(),
            held_out,
            flow,
        )?)
    }

    fn sample(&self, args: &Compare) -> Result<String, Failure> {
        let sample = self.trainer.sample(SAMPLE, 0.8, b"", args.report.seed)?;
        Ok(printable(&sample))
    }

    fn finish(self, args: &Compare, common_steps: u64, text: &[u8]) -> Result<Run, Failure> {
        let model = self.trainer.model();
        let flow = self.gradients(args, text)?;
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
            sample: self.sample(args)?,
            curve: self.curve,
        })
    }
}

/// Of a text of so many bytes.
fn validation_share(bytes: usize) -> f64 {
    VALIDATED.min(MOST_VALIDATED / bytes.max(1) as f64)
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

/// Share of the text that validation reads.
const VALIDATED: f64 = 0.1;
/// Most bytes of it: a tenth of a long text would leave no time for training. The mean of so many losses is known to 0.01 nats.
const MOST_VALIDATED: f64 = 120_000.0;
/// Share by which parameters may differ from those asked for without a word.
const NEAR: f64 = 0.05;
/// With fewer steps no cell has begun to learn.
const FEW_STEPS: u64 = 20;
/// Steps that gradients are followed back.
const LAGS: usize = 50;
const SAMPLE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_reads_a_tenth_or_as_much_as_tells() {
        assert_eq!(validation_share(1_000_000), 0.1);
        assert_eq!(validation_share(6_000_000), 0.02);
        assert_eq!(validation_share(0), 0.1);
    }

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
