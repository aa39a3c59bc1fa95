//! The edges of the calls: nothing to do, and what they refuse. The kernels run on raw pointers, so a wrong shape
//! has to stop at the door.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use ifog_kernels::{
    Backprop, Cell, Infer, Input, Level, MatMut, MatRef, PackedCell, Record, Shape, ShapeError,
    Tape, Threads, TokenTable, Uses,
};

const STEPS: usize = 3;
const BATCH: usize = 2;
const INPUT: usize = 4;
const HIDDEN: usize = 5;

/// Lengths that a call is given, right to begin with.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    steps: usize,
    batch: usize,
    input_rows: usize,
    input_width: usize,
    tokens: Option<u32>,
    h: usize,
    c: usize,
    out_rows: usize,
    scratch_short_by: usize,
    w: usize,
    u: usize,
    b: usize,
    dx_rows: usize,
    twice: bool,
}

impl Lengths {
    fn right(shape: Shape) -> Self {
        let state = BATCH * HIDDEN;
        Self {
            steps: STEPS,
            batch: BATCH,
            input_rows: STEPS * BATCH,
            input_width: INPUT,
            tokens: None,
            h: state,
            c: if shape.cell().has_memory() { state } else { 0 },
            out_rows: STEPS * BATCH,
            scratch_short_by: 0,
            w: INPUT * shape.columns(),
            u: HIDDEN * shape.columns(),
            b: shape.bias_len(),
            dx_rows: STEPS * BATCH,
            twice: false,
        }
    }
}

/// Makes one length wrong.
type Change = fn(&mut Lengths);

#[test]
fn right_lengths_run_and_wrong_ones_do_not() {
    let wrong: [(&str, Change); 14] = [
        ("steps", |l| l.steps += 1),
        ("batch", |l| l.batch += 1),
        ("input rows", |l| l.input_rows -= 1),
        ("input width", |l| l.input_width += 1),
        ("token beyond the table", |l| l.tokens = Some(INPUT as u32)),
        ("h", |l| l.h -= 1),
        ("c", |l| l.c += 1),
        ("out", |l| l.out_rows -= 1),
        ("scratch", |l| l.scratch_short_by = 1),
        ("dW", |l| l.w -= 1),
        ("dU", |l| l.u -= 1),
        ("db", |l| l.b -= 1),
        ("dx", |l| l.dx_rows -= 1),
        ("backward twice", |l| l.twice = true),
    ];
    for cell in Cell::ALL {
        let shape = Shape::new(cell, INPUT, HIDDEN).unwrap();
        let right = Lengths::right(shape);
        infer(shape, right);
        train(shape, right, right);
        let tokens = Lengths {
            tokens: Some(INPUT as u32 - 1),
            ..right
        };
        infer(shape, tokens);
        train(shape, tokens, tokens);
        for (name, change) in wrong {
            let mut lengths = right;
            change(&mut lengths);
            let panics = |call: &dyn Fn()| catch_unwind(AssertUnwindSafe(call)).is_err();
            let of_backward = ["dW", "dU", "db", "dx", "backward twice"].contains(&name);
            if !of_backward {
                assert!(panics(&|| infer(shape, lengths)), "infer: {name} of {cell}");
            }
            if name != "steps" && name != "batch" {
                assert!(
                    panics(&|| train(shape, right, lengths)),
                    "backward: {name} of {cell}"
                );
            }
            if !of_backward && name != "out" && name != "scratch" {
                assert!(
                    panics(&|| train(shape, lengths, right)),
                    "forward: {name} of {cell}"
                );
            }
        }
    }
}

#[test]
fn no_steps_leave_the_state_alone() {
    for cell in Cell::ALL {
        let shape = Shape::new(cell, INPUT, HIDDEN).unwrap();
        let empty = Lengths {
            steps: 0,
            input_rows: 0,
            out_rows: 0,
            dx_rows: 0,
            ..Lengths::right(shape)
        };
        infer(shape, empty);
        train(shape, empty, empty);
    }
}

