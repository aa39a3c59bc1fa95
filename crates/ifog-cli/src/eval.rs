//! `ifog eval`.

use ifog::corpus::{PartName, read_corpus_file};
use ifog::language_model::LanguageModel;
use serde::Serialize;

use crate::args::{Eval, SplitPart};
use crate::failure::Failure;
use crate::level::level;
use crate::output::{log, print_json, print_line};
use crate::progress::Nats;

/// What `--json` prints: mean loss in nats, the same in bits, exp(loss), how many symbols were predicted, and which.
#[derive(Serialize)]
struct Report {
    loss: f64,
    bits_per_char: f64,
    perplexity: f64,
    chars: u64,
    /// Of the text: val, test, all, or train where it has no part for validation.
    part: &'static str,
}

/// Evaluates a stored model on a text.
pub(crate) fn run(args: &Eval) -> Result<(), Failure> {
    level()?;
    let model = LanguageModel::load(&args.model)?;
    let text = read_corpus_file(&args.corpus)?;
    let part = match args.split_part {
        SplitPart::Val => PartName::Val,
        SplitPart::Test => PartName::Test,
        SplitPart::All => PartName::All,
    };
    let found = model.evaluate_text(&text, part, args.threads.unwrap_or(0))?;
    if found.part == PartName::Train {
        log(
            "the text is too short for a part for validation: this is the loss on what a training would read; --split-part all reads all of it",
        );
    }
    let loss = Nats(found.loss);
    let report = Report {
        loss: found.loss,
        bits_per_char: loss.bits(),
        perplexity: found.loss.exp(),
        chars: found.chars,
        part: match found.part {
            PartName::Train => "train",
            PartName::Val => "val",
            PartName::Test => "test",
            PartName::All => "all",
        },
    };
    if args.json {
        return print_json(&report);
    }
    print_line(format!("loss               {:.6} nats", report.loss))?;
    print_line(format!("bits per character {:.6}", report.bits_per_char))?;
    print_line(format!("perplexity         {:.6}", report.perplexity))?;
    print_line(format!("characters         {}", report.chars))?;
    print_line(format!("part of the text   {}", report.part))
}
