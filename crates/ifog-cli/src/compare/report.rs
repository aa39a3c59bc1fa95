//! What a comparison is reported as: table, sentence, page.

use std::path::Path;

use maud::html;
use serde::Serialize;

use crate::chart::{Axis, Chart, Series};
use crate::failure::Failure;
use crate::output::{decimals, print_line, print_table};
use crate::page::{Page, figure, table};
use crate::picture_file::{Kind, write_chart, write_picture};

/// What `--json` prints. Losses are nats a symbol on the validation part.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) corpus: String,
    /// Of training.
    pub(super) seconds_each: f64,
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
    let judge = |what: &str, gru: f64, lstm: f64| {
        let by = gru - lstm;
        if by.abs() < CLOSE {
            format!("{what} GRU and LSTM are about as good ({gru:.3} and {lstm:.3} nats)")
        } else {
            let better = if by < 0.0 { "GRU" } else { "LSTM" };
            format!(
                "{what} the {better} is better by {:.3} nats ({gru:.3} and {lstm:.3})",
                by.abs()
            )
        }
    };
    let speed = 100.0 * (gru.symbols_per_s / lstm.symbols_per_s - 1.0);
    let speed = format!(
        "{:.0} % {}",
        speed.abs(),
        if speed < 0.0 { "slower" } else { "faster" }
    );
    let rnn_by =
        rnn.val_loss_at_equal_time - lstm.val_loss_at_equal_time.min(gru.val_loss_at_equal_time);
    let behind = if rnn_by > 0.0 { "behind" } else { "ahead of" };
    format!(
        "With equal parameters the GRU is {speed} than the LSTM and its tape takes {:.0} % of the bytes. {}; {}. The RNN is {:.3} nats \
         {behind} the better of the two. One run each: differences below {CLOSE} nats are taken for chance.",
        100.0 * gru.tape_bytes_per_symbol / lstm.tape_bytes_per_symbol,
        judge(
            "After equal steps",
            gru.val_loss_at_equal_steps,
            lstm.val_loss_at_equal_steps
        ),
        judge(
            "after equal time",
            gru.val_loss_at_equal_time,
            lstm.val_loss_at_equal_time
        ),
        rnn_by.abs()
    )
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let row = |run: &Run| {
        vec![
            run.cell.to_owned(),
            run.hidden.to_string(),
            run.parameters.to_string(),
            run.flops_per_symbol.to_string(),
            format!("{:.0}", run.tape_bytes_per_symbol),
            format!("{:.0}", run.symbols_per_s),
            run.steps.to_string(),
            format!("{:.3}", run.val_loss_at_equal_steps),
            format!("{:.3}", run.val_loss_at_equal_time),
            run.gradient_half_lag
                .map_or("never".to_owned(), |lag| lag.to_string()),
            decimals(run.gradient_gain_per_step, 3),
        ]
    };
    report.cells.iter().map(row).collect()
}

pub(super) fn print(report: &Report) -> Result<(), Failure> {
    print_line(format!(
        "{}: {:.0} s of training each, {} steps reached by all",
        report.corpus, report.seconds_each, report.common_steps
    ))?;
    print_table(&HEADING, &rows(report))?;
    print_line("")?;
    print_line(&report.statement)
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
            (figure(&of_time)?)
            (figure(&of_steps)?)
            (table(&HEADING, &rows(report)))
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
            "Four cells with equal parameters on {}. Lower is better.",
            report.corpus
        ),
        x: Axis::linear(label),
        y: Axis::linear("validation loss in nats"),
        series: series.collect(),
    }
}

const HEADING: [&str; 11] = [
    "cell",
    "width",
    "params",
    "FLOP/char",
    "tape B",
    "char/s",
    "steps",
    "loss, equal steps",
    "loss, equal time",
    "halves by lag",
    "gain a step",
];
/// Nats between two losses that are taken for equal: what other seeds of the default model differ by.
const CLOSE: f64 = 0.02;
