//! `ifog view`: a text on the colours of hidden units.

mod ansi;
mod colour;
mod data;
mod page;

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use ifog::language_model::LanguageModel;
use ifog::probe::Trace;
use ifog::probe::features::{Feature, features};
use ifog::probe::finder::{Finding, SHIFTS, find_units, shift_count};

use crate::args::seed;
use crate::failure::Failure;
use crate::level;
use crate::model_text::text_for;
use crate::output::{log, print_json, print_line};
use crate::picture_file::{Kind, write_picture};

/// Show what hidden units do while a model reads a text.
///
/// Writes a page on which every character stands on the colour of one unit, red for positive and blue for negative, with all
/// units in small beside it, and lists the units that follow quotes, brackets, the place in the line and the like better than
/// chance would.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ifog view runs/book --out view.html\n  ifog view runs/book chapter.txt --layer 1 --unit 42\n  \
    ifog view runs/book --ansi --unit 7"
)]
pub(crate) struct View {
    /// Run directory or .safetensors file.
    pub(crate) model: PathBuf,
    /// Text file to read; without one, what the model writes itself.
    pub(crate) text: Option<PathBuf>,
    /// Layer to show first, from 0; without it, that of the best unit found, or the last.
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<usize>,
    /// Unit to show first, from 0.
    #[arg(long, value_name = "N")]
    pub(crate) unit: Option<usize>,
    /// Quantity to show first: h, c or a gate.
    #[arg(long, default_value = "h", value_name = "NAME")]
    pub(crate) quantity: String,
    /// Symbols to show.
    #[arg(long, default_value_t = 1200, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_SYMBOLS), value_name = "N")]
    pub(crate) length: usize,
    /// Symbols to look for units in.
    #[arg(long, default_value_t = 4000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_SYMBOLS), value_name = "N")]
    pub(crate) search: usize,
    /// Where every random choice comes from.
    #[arg(long, default_value_t = 0, value_parser = seed, value_name = "N")]
    pub(crate) seed: u64,
    /// Page to write; without it, view.html.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Paint in the terminal instead of writing a page.
    #[arg(long, conflicts_with_all = ["out", "json"])]
    pub(crate) ansi: bool,
    /// Print one JSON object with the units found and the numbers behind the page; write a page only to --out.
    #[arg(long)]
    pub(crate) json: bool,
}

/// All that is shown.
struct Scene {
    model: LanguageModel,
    trace: Trace,
    /// Those that were read, a character each.
    symbols: Vec<char>,
    features: Vec<Feature>,
    findings: Vec<Finding>,
    /// How many of the symbols are shown.
    length: usize,
    selection: Selection,
}

/// What is shown first.
#[derive(Clone, Copy, Debug)]
struct Selection {
    layer: usize,
    unit: usize,
    /// Index into the layer's quantities.
    quantity: usize,
}

/// Traces, searches, and shows.
pub(crate) fn run(args: &View) -> Result<(), Failure> {
    let page = args.page();
    if let Some(page) = &page {
        Kind::check_page(page)?;
    }
    level::level()?;
    let model = LanguageModel::load(&args.model)?;
    let symbols = args.length.max(args.search);
    let text = text_for(&model, args.text.as_deref(), symbols, args.seed)?;
    let tokens = model.vocabulary().encode_first(&text, symbols)?;
    let trace = Trace::record(&model, &model.vocabulary().decode(&tokens)?)?;
    // What is asked for in vain is said before the search.
    select(args, &trace, &[])?;
    let symbols = characters(&model, &tokens)?;
    let features = features(&symbols);
    log(format_args!(
        "looking for units in {} symbols",
        trace.steps()
    ));
    let findings = search(&trace, &features, args.seed);
    let scene = Scene {
        length: args.length.min(trace.steps()),
        selection: select(args, &trace, &findings)?,
        model,
        trace,
        symbols,
        features,
        findings,
    };

    let printed = match (args.json, args.ansi) {
        (true, _) => print_json(&data::Report::of(&scene)?),
        (false, true) => ansi::paint(&scene),
        (false, false) => print(&scene),
    };
    // That nobody reads what is printed is no reason to lose the page.
    if let Some(out) = &page {
        write_picture(out, &page::render(&scene)?)?;
    }
    printed
}

impl View {
    /// The page to write, if any.
    fn page(&self) -> Option<PathBuf> {
        let usual = (!self.json && !self.ansi).then(|| PathBuf::from("view.html"));
        self.out.clone().or(usual)
    }
}

