//! `ifog forecast`: the next value of a series, beside what anybody could say without a network.

mod calendar;
mod dates;
mod number;
mod report;
mod sheet;
mod table;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ifog::Cell;
use ifog::atomic_file::{check_writable, write_atomically};
use ifog::corpus::{CorpusError, read_corpus_file};
use ifog::forecast::evaluation::Evaluation;
use ifog::forecast::scores::Scores;
use ifog::forecast::{Forecast as Foretold, ForecastConfig, Forecaster, example};
use ifog::regular_file::read_regular;
use ifog::safetensors::MAX_TENSORS;
use serde::Serialize;

use crate::args::{at_least_one, cell_parser, not_negative, positive, positive_share, seed};
use crate::failure::Failure;
use crate::level;
use crate::output::{log, print_json, print_line};
use crate::picture_file::{Kind, write_chart};
use report::{Next, Report, chart, details, print};
use table::Table;
use verdict::unlearnt;

/// Forecast a series from all values so far, and say whether the network knows more than the last value does.
///
/// The last part of the rows is forecast row by row, each from the rows before it; nothing of it enters the training or the
/// scaling. Beside the network stand persistence (the value stays), drift (it goes on as on average so far) and an
/// autoregression.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog forecast\n  ifog forecast prices.csv --column Close --out forecast.svg\n  \
    ifog forecast load.csv --column MW --column temperature --horizon 24 --save load.safetensors\n  \
    ifog forecast load.csv --model load.safetensors"
)]
pub(crate) struct Forecast {
    /// CSV file, or one with semicolons or tabs; without one, the series of --example.
    pub(crate) csv: Option<PathBuf>,
    /// Series to forecast without a file; its best possible forecast is known and shown.
    #[arg(
        long,
        default_value = "sine",
        value_name = "NAME",
        conflicts_with = "csv"
    )]
    pub(crate) example: ExampleName,
    /// Column to forecast; more of them are read beside it. Without one, Close, or the first with numbers that is no index, counter or calendar.
    #[arg(long, value_name = "NAME", requires = "csv")]
    pub(crate) column: Vec<String>,
    /// Column of dates or times, none for rows that are in order; without it, one called date, time or the like, those of year,
    /// month, day and hour together, or the first that holds dates.
    #[arg(long, value_name = "NAME", requires = "csv")]
    pub(crate) date: Option<String>,
    /// Rows to look ahead.
    #[arg(long, default_value_t = DEFAULT.horizon, value_parser = at_least_one, value_name = "N")]
    pub(crate) horizon: usize,
    /// Share of the rows to forecast, at the end.
    #[arg(long, default_value_t = 0.2, value_parser = positive_share, value_name = "X")]
    pub(crate) test: f64,
    /// Recurrent cell.
    #[arg(long, default_value = DEFAULT.cell.name(), value_parser = cell_parser())]
    pub(crate) cell: Cell,
    /// Width.
    #[arg(long, default_value_t = DEFAULT.hidden, value_parser = at_least_one, value_name = "N")]
    pub(crate) hidden: usize,
    /// Most optimiser steps of a network.
    #[arg(long, default_value_t = DEFAULT.steps, value_parser = at_least_one, value_name = "N")]
    pub(crate) steps: usize,
    /// Learning rate of AdamW at the start; it falls to 0 along a cosine.
    #[arg(long, default_value_t = DEFAULT.lr, value_parser = positive, value_name = "X")]
    pub(crate) lr: f64,
    /// Weight decay of AdamW: more for short and noisy series, less for long and clean ones.
    #[arg(long, default_value_t = DEFAULT.weight_decay, value_parser = not_negative, value_name = "X")]
    pub(crate) weight_decay: f64,
    /// Networks to train from different seeds: their spread tells what is chance, their median is the forecast.
    #[arg(long, default_value_t = DEFAULT.networks, value_parser = networks, value_name = "N")]
    pub(crate) seeds: usize,
    /// The first seed.
    #[arg(long, default_value_t = DEFAULT.seed, value_parser = seed, value_name = "N")]
    pub(crate) seed: u64,
    /// File to keep the networks in.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Use kept networks instead of training, and forecast what follows the last row.
    #[arg(long, value_name = "FILE", requires = "csv", conflicts_with_all = [
        "column", "horizon", "test", "cell", "hidden", "steps", "lr", "weight_decay", "seeds", "seed", "save", "out",
    ])]
    pub(crate) model: Option<PathBuf>,
    /// Chart: .svg, or .html for a page.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExampleName {
    /// A season, a trend and noise.
    Sine,
    /// An autoregression of order 2.
    Ar2,
}

