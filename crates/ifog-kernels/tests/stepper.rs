//! A step a call: the bits of a sequence, states that can be kept, wrong lengths refused.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod problem;

use std::sync::Arc;

#[cfg(feature = "std")]
use ifog_kernels::Team;
use ifog_kernels::{
    Cell, Element, Infer, Input, Level, MatMut, MatRef, PackedCell, Shape, ShapeError, Stepper,
    Threads, Uses,
};
use problem::assert_same_bits;
use proptest::prelude::*;

const USES: Uses = Uses {
    dense_input: true,
    backward: false,
};

fn numbers<E: Element>(len: usize, scale: f64) -> Vec<E> {
    (0..len)
        .map(|k| E::from_f64(((k * 7919 % 997) as f64 / 498.0 - 1.0) * scale))
        .collect()
}

fn assert_same_states<E: Element>(actual: (&[E], &[E]), expected: (&[E], &[E])) {
    let named = |(h, c)| [("h", h), ("c", c)];
    assert_same_bits(&named(actual), &named(expected), &E::NAME);
}

fn zeros<E: Element>(len: usize) -> Vec<E> {
    vec![E::ZERO; len]
}

fn cell_of<E: Element>(level: Level, shape: Shape) -> PackedCell<E> {
    let mut cell = PackedCell::new(level, shape, USES).unwrap();
    cell.pack(shape.split(&numbers(shape.param_len(), 0.4)).unwrap());
    cell
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn steps_have_the_bits_of_a_sequence(
        cell in prop::sample::select(Cell::ALL.to_vec()),
        input in 1..=40_usize,
        hidden in 1..=70_usize,
        steps in 1..=6_usize,
        double in any::<bool>(),
    ) {
        let shape = Shape::new(cell, input, hidden).unwrap();
        if double {
            steps_are_a_sequence::<f64>(shape, steps);
        } else {
            steps_are_a_sequence::<f32>(shape, steps);
        }
    }
}

fn steps_are_a_sequence<E: Element>(shape: Shape, steps: usize) {
    let (input, hidden) = (shape.input(), shape.hidden());
    let x = numbers::<E>(steps * input, 1.0);
    for level in Level::available() {
        let cell = cell_of(level, shape);
        let memory = if shape.cell().has_memory() { hidden } else { 0 };
        let (mut h, mut c) = (zeros(hidden), zeros(memory));
        let mut whole = zeros(steps * hidden);
        let mut scratch = vec![E::from_f64(f64::NAN); cell.forward_scratch_len(steps, 1)];
        cell.infer(
            Infer {
                steps,
                batch: 1,
                input: Input::Dense(MatRef::new(&x, steps, input).unwrap()),
                h: &mut h,
                c: &mut c,
                out: MatMut::new(&mut whole, steps, hidden).unwrap(),
                scratch: &mut scratch,
            },
            Threads::SINGLE,
        );
        let mut stream = cell.stepper().unwrap();
        let mut out = zeros(hidden);
        for (x, expected) in x.chunks_exact(input).zip(whole.chunks_exact(hidden)) {
            stream.step(x, &mut out).unwrap();
            let what = (shape, E::NAME, level);
            assert_same_bits(&[("out", &out)], &[("out", expected)], &what);
        }
        assert_same_states(stream.state(), (&h, &c));
    }
}

/// By a cell that was packed for tokens alone, and by one that reads vectors, too; alone and shared by a team.
#[test]
fn tokens_have_the_bits_of_a_sequence() {
    for cell in Cell::ALL {
        for (hidden, dense_input) in [(20, false), (20, true), (160, false)] {
            let shape = Shape::new(cell, 9, hidden).unwrap();
            tokens_are_a_sequence::<f32>(shape, dense_input);
            tokens_are_a_sequence::<f64>(shape, dense_input);
        }
    }
}

fn tokens_are_a_sequence<E: Element>(shape: Shape, dense_input: bool) {
    let (vocabulary, hidden) = (shape.input(), shape.hidden());
    let ids: Vec<u32> = (0..12).map(|k| k * 5 % vocabulary as u32).collect();
    #[cfg(feature = "std")]
    let team = Team::new(2, |_| {}).unwrap();
    let params = numbers(shape.param_len(), 0.4);
    let params = shape.split(&params).unwrap();
    let memory = if shape.cell().has_memory() { hidden } else { 0 };
    for level in Level::available() {
        let uses = Uses {
            dense_input,
            backward: false,
        };
        let mut cell = PackedCell::<E>::new(level, shape, uses).unwrap();
        cell.pack(params);
        let mut table = cell.token_table(vocabulary).unwrap();
        cell.fill_one_hot(params, &mut table);
        let (mut h, mut c) = (zeros(hidden), zeros(memory));
        let mut whole = zeros(ids.len() * hidden);
        let out = MatMut::new(&mut whole, ids.len(), hidden).unwrap();
        let mut scratch = vec![E::from_f64(f64::NAN); cell.forward_scratch_len(ids.len(), 1)];
        let run = Infer {
            steps: ids.len(),
            batch: 1,
            input: Input::Tokens {
                ids: &ids,
                table: &table,
            },
            h: &mut h,
            c: &mut c,
            out,
            scratch: &mut scratch,
        };
        cell.infer(run, Threads::SINGLE);
        let streams = [
            cell.stepper().unwrap(),
            #[cfg(feature = "std")]
            cell.stepper().unwrap().with_team(&team),
        ];
        for mut stream in streams {
            let mut out = zeros(hidden);
            for (id, expected) in ids.iter().zip(whole.chunks_exact(hidden)) {
                stream.step_token(&table, *id, &mut out).unwrap();
                let what = (shape, E::NAME, level);
                assert_same_bits(&[("out", &out)], &[("out", expected)], &what);
            }
            assert_same_states(stream.state(), (&h, &c));
        }
    }
}

