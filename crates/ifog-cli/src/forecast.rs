//! `ifog forecast`: the next value of a series, beside what anybody could say without a network.

mod report;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ifog::Cell;
use ifog::atomic_file::write_atomically;
use ifog::forecast::baselines::{Autoregression, drift, persistence};
use ifog::forecast::scores::{Scores, diebold_mariano};
use ifog::forecast::{ForecastConfig, Forecaster, example};

use crate::args::{at_least_one, cell_parser, positive, positive_share};
use crate::failure::Failure;
use crate::level;
use crate::output::{log, print_json, print_line};
use crate::page;
use crate::picture_file::{Kind, write_chart};
use report::{HEADING, Method, Next, Report, Row, Spread, chart, print, rows_of, verdict};
use table::Table;

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
    /// CSV file with a heading; without one, the series of --example.
    pub(crate) csv: Option<PathBuf>,
    /// Series to forecast without a file; its best possible forecast is known and shown.
    #[arg(long, default_value = "sine", value_name = "NAME")]
    pub(crate) example: ExampleName,
    /// Column to forecast; more of them are read beside it. Without one, Close, or the first with numbers.
    #[arg(long, value_name = "NAME")]
    pub(crate) column: Vec<String>,
    /// Column of dates; without it, one called date, time or the like.
    #[arg(long, value_name = "NAME")]
    pub(crate) date: Option<String>,
    /// Rows to look ahead.
    #[arg(long, default_value_t = 1, value_parser = at_least_one, value_name = "N")]
    pub(crate) horizon: usize,
    /// Share of the rows to forecast, at the end.
    #[arg(long, default_value_t = 0.2, value_parser = positive_share, value_name = "X")]
    pub(crate) test: f64,
    /// Recurrent cell.
    #[arg(long, default_value = "gru", value_parser = cell_parser())]
    pub(crate) cell: Cell,
    /// Width.
    #[arg(long, default_value_t = 32, value_parser = at_least_one, value_name = "N")]
    pub(crate) hidden: usize,
    /// Most passes over the training rows.
    #[arg(long, default_value_t = 1200, value_parser = at_least_one, value_name = "N")]
    pub(crate) epochs: usize,
    /// Learning rate of Adam at the start.
    #[arg(long, default_value_t = 1e-2, value_parser = positive, value_name = "X")]
    pub(crate) lr: f64,
    /// Networks to train from different seeds: their spread tells what is chance, their mean is the forecast.
    #[arg(long, default_value_t = 5, value_parser = at_least_one, value_name = "N")]
    pub(crate) seeds: usize,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// File to keep the networks in.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Use kept networks instead of training, and forecast what follows the last row.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["save", "out", "column"], requires = "csv")]
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
    level::level()?;
    if let (Some(model), Some(csv)) = (&args.model, &args.csv) {
        return use_kept(args, model, csv);
    }
    let (table, best) = match &args.csv {
        Some(csv) => (Table::read(csv, &args.column, args.date.as_deref())?, None),
        None => example_table(args.example),
    };
    let rows = table.labels.len();
    let test_rows = (rows as f64 * args.test).ceil() as usize;
    let training_rows = rows - test_rows;
    if training_rows <= args.horizon {
        return Err(Failure::work(format!(
            "{rows} rows cannot be split for --test {} and --horizon {}: give more rows, or other values",
            args.test, args.horizon
        )));
    }
    let forecasters = train(args, &table, training_rows)?;
    if let Some(path) = &args.save {
        write_atomically(path, &Forecaster::to_bytes(&forecasters, &table.names)?)?;
        log(format_args!("wrote {}", path.display()));
    }
    let report = evaluate(args, &table, best.as_deref(), &forecasters, training_rows)?;
    if let Some(out) = &args.out {
        let table = page::table(&HEADING, &rows_of(&report));
        write_chart(out, &chart(&report), &table)?;
    }
    if args.json {
        return print_json(&report);
    }
    print(&report)
}

fn train(args: &Forecast, table: &Table, rows: usize) -> Result<Vec<Forecaster>, Failure> {
    let one = |seed: u64| {
        log(format_args!(
            "training network {} of {}",
            seed - args.seed + 1,
            args.seeds
        ));
        let config = ForecastConfig {
            cell: args.cell,
            hidden: args.hidden,
            horizon: args.horizon,
            epochs: args.epochs,
            lr: args.lr,
            seed,
        };
        Forecaster::train(config, &table.columns, rows).map_err(Failure::of)
    };
    (0..args.seeds as u64)
        .map(|n| one(args.seed.saturating_add(n)))
        .collect()
}

