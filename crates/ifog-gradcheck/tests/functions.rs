//! Functions whose gradients are known in closed form, sampling, and gradients that are zero.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is the failure of the test"
)]

use std::cell::RefCell;
use std::collections::BTreeSet;

use ifog_gradcheck::{Check, directional, rademacher};

#[test]
fn a_quadratic_is_exact_up_to_rounding() {
    // The difference of xᵀAx/2 has no truncation at all. With dyadic numbers and a dyadic step
    // nothing is rounded either, and the error is 0.
    let f = |x: &[f64]| x[0] * x[0] + 0.5 * x[0] * x[1] - 2.0 * x[1] * x[1];
    let x = [0.75, -0.25];
    let gradient = [2.0 * x[0] + 0.5 * x[1], 0.5 * x[0] - 4.0 * x[1]];
    let report = Check::new(f)
        .step(2.0_f64.powi(-10))
        .run(&x, &gradient)
        .unwrap();
    assert_eq!(report.worst().max_abs_error, 0.0);
    assert_eq!(report.worst().max_error, 0.0);
    assert_eq!(report.worst().scale, 1.375);
    report.assert();
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2)
        .map(|p| 100.0 * (p[1] - p[0] * p[0]).powi(2) + (1.0 - p[0]).powi(2))
        .sum()
}

fn rosenbrock_gradient(x: &[f64]) -> Vec<f64> {
    let mut g = vec![0.0; x.len()];
    for k in 0..x.len() - 1 {
        let valley = x[k + 1] - x[k] * x[k];
        g[k] += -400.0 * x[k] * valley - 2.0 * (1.0 - x[k]);
        g[k + 1] += 200.0 * valley;
    }
    g
}

#[test]
fn rosenbrock_passes_with_both_formulas() {
    let x = [-1.2, 1.0, 0.3, -0.7, 1.9];
    let g = rosenbrock_gradient(&x);
    Check::new(rosenbrock).run(&x, &g).unwrap().assert();
    // It is a polynomial of degree 4: the extrapolation has no truncation, only rounding.
    let extrapolated = Check::new(rosenbrock).richardson(true).run(&x, &g).unwrap();
    assert_eq!(extrapolated.step, 1e-3);
    assert!(extrapolated.worst().max_error < 1e-11, "{extrapolated}");
}

#[test]
fn richardson_removes_the_truncation_of_a_large_step() {
    // f = Σ exp: relative truncation h²/6 = 1.7e-5 at h = 1e-2, extrapolated h⁴/480 = 2.1e-11.
    let f = |x: &[f64]| x.iter().map(|v| v.exp()).sum();
    let x = [0.1, -0.2, 0.3];
    let g = x.map(f64::exp);
    let plain = Check::new(f).step(1e-2).run(&x, &g).unwrap();
    let extrapolated = Check::new(f)
        .step(1e-2)
        .richardson(true)
        .run(&x, &g)
        .unwrap();
    let (plain, extrapolated) = (plain.worst().max_error, extrapolated.worst().max_error);
    assert!((1.6e-5..1.8e-5).contains(&plain), "{plain:e}");
    assert!(
        (1.9e-11..2.3e-11).contains(&extrapolated),
        "{extrapolated:e}"
    );
}

/// `log Σ exp(z) − z[target]`, stabilised by the maximum.
fn cross_entropy(z: &[f64], target: usize) -> f64 {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + z.iter().map(|v| (v - max).exp()).sum::<f64>().ln() - z[target]
}

fn cross_entropy_gradient(z: &[f64], target: usize) -> Vec<f64> {
    let total: f64 = z.iter().map(|v| v.exp()).sum();
    let mut g: Vec<f64> = z.iter().map(|v| v.exp() / total).collect();
    g[target] -= 1.0;
    g
}

#[test]
fn softmax_cross_entropy_passes_by_coordinate_and_by_direction() {
    let z: Vec<f64> = (0..17).map(|k| 2.0 * f64::from(k).sin()).collect();
    let g = cross_entropy_gradient(&z, 4);
    let f = |z: &[f64]| cross_entropy(z, 4);
    Check::new(f).run(&z, &g).unwrap().assert();
    for seed in 0..8 {
        let result = directional(f, &z, &g, &rademacher(17, seed), 1e-5).unwrap();
        assert!(result.ok(1e-8), "seed {seed}: {result}");
    }
}

#[test]
fn a_direction_sees_one_wrong_coordinate() {
    let z: Vec<f64> = (0..17).map(|k| 2.0 * f64::from(k).sin()).collect();
    let mut g = cross_entropy_gradient(&z, 4);
    g[9] += 1e-3;
    let f = |z: &[f64]| cross_entropy(z, 4);
    for seed in 0..8 {
        let result = directional(f, &z, &g, &rademacher(17, seed), 1e-5).unwrap();
        assert!(!result.ok(1e-8), "seed {seed}: {result}");
        // v·δ = ±1e-3, whatever the signs.
        assert!(
            (result.abs_error - 1e-3).abs() < 1e-8,
            "seed {seed}: {result}"
        );
    }
}

