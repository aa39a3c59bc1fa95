//! What a comparison is reported as: table, sentence, page.

use std::path::Path;

use maud::html;
use serde::Serialize;

use crate::chart::{Axis, Chart, Series};
use crate::failure::Failure;
use crate::output::{decimals, print_line, print_table};
use crate::page::{Page, figure, table};
use crate::picture_file::{Kind, write_chart, write_picture};

/// What `--json` prints. Losses are nats a symbol on what validation reads: the validation part, unless `notes` say otherwise.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) corpus: String,
    /// Of the whole.
    pub(super) seconds: f64,
    /// Of training.
    pub(super) seconds_each: f64,
    /// What was not done as asked, the same for all cells.
    pub(super) notes: Vec<String>,
    /// Steps that all cells reached.
    pub(super) common_steps: u64,
    pub(super) cells: Vec<Run>,
    pub(super) statement: String,
}

#[derive(Serialize)]
pub(super) struct Run {
    pub(super) cell: &'static str,
    pub(super) hidden: usize,
    pub(super) parameters: usize,
    pub(super) flops_per_symbol: u64,
    pub(super) tape_bytes_per_symbol: f64,
    pub(super) symbols_per_s: f64,
    pub(super) steps: u64,
    pub(super) val_loss_at_equal_steps: f64,
    pub(super) val_loss_at_equal_time: f64,
    /// Lag at which the gradient of the top layer's state has halved; none within 50 steps.
    pub(super) gradient_half_lag: Option<usize>,
    pub(super) gradient_gain_per_step: f64,
    pub(super) sample: String,
    pub(super) curve: Vec<Point>,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct Point {
    pub(super) step: u64,
    pub(super) seconds: f64,
    pub(super) val_loss: f64,
}

/// What the figures support about "the GRU is lighter and about as good".
pub(super) fn statement(cells: &[Run]) -> String {
    let find = |name: &str| cells.iter().find(|run| run.cell == name);
    let (Some(lstm), Some(gru), Some(rnn)) = (find("lstm"), find("gru"), find("rnn")) else {
        return String::new();
    };
    let parameters = parameters(cells);
    let tape = 100.0 * gru.tape_bytes_per_symbol / lstm.tape_bytes_per_symbol;
    if let Some(run) = cells.iter().find(|run| run.steps < FEWEST_STEPS) {
        return format!(
            "The budget was too short to tell which cell is faster or better: the {} had {} steps, and below {FEWEST_STEPS} nothing is \
             said. With {parameters} the GRU's tape takes {tape:.0} % of the bytes of the LSTM's.",
            run.cell, run.steps
        );
    }
    let of_steps = judge(
        "After equal steps",
        gru.val_loss_at_equal_steps,
        lstm.val_loss_at_equal_steps,
    );
    let of_time = judge(
        "after equal time",
        gru.val_loss_at_equal_time,
        lstm.val_loss_at_equal_time,
    );
    let better = lstm.val_loss_at_equal_time.min(gru.val_loss_at_equal_time);
    format!(
        "With {parameters} the GRU is {} the LSTM and its tape takes {tape:.0} % of the bytes. {of_steps}; {of_time}. The RNN is {} the \
         better of the two. One run each: differences below {CLOSE} nats are taken for chance.",
        speed(gru.symbols_per_s, lstm.symbols_per_s),
        place(rnn.val_loss_at_equal_time - better)
    )
}

/// "equal parameters" where they are within 2 %, else their range.
fn parameters(cells: &[Run]) -> String {
    let counts = || cells.iter().map(|run| run.parameters);
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    if most as f64 <= EQUAL * least as f64 {
        "equal parameters".to_owned()
    } else {
        format!("{least} to {most} parameters")
    }
}

/// Which of two losses is better, if that can be told.
fn judge(what: &str, gru: f64, lstm: f64) -> String {
    let by = gru - lstm;
    if by.abs() < CLOSE {
        return format!("{what} GRU and LSTM are about as good ({gru:.3} and {lstm:.3} nats)");
    }
    let better = if by < 0.0 { "GRU" } else { "LSTM" };
    format!(
        "{what} the {better} is better by {:.3} nats ({gru:.3} and {lstm:.3})",
        by.abs()
    )
}

/// How fast the GRU is, to be read before "the LSTM".
fn speed(gru: f64, lstm: f64) -> String {
    let percent = 100.0 * (gru / lstm - 1.0);
    match percent.round() {
        0.0 => "as fast as".to_owned(),
        ..0.0 => format!("{:.0} % slower than", -percent),
        _ => format!("{percent:.0} % faster than"),
    }
}

/// Where a loss is that exceeds another by so much, to be read before that other.
fn place(by: f64) -> String {
    match by {
        _ if by.abs() < CLOSE => "about as good as".to_owned(),
        ..0.0 => format!("{:.3} nats ahead of", -by),
        _ => format!("{by:.3} nats behind"),
    }
}

/// A column a cell: it fits a page and a terminal.
fn heading(report: &Report) -> Vec<&'static str> {
    let cells = report.cells.iter().map(|run| run.cell);
    std::iter::once("cell").chain(cells).collect()
}

