//! `ifog info`.

use std::collections::BTreeMap;
use std::fmt;

use ifog::language_model::LanguageModel;
use serde::Serialize;

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
    training: BTreeMap<&'a str, &'a str>,
    digest: &'a str,
}

#[derive(Serialize)]
struct VocabularyReport {
    kind: String,
    size: usize,
    /// Printable, escaped as in Rust.
    symbols: Vec<String>,
}

/// The first symbols: a vocabulary may have thousands.
impl fmt::Display for VocabularyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.symbols.len().min(SYMBOLS_SHOWN);
        f.write_str(&self.symbols[..shown].join(" "))?;
        match self.symbols.len() - shown {
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
            symbols: vocabulary
                .symbols()
                .map(|symbol| symbol.to_string())
                .collect(),
        },
        parameters: model.parameters(),
        tensors: model
            .tensors()
            .map(|(name, shape)| TensorReport { name, shape })
            .collect(),
        training: model
            .record()
            .iter()
            .map(|(key, value)| (&**key, &**value))
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
        print_line(format!("  {key:<24} {value}"))?;
    }
    Ok(())
}

/// Four lines of a terminal or so.
const SYMBOLS_SHOWN: usize = 200;