#[test]
fn sizes_that_cannot_be() {
    let huge = usize::MAX / 8;
    for cell in Cell::ALL {
        assert!(matches!(Shape::new(cell, 0, 1), Err(ShapeError::Zero(_))));
        assert!(matches!(Shape::new(cell, 1, 0), Err(ShapeError::Zero(_))));
        assert!(matches!(
            Shape::new(cell, huge, 3),
            Err(ShapeError::TooLarge(_))
        ));
        assert!(matches!(
            Shape::new(cell, 3, huge),
            Err(ShapeError::TooLarge(_))
        ));
        let shape = Shape::new(cell, INPUT, HIDDEN).unwrap();
        assert!(matches!(
            Tape::<f32>::new(shape, huge, 9),
            Err(ShapeError::TooLarge(_))
        ));
        assert!(matches!(
            Tape::<f32>::new(shape, 0, 9),
            Err(ShapeError::Zero(_))
        ));
        let uses = Uses {
            dense_input: false,
            backward: false,
        };
        let cell = PackedCell::<f32>::new(Level::PORTABLE, shape, uses).unwrap();
        assert!(matches!(
            cell.token_table(huge),
            Err(ShapeError::TooLarge(_))
        ));
        assert!(matches!(cell.token_table(0), Err(ShapeError::Zero(_))));
        assert!(shape.split(&vec![0.0_f32; shape.param_len() - 1]).is_err());
        // Its parameters fit, its whole vectors do not.
        let uses = Uses {
            dense_input: true,
            backward: false,
        };
        for bits in [54, 57, 58] {
            if let Ok(shape) = Shape::new(shape.cell(), 1 << bits, 1) {
                let packed = PackedCell::<f32>::new(Level::best(), shape, uses);
                assert!(matches!(packed, Err(ShapeError::TooLarge(_))));
            }
        }
    }
    assert!(MatRef::new(&[0.0; 5], 2, 3).is_err());
    assert!(MatRef::with_stride(&[0.0; 8], 2, 3, 2).is_err());
    assert!(MatRef::with_stride(&[0.0; 6], 2, 3, 4).is_err());
    assert!(MatRef::with_stride(&[0.0; 7], 2, 3, 4).is_ok());
    assert!(MatMut::new(&mut [0.0; 6], huge, 9).is_err());
}

/// Few rows take x W as a product, many as a part of each step: neither may pass over weights that are not there.
#[test]
fn vectors_for_a_cell_that_was_made_for_tokens() {
    let shape = Shape::new(Cell::Lstm, INPUT, HIDDEN).unwrap();
    let uses = Uses {
        dense_input: false,
        backward: false,
    };
    let cell = PackedCell::<f32>::new(Level::best(), shape, uses).unwrap();
    for batch in [1, 40] {
        let infer = || {
            let x = vec![0.5; batch * INPUT];
            let (mut h, mut c) = (vec![0.0; batch * HIDDEN], vec![0.0; batch * HIDDEN]);
            cell.infer(
                Infer {
                    steps: 1,
                    batch,
                    input: Input::Dense(MatRef::new(&x, batch, INPUT).unwrap()),
                    h: &mut h,
                    c: &mut c,
                    out: MatMut::new(&mut vec![0.0; batch * HIDDEN], batch, HIDDEN).unwrap(),
                    scratch: &mut [],
                },
                Threads::SINGLE,
            );
        };
        assert!(std::panic::catch_unwind(infer).is_err(), "{batch} rows");
    }
}

#[test]
fn views_are_read_written_and_lent() {
    let mut data: Vec<f32> = (0..11).map(|k| k as f32).collect();
    let strided = MatRef::with_stride(&data, 3, 3, 4).unwrap();
    assert_eq!((strided.row_stride(), strided.as_slice()), (4, None));
    let dense = MatRef::new(&data[..6], 2, 3).unwrap();
    assert_eq!(dense.as_slice(), Some(&data[..6]));
    let one = MatRef::with_stride(&data, 1, 3, 4).unwrap();
    assert_eq!(one.as_slice(), Some(&data[..3]));
    let mut view = MatMut::with_stride(&mut data, 3, 3, 4).unwrap();
    view.reborrow().row_mut(2).fill(-1.0);
    assert_eq!(view.as_ref().row(2), [-1.0; 3]);
    assert_eq!(view.as_ref().row(1), [4.0, 5.0, 6.0]);
    assert_eq!(data[7..], [7.0, -1.0, -1.0, -1.0]);
    let threads = [0, 1, 3].map(|most| Threads::SINGLE.at_most(most).count());
    assert_eq!(threads, [1, 1, 1]);
    assert!(Threads::current().at_most(2).count() <= 2);
}

/// A server that has scratch for its largest batch serves the smaller ones with it: among these widths are rows of which a
/// batch leaves a part of a chunk empty.
#[test]
fn scratch_for_the_largest_batch_does_for_all() {
    let uses = Uses {
        dense_input: true,
        backward: false,
    };
    for (cell, hidden) in [(Cell::Lstm, 100), (Cell::Gru, 128), (Cell::Rnn, 31)] {
        let shape = Shape::new(cell, 8, hidden).unwrap();
        let cell = PackedCell::<f32>::new(Level::best(), shape, uses).unwrap();
        let largest = cell.forward_scratch_len(256, 50);
        for batch in 0..=50 {
            for steps in [0, 1, 3, 64, 255, 256] {
                let len = cell.forward_scratch_len(steps, batch);
                assert!(len <= largest, "{len} of {largest} for {steps} × {batch}");
            }
        }
    }
}

