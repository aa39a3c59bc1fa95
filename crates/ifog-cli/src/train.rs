//! `ifog train`.

use std::path::Path;
use std::time::{Duration, Instant};

use ifog::corpus::{Split, read_corpus_file};
use ifog::init::Init;
use ifog::language_model::LanguageModel;
use ifog::train::{OptimizerName, TrainConfig, TrainError, Trainer};
use ifog::vocabulary::Mode;
use serde::Serialize;

use crate::args::{self, Train};
use crate::embedded;
use crate::failure::Failure;
use crate::level::level;
use crate::output::{print_json, print_line};
use crate::progress::{Nats, Progress};
use crate::run_directory::{RunDirectory, name_for};
use crate::sample;
use crate::session::Session;

/// Trains, and prints the summary.
pub(crate) fn run(args: &Train) -> Result<(), Failure> {
    let started = Instant::now();
    let level = level()?;
    if args.data.val + args.data.test >= 1.0 {
        return Err(Failure::usage(format!(
            "--val {} and --test {} leave nothing to train on: choose shares with a sum below 1",
            args.data.val, args.data.test
        )));
    }
    let corpus = Source::read(args.corpus.as_deref())?;
    let progress = Progress::new(args.quiet);
    let trainer = build(args, &corpus, &progress)?;
    // Before any work is done: a run whose directory cannot be written to would be lost.
    let directory = match &args.out {
        Some(out) => RunDirectory::at(out, args.overwrite)?,
        None => RunDirectory::below(Path::new(RUNS), &corpus.run)?,
    };
    directory.write_config(&ConfigFile {
        corpus: &corpus.name,
        isa: level.name(),
        training: trainer.config(),
    })?;
    progress.note(format!(
        "training {} parameters on {} ({} bytes, {} symbols) into {}",
        trainer.model().parameters(),
        corpus.name,
        corpus.text.len(),
        trainer.model().vocabulary().len(),
        directory.path().display()
    ));
    let samples = !args.no_samples && !args.quiet;
    let sample_every =
        samples.then(|| Duration::try_from_secs_f64(args.sample_every).unwrap_or(Duration::MAX));
    let mut session = Session::new(trainer, directory, progress, sample_every);
    let best = session.train()?;
    summarise(
        args,
        &session,
        &Summary {
            best_val_loss: best.val_loss,
            final_train_loss: session.train_loss(),
            initial_val_loss: session.initial_val_loss(),
            chars_per_s: session.chars_per_s(),
            steps: session.steps(),
            epochs: session.epochs(),
            seconds: started.elapsed().as_secs_f64(),
            parameters: session.trainer().model().parameters(),
            seed: args.seed,
            threads: session.trainer().threads(),
            isa: level.name(),
            digest: &best.digest,
            out: session.directory().path().display().to_string(),
        },
    )
}

/// The text to train on.
struct Source {
    /// For messages and config.toml.
    name: String,
    /// For the run directory.
    run: String,
    text: Vec<u8>,
}

impl Source {
    fn read(path: Option<&Path>) -> Result<Self, Failure> {
        Ok(match path {
            Some(path) => Self {
                name: path.display().to_string(),
                run: name_for(path),
                text: read_corpus_file(path)?,
            },
            None => Self {
                name: "the sources of ifog".to_owned(),
                run: embedded::NAME.to_owned(),
                text: embedded::SOURCES.to_vec(),
            },
        })
    }
}

/// What config.toml holds.
#[derive(Serialize)]
struct ConfigFile<'a> {
    corpus: &'a str,
    isa: &'a str,
    training: &'a TrainConfig,
}

/// A trainer for the request, with a limit if none was given.
fn build(args: &Train, corpus: &Source, progress: &Progress) -> Result<Trainer, Failure> {
    let mut config = config_of(args);
    let unlimited =
        config.epochs.is_none() && config.steps.is_none() && config.max_seconds.is_none();
    if unlimited && args.corpus.is_none() {
        config.max_seconds = Some(EMBEDDED_SECONDS);
    } else if unlimited {
        config.epochs = Some(DEFAULT_EPOCHS);
    }
    let mut trainer = Trainer::new(config.clone(), &corpus.text).map_err(refusal)?;
    for note in trainer.notes() {
        progress.note(note);
    }
    if let (true, Some(seconds)) = (unlimited, config.max_seconds) {
        progress.note(format!(
            "no length given: training for {seconds} seconds (see --epochs, --steps, --max-seconds)"
        ));
    } else if unlimited {
        let steps = trainer.total_steps().unwrap_or_default();
        if steps < FEWEST_DEFAULT_STEPS {
            config.epochs = None;
            config.steps = Some(FEWEST_DEFAULT_STEPS);
            trainer = Trainer::new(config, &corpus.text).map_err(refusal)?;
        }
        progress.note(format!(
            "no length given: training for {DEFAULT_EPOCHS} epochs, but at least \
             {FEWEST_DEFAULT_STEPS} steps (see --epochs, --steps, --max-seconds)"
        ));
    }
    Ok(trainer)
}