/// Trains and evaluates, or uses what is kept.
pub(crate) fn run(args: &Forecast) -> Result<(), Failure> {
    Kind::check(args.out.as_deref())?;
    if let Some(path) = &args.save {
        check_save(path, args.out.as_deref())?;
    }
    level::level()?;
    if let (Some(model), Some(csv)) = (&args.model, &args.csv) {
        return use_kept(args, model, csv);
    }
    let (table, best) = match &args.csv {
        Some(csv) => (table(csv, &args.column, args.date.as_deref())?, None),
        None => example_table(args.example),
    };
    let rows = table.labels.len();
    let training_rows = rows - (rows as f64 * args.test).ceil() as usize;
    let config = ForecastConfig {
        cell: args.cell,
        hidden: args.hidden,
        horizon: args.horizon,
        networks: args.seeds,
        steps: args.steps,
        lr: args.lr,
        weight_decay: args.weight_decay,
        seed: args.seed,
    };
    let progress = |number: usize| {
        log(format_args!(
            "training network {} of {}",
            number + 1,
            args.seeds
        ));
    };
    let forecaster =
        Forecaster::train(config, &table.columns, training_rows, progress).map_err(Failure::of)?;
    let evaluation =
        Evaluation::of(&forecaster, &table.columns, training_rows).map_err(Failure::of)?;
    // The best is known one row ahead.
    let best = best
        .filter(|_| args.horizon == 1)
        .map(|best| Scores::ahead(&best, &table.columns[0], training_rows, 1));
    let report = Report::new(&table, &forecaster, &evaluation, best);
    let printed = if args.json {
        print_json(&report)
    } else {
        print(&report)
    };
    // Each is done whatever becomes of the others.
    let saved = save(args, &forecaster, &table);
    let drawn = draw(args, &report);
    saved.and(drawn).and(printed)
}

/// Refuses to write networks where they would take the place of something else: a series, a model, the chart.
fn check_save(path: &Path, out: Option<&Path>) -> Result<(), Failure> {
    if out == Some(path) {
        return Err(Failure::usage(format!(
            "--save and --out both name {}: give each a file of its own",
            path.display()
        )));
    }
    let there = fs::metadata(path).is_ok_and(|found| found.len() > 0);
    if there && Forecaster::from_bytes(&fs::read(path).unwrap_or_default()).is_err() {
        return Err(Failure::work(format!(
            "{} is there and holds no forecaster: give --save another name, or remove it",
            path.display()
        )));
    }
    Ok(check_writable(path)?)
}

fn save(args: &Forecast, forecaster: &Forecaster, table: &Table) -> Result<(), Failure> {
    let Some(path) = &args.save else {
        return Ok(());
    };
    let bytes = forecaster
        .to_bytes(&table.names)
        .map_err(|error| Failure::work(format!("cannot save to {}: {error}", path.display())))?;
    write_atomically(path, &bytes)?;
    log(format_args!("wrote {}", path.display()));
    Ok(())
}

fn draw(args: &Forecast, report: &Report) -> Result<(), Failure> {
    match &args.out {
        Some(out) => write_chart(out, &chart(report), &details(report)),
        None => Ok(()),
    }
}

/// What `--model --json` prints.
#[derive(Serialize)]
struct Told<'a> {
    column: &'a str,
    #[serde(flatten)]
    next: Next,
    notes: Vec<String>,
}

/// Forecasts what follows the last row.
fn use_kept(args: &Forecast, model: &Path, csv: &Path) -> Result<(), Failure> {
    let unusable = |reason: String| {
        Failure::work(format!(
            "{} cannot be used: {reason}; give a file that --save wrote",
            model.display()
        ))
    };
    let bytes = read_regular(model, LARGEST_MODEL).map_err(|error| unusable(error.to_string()))?;
    let (forecaster, names) =
        Forecaster::from_bytes(&bytes).map_err(|error| unusable(error.to_string()))?;
    let table = table(csv, &names, args.date.as_deref())?;
    let mut notes = table.notes.clone();
    let forecasts = forecaster.forecasts(&table.columns).map_err(Failure::of)?;
    let finite = |f: &&Foretold| [f.low, f.value, f.high].iter().all(|y| y.is_finite());
    let Some(forecast) = forecasts.last().filter(finite) else {
        return Err(unusable("what it forecasts is not a number".to_owned()));
    };
    notes.extend(unlearnt(forecaster.unlearnt(), forecaster.networks()));
    notes.iter().for_each(log);
    let next = Next::after(&table, forecaster.horizon(), forecast);
    let column = &table.names[0];
    if args.json {
        return print_json(&Told {
            column,
            next,
            notes,
        });
    }
    print_line(next.sentence(column))
}

fn table(csv: &Path, names: &[String], date: Option<&str>) -> Result<Table, Failure> {
    let bytes = match read_corpus_file(csv) {
        // As good as one without rows.
        Err(CorpusError::EmptyFile { .. }) => Vec::new(),
        read => read?,
    };
    Table::parse(&bytes, names, date)
        .map_err(|reason| Failure::work(format!("{}: {reason}", csv.display())))
}

fn example_table(name: ExampleName) -> (Table, Option<Vec<f64>>) {
    let (made, name) = match name {
        ExampleName::Sine => (
            example::noisy_sine(EXAMPLE_ROWS, 0),
            "noisy sine with trend",
        ),
        ExampleName::Ar2 => (example::ar2(EXAMPLE_ROWS, 0), "AR(2) series"),
    };
    let table = Table {
        names: vec![name.to_owned()],
        columns: vec![made.values],
        labels: (1..=EXAMPLE_ROWS).map(|row| row.to_string()).collect(),
        notes: Vec::new(),
    };
    (table, Some(made.best))
}

/// Each is a tensor of the file that keeps them.
fn networks(text: &str) -> Result<usize, String> {
    at_least_one(text)
        .ok()
        .filter(|&networks| networks <= MAX_TENSORS)
        .ok_or_else(|| format!("give a whole number of at least 1 and at most {MAX_TENSORS}"))
}

const DEFAULT: ForecastConfig = ForecastConfig::DEFAULT;
/// Bytes of the largest forecaster.
const LARGEST_MODEL: u64 = 1 << 30;
const EXAMPLE_ROWS: usize = 2500;
