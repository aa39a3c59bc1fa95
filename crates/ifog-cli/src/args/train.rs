//! The arguments of `ifog train`. What is not given here comes from the configuration file, or is the default of the
//! library: so no argument has a default of its own.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ifog::Cell;
use ifog::corpus::Split;
use ifog::init::Init;
use ifog::train::{Interval, OptimizerName, ScheduleName, TrainConfig};
use ifog::vocabulary::Mode;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as NameError, StringDeserializer};

use crate::failure::Failure;

use super::{
    LARGEST, at_least_one, cell_parser, finite, not_negative, positive, seconds, seed, share,
    threads, whole,
};

/// Train a character-level language model.
///
/// Progress goes to standard error; the summary, or with --json one object, to standard output. The run
/// directory gets model.safetensors (the best validation so far), training-N.safetensors (what --resume
/// needs), metrics.jsonl (a line a step), config.toml, and at the end loss.svg and report.html.
///
/// Ctrl-C finishes the step, saves, and says how to continue; a second one ends at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog train\n  ifog train book.txt --epochs 20 --out runs/book\n  \
    ifog train book.txt --cell gru --hidden 256 --dropout 0.2 --max-seconds 600 --json\n  \
    ifog train --resume runs/book                  go on where it stopped, to the same bits\n  \
    ifog train book.txt --config recipe.toml --lr 1e-3\n  \
    ifog train book.txt --lr-schedule cosine --lr-min 1e-4 --warmup 200 --epochs 30\n  \
    ifog train letters.txt --init-from runs/book --lr 5e-4   another text for a trained model"
)]
pub(crate) struct Train {
    /// Text to learn, any file; without one, the Rust sources of ifog itself, for about 30 seconds.
    pub(crate) corpus: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) files: Files,

    /// Print what the run would need and take, measured for two seconds, and write nothing.
    #[arg(long, conflicts_with_all = ["resume", "overfit_one_batch"])]
    pub(crate) dry_run: bool,
    /// Learn one batch by heart, for a check of the settings, and write nothing; --steps ends it, or 1,000.
    #[arg(long, conflicts_with_all = ["resume", "epochs", "max_seconds"])]
    pub(crate) overfit_one_batch: bool,
    /// Print one JSON object to standard output instead of the summary.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Take no samples of the model.
    #[arg(long)]
    pub(crate) no_samples: bool,
    /// Write no loss.svg and no report.html.
    #[arg(long)]
    pub(crate) no_report: bool,
    /// Steps on a logarithmic axis in loss.svg.
    #[arg(long, conflicts_with = "no_report")]
    pub(crate) log_x: bool,
    /// Time between the samples of a model that is learning.
    #[arg(long, default_value = "8s", value_parser = seconds, value_name = "TIME")]
    pub(crate) sample_every: f64,
}

/// Where things are read from and written to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Files {
    /// Run directory; without it, a new one below runs/ named after the corpus.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the run that --out holds already.
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,
    /// Settings from a file; the config.toml of a run is one. What is given on the command line wins.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Begin with the weights of this model, a run directory or .safetensors file, instead of random ones: another text, or other
    /// settings. Cells, widths and vocabulary are the model's.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub(crate) init_from: Option<PathBuf>,
    /// Continue the run in this directory; what may change are its length, --early-stop, --val-every, --threads,
    /// --checkpoint-every, --save-every and --keep.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "config"])]
    pub(crate) resume: Option<PathBuf>,
    /// Save after so many steps or so much time, and after each validation: 500steps, 30s, 2m, 1h [default: 1m].
    #[arg(long, value_parser = interval, value_name = "N")]
    pub(crate) save_every: Option<Interval>,
    /// Training states to keep; the best model is always kept [default: 3].
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    pub(crate) keep: Option<usize>,
}

