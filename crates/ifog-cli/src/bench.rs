//! `ifog bench`.

mod compare;
mod grid;
mod sweep;
mod verdict;

use std::path::PathBuf;

use clap::Args;
use ifog::bench::{Case, Effort, Machine, Measured, Pass, Workload};
use ifog::pool::Pool;
use ifog::{Cell, Level};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::args::{at_least_one, cell_parser, threads};
use crate::failure::Failure;
use crate::level::level;
use crate::output::{log, print_json, print_line};

/// Measure cell throughput on this machine, beside the machine's own limit.
///
/// The limit of a case, its roofline, is the time of its FLOPs at the peak of this machine, or of its reading at the
/// bandwidth of a working set of that size, whichever is longer; both are measured in turns with the case, as the speed of a
/// machine changes. So is one thread, where there are several. Each case is compared with the portable level before it is timed. Run
/// nothing beside it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog bench --quick\n  ifog bench --cell lstm --pass infer,train --batch 8,32,64 --hidden 128,256\n  \
    ifog bench --json > before.jsonl; ifog bench --compare before.jsonl\n  ifog bench --sweep --cell gru --pass infer\n\n\
    Pin it where other work is on the machine: taskset -c 1 ifog bench"
)]
pub(crate) struct Bench {
    /// Cells.
    #[arg(long, value_delimiter = ',', value_parser = cell_parser(), value_name = "CELL,…")]
    cell: Vec<Cell>,
    /// Passes: a sequence, a sequence forward and back, or one step a call.
    #[arg(long, value_delimiter = ',', value_name = "PASS,…")]
    pass: Vec<PassName>,
    /// Batches.
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, value_name = "N,…")]
    batch: Vec<usize>,
    /// Hidden widths.
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, value_name = "N,…")]
    hidden: Vec<usize>,
    /// Input width; without it, the hidden width.
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    input: Option<usize>,
    /// Steps of a sequence; without it, 64, and 256 for a batch of 1.
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    steps: Option<usize>,
    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = threads, value_name = "N")]
    threads: usize,
    /// Fewer cases and shorter runs: under half a minute.
    #[arg(long)]
    quick: bool,
    /// Look for cliffs instead: uneven widths, batches and lengths, each beside its neighbours.
    ///
    /// Goes over H = 8 … 1100 at a few batches, over B = 1 … 130 at a few widths, and over T, and prints for each case the
    /// fraction of the limit, the one that its two neighbours let one expect, and their ratio: below 0.8, measured five
    /// times, it is a cliff. To times over B and over T it fits a line. Ends with a verdict. LSTM unless --cell names
    /// others: some two minutes a cell; --batch and --hidden choose other sizes, and --quick measures shorter.
    #[arg(long, conflicts_with = "compare")]
    sweep: bool,
    /// Compare with the lines of an earlier --json.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Print a line of JSON a case.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PassName {
    Infer,
    Train,
    Step,
}

/// A measured case, as `--json` prints it. Times are milliseconds of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    case: String,
    cell: String,
    #[serde(rename = "B")]
    batch: usize,
    #[serde(rename = "T")]
    steps: usize,
    #[serde(rename = "I")]
    input: usize,
    #[serde(rename = "H")]
    hidden: usize,
    threads: usize,
    isa: String,
    /// Median of the runs.
    ms: f64,
    ms_min: f64,
    /// (Third quartile − first) / median.
    spread: f64,
    gflops: f64,
    roofline_ms: f64,
    roofline_fraction: f64,
    /// Times the speed of one thread, of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    speed_up: Option<f64>,
}

impl Line {
    fn new(case: Case, level: Level, measured: &Measured) -> Self {
        let timing = measured.timing;
        Self {
            case: case.pass.name().to_owned(),
            cell: case.cell.name().to_owned(),
            batch: case.batch,
            steps: case.steps,
            input: case.input,
            hidden: case.hidden,
            threads: case.threads,
            isa: level.name().to_owned(),
            ms: timing.median * 1e3,
            ms_min: timing.min * 1e3,
            spread: timing.spread,
            gflops: case.flops() / timing.median / 1e9,
            roofline_ms: measured.bound * 1e3,
            roofline_fraction: measured.fraction(),
            speed_up: measured.speed_up,
        }
    }

