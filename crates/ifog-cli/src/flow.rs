//! `ifog flow`: how gradients flow back through time.

mod measure;
mod toy;

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::args::{at_least_one, finite_f64};
use crate::failure::Failure;
use crate::picture_file::ReportOptions;

/// Show how gradients flow back through time.
///
/// The loss at one position is sent back alone; the norm of its gradient with respect to the carried state, lag by lag,
/// tells how far back the network can learn. With models, of each of them; without, of the four cells untrained.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog flow --out flow.svg\n  ifog flow runs/rnn runs/lstm --text book.txt --out flow.html\n  \
    ifog flow --toy\n  ifog flow --toy --steps 30 --w-hh 0.9 --out toy.svg"
)]
pub(crate) struct Flow {
    /// Run directories or .safetensors files to compare.
    pub(crate) models: Vec<PathBuf>,
    /// Also measure an untrained network of the same shape, from --seed; without models, that is all there is.
    #[arg(long)]
    pub(crate) untrained: bool,
    /// Text to predict; without it, what each model writes itself or, without models, the sources of ifog.
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Steps to go back.
    #[arg(long, default_value_t = 100, value_parser = at_least_one, value_name = "N")]
    pub(crate) lags: usize,
    /// Positions of the text to average over; a short text may have fewer.
    #[arg(long, default_value_t = 32, value_parser = at_least_one, value_name = "N")]
    pub(crate) positions: usize,
    /// Width of untrained cells without a model.
    #[arg(long, default_value_t = 128, value_parser = at_least_one, value_name = "N", conflicts_with = "models")]
    pub(crate) hidden: usize,
    /// Layers of untrained cells without a model.
    #[arg(long, default_value_t = 2, value_parser = at_least_one, value_name = "N", conflicts_with = "models")]
    pub(crate) layers: usize,
    /// A network of one unit that can be checked by hand: h_t = tanh(2 x + 3 h + 1).
    #[arg(long, conflicts_with_all = ["models", "untrained", "text", "lags", "positions", "hidden", "layers"])]
    pub(crate) toy: bool,
    /// Constant inputs of --toy.
    #[arg(long, value_delimiter = ',', default_value = "-0.5,0,1", value_parser = finite_f64, required = false,
          requires = "toy", value_name = "X,…", allow_hyphen_values = true)]
    pub(crate) inputs: Vec<f64>,
    /// Steps T of --toy.
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_STEPS), value_name = "N",
          requires = "toy")]
    pub(crate) steps: usize,
    /// Recurrent weight of --toy.
    #[arg(long, default_value_t = 3.0, value_parser = finite_f64, value_name = "X", requires = "toy")]
    pub(crate) w_hh: f64,
    /// Initial state of --toy.
    #[arg(long, default_value_t = 0.0, value_parser = finite_f64, value_name = "X", requires = "toy")]
    pub(crate) h0: f64,
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// Shows the flow.
pub(crate) fn run(args: &Flow) -> Result<(), Failure> {
    args.report.check()?;
    if args.toy {
        toy::run(args)
    } else {
        measure::run(args)
    }
}

/// Steps of a toy that a chart can show.
const MOST_STEPS: u64 = 10_000;