/// What overrides the settings of [`TrainConfig`].
#[derive(Debug, Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    descent: Descent,
    #[command(flatten)]
    regularisation: Regularisation,
    #[command(flatten)]
    data: Data,

    /// Where every random choice comes from [default: 0].
    #[arg(long, value_parser = seed, value_name = "N")]
    seed: Option<u64>,
    /// Threads; without it, all of the machine. The result does not depend on it.
    #[arg(long, value_parser = threads, value_name = "N")]
    threads: Option<usize>,
}

/// The model to build.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
struct Model {
    /// Recurrent cell of every layer [default: lstm].
    #[arg(long, value_parser = cell_parser())]
    cell: Option<Cell>,
    /// Width of every layer [default: 128]; or one for each, the lowest first: 256,128.
    #[arg(long, value_parser = at_least_one, value_delimiter = ',', value_name = "N")]
    hidden: Option<Vec<usize>>,
    /// Stacked layers [default: 2].
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    layers: Option<usize>,
    /// Width of a learned table of the symbols; 0 feeds them one-hot [default: 0].
    #[arg(long, value_parser = whole::<usize>, value_name = "N")]
    embedding: Option<usize>,
    /// Initial weights: uniform in ±√(3/n) for n inputs, which are 1 for one-hot symbols; in ±1/√hidden (uniform); in ±0.08
    /// (char-rnn); or as uniform, but orthogonal recurrent ones [default: fan-in].
    #[arg(long, value_parser = named::<Init>(&["fan-in", "uniform", "char-rnn", "orthogonal"]))]
    init: Option<Init>,
    /// Initial bias of an LSTM's forget gate [default: 1].
    #[arg(long, value_parser = finite, value_name = "X")]
    forget_bias: Option<f32>,
    /// Bias the gates for time scales of up to N steps (chrono initialisation); 0 is not [default: 0].
    #[arg(long, value_parser = whole::<u64>, value_name = "N")]
    chrono: Option<u64>,
    /// The decoder's weights are those of the embedding, which must be as wide as --hidden.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    tie: Option<bool>,
    /// What a symbol is; auto takes characters if the text is UTF-8 [default: auto].
    #[arg(long, value_parser = named::<Mode>(&["auto", "bytes", "characters"]))]
    vocab: Option<Mode>,
}

/// How long to train: until the first of those given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Length (without one of these: 10 epochs, but at least 500 steps)")]
struct Limit {
    /// Passes over the training part; may be a fraction.
    #[arg(long, value_parser = positive, conflicts_with = "steps", value_name = "N")]
    epochs: Option<f64>,
    /// Steps, each of one batch of windows.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LARGEST), value_name = "N")]
    steps: Option<u64>,
    /// Wall time in seconds or as 10m, validation and what was before --resume included; beside epochs or steps, also those
    /// of a file or a run, the first ends it.
    #[arg(long, value_parser = seconds, value_name = "TIME")]
    max_seconds: Option<f64>,
}