#[test]
fn an_error_planted_at_one_coordinate_is_found_and_named() {
    let x: Vec<f64> = (0..30).map(|k| 0.1 + f64::from(k).cos()).collect();
    let f = |x: &[f64]| x.iter().map(|v| v.sin()).sum();
    let right: Vec<f64> = x.iter().map(|v| v.cos()).collect();
    for planted in 0..30 {
        let mut wrong = right.clone();
        wrong[planted] += 1e-6;
        let report = Check::new(f)
            .named(&[("w", 0..12), ("u", 12..30)])
            .run(&x, &wrong)
            .unwrap();
        let worst = report.worst();
        let (name, index) = if planted < 12 {
            ("w", planted)
        } else {
            ("u", planted - 12)
        };
        assert!(!report.ok());
        assert_eq!(
            (
                worst.name.as_str(),
                worst.worst_coordinate,
                worst.worst_index
            ),
            (name, planted, index)
        );
        assert_eq!(report.tensors.iter().filter(|t| !t.ok).count(), 1);
        assert_eq!(worst.analytic, wrong[planted]);
        assert!((worst.max_abs_error - 1e-6).abs() < 1e-9);
        let text = report.to_string();
        let sentence = format!("worst coordinate is {name}[{index}] (coordinate {planted})");
        assert!(text.contains(&sentence), "{text}");
    }
}

#[test]
#[should_panic(expected = "the worst coordinate is gradient[1] (coordinate 1)")]
fn assert_panics_with_the_report() {
    let f = |x: &[f64]| x[0] + 2.0 * x[1];
    Check::new(f)
        .run(&[0.3, 0.4], &[1.0, -2.0])
        .unwrap()
        .assert();
}

#[test]
fn tensors_are_normalised_one_by_one_and_keep_their_order() {
    // The second tensor's gradient is a million times smaller: an error of 1e-9 is 1e-3 of its
    // scale and is invisible at the scale of the first.
    let f = |x: &[f64]| x[0] + 1e-6 * x[1];
    let (x, wrong) = ([0.1, 0.2], [1.0, 1e-6 + 1e-9]);
    assert!(Check::new(f).run(&x, &wrong).unwrap().ok());
    let report = Check::new(f)
        .floor(0.0)
        .bound(1e-4)
        .named(&[("small", 1..2), ("large", 0..1)])
        .run(&x, &wrong)
        .unwrap();
    assert_eq!(report.worst().name, "small");
    assert!(!report.ok());
    let names: Vec<_> = report.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["small", "large"]);
}

/// The coordinates a sampled check moves, by recording what `f` is asked.
fn moved(n: usize, seed: u64) -> Vec<usize> {
    let x = [0.5; 100];
    let seen = RefCell::new(Vec::new());
    let f = |p: &[f64]| {
        seen.borrow_mut().extend(p.iter().position(|&v| v != 0.5));
        p.iter().sum()
    };
    let report = Check::new(f)
        .named(&[("a", 0..90), ("b", 90..100)])
        .sample(n, seed)
        .run(&x, &[1.0; 100])
        .unwrap();
    report.assert();
    let checked: usize = report.tensors.iter().map(|t| t.checked).sum();
    let seen = seen.into_inner();
    assert_eq!(
        seen.len(),
        2 * checked,
        "each coordinate is moved up and down once"
    );
    seen.into_iter().step_by(2).collect()
}

#[test]
fn a_sample_has_no_repetition_and_serves_every_tensor() {
    for seed in 0..50 {
        let coordinates = moved(8, seed);
        assert_eq!(coordinates.len(), 16);
        assert_eq!(BTreeSet::from_iter(&coordinates).len(), 16);
        assert_eq!(coordinates.iter().filter(|&&k| k >= 90).count(), 8);
    }
}

#[test]
fn a_sample_is_decided_by_its_seed() {
    assert_eq!(moved(8, 3), moved(8, 3));
    assert_ne!(moved(8, 3), moved(8, 4));
}

#[test]
fn a_sample_larger_than_a_tensor_is_all_of_it() {
    let coordinates = moved(1000, 0);
    assert_eq!(coordinates, Vec::from_iter(0..100));
}

#[test]
fn samples_of_many_seeds_reach_every_coordinate() {
    // A coordinate of `a` is missed by one seed with probability 82/90 and by 300 seeds with 8e-13.
    let reached: BTreeSet<usize> = (0..300).flat_map(|seed| moved(8, seed)).collect();
    assert_eq!(reached.len(), 100);
}

