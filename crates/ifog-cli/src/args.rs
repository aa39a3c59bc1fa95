//! The command line: names, defaults and ranges. What parses here makes sense on its own.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ifog::Cell;
use ifog::pool::MOST_THREADS;

use crate::bench::Bench;
pub(crate) use train::{Train, interval};

mod train;

/// Recurrent networks on the CPU: train character-level language models, sample from them, evaluate them.
#[derive(Debug, Parser)]
#[command(name = "ifog", version, arg_required_else_help = true)]
#[command(
    after_help = "Example:\n  ifog train                train on the sources of ifog itself\n  \
    ifog sample runs/ifog-sources\n\nExit codes: 0 success, 1 failure, 2 wrong usage, 3 training diverged, 130, 143 and\n\
    129 stopped by Ctrl-C, SIGTERM or SIGHUP (train saves where it is, task reports what it has).\n\
    IFOG_ISA=portable|scalar-fma|avx2|avx512 forces an instruction set; all but portable, which has no fused\n\
    multiply-add, give the same bits."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What was typed. Every option takes a negative number, so that its own rule can say what is wrong with it.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let command = Self::command().mut_subcommands(|command| {
            command.mut_args(|arg| {
                let negative = !arg.is_positional() && arg.get_action().takes_values();
                arg.allow_negative_numbers(negative)
            })
        });
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Train(Box<Train>),
    Sample(Sample),
    Eval(Eval),
    Gradcheck(Gradcheck),
    Bench(Bench),
    Info(Info),
    Flow(crate::flow::Flow),
    Task(crate::task::Task),
    Forecast(crate::forecast::Forecast),
    View(crate::view::View),
    Compare(crate::compare::Compare),
}

/// Write text with a model, to standard output.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog sample runs/book --length 1000 --temperature 0.7\n  \
    ifog sample runs/book --prime 'It was' --top-k 10 --seed 3"
)]
pub(crate) struct Sample {
    /// Run directory or .safetensors file.
    pub(crate) model: PathBuf,
    /// Symbols to write after --prime.
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(crate) length: usize,
    /// Divides the logits: 0 takes the most likely symbol, 1 the model's own distribution.
    #[arg(long, default_value_t = 0.8, value_parser = not_negative, value_name = "X")]
    pub(crate) temperature: f64,
    /// Choose among the N most likely symbols only.
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    pub(crate) top_k: Option<usize>,
    /// Text to continue; it is printed, too. \n is a line end and \t a tab if the model knows no backslash.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    pub(crate) prime: String,
    /// Where every random choice comes from.
    #[arg(long, default_value_t = 0, value_parser = seed, value_name = "N")]
    pub(crate) seed: u64,
}

/// Measure how well a model predicts a text.
///
/// The text is cut as in the training of the model, so on the corpus it was trained on `val` is the
/// validation part of that training; and read as there, in as many streams, each from a state of zeros: models that
/// were trained with different --batch are not compared to the last digit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ifog eval runs/book book.txt\n  \
    ifog eval runs/book other.txt --split-part all --json")]
