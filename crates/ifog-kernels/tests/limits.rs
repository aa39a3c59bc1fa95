//! The edges of the calls: nothing to do, and what they refuse. The kernels run on raw pointers, so a wrong shape
//! has to stop at the door.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use ifog_kernels::{
    Backprop, Cell, Infer, Input, Level, MatMut, MatRef, PackedCell, PackedMatrix, Params, Record,
    Shape, ShapeError, Tape, Threads, TokenTable, Uses, accumulate_outer, outer_scratch_len,
};

const STEPS: usize = 3;
const BATCH: usize = 2;
const INPUT: usize = 4;
const HIDDEN: usize = 5;

/// Lengths that a call is given, and what else may be wrong with it. Right to begin with.
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
    uses: Uses,
    other_table: bool,
    other_tape: bool,
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
            uses: Uses {
                dense_input: true,
                backward: true,
            },
            other_table: false,
            other_tape: false,
        }
    }
}

/// Makes one thing wrong.
type Change = fn(&mut Lengths);

/// What infer, forward and backward say then; none: it is not wrong for them.
type Refusals = [Option<&'static str>; 3];

#[test]
fn right_lengths_run_and_wrong_ones_do_not() {
    let all = |says| [Some(says); 3];
    let ahead = |says| [Some(says), Some(says), None];
    let back = |says| [None, None, Some(says)];
    let input = "shape of the input";
    let dense = "without Uses::dense_input";
    let wrong: [(Change, Refusals); 20] = [
        (|l| l.steps += 1, ahead(input)),
        (|l| l.batch += 1, ahead(input)),
        (|l| l.input_rows -= 1, all(input)),
        (|l| l.input_width += 1, all(input)),
        (
            |l| (l.tokens, l.input_rows) = (Some(0), l.input_rows - 1),
            all("number of tokens"),
        ),
        (
            |l| l.tokens = Some(INPUT as u32),
            all("token 4 is outside a vocabulary of 4"),
        ),
        (
            |l| (l.tokens, l.other_table) = (Some(0), true),
            all("the token table is for another cell"),
        ),
        (|l| l.h -= 1, all("lengths of h and c")),
        (|l| l.c += 1, all("lengths of h and c")),
        (
            |l| l.out_rows -= 1,
            [Some("shape of out"), None, Some("shape of dout")],
        ),
        (
            |l| l.scratch_short_by = 1,
            [
                Some("elements where"),
                Some("elements where"),
                Some("elements where"),
            ],
        ),
        (
            |l| (l.steps, l.input_rows) = (l.steps + 1, l.input_rows + BATCH),
            [
                Some("shape of out"),
                Some("a window of 4 × 2 does not fit the tape"),
                Some(input),
            ],
        ),
        (
            |l| l.other_tape = true,
            [None, Some("shape of the tape"), Some("shape of the tape")],
        ),
        (|l| l.twice = true, back("the tape holds no forward pass")),
        (|l| l.w -= 1, back("length of dW")),
        (|l| l.u -= 1, back("length of dU")),
        (|l| l.b -= 1, back("length of db")),
        (|l| l.dx_rows -= 1, back("shape of dx")),
        (|l| l.uses.dense_input = false, all(dense)),
        (
            |l| l.uses.backward = false,
            back("the cell was made without Uses::backward"),
        ),
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
        for (change, refusals) in wrong {
            let mut lengths = right;
            change(&mut lengths);
            let calls: [&dyn Fn(); 3] = [
                &|| infer(shape, lengths),
                &|| train(shape, lengths, right),
                &|| train(shape, right, lengths),
            ];
            for (call, refusal) in calls.into_iter().zip(refusals) {
                if let Some(says) = refusal {
                    refused(call, says, &(cell, lengths));
                }
            }
        }
    }
}

/// The doors beside those of a sequence.
#[test]
fn wrong_shapes_stop_at_every_door() {
    let shape = Shape::new(Cell::Gru, INPUT, HIDDEN).unwrap();
    let columns = shape.columns();
    let right = Lengths::right(shape);
    let buffers = |change: Change| {
        let mut lengths = right;
        change(&mut lengths);
        Buffers::new(shape, lengths)
    };
    let pack = |w: usize, u: usize, b: usize| {
        let (w, u, b) = (vec![0.0; w], vec![0.0; u], vec![0.0; b]);
        let params = Params {
            w: &w,
            u: &u,
            b: &b,
        };
        buffers(|_| ()).cell.pack(params);
    };
    let one_hot = |w: usize, other: Change| {
        let params = Params {
            w: &vec![0.0; w],
            u: &[],
            b: &[],
        };
        let cell = buffers(|_| ()).cell;
        cell.fill_one_hot(params, &mut buffers(other).table);
    };
    let table = |cell: Change, of: Change, (rows, cols): (usize, usize)| {
        let inputs = vec![0.0; rows * cols];
        let inputs = MatRef::new(&inputs, rows, cols).unwrap();
        let (cell, mut table) = (buffers(cell).cell, buffers(of).table);
        cell.fill_table(inputs, &mut table, Threads::SINGLE);
    };
    let input_gradient = |change: Change, gates: (usize, usize), dx: (usize, usize)| {
        let (from, mut to) = (vec![0.0; gates.0 * gates.1], vec![0.0; dx.0 * dx.1]);
        let from = MatRef::new(&from, gates.0, gates.1).unwrap();
        let to = MatMut::new(&mut to, dx.0, dx.1).unwrap();
        let cell = buffers(change).cell;
        cell.input_gradient(from, to, Threads::SINGLE);
    };
    let (w, u, b) = (right.w, right.u, right.b);
    let (to_pack, of_product) = ("shape of the matrix to pack", "shapes of x and out");
    let (of_out, of_steps) = ("shape of out", "steps in 6 rows");
    let (no_change, other): (Change, Change) = (|_| (), |l| l.other_table = true);
    let doors: [(&str, &dyn Fn()); 30] = [
        (to_pack, &|| pack_matrix((4, 5), false)),
        (to_pack, &|| pack_matrix((3, 4), false)),
        (to_pack, &|| pack_matrix((3, 5), true)),
        (to_pack, &|| pack_matrix((5, 4), true)),
        (of_product, &|| multiply((2, 4), 5, (2, 5))),
        (of_product, &|| multiply((2, 3), 5, (1, 5))),
        (of_product, &|| multiply((2, 3), 5, (2, 6))),
        ("the bias has 5 columns", &|| multiply((2, 3), 4, (2, 5))),
        ("the bias has 5 columns", &|| multiply((2, 3), 6, (2, 5))),
        ("rows of left and right", &|| outer(5, 2, (3, 4), 4, 0)),
        (of_out, &|| outer(6, 2, (2, 4), 4, 0)),
        (of_out, &|| outer(6, 2, (3, 5), 4, 0)),
        ("length of the bias", &|| outer(6, 2, (3, 4), 3, 0)),
        ("length of the bias", &|| outer(6, 2, (3, 4), 5, 0)),
        (of_steps, &|| outer(6, 0, (3, 4), 4, 0)),
        (of_steps, &|| outer(6, 4, (3, 4), 4, 0)),
        ("scratch of the outer", &|| outer(6, 2, (3, 4), 4, 1)),
        ("length of W", &|| pack(w - 1, u, b)),
        ("length of U", &|| pack(w, u + 1, b)),
        ("length of b", &|| pack(w, u, b - 1)),
        ("length of W", &|| one_hot(w + columns, no_change)),
        ("table is for another cell", &|| one_hot(w, other)),
        ("shape of the inputs", &|| {
            table(no_change, no_change, (INPUT - 1, INPUT));
        }),
        ("shape of the inputs", &|| {
            table(no_change, no_change, (INPUT, INPUT + 1));
        }),
        ("table is for another cell", &|| {
            table(no_change, other, (INPUT, INPUT));
        }),
        ("without Uses::dense_input", &|| {
            table(|l| l.uses.dense_input = false, no_change, (INPUT, INPUT));
        }),
        (of_product, &|| {
            input_gradient(no_change, (2, columns + 1), (2, INPUT));
        }),
        (of_product, &|| {
            input_gradient(no_change, (2, columns), (3, INPUT));
        }),
        ("Uses::backward or", &|| {
            input_gradient(|l| l.uses.backward = false, (2, columns), (2, INPUT));
        }),
        ("or Uses::dense_input", &|| {
            input_gradient(|l| l.uses.dense_input = false, (2, columns), (2, INPUT));
        }),
    ];
    for (k, (says, call)) in doors.into_iter().enumerate() {
        refused(call, says, &k);
    }
    pack_matrix((3, 5), false);
    pack_matrix((5, 3), true);
    multiply((2, 3), 5, (2, 5));
    outer(6, 2, (3, 4), 4, 0);
    pack(w, u, b);
    one_hot(w, no_change);
    table(no_change, no_change, (INPUT, INPUT));
    input_gradient(no_change, (2, columns), (2, INPUT));
}

fn pack_matrix((rows, cols): (usize, usize), transposed: bool) {
    let data = vec![0.0_f32; rows * cols];
    let matrix = MatRef::new(&data, rows, cols).unwrap();
    let mut packed = PackedMatrix::new(Level::best(), 3, 5).unwrap();
    if transposed {
        packed.pack_transposed(matrix);
    } else {
        packed.pack(matrix);
    }
}

fn multiply(x: (usize, usize), bias: usize, out: (usize, usize)) {
    let (from, mut to) = (vec![0.0_f32; x.0 * x.1], vec![0.0; out.0 * out.1]);
    let packed = PackedMatrix::new(Level::best(), 3, 5).unwrap();
    packed.multiply(
        MatRef::new(&from, x.0, x.1).unwrap(),
        Some(&vec![0.0; bias]),
        MatMut::new(&mut to, out.0, out.1).unwrap(),
        Threads::SINGLE,
    );
}

/// left `[rows, 3]`, right `[6, 4]`.
fn outer(rows: usize, steps: usize, out: (usize, usize), bias: usize, short_by: usize) {
    let (left, right) = (vec![0.0_f32; rows * 3], vec![0.0; 6 * 4]);
    let mut to = vec![0.0; out.0 * out.1];
    let scratch = outer_scratch_len(3, Threads::SINGLE) - short_by;
    accumulate_outer(
        Level::best(),
        (
            MatRef::new(&left, rows, 3).unwrap(),
            MatRef::new(&right, 6, 4).unwrap(),
            steps,
        ),
        MatMut::new(&mut to, out.0, out.1).unwrap(),
        Some(&mut vec![0.0; bias]),
        &mut vec![0.0; scratch],
        Threads::SINGLE,
    );
}

/// The call panics with a message that contains `says`.
#[track_caller]
fn refused(call: &dyn Fn(), says: &str, what: &dyn std::fmt::Debug) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(call)) else {
        panic!("not refused with {says:?}: {what:?}");
    };
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap();
    assert!(text.contains(says), "{text:?}, not {says:?}: {what:?}");
}

