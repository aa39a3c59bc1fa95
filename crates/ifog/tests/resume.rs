//! A run that is interrupted and resumed ends with the same bits as one that was not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use ifog::Cell;
use ifog::safetensors::Metadata;
use ifog::train::{
    Checkpoints, Event, Interval, OptimizerName, Run, Saving, ScheduleName, TrainConfig,
    TrainError, Trainer,
};

fn text() -> Vec<u8> {
    b"the fog comes in on little feet, it sits and looks and then moves on.\n".repeat(12)
}

/// Small, with everything random or remembered that there is.
fn configs() -> Vec<TrainConfig> {
    let base = TrainConfig {
        hidden: 6,
        layers: 2,
        batch: 3,
        seq_len: 7,
        steps: Some(60),
        lr: 1e-2,
        dropout: 0.2,
        clip_norm: 0.3,
        threads: 1,
        ..TrainConfig::default()
    };
    let plateau = TrainConfig {
        cell: Cell::Gru,
        optimizer: OptimizerName::Rmsprop,
        lr_schedule: ScheduleName::Plateau,
        lr_decay: Some(0.5),
        lr_patience: 0,
        embedding: 4,
        ..base.clone()
    };
    let step = TrainConfig {
        cell: Cell::Rnn,
        optimizer: OptimizerName::Adagrad,
        lr_schedule: ScheduleName::Step,
        lr_decay_after: 1,
        ..base.clone()
    };
    let cosine = TrainConfig {
        lr_schedule: ScheduleName::Cosine,
        warmup: 9,
        ..base.clone()
    };
    let everything = TrainConfig {
        cell: Cell::GruAfter,
        dropout_input: 0.1,
        dropout_recurrent: 0.2,
        variational: true,
        ema: 0.9,
        chrono: 20,
        layers: 3,
        widths: vec![8, 5, 6],
        embedding: 6,
        tie: true,
        ..base.clone()
    };
    vec![base, plateau, step, cosine, everything]
}

fn run(config: &TrainConfig, directory: &Path, every: u64) -> Run {
    let trainer = Trainer::new(config.clone(), &text()).unwrap();
    Run::new(trainer).saving(Saving {
        checkpoints: Checkpoints::new(directory, 3),
        every: Interval::Steps(every),
    })
}

/// Runs until `stop` steps are done, as a kill would end it: between two events.
fn until(run: &mut Run, stop: u64) {
    while let Some(event) = run.next() {
        event.unwrap();
        if run.progress().step >= stop {
            return;
        }
    }
}

fn model(directory: &Path) -> Vec<u8> {
    fs::read(directory.join("model.safetensors")).unwrap()
}

#[test]
fn a_resumed_run_writes_the_same_bytes() {
    let stops: [&[u64]; 5] = [&[1, 59], &[17], &[18], &[31], &[30]];
    for (config, stops) in configs().into_iter().zip(stops) {
        let whole = tempfile::tempdir().unwrap();
        let mut uninterrupted = run(&config, whole.path(), 1000);
        until(&mut uninterrupted, u64::MAX);
        let last = Checkpoints::new(whole.path(), 3).file(60);
        for &stop in stops {
            let directory = tempfile::tempdir().unwrap();
            let checkpoints = Checkpoints::new(directory.path(), 3);
            // Killed: what is newer than the last save is lost.
            until(&mut run(&config, directory.path(), 4), stop);
            let mut resumed = run(&config, directory.path(), 1000);
            assert_eq!(resumed.resume(&checkpoints).unwrap(), [] as [&str; 0]);
            assert!(resumed.progress().step <= stop);
            // Interrupted: saved where it stands, also before a validation that is due.
            until(&mut resumed, stop);
            resumed.save().unwrap();
            let mut resumed = run(&config, directory.path(), 1000);
            resumed.resume(&checkpoints).unwrap();
            assert_eq!(resumed.progress().step, stop);
            until(&mut resumed, u64::MAX);

            assert!(
                model(directory.path()) == model(whole.path()),
                "{config:?} at {stop}"
            );
            let (ours, whole) = (resumed.progress(), uninterrupted.progress());
            assert_eq!(ours.train_loss(), whole.train_loss());
            assert_eq!(ours.best_val, whole.best_val);
            assert_eq!(ours.initial_val, whole.initial_val);
            // The newest parameters, moments and carried state, too: all but the times.
            let tensors = |bytes: &[u8]| {
                let file = ifog::safetensors::SafeTensors::read(bytes).unwrap();
                file.digest()
            };
            assert_eq!(
                tensors(&fs::read(checkpoints.file(60)).unwrap()),
                tensors(&fs::read(&last).unwrap())
            );
        }
    }
}