pub(crate) struct Eval {
    /// Run directory or .safetensors file.
    pub(crate) model: PathBuf,
    /// Text to predict.
    pub(crate) corpus: PathBuf,
    /// Part of the text.
    #[arg(long, default_value = "val")]
    pub(crate) split_part: SplitPart,
    /// Threads; without it, all of the machine. The result does not depend on it.
    #[arg(long, value_parser = threads, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Print {"loss","bits_per_char","perplexity","chars","part"}, the loss in nats.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check the gradients of every tensor against central differences, in f64.
///
/// Exits with code 1 if a tensor exceeds its bound.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog gradcheck\n  ifog gradcheck --cell gru --layers 2 --json"
)]
pub(crate) struct Gradcheck {
    /// Only this cell.
    #[arg(long, value_parser = cell_parser())]
    pub(crate) cell: Option<Cell>,
    /// Only this many layers; without it, 1, 2 and 3.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=8), value_name = "N")]
    pub(crate) layers: Option<u8>,
    /// Where every random choice comes from.
    #[arg(long, default_value_t = 0, value_parser = seed, value_name = "N")]
    pub(crate) seed: u64,
    /// Print a line of JSON a tensor, then {"ok","tensors","worst"}.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Describe a model: cells, shapes, parameters, training record, digest.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog info runs/book\n  ifog info runs/book/model.safetensors --json"
)]
pub(crate) struct Info {
    /// Run directory or .safetensors file.
    pub(crate) model: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SplitPart {
    Val,
    Test,
    All,
}

/// The cells by their names in files, in the order of the help.
pub(crate) fn cell_parser() -> impl TypedValueParser<Value = Cell> {
    let names = [Cell::Lstm, Cell::Gru, Cell::GruAfter, Cell::Rnn].map(Cell::name);
    PossibleValuesParser::new(names)
        .try_map(|name| Cell::named(&name).ok_or("there is no such cell"))
}

/// Of threads; each costs memory for its stack and its scratch.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match whole(text) {
        Ok(number @ 1..=MOST_THREADS) => Ok(number),
        _ => Err(format!("give a whole number from 1 to {MOST_THREADS}")),
    }
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match whole(text) {
        Ok(0) | Err(_) => Err(format!(
            "give a whole number of at least 1 and at most {LARGEST}"
        )),
        Ok(number) => Ok(number),
    }
}

pub(crate) fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    whole_to(LARGEST, text)
}

/// All 64 bits: a seed is kept as text where numbers have fewer.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    whole_to(u64::MAX, text)
}

fn whole_to<T: TryFrom<u64>>(largest: u64, text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| *number <= largest);
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("give a whole number from 0 to {largest}"))
}

fn finite(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err("give a finite number".into()),
    }
}

pub(crate) fn finite_f64(text: &str) -> Result<f64, String> {
    number(text, "give a finite number", |_| true)
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    number(text, "give a finite number above 0", |x| x > 0.0)
}

/// Seconds, or so many `s`, `m` or `h`.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let units = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let unit = units
        .iter()
        .find_map(|(unit, s)| Some((text.strip_suffix(unit)?, *s)));
    let (digits, unit) = unit.unwrap_or((text, 1.0));
    let advice = "give seconds, or a time such as 90s, 10m or 1.5h";
    number(digits, advice, |x| x > 0.0 && (x * unit).is_finite()).map(|x| x * unit)
}

pub(crate) fn not_negative(text: &str) -> Result<f64, String> {
    number(text, "give a finite number of at least 0", |x| x >= 0.0)
}

pub(crate) fn share(text: &str) -> Result<f64, String> {
    number(text, "give a share from 0 to below 1", |x| {
        (0.0..1.0).contains(&x)
    })
}

pub(crate) fn positive_share(text: &str) -> Result<f64, String> {
    number(text, "give a share above 0 and below 1", |x| {
        x > 0.0 && x < 1.0
    })
}

fn number(text: &str, advice: &str, accept: impl Fn(f64) -> bool) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && accept(x) => Ok(x),
        _ => Err(advice.into()),
    }
}

/// The largest whole number of TOML, which config.toml is written in.
const LARGEST: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for text in ["nan", "inf", "-inf", "0", "-1", "", "x"] {
            assert!(positive(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "1.5", "", "99999999999999999999999"] {
            assert!(at_least_one(text).is_err(), "{text}");
        }
        for text in ["1", "-0.1", "nan"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(not_negative("0"), Ok(0.0));
        assert_eq!(positive("2e-3"), Ok(2e-3));
        for text in ["0s", "-1m", "1d", "s", "", "1e308h", "1 2"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        let times = ["90", "90s", "1.5m", "0.025h"].map(seconds);
        assert!(times.iter().all(|time| *time == Ok(90.0)), "{times:?}");
    }
}
