//! A window that is computed in segments, each twice, has the bits of one that is kept whole.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use ifog::config::{InputConfig, NetworkConfig};
use ifog::dropout::Dropout;
use ifog::loss::squared_error;
use ifog::network::{Inputs, Learner, Packed};
use ifog::parameters::Layout;
use ifog::rng::{Rng, Stream};
use ifog::train::{TrainConfig, Trainer};
use ifog::{Cell, Level, Threads};

const STEPS: usize = 23;
const BATCH: usize = 3;
const OUTPUTS: usize = 5;

/// Gradient, carried state and loss of two windows, with room for `room` steps.
fn learn(cell: Cell, input: InputConfig, dropout: (f64, bool), room: usize) -> (Vec<u32>, f64) {
    let network = NetworkConfig {
        cell,
        input,
        hidden: 9,
        layers: 2,
        outputs: OUTPUTS,
    };
    // Of different widths, the last one the smaller and the larger.
    let widths = if dropout.1 { [9, 6] } else { [6, 9] };
    let layout = Layout::with_widths(network, &widths).unwrap();
    let mut rng = Rng::new(5, Stream::Check);
    let mut normals = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
    let (parameters, vectors) = (
        normals(layout.len()),
        normals(STEPS * BATCH * input.width()),
    );
    let targets = normals(STEPS * BATCH * OUTPUTS);
    let tokens: Vec<u32> = (0..STEPS * BATCH)
        .map(|k| (k * k % OUTPUTS) as u32)
        .collect();
    let mut packed = Packed::new(&layout, Level::detect().unwrap(), true).unwrap();
    packed.load(&parameters, Threads::SINGLE);
    let rng = Rng::new(1, Stream::Dropout);
    let masks = Dropout::new(dropout.0, widths, room * BATCH, rng);
    let masks = masks.variational(dropout.1);
    let mut learner = Learner::new(&packed, room, BATCH, masks, Threads::SINGLE).unwrap();
    let mut loss = 0.0;
    let mut bits = Vec::new();
    for _ in 0..2 {
        let inputs = match input {
            InputConfig::Dense { .. } => Inputs::Vectors(&vectors),
            _ => Inputs::Tokens(&tokens),
        };
        loss += learner.learn_in_segments(&packed, inputs, STEPS, |rows, outputs| {
            let targets = &targets[rows.start * OUTPUTS..rows.end * OUTPUTS];
            squared_error(outputs, targets, STEPS * BATCH)
        });
        bits.extend(learner.gradient.iter().map(|g| g.to_bits()));
        let state = learner.state.values().flat_map(|(_, values)| values);
        bits.extend(state.map(|x| x.to_bits()));
    }
    (bits, loss)
}

#[test]
fn segments_have_the_bits_of_the_whole() {
    for cell in Cell::ALL {
        for input in [
            InputConfig::OneHot {
                vocabulary: OUTPUTS,
            },
            InputConfig::Embedding {
                vocabulary: OUTPUTS,
                width: 4,
            },
            InputConfig::Dense { width: 3 },
        ] {
            for dropout in [(0.0, false), (0.4, false), (0.4, true)] {
                let (whole, loss) = learn(cell, input, dropout, STEPS);
                for room in [1, 4, 5, 12, 22] {
                    let (bits, in_segments) = learn(cell, input, dropout, room);
                    assert!(
                        bits == whole,
                        "{cell} {input:?} {dropout:?} in segments of {room}"
                    );
                    // The same terms in another grouping.
                    assert!((in_segments - loss).abs() <= 1e-14 * loss * STEPS as f64);
                }
            }
        }
    }
}

/// The same of whole trainings.
#[test]
fn a_training_in_segments_writes_the_same_parameters() {
    let text =
        b"the fog comes in on little feet, it sits and looks and then moves on.\n".repeat(20);
    let config = TrainConfig {
        hidden: 12,
        batch: 4,
        seq_len: 40,
        dropout: 0.2,
        dropout_recurrent: 0.1,
        threads: 1,
        ..TrainConfig::default()
    };
    let train = |checkpoint_every| {
        let config = TrainConfig {
            checkpoint_every,
            ..config.clone()
        };
        let mut trainer = Trainer::new(config, &text).unwrap();
        for _ in 0..12 {
            trainer.step().unwrap();
        }
        trainer.model().weights().to_vec()
    };
    let whole = train(0);
    for every in [1, 7, 39, 40, 100] {
        assert!(train(every) == whole, "segments of {every}");
    }
}