#[test]
fn the_last_few_are_kept_and_a_damaged_one_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let config = &configs()[0];
    until(&mut run(config, directory.path(), 1), 20);
    let checkpoints = Checkpoints::new(directory.path(), 3);
    let steps = || checkpoints.list().into_iter().map(|(step, _)| step);
    assert!(steps().eq([19, 18, 17]), "{:?}", checkpoints.list());

    let newest = checkpoints.file(19);
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let mut resumed = run(config, directory.path(), 1);
    let notes = resumed.resume(&checkpoints).unwrap();
    assert!(notes[0].contains("training-000000019.safetensors") && notes.len() == 1);
    assert_eq!(resumed.progress().step, 18);

    for (_, path) in checkpoints.list() {
        fs::write(path, "").unwrap();
    }
    let error = run(config, directory.path(), 1)
        .resume(&checkpoints)
        .unwrap_err();
    assert!(matches!(error, TrainError::NoState { .. }), "{error}");
}

/// Every bit of a state is covered: a flip is refused, and refusing changes nothing.
#[test]
fn bit_rot_is_found() {
    let config = TrainConfig {
        hidden: 2,
        layers: 1,
        batch: 1,
        seq_len: 4,
        threads: 1,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(config.clone(), b"hello hello").unwrap();
    trainer.step().unwrap();
    let kept = Metadata::from([("note".to_owned(), "mine".to_owned())]);
    let state = trainer.state(&kept).unwrap();
    assert_eq!(trainer.restore(&state).unwrap(), kept);
    let mut fresh = Trainer::new(config, b"hello hello").unwrap();
    let before = fresh.state(&Metadata::new()).unwrap();
    for bit in 0..8 * state.len() {
        let mut flipped = state.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // White space in the header, of which there is only padding, does not count as content.
        let padding = state[bit / 8] == b' ' && matches!(flipped[bit / 8], b'\t' | b'\n' | b'\r');
        assert!(fresh.restore(&flipped).is_err() || padding, "bit {bit}");
    }
    for cut in 0..state.len() {
        assert!(fresh.restore(&state[..cut]).is_err(), "{cut} bytes");
    }
    assert!(fresh.state(&Metadata::new()).unwrap() == before);
}

#[test]
fn a_state_of_another_run_is_refused_with_the_difference() {
    let config = &configs()[0];
    let state = Trainer::new(config.clone(), &text()).unwrap();
    let state = state.state(&Metadata::new()).unwrap();
    let refusal = |config: TrainConfig, text: &[u8]| {
        let error = Trainer::new(config, text)
            .unwrap()
            .restore(&state)
            .unwrap_err();
        assert!(matches!(error, TrainError::ForeignState(_)), "{error}");
        error.to_string()
    };
    let other = TrainConfig {
        hidden: 7,
        ..config.clone()
    };
    assert!(refusal(other, &text()).contains("hidden is 7 here and 6 in the saved run"));
    let other = TrainConfig {
        lr: 0.02,
        ..config.clone()
    };
    assert!(refusal(other, &text()).contains("lr is 0.02 here and 0.01"));
    let mut changed = text();
    changed.swap(0, 1);
    assert!(refusal(config.clone(), &changed).contains("the same corpus"));
    // Length and threads may change.
    let longer = TrainConfig {
        steps: Some(90),
        threads: 2,
        ..config.clone()
    };
    Trainer::new(longer, &text())
        .unwrap()
        .restore(&state)
        .unwrap();
}

#[test]
fn a_state_that_cannot_be_written_ends_the_run_and_keeps_the_older_one() {
    let directory = tempfile::tempdir().unwrap();
    let config = &configs()[0];
    // A directory stands where the state of step 10 is to go.
    let checkpoints = Checkpoints::new(directory.path(), 3);
    fs::create_dir(checkpoints.file(10)).unwrap();
    let mut run = run(config, directory.path(), 5);
    let error = run.by_ref().find_map(Result::err).unwrap();
    assert!(error.to_string().contains("training-000000010"), "{error}");
    assert_eq!(run.progress().step, 10);
    assert!(run.next().is_none());
    assert!(checkpoints.file(9).exists());
}

#[test]
fn early_stopping_and_time_end_a_run() {
    let config = TrainConfig {
        early_stop: 2,
        lr: 3.0,
        optimizer: OptimizerName::Sgd,
        steps: Some(100_000),
        ..configs()[0].clone()
    };
    let mut run = Run::new(Trainer::new(config, &text()).unwrap());
    // A rate of 3 does not improve for long; a loss that is not finite would be an error.
    let events: Result<Vec<Event>, _> = run.by_ref().collect();
    assert!(events.is_ok() && run.progress().step < 100_000);
    assert_eq!(run.progress().stale, 2);

    let config = TrainConfig {
        steps: None,
        max_seconds: Some(0.2),
        ..configs()[0].clone()
    };
    let mut run = Run::new(Trainer::new(config, &text()).unwrap());
    run.by_ref().for_each(|event| drop(event.unwrap()));
    assert!(run.progress().step > 0 && run.elapsed() < Duration::from_secs(2));
}
