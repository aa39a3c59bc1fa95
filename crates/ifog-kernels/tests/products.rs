//! The products that the crate offers beside the cells: `PackedMatrix` and `accumulate_outer`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod problem;

use ifog_kernels::{
    Level, MatMut, MatRef, PackedMatrix, Threads, accumulate_outer, outer_scratch_len,
};
use problem::{Guarded, Numbers, assert_same_bits, cases};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(300))]

    /// The contract itself: bias first, then k in order by fused multiply-add. So the scalar loop has the same bits.
    #[test]
    fn multiply_is_the_sequential_sum(
        (rows, k, n) in (1..=20_usize, 1..=70_usize, 1..=150_usize),
        (gap, bias, transposed) in (0..=5_usize, any::<bool>(), any::<bool>()),
        seed in any::<u64>(),
    ) {
        multiply_is_the_sum((rows, k, n), gap, (bias, transposed), seed);
    }

    /// Up to 600 rows: one block of KC = 512, or two.
    #[test]
    fn accumulate_outer_is_the_sequential_sum(
        (steps, batch, m, n) in (1..=60_usize, 1..=10_usize, 1..=30_usize, 1..=100_usize),
        bias in any::<bool>(),
        seed in any::<u64>(),
    ) {
        outer_is_the_sequential_sum((steps, batch, m, n), bias, seed);
    }
}

/// A panel of which L2 does not keep the whole is multiplied in parts of k, so many rows at a time: three parts on AVX-512 and two on AVX2,
/// two times 35 rows.
#[test]
fn parts_of_k_are_one_sum() {
    multiply_is_the_sum((70, 4500, 70), 3, (true, false), 1);
}

fn multiply_is_the_sum(
    (rows, k, n): (usize, usize, usize),
    gap: usize,
    (bias, transposed): (bool, bool),
    seed: u64,
) {
    let mut numbers = Numbers(seed);
    let x = narrow(&numbers.take(rows * (k + gap), 1.0));
    let matrix = narrow(&numbers.take(k * n, 1.0));
    let bias = bias.then(|| narrow(&numbers.take(n, 1.0)));
    let (k_stride, n_stride) = if transposed { (1, k) } else { (n, 1) };
    let mut expected: Vec<f32> = Vec::new();
    for row in 0..rows {
        for column in 0..n {
            let start = bias.as_ref().map_or(0.0, |bias| bias[column]);
            let term = |sum, kk: usize| {
                x[row * (k + gap) + kk].mul_add(matrix[kk * k_stride + column * n_stride], sum)
            };
            expected.push((0..k).fold(start, term));
        }
    }
    for level in fused_levels() {
        let mut packed = PackedMatrix::new(level, k, n).unwrap();
        if transposed {
            packed.pack_transposed(MatRef::new(&matrix, n, k).unwrap());
        } else {
            packed.pack(MatRef::new(&matrix, k, n).unwrap());
        }
        let mut out = vec![f32::NAN; rows * n];
        packed.multiply(
            MatRef::with_stride(&x, rows, k, k + gap).unwrap(),
            bias.as_deref(),
            MatMut::new(&mut out, rows, n).unwrap(),
            Threads::SINGLE,
        );
        assert_same_bits(
            &[("out", &out)],
            &[("out", &expected)],
            &(level, rows, k, n),
        );
    }
}

/// More than two blocks of KC rows, which end within a step.
#[test]
fn three_blocks_are_one_sum() {
    outer_is_the_sequential_sum((110, 10, 27, 70), true, 1);
}

/// Last step first, rows ascending, onto what is there.
fn outer_is_the_sequential_sum(
    (steps, batch, m, n): (usize, usize, usize, usize),
    bias: bool,
    seed: u64,
) {
    let rows = steps * batch;
    let mut numbers = Numbers(seed);
    let left = narrow(&numbers.take(rows * m, 1.0));
    let right = narrow(&numbers.take(rows * n, 1.0));
    let start = narrow(&numbers.take((m + 1) * n, 1.0));
    let order: Vec<usize> = (0..steps)
        .rev()
        .flat_map(|t| t * batch..(t + 1) * batch)
        .collect();
    let mut expected = start.clone();
    for (at, sum) in expected.iter_mut().enumerate() {
        let (i, column) = (at / n, at % n);
        if i == m && !bias {
            continue;
        }
        let left = |row: usize| if i == m { 1.0 } else { left[row * m + i] };
        let term = |sum, row: &usize| left(*row).mul_add(right[row * n + column], sum);
        *sum = order.iter().fold(*sum, term);
    }
    for level in fused_levels() {
        let mut actual = start.clone();
        let (out, sums) = actual.split_at_mut(m * n);
        let mut scratch = Guarded::new(outer_scratch_len(m, Threads::SINGLE));
        accumulate_outer(
            level,
            (
                MatRef::new(&left, rows, m).unwrap(),
                MatRef::new(&right, rows, n).unwrap(),
                steps,
            ),
            MatMut::new(out, m, n).unwrap(),
            bias.then_some(sums),
            scratch.elements(),
            Threads::SINGLE,
        );
        let what = (level, steps, batch, m, n);
        assert_same_bits(&[("out", &actual)], &[("out", &expected)], &what);
    }
}

/// Rows, columns and panels dealt out to 2, 3 and 7 threads.
#[cfg(feature = "rayon")]
#[test]
fn threads_do_not_change_the_products() {
    for (rows, k, n) in [
        (400, 70, 90),
        (5, 900, 700),
        (3000, 5, 200),
        (2600, 700, 3),
        (600, 33, 130),
    ] {
        let mut numbers = Numbers(rows as u64);
        let x = narrow(&numbers.take(rows * k, 1.0));
        let matrix = narrow(&numbers.take(k * n, 1.0));
        let right = narrow(&numbers.take(rows * n, 1.0));
        let run = |threads: Threads| {
            let level = Level::best();
            let mut packed = PackedMatrix::new(level, k, n).unwrap();
            packed.pack(MatRef::new(&matrix, k, n).unwrap());
            let mut out = vec![0.0; rows * n];
            let x = MatRef::new(&x, rows, k).unwrap();
            packed.multiply(x, None, MatMut::new(&mut out, rows, n).unwrap(), threads);
            let mut gradient = vec![0.0; k * n];
            let mut sums = vec![0.0; n];
            let mut scratch = Guarded::new(outer_scratch_len(k, threads));
            accumulate_outer(
                level,
                (x, MatRef::new(&right, rows, n).unwrap(), rows),
                MatMut::new(&mut gradient, k, n).unwrap(),
                Some(&mut sums),
                scratch.elements(),
                threads,
            );
            [out, gradient, sums]
        };
        let single = run(Threads::SINGLE);
        for count in [2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(count)
                .build()
                .unwrap();
            let pooled = pool.install(|| run(Threads::current()));
            for (name, (pooled, single)) in ["out", "gradient", "bias"]
                .iter()
                .zip(pooled.iter().zip(&single))
            {
                assert_same_bits(&[(name, pooled)], &[(name, single)], &(count, rows, k, n));
            }
        }
    }
}

fn fused_levels() -> impl Iterator<Item = Level> {
    Level::available().filter(|level| level.is_fused())
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}
