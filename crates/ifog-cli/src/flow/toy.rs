//! `ifog flow --toy`: the gradient of a network that can be checked by hand.

use std::path::Path;

use ifog::toy::{ROUNDING, Toy};
use serde::Serialize;

use super::Flow;
use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::output::print_line;
use crate::page::table;
use crate::picture_file::write_chart;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    w_xh: f64,
    w_hh: f64,
    b: f64,
    h0: f64,
    runs: Vec<Run>,
    /// Under the input 0.
    fixed_points: Vec<Point>,
}

/// One constant input.
#[derive(Serialize)]
struct Run {
    x: f64,
    /// h_1 … h_T.
    h: Vec<f64>,
    /// ∂h_T/∂h_1 by backpropagation through time.
    bptt: f64,
    /// The same by finite differences.
    finite_difference: f64,
}

#[derive(Serialize)]
struct Point {
    h: f64,
    gain: f64,
}

/// Prints states, gradients and fixed points; draws |∂h_t/∂h_1| over t.
pub(super) fn run(args: &Flow) -> Result<(), Failure> {
    let toy = Toy {
        w_hh: args.w_hh,
        ..Toy::default()
    };
    let runs = args.inputs.iter().map(|&x| {
        let inputs = vec![x; args.steps];
        let h = toy.states(args.h0, &inputs);
        Run {
            x,
            bptt: toy.gradient(&h),
            finite_difference: toy.difference(&h, &inputs),
            h,
        }
    });
    let report = Report {
        w_xh: toy.w_xh,
        w_hh: toy.w_hh,
        b: toy.b,
        h0: args.h0,
        runs: runs.collect(),
        fixed_points: toy
            .fixed_points(0.0)
            .into_iter()
            .map(|p| Point {
                h: p.h,
                gain: p.gain,
            })
            .collect(),
    };
    let draw = |out: &Path| {
        let figures = table(&HEADING, &rows(&report));
        write_chart(out, &chart(&toy, &report), &figures)
    };
    args.report.deliver(&report, draw, || print(args, &report))
}

fn print(args: &Flow, report: &Report) -> Result<(), Failure> {
    let steps = args.steps;
    print_line(format!(
        "h_t = tanh({} x_t + {} h_(t-1) + {}), h_0 = {}, T = {steps}",
        report.w_xh, report.w_hh, report.b, report.h0
    ))?;
    let [x, h, bptt, difference] = HEADING;
    print_line(format!("{x:>8}  {bptt:>12}  {difference:>12}  {h}"))?;
    for row in rows(report) {
        print_line(format!(
            "{:>8}  {:>12}  {:>12}  {}",
            row[0], row[2], row[3], row[1]
        ))?;
    }
    let unseen = |r: &Run| r.bptt.abs() < 100.0 * ROUNDING;
    if report.runs.iter().any(unseen) {
        print_line(format!(
            "Finite differences in f64 cannot see a gradient below about {ROUNDING:.0e}."
        ))?;
    }
    print_line("")?;
    print_line(
        "fixed points under the input 0, and what a deviation is multiplied by in each step:",
    )?;
    for p in &report.fixed_points {
        let verdict = if p.gain.abs() < 1.0 {
            "attracts: here the gradient vanishes"
        } else {
            "repels: here the gradient explodes"
        };
        print_line(format!("h = {:>7.4}  gain {:<9.4} {verdict}", p.h, p.gain))?;
    }
    Ok(())
}

/// x, states, both gradients.
fn rows(report: &Report) -> Vec<Vec<String>> {
    let row = |r: &Run| {
        let states = r.h.iter().take(SHOWN).map(|h| format!("{h:.6}"));
        let mut states = states.collect::<Vec<_>>().join(" ");
        if r.h.len() > SHOWN {
            states += " …";
        }
        vec![
            r.x.to_string(),
            states,
            gradient(r.bptt),
            gradient(r.finite_difference),
        ]
    };
    report.runs.iter().map(row).collect()
}

/// Four digits.
fn gradient(value: f64) -> String {
    if (0.001..1000.0).contains(&value.abs()) {
        format!("{value:.4}")
    } else {
        format!("{value:.3e}")
    }
}

/// |∂h_t/∂h_1| over t: lines by backpropagation, dots by differences where these can see it.
fn chart(toy: &Toy, report: &Report) -> Chart {
    let one = vec![(1.0, 1.0), (report.runs[0].h.len() as f64, 1.0)];
    let mut series = vec![Series::line("", 0, one).drawn_as(Mark::Reference)];
    for (i, r) in report.runs.iter().enumerate() {
        let over_steps = |gradients: Vec<f64>| {
            let gradients = gradients.into_iter().enumerate();
            gradients.map(|(before, gradient)| ((before + 1) as f64, gradient.abs()))
        };
        let dots = over_steps(toy.differences(&r.h, &vec![r.x; r.h.len()]));
        let dots = dots.filter(|d| d.1 > ROUNDING).collect();
        let dots = Series::line("", i, dots).drawn_as(Mark::Dots);
        let line = over_steps(toy.gradients(&r.h)).collect();
        let line = Series::line(format!("x = {}", r.x), i, line);
        series.extend([line, dots]);
    }
    Chart {
        title: format!(
            "Gradient of h_t = tanh({} x + {} h + {})",
            toy.w_xh, toy.w_hh, toy.b
        ),
        caption: "How much a change of the first state is felt later. Each step multiplies the gradient by \
                  w_hh (1 − h²): it explodes where the unit works near 0, and vanishes where the unit saturates. \
                  Lines: backpropagation through time. Dots: finite differences."
            .to_owned(),
        x: Axis::linear("step t"),
        y: Axis::log("|∂h_t / ∂h_1|"),
        series,
    }
}

const HEADING: [&str; 4] = ["x", "h_1 … h_T", "BPTT", "differences"];
/// States printed of a long run.
const SHOWN: usize = 8;
