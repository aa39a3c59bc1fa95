//! `ifog task`: the classic long-range tasks, until they are solved.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ifog::Cell;
use ifog::tasks::Task as Problem;
use ifog::tasks::trainer::{JUDGED, TaskConfig, TaskStep, TaskTrainer};
use serde::Serialize;

use crate::args::{at_least_one, cell_parser, positive, seconds, share, threads, whole};
use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::level;
use crate::output::{log, print_line};
use crate::page::table;
use crate::picture_file::{ReportOptions, write_chart};

/// Learn a task that needs a long memory, until it is solved or the time is up.
///
/// Solved is what Hochreiter and Schmidhuber asked for in 1997: the last 2,000 sequences all right, each answered before it is
/// learnt from; for adding, errors below 0.04 and 0.01 on average, on a scale where the answer lies between 0 and 1. A task that
/// is not solved in its time is an answer, too: the exit code is 0, and `solved` in --json says which.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog task adding --length 100\n  ifog task order --cell gru --out order.svg\n  \
    ifog task copy --length 200 --budget 5m --json"
)]
pub(crate) struct Task {
    /// What to learn.
    pub(crate) task: Name,
    /// T: about how many steps a sequence has (copy: the pause).
    #[arg(long, default_value_t = 100, value_parser = at_least_one, value_name = "T")]
    pub(crate) length: usize,
    /// Recurrent cell [default: lstm, copy: gru].
    #[arg(long, value_parser = cell_parser())]
    pub(crate) cell: Option<Cell>,
    /// Width [default: 64, copy: 128].
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    pub(crate) hidden: Option<usize>,
    /// Sequences a step [default: 20, copy: 10].
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// Learning rate of Adam at the start [default: 1e-2, copy: 2e-2 for an LSTM, else 1.2e-2].
    #[arg(long, value_parser = positive, value_name = "X")]
    pub(crate) lr: Option<f64>,
    /// Divides the rate by √(1 + n/N) after n sequences; 0 keeps it [default: 10000, copy but for an LSTM: 40000].
    #[arg(long, value_parser = whole::<u64>, value_name = "N")]
    pub(crate) lr_decay: Option<u64>,
    /// β₂ of Adam [default: 0.999, copy but for an LSTM: 0.95].
    #[arg(long, value_parser = share, value_name = "X")]
    pub(crate) beta2: Option<f64>,
    /// Largest Euclidean norm of the gradient [default: 1, copy: 2.2/(T + 20)].
    #[arg(long, value_parser = positive, value_name = "X")]
    pub(crate) clip_norm: Option<f64>,
    /// Answers come from weights averaged with this decay, such as 0.99; 0: from the weights that learn [default: 0, copy: 0.99].
    #[arg(long, value_parser = share, value_name = "X")]
    pub(crate) ema: Option<f64>,
    /// Longest time scale of the gates at the start, in steps (chrono initialisation), 0 for none [default: T, copy: 10 T].
    #[arg(long, value_parser = whole::<u64>, value_name = "N")]
    pub(crate) chrono: Option<u64>,
    /// Time to try, in seconds or as 10m.
    #[arg(long, default_value = "120s", value_parser = seconds, value_name = "TIME")]
    pub(crate) budget: f64,
    /// Sequences to try, in whole batches.
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    pub(crate) sequences: Option<usize>,
    /// Threads; without it, all of the machine. The result does not depend on it.
    #[arg(long, value_parser = threads, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Name {
    /// The sum of two marked numbers among many.
    Adding,
    /// Ten symbols, after a pause.
    Copy,
    /// In which order two symbols came.
    Order,
    /// Whether the number of ones so far is odd.
    Parity,
}

/// What `--json` prints. Losses are squared errors (adding) or nats a step.
#[derive(Serialize)]
struct Report {
    task: &'static str,
    cell: &'static str,
    length: usize,
    hidden: usize,
    /// Longest time scale of the gates at the start; 0: none.
    chrono: u64,
    parameters: usize,
    solved: bool,
    sequences: u64,
    seconds: f64,
    loss: f64,
    baseline: f64,
    recent_error: f64,
    recent_right: f64,
    seed: u64,
    curve: Vec<Point>,
}

/// Mean loss of the sequences since the point before.
#[derive(Clone, Copy, Serialize)]
struct Point {
    sequences: u64,
    loss: f64,
    recent_right: f64,
}

