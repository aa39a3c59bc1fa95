//! Every question that is not well posed is refused, with a sentence that says where.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is the failure of the test"
)]

use std::cell::Cell;

use ifog_gradcheck::{Check, InputError, directional};

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

fn refused<F: Fn(&[f64]) -> f64>(check: Check<F>, x: &[f64], gradient: &[f64]) -> InputError {
    check.run(x, gradient).unwrap_err()
}

#[test]
fn lengths() {
    let error = refused(Check::new(sum), &[1.0, 2.0], &[1.0]);
    assert_eq!(
        error.to_string(),
        "the gradient has 1 elements but x has 2: pass one for each coordinate of x"
    );
    assert_eq!(refused(Check::new(sum), &[], &[]), InputError::Empty);
}

#[test]
fn settings() {
    for value in [0.0, -1e-5, f64::NAN, f64::INFINITY] {
        let error = refused(Check::new(sum).step(value), &[1.0], &[1.0]);
        assert!(matches!(
            error,
            InputError::NotPositive { what: "step", .. }
        ));
        let error = refused(Check::new(sum).bound(value), &[1.0], &[1.0]);
        assert!(matches!(
            error,
            InputError::NotPositive { what: "bound", .. }
        ));
    }
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        let error = refused(Check::new(sum).floor(value), &[1.0], &[1.0]);
        assert!(matches!(error, InputError::Floor { .. }));
    }
    let error = refused(Check::new(sum).sample(0, 1), &[1.0], &[1.0]);
    assert_eq!(error, InputError::EmptySample);
}

#[test]
fn numbers_that_are_not_finite() {
    let error = refused(Check::new(sum), &[1.0, 2.0, 3.0], &[1.0, 1.0, f64::NAN]);
    assert_eq!(
        error.to_string(),
        "gradient is NaN at coordinate 2: find out where it overflows before checking it"
    );
    let error = refused(Check::new(sum), &[f64::INFINITY], &[1.0]);
    assert_eq!(
        error,
        InputError::NonFinite {
            what: "x",
            coordinate: 0,
            value: f64::INFINITY
        }
    );
    // Unsampled coordinates are looked at too.
    let check = Check::new(sum).sample(1, 0);
    let mut gradient = [1.0; 50];
    gradient[49] = f64::NAN;
    let error = refused(check, &[0.0; 50], &gradient);
    assert!(matches!(
        error,
        InputError::NonFinite { coordinate: 49, .. }
    ));
}

#[test]
fn functions_that_are_not_finite() {
    let error = refused(Check::new(|x: &[f64]| x[0].ln()), &[-1.0], &[1.0]);
    assert!(matches!(
        error,
        InputError::NonFiniteFunction { coordinate: None, value } if value.is_nan()
    ));
    // √x is finite at 0 but not to the left of it.
    let root = |x: &[f64]| x[0] + x[1].sqrt();
    let error = refused(Check::new(root), &[1.0, 0.0], &[1.0, 1.0]);
    assert!(matches!(
        error,
        InputError::NonFiniteFunction {
            coordinate: Some(1),
            ..
        }
    ));
    // Finite values whose quotient overflows.
    let steep = |x: &[f64]| if x[0] > 0.0 { 1e306 } else { -1e306 };
    let error = refused(Check::new(steep), &[0.0], &[1.0]);
    assert!(matches!(
        error,
        InputError::NonFiniteFunction { coordinate: Some(0), value } if value.is_infinite()
    ));
}

#[test]
fn a_function_that_changes_its_mind() {
    let calls = Cell::new(0.0);
    let f = |x: &[f64]| {
        calls.set(calls.get() + 1.0);
        x[0] + 1e-13 * calls.get()
    };
    let error = refused(Check::new(f), &[1.0], &[1.0]);
    assert!(matches!(error, InputError::NotDeterministic { .. }));
}

#[test]
fn a_step_lost_in_rounding() {
    let error = refused(Check::new(sum).step(1e-17), &[0.0, 1.0], &[1.0, 1.0]);
    assert_eq!(
        error,
        InputError::StepLost {
            coordinate: 1,
            value: 1.0
        }
    );
}

#[test]
fn ranges() {
    let named = |tensors: &[(&str, std::ops::Range<usize>)]| {
        refused(Check::new(sum).named(tensors), &[0.0; 4], &[1.0; 4])
    };
    assert_eq!(
        named(&[("w", 0..2), ("u", 2..5)]).to_string(),
        "tensor `u` has range 2..5 but x has 4 elements: correct the range"
    );
    assert!(matches!(
        named(&[("w", 0..2), ("u", 1..4)]),
        InputError::Overlap { name, coordinate: 1 } if name == "u"
    ));
    assert_eq!(
        named(&[("w", 0..1), ("u", 2..4)]),
        InputError::Gap { range: 1..2 }
    );
    assert_eq!(named(&[("w", 0..3)]), InputError::Gap { range: 3..4 });
    assert!(matches!(
        named(&[("w", 0..4), ("none", 4..4)]),
        InputError::EmptyRange { name, .. } if name == "none"
    ));
    #[allow(
        clippy::reversed_empty_ranges,
        reason = "the reversed range is what is refused"
    )]
    let reversed = 3..1;
    assert!(matches!(
        named(&[("w", 0..4), ("back", reversed)]),
        InputError::EmptyRange { .. }
    ));
    let error = named(&[("w", 0..4), ("far", 7..usize::MAX)]);
    assert!(matches!(error, InputError::RangeOutOfBounds { .. }));
}

#[test]
fn directions() {
    let refused =
        |x: &[f64], g: &[f64], v: &[f64], step| directional(sum, x, g, v, step).unwrap_err();
    assert_eq!(refused(&[], &[], &[], 1e-5), InputError::Empty);
    assert_eq!(
        refused(&[1.0], &[1.0], &[0.0], 1e-5),
        InputError::ZeroDirection
    );
    assert!(matches!(
        refused(&[1.0], &[1.0], &[1.0, 1.0], 1e-5),
        InputError::LengthMismatch {
            what: "direction",
            len: 2,
            expected: 1
        }
    ));
    assert!(matches!(
        refused(&[1.0], &[1.0], &[f64::NAN], 1e-5),
        InputError::NonFinite {
            what: "direction",
            ..
        }
    ));
    assert!(matches!(
        refused(&[1.0], &[1.0], &[1.0], 0.0),
        InputError::NotPositive { .. }
    ));
}
