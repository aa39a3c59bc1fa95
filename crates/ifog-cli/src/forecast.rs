//! `ifog forecast`: the next value of a series, beside what anybody could say without a network.

mod table;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ifog::Cell;
use ifog::atomic_file::write_atomically;
use ifog::forecast::baselines::{Autoregression, drift, persistence};
use ifog::forecast::scores::{Scores, diebold_mariano};
use ifog::forecast::{ForecastConfig, ForecastError, Forecaster, example};
use serde::Serialize;

use crate::args::{at_least_one, cell_parser, positive, share};
use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::level;
use crate::output::{log, print_json, print_line};
use crate::page;
use crate::picture_file::{Kind, write_chart};
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
    #[arg(long, default_value_t = 0.2, value_parser = share, value_name = "X")]
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

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    column: String,
    rows: usize,
    training_rows: usize,
    test_rows: usize,
    horizon: usize,
    notes: Vec<String>,
    /// The network's is that of the mean of its seeds.
    methods: Vec<Method>,
    seeds: Spread,
    /// Of the network against persistence: above 2 it is better beyond chance.
    diebold_mariano: f64,
    verdict: String,
    /// Share of the test rows within the interval that should hold 80 %.
    coverage: f64,
    next: Next,
    test: Vec<Row>,
}

#[derive(Serialize)]
struct Method {
    name: String,
    rmse: f64,
    mae: f64,
    mape: Option<f64>,
    direction: Option<f64>,
    /// 1 − RMSE / RMSE of persistence.
    skill: f64,
}

/// RMSE of the networks one by one.
#[derive(Serialize)]
struct Spread {
    rmse: Vec<f64>,
    mean: f64,
    deviation: f64,
}

/// The forecast of the row `horizon` rows after the last one.
#[derive(Serialize)]
struct Next {
    after: String,
    horizon: usize,
    value: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct Row {
    label: String,
    actual: f64,
    forecast: f64,
    low: f64,
    high: f64,
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
    if test_rows == 0 || training_rows <= args.horizon {
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
        write_chart(out, &chart(args, &report), &table)?;
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
        Forecaster::train(config, &table.columns, rows).map_err(|error| match error {
            ForecastError::Diverged => Failure::Diverged(error.to_string()),
            other => other.into(),
        })
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

/// What the figures allow to say.
fn verdict(methods: &[Method], statistic: f64) -> String {
    let Some(network) = methods.iter().find(|m| m.name.ends_with("network")) else {
        return String::new();
    };
    let percent = 100.0 * network.skill;
    let first = if network.skill > 0.0 && statistic > 2.0 {
        format!(
            "The network beats persistence: its error is {percent:.1} % smaller, which is beyond chance"
        )
    } else if network.skill < 0.0 && statistic < -2.0 {
        format!(
            "The network is worse than persistence: its error is {:.1} % larger",
            -percent
        )
    } else {
        format!(
            "The network does not beat persistence: the difference of {percent:.1} % is within chance, and the last value is as good \
             a forecast"
        )
    };
    let rival = methods.iter().find(|m| m.name.starts_with("AR("));
    let second = match rival {
        Some(ar) if ar.rmse < network.rmse => format!("; {} is simpler and no worse.", ar.name),
        Some(ar) => format!(
            "; {} is {:.1} % worse than it.",
            ar.name,
            100.0 * (ar.rmse / network.rmse - 1.0)
        ),
        None => ".".to_owned(),
    };
    first + &second
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

impl Method {
    fn new(name: String, scores: Scores, base: f64) -> Self {
        Self {
            name,
            rmse: scores.rmse,
            mae: scores.mae,
            mape: scores.mape,
            direction: scores.direction,
            skill: if base > 0.0 {
                1.0 - scores.rmse / base
            } else {
                0.0
            },
        }
    }
}

impl Spread {
    fn of(rmse: Vec<f64>) -> Self {
        let count = rmse.len() as f64;
        let mean = rmse.iter().sum::<f64>() / count;
        let squares: f64 = rmse.iter().map(|r| (r - mean).powi(2)).sum();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
        Self {
            rmse,
            mean,
            deviation,
        }
    }
}

impl Next {
    fn sentence(&self, column: &str) -> String {
        format!(
            "{column} {} row(s) after {}: {:.4}, with 80 % between {:.4} and {:.4}",
            self.horizon, self.after, self.value, self.low, self.high
        )
    }
}

fn rows_of(report: &Report) -> Vec<Vec<String>> {
    let row = |m: &Method| {
        let percent = |x: Option<f64>, unit: f64| {
            x.map_or("–".to_owned(), |x| format!("{:.2} %", unit * x))
        };
        vec![
            m.name.clone(),
            format!("{:.4}", m.rmse),
            format!("{:.4}", m.mae),
            percent(m.mape, 1.0),
            percent(m.direction, 100.0),
            format!("{:.2} %", 100.0 * m.skill),
        ]
    };
    report.methods.iter().map(row).collect()
}

fn print(report: &Report) -> Result<(), Failure> {
    print_line(format!(
        "{}: {} rows, the last {} forecast {} row(s) ahead",
        report.column, report.rows, report.test_rows, report.horizon
    ))?;
    for note in &report.notes {
        print_line(format!("note: {note}"))?;
    }
    let heading = HEADING.map(String::from).to_vec();
    for row in std::iter::once(heading).chain(rows_of(report)) {
        let cells: Vec<String> = row[1..].iter().map(|cell| format!("{cell:>11}")).collect();
        print_line(format!("{:<14} {}", row[0], cells.join(" ")))?;
    }
    print_line(format!(
        "{} seed(s): RMSE {:.4} ± {:.4}; {:.0} % of the test rows lie within the 80 % interval",
        report.seeds.rmse.len(),
        report.seeds.mean,
        report.seeds.deviation,
        100.0 * report.coverage
    ))?;
    print_line(&report.verdict)?;
    print_line(report.next.sentence(&report.column))
}

/// The last rows of the test part, as many as can be told apart.
fn chart(args: &Forecast, report: &Report) -> Chart {
    let shown = &report.test[report.test.len().saturating_sub(SHOWN)..];
    let at = |t: usize| t as f64;
    let rows = || shown.iter().enumerate();
    let every = (shown.len() / 6).max(1);
    let ticks = rows().step_by(every).map(|(t, r)| (at(t), r.label.clone()));
    Chart {
        title: format!("{}, {} row(s) ahead", report.column, report.horizon),
        caption: format!(
            "Each value is forecast from the rows before it alone; the band should hold 80 % of the values and holds {:.0} %. {}",
            100.0 * report.coverage,
            report.verdict
        ),
        x: Axis {
            ticks: ticks.collect(),
            ..Axis::linear("")
        },
        y: Axis::linear(&report.column),
        series: vec![
            Series::line(
                "actual",
                0,
                rows().map(|(t, r)| (at(t), r.actual)).collect(),
            )
            .drawn_as(Mark::Dots),
            Series {
                band: rows().map(|(t, r)| (at(t), r.low, r.high)).collect(),
                ..Series::line(
                    format!("{} network", args.cell.name()),
                    1,
                    rows().map(|(t, r)| (at(t), r.forecast)).collect(),
                )
            },
        ],
    }
}

const HEADING: [&str; 6] = ["method", "RMSE", "MAE", "MAPE", "direction", "skill"];
/// The largest order of the autoregression.
const MOST_LAGS: usize = 20;
const EXAMPLE_ROWS: usize = 1500;
/// Rows in the chart.
const SHOWN: usize = 250;
