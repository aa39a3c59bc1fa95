//! A call takes little of a thread's stack, also where nothing is optimised (`make unoptimised`): there an entry with all its functions
//! inlined takes up to 4 MiB, and a thread has 2.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod problem;

use std::thread;

use ifog_kernels::{Cell, Element, Level, PackedCell, Threads, Uses, math};
use problem::{Feed, Problem, Setup, Sizes};

/// What a call may take, the few KiB of its test included.
const STACK: usize = 256 << 10;

#[test]
fn calls_take_little_stack() {
    for level in Level::available() {
        let small = thread::Builder::new().stack_size(STACK);
        let calls = small.spawn(move || {
            for cell in Cell::ALL {
                // One panel, a pair, whole and narrow ones; a row, and many.
                for (hidden, batch) in [(5, 1), (16, 3), (33, 1), (40, 9), (70, 1)] {
                    calls::<f32>(level, cell, hidden, batch);
                    calls::<f64>(level, cell, hidden, batch);
                }
            }
        });
        calls.unwrap().join().unwrap();
    }
}

fn calls<E: Element>(level: Level, cell: Cell, hidden: usize, batch: usize) {
    let sizes = Sizes {
        cell,
        steps: 2,
        batch,
        input: 3,
        hidden,
        seed: 7,
    };
    let problem = Problem::random(sizes, Feed::Dense);
    let setup = Setup::<E>::new(&problem, level, Threads::SINGLE);
    setup.infer(&setup.whole());
    setup.train(&setup.whole());
    let uses = Uses {
        dense_input: true,
        backward: false,
    };
    let cell = PackedCell::<E>::new(level, problem.shape, uses).unwrap();
    let mut h = vec![E::ZERO; hidden];
    cell.stepper().unwrap().step(&[E::ZERO; 3], &mut h).unwrap();
    for function in [math::exp_slice, math::sigmoid_slice, math::tanh_slice] {
        function(level, &mut h);
    }
}
