//! `ifog train`.

use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

use ifog::Level;
use ifog::corpus::read_corpus_file;
use ifog::language_model::LanguageModel;
use ifog::train::{Checkpoints, Run, Saving, ScheduleName, TrainConfig, Trainer};

use crate::args::Train;
use crate::dry_run;
use crate::embedded;
use crate::failure::Failure;
use crate::level::level;
use crate::memory::process_bytes;
use crate::output::print_json;
use crate::progress::Progress;
use crate::report;
use crate::run_config::RunConfig;
use crate::run_directory::{CONFIG, RunDirectory, name_for};
use crate::session::Session;
use crate::summary::Summary;

/// Trains, and prints the summary.
pub(crate) fn run(args: &Train) -> Result<(), Failure> {
    let started = Instant::now();
    let process = process_bytes();
    let level = level()?;
    let resumed = args.files.resume.as_deref().map(RunDirectory::of_run);
    let resumed = resumed.transpose()?;
    let resumes = resumed.is_some();
    let (mut config, changes) = configuration(args)?;
    // As it was given: config.toml has its text, which not every path is.
    let corpus = args
        .corpus
        .as_deref()
        .or(config.corpus.as_deref().map(Path::new));
    let corpus = Source::read(corpus).map_err(|failure| match (&args.corpus, resumes) {
        (None, true) => failure.and("if the text has moved, name it: ifog train TEXT --resume RUN"),
        _ => failure,
    })?;
    let progress = Progress::new(args.quiet);
    changes.iter().for_each(|change| progress.note(change));
    if args.overfit_one_batch {
        dry_run::limit_to_one_batch(&mut config.training);
    }
    let mut model = match (&config.init_from, &resumed) {
        (None, _) => None,
        (Some(_), Some(directory)) => Some(directory.start()?),
        (Some(path), None) => Some(LanguageModel::load(Path::new(path))?),
    };
    let trainer = build(&mut config.training, &corpus, model.as_ref(), &progress)?;
    if args.dry_run {
        return dry_run::forecast(trainer, process, args.json);
    }
    if args.overfit_one_batch {
        return dry_run::overfit(trainer, args.json);
    }
    // Before any work is done: a run whose directory cannot be written to would be lost.
    let mut directory = match (resumed, &args.files.out) {
        (Some(directory), _) => directory,
        (None, Some(out)) => RunDirectory::at(out, args.files.overwrite)?,
        (None, None) => RunDirectory::below(Path::new(RUNS), &corpus.run)?,
    };
    let checkpoints = Checkpoints::new(directory.path(), config.saving.keep);
    let mut run = Run::new(trainer).saving(Saving {
        checkpoints: checkpoints.clone(),
        every: config.saving.every,
    });
    let mut notes = changes;
    if resumes {
        notes.extend(resume(&mut run, &checkpoints, &mut directory, &progress)?);
        let over = check_length(&run)?;
        over.iter().for_each(|note| progress.note(note));
        notes.extend(over);
        let mixed = config.isa.as_deref().and_then(|isa| mixed_bits(isa, level));
        mixed.iter().for_each(|note| progress.note(note));
        notes.extend(mixed);
    } else if let Some(model) = &mut model {
        directory.keep_start(model)?;
    }
    drop(model);
    config.isa = Some(level.name().to_owned());
    directory.write_config(&config)?;
    progress.note(format!(
        "training {} parameters on {} ({} bytes, {} symbols) into {}",
        run.trainer().model().parameters(),
        corpus.name,
        corpus.text.len(),
        run.trainer().model().vocabulary().len(),
        directory.path().display()
    ));
    let sample_every = (!args.no_samples)
        .then(|| Duration::try_from_secs_f64(args.sample_every).unwrap_or(Duration::MAX));
    let mut session = Session::new(run, directory, progress, sample_every)?;
    session.train()?;
    let summary = Summary::new(&session, level, process, started.elapsed(), notes);
    // If the report fails, the model is there all the same, and its figures are told first.
    let printed = match args.json {
        true => print_json(&summary),
        false => summary.print(!args.no_samples),
    };
    // Of a run that was over before, they stay what they were.
    let path = session.directory().path();
    let reported = match !args.no_report && (session.stepped() || !report::exist(path)) {
        true => report::write(path, &summary, args.log_x),
        false => Ok(()),
    };
    // That nobody reads the figures is no reason to hide it.
    reported.and(printed)
}

