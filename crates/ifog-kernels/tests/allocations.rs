//! Once its buffers exist, a cell allocates nothing: packing, inference, recording, backpropagation.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;

use ifog_kernels::{
    Backprop, Cell, Infer, Input, Level, MatMut, MatRef, PackedCell, Record, Shape, Tape, Threads,
    Uses,
};

#[test]
fn no_allocation_once_the_buffers_exist() {
    assert_eq!(
        allocations(|| drop(vec![0_u8; 100])),
        1,
        "the counter counts"
    );
    for cell in Cell::ALL {
        for level in Level::available() {
            run(cell, level, false);
            run(cell, level, true);
        }
    }
}

fn run(kind: Cell, level: Level, tokens: bool) {
    // More rows than KC of the weight gradients, 512, and than a chunk of x W + b, which of an RNN are 910.
    let steps = if kind == Cell::Rnn { 190 } else { 110 };
    let (batch, input, hidden) = (5, 19, 70);
    let shape = Shape::new(kind, input, hidden).unwrap();
    let params = vec![0.01_f32; shape.param_len()];
    let mut grads = vec![0.0_f32; shape.param_len()];
    let x = vec![0.5_f32; steps * batch * input];
    let ids = vec![3_u32; steps * batch];
    let dout = vec![0.1_f32; steps * batch * hidden];
    let memory = if kind.has_memory() { batch * hidden } else { 0 };
    let (mut h, mut c) = (vec![0.0_f32; batch * hidden], vec![0.0_f32; memory]);
    let (mut dh, mut dc) = (h.clone(), c.clone());
    let mut out = vec![0.0_f32; steps * batch * hidden];
    let mut dx = vec![0.0_f32; steps * batch * input];

    let uses = Uses {
        dense_input: true,
        backward: true,
    };
    let mut cell = PackedCell::new(level, shape, uses).unwrap();
    let mut table = cell.token_table(input).unwrap();
    let mut tape = Tape::new(shape, steps, batch).unwrap();
    let threads = Threads::SINGLE;
    let mut forward_scratch = vec![0.0; cell.forward_scratch_len(steps, batch)];
    let mut backward_scratch = vec![0.0; cell.backward_scratch_len(batch, threads)];

    let streams = cell.clone();
    let mut stream = streams.stepper().unwrap();
    let counted = allocations(|| {
        for x in x.chunks_exact(input) {
            stream.step(x, &mut h[..hidden]).unwrap();
            stream.step_token(&table, 1, &mut h[..hidden]).unwrap();
        }
        stream.reset();
    });
    assert_eq!(counted, 0, "steps of {kind} at {level}");
    let counted = allocations(|| {
        let params = shape.split(&params).unwrap();
        cell.pack(params);
        cell.fill_one_hot(params, &mut table);
        let input_of = |table| {
            if tokens {
                Input::Tokens { ids: &ids, table }
            } else {
                Input::Dense(MatRef::new(&x, steps * batch, input).unwrap())
            }
        };
        cell.infer(
            Infer {
                steps,
                batch,
                input: input_of(&table),
                h: &mut h,
                c: &mut c,
                out: MatMut::new(&mut out, steps * batch, hidden).unwrap(),
                scratch: &mut forward_scratch,
            },
            threads,
        );
        cell.forward(
            Record {
                steps,
                batch,
                input: input_of(&table),
                h: &h,
                c: &c,
                tape: &mut tape,
                scratch: &mut forward_scratch,
            },
            threads,
        );
        cell.backward(
            Backprop {
                input: input_of(&table),
                tape: &mut tape,
                dout: MatRef::new(&dout, steps * batch, hidden).unwrap(),
                dh: &mut dh,
                dc: &mut dc,
                grads: shape.split_mut(&mut grads).unwrap(),
                dx: Some(MatMut::new(&mut dx, steps * batch, input).unwrap()),
                scratch: &mut backward_scratch,
            },
            threads,
        );
    });
    assert_eq!(counted, 0, "{kind} at {level}, tokens: {tokens}");
}

/// Allocations of this thread while `f` runs.
fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

thread_local! {
    static ALLOCATIONS: Counter<usize> = const { Counter::new(0) };
}

/// The system's allocator, counting calls that may take new memory.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn count() {
    // A thread that is ending has no counter any more, and nothing to count.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}
