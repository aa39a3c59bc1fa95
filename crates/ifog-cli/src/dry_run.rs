//! `ifog train --dry-run` and `--overfit-one-batch`: questions to a configuration before it costs hours.

use std::time::{Duration, Instant};

use ifog::train::{Run, ScheduleName, TrainConfig, Trainer};
use serde::Serialize;

use crate::failure::Failure;
use crate::memory::{self, peak_bytes};
use crate::output::{print_json, print_line};
use crate::progress::{Clock, Nats};

/// What `--dry-run --json` prints.
#[derive(Serialize)]
struct Forecast {
    parameters: usize,
    /// Of a training step.
    flops_per_char: u64,
    memory: Vec<Part>,
    /// Predicted, in bytes, with the process itself.
    memory_total: u64,
    /// The most this process had in memory, in bytes; absent where the system does not say.
    peak_measured: Option<u64>,
    chars_per_s: f64,
    gflops: f64,
    steps_per_epoch: u64,
    seconds_per_epoch: f64,
    /// A validation.
    seconds_per_validation: f64,
    /// Until the first of its limits, with the validations; saving and samples are not in it.
    seconds_in_all: Option<f64>,
}

#[derive(Serialize)]
struct Part {
    name: &'static str,
    bytes: u128,
}

/// What `--overfit-one-batch --json` prints. Losses are mean nats.
#[derive(Serialize)]
struct Known {
    /// Whether the loss has fallen as far as that takes.
    known: bool,
    steps: u64,
    first_loss: f64,
    loss: f64,
}

/// Measures steps for two seconds, at least one. The process had `process` bytes before the trainer.
pub(crate) fn forecast(mut trainer: Trainer, process: u64, json: bool) -> Result<(), Failure> {
    // The first step allocates and warms the caches.
    trainer.step().map_err(Failure::of)?;
    let (started, mut characters, mut steps) = (Instant::now(), 0, 0u32);
    while steps == 0 || started.elapsed() < MEASURED {
        characters += trainer.step().map_err(Failure::of)?.characters;
        steps += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    let per_step = seconds / f64::from(steps);
    let before = Instant::now();
    trainer.validate()?;
    let validation = before.elapsed().as_secs_f64();
    let memory = trainer.memory();
    let (steps, max_seconds) = (trainer.total_steps(), trainer.config().max_seconds);
    let chars_per_s = characters as f64 / seconds;
    let (flops, per_epoch) = (trainer.flops_per_character(), trainer.steps_per_epoch());
    let parameters = trainer.model().parameters();
    let memory_total = memory::predicted(&trainer, process);
    let validations = Run::new(trainer).validations().unwrap_or_default() as f64;
    let of_steps = steps.map(|steps| per_step * steps as f64 + validation * validations);
    let forecast = Forecast {
        parameters,
        flops_per_char: flops,
        memory: memory
            .parts()
            .iter()
            .copied()
            .chain([("process itself", u128::from(process))])
            .map(|(name, bytes)| Part { name, bytes })
            .collect(),
        memory_total,
        peak_measured: peak_bytes(),
        chars_per_s,
        gflops: chars_per_s * flops as f64 / 1e9,
        steps_per_epoch: per_epoch,
        seconds_per_epoch: per_step * per_epoch as f64,
        seconds_per_validation: validation,
        seconds_in_all: [of_steps, max_seconds]
            .into_iter()
            .flatten()
            .reduce(f64::min),
    };
    if json {
        return print_json(&forecast);
    }
    print_line(format!("parameters            {}", forecast.parameters))?;
    print_line(format!("FLOPs a character     {}", forecast.flops_per_char))?;
    for Part { name, bytes } in &forecast.memory {
        print_line(format!("  {name:<24}{:>9.1} MiB", mebibytes(*bytes as f64)))?;
    }
    print_line(format!(
        "memory, predicted     {:.1} MiB",
        mebibytes(forecast.memory_total as f64)
    ))?;
    if let Some(peak) = forecast.peak_measured {
        print_line(format!(
            "memory, measured      {:.1} MiB at the peak of this trial",
            mebibytes(peak as f64)
        ))?;
    }
    print_line(format!(
        "speed                 {:.0} characters/s, {:.1} GFLOP/s",
        forecast.chars_per_s, forecast.gflops
    ))?;
    print_line(format!(
        "an epoch              {} steps, {}",
        forecast.steps_per_epoch,
        clock(forecast.seconds_per_epoch)
    ))?;
    print_line(format!(
        "a validation          {}",
        clock(forecast.seconds_per_validation)
    ))?;
    match forecast.seconds_in_all {
        Some(seconds) => print_line(format!("the run               {}", clock(seconds))),
        None => Ok(()),
    }
}

/// One batch is learnt for so many steps, whatever else would end the run, and with nothing that works against learning by
/// heart.
pub(crate) fn limit_to_one_batch(config: &mut TrainConfig) {
    *config = TrainConfig {
        steps: config.steps.or(Some(OVERFIT_STEPS)),
        epochs: None,
        max_seconds: None,
        early_stop: 0,
        dropout: 0.0,
        dropout_input: 0.0,
        dropout_recurrent: 0.0,
        variational: false,
        weight_decay: 0.0,
        ema: 0.0,
        lr_schedule: ScheduleName::Constant,
        warmup: 0,
        ..config.clone()
    };
}

/// Steps on one batch until it is known by heart.
pub(crate) fn overfit(mut trainer: Trainer, json: bool) -> Result<(), Failure> {
    trainer.overfit_one_batch();
    let steps = trainer.config().steps.unwrap_or(OVERFIT_STEPS);
    let (mut first, mut last) = (f64::NAN, f64::NAN);
    for step in 1..=steps {
        last = trainer.step().map_err(Failure::of)?.loss;
        if step == 1 {
            first = last;
        }
        let shown =
            !json && (step == 1 || step == steps || step.is_multiple_of(steps.div_ceil(10)));
        if shown {
            print_line(format!("step {step:>6}  {}", Nats(last)))?;
        }
        let known = last < KNOWN * first;
        if json && (known || step == steps) {
            print_json(&Known {
                known,
                steps: step,
                first_loss: first,
                loss: last,
            })?;
        }
        if known && json {
            return Ok(());
        }
        if known {
            return print_line(format!(
                "one batch is known by heart after {step} steps: {} at first, {} now",
                Nats(first),
                Nats(last)
            ));
        }
    }
    Err(Failure::work(format!(
        "one batch is not known by heart after {steps} steps ({} at first, {} now): give more --steps, another --lr or a \
         larger model",
        Nats(first),
        Nats(last)
    )))
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn clock(seconds: f64) -> Clock {
    Clock(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

const MEASURED: Duration = Duration::from_secs(2);
const OVERFIT_STEPS: u64 = 1000;
/// The part of the first loss that counts as known.
const KNOWN: f64 = 0.05;