/// What was asked for: the file's settings, or those of the run to be resumed, under what the command line says; and what of it a user
/// may not expect.
fn configuration(args: &Train) -> Result<(RunConfig, Vec<String>), Failure> {
    let file = match (&args.files.config, &args.files.resume) {
        (Some(file), _) => Some(file.clone()),
        (None, Some(directory)) => Some(directory.join(CONFIG)),
        (None, None) => None,
    };
    let mut config = file.map_or(Ok(RunConfig::default()), |file| RunConfig::read(&file))?;
    let before = config.training.clone();
    args.settings.apply(&mut config.training);
    args.settings.check(&config.training)?;
    let changes = changes(&before, &config.training, args.files.resume.is_some());
    let corpus = args.corpus.as_deref();
    if let Some(corpus) = corpus.or(config.corpus.as_deref().map(Path::new)) {
        config.corpus = Some(from_root(corpus));
    }
    let begun = args.files.init_from.as_deref();
    if let Some(model) = begun.or(config.init_from.as_deref().map(Path::new)) {
        args.settings.check_model()?;
        if args
            .files
            .out
            .as_deref()
            .is_some_and(|out| holds(out, model))
        {
            return Err(Failure::usage(format!(
                "the model to begin with is in {}, the run to be replaced: choose another --out",
                model.display()
            )));
        }
        config.init_from = Some(from_root(model));
    }
    config.saving.every = args.files.save_every.unwrap_or(config.saving.every);
    config.saving.keep = args.files.keep.unwrap_or(config.saving.keep);
    let TrainConfig { val, test, .. } = config.training;
    if val + test >= 1.0 {
        return Err(Failure::usage(format!(
            "--val {val} and --test {test} leave nothing to train on: choose shares with a sum below 1"
        )));
    }
    Ok((config, changes))
}

/// Whether a model, by its run directory or file, lies in the directory `out`.
fn holds(out: &Path, model: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let parent = model
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let places = [Some(model), parent.or(Some(Path::new(".")))];
    let Some(out) = real(out) else {
        return false;
    };
    let place = if model.is_dir() { places[0] } else { places[1] };
    place.and_then(real).is_some_and(|place| place == out)
}

fn from_root(path: &Path) -> String {
    let whole = std::path::absolute(path);
    whole.as_deref().unwrap_or(path).display().to_string()
}

/// Of a run that began with the instructions `before`: only the portable level, which has no fused multiply-add, has other bits.
fn mixed_bits(before: &str, level: Level) -> Option<String> {
    let same = before == level.name() || level.is_fused() && before != Level::PORTABLE.name();
    (!same).then(|| {
        format!(
            "the run began with the instructions {before} and goes on with {}: its bits are those of neither",
            level.name()
        )
    })
}

/// What a new length does beside ending the run elsewhere.
fn changes(before: &TrainConfig, now: &TrainConfig, resumes: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(seconds), None) = (before.max_seconds, now.max_seconds) {
        notes.push(format!(
            "the new length takes the place of the time limit of {seconds} seconds: beside --max-seconds both hold"
        ));
    }
    let length = |config: &TrainConfig| (config.epochs, config.steps, config.max_seconds);
    if !resumes || length(before) == length(now) {
        return notes;
    }
    if now.lr_schedule == ScheduleName::Cosine {
        notes.push(
            "the cosine of the learning rate now falls to the new end: the rate goes on from where that puts it".to_owned(),
        );
    }
    if now.lr_schedule == ScheduleName::Plateau || now.early_stop > 0 {
        notes.push(
            "validations follow the length: the rate of a plateau and an early stop may be others than in a run that was as long from \
             the beginning"
                .to_owned(),
        );
    }
    notes
}

/// Puts `run` where its newest usable state stands; without any it starts. Returns what was wrong.
fn resume(
    run: &mut Run,
    checkpoints: &Checkpoints,
    directory: &mut RunDirectory,
    progress: &Progress,
) -> Result<Vec<String>, Failure> {
    if checkpoints.list().is_empty() {
        directory.check_without_model()?;
        progress.note("nothing was saved yet: training starts from the beginning");
        directory.rewind(0, false)?;
        return Ok(Vec::new());
    }
    let notes = run.resume(checkpoints)?;
    notes.iter().for_each(|note| progress.note(note));
    let done = run.progress();
    progress.note(format!("resuming after step {}", done.step));
    directory.rewind(done.step, done.validated == Some(done.step))?;
    Ok(notes)
}

