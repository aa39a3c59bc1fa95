//! `ifog flow`: how gradients flow back through time.

mod toy;

use std::path::PathBuf;

use clap::Args;

use crate::args::{at_least_one, finite_f64};
use crate::failure::Failure;

/// Show how gradients flow back through time.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog flow --toy\n  ifog flow --toy --steps 30 --w-hh 0.9 --out toy.svg"
)]
pub(crate) struct Flow {
    /// A network of one unit that can be checked by hand: h_t = tanh(2 x + 3 h + 1).
    #[arg(long, required = true)]
    pub(crate) toy: bool,
    /// Constant inputs of --toy.
    #[arg(long, value_delimiter = ',', default_value = "-0.5,0,1", value_parser = finite_f64, required = false,
          value_name = "X,…", allow_negative_numbers = true)]
    pub(crate) inputs: Vec<f64>,
    /// Steps T of --toy.
    #[arg(long, default_value_t = 3, value_parser = at_least_one, value_name = "N")]
    pub(crate) steps: usize,
    /// Recurrent weight of --toy.
    #[arg(long, default_value_t = 3.0, value_parser = finite_f64, value_name = "X", allow_negative_numbers = true)]
    pub(crate) w_hh: f64,
    /// Initial state of --toy.
    #[arg(long, default_value_t = 0.0, value_parser = finite_f64, value_name = "X", allow_negative_numbers = true)]
    pub(crate) h0: f64,
    /// Chart to write: .svg, or .html for a page with the table.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Shows the flow.
pub(crate) fn run(args: &Flow) -> Result<(), Failure> {
    toy::run(args)
}