    /// Time of a step.
    fn step_us(&self) -> f64 {
        self.ms * 1e3 / self.steps as f64
    }
}

/// Measures every case.
pub(crate) fn run(args: &Bench) -> Result<(), Failure> {
    let level = level()?;
    let steps_alone = matches!(args.pass[..], [PassName::Step]);
    if steps_alone && args.batch.iter().chain(&args.steps).any(|size| *size != 1) {
        return Err(Failure::usage(
            "a step is one time step of one row: leave --batch and --steps out, or name --pass infer",
        ));
    }
    // Whether so many threads can be had, before anything is measured with them.
    Pool::new(args.threads)?;
    let before = args.compare.as_deref().map(compare::read).transpose()?;
    let mut machine = Machine::new(level);
    if !args.json {
        print_machine(&mut machine, level, args.threads)?;
    }
    if args.sweep {
        return sweep::run(args, level, &mut machine);
    }
    if !args.json {
        let speed_up = if args.threads > 1 { "  speed-up" } else { "" };
        print_line(format!("{HEADER}{speed_up}"))?;
    }
    let cases = grid::cases(args);
    let effort = match args.quick {
        true => Effort::QUICK,
        false => Effort::FULL,
    };
    // Draws nothing where standard error is no terminal.
    let bar = ProgressBar::new(cases.len() as u64);
    let mut lines = Vec::new();
    for case in cases {
        let measured = measure(case, level, effort, &mut machine)?;
        let line = Line::new(case, level, &measured);
        bar.suspend(|| match args.json {
            true => print_json(&line),
            false => print_line(row(&line)),
        })?;
        bar.inc(1);
        lines.push(line);
    }
    bar.finish_and_clear();
    match before {
        Some(before) => compare::report(&before, &lines, args.json),
        None => Ok(()),
    }
}

/// Measures a case that computes the right thing.
fn measure(
    case: Case,
    level: Level,
    effort: Effort,
    machine: &mut Machine,
) -> Result<Measured, Failure> {
    let mut workload = Workload::new(case, level)?;
    workload.check()?;
    Ok(workload.measure_in_turns(effort, machine)?)
}

fn print_machine(machine: &mut Machine, level: Level, threads: usize) -> Result<(), Failure> {
    log("measuring the machine");
    let peak = machine.peak(threads)? / 1e9;
    print_line(format!(
        "{level}, {threads} thread{}: {peak:.1} GFLOP/s f32",
        if threads == 1 { "" } else { "s" }
    ))?;
    let mut read = |name: &str, bytes: f64| {
        let rate = machine.bandwidth(bytes * threads as f64, threads)? / 1e9;
        print_line(format!("reading {name:>8} a thread: {rate:6.1} GB/s"))
    };
    read("16 KiB", 16e3)?;
    read("512 KiB", 512e3)?;
    read("4 MiB", 4e6)?;
    read("256 MiB", 256e6)?;
    print_line("")
}

const HEADER: &str = "pass   cell         B     T     I     H  thr         time  a step, us  GFLOP/s   bound  of it  noise";

fn row(line: &Line) -> String {
    format!(
        "{:6} {:9} {:4} {:5} {:5} {:5} {:4} {:9.4} ms {:11.3} {:8.1} {:7.4} {:6.3} {:5.1}%{}",
        line.case,
        line.cell,
        line.batch,
        line.steps,
        line.input,
        line.hidden,
        line.threads,
        line.ms,
        line.step_us(),
        line.gflops,
        line.roofline_ms,
        line.roofline_fraction,
        line.spread * 100.0,
        line.speed_up
            .map_or(String::new(), |speed_up| format!("{speed_up:10.2}"))
    )
}

impl From<PassName> for Pass {
    fn from(name: PassName) -> Self {
        match name {
            PassName::Infer => Self::Infer,
            PassName::Train => Self::Train,
            PassName::Step => Self::Step,
        }
    }
}