/// Refuses a number of steps that a resumed run has behind it; or says why one that is over has nothing to do. The length that it
/// had may be given again.
fn check_length(run: &Run) -> Result<Option<String>, Failure> {
    let done = run.progress();
    let stands = format!(
        "the run stands at {} steps, {:.2} epochs",
        done.step, done.epoch
    );
    if run
        .trainer()
        .total_steps()
        .is_some_and(|total| total < done.step)
    {
        return Err(Failure::usage(format!(
            "{stands}: to go on, give a larger --steps or --epochs"
        )));
    }
    if run.stopped_early() {
        return Ok(Some(format!(
            "{stands} and stopped early, without a better validation in {} of them: --early-stop 0 goes on",
            done.stale
        )));
    }
    Ok(run.is_over().then(|| {
        let option = match run.trainer().finished() {
            true => "--steps or --epochs",
            false => "--max-seconds",
        };
        format!("{stands}, which is its end: a larger {option} lets it go on")
    }))
}

/// The text to train on.
struct Source {
    /// For messages.
    name: String,
    /// For the run directory.
    run: String,
    text: Cow<'static, [u8]>,
    embedded: bool,
}

impl Source {
    fn read(path: Option<&Path>) -> Result<Self, Failure> {
        Ok(match path {
            Some(path) => Self {
                name: path.display().to_string(),
                run: name_for(path),
                text: read_corpus_file(path)?.into(),
                embedded: false,
            },
            None => Self {
                name: "the sources of ifog".to_owned(),
                run: embedded::NAME.to_owned(),
                text: embedded::SOURCES.into(),
                embedded: true,
            },
        })
    }
}

/// A trainer for the request, with a limit if none was given.
fn build(
    config: &mut TrainConfig,
    corpus: &Source,
    model: Option<&LanguageModel>,
    progress: &Progress,
) -> Result<Trainer, Failure> {
    let unlimited =
        config.epochs.is_none() && config.steps.is_none() && config.max_seconds.is_none();
    if unlimited && corpus.embedded {
        config.max_seconds = Some(EMBEDDED_SECONDS);
    } else if unlimited {
        config.epochs = Some(DEFAULT_EPOCHS);
    }
    let trainer = match model {
        Some(model) => Trainer::from_model(config.clone(), &corpus.text, model),
        None => Trainer::new(config.clone(), &corpus.text),
    };
    let mut trainer = trainer.map_err(Failure::of)?;
    if let Some(note) = decided(config, trainer.config()) {
        progress.note(note);
    }
    config.clone_from(trainer.config());
    for note in trainer.notes() {
        progress.note(note);
    }
    let cores = std::thread::available_parallelism().map_or(config.threads, Into::into);
    if config.threads > cores {
        progress.note(format!(
            "{} threads share {cores} cores and wait for each other: without --threads there is one for each",
            config.threads
        ));
    }
    if let (true, Some(seconds)) = (unlimited, config.max_seconds) {
        progress.note(format!(
            "no length given: training for {seconds} seconds (see --epochs, --steps, --max-seconds)"
        ));
    } else if unlimited {
        let steps = trainer.total_steps().unwrap_or_default();
        if steps < FEWEST_DEFAULT_STEPS {
            trainer.end_after(FEWEST_DEFAULT_STEPS);
            config.clone_from(trainer.config());
        }
        progress.note(format!(
            "no length given: training for {DEFAULT_EPOCHS} epochs, but at least \
             {FEWEST_DEFAULT_STEPS} steps (see --epochs, --steps, --max-seconds)"
        ));
    }
    Ok(trainer)
}

/// Settings of a file that a model decides otherwise.
fn decided(asked: &TrainConfig, taken: &TrainConfig) -> Option<String> {
    let settings = |config: &TrainConfig| serde_json::to_value(config).unwrap_or_default();
    let [asked, taken, default] = [asked, taken, &TrainConfig::default()].map(settings);
    let names = asked.as_object()?.keys();
    let other = names.filter(|name| asked[*name] != taken[*name] && asked[*name] != default[*name]);
    let other: Vec<_> = other.map(String::as_str).collect();
    (!other.is_empty()).then(|| {
        format!(
            "of the model that the run begins with, not as configured: {}",
            other.join(", ")
        )
    })
}

const RUNS: &str = "runs";
/// With the start and the last sample this makes about 30 seconds in all.
const EMBEDDED_SECONDS: f64 = 28.0;
const DEFAULT_EPOCHS: f64 = 10.0;
/// Without this a text of a few bytes would get 10 steps.
const FEWEST_DEFAULT_STEPS: u64 = 500;