/// A character a symbol; bytes that are none alone are shown as �.
fn characters(model: &LanguageModel, tokens: &[u32]) -> Result<Vec<char>, Failure> {
    let mut symbols = Vec::with_capacity(tokens.len());
    let mut bytes = Vec::new();
    for &token in tokens {
        bytes.clear();
        model.vocabulary().decode_onto(token, &mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        symbols.push(text.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    Ok(symbols)
}

/// By h, the first quantity of a layer.
fn search(trace: &Trace, features: &[Feature], seed: u64) -> Vec<Finding> {
    let layers = trace.layers.iter();
    let states = layers.map(|layer| (&layer.quantities[0].values[..], layer.hidden));
    find_units(&states.collect::<Vec<_>>(), features, seed)
}

fn select(args: &View, trace: &Trace, findings: &[Finding]) -> Result<Selection, Failure> {
    let best = findings.iter().find(|f| f.claimed);
    let last = trace.layers.len() - 1;
    let layer = args.layer.unwrap_or_else(|| best.map_or(last, |f| f.layer));
    if layer > last {
        return Err(Failure::usage(format!(
            "there is no layer {layer}: give one from 0 to {last}"
        )));
    }
    let found = best.filter(|f| f.layer == layer).map_or(0, |f| f.unit);
    let unit = args.unit.unwrap_or(found);
    let hidden = trace.layers[layer].hidden;
    if unit >= hidden {
        return Err(Failure::usage(format!(
            "there is no unit {unit} in layer {layer}: give one from 0 to {}",
            hidden - 1
        )));
    }
    let quantities = &trace.layers[layer].quantities;
    let quantity = quantities.iter().position(|q| q.name == args.quantity);
    let Some(quantity) = quantity else {
        let names: Vec<_> = quantities.iter().map(|q| q.name).collect();
        return Err(Failure::usage(format!(
            "the model has no quantity '{}': give one of {}",
            args.quantity,
            names.join(", ")
        )));
    };
    Ok(Selection {
        layer,
        unit,
        quantity,
    })
}

fn print(scene: &Scene) -> Result<(), Failure> {
    if scene.findings.is_empty() {
        return print_line(NOTHING);
    }
    print_line(format!(
        "{:<22} {:>5} {:>5} {:>12} {:>7}  verdict",
        "feature", "layer", "unit", "correlation", "chance"
    ))?;
    for f in &scene.findings {
        print_line(format!(
            "{:<22} {:>5} {:>5} {:>12.3} {:>7.3}  {}",
            f.feature,
            f.layer,
            f.unit,
            f.correlation,
            f.chance,
            verdict(f)
        ))?;
    }
    print_line(note(shift_count(scene.trace.steps())))
}

/// In a word.
fn verdict(finding: &Finding) -> &'static str {
    let strength = finding.correlation.abs();
    match finding.claimed {
        true if strength >= TRACKS => "tracks it",
        true if strength >= FOLLOWS => "follows it",
        true => "follows it weakly",
        false if strength > finding.chance => "not beyond doubt",
        false => "no more than chance",
    }
}

/// How to read findings that come of so many shifts.
fn note(shifts: usize) -> String {
    if shifts < SHIFTS {
        format!(
            "{NOTE} In a text this short only {shifts} shifts differ, too few for much certainty."
        )
    } else {
        NOTE.to_owned()
    }
}

const NOTE: &str = "Units were chosen on the first half of the text; the correlation is that on the second half. Chance is what its \
                    size exceeds in 5 % of the cases when the feature is shifted against the text. The verdicts keep the \
                    rate of false discoveries at 5 %; what is above chance, but not surely enough for that among so many features, is \
                    not beyond doubt. A unit is said to track a feature from a correlation of 0.7 on, which is half of the variance, to \
                    follow it from 0.4 on, and to follow it weakly below.";
/// Correlation of a unit that tracks a feature: half of the variance of one is that of the other.
const TRACKS: f64 = 0.7;
/// Of one that follows it: a sixth.
const FOLLOWS: f64 = 0.4;
/// Instead of findings.
const NOTHING: &str = "The text has no feature that could be judged.";

/// What a page, and the search for units, can take.
const MOST_SYMBOLS: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_as_strong_as_the_correlation() {
        let of = |correlation, claimed| {
            let finding = Finding {
                feature: "digit",
                layer: 0,
                unit: 0,
                correlation,
                chance: 0.657,
                p: 0.02,
                claimed,
            };
            verdict(&finding)
        };
        assert_eq!(of(-0.75, true), "tracks it");
        assert_eq!(of(-0.69, true), "follows it");
        assert_eq!(of(0.215, true), "follows it weakly");
        assert_eq!(of(-0.75, false), "not beyond doubt");
        assert_eq!(of(0.75, false), "not beyond doubt");
        assert_eq!(of(-0.65, false), "no more than chance");
    }

    #[test]
    fn few_shifts_are_told() {
        assert_eq!(note(SHIFTS), NOTE);
        assert!(note(48).contains("only 48 shifts differ"));
    }
}
