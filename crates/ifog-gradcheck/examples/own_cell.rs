//! Checks the hand-written gradient of a cell of one's own: a minimal gated unit.
//!
//! `cargo run -p ifog-gradcheck --example own_cell`

mod mgu;

use ifog_gradcheck::{Check, InputError, directional, rademacher};
use mgu::Mgu;

fn main() -> Result<(), InputError> {
    let cell = Mgu::new(3, 5, 8);
    let theta = cell.point();
    let gradient = cell.gradient(&theta, None);
    let loss = |theta: &[f64]| cell.loss(theta);

    println!("Every coordinate, central differences:\n");
    let report = Check::new(loss)
        .named(&cell.tensors())
        .run(&theta, &gradient)?;
    println!("{report}\n");
    report.assert();

    println!(
        "Four coordinates of each tensor, extrapolated, with a bound a hundred times tighter:\n"
    );
    let report = Check::new(loss)
        .named(&cell.tensors())
        .sample(4, 2016)
        .richardson(true)
        .bound(1e-10)
        .run(&theta, &gradient)?;
    println!("{report}\n");
    report.assert();

    println!("The whole gradient in two evaluations:\n");
    let direction = rademacher(theta.len(), 1);
    let projection = directional(loss, &theta, &gradient, &direction, 1e-5)?;
    println!("{projection}");
    assert!(projection.ok(1e-8), "{projection}");
    Ok(())
}
