//! What a forecast is reported as: table, sentence, chart.

use ifog::forecast::evaluation::Evaluation;
use ifog::forecast::scores::Scores;
use ifog::forecast::{Forecast, Forecaster, NOMINAL};
use maud::{Markup, html};
use serde::Serialize;

use super::table::Table;
use super::verdict::{unlearnt, verdict};
use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::output::{counted, print_line, print_table};
use crate::page::table;

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Report {
    column: String,
    rows: usize,
    training_rows: usize,
    test_rows: usize,
    horizon: usize,
    notes: Vec<String>,
    /// The network's is that of the median of its seeds.
    methods: Vec<Method>,
    seeds: Spread,
    /// Of the network against persistence, where that can be told: above 2 it is better beyond chance.
    diebold_mariano: Option<f64>,
    verdict: String,
    /// Share of the test rows that the interval should hold.
    nominal: f64,
    /// Share that it holds.
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
    /// 1 − RMSE / RMSE of persistence, if that makes errors.
    skill: Option<f64>,
}

/// RMSE of the networks one by one.
#[derive(Serialize)]
struct Spread {
    rmse: Vec<f64>,
    mean: f64,
    /// Of one network there is none.
    deviation: Option<f64>,
    /// How many of them learnt nothing beyond persistence.
    unlearnt: usize,
}

/// The forecast of the row `horizon` rows after the last one.
#[derive(Serialize)]
pub(super) struct Next {
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

impl Report {
    /// `best` are the scores of who knows how the series is made.
    pub(super) fn new(
        table: &Table,
        forecaster: &Forecaster,
        evaluation: &Evaluation,
        best: Option<Scores>,
    ) -> Self {
        let (rows, test_rows) = (table.labels.len(), evaluation.forecasts.len());
        let training_rows = rows - test_rows;
        let network = format!("{} network", forecaster.config().cell.name());
        let autoregression = evaluation.autoregression;
        let methods = [
            Some(("persistence".to_owned(), evaluation.persistence)),
            Some(("drift".to_owned(), evaluation.drift)),
            autoregression.map(|(order, scores)| (format!("AR({order})"), scores)),
            Some((network, evaluation.network)),
            best.map(|scores| ("best possible".to_owned(), scores)),
        ];
        let method = |(name, scores): (String, Scores)| Method {
            name,
            rmse: scores.rmse,
            mae: scores.mae,
            mape: scores.mape,
            direction: scores.direction,
            skill: evaluation.skill(&scores),
        };
        let row = |(t, forecast): (usize, &Forecast)| Row {
            label: table.labels[training_rows + t].clone(),
            actual: table.columns[0][training_rows + t],
            forecast: forecast.value,
            low: forecast.low,
            high: forecast.high,
        };
        let (mean, deviation) = evaluation.spread();
        Self {
            column: table.names[0].clone(),
            rows,
            training_rows,
            test_rows,
            horizon: forecaster.horizon(),
            notes: table.notes.clone(),
            methods: methods.into_iter().flatten().map(method).collect(),
            seeds: Spread {
                rmse: evaluation.each.iter().map(|s| s.rmse).collect(),
                mean,
                deviation,
                unlearnt: forecaster.unlearnt(),
            },
            diebold_mariano: evaluation.diebold_mariano,
            verdict: verdict(evaluation, forecaster.unlearnt()),
            nominal: NOMINAL,
            coverage: evaluation.coverage,
            next: Next::after(table, forecaster.horizon(), &evaluation.next),
            test: evaluation.forecasts.iter().enumerate().map(row).collect(),
        }
    }

