//! Regression: an LSTM reads two mixed sine waves and predicts the next value, from the parts the trainer is made of.
//!
//! `cargo run --release -p ifog --example sine`

use ifog::clip::{ClipRule, Clipper};
use ifog::config::{InputConfig, NetworkConfig};
use ifog::dropout::Dropout;
use ifog::init::{Init, initial_parameters};
use ifog::loss::squared_error;
use ifog::network::{Inputs, Learner, Packed};
use ifog::optimizer::{Optimizer, OptimizerConfig};
use ifog::parameters::Layout;
use ifog::{Cell, Level, Threads};

/// Steps of a window, and waves that are read side by side.
const STEPS: usize = 50;
const BATCH: usize = 8;

/// `[T, B]`: every wave has its own phase.
fn waves(start: usize) -> Vec<f32> {
    let value = |t: usize, b: usize| {
        let t = t as f32 + 9.0 * b as f32;
        0.6 * (0.2 * t).sin() + 0.4 * (0.31 * t).sin()
    };
    (start..start + STEPS)
        .flat_map(|t| (0..BATCH).map(move |b| value(t, b)))
        .collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let input = InputConfig::Dense { width: 1 };
    let network = NetworkConfig {
        cell: Cell::Lstm,
        input,
        hidden: 32,
        layers: 1,
        outputs: 1,
    };
    let layout = Layout::new(network)?;
    let mut parameters = initial_parameters(&layout, Init::Uniform, 1.0, 0);
    let threads = Threads::SINGLE;
    let mut weights = Packed::new(&layout, Level::detect()?, true)?;
    let mut learner = Learner::new(&weights, STEPS, BATCH, Dropout::off(), threads)?;
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(), layout.len())?;
    let mut clipper = Clipper::new(ClipRule::GlobalNorm(1.0))?;
    for window in 0..=600 {
        let (x, next) = (waves(window * STEPS), waves(window * STEPS + 1));
        weights.load(&parameters, threads);
        let error = learner.learn(&weights, Inputs::Vectors(&x), STEPS, |y| {
            squared_error(y, &next, STEPS * BATCH)
        });
        clipper.clip(&mut learner.gradient);
        optimizer.step(&mut parameters, &learner.gradient, 5e-3);
        if window % 100 == 0 {
            println!("window {window:3}  RMSE {:.4}", error.sqrt());
        }
    }
    Ok(())
}
