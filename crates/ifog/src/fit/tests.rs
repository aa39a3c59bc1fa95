#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::Cell;
use crate::config::NetworkConfig;
use crate::init::{Init, initial_parameters};
use crate::loss::squared_error;
use crate::safetensors::Metadata;

const STEPS: usize = 6;
const BATCH: usize = 3;

fn layout(input: InputConfig) -> Layout {
    Layout::new(NetworkConfig {
        cell: Cell::Gru,
        input,
        hidden: 5,
        layers: 2,
        outputs: 4,
    })
    .unwrap()
}

fn dense() -> Layout {
    layout(InputConfig::Dense { width: 2 })
}

fn fitter(layout: &Layout, config: FitConfig) -> Result<(Vec<f32>, Fitter), FitError> {
    let parameters = initial_parameters(layout, Init::FanIn, 1.0, 1);
    let fitter = Fitter::new(layout, &parameters, (STEPS, BATCH), config, Threads::SINGLE)?;
    Ok((parameters, fitter))
}

/// Every setting that a state must carry on.
fn everything() -> FitConfig {
    FitConfig {
        clip: ClipRule::GlobalNorm(0.3),
        dropout: 0.2,
        dropout_recurrent: 0.2,
        ema: 0.9,
        ..FitConfig::default()
    }
}

fn step(fitter: &mut Fitter, parameters: &mut [f32], k: u64) -> Result<Fit, Diverged> {
    let value = |n: usize| ((n as f32 + 3.0 * k as f32) * 0.7).sin();
    let x: Vec<f32> = (0..STEPS * BATCH * 2).map(value).collect();
    let y: Vec<f32> = (0..STEPS * BATCH * 4).map(|n| value(n + 9)).collect();
    let loss = |_, outputs: &mut [f32]| squared_error(outputs, &y, y.len());
    fitter.step(parameters, 0.02, Inputs::Vectors(&x), STEPS, loss)
}

#[test]
fn a_regression_goes_on_to_the_same_bits() {
    let layout = dense();
    let (mut parameters, mut whole) = fitter(&layout, everything()).unwrap();
    let mut halfway = Vec::new();
    for k in 0..20 {
        if k == 10 {
            let note = [("note".to_owned(), "ten".to_owned())];
            halfway = whole.state(&parameters, note.into()).unwrap();
        }
        step(&mut whole, &mut parameters, k).unwrap();
    }
    let (mut again, mut second) = fitter(&layout, everything()).unwrap();
    let kept = second.restore(&mut again, &halfway).unwrap();
    assert_eq!((kept["note"].as_str(), second.steps()), ("ten", 10));
    for k in 10..20 {
        step(&mut second, &mut again, k).unwrap();
    }
    let end = |fitter: &Fitter, parameters: &[f32]| {
        let bytes = fitter.state(parameters, Metadata::new()).unwrap();
        (bytes, fitter.evaluated(parameters).to_vec())
    };
    assert_eq!(end(&whole, &parameters), end(&second, &again));
    assert_ne!(whole.evaluated(&parameters), parameters);
    assert!(whole.clip_stats().clipped > 0);
}