/// The descent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Optimisation")]
struct Descent {
    /// Method [default: adam].
    #[arg(long, value_parser = named::<OptimizerName>(&["adam", "rmsprop", "adagrad", "sgd"]))]
    optimizer: Option<OptimizerName>,
    /// Momentum of sgd [default: 0].
    #[arg(long, value_parser = share, value_name = "X")]
    momentum: Option<f64>,
    /// Decay of Adam's mean of the gradients [default: 0.9].
    #[arg(long, value_parser = share, value_name = "X")]
    beta1: Option<f64>,
    /// Decay of Adam's mean of their squares [default: 0.999].
    #[arg(long, value_parser = share, value_name = "X")]
    beta2: Option<f64>,
    /// Learning rate [default: 0.002].
    #[arg(long, value_parser = positive, value_name = "X")]
    lr: Option<f64>,
    /// What becomes of it: step is char-rnn's factor per epoch, cosine falls to --lr-min at the end, plateau falls when
    /// the validation loss stays [default: constant].
    #[arg(long, value_parser = named::<ScheduleName>(&["constant", "step", "cosine", "plateau"]))]
    lr_schedule: Option<ScheduleName>,
    /// Factor of step and plateau [default: step 0.97, plateau 0.5].
    #[arg(long, value_parser = positive, value_name = "X")]
    lr_decay: Option<f64>,
    /// Epochs with the full rate, for step [default: 10].
    #[arg(long, value_parser = whole::<u64>, value_name = "N")]
    lr_decay_after: Option<u64>,
    /// Lowest rate of cosine and plateau [default: 0].
    #[arg(long, value_parser = not_negative, value_name = "X")]
    lr_min: Option<f64>,
    /// Validations in a row that need not improve, for plateau [default: 3].
    #[arg(long, value_parser = whole::<u64>, value_name = "N")]
    lr_patience: Option<u64>,
    /// Steps over which the rate grows to its height [default: 0].
    #[arg(long, value_parser = whole::<u64>, value_name = "N")]
    warmup: Option<u64>,
    /// Largest Euclidean norm of the whole gradient; 0 is no limit [default: 5].
    #[arg(long, value_parser = not_negative, value_name = "X")]
    clip_norm: Option<f64>,
    /// Clip each component of the gradient to this absolute value, instead of the norm.
    #[arg(long, value_parser = positive, conflicts_with = "clip_norm", value_name = "X")]
    clip_value: Option<f64>,
    /// Stop after so many validations in a row without a new best; 0 is never [default: 0].
    #[arg(long, value_parser = whole::<u64>, value_name = "N")]
    early_stop: Option<u64>,
    /// Steps between validations; 0: each epoch or a fiftieth of the length, and fewer where they take long [default: 0].
    #[arg(long, value_parser = whole::<u64>, value_name = "N")]
    val_every: Option<u64>,
}

/// Against learning by heart.
#[derive(Debug, Args)]
#[command(next_help_heading = "Regularisation")]
struct Regularisation {
    /// Share of each layer's outputs set to zero in training [default: 0].
    #[arg(long, value_parser = share, value_name = "X")]
    dropout: Option<f64>,
    /// Share of the symbols that are dropped from the input, the same for a whole window [default: 0].
    #[arg(long, value_parser = share, value_name = "X")]
    dropout_input: Option<f64>,
    /// Share of the hidden units that are dropped from the recurrence, the same for a whole window [default: 0].
    #[arg(long, value_parser = share, value_name = "X")]
    dropout_recurrent: Option<f64>,
    /// The masks of --dropout are the same at all steps of a window.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    variational: Option<bool>,
    /// Validate and save weights averaged with this decay; 0: those that learn [default: 0.99].
    #[arg(long, value_parser = share, value_name = "X")]
    ema: Option<f64>,
    /// Decoupled weight decay of Adam (AdamW) [default: 0].
    #[arg(long, value_parser = not_negative, value_name = "X")]
    weight_decay: Option<f64>,
}

/// How the text is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
struct Data {
    /// Parallel streams [default: 50].
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    batch: Option<usize>,
    /// Time steps of a window, which is how far gradients flow back; the state is carried on [default: 50].
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    seq_len: Option<usize>,
    /// Keep the activations of so many steps only, and compute the rest of a long window again; 0 keeps all. Changes no bit
    /// of the model [default: 0].
    #[arg(long, value_parser = whole::<usize>, value_name = "N")]
    checkpoint_every: Option<usize>,
    /// Where the parts lie: one after the other (nanoGPT), or in each of the streams (char-rnn) [default: contiguous].
    #[arg(long, value_parser = named::<Split>(&["contiguous", "streams"]))]
    split: Option<Split>,
    /// Share of the text for validation [default: 0.1].
    #[arg(long, value_parser = share, value_name = "X")]
    val: Option<f64>,
    /// Share of the text for testing [default: 0].
    #[arg(long, value_parser = share, value_name = "X")]
    test: Option<f64>,
}

