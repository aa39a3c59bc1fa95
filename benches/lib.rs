//! A cell with weights, data and buffers, as the benchmarks run it; one thread.

use ifog_kernels::{
    Backprop, Cell, Infer, Input, Level, MatMut, MatRef, PackedCell, Record, Shape, Tape, Threads,
    Uses,
};

/// One case of the grid: I = H.
#[derive(Debug)]
pub struct Case {
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    shape: Shape,
    cell: PackedCell<f32>,
    x: Vec<f32>,
    h: Vec<f32>,
    c: Vec<f32>,
    out: Vec<f32>,
    dx: Vec<f32>,
    gradient: Vec<f32>,
    tape: Tape<f32>,
    scratch: Vec<f32>,
}

/// Numbers in ±`scale` that repeat after a prime.
pub fn fill(len: usize, scale: f32) -> Vec<f32> {
    (0..len)
        .map(|k| ((k * 7919 % 997) as f32 / 498.0 - 1.0) * scale)
        .collect()
}

impl Case {
    /// Buffers and packed weights of a case at the level of this machine (or of `IFOG_ISA`).
    ///
    /// # Panics
    /// `IFOG_ISA` asks for a level that is not there, or a size is 0.
    pub fn new(cell: Cell, steps: usize, batch: usize, hidden: usize) -> Self {
        let shape = Shape::new(cell, hidden, hidden).unwrap_or_else(|error| panic!("{error}"));
        let level = Level::detect().unwrap_or_else(|error| panic!("{error}"));
        let uses = Uses {
            dense_input: true,
            backward: true,
        };
        let mut packed =
            PackedCell::new(level, shape, uses).unwrap_or_else(|error| panic!("{error}"));
        let weights = fill(shape.param_len(), 1.0 / (hidden as f32).sqrt());
        packed.pack(
            shape
                .split(&weights)
                .unwrap_or_else(|error| panic!("{error}")),
        );
        let (state, outputs) = (batch * hidden, steps * batch * hidden);
        let scratch = packed
            .forward_scratch_len(steps, batch)
            .max(packed.backward_scratch_len(batch, Threads::SINGLE));
        Self {
            steps,
            batch,
            shape,
            cell: packed,
            x: fill(outputs, 1.0),
            h: vec![0.0; state],
            c: vec![0.0; if cell.has_memory() { state } else { 0 }],
            out: vec![0.0; outputs],
            dx: vec![0.0; outputs],
            gradient: vec![0.0; shape.param_len()],
            tape: Tape::new(shape, steps, batch).unwrap_or_else(|error| panic!("{error}")),
            scratch: vec![0.0; scratch],
        }
    }

    /// `cell/B×T×H`.
    pub fn name(&self) -> String {
        format!(
            "{}/B{}xT{}xH{}",
            self.shape.cell(),
            self.batch,
            self.steps,
            self.shape.hidden()
        )
    }

    /// FLOPs of a forward pass.
    pub fn flops(&self) -> u64 {
        self.shape.forward_flops(self.steps, self.batch) as u64
    }

    /// A forward pass without a tape; the state is carried on.
    pub fn infer(&mut self) {
        let hidden = self.shape.hidden();
        let rows = self.steps * self.batch;
        self.cell.infer(
            Infer {
                steps: self.steps,
                batch: self.batch,
                input: Input::Dense(matrix(&self.x, rows, hidden)),
                h: &mut self.h,
                c: &mut self.c,
                out: MatMut::new(&mut self.out, rows, hidden)
                    .unwrap_or_else(|error| panic!("{error}")),
                scratch: &mut self.scratch,
            },
            Threads::SINGLE,
        );
    }

    /// A training pass: forward, and BPTT to the gradients of weights, inputs and initial state.
    pub fn train(&mut self) {
        let hidden = self.shape.hidden();
        let rows = self.steps * self.batch;
        let input = Input::Dense(matrix(&self.x, rows, hidden));
        self.h.fill(0.0);
        self.c.fill(0.0);
        let (steps, batch) = (self.steps, self.batch);
        let tape = &mut self.tape;
        let record = Record {
            steps,
            batch,
            input,
            h: &self.h,
            c: &self.c,
            tape,
            scratch: &mut self.scratch,
        };
        self.cell.forward(record, Threads::SINGLE);
        self.gradient.fill(0.0);
        let grads = self.shape.split_mut(&mut self.gradient);
        self.cell.backward(
            Backprop {
                input,
                tape: &mut self.tape,
                dout: matrix(&self.x, rows, hidden),
                dh: &mut self.h,
                dc: &mut self.c,
                grads: grads.unwrap_or_else(|error| panic!("{error}")),
                dx: Some(
                    MatMut::new(&mut self.dx, rows, hidden)
                        .unwrap_or_else(|error| panic!("{error}")),
                ),
                scratch: &mut self.scratch,
            },
            Threads::SINGLE,
        );
    }

    /// Whether what is about to be timed computes what the portable level computes, to 1e-4, on a window of 4 steps
    /// (the property tests say more).
    ///
    /// # Panics
    /// It does not.
    pub fn check(cell: Cell, batch: usize, hidden: usize) {
        let mut case = Self::new(cell, 4, batch, hidden);
        let mut reference = Self::new(cell, 4, batch, hidden);
        let mut portable = PackedCell::new(
            Level::PORTABLE,
            reference.shape,
            Uses {
                dense_input: true,
                backward: true,
            },
        )
        .unwrap_or_else(|error| panic!("{error}"));
        let weights = fill(reference.shape.param_len(), 1.0 / (hidden as f32).sqrt());
        portable.pack(
            reference
                .shape
                .split(&weights)
                .unwrap_or_else(|error| panic!("{error}")),
        );
        reference.cell = portable;
        for case in [&mut case, &mut reference] {
            case.infer();
            case.train();
        }
        for (name, ours, theirs) in [
            ("outputs", &case.out, &reference.out),
            ("dx", &case.dx, &reference.dx),
            ("gradient", &case.gradient, &reference.gradient),
        ] {
            let largest = theirs.iter().fold(1e-3f32, |max, v| max.max(v.abs()));
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * largest;
            assert!(
                ours.iter().zip(theirs).all(close),
                "{cell}: {name} differ from the portable level"
            );
        }
    }
}

fn matrix(values: &[f32], rows: usize, cols: usize) -> MatRef<'_, f32> {
    MatRef::new(values, rows, cols).unwrap_or_else(|error| panic!("{error}"))
}
