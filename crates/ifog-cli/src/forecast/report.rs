//! What a forecast is reported as: table, sentence, chart.

use ifog::forecast::scores::Scores;
use serde::Serialize;

use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::output::print_line;

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) column: String,
    pub(super) rows: usize,
    pub(super) training_rows: usize,
    pub(super) test_rows: usize,
    pub(super) horizon: usize,
    pub(super) notes: Vec<String>,
    /// The network's is that of the mean of its seeds.
    pub(super) methods: Vec<Method>,
    pub(super) seeds: Spread,
    /// Of the network against persistence: above 2 it is better beyond chance.
    pub(super) diebold_mariano: f64,
    pub(super) verdict: String,
    /// Share of the test rows within the interval that should hold 80 %.
    pub(super) coverage: f64,
    pub(super) next: Next,
    pub(super) test: Vec<Row>,
}

#[derive(Serialize)]
pub(super) struct Method {
    pub(super) name: String,
    pub(super) rmse: f64,
    pub(super) mae: f64,
    pub(super) mape: Option<f64>,
    pub(super) direction: Option<f64>,
    /// 1 − RMSE / RMSE of persistence.
    pub(super) skill: f64,
}

/// RMSE of the networks one by one.
#[derive(Serialize)]
pub(super) struct Spread {
    pub(super) rmse: Vec<f64>,
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

/// The forecast of the row `horizon` rows after the last one.
#[derive(Serialize)]
pub(super) struct Next {
    pub(super) after: String,
    pub(super) horizon: usize,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) actual: f64,
    pub(super) forecast: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// What the figures allow to say.
pub(super) fn verdict(methods: &[Method], statistic: f64) -> String {
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

impl Method {
    pub(super) fn new(name: String, scores: Scores, base: f64) -> Self {
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
    pub(super) fn of(rmse: Vec<f64>) -> Self {
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
    pub(super) fn sentence(&self, column: &str) -> String {
        format!(
            "{column} {} row(s) after {}: {:.4}, with 80 % between {:.4} and {:.4}",
            self.horizon, self.after, self.value, self.low, self.high
        )
    }
}

pub(super) fn rows_of(report: &Report) -> Vec<Vec<String>> {
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

pub(super) fn print(report: &Report) -> Result<(), Failure> {
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
pub(super) fn chart(report: &Report) -> Chart {
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
                    "network",
                    1,
                    rows().map(|(t, r)| (at(t), r.forecast)).collect(),
                )
            },
        ],
    }
}

pub(super) const HEADING: [&str; 6] = ["method", "RMSE", "MAE", "MAPE", "direction", "skill"];
/// Rows in the chart.
const SHOWN: usize = 250;