/// A row a quantity.
fn rows(report: &Report) -> Vec<Vec<String>> {
    let row = |(name, of): &Quantity| {
        let values = report.cells.iter().map(of);
        std::iter::once((*name).to_owned()).chain(values).collect()
    };
    QUANTITIES.iter().map(row).collect()
}

/// What was done in which time.
fn summary(report: &Report) -> String {
    format!(
        "{}: {} s of training each, {} steps reached by all, {} s in all with validation, gradients and samples",
        report.corpus,
        two_digits(report.seconds_each),
        report.common_steps,
        two_digits(report.seconds)
    )
}

pub(super) fn print(report: &Report) -> Result<(), Failure> {
    print_line(summary(report))?;
    for note in &report.notes {
        print_line(format!("note: {note}"))?;
    }
    print_table(&heading(report), &rows(report))?;
    print_line("")?;
    print_line(&report.statement)
}

/// A number above 0 with at least two digits: 30, 2.5, 0.25.
fn two_digits(x: f64) -> String {
    let decimals = (1.0 - x.log10().floor()).max(0.0) as usize;
    format!("{x:.decimals$}")
}

pub(super) fn write(out: &Path, report: &Report) -> Result<(), Failure> {
    let of_time = chart(report, "seconds of training", |p| p.seconds);
    if Kind::of(out)? == Kind::Chart {
        return write_chart(out, &of_time, &html! {});
    }
    let of_steps = chart(report, "steps", |p| p.step as f64);
    let page = Page {
        title: &format!("Four cells on {}", report.corpus),
        lead: &report.statement,
        body: html! {
            p { (summary(report)) }
            @for note in &report.notes { p { (note) } }
            (figure(&of_time)?)
            (figure(&of_steps)?)
            (table(&heading(report), &rows(report)))
            h2 { "Samples" }
            @for run in &report.cells { h3 { (run.cell) } pre { (run.sample) } }
        },
        style: "",
        script: "",
    };
    write_picture(out, &page.render())
}

fn chart(report: &Report, label: &str, x: impl Fn(&Point) -> f64) -> Chart {
    let series = report.cells.iter().enumerate().map(|(colour, run)| {
        // The untrained model would flatten all that follows.
        let points = run.curve.iter().skip(1).map(|p| (x(p), p.val_loss));
        Series::line(run.cell, colour, points.collect())
    });
    Chart {
        title: format!("Validation loss against {label}"),
        caption: format!(
            "Four cells with {} on {}. Lower is better.",
            parameters(&report.cells),
            report.corpus
        ),
        x: Axis::linear(label),
        y: Axis::linear("validation loss in nats"),
        series: series.collect(),
    }
}

