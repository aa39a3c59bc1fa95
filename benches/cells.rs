//! Cell throughput, one thread. An element is a FLOP: criterion's Gelem/s are GFLOP/s.
#![allow(missing_docs, reason = "criterion's macros generate the entry points")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ifog::bench::{Case, Pass, Workload};
use ifog::{Cell, Level};

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
        let case = Case {
            pass: Pass::Infer,
            cell,
            batch,
            steps: 64,
            input: hidden,
            hidden,
            threads: 1,
        };
        let name = format!("{cell}/B{batch}xT64xH{hidden}");
        for pass in [Pass::Infer, Pass::Train] {
            run(criterion, &name, Case { pass, ..case });
        }
    }
    for hidden in [16, 64, 128, 256] {
        let case = Case {
            pass: Pass::Step,
            cell: Cell::Lstm,
            batch: 1,
            steps: 1,
            input: hidden,
            hidden,
            threads: 1,
        };
        run(criterion, &format!("lstm/H{hidden}"), case);
    }
}

/// Checked first, then timed.
fn run(criterion: &mut Criterion, name: &str, case: Case) {
    let level = Level::detect().unwrap_or_else(|error| panic!("{error}"));
    let mut workload = Workload::new(case, level).unwrap_or_else(|error| panic!("{error}"));
    workload.check().unwrap_or_else(|error| panic!("{error}"));
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(case.flops() as u64));
    group.bench_function(case.pass.name(), |bencher| {
        bencher.iter_custom(|repeats| workload.time(repeats));
    });
    group.finish();
}

criterion_group!(benches, cells);
criterion_main!(benches);