/// Rows without columns cost nothing, however many they are.
#[test]
fn a_product_of_no_columns_ends() {
    let nothing = MatRef::<f32>::new(&[], usize::MAX, 0).unwrap();
    accumulate_outer(
        Level::best(),
        (nothing, nothing, 1),
        MatMut::new(&mut [], 0, 0).unwrap(),
        None,
        &mut vec![0.0; outer_scratch_len(0, Threads::SINGLE)],
        Threads::SINGLE,
    );
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
        let packed = |shape: Shape| {
            let params = vec![0.1; shape.param_len()];
            let mut cell = PackedCell::new(Level::best(), shape, lengths.uses).unwrap();
            cell.pack(shape.split(&params).unwrap());
            cell
        };
        let of_table = if lengths.other_table {
            wider(shape)
        } else {
            shape
        };
        Self {
            cell: packed(shape),
            table: packed(of_table).token_table(INPUT).unwrap(),
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

/// Another shape.
fn wider(shape: Shape) -> Shape {
    Shape::new(shape.cell(), shape.input(), shape.hidden() + 1).unwrap()
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
    let tape = |other: bool| {
        let shape = if other { wider(shape) } else { shape };
        Tape::new(shape, STEPS, BATCH).unwrap()
    };
    let mut recorded = tape(forward.other_tape);
    let scratch = buffers
        .cell
        .forward_scratch_len(forward.steps, forward.batch)
        - forward.scratch_short_by;
    let mut scratch = vec![0.0; scratch];
    buffers.cell.forward(
        Record {
            steps: forward.steps,
            batch: forward.batch,
            input: buffers.input(forward),
            h: &vec![0.25; forward.h],
            c: &vec![0.25; forward.c],
            tape: &mut recorded,
            scratch: &mut scratch,
        },
        Threads::SINGLE,
    );
    if backward.other_tape {
        recorded = tape(true);
    }
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
                tape: &mut recorded,
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