fn evaluate(
    args: &Forecast,
    table: &Table,
    best: Option<&[f64]>,
    forecasters: &[Forecaster],
    training_rows: usize,
) -> Result<Report, Failure> {
    let (values, horizon, rows) = (&table.columns[0], args.horizon, table.labels.len());
    // Row t + h is forecast from row t.
    let known = training_rows - horizon..rows - horizon;
    let (now, actual) = (&values[known.clone()], &values[training_rows..]);
    let scores = |name: String, forecasts: &[f64]| {
        (name, Scores::of(&forecasts[known.clone()], actual, now))
    };

    let each = forecasters.iter().map(|f| f.forecasts(&table.columns));
    let each: Vec<Vec<f64>> = each.collect::<Result<_, _>>()?;
    let network = mean(&each);
    let mut methods = vec![
        scores("persistence".to_owned(), &persistence(values)),
        scores("drift".to_owned(), &drift(values, horizon)),
    ];
    if let Some(fitted) = Autoregression::fit(&values[..training_rows], horizon, MOST_LAGS) {
        methods.push(scores(
            format!("AR({})", fitted.order()),
            &fitted.forecasts(values),
        ));
    }
    methods.push(scores(format!("{} network", args.cell.name()), &network));
    if let (Some(best), 1) = (best, horizon) {
        methods.push(scores("best possible".to_owned(), best));
    }
    let base = methods[0].1.rmse;
    let rmse: Vec<f64> = each
        .iter()
        .map(|f| scores(String::new(), f).1.rmse)
        .collect();
    let (low, high) = interval(forecasters);
    let test: Vec<Row> = known
        .clone()
        .map(|t| Row {
            label: table.labels[t + horizon].clone(),
            actual: values[t + horizon],
            forecast: network[t],
            low: network[t] + low,
            high: network[t] + high,
        })
        .collect();
    let inside = test
        .iter()
        .filter(|r| (r.low..=r.high).contains(&r.actual))
        .count();
    let statistic = diebold_mariano(&network[known], now, actual, horizon);
    let methods: Vec<Method> = methods
        .into_iter()
        .map(|(name, scores)| Method::new(name, scores, base))
        .collect();
    Ok(Report {
        column: table.names[0].clone(),
        rows,
        training_rows,
        test_rows: actual.len(),
        horizon,
        notes: table.notes.clone(),
        verdict: verdict(&methods, statistic),
        methods,
        seeds: Spread::of(rmse),
        diebold_mariano: statistic,
        coverage: inside as f64 / test.len() as f64,
        next: next(table, &network, (low, high), horizon),
        test,
    })
}

/// Forecasts what follows the last row.
fn use_kept(args: &Forecast, model: &Path, csv: &Path) -> Result<(), Failure> {
    let unusable = |reason: String| {
        Failure::work(format!(
            "{} cannot be used: {reason}; give a file that --save wrote",
            model.display()
        ))
    };
    let bytes = fs::read(model).map_err(|error| unusable(error.to_string()))?;
    let (forecasters, names) =
        Forecaster::from_bytes(&bytes).map_err(|error| unusable(error.to_string()))?;
    let table = Table::read(csv, &names, args.date.as_deref())?;
    let each = forecasters.iter().map(|f| f.forecasts(&table.columns));
    let network = mean(&each.collect::<Result<Vec<_>, _>>()?);
    let horizon = forecasters[0].horizon();
    let next = next(&table, &network, interval(&forecasters), horizon);
    if args.json {
        return print_json(&next);
    }
    print_line(next.sentence(&table.names[0]))
}

fn next(table: &Table, network: &[f64], (low, high): (f64, f64), horizon: usize) -> Next {
    let value = network.last().copied().unwrap_or(f64::NAN);
    Next {
        after: table.labels.last().cloned().unwrap_or_default(),
        horizon,
        value,
        low: value + low,
        high: value + high,
    }
}

/// Row by row.
fn mean(each: &[Vec<f64>]) -> Vec<f64> {
    let rows = each.first().map_or(0, Vec::len);
    let row = |t: usize| each.iter().map(|f| f[t]).sum::<f64>() / each.len() as f64;
    (0..rows).map(row).collect()
}

/// Mean of the networks' intervals.
fn interval(forecasters: &[Forecaster]) -> (f64, f64) {
    let count = forecasters.len() as f64;
    let add = |sum: (f64, f64), f: &Forecaster| {
        (
            sum.0 + f.interval().0 / count,
            sum.1 + f.interval().1 / count,
        )
    };
    forecasters.iter().fold((0.0, 0.0), add)
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

/// The largest order of the autoregression.
const MOST_LAGS: usize = 20;
const EXAMPLE_ROWS: usize = 1500;