impl Settings {
    /// Puts what was given in the place of what `config` has.
    pub(crate) fn apply(&self, config: &mut TrainConfig) {
        let Self {
            model,
            limit,
            descent,
            regularisation,
            data,
            seed,
            threads,
        } = self;
        set(&mut config.cell, model.cell);
        match model.hidden.as_deref() {
            None => {}
            Some([width]) => (config.hidden, config.widths) = (*width, Vec::new()),
            Some(widths) => (config.widths, config.layers) = (widths.to_vec(), widths.len()),
        }
        set(&mut config.layers, model.layers);
        set(&mut config.embedding, model.embedding);
        set(&mut config.init, model.init);
        set(&mut config.forget_bias, model.forget_bias);
        set(&mut config.chrono, model.chrono);
        set(&mut config.tie, model.tie);
        set(&mut config.vocab, model.vocab);
        if limit.epochs.is_some() || limit.steps.is_some() {
            (config.epochs, config.steps) = (limit.epochs, limit.steps);
            config.max_seconds = limit.max_seconds;
        } else if limit.max_seconds.is_some() {
            // It joins the limits that there are.
            config.max_seconds = limit.max_seconds;
        }
        set(&mut config.optimizer, descent.optimizer);
        set(&mut config.momentum, descent.momentum);
        set(&mut config.beta1, descent.beta1);
        set(&mut config.beta2, descent.beta2);
        set(&mut config.lr, descent.lr);
        set(&mut config.lr_schedule, descent.lr_schedule);
        config.lr_decay = descent.lr_decay.or(config.lr_decay);
        set(&mut config.lr_decay_after, descent.lr_decay_after);
        set(&mut config.lr_min, descent.lr_min);
        set(&mut config.lr_patience, descent.lr_patience);
        set(&mut config.warmup, descent.warmup);
        if let Some(norm) = descent.clip_norm {
            (config.clip_norm, config.clip_value) = (norm, 0.0);
        }
        if let Some(value) = descent.clip_value {
            (config.clip_value, config.clip_norm) = (value, 0.0);
        }
        set(&mut config.early_stop, descent.early_stop);
        set(&mut config.val_every, descent.val_every);
        set(&mut config.dropout, regularisation.dropout);
        set(&mut config.dropout_input, regularisation.dropout_input);
        set(
            &mut config.dropout_recurrent,
            regularisation.dropout_recurrent,
        );
        set(&mut config.variational, regularisation.variational);
        set(&mut config.ema, regularisation.ema);
        set(&mut config.weight_decay, regularisation.weight_decay);
        set(&mut config.batch, data.batch);
        set(&mut config.seq_len, data.seq_len);
        set(&mut config.checkpoint_every, data.checkpoint_every);
        set(&mut config.split, data.split);
        set(&mut config.val, data.val);
        set(&mut config.test, data.test);
        set(&mut config.seed, *seed);
        set(&mut config.threads, *threads);
    }
}