type Quantity = (&'static str, fn(&Run) -> String);
/// What is said of each cell: its name and how it is written.
const QUANTITIES: [Quantity; 10] = [
    ("width", |run| run.hidden.to_string()),
    ("parameters", |run| run.parameters.to_string()),
    ("FLOP a character", |run| run.flops_per_symbol.to_string()),
    ("bytes of tape a character", |run| {
        format!("{:.0}", run.tape_bytes_per_symbol)
    }),
    ("characters a second", |run| {
        format!("{:.0}", run.symbols_per_s)
    }),
    ("steps", |run| run.steps.to_string()),
    ("loss after equal steps", |run| {
        format!("{:.3}", run.val_loss_at_equal_steps)
    }),
    ("loss after equal time", |run| {
        format!("{:.3}", run.val_loss_at_equal_time)
    }),
    ("gradient halves by lag", |run| {
        let lag = run.gradient_half_lag;
        lag.map_or("never".to_owned(), |lag| lag.to_string())
    }),
    ("gradient's gain a step", |run| {
        decimals(run.gradient_gain_per_step, 3)
    }),
];
/// Nats between two losses that are taken for equal: what other seeds of the default model differ by.
const CLOSE: f64 = 0.02;
/// Steps that a cell needs before its speed and its loss say anything.
const FEWEST_STEPS: u64 = 100;
/// The largest number of parameters that is called equal to the least, as a multiple of it.
const EQUAL: f64 = 1.02;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cell: &'static str, parameters: usize, val_loss: f64) -> Run {
        Run {
            cell,
            hidden: 8,
            parameters,
            flops_per_symbol: 1,
            tape_bytes_per_symbol: 100.0,
            symbols_per_s: 1000.0,
            steps: FEWEST_STEPS,
            val_loss_at_equal_steps: val_loss,
            val_loss_at_equal_time: val_loss,
            gradient_half_lag: None,
            gradient_gain_per_step: 1.0,
            sample: String::new(),
            curve: Vec::new(),
        }
    }

    /// Of RNN, LSTM, GRU and GRU-after in this order.
    fn runs(parameters: [usize; 4], losses: [f64; 4]) -> Vec<Run> {
        let names = ["rnn", "lstm", "gru", "gru-after"];
        let runs = names.iter().zip(parameters.into_iter().zip(losses));
        runs.map(|(name, (parameters, loss))| run(name, parameters, loss))
            .collect()
    }

    #[track_caller]
    fn says(cells: &[Run], parts: &[&str], others: &[&str]) {
        let statement = statement(cells);
        for part in parts {
            assert!(statement.contains(part), "{part:?} is not in {statement}");
        }
        for other in others {
            assert!(!statement.contains(other), "{other:?} is in {statement}");
        }
    }

    #[test]
    fn parameters_are_equal_within_2_percent() {
        let losses = [1.0; 4];
        let equal = runs([1000, 1020, 1000, 1001], losses);
        says(&equal, &["With equal parameters the GRU is"], &[]);
        let unequal = runs([1000, 1021, 1000, 1001], losses);
        says(
            &unequal,
            &["With 1000 to 1021 parameters the"],
            &["equal p"],
        );
        let tiny = runs([17, 44, 35, 37], losses);
        says(
            &tiny,
            &["With 17 to 44 parameters the GRU is"],
            &["equal p"],
        );
    }

    #[test]
    fn every_loss_is_judged_by_the_same_rule() {
        let of = |rnn, lstm, gru| runs([100; 4], [rnn, lstm, gru, 9.0]);
        says(
            &of(1.519, 1.500, 1.515),
            &[
                "After equal steps GRU and LSTM are about as good (1.515 and 1.500 nats)",
                "The RNN is about as good as the better of the two",
            ],
            &["behind", "ahead"],
        );
        says(
            &of(1.481, 1.500, 1.521),
            &["the LSTM is better by 0.021 nats", "about as good as the"],
            &["behind", "ahead"],
        );
        let behind = "The RNN is 0.030 nats behind the better of the two";
        says(&of(1.530, 1.600, 1.500), &["GRU is better", behind], &[]);
        let ahead = "The RNN is 0.030 nats ahead of the better of the two";
        says(&of(1.470, 1.500, 1.600), &[ahead], &[]);
    }

    #[test]
    fn speed_is_as_fast_where_a_percent_rounds_to_0() {
        let of = |gru| speed(gru, 1000.0);
        assert_eq!(
            [of(1004.0), of(996.0), of(1010.0), of(880.0)],
            [
                "as fast as",
                "as fast as",
                "1 % faster than",
                "12 % slower than"
            ]
        );
    }

    #[test]
    fn a_budget_of_few_steps_tells_nothing() {
        let mut cells = runs([100; 4], [1.0, 2.0, 3.0, 4.0]);
        says(&cells, &["better by 1.000 nats"], &["too short"]);
        cells[3].steps = FEWEST_STEPS - 1;
        cells[2].tape_bytes_per_symbol = 97.0;
        says(
            &cells,
            &["too short to tell", "the gru-after had 99 steps", "97 %"],
            &["nats", "slower", "as fast", "behind"],
        );
    }

    #[test]
    fn small_times_have_digits() {
        let texts = [30.0, 150.0, 2.5, 0.25, 0.3, 0.000_25].map(two_digits);
        assert_eq!(texts, ["30", "150", "2.5", "0.25", "0.30", "0.00025"]);
    }
}
