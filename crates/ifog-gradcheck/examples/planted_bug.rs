//! Plants a bug in the backward pass of a minimal gated unit and shows how the check catches it.
//!
//! `cargo run -p ifog-gradcheck --example planted_bug -- lost-carry`
//!
//! Exits 0 if the bug is caught, 1 if it slips through, 2 for an unknown bug.

mod mgu;

use std::process::ExitCode;

use ifog_gradcheck::{Check, InputError};
use mgu::{Bug, Mgu};

fn main() -> Result<ExitCode, InputError> {
    let asked = std::env::args()
        .nth(1)
        .unwrap_or_else(|| Bug::ALL[0].0.to_owned());
    let Some((name, bug)) = Bug::ALL.into_iter().find(|(name, _)| *name == asked) else {
        let known = Bug::ALL.map(|(name, _)| name).join(", ");
        eprintln!("there is no bug `{asked}`; choose one of: {known}");
        return Ok(ExitCode::from(2));
    };

    let cell = Mgu::new(3, 5, 8);
    let theta = cell.point();
    let report = Check::new(|theta: &[f64]| cell.loss(theta))
        .named(&cell.tensors())
        .run(&theta, &cell.gradient(&theta, Some(bug)))?;

    println!("{report}\n");
    if report.ok() {
        println!("The bug `{name}` slipped through.");
        return Ok(ExitCode::FAILURE);
    }
    println!("The bug `{name}` was caught: the report above is what a failing test would show.");
    Ok(ExitCode::SUCCESS)
}
