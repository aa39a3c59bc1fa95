//! Which cases are measured.

use ifog::Cell;
use ifog::bench::{Case, Pass};

use super::{Bench, PassName};

/// The cases of the request: every combination of what was named, or the default grid.
pub(super) fn cases(args: &Bench) -> Vec<Case> {
    let cells = match &args.cell[..] {
        [] if args.quick => vec![Cell::Lstm, Cell::Gru],
        [] => vec![Cell::Lstm, Cell::Gru, Cell::GruAfter, Cell::Rnn],
        given => given.to_vec(),
    };
    let mut cases = Vec::new();
    for pass in passes(args) {
        let batches = match (pass, args.quick) {
            (Pass::Step, _) => vec![1],
            (_, true) => given_or(&args.batch, &[1, 32]),
            (_, false) => given_or(&args.batch, &[1, 8, 32, 128]),
        };
        let widths: &[usize] = match (pass, args.quick) {
            (Pass::Step, _) => &[16, 64, 256],
            (_, true) => &[64, 256],
            (_, false) => &[128, 256, 512],
        };
        for cell in &cells {
            for batch in &batches {
                for hidden in given_or(&args.hidden, widths) {
                    let steps = match (pass, args.steps, batch) {
                        (Pass::Step, _, _) => 1,
                        (_, Some(steps), _) => steps,
                        (_, None, 1) => 256,
                        (_, None, _) => 64,
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

/// The passes of the request, by default all.
pub(super) fn passes(args: &Bench) -> Vec<Pass> {
    let all = [PassName::Infer, PassName::Train, PassName::Step];
    let names = given_or(&args.pass, &all);
    names.into_iter().map(Pass::from).collect()
}

/// What was named, or what is taken otherwise.
pub(super) fn given_or<T: Clone>(given: &[T], otherwise: &[T]) -> Vec<T> {
    match given {
        [] => otherwise.to_vec(),
        given => given.to_vec(),
    }
}
