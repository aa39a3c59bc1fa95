//! Regression: an LSTM reads two mixed sine waves and predicts the next value. Stopped half-way, it goes on to the same bits.
//!
//! `cargo run --release -p ifog --example sine`

use ifog::config::{InputConfig, NetworkConfig};
use ifog::fit::{FitConfig, Fitter};
use ifog::init::{Init, initial_parameters};
use ifog::learning_rate::{Decay, LearningRate, Place};
use ifog::loss::squared_error;
use ifog::network::Inputs;
use ifog::parameters::Layout;
use ifog::safetensors::Metadata;
use ifog::{Cell, Threads};

const WINDOWS: u64 = 600;
/// Steps of a window, and waves that are read side by side.
const STEPS: usize = 50;
const BATCH: usize = 8;

/// `[T, B]`: every wave has its own phase.
fn waves(start: u64) -> Vec<f32> {
    let place = |n: usize| start as f32 + (n / BATCH) as f32 + 9.0 * (n % BATCH) as f32;
    let values = (0..STEPS * BATCH).map(place);
    values
        .map(|t| 0.6 * (0.2 * t).sin() + 0.4 * (0.31 * t).sin())
        .collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layout = Layout::new(NetworkConfig {
        cell: Cell::Lstm,
        input: InputConfig::Dense { width: 1 },
        hidden: 32,
        layers: 1,
        outputs: 1,
    })?;
    let mut parameters = initial_parameters(&layout, Init::FanIn, 1.0, 0);
    let (room, config) = ((STEPS, BATCH), FitConfig::default());
    let mut fitter = Fitter::new(&layout, &parameters, room, config, Threads::SINGLE)?;
    let rate = LearningRate::new(1e-2, 20, Decay::Cosine { floor: 1e-4 });
    for window in 0..WINDOWS {
        let (x, next) = (waves(window * 50), waves(window * 50 + 1));
        let lr = rate.at(Place::of(window + 1, WINDOWS));
        let loss = |_, y: &mut [f32]| squared_error(y, &next, STEPS * BATCH);
        let fit = fitter.step(&mut parameters, lr, Inputs::Vectors(&x), STEPS, loss)?;
        if window % 100 == 0 {
            println!("window {window:3}  RMSE {:.4}", fit.loss.sqrt());
        }
        if window == WINDOWS / 2 {
            // Bytes for wherever they are safe, and what a new process would do with them.
            let file = fitter.state(&parameters, Metadata::new())?;
            fitter = Fitter::new(&layout, &parameters, room, config, Threads::SINGLE)?;
            fitter.restore(&mut parameters, &file)?;
        }
    }
    Ok(())
}
