//! `ifog flow --toy`: the gradient of a network that can be checked by hand.

use std::path::Path;

use ifog::toy::{ROUNDING, Toy};
use maud::html;
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
    /// ∂h_t/∂h_1 for t = 1 … T; none beyond the numbers of f64.
    gradients: Vec<f64>,
    /// log₁₀ |∂h_t/∂h_1|, also of those; none where the gradient is 0.
    log10_gradients: Vec<f64>,
    /// ∂h_T/∂h_1 by backpropagation through time; none beyond the numbers of f64.
    bptt: f64,
    /// The same by finite differences.
    finite_difference: f64,
    /// Whether the two differ because the step of the differences is too long.
    step_too_long: bool,
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
        let (bptt, finite_difference) = (toy.gradient(&h), toy.difference(&h, &inputs));
        let differ = (bptt - finite_difference).abs() > 100.0 * ROUNDING;
        Run {
            x,
            gradients: toy.gradients(&h),
            log10_gradients: toy.log10_gradients(&h),
            bptt,
            finite_difference,
            step_too_long: differ && followed(&toy, &h) < h.len(),
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
        let figures = html! {
            (table(&HEADING, &rows(&report)))
            h2 { "Fixed points" }
            p.lead { "States that the unit stays in under the input 0, and what a deviation is multiplied by in each step." }
            (table(&["h", "gain", "so it"], &points(&report)))
        };
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
    for note in notes(report) {
        print_line(note)?;
    }
    print_line("")?;
    print_line(
        "fixed points under the input 0, and what a deviation is multiplied by in each step:",
    )?;
    for row in points(report) {
        print_line(format!("h = {:>7}  gain {:<9} {}", row[0], row[1], row[2]))?;
    }
    Ok(())
}

/// State, gain, what comes of it.
fn points(report: &Report) -> Vec<Vec<String>> {
    let row = |p: &Point| {
        let verdict = if p.gain.abs() < 1.0 {
            "attracts: here the gradient vanishes"
        } else {
            "repels: here the gradient explodes"
        };
        vec![
            format!("{:.4}", p.h),
            format!("{:.4}", p.gain),
            verdict.to_owned(),
        ]
    };
    report.fixed_points.iter().map(row).collect()
}

/// Why differences are not what backpropagation gives.
fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let unseen = |r: &Run| r.bptt.abs() < 100.0 * ROUNDING;
    if report.runs.iter().any(unseen) {
        notes.push(format!(
            "Finite differences in f64 cannot see a gradient below about {ROUNDING:.0e}."
        ));
    }
    let moved = report.runs.iter().filter(|r| r.step_too_long);
    let moved: Vec<String> = moved.map(|r| r.x.to_string()).collect();
    if !moved.is_empty() {
        notes.push(format!(
            "Finite differences with a step of {STEP:.0e} cannot follow the gradient at x = {}: moved so far, the unit leaves the \
             straight part of its tanh.",
            moved.join(", ")
        ));
    }
    notes
}

/// The states h_1, h_2, … at which the differences can follow the gradient: until a state moved by their step would move the
/// argument of the next tanh so far that it is no longer straight.
fn followed(toy: &Toy, states: &[f64]) -> usize {
    let gradients = toy.gradients(states);
    let straight = |gradient: &f64| STEP * (toy.w_hh * gradient).abs() < STRAIGHT;
    let before = gradients.iter().take_while(|g| straight(g)).count();
    (before + 1).min(states.len())
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
            bptt(r),
            gradient(r.finite_difference),
        ]
    };
    report.runs.iter().map(row).collect()
}

/// By its logarithm where it is beyond the numbers of f64.
fn bptt(run: &Run) -> String {
    match run.log10_gradients.last() {
        Some(log) if run.bptt.is_infinite() => {
            let sign = if run.bptt < 0.0 { "-" } else { "" };
            format!("{sign}10^{log:.1}")
        }
        _ => gradient(run.bptt),
    }
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
        let dots = dots.take(followed(toy, &r.h));
        let dots = dots.filter(|d| d.1 > ROUNDING).collect();
        let dots = Series::line("", i, dots).drawn_as(Mark::Dots);
        let line = over_steps(r.gradients.clone()).collect();
        let line = Series::line(format!("x = {}", r.x), i, line);
        series.extend([line, dots]);
    }
    Chart {
        title: format!(
            "Gradient of h_t = tanh({} x + {} h + {})",
            toy.w_xh, toy.w_hh, toy.b
        ),
        caption: caption(report),
        x: Axis::linear("step t"),
        y: Axis::log("|∂h_t / ∂h_1|"),
        series,
    }
}

fn caption(report: &Report) -> String {
    let read = "How much a change of the first state is felt later. Each step multiplies the gradient by \
                w_hh (1 − h²): it explodes where the unit works near 0, and vanishes where the unit saturates. \
                Lines: backpropagation through time. Dots: finite differences, where these can see it.";
    let sentences = std::iter::once(read.to_owned()).chain(notes(report));
    sentences.collect::<Vec<_>>().join(" ")
}

const HEADING: [&str; 4] = ["x", "h_1 … h_T", "BPTT", "differences"];
/// States printed of a long run.
const SHOWN: usize = 8;
/// What [`Toy::difference`] moves h_1 by.
const STEP: f64 = 1e-3;
/// A tanh is as good as straight, after the extrapolation of the differences, over so much of its argument: what is left is
/// 16/480 · 0.1⁴ of the gradient.
const STRAIGHT: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The differences against backpropagation: exact where they are said to be, and wrong where the gradient has become huge.
    #[test]
    fn differences_are_left_where_their_step_saturates() {
        for (w_hh, h0, x) in [
            (3.0, 0.0, -0.5),
            (-3.0, 0.0, -0.5),
            (1000.0, 0.0, -0.5),
            // Grows to 10⁵, and vanishes when the unit leaves 0.
            (3.0, 1e-6, -0.5),
        ] {
            let toy = Toy {
                w_hh,
                ..Toy::default()
            };
            let inputs = [x; 20];
            let states = toy.states(h0, &inputs);
            let followed = followed(&toy, &states);
            assert!((1..20).contains(&followed), "w_hh {w_hh}: {followed}");
            let gradients = toy.gradients(&states);
            let differences = toy.differences(&states, &inputs);
            let error = |t: usize| (differences[t] / gradients[t] - 1.0).abs();
            for t in 0..followed {
                assert!(error(t) < 1e-5, "w_hh {w_hh}, step {t}: {}", error(t));
            }
            assert!(error(followed) > 1e-5, "w_hh {w_hh}: {}", error(followed));
        }
        let toy = Toy::default();
        for x in [-0.5, 0.0, 1.0] {
            assert_eq!(followed(&toy, &toy.states(0.0, &[x; 3])), 3, "x = {x}");
        }
        assert_eq!(followed(&toy, &toy.states(0.0, &[0.0; 50])), 50);
    }
}