/// Trains until the criterion, the time or the number of sequences.
pub(crate) fn run(args: &Task) -> Result<(), Failure> {
    args.report.check()?;
    level::level()?;
    let config = args.config();
    if args.chrono.is_some_and(|chrono| chrono > 0) && config.cell == Cell::Rnn {
        return Err(Failure::usage(
            "--chrono biases gates, and an RNN has none: choose another --cell".to_owned(),
        ));
    }
    let mut trainer = TaskTrainer::new(config).map_err(Failure::of)?;
    let interrupt = Interrupt::watch()?;
    let started = Instant::now();
    let mut shown = started;
    let mut curve = Curve::default();
    let last = loop {
        let step = trainer.step().map_err(Failure::of)?;
        curve.push(&step, config.batch);
        let enough = args
            .sequences
            .is_some_and(|most| step.sequences >= most as u64);
        let late = started.elapsed().as_secs_f64() >= args.budget;
        if step.solved || enough || late || interrupt.code().is_some() {
            break step;
        }
        if shown.elapsed() >= SHOW_EVERY {
            shown = Instant::now();
            log(format_args!(
                "{} sequences  loss {:.4}  right of the last {}: {:.1} %",
                step.sequences,
                curve.last(),
                judged(step.sequences),
                100.0 * step.recent_right
            ));
        }
    };
    let report = Report {
        task: config.task.name(),
        cell: config.cell.name(),
        length: config.length,
        hidden: config.hidden,
        chrono: trainer.config().chrono,
        parameters: trainer.parameters(),
        solved: last.solved,
        sequences: last.sequences,
        seconds: started.elapsed().as_secs_f64(),
        loss: curve.last(),
        baseline: config.task.baseline(config.length),
        recent_error: last.recent_error,
        recent_right: last.recent_right,
        seed: config.seed,
        curve: curve.points,
    };
    let draw = |out: &Path| write_chart(out, &chart(&report), &table(&HEADING, &rows(&report)));
    let print = || print_line(sentence(&report));
    args.report.deliver(&report, draw, print)?;
    match interrupt.code() {
        Some(code) if !report.solved => Err(Failure::Interrupted(
            code,
            "stopped before the task was solved: this is what was reached".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Of so many sequences, those that count.
fn judged(sequences: u64) -> u64 {
    sequences.min(JUDGED as u64)
}

impl Task {
    /// The settings of the task, but for those that were given.
    fn config(&self) -> TaskConfig {
        // In copying a GRU is ahead of an LSTM by far.
        let cell = match self.task {
            Name::Copy => Cell::Gru,
            Name::Adding | Name::Order | Name::Parity => Cell::Lstm,
        };
        let cell = self.cell.unwrap_or(cell);
        let usual = TaskConfig::new(self.task.into(), cell, self.length);
        TaskConfig {
            hidden: self.hidden.unwrap_or(usual.hidden),
            batch: self.batch.unwrap_or(usual.batch),
            lr: self.lr.unwrap_or(usual.lr),
            lr_decay: self.lr_decay.unwrap_or(usual.lr_decay),
            beta2: self.beta2.unwrap_or(usual.beta2),
            clip_norm: self.clip_norm.unwrap_or(usual.clip_norm),
            ema: self.ema.unwrap_or(usual.ema),
            chrono: self.chrono.unwrap_or(usual.chrono),
            seed: self.report.seed,
            threads: self.threads.unwrap_or(0),
            ..usual
        }
    }
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let row = |p: &Point| {
        vec![
            p.sequences.to_string(),
            format!("{:.5}", p.loss),
            format!("{:.1} %", 100.0 * p.recent_right),
        ]
    };
    report.curve.iter().map(row).collect()
}

fn sentence(report: &Report) -> String {
    let Report {
        cell,
        task,
        length,
        sequences,
        seconds,
        ..
    } = report;
    let verdict = if report.solved {
        format!("{cell} solved {task} at T = {length} after {sequences} sequences")
    } else {
        format!(
            "{cell} did not solve {task} at T = {length} within {sequences} sequences ({:.1} % of the last {} right)",
            100.0 * report.recent_right,
            judged(*sequences)
        )
    };
    format!(
        "{verdict} and {seconds:.0} s; loss {:.2e}, without memory {:.4}.",
        report.loss, report.baseline
    )
}

fn chart(report: &Report) -> Chart {
    let x = |p: &Point| p.sequences as f64;
    let end = report.sequences as f64;
    let baseline = vec![(0.0, report.baseline), (end, report.baseline)];
    Chart {
        title: format!("{} at T = {}", report.task, report.length),
        caption: sentence(report),
        x: Axis::linear("sequences"),
        y: Axis::log(match report.task {
            "adding" => "mean squared error",
            _ => "cross-entropy in nats a step",
        }),
        series: vec![
            Series::line("without memory", 0, baseline).drawn_as(Mark::Reference),
            Series::line(
                report.cell,
                0,
                report.curve.iter().map(|p| (x(p), p.loss)).collect(),
            ),
        ],
    }
}

/// Means of the loss over stretches that double once there are many, so that a long run has no more points than a short one.
struct Curve {
    points: Vec<Point>,
    /// Sequences a point.
    stretch: u64,
    sum: f64,
    count: u64,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            stretch: 500,
            sum: 0.0,
            count: 0,
        }
    }
}

impl Curve {
    fn push(&mut self, step: &TaskStep, batch: usize) {
        self.sum += step.loss * batch as f64;
        self.count += batch as u64;
        if self.count < self.stretch {
            return;
        }
        self.points.push(Point {
            sequences: step.sequences,
            loss: self.sum / self.count as f64,
            recent_right: step.recent_right,
        });
        (self.sum, self.count) = (0.0, 0);
        if self.points.len() == MOST_POINTS {
            self.stretch *= 2;
            let pairs = self.points.chunks_exact(2);
            let merged = |pair: &[Point]| Point {
                loss: (pair[0].loss + pair[1].loss) / 2.0,
                ..pair[1]
            };
            self.points = pairs.map(merged).collect();
        }
    }

    /// The newest mean, or that of all so far.
    fn last(&self) -> f64 {
        match self.points.last() {
            Some(point) => point.loss,
            None => self.sum / self.count.max(1) as f64,
        }
    }
}

impl From<Name> for Problem {
    fn from(name: Name) -> Self {
        match name {
            Name::Adding => Self::Adding,
            Name::Copy => Self::Copy,
            Name::Order => Self::Order,
            Name::Parity => Self::Parity,
        }
    }
}

const HEADING: [&str; 3] = ["sequences", "loss", "right of the last 2,000"];
const SHOW_EVERY: Duration = Duration::from_secs(5);
const MOST_POINTS: usize = 200;