/// Settings that do not fit together are wrong usage; the rest is the fault of the text or the machine.
fn refusal(error: TrainError) -> Failure {
    match error {
        TrainError::Setting { .. }
        | TrainError::Config(_)
        | TrainError::Optimizer(_)
        | TrainError::Clip(_) => Failure::usage(error),
        _ => error.into(),
    }
}

fn config_of(args: &Train) -> TrainConfig {
    let Train {
        model,
        limit,
        descent,
        data,
        ..
    } = args;
    TrainConfig {
        cell: model.cell,
        hidden: model.hidden,
        layers: model.layers,
        embedding: model.embedding,
        init: match model.init {
            args::InitName::Uniform => Init::Uniform,
            args::InitName::CharRnn => Init::CharRnn,
            args::InitName::Orthogonal => Init::Orthogonal,
        },
        forget_bias: model.forget_bias,
        vocab: match model.vocab {
            args::VocabName::Auto => Mode::Auto,
            args::VocabName::Bytes => Mode::Bytes,
            args::VocabName::Characters => Mode::Characters,
        },
        epochs: limit.epochs,
        steps: limit.steps,
        max_seconds: limit.max_seconds,
        optimizer: match descent.optimizer {
            args::OptimizerName::Adam => OptimizerName::Adam,
            args::OptimizerName::Rmsprop => OptimizerName::Rmsprop,
            args::OptimizerName::Adagrad => OptimizerName::Adagrad,
            args::OptimizerName::Sgd => OptimizerName::Sgd,
        },
        lr: descent.lr,
        clip_norm: match descent.clip_value {
            None => descent.clip_norm,
            Some(_) => 0.0,
        },
        clip_value: descent.clip_value.unwrap_or(0.0),
        weight_decay: descent.weight_decay,
        dropout: descent.dropout,
        batch: data.batch,
        seq_len: data.seq_len,
        split: match data.split {
            args::SplitName::Contiguous => Split::Contiguous,
            args::SplitName::Streams => Split::Streams,
        },
        val: data.val,
        test: data.test,
        seed: args.seed,
        threads: args.threads.unwrap_or(0),
    }
}

/// What `--json` prints. Losses in nats.
#[derive(Serialize)]
struct Summary<'a> {
    best_val_loss: f64,
    /// Mean over the last steps.
    final_train_loss: f64,
    initial_val_loss: f64,
    /// Of training steps alone.
    chars_per_s: f64,
    steps: u64,
    epochs: f64,
    /// Wall time of the whole command.
    seconds: f64,
    parameters: usize,
    seed: u64,
    threads: usize,
    isa: &'a str,
    digest: &'a str,
    out: String,
}

/// Prints what came of it, and what the model on disk now writes.
fn summarise(args: &Train, session: &Session, summary: &Summary) -> Result<(), Failure> {
    if args.json {
        return print_json(summary);
    }
    let model = session.directory().model();
    print_line(format!(
        "best validation loss  {}",
        Nats(summary.best_val_loss)
    ))?;
    print_line(format!(
        "final training loss   {}",
        Nats(summary.final_train_loss)
    ))?;
    print_line(format!(
        "speed                 {:.0} characters/s",
        summary.chars_per_s
    ))?;
    print_line(format!(
        "time                  {:.1} s, {} steps, {:.2} epochs",
        summary.seconds, summary.steps, summary.epochs
    ))?;
    print_line(format!("digest                {}", summary.digest))?;
    print_line(format!("model                 {}", model.display()))?;
    print_line(format!("more text             ifog sample {}", summary.out))?;
    if !args.no_samples {
        print_line("")?;
        sample::write(&LanguageModel::load(&model)?, &sample::Request::default())?;
    }
    Ok(())
}

const RUNS: &str = "runs";
/// With the start and the last sample this makes about 30 seconds in all.
const EMBEDDED_SECONDS: f64 = 28.0;
const DEFAULT_EPOCHS: f64 = 10.0;
/// Without this a text of a few bytes would get 10 steps.
const FEWEST_DEFAULT_STEPS: u64 = 500;