/// As many parameters, and another network.
#[test]
fn a_state_of_another_origin_is_foreign() {
    let of = |width, outputs, batch, config| {
        let input = InputConfig::Dense { width };
        let layout = Layout::new(NetworkConfig {
            cell: Cell::Rnn,
            input,
            hidden: 3,
            layers: 1,
            outputs,
        });
        let layout = layout.unwrap();
        let parameters = initial_parameters(&layout, Init::FanIn, 1.0, 1);
        let fitter = Fitter::new(&layout, &parameters, (4, batch), config, Threads::SINGLE);
        (parameters, fitter.unwrap())
    };
    let plain = FitConfig::default();
    let (parameters, fitter) = of(5, 1, 2, plain);
    let state = fitter.state(&parameters, Metadata::new()).unwrap();
    let averaged = FitConfig { ema: 0.9, ..plain };
    let sgd = OptimizerConfig::Sgd { momentum: 0.0 };
    let sgd = FitConfig {
        optimizer: sgd,
        ..plain
    };
    for (other, what) in [
        (of(1, 4, 2, plain), "network"),
        (of(5, 1, 3, plain), "batch"),
        (of(5, 1, 2, sgd), "optimizer"),
        (of(5, 1, 2, averaged), "averaged"),
    ] {
        let (mut parameters, mut fitter) = other;
        match fitter.restore(&mut parameters, &state) {
            Err(StateError::Foreign(reason)) => assert!(reason.contains(what), "{reason}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn what_is_asked_wrongly_is_named() {
    let layout = dense();
    let (mut parameters, mut fitter) = fitter(&layout, FitConfig::default()).unwrap();
    let before = parameters.clone();
    let mut x = [0.5; STEPS * BATCH * 2];
    let mut run = |lr, x: &[f32]| {
        let loss = |_, y: &mut [f32]| squared_error(y, &[0.0; STEPS * BATCH * 4], 1);
        let step = fitter.step(&mut parameters, lr, Inputs::Vectors(x), STEPS, loss);
        step.unwrap_err().to_string()
    };
    for lr in [f64::NAN, -0.1, f64::INFINITY] {
        assert!(run(lr, &x).starts_with("the learning rate is not"));
    }
    x[3] = f32::NAN;
    assert_eq!(run(0.1, &x), "the input is not finite: mend the data");
    assert_eq!(parameters, before);
    let empty = Fitter::new(
        &layout,
        &parameters,
        (0, 2),
        FitConfig::default(),
        Threads::SINGLE,
    );
    assert_eq!(
        empty.unwrap_err().to_string(),
        "steps is 0: give at least 1"
    );
}

#[test]
#[should_panic(expected = "inputs: T × B × I")]
fn inputs_of_more_rows_are_refused() {
    let layout = dense();
    let (mut parameters, mut fitter) = fitter(&layout, FitConfig::default()).unwrap();
    let x = [0.5; (STEPS + 1) * BATCH * 2];
    let _ = fitter.step(&mut parameters, 0.1, Inputs::Vectors(&x), STEPS, |_, _| 0.0);
}

#[test]
#[should_panic(expected = "not that of 3 streams")]
fn a_state_of_another_batch_is_refused() {
    let layout = dense();
    let (mut parameters, mut fitter) = fitter(&layout, FitConfig::default()).unwrap();
    *fitter.state_mut() = State::zeros(&layout, BATCH - 1);
    let x = [0.5; STEPS * BATCH * 2];
    let _ = fitter.step(&mut parameters, 0.1, Inputs::Vectors(&x), STEPS, |_, _| 0.0);
}

/// A stream that is reset has the outputs of one that begins, and those beside it keep theirs.
#[test]
fn a_stream_is_reset_alone() {
    let mut state = State::<f32>::zeros(&dense(), BATCH);
    for values in state.values_mut() {
        values.fill(1.0);
    }
    state.reset_stream(1, BATCH);
    for (_, values) in state.values() {
        let rows: Vec<f32> = values.chunks(5).map(|row| row.iter().sum()).collect();
        assert_eq!(rows, [5.0, 0.0, 5.0]);
    }
}

#[test]
fn tied_parameters_are_asked_for() {
    let layout = layout(InputConfig::Embedding {
        vocabulary: 4,
        width: 5,
    });
    let config = FitConfig {
        tie: true,
        ..FitConfig::default()
    };
    assert_eq!(fitter(&layout, config).unwrap_err(), FitError::NotTied);
    let mut parameters = initial_parameters(&layout, Init::FanIn, 1.0, 1);
    start_tied(&layout, &mut parameters);
    Fitter::new(
        &layout,
        &parameters,
        (STEPS, BATCH),
        config,
        Threads::SINGLE,
    )
    .unwrap();
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let (parameters, first) = fitter(&dense(), everything()).unwrap();
    let state = first.state(&parameters, Metadata::new()).unwrap();
    let plain = FitConfig {
        ema: 0.0,
        optimizer: OptimizerConfig::rmsprop(),
        ..everything()
    };
    let (mut other, mut second) = fitter(&dense(), plain).unwrap();
    step(&mut second, &mut other, 0).unwrap();
    let before = second.state(&other, Metadata::new()).unwrap();
    let mut flipped = state.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (bytes, why) in [
        (&state, "its optimizer is adam, not rmsprop"),
        (&flipped, "checksum"),
        (&state[..40].to_vec(), "bytes"),
    ] {
        let error = second.restore(&mut other, bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    assert_eq!(second.state(&other, Metadata::new()).unwrap(), before);
}

#[test]
fn settings_that_do_not_suit_are_refused() {
    let refused = |layout: &Layout, config| fitter(layout, config).err().unwrap().to_string();
    for rate in [1.0, -0.1, f64::NAN] {
        for field in 0..4 {
            let mut config = FitConfig::default();
            let shares = [
                &mut config.dropout,
                &mut config.dropout_input,
                &mut config.dropout_recurrent,
                &mut config.ema,
            ];
            *shares.into_iter().nth(field).unwrap() = rate;
            assert!(refused(&dense(), config).contains("below 1"));
        }
    }
    let tie = FitConfig {
        tie: true,
        ..FitConfig::default()
    };
    let embedding = |vocabulary, width| layout(InputConfig::Embedding { vocabulary, width });
    for layout in [dense(), embedding(4, 6), embedding(5, 5)] {
        assert!(refused(&layout, tie).contains("as wide"));
    }
    let clip = FitConfig {
        clip: ClipRule::GlobalNorm(-1.0),
        ..FitConfig::default()
    };
    assert!(refused(&dense(), clip).contains("-1"));
    // Also where rows are more than can be counted.
    for room in [(usize::MAX, 2), (1 << 40, 1 << 10)] {
        let (config, parameters) = (everything(), vec![0.0; dense().len()]);
        let error = Fitter::new(&dense(), &parameters, room, config, Threads::SINGLE);
        assert!(error.unwrap_err().to_string().contains("does not have"));
    }
}

#[test]
fn a_loss_that_is_none_leaves_the_parameters() {
    let (mut parameters, mut fitter) = fitter(&dense(), FitConfig::default()).unwrap();
    let before = parameters.clone();
    let x = [0.1; STEPS * BATCH * 2];
    let loss = |_, _: &mut [f32]| f64::NAN;
    let error = fitter.step(&mut parameters, 0.1, Inputs::Vectors(&x), STEPS, loss);
    assert_eq!(error.unwrap_err().what, "loss");
    assert_eq!((parameters, fitter.steps()), (before, 0));
    assert!(fitter.set_clip(ClipRule::Value(f32::NAN)).is_err());
    assert_eq!(fitter.config().clip, ClipRule::GlobalNorm(5.0));
    fitter.set_clip(ClipRule::Off).unwrap();
    assert_eq!(fitter.config().clip, ClipRule::Off);
}

#[test]
fn what_is_dropped_for_a_window_learns_nothing_of_it() {
    let layout = layout(InputConfig::OneHot { vocabulary: 4 });
    let config = FitConfig {
        dropout_input: 0.3,
        dropout_recurrent: 0.3,
        ..FitConfig::default()
    };
    let (mut parameters, mut fitter) = fitter(&layout, config).unwrap();
    let ones = vec![1.0; layout.len()];
    let kept = fitter.rows.clone().draw(&ones).to_vec();
    let tokens: Vec<u32> = (0..STEPS * BATCH).map(|n| n as u32 % 4).collect();
    let y = [0.5; STEPS * BATCH * 4];
    let loss = |_, outputs: &mut [f32]| squared_error(outputs, &y, y.len());
    let step = fitter.step(&mut parameters, 0.02, Inputs::Tokens(&tokens), STEPS, loss);
    step.unwrap();
    // A row is three gates of five units.
    let dropped = |row: &[f32]| row.iter().all(|x| *x == 0.0);
    let rows = |values: &[f32]| -> Vec<bool> { values.chunks(15).map(dropped).collect() };
    for (name, place) in layout.tensors() {
        let [kept, learnt] = [&kept, fitter.gradient()].map(|x| rows(&x[place.clone()]));
        assert_eq!(kept, learnt, "{name}");
        let masked = ["w_l0", "u_l0", "u_l1"].contains(&&*name);
        assert_eq!(kept.contains(&true), masked, "{name}");
    }
}