#[test]
fn a_gradient_that_is_zero_everywhere_passes() {
    // `unused` does not enter f; f is even in `even`, whose gradient at 0 is zero.
    let f = |x: &[f64]| 3.0 + x[1] * x[1];
    let report = Check::new(f)
        .named(&[("unused", 0..1), ("even", 1..2)])
        .run(&[0.4, 0.0], &[0.0; 2])
        .unwrap();
    report.assert();
    for tensor in &report.tensors {
        assert_eq!((tensor.scale, tensor.max_error), (0.0, 0.0));
    }
}

#[test]
fn a_zero_gradient_with_noisy_differences_passes_by_the_floor() {
    // f is 1.5 up to an ulp of 2.2e-16 either way, so |D| ≤ 4.4e-16 / 2h = 2.2e-11; the floor is
    // ε · 1.5 / h = 3.3e-11. Without it each noisy point would have error 1.
    let f = |x: &[f64]| (0.5 + x[0].sin().powi(2)) + x[0].cos().powi(2);
    let mut noisy = 0;
    for k in 0..100 {
        let report = Check::new(f).run(&[0.01 * f64::from(k)], &[0.0]).unwrap();
        report.assert();
        noisy += usize::from(report.worst().max_abs_error > 0.0);
        let without = Check::new(f).floor(0.0).run(&[0.01 * f64::from(k)], &[0.0]);
        assert_eq!(without.unwrap().ok(), report.worst().max_abs_error == 0.0);
    }
    assert!(noisy > 0, "no point had rounding: the test shows nothing");
}

#[test]
fn a_sample_of_small_gradients_is_judged_by_the_scale_of_its_tensor() {
    // One coordinate has gradient 1, the others 1e-9 with an error of 1e-10: 1e-10 of the
    // tensor, but a tenth of any sample without the large one. At least one of ten samples of one
    // coordinate misses it.
    let f = |x: &[f64]| x[0] + 1e-9 * x[1..].iter().sum::<f64>();
    let mut gradient = [1e-9 + 1e-10; 50];
    gradient[0] = 1.0;
    let mut small = 0;
    for seed in 0..10 {
        let check = Check::new(f).floor(0.0).sample(1, seed);
        let report = check.run(&[0.0; 50], &gradient).unwrap();
        report.assert();
        assert_eq!(report.worst().scale, 1.0);
        small += usize::from(report.worst().worst_coordinate != 0);
    }
    assert!(small > 0);
}

#[test]
fn a_forgotten_gradient_does_not_pass_as_zero() {
    let forgotten = |size: f64| {
        let f = move |x: &[f64]| x[0] + size * x[1].sin();
        let report = Check::new(f)
            .named(&[("used", 0..1), ("forgotten", 1..2)])
            .run(&[0.5, 0.2], &[1.0, 0.0])
            .unwrap();
        assert!(!report.ok(), "{report}");
        assert_eq!(report.worst().name, "forgotten");
        report.worst().max_error
    };
    // The scale is that of the difference, and all of it is missing.
    assert_eq!(forgotten(1e-2), 1.0);
    // Below floor / bound = 1.1e-3 the floor takes the place of the scale: 9.8e-7 / 1.1e-3.
    assert!((8e-4..1e-3).contains(&forgotten(1e-6)));
}

#[test]
fn a_function_in_f32_fails_and_is_told_why() {
    let f = |x: &[f64]| f64::from((x[0] as f32).sin() * (x[1] as f32).exp());
    let (x, y) = (0.7_f64, 0.2_f64);
    let gradient = [x.cos() * y.exp(), x.sin() * y.exp()];
    let report = Check::new(f).run(&[x, y], &gradient).unwrap();
    assert!(!report.ok());
    assert!(report.values_fit_f32);
    assert!(
        report.to_string().contains("if it computes in f32"),
        "{report}"
    );
    // The same formula in f64 is right.
    let f = |x: &[f64]| x[0].sin() * x[1].exp();
    let report = Check::new(f).run(&[x, y], &gradient).unwrap();
    report.assert();
    assert!(!report.values_fit_f32);
}

#[test]
fn the_step_follows_large_coordinates() {
    // Beside 1e12 a step of 1e-5 would vanish: the spacing of f64 there is 1.2e-4.
    let f = |x: &[f64]| (x[0] * 1e-12).sin();
    let gradient = [1e-12 * 1.0_f64.cos()];
    Check::new(f)
        .floor(0.0)
        .run(&[1e12], &gradient)
        .unwrap()
        .assert();
}

#[test]
fn overflow_of_the_error_is_not_a_pass() {
    let f = |x: &[f64]| -1e308 * x[0];
    let report = Check::new(f).run(&[0.0], &[1e308]).unwrap();
    assert_eq!(report.worst().max_error, f64::INFINITY);
    assert!(!report.ok());
}

#[test]
fn overflow_of_a_projection_is_not_a_pass() {
    let result = directional(|_| 0.0, &[0.0; 2], &[1e308; 2], &[1.0; 2], 1e-5).unwrap();
    assert_eq!(result.error(), f64::INFINITY);
    assert!(!result.ok(1e-8));
}
