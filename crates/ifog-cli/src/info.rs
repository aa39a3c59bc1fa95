//! `ifog info`.

use std::collections::BTreeMap;
use std::fmt;

use ifog::language_model::LanguageModel;
use ifog::vocabulary::Symbol;
use serde::Serialize;
use serde_json::Value;

use crate::args::Info;
use crate::failure::Failure;
use crate::output::{print_json, print_line};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    cell: &'a str,
    layers: usize,
    /// Of the last layer.
    hidden: usize,
    /// Of each layer, the lowest first.
    widths: Vec<usize>,
    input: &'a str,
    input_width: usize,
    vocabulary: VocabularyReport,
    parameters: usize,
    tensors: Vec<TensorReport>,
    /// Numbers where they are numbers.
    training: BTreeMap<&'a str, Value>,
    digest: &'a str,
}

#[derive(Serialize)]
struct VocabularyReport {
    kind: String,
    size: usize,
    /// Characters, or bytes as numbers.
    symbols: Vec<Value>,
    /// Printable, escaped as in Rust.
    #[serde(skip)]
    printable: Vec<String>,
}

/// The first symbols: a vocabulary may have thousands.
impl fmt::Display for VocabularyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.printable.len().min(SYMBOLS_SHOWN);
        f.write_str(&self.printable[..shown].join(" "))?;
        match self.printable.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[derive(Serialize)]
struct TensorReport {
    name: String,
    shape: Vec<usize>,
}

/// Describes a stored model.
pub(crate) fn run(args: &Info) -> Result<(), Failure> {
    let model = LanguageModel::load(&args.model)?;
    let config = model.config();
    let vocabulary = model.vocabulary();
    let report = Report {
        cell: config.cell.name(),
        layers: config.layers,
        hidden: config.hidden,
        widths: model.layout().widths().collect(),
        input: config.input.name(),
        input_width: config.input.width(),
        vocabulary: VocabularyReport {
            kind: vocabulary.kind().to_string(),
            size: vocabulary.len(),
            symbols: vocabulary.symbols().map(symbol_value).collect(),
            printable: vocabulary.symbols().map(|s| s.to_string()).collect(),
        },
        parameters: model.parameters(),
        tensors: model
            .tensors()
            .map(|(name, shape)| TensorReport { name, shape })
            .collect(),
        training: model
            .record()
            .iter()
            .map(|(key, value)| (&**key, number_or_text(value)))
            .collect(),
        digest: model.digest(),
    };
    if args.json {
        return print_json(&report);
    }
    let mut widths: Vec<String> = report.widths.iter().map(ToString::to_string).collect();
    if report.widths.iter().all(|width| *width == report.hidden) {
        widths.truncate(1);
    }
    print_line(format!(
        "cell        {}, {} layer(s) of {}",
        report.cell,
        report.layers,
        widths.join(", ")
    ))?;
    print_line(format!(
        "input       {} of {}",
        report.input, report.input_width
    ))?;
    print_line(format!(
        "vocabulary  {} {}: {}",
        report.vocabulary.size, report.vocabulary.kind, report.vocabulary
    ))?;
    print_line(format!("parameters  {}", report.parameters))?;
    print_line(format!("digest      {}", report.digest))?;
    print_line("tensors")?;
    for TensorReport { name, shape } in &report.tensors {
        print_line(format!("  {name:<24} {shape:?}"))?;
    }
    print_line("training")?;
    for (key, value) in &report.training {
        match value {
            Value::String(text) => print_line(format!("  {key:<24} {text}"))?,
            number => print_line(format!("  {key:<24} {number}"))?,
        }
    }
    Ok(())
}

fn symbol_value(symbol: Symbol) -> Value {
    match symbol {
        Symbol::Byte(byte) => byte.into(),
        Symbol::Character(c) => c.to_string().into(),
    }
}

/// A seed may be larger than what JSON's readers keep of a number: it stays a number, with all its digits.
fn number_or_text(value: &str) -> Value {
    match serde_json::from_str(value) {
        Ok(Value::Number(number)) => Value::Number(number),
        _ => Value::String(value.to_owned()),
    }
}

/// Four lines of a terminal or so.
const SYMBOLS_SHOWN: usize = 200;