impl Settings {
    /// Refuses what a model to begin with decides.
    pub(crate) fn check_model(&self) -> Result<(), Failure> {
        let model = &self.model;
        let given = [
            ("--cell", model.cell.is_some()),
            ("--hidden", model.hidden.is_some()),
            ("--layers", model.layers.is_some()),
            ("--embedding", model.embedding.is_some()),
            ("--init", model.init.is_some()),
            ("--forget-bias", model.forget_bias.is_some()),
            ("--chrono", model.chrono.is_some()),
            ("--tie", model.tie.is_some()),
            ("--vocab", model.vocab.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::usage(format!(
                "{option} does nothing where a run begins with a trained model, which decides it: leave it out"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses what was given and would do nothing in `config`.
    pub(crate) fn check(&self, config: &TrainConfig) -> Result<(), Failure> {
        use ScheduleName::{Cosine, Plateau, Step};
        let follows = |schedules: &[ScheduleName]| schedules.contains(&config.lr_schedule);
        let descent = &self.descent;
        let uses = |optimizer: OptimizerName| config.optimizer == optimizer;
        let options = [
            (
                "--momentum",
                descent.momentum.is_some_and(|momentum| momentum > 0.0),
                uses(OptimizerName::Sgd),
                "--optimizer sgd",
            ),
            (
                "--beta1",
                descent.beta1.is_some(),
                uses(OptimizerName::Adam),
                "--optimizer adam",
            ),
            (
                "--beta2",
                descent.beta2.is_some(),
                uses(OptimizerName::Adam),
                "--optimizer adam",
            ),
            (
                "--lr-decay",
                descent.lr_decay.is_some(),
                follows(&[Step, Plateau]),
                "--lr-schedule step or plateau",
            ),
            (
                "--lr-decay-after",
                descent.lr_decay_after.is_some(),
                follows(&[Step]),
                "--lr-schedule step",
            ),
            (
                "--lr-min",
                descent.lr_min.is_some(),
                follows(&[Cosine, Plateau]),
                "--lr-schedule cosine or plateau",
            ),
            (
                "--lr-patience",
                descent.lr_patience.is_some(),
                follows(&[Plateau]),
                "--lr-schedule plateau",
            ),
            (
                "--forget-bias",
                self.model.forget_bias.is_some(),
                config.cell == Cell::Lstm && config.chrono == 0,
                "--cell lstm, or with --chrono",
            ),
            (
                "--variational",
                self.regularisation.variational == Some(true),
                config.dropout > 0.0,
                "--dropout",
            ),
        ];
        match options.iter().find(|(_, given, used, _)| *given && !used) {
            Some((option, _, _, needed)) => Err(Failure::usage(format!(
                "{option} does nothing without {needed}"
            ))),
            None => Ok(()),
        }
    }
}

fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

/// A setting by the name it has in config.toml.
fn named<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names)
        .try_map(|name| T::deserialize(StringDeserializer::<NameError>::new(name)))
}

/// `500steps`, `30s`, `2m`, `1.5h`.
pub(crate) fn interval(text: &str) -> Result<Interval, String> {
    let steps = text.strip_suffix("steps").or(text.strip_suffix("step"));
    let interval = match steps {
        Some(number) => number.parse().ok().filter(|n| *n > 0).map(Interval::Steps),
        None if text.ends_with(|c: char| c.is_ascii_digit()) => None,
        None => seconds(text)
            .ok()
            .and_then(|s| Duration::try_from_secs_f64(s).ok())
            .map(Interval::Time),
    };
    interval.ok_or_else(|| "give steps or time, such as 500steps, 30s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use clap::CommandFactory;

    use super::*;

    /// The help names the defaults, which are the library's.
    #[test]
    fn the_help_tells_the_defaults() {
        let defaults = serde_json::to_value(TrainConfig::default()).unwrap();
        let cli = super::super::Cli::command();
        let train = cli.find_subcommand("train").unwrap();
        let mut told = 0;
        for argument in train.get_arguments() {
            let name = argument.get_id().as_str();
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let Some((_, told_default)) = help.split_once("[default: ") else {
                continue;
            };
            let (told_default, _) = told_default.split_once(']').unwrap();
            let Some(default) = defaults.get(name) else {
                assert!(["save_every", "keep"].contains(&name), "{name}");
                continue;
            };
            let of_schedules = format!(
                "step {}, plateau {}",
                TrainConfig::STEP_FACTOR,
                TrainConfig::PLATEAU_FACTOR
            );
            let same = match default.as_f64() {
                _ if name == "lr_decay" => told_default == of_schedules,
                Some(number) => told_default.parse() == Ok(number),
                None => default.as_str() == Some(told_default),
            };
            assert!(
                same,
                "{name}: {told_default} in the help, {default} in the library"
            );
            told += 1;
        }
        assert!(told > 20, "{told}");
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("500steps"), Ok(Interval::Steps(500)));
        assert_eq!(interval("30s"), Ok(Interval::Time(Duration::from_secs(30))));
        assert_eq!(interval("2m"), Ok(Interval::Time(Duration::from_secs(120))));
        let half = Duration::from_millis(500);
        assert_eq!(interval("0.5s"), Ok(Interval::Time(half)));
        assert_eq!(interval("1h"), interval("60m"));
        for text in [
            "", "5", "0s", "-1s", "0steps", "1.5steps", "steps", "s", "1e30s",
        ] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