    /// What the interval should hold and what it holds.
    fn coverage(&self) -> String {
        format!(
            "the {:.0} % interval holds {:.1} % of the test rows",
            100.0 * self.nominal,
            100.0 * self.coverage
        )
    }
}

impl Spread {
    fn sentence(&self) -> String {
        let networks = self.rmse.len();
        let deviation = |d| format!(" ± {}", number(d));
        let spread = format!(
            "{} on {} own: RMSE {}{}",
            counted(networks, "network"),
            if networks == 1 { "its" } else { "their" },
            number(self.mean),
            self.deviation.map_or(String::new(), deviation),
        );
        match unlearnt(self.unlearnt, networks) {
            Some(note) => format!("{spread}; {note}"),
            None => spread,
        }
    }
}

impl Next {
    pub(super) fn after(table: &Table, horizon: usize, forecast: &Forecast) -> Self {
        Self {
            after: table.labels.last().cloned().unwrap_or_default(),
            horizon,
            value: forecast.value,
            low: forecast.low,
            high: forecast.high,
        }
    }

    pub(super) fn sentence(&self, column: &str) -> String {
        format!(
            "{column} {} after {}: {}, with {:.0} % between {} and {}",
            counted(self.horizon, "row"),
            self.after,
            number(self.value),
            100.0 * NOMINAL,
            number(self.low),
            number(self.high)
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
            number(m.rmse),
            number(m.mae),
            percent(m.mape, 1.0),
            percent(m.direction, 100.0),
            percent(m.skill, 100.0),
        ]
    };
    report.methods.iter().map(row).collect()
}

pub(super) fn print(report: &Report) -> Result<(), Failure> {
    print_line(format!(
        "{}: {}, the last {} forecast {} ahead",
        report.column,
        counted(report.rows, "row"),
        report.test_rows,
        counted(report.horizon, "row")
    ))?;
    for note in &report.notes {
        print_line(format!("note: {note}"))?;
    }
    print_table(&HEADING, &rows_of(report))?;
    print_line(format!(
        "{}; {}",
        report.seeds.sentence(),
        report.coverage()
    ))?;
    print_line(&report.verdict)?;
    print_line(report.next.sentence(&report.column))
}

/// What a page has below the chart.
pub(super) fn details(report: &Report) -> Markup {
    html! {
        (table(&HEADING, &rows_of(report)))
        p { (report.seeds.sentence()) "." }
        p { "Next: " (report.next.sentence(&report.column)) "." }
        @if !report.notes.is_empty() {
            h2 { "Notes on the file" }
            ul { @for note in &report.notes { li { (note) } } }
        }
    }
}

/// The last rows of the test part, as many as can be told apart.
pub(super) fn chart(report: &Report) -> Chart {
    let shown = &report.test[report.test.len().saturating_sub(SHOWN)..];
    let at = |t: usize| t as f64;
    let rows = || shown.iter().enumerate();
    let longest = shown.iter().map(|r| r.label.chars().count()).max();
    let marks = (LABEL_LETTERS / (longest.unwrap_or(0) + 3)).clamp(2, 7);
    let ticks = rows().step_by(shown.len().div_ceil(marks).max(1));
    let ticks = ticks.map(|(t, r)| (at(t), r.label.clone()));
    let part = match report.test.len() {
        all if all > shown.len() => format!("The last {} of {all} test rows. ", shown.len()),
        _ => String::new(),
    };
    Chart {
        title: format!(
            "{}, {} ahead",
            report.column,
            counted(report.horizon, "row")
        ),
        caption: format!(
            "{part}Each value is forecast from the rows before it alone; {}. {}",
            report.coverage(),
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
                band_name: format!("{:.0} % interval", 100.0 * report.nominal),
                ..Series::line(
                    "network",
                    1,
                    rows().map(|(t, r)| (at(t), r.forecast)).collect(),
                )
            },
        ],
    }
}

/// With four decimals, or as a power of ten where these would say nothing or too much.
fn number(x: f64) -> String {
    match x.abs() {
        0.0 | 1e-3..1e9 => format!("{x:.4}"),
        _ => format!("{x:.4e}"),
    }
}

const HEADING: [&str; 6] = ["method", "RMSE", "MAE", "MAPE", "direction", "skill"];
/// Letters that fit below the chart.
const LABEL_LETTERS: usize = 90;
/// Rows in the chart.
const SHOWN: usize = 250;