/// What a call works on, its lengths as they are told.
struct Buffers {
    cell: PackedCell<f32>,
    table: TokenTable<f32>,
    x: Vec<f32>,
    ids: Vec<u32>,
}

impl Buffers {
    fn new(shape: Shape, lengths: Lengths) -> Self {
        let uses = Uses {
            dense_input: true,
            backward: true,
        };
        let params = vec![0.1; shape.param_len()];
        let mut cell = PackedCell::new(Level::best(), shape, uses).unwrap();
        cell.pack(shape.split(&params).unwrap());
        Self {
            table: cell.token_table(INPUT).unwrap(),
            cell,
            x: vec![0.5; lengths.input_rows * lengths.input_width],
            ids: vec![lengths.tokens.unwrap_or(0); lengths.input_rows],
        }
    }

    fn input(&self, lengths: Lengths) -> Input<'_, f32> {
        match lengths.tokens {
            Some(_) => Input::Tokens {
                ids: &self.ids,
                table: &self.table,
            },
            None => {
                Input::Dense(MatRef::new(&self.x, lengths.input_rows, lengths.input_width).unwrap())
            }
        }
    }
}

fn infer(shape: Shape, lengths: Lengths) {
    let Lengths {
        steps,
        batch,
        out_rows,
        ..
    } = lengths;
    let buffers = Buffers::new(shape, lengths);
    let scratch = buffers.cell.forward_scratch_len(steps, batch) - lengths.scratch_short_by;
    let (mut h, mut c) = (vec![0.25; lengths.h], vec![0.25; lengths.c]);
    buffers.cell.infer(
        Infer {
            steps,
            batch,
            input: buffers.input(lengths),
            h: &mut h,
            c: &mut c,
            out: MatMut::new(&mut vec![0.0; out_rows * HIDDEN], out_rows, HIDDEN).unwrap(),
            scratch: &mut vec![0.0; scratch],
        },
        Threads::SINGLE,
    );
    assert_eq!(steps == 0, h.iter().all(|h| *h == 0.25));
}

fn train(shape: Shape, forward: Lengths, backward: Lengths) {
    let buffers = Buffers::new(shape, forward);
    let mut tape = Tape::new(shape, STEPS, BATCH).unwrap();
    let scratch = buffers
        .cell
        .forward_scratch_len(forward.steps, forward.batch);
    let mut scratch = vec![0.0; scratch];
    buffers.cell.forward(
        Record {
            steps: forward.steps,
            batch: forward.batch,
            input: buffers.input(forward),
            h: &vec![0.25; forward.h],
            c: &vec![0.25; forward.c],
            tape: &mut tape,
            scratch: &mut scratch,
        },
        Threads::SINGLE,
    );
    let buffers = Buffers::new(shape, backward);
    let scratch =
        buffers.cell.backward_scratch_len(BATCH, Threads::SINGLE) - backward.scratch_short_by;
    let mut scratch = vec![0.0; scratch];
    let mut dh = vec![0.25; backward.h];
    let mut dx = vec![0.0; backward.dx_rows * INPUT];
    for _ in 0..1 + usize::from(backward.twice) {
        buffers.cell.backward(
            Backprop {
                input: buffers.input(backward),
                tape: &mut tape,
                dout: MatRef::new(
                    &vec![0.0; backward.out_rows * HIDDEN],
                    backward.out_rows,
                    HIDDEN,
                )
                .unwrap(),
                dh: &mut dh,
                dc: &mut vec![0.25; backward.c],
                grads: ifog_kernels::ParamsMut {
                    w: &mut vec![0.0; backward.w],
                    u: &mut vec![0.0; backward.u],
                    b: &mut vec![0.0; backward.b],
                },
                dx: backward
                    .tokens
                    .is_none()
                    .then(|| MatMut::new(&mut dx, backward.dx_rows, INPUT).unwrap()),
                scratch: &mut scratch,
            },
            Threads::SINGLE,
        );
    }
    assert_eq!(backward.steps == 0, dh.iter().all(|dh| *dh == 0.25));
}

#[cfg(feature = "bytemuck")]
#[test]
fn parameters_from_bytes_need_the_right_length_and_place() {
    let shape = Shape::new(Cell::Lstm, 3, 5).unwrap();
    let flat = vec![0.25f32; shape.param_len() + 1];
    let bytes: &[u8] = bytemuck::cast_slice(&flat);
    let len = shape.param_len() * 4;
    assert!(shape.split_bytes::<f32>(&bytes[..len]).is_ok());
    let short = shape.split_bytes::<f32>(&bytes[..len - 1]).unwrap_err();
    assert_eq!(
        short.to_string(),
        "the byte slice has 719 elements, and its shape asks for 720"
    );
    let moved = shape.split_bytes::<f32>(&bytes[1..len + 1]).unwrap_err();
    assert_eq!(
        moved.to_string(),
        "the bytes do not start at a multiple of 4"
    );
}
