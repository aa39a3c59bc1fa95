//! A language model in a program of its own: every event of the run is an item of an iterator.
//!
//! `cargo run --release -p ifog --example language_model -- book.txt`

use ifog::Cell;
use ifog::train::{Event, Run, ScheduleName, TrainConfig, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = match std::env::args().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => {
            b"the fog comes in on little feet, it sits and looks and then moves on.\n".repeat(60)
        }
    };
    let config = TrainConfig {
        cell: Cell::Gru,
        hidden: 64,
        layers: 1,
        batch: 16,
        steps: Some(400),
        lr: 1e-2,
        lr_schedule: ScheduleName::Cosine,
        dropout: 0.1,
        ..TrainConfig::default()
    };
    // `.saving(…)` would keep the best model and the training states in a directory, `.resume(…)` go on from there.
    let mut run = Run::new(Trainer::new(config, &text)?);
    while let Some(event) = run.next() {
        match event? {
            Event::Validated(now) if now.best => {
                println!("step {:4}  {:.3} nats, the best so far", now.step, now.loss);
            }
            Event::Stepped(step) if step.grad_norm > 100.0 => {
                println!("step {:4}  a gradient of {:.0}", step.step, step.grad_norm);
            }
            _ => {}
        }
        // Whoever drives the iterator may look at the model at any time, or stop.
        if run.progress().last_val < 0.05 {
            break;
        }
    }
    let sample = run.trainer().sample(70, 0.5, b"the ", 0)?;
    println!("{}", String::from_utf8_lossy(&sample));
    Ok(())
}
