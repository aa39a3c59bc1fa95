//! `ifog gradcheck`.

use ifog::Cell;
use ifog::gradcheck::{GradCase, GradInput, GradLoss, TensorCheck, check};
use serde::Serialize;

use crate::args::Gradcheck;
use crate::failure::Failure;
use crate::level::level;
use crate::output::{print_json, print_line};

/// A line of `--json` for a tensor.
#[derive(Serialize)]
struct Line<'a> {
    cell: &'a str,
    layers: usize,
    input: &'a str,
    loss: &'a str,
    tensor: &'a str,
    max_error: f64,
    bound: f64,
    ok: bool,
}

/// The last line of `--json`: `worst` is the largest error of all, as a share of its bound's scale.
#[derive(Default, Serialize)]
struct Total {
    ok: bool,
    tensors: usize,
    worst: f64,
}

/// Checks every tensor of every case asked for.
pub(crate) fn run(args: &Gradcheck) -> Result<(), Failure> {
    level()?;
    let mut total = Total {
        ok: true,
        ..Total::default()
    };
    for case in cases(args) {
        for tensor in check(&case)? {
            total.ok &= tensor.ok;
            total.tensors += 1;
            total.worst = total.worst.max(tensor.max_error);
            print(args, &case, &tensor)?;
        }
    }
    if args.json {
        print_json(&total)?;
    } else {
        print_line(format!(
            "{} tensors, worst error {:.1e} of the largest gradient: {}",
            total.tensors,
            total.worst,
            if total.ok {
                "all within their bounds"
            } else {
                "NOT all within their bounds"
            }
        ))?;
    }
    if total.ok {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}

/// Cells × layers × inputs × losses.
fn cases(args: &Gradcheck) -> Vec<GradCase> {
    let cells = args.cell.map_or(Cell::ALL.to_vec(), |cell| vec![cell]);
    let layers = args
        .layers
        .map_or(vec![1, 2, 3], |layers| vec![usize::from(layers)]);
    let mut cases = Vec::new();
    for &cell in &cells {
        for &layers in &layers {
            for input in GradInput::ALL {
                for loss in GradLoss::ALL {
                    cases.push(GradCase {
                        cell,
                        layers,
                        input,
                        loss,
                        seed: args.seed,
                    });
                }
            }
        }
    }
    cases
}

fn print(args: &Gradcheck, case: &GradCase, tensor: &TensorCheck) -> Result<(), Failure> {
    let line = Line {
        cell: case.cell.name(),
        layers: case.layers,
        input: case.input.name(),
        loss: case.loss.name(),
        tensor: &tensor.tensor,
        max_error: tensor.max_error,
        bound: tensor.bound,
        ok: tensor.ok,
    };
    if args.json {
        return print_json(&line);
    }
    print_line(format!(
        "{:<9} {} layer(s)  {:<9}  {:<13}  {:<18} {:.1e} of {:.0e}  {}",
        line.cell,
        line.layers,
        line.input,
        line.loss,
        line.tensor,
        line.max_error,
        line.bound,
        if line.ok { "ok" } else { "WRONG" }
    ))
}
