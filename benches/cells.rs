//! Cell throughput, one thread. An element is a FLOP: criterion's Gelem/s are GFLOP/s.
#![allow(missing_docs, reason = "criterion's macros generate the entry points")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ifog_benches::Case;
use ifog_kernels::Cell;

/// (B, H) of each cell at T = 64; the first is the anchor.
const GRID: [(Cell, usize, usize); 7] = [
    (Cell::Lstm, 32, 256),
    (Cell::Lstm, 64, 512),
    (Cell::Lstm, 50, 128),
    (Cell::Gru, 32, 256),
    (Cell::GruAfter, 32, 256),
    (Cell::Rnn, 32, 256),
    (Cell::Lstm, 1, 128),
];

fn cells(criterion: &mut Criterion) {
    for (cell, batch, hidden) in GRID {
        Case::check(cell, batch, hidden);
        let mut case = Case::new(cell, 64, batch, hidden);
        let mut group = criterion.benchmark_group(case.name());
        group.throughput(Throughput::Elements(case.flops()));
        group.bench_function("infer", |bencher| bencher.iter(|| case.infer()));
        group.throughput(Throughput::Elements(3 * case.flops()));
        group.bench_function("train", |bencher| bencher.iter(|| case.train()));
        group.finish();
    }
    let mut group = criterion.benchmark_group("step");
    for hidden in [16, 64, 128, 256] {
        let mut case = Case::new(Cell::Lstm, 1, 1, hidden);
        group.throughput(Throughput::Elements(case.flops()));
        group.bench_function(case.name(), |bencher| bencher.iter(|| case.infer()));
    }
    group.finish();
}

criterion_group!(benches, cells);
criterion_main!(benches);
