//! Which cases are measured, and whether one falls out of line.

use ifog::Cell;
use ifog::bench::{Case, Pass};

use super::{Bench, Line, PassName};
use crate::failure::Failure;
use crate::output::print_line;

/// The cases of the request: every combination of what was named, or the default grid.
pub(super) fn cases(args: &Bench) -> Vec<Case> {
    let or = |given: &[usize], default: &[usize]| match given {
        [] => default.to_vec(),
        given => given.to_vec(),
    };
    let passes = match &args.pass[..] {
        [] => vec![PassName::Infer, PassName::Train, PassName::Step],
        given => given.to_vec(),
    };
    let cells = match &args.cell[..] {
        [] if args.quick || args.sweep => vec![Cell::Lstm, Cell::Gru],
        [] => vec![Cell::Lstm, Cell::Gru, Cell::GruAfter, Cell::Rnn],
        given => given.to_vec(),
    };
    let mut cases = Vec::new();
    for pass in passes.into_iter().map(Pass::from) {
        let batches: &[usize] = match (pass, args.sweep, args.quick) {
            (Pass::Step, _, _) => &[1],
            (_, true, _) => &SWEEP_BATCHES,
            (_, _, true) => &[1, 32],
            (_, _, false) => &[1, 8, 32, 128],
        };
        let widths: &[usize] = match (pass, args.sweep, args.quick) {
            (_, true, _) => &SWEEP_WIDTHS,
            (Pass::Step, _, _) => &[16, 64, 256],
            (_, _, true) => &[64, 256],
            (_, _, false) => &[128, 256, 512],
        };
        let batches = if pass == Pass::Step {
            vec![1]
        } else {
            or(&args.batch, batches)
        };
        for cell in &cells {
            for batch in &batches {
                for hidden in or(&args.hidden, widths) {
                    let steps = match (pass, args.steps, args.sweep) {
                        (Pass::Step, _, _) => 1,
                        (_, Some(steps), _) => steps,
                        (_, None, true) => SWEEP_STEPS,
                        (_, None, false) => {
                            if *batch == 1 {
                                256
                            } else {
                                64
                            }
                        }
                    };
                    cases.push(Case {
                        pass,
                        cell: *cell,
                        batch: *batch,
                        steps,
                        input: args.input.unwrap_or(hidden),
                        hidden,
                        threads: args.threads,
                    });
                }
            }
        }
    }
    cases
}

/// Names the cases whose fraction of the limit is below [`CLIFF`] of what their neighbours in width would let one expect.
pub(super) fn report_cliffs(lines: &[Line]) -> Result<(), Failure> {
    let mut worst = f64::INFINITY;
    for window in lines.windows(3) {
        let [left, line, right] = window else {
            continue;
        };
        let series = |line: &Line| (line.case.clone(), line.cell.clone(), line.batch);
        if series(left) != series(line) || series(line) != series(right) {
            continue;
        }
        let place = (line.hidden - left.hidden) as f64 / (right.hidden - left.hidden) as f64;
        let expected = left.roofline_fraction * (1.0 - place) + right.roofline_fraction * place;
        let ratio = line.roofline_fraction / expected;
        worst = worst.min(ratio);
        if ratio < CLIFF {
            print_line(format!(
                "cliff: {} {} B={} H={}: {ratio:.2} of its neighbours",
                line.case, line.cell, line.batch, line.hidden
            ))?;
        }
    }
    print_line(format!(
        "worst case beside its neighbours in width: {worst:.2}"
    ))
}

const SWEEP_BATCHES: [usize; 12] = [1, 2, 3, 5, 7, 8, 13, 17, 33, 50, 65, 130];
const SWEEP_WIDTHS: [usize; 19] = [
    8, 12, 16, 20, 31, 48, 64, 65, 96, 100, 128, 150, 200, 256, 300, 400, 513, 800, 1100,
];
const SWEEP_STEPS: usize = 16;
/// Below it a case is named.
const CLIFF: f64 = 0.8;
