//! The cells compute their equations: forward against a naive reference, backward against finite differences.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod gradients;
mod problem;
mod reference;

use ifog_kernels::{Cell, Level, Threads};
use problem::{Feed, Problem, Setup, Sizes, States, assert_same_bits, cases, sizes};
use proptest::prelude::*;

const FEEDS: [Feed; 3] = [Feed::Dense, Feed::OneHot, Feed::Embedding];

proptest! {
    #![proptest_config(cases(600))]

    /// The bound 1e-12: sums of at most 80 products and 12 steps, each off by about 80 · ε ≈ 2e-14.
    #[test]
    fn forward_is_the_equations(sizes in sizes()) {
        for feed in FEEDS {
            let problem = Problem::random(sizes, feed);
            let expected = reference::forward(&problem);
            for level in Level::available() {
                let setup = Setup::<f64>::new(&problem, level, Threads::SINGLE);
                let what = format!("{feed:?} {level} {sizes:?}");
                assert_close(&setup.infer(&setup.whole()), &expected, &format!("infer {what}"));
                assert_close(&setup.train(&setup.whole()).states, &expected, &format!("record {what}"));
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// Through two windows with the state carried from one to the next, on any level.
    #[test]
    fn backward_is_the_derivative(sizes in sizes()) {
        let feed = FEEDS[sizes.seed as usize % 2];
        let problem = Problem::random(sizes, feed);
        let levels: Vec<_> = Level::available().collect();
        let level = levels[(sizes.seed >> 8) as usize % levels.len()];
        let report = gradients::check(&problem, level, &problem.one_cut(sizes.seed), 10);
        prop_assert!(report.ok(), "{feed:?} {level}\n{report}");
    }

    /// The gradient of an embedded input: dW of the vectors is vectorsᵀ · d(table).
    #[test]
    fn the_gradient_of_a_token_table_is_that_of_its_vectors(sizes in sizes()) {
        let problem = Problem::random(sizes, Feed::Embedding);
        let train = |problem: &Problem| {
            let setup = Setup::<f64>::new(problem, Level::best(), Threads::SINGLE);
            setup.train(&problem.one_cut(sizes.seed)).gradients
        };
        let (tokens, dense) = (train(&problem), train(&problem.dense()));
        let vectors = &problem.tokens.as_ref().unwrap().vectors;
        let (input, columns) = (sizes.input, problem.shape.columns());
        let mut w = vec![0.0; input * columns];
        for (vector, row) in vectors.chunks_exact(input).zip(tokens.w.chunks_exact(columns)) {
            for (k, x) in vector.iter().enumerate() {
                for (to, d) in w[k * columns..][..columns].iter_mut().zip(row) {
                    *to += x * d;
                }
            }
        }
        let what = format!("{sizes:?}");
        near(&w, &dense.w, &format!("dW {what}"));
        near(&tokens.u, &dense.u, &format!("dU {what}"));
        near(&tokens.b, &dense.b, &format!("db {what}"));
        near(&tokens.h, &dense.h, &format!("dh0 {what}"));
    }
}

/// dx can be had later, too, from what is on the tape.
#[test]
fn the_tape_keeps_what_the_input_gradient_needs() {
    for cell in Cell::ALL {
        let sizes = Sizes {
            cell,
            steps: 4,
            batch: 3,
            input: 9,
            hidden: 11,
            seed: 5,
        };
        let problem = Problem::random(sizes, Feed::Dense);
        for level in Level::available() {
            let setup = Setup::<f32>::new(&problem, level, Threads::SINGLE);
            let [expected, dx] = setup.input_gradients();
            assert_same_bits(&[("dx", &dx)], &[("dx", &expected)], &(level, sizes));
        }
    }
}

/// Every coordinate of one small problem a cell; the sampled checks above go through the sizes.
#[test]
fn every_coordinate_of_the_gradient() {
    for cell in Cell::ALL {
        for feed in [Feed::Dense, Feed::OneHot] {
            let sizes = Sizes {
                cell,
                steps: 5,
                batch: 3,
                input: 4,
                hidden: 7,
                seed: 11,
            };
            let problem = Problem::random(sizes, feed);
            gradients::check(&problem, Level::best(), &[0, 2, 5], usize::MAX).assert();
        }
    }
}

/// The promise of the README: relative L2 ≤ 2e-6 of every output and gradient, here at T = 64.
#[test]
fn single_precision_follows_double_precision() {
    const BOUND: f64 = 2e-6;
    for cell in Cell::ALL {
        for (batch, input, hidden, seed) in [(1, 32, 64, 1), (5, 17, 33, 2), (8, 65, 100, 3)] {
            let sizes = Sizes {
                cell,
                steps: 64,
                batch,
                input,
                hidden,
                seed,
            };
            let problem = Problem::random(sizes, Feed::Dense);
            let level = Level::best();
            let double = Setup::<f64>::new(&problem, level, Threads::SINGLE).train(&[0, 64]);
            let single = Setup::<f32>::new(&problem, level, Threads::SINGLE).train(&[0, 64]);
            for ((name, single), (_, double)) in single.named().iter().zip(double.named()) {
                let error = relative_l2(single, double);
                assert!(error <= BOUND, "{name} is off by {error:e}: {sizes:?}");
            }
        }
    }
}

fn relative_l2(single: &[f32], double: &[f64]) -> f64 {
    let off: f64 = single
        .iter()
        .zip(double)
        .map(|(s, d)| (f64::from(*s) - d).powi(2))
        .sum();
    let size: f64 = double.iter().map(|d| d * d).sum();
    if size == 0.0 {
        off
    } else {
        (off / size).sqrt()
    }
}

#[track_caller]
fn assert_close(actual: &States<f64>, expected: &States<f64>, what: &str) {
    for ((name, actual), (_, expected)) in actual.named().iter().zip(expected.named()) {
        near(actual, expected, &format!("{name} {what}"));
    }
}

/// Within 1e-12 of the largest magnitude, or of 1.
#[track_caller]
fn near(actual: &[f64], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "length: {what}");
    let scale = expected.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
    for (k, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= 1e-12 * scale,
            "[{k}] is {a}, not {b}: {what}"
        );
    }
}
