//! A gated recurrent cell: the error that a correct gradient reaches, and planted bugs caught.
//!
//! Measured on the cell below (I = 3, H = 5, T = 8, loss 8.1, smallest tensor scale 0.15), the largest
//! normalised error by step:
//!
//! | step | `D(h)` | extrapolated |
//! |---|---|---|
//! | 1e-2 | 1.1e-4 | 2.0e-9 |
//! | 1e-3 | 1.1e-6 | **4.3e-11** |
//! | 1e-4 | 1.1e-8 | 4.4e-10 |
//! | 1e-5 | **1.4e-9** | 3.4e-9 |
//! | 1e-6 | 1.3e-8 | 1.3e-8 |
//!
//! Truncation falls as h² on the left, h⁴ on the right, until rounding rises as 1/h. The bounds below
//! leave a factor of about 3 over the figures for the `exp` and `tanh` of other systems.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is the failure of the test"
)]

#[path = "../examples/mgu/mod.rs"]
mod mgu;

use ifog_gradcheck::{Check, Report, directional, rademacher};
use mgu::{Bug, Mgu};

fn check(step: f64, richardson: bool, planted: Option<Bug>) -> Report {
    let cell = Mgu::new(3, 5, 8);
    let theta = cell.point();
    Check::new(|theta: &[f64]| cell.loss(theta))
        .named(&cell.tensors())
        .step(step)
        .richardson(richardson)
        .run(&theta, &cell.gradient(&theta, planted))
        .unwrap()
}

fn floor(step: f64, richardson: bool) -> f64 {
    check(step, richardson, None).worst().max_error
}

#[test]
fn a_correct_gradient_is_far_below_the_bound() {
    let report = check(1e-5, false, None);
    report.assert();
    // Bound 1e-8; measured 1.4e-9 and 4.3e-11.
    assert!(report.worst().max_error < 4e-9, "{report}");
    assert!(floor(1e-3, true) < 1.5e-10);
    // The rounding of the whole cell stays near that of one perfectly rounded value of f: measured 1.7 of it.
    for tensor in &report.tensors {
        assert!(tensor.max_abs_error < 5.0 * tensor.floor, "{report}");
    }
}

#[test]
fn the_default_steps_are_near_the_best() {
    let central = floor(1e-5, false);
    assert!(central < floor(1e-3, false) && central < floor(1e-7, false));
    let extrapolated = floor(1e-3, true);
    assert!(extrapolated < floor(1e-1, true) && extrapolated < floor(1e-5, true));
}

#[test]
fn every_planted_bug_is_caught_seven_decades_above_the_bound() {
    // Measured: 1.1, 0.52, 0.53, 0.38, 0.88, in the order of `Bug::ALL`.
    for (name, bug) in Bug::ALL {
        let report = check(1e-5, false, Some(bug));
        assert!(!report.ok(), "{name} slipped through");
        assert!(report.worst().max_error > 0.1, "{name}:\n{report}");
    }
}

#[test]
fn the_report_tells_where_to_look() {
    let failed = |bug| -> Vec<String> {
        let report = check(1e-5, false, Some(bug));
        let rows = report.tensors.into_iter().filter(|t| !t.ok);
        rows.map(|t| t.name).collect()
    };
    // Step 0 left out of the weights: the gradients of the state and of the inputs are right.
    let weights = ["Wf", "Uf", "bf", "Wh", "Uh", "bh"];
    assert_eq!(failed(Bug::FirstStepSkipped), weights);
    // A mean for a sum: all of them, each by the factor 1/T.
    assert_eq!(failed(Bug::MeanForSum).len(), 8);
    let text = check(1e-5, false, Some(Bug::MeanForSum)).to_string();
    assert!(text.contains("their ratio 0.125000"), "{text}");
}

#[test]
fn a_direction_catches_every_planted_bug_too() {
    let cell = Mgu::new(3, 5, 8);
    let theta = cell.point();
    let along = |gradient: &[f64]| {
        let direction = rademacher(theta.len(), 1);
        directional(|theta| cell.loss(theta), &theta, gradient, &direction, 1e-5).unwrap()
    };
    let right = along(&cell.gradient(&theta, None));
    assert!(right.ok(1e-8), "{right}");
    // The smallest is 1.1e-3, of the gate's second use.
    for (name, bug) in Bug::ALL {
        let wrong = along(&cell.gradient(&theta, Some(bug)));
        assert!(wrong.error() > 1e-4, "{name}: {wrong}");
    }
}