/// A struct may own a cell and a stream through it, or the stream outlive its maker.
#[test]
fn a_stream_may_share_its_cell() {
    let shape = Shape::new(Cell::Lstm, 3, 200).unwrap();
    let cell = Arc::new(cell_of::<f32>(Level::detect().unwrap(), shape));
    let mut borrowed = cell.stepper().unwrap();
    let mut shared: Stepper<'static, f32> = PackedCell::stepper_of(&cell).unwrap();
    #[cfg(feature = "std")]
    {
        shared = shared.with_team_of(&Arc::new(Team::new(2, |_| {}).unwrap()));
    }
    let (mut a, mut b) = ([0.0; 200], [1.0; 200]);
    for x in numbers::<f32>(30, 1.0).chunks_exact(3) {
        borrowed.step(x, &mut a).unwrap();
        shared.step(x, &mut b).unwrap();
    }
    assert_eq!(a, b);
    drop(cell);
    let moved = std::thread::spawn(move || shared.state().0.to_vec());
    assert_eq!(moved.join().unwrap(), a);
}

/// More panels than threads, fewer, and as many; the weights of the first two so many that it is not tried whether sharing pays.
#[cfg(feature = "std")]
#[test]
fn a_team_gives_the_bits_of_one_thread() {
    let team = Team::new(3, |_| {}).unwrap();
    for cell in Cell::ALL {
        for (input, hidden) in [(7, 460), (5_000, 40), (129, 128)] {
            let shape = Shape::new(cell, input, hidden).unwrap();
            together_as_alone::<f32>(shape, &team);
            together_as_alone::<f64>(shape, &team);
        }
    }
}

#[cfg(feature = "std")]
fn together_as_alone<E: Element>(shape: Shape, team: &Team) {
    let (input, hidden) = (shape.input(), shape.hidden());
    for level in Level::available() {
        let cell = cell_of::<E>(level, shape);
        let (mut alone, mut together) = (
            cell.stepper().unwrap(),
            cell.stepper().unwrap().with_team(team),
        );
        let (mut a, mut b) = (zeros(hidden), zeros(hidden));
        for x in numbers(30 * input, 1.0).chunks_exact(input) {
            alone.step(x, &mut a).unwrap();
            together.step(x, &mut b).unwrap();
            assert_same_bits(&[("out", &a)], &[("out", &b)], &(shape, E::NAME, level));
        }
        assert_same_states(alone.state(), together.state());
    }
}

#[test]
fn streams_move_to_other_threads_and_teams_are_shared() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<Stepper<'static, f32>>();
    #[cfg(feature = "std")]
    is_shared::<Team>();
    is_shared::<PackedCell<f64>>();
}

#[test]
fn a_stream_goes_on_from_a_state_that_was_kept() {
    for cell in Cell::ALL {
        let shape = Shape::new(cell, 3, 20).unwrap();
        let cell = cell_of::<f32>(Level::best(), shape);
        let (mut left, mut right) = (cell.stepper().unwrap(), cell.stepper().unwrap());
        let (mut a, mut b) = ([0.0; 20], [0.0; 20]);
        for k in 0..7 {
            left.step(&[k as f32, 0.5, -0.5], &mut a).unwrap();
        }
        let (h, c) = left.state();
        right.set_state(h, c).unwrap();
        left.step(&[0.1, 0.2, 0.3], &mut a).unwrap();
        right.step(&[0.1, 0.2, 0.3], &mut b).unwrap();
        assert_eq!(a, b);
        left.reset();
        assert_eq!(left.state(), cell.stepper().unwrap().state());
    }
}

#[test]
fn wrong_lengths_are_refused_and_change_nothing() {
    let shape = Shape::new(Cell::Lstm, 2, 4).unwrap();
    let cell = cell_of::<f32>(Level::best(), shape);
    let mut stream = cell.stepper().unwrap();
    let mut out = [0.0; 4];
    stream.step(&[1.0, 2.0], &mut out).unwrap();
    let state = (stream.state().0.to_vec(), stream.state().1.to_vec());
    assert!(stream.step(&[1.0], &mut out).is_err());
    assert!(stream.step(&[1.0, 2.0], &mut out[..3]).is_err());
    assert!(stream.set_state(&[0.0; 3], &[0.0; 4]).is_err());
    assert!(stream.set_state(&[0.0; 4], &[]).is_err());
    assert_eq!(stream.state(), (&state.0[..], &state.1[..]));
    let tokens = Uses {
        dense_input: false,
        backward: false,
    };
    let cell = PackedCell::<f32>::new(Level::best(), shape, tokens).unwrap();
    let (mut stream, table) = (cell.stepper().unwrap(), cell.token_table(2).unwrap());
    let refused = stream.step(&[1.0, 2.0], &mut out);
    assert_eq!(refused, Err(ShapeError::NoDenseInput));
    let outside = ShapeError::Token {
        token: 2,
        vocabulary: 2,
    };
    assert_eq!(stream.step_token(&table, 2, &mut out), Err(outside));
    assert!(stream.step_token(&table, 1, &mut out[..3]).is_err());
    let wider = Shape::new(Cell::Lstm, 2, 5).unwrap();
    let other = cell_of::<f32>(Level::best(), wider).token_table(2).unwrap();
    let refused = stream.step_token(&other, 1, &mut out);
    assert_eq!(refused, Err(ShapeError::OtherTable));
    assert_eq!(stream.state(), (&[0.0; 4][..], &[0.0; 4][..]));
}
