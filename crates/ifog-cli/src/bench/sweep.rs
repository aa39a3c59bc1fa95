//! `ifog bench --sweep`: is a cell much slower at some size than at the sizes around it, and does its time grow linearly?

use std::collections::BTreeSet;
use std::time::Duration;

use ifog::bench::{Axis, Case, Effort, Machine, Pass, Series};
use ifog::{Cell, Level};
use indicatif::ProgressBar;

use super::verdict::{Verdict, judged, name};
use super::{Bench, Line, grid, measure};
use crate::failure::Failure;
use crate::output::{print_json, print_line};

/// Measures and prints every series, and then what they show together.
pub(super) fn run(args: &Bench, level: Level, machine: &mut Machine) -> Result<(), Failure> {
    let plans = plans(args);
    // Draws nothing where standard error is no terminal.
    let bar = ProgressBar::new(plans.iter().map(|(_, cases)| cases.len() as u64).sum());
    let effort = match args.quick {
        true => SMALL_EFFORT,
        false => Effort::QUICK,
    };
    let mut verdict = Verdict::default();
    for (axis, cases) in &plans {
        let series = Series::measure(*axis, cases, |case| measure(*case, level, effort, machine))?;
        verdict.add(&series);
        bar.suspend(|| match args.json {
            true => print_lines(&series, level),
            false => print_table(&series, level),
        })?;
        bar.inc(cases.len() as u64);
    }
    bar.finish_and_clear();
    match args.json {
        true => print_json(&verdict),
        false => print_line(verdict),
    }
}

/// Sizes and the axis they grow along.
fn plans(args: &Bench) -> Vec<(Axis, Vec<Case>)> {
    let cells = grid::given_or(&args.cell, &[Cell::Lstm]);
    let passes = grid::passes(args).into_iter();
    let plans =
        passes.flat_map(|pass| cells.iter().flat_map(move |&cell| series(args, pass, cell)));
    // A size alone has no neighbours.
    plans.filter(|(_, cases)| cases.len() > 1).collect()
}

/// Over H at a few batches, over B at a few widths, over T at some of both.
fn series(args: &Bench, pass: Pass, cell: Cell) -> Vec<(Axis, Vec<Case>)> {
    let case = |batch: usize, steps: usize, hidden: usize| Case {
        pass,
        cell,
        batch,
        steps,
        input: args.input.unwrap_or(hidden),
        hidden,
        threads: args.threads,
    };
    let widths = ascending(&args.hidden, &WIDTHS);
    let over_widths = |batch, steps| {
        let cases = widths.iter().map(|&hidden| case(batch, steps, hidden));
        (Axis::Hidden, cases.collect())
    };
    if pass == Pass::Step {
        return vec![over_widths(1, 1)];
    }
    let steps = args.steps.unwrap_or(STEPS);
    let batches = ascending(&args.batch, &BATCHES);
    let over_batches = |hidden| {
        let cases = batches.iter().map(|&batch| case(batch, steps, hidden));
        (Axis::Batch, cases.collect())
    };
    let over_steps = |(batch, hidden)| {
        let cases = LENGTHS.map(|steps| case(batch, steps, hidden));
        (Axis::Steps, cases.to_vec())
    };
    let largest = |given: &[usize], or| given.iter().max().copied().unwrap_or(or);
    let places: BTreeSet<_> = OVER_STEPS
        .iter()
        .map(|&(batch, hidden)| (largest(&args.batch, batch), largest(&args.hidden, hidden)))
        .collect();
    let batches_to_hold = ascending(&args.batch, &BATCHES_OVER_WIDTHS).into_iter();
    let widths_to_hold = ascending(&args.hidden, &WIDTHS_OVER_BATCHES).into_iter();
    let mut series: Vec<_> = batches_to_hold
        .map(|batch| over_widths(batch, steps))
        .collect();
    series.extend(widths_to_hold.map(over_batches));
    series.extend(places.into_iter().map(over_steps));
    series
}

fn ascending(given: &[usize], otherwise: &[usize]) -> Vec<usize> {
    let mut sizes = grid::given_or(given, otherwise);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn print_lines(series: &Series, level: Level) -> Result<(), Failure> {
    series.points().iter().try_for_each(|point| {
        let line = Line::new(point.case, level, &point.measured);
        print_json(&judged(series, point, line))
    })
}

fn print_table(series: &Series, level: Level) -> Result<(), Failure> {
    let axis = series.axis();
    print_line(format!("{} over {}", name(series), axis.name()))?;
    let axis_name = axis.name();
    print_line(format!(
        "{axis_name:>6}         time  a step, us  GFLOP/s  of it  expected  ratio  noise"
    ))?;
    for point in series.points() {
        let line = Line::new(point.case, level, &point.measured);
        let or_none = |value: Option<f64>, decimals| {
            value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
        };
        print_line(format!(
            "{:6} {:9.4} ms {:11.3} {:8.1} {:6.3} {:>9} {:>6} {:5.1}%{}",
            axis.size(&point.case),
            line.ms,
            line.step_us(),
            line.gflops,
            point.fraction(),
            or_none(point.expected, 3),
            or_none(point.beside_neighbours(), 2),
            line.spread * 100.0,
            if point.is_cliff() { "  cliff" } else { "" }
        ))?;
    }
    print_line("")
}

/// Uneven, multiples of all vectors and one beside them.
const WIDTHS: [usize; 19] = [
    8, 12, 16, 20, 31, 48, 64, 65, 96, 100, 128, 150, 200, 256, 300, 400, 513, 800, 1100,
];
const BATCHES: [usize; 18] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 17, 24, 33, 50, 65, 90, 110, 130,
];
const LENGTHS: [usize; 9] = [4, 7, 12, 20, 33, 64, 100, 150, 256];
/// The batches of series over H, the widths of series over B, and B and H of series over T.
const BATCHES_OVER_WIDTHS: [usize; 4] = [1, 8, 33, 130];
const WIDTHS_OVER_BATCHES: [usize; 4] = [31, 64, 256, 513];
const OVER_STEPS: [(usize, usize); 2] = [(1, 256), (33, 128)];
const STEPS: usize = 16;
const SMALL_EFFORT: Effort = Effort {
    runs: 3,
    run: Duration::from_millis(3),
};
