//! The products and gate functions under the cells, one thread. An element of a product is a FLOP.
#![allow(missing_docs, reason = "criterion's macros generate the entry points")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ifog::bench::fill;
use ifog_kernels::{
    Level, MatMut, MatRef, PackedMatrix, ShapeError, Threads, accumulate_outer, math,
    outer_scratch_len,
};

fn level() -> Level {
    Level::detect().unwrap_or_else(|error| panic!("{error}"))
}

/// An element of the product, by the definition.
fn element(x: &[f32], w: &[f32], k: usize, n: usize, (row, column): (usize, usize)) -> f32 {
    (0..k).fold(0.0, |sum, i| x[row * k + i].mul_add(w[i * n + column], sum))
}

/// An element of xᵀ · dy, by the definition: the last of `steps` first, the rows of a step in order.
fn gradient_element(
    (x, k): (&[f32], usize),
    (dy, n): (&[f32], usize),
    steps: usize,
    (row, column): (usize, usize),
) -> f32 {
    let batch = x.len() / k / steps;
    let order = (0..steps).rev().flat_map(|t| t * batch..(t + 1) * batch);
    order.fold(0.0, |sum, r| {
        x[r * k + row].mul_add(dy[r * n + column], sum)
    })
}

fn products(criterion: &mut Criterion) {
    let (rows, k, n, steps) = (512, 256, 1024, 8);
    let (x, w) = (fill(rows * k, 1.0), fill(k * n, 0.1));
    let mut out = vec![0.0f32; rows * n];
    let mut gradient = vec![0.0f32; k * n];
    let mut scratch = vec![0.0f32; outer_scratch_len(k, Threads::SINGLE)];
    fn shape<T>(error: ShapeError) -> T {
        panic!("{error}")
    }
    let x_matrix = MatRef::new(&x, rows, k).unwrap_or_else(shape);
    let mut packed = PackedMatrix::new(level(), k, n).unwrap_or_else(shape);
    packed.pack(MatRef::new(&w, k, n).unwrap_or_else(shape));
    let multiply = |out: &mut [f32]| {
        let to = MatMut::new(out, rows, n).unwrap_or_else(shape);
        packed.multiply(x_matrix, None, to, Threads::SINGLE);
    };
    let mut accumulate = |dy: &[f32], gradient: &mut [f32]| {
        let to = MatMut::new(gradient, k, n).unwrap_or_else(shape);
        let dy = MatRef::new(dy, rows, n).unwrap_or_else(shape);
        let operands = (x_matrix, dy, steps);
        accumulate_outer(level(), operands, to, None, &mut scratch, Threads::SINGLE);
    };
    // Once before the group: a filter may leave out either.
    multiply(&mut out);
    accumulate(&out, &mut gradient);
    if level().is_fused() {
        assert_eq!(
            out[77 * n + 5],
            element(&x, &w, k, n, (77, 5)),
            "the product is wrong"
        );
        assert_eq!(
            gradient[77 * n + 5],
            gradient_element((&x, k), (&out, n), steps, (77, 5)),
            "the gradient is wrong"
        );
    }
    let mut group = criterion.benchmark_group("product/512x256x1024");
    group.throughput(Throughput::Elements(2 * (rows * k * n) as u64));
    group.bench_function("multiply", |bencher| bencher.iter(|| multiply(&mut out)));
    group.bench_function("accumulate_outer", |bencher| {
        bencher.iter(|| accumulate(&out, &mut gradient));
    });
    group.finish();
}

fn gate_functions(criterion: &mut Criterion) {
    let values = fill(4096, 8.0);
    let mut group = criterion.benchmark_group("gate functions/4096");
    group.throughput(Throughput::Elements(values.len() as u64));
    type Case = (&'static str, fn(Level, &mut [f32]), fn(f64) -> f64);
    let functions: [Case; 3] = [
        ("exp", math::exp_slice, f64::exp),
        ("sigmoid", math::sigmoid_slice, |x| 1.0 / (1.0 + (-x).exp())),
        ("tanh", math::tanh_slice, f64::tanh),
    ];
    for (name, function, truth) in functions {
        let mut buffer = values.clone();
        function(level(), &mut buffer);
        for (x, y) in values.iter().zip(&buffer) {
            let truth = truth(f64::from(*x));
            assert!(
                (f64::from(*y) - truth).abs() <= 3e-7 * truth.abs(),
                "{name}({x}) = {y}"
            );
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                buffer.copy_from_slice(&values);
                function(level(), &mut buffer);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, products, gate_functions);
criterion_main!(benches);
