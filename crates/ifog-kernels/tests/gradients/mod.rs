//! The kernels' backward pass against central differences of the kernels' own forward pass, in f64.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::ops::Range;

use ifog_gradcheck::{Check, Report};
use ifog_kernels::{Level, Threads};

use crate::problem::{Problem, Setup};

/// Checks W, U, b, x (unless tokens are fed), h0 and c0, each to 1e-8 of its largest gradient, `sample` coordinates
/// a tensor.
///
/// Step: Richardson extrapolation of step 1e-3 leaves h⁴ f⁽⁵⁾/480 ≈ 2e-15 · f⁽⁵⁾ and rounding of about 3 ε|f|/h ≈
/// 7e-13 · |f|: with |f| < 1e3 and gradients of unit size both stay below the bound.
pub(crate) fn check(problem: &Problem, level: Level, cuts: &[usize], sample: usize) -> Report {
    let gradients = Setup::<f64>::new(problem, level, Threads::SINGLE)
        .train(cuts)
        .gradients;
    let dense = problem.tokens.is_none();
    let mut point = Vec::new();
    let mut analytic = Vec::new();
    let mut tensors: Vec<(&str, Range<usize>)> = Vec::new();
    let mut add = |name, values: &[f64], gradient: &[f64]| {
        assert_eq!(values.len(), gradient.len(), "{name}");
        if !values.is_empty() {
            tensors.push((name, point.len()..point.len() + values.len()));
            point.extend_from_slice(values);
            analytic.extend_from_slice(gradient);
        }
    };
    let params = problem.shape.split(&problem.params).unwrap();
    add("W", params.w, &gradients.w);
    add("U", params.u, &gradients.u);
    add("b", params.b, &gradients.b);
    add("x", if dense { &problem.x } else { &[] }, &gradients.x);
    add("h0", &problem.h, &gradients.h);
    add("c0", &problem.c, &gradients.c);

    let loss = |point: &[f64]| {
        let mut moved = problem.clone();
        let mut rest = point;
        let mut take = |to: &mut [f64]| {
            let (values, tail) = rest.split_at(to.len());
            to.copy_from_slice(values);
            rest = tail;
        };
        take(&mut moved.params);
        if dense {
            take(&mut moved.x);
        }
        take(&mut moved.h);
        take(&mut moved.c);
        let states = Setup::new(&moved, level, Threads::SINGLE).infer(cuts);
        moved.loss(&states)
    };
    Check::new(loss)
        .named(&tensors)
        .richardson(true)
        .sample(sample, 1)
        .run(&point, &analytic)
        .unwrap()
}
