//! `ifog flow` on models: gradients by lag, of trained and untrained cells.

use std::fs;
use std::path::Path;

use ifog::Cell;
use ifog::config::{InputConfig, NetworkConfig};
use ifog::cost::check_memory;
use ifog::flow::{Flow as Measured, FlowConfig, LayerFlow, Norms};
use ifog::language_model::LanguageModel;
use ifog::parameters::Layout;
use ifog::vocabulary::{Mode, Vocabulary};
use serde::Serialize;

use super::Flow;
use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::model_text::text_for;
use crate::output::{log, print_json, print_line};
use crate::page::table;
use crate::picture_file::write_chart;
use crate::{embedded, level};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    lags: usize,
    positions: usize,
    seed: u64,
    networks: Vec<Network>,
    summary: Vec<String>,
}

#[derive(Serialize)]
struct Network {
    name: String,
    cell: &'static str,
    hidden: usize,
    trained: bool,
    /// From the input up.
    layers: Vec<Layer>,
    /// Of the training, if its directory was given.
    clipping: Option<Clipping>,
}

/// Norms are indexed by the lag, from 0.
#[derive(Serialize)]
struct Layer {
    state: Vec<NormsLine>,
    h: Vec<NormsLine>,
    c: Vec<NormsLine>,
    half_lag: Option<usize>,
    hundredth_lag: Option<usize>,
    gain_per_step: f64,
    gates: Vec<Gate>,
}

#[derive(Serialize)]
struct NormsLine {
    mean: f64,
    q10: f64,
    median: f64,
    q90: f64,
}

#[derive(Serialize)]
struct Gate {
    name: &'static str,
    left_saturated: f64,
    right_saturated: f64,
    spectral_radius: f64,
    largest_singular_value: f64,
}

/// How often the gradient of a training step was clipped, and what share of its norm was removed then, on average.
#[derive(Serialize)]
struct Clipping {
    steps: u64,
    clipped: f64,
    removed: f64,
}

/// Measures the models named, or all four cells untrained.
pub(super) fn run(args: &Flow) -> Result<(), Failure> {
    level::level()?;
    let mut networks = Vec::new();
    for path in &args.models {
        let model = LanguageModel::load(path)?;
        // Before a text is written that could not be measured.
        check_memory(
            model.layout(),
            args.lags,
            1,
            args.positions,
            size_of::<f64>(),
        )?;
        // Twice the lags, once to warm up, and room for the positions to differ.
        let apart = args.positions.saturating_mul(SYMBOLS_A_POSITION);
        let symbols = args.lags.saturating_mul(2).saturating_add(apart);
        let text = text_for(&model, args.text.as_deref(), symbols, args.seed)?;
        let tokens = model.vocabulary().encode(&text)?;
        let name = name_of(path);
        log(format_args!("measuring {name}"));
        let clipping = clipping(path, &model);
        let (layout, weights) = (model.layout(), model.weights());
        let flow =
            Measured::measure(layout, weights, &tokens, config(args)).map_err(Failure::of)?;
        networks.push(describe(name, layout.config(), true, flow, clipping));
        if args.untrained {
            networks.push(untrained(args, layout, &tokens)?);
        }
    }
    if args.models.is_empty() {
        let text = match &args.text {
            Some(file) => ifog::corpus::read_corpus_file(file)?,
            None => embedded::SOURCES.to_vec(),
        };
        let vocabulary = Vocabulary::of_text(&text, Mode::Auto)?;
        let tokens = vocabulary.encode(&text)?;
        for cell in Cell::ALL {
            let network = NetworkConfig {
                cell,
                input: InputConfig::OneHot {
                    vocabulary: vocabulary.len(),
                },
                hidden: args.hidden,
                layers: args.layers,
                outputs: vocabulary.len(),
            };
            let layout = Layout::new(network).map_err(Failure::of)?;
            networks.push(untrained(args, &layout, &tokens)?);
        }
    }
    let report = Report {
        lags: args.lags,
        positions: args.positions,
        seed: args.seed,
        summary: networks.iter().map(sentence).collect(),
        networks,
    };
    if let Some(out) = &args.out {
        write_chart(out, &chart(&report), &table(&HEADING, &rows(&report)))?;
    }
    if args.json {
        return print_json(&report);
    }
    print(&report)
}

fn untrained(args: &Flow, layout: &Layout, tokens: &[u32]) -> Result<Network, Failure> {
    let network = layout.config();
    let name = format!("{} untrained", network.cell.name());
    log(format_args!("measuring {name}"));
    let flow = Measured::of_untrained(layout, tokens, config(args)).map_err(Failure::of)?;
    Ok(describe(name, network, false, flow, None))
}

fn config(args: &Flow) -> FlowConfig {
    FlowConfig {
        lags: args.lags,
        positions: args.positions,
        seed: args.seed,
    }
}

fn describe(
    name: String,
    network: &NetworkConfig,
    trained: bool,
    flow: Measured,
    clipping: Option<Clipping>,
) -> Network {
    Network {
        name,
        cell: network.cell.name(),
        hidden: network.hidden,
        trained,
        layers: flow.layers.iter().map(Layer::of).collect(),
        clipping,
    }
}

impl Layer {
    fn of(flow: &LayerFlow) -> Self {
        let lines = |norms: &[Norms]| norms.iter().map(NormsLine::of).collect();
        Self {
            state: lines(&flow.state),
            h: lines(&flow.h),
            c: lines(&flow.c),
            half_lag: flow.falls_to(0.5),
            hundredth_lag: flow.falls_to(0.01),
            gain_per_step: flow.gain(),
            gates: flow
                .gates
                .iter()
                .map(|gate| Gate {
                    name: gate.name,
                    left_saturated: gate.left,
                    right_saturated: gate.right,
                    spectral_radius: gate.spectral_radius,
                    largest_singular_value: gate.largest_singular_value,
                })
                .collect(),
        }
    }
}

impl NormsLine {
    fn of(norms: &Norms) -> Self {
        Self {
            mean: norms.mean,
            q10: norms.low,
            median: norms.median,
            q90: norms.high,
        }
    }
}

/// From the metrics of the run directory; `None` without one, or without a limit of the norm.
fn clipping(path: &Path, model: &LanguageModel) -> Option<Clipping> {
    let limit: f64 = model.record().get("clip_norm")?.parse().ok()?;
    if limit <= 0.0 {
        return None;
    }
    let metrics = fs::read_to_string(path.join("metrics.jsonl")).ok()?;
    let norm = |line| -> Option<f64> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line.get("grad_norm")?.as_f64()
    };
    let norms: Vec<f64> = metrics.lines().filter_map(norm).collect();
    let removed: Vec<f64> = norms
        .iter()
        .filter(|n| **n > limit)
        .map(|n| 1.0 - limit / n)
        .collect();
    let share = |part: f64, all: usize| part / all.max(1) as f64;
    Some(Clipping {
        steps: norms.len() as u64,
        clipped: share(removed.len() as f64, norms.len()),
        removed: share(removed.iter().fold(0.0, |sum, r| sum + r), removed.len()),
    })
}

/// The file name of a run directory or model.
fn name_of(path: &Path) -> String {
    let named = path.file_stem().unwrap_or(path.as_os_str());
    named.to_string_lossy().into_owned()
}

/// What the figures of the top layer say.
fn sentence(network: &Network) -> String {
    let Some(top) = network.layers.last() else {
        return String::new();
    };
    let within = top.state.len().saturating_sub(1);
    let half = match top.half_lag {
        Some(lag) => format!("keeps half of the gradient up to lag {}", lag - 1),
        None => format!("keeps more than half of the gradient up to lag {within}"),
    };
    let rest = match top.hundredth_lag {
        Some(lag) => format!("has lost all but 1 % by lag {lag}"),
        None => format!("still has more than 1 % at lag {within}"),
    };
    let growth = match top.gain_per_step {
        gain if gain > 1.0 => format!("multiplies it by {gain:.3} a step: it explodes"),
        gain => format!("multiplies it by {gain:.3} a step"),
    };
    format!("{} {half}, {rest}, and {growth}.", network.name)
}

fn chart(report: &Report) -> Chart {
    let mut series = vec![
        Series::line("", 0, vec![(1.0, 1.0), (report.lags as f64, 1.0)]).drawn_as(Mark::Reference),
    ];
    for (colour, network) in report.networks.iter().enumerate() {
        let Some(top) = network.layers.last() else {
            continue;
        };
        let start = top.state.get(1).map_or(1.0, |n| n.median);
        let lags = || top.state.iter().enumerate().skip(1);
        series.push(Series {
            band: lags()
                .map(|(lag, n)| (lag as f64, n.q10 / start, n.q90 / start))
                .collect(),
            ..Series::line(
                &network.name,
                colour,
                lags()
                    .map(|(lag, n)| (lag as f64, n.median / start))
                    .collect(),
            )
        });
    }
    let read = "Norm of the gradient of the loss at one position with respect to the state of the top layer k steps \
                before, as a multiple of that one step before: median, and the range of 80 % of the positions.";
    Chart {
        title: "How far gradients flow back through time".to_owned(),
        caption: format!("{read} {}", report.summary.join(" ")),
        x: Axis::linear("lag k in steps"),
        y: Axis::log("|∂loss / ∂state|, lag 1 = 1"),
        series,
    }
}

fn print(report: &Report) -> Result<(), Failure> {
    let rows = rows(report);
    let lines = std::iter::once(HEADING.map(String::from).to_vec()).chain(rows);
    for row in lines {
        let cells = row.iter().skip(1).map(|cell| format!("{cell:>9}"));
        print_line(format!(
            "{:<20} {}",
            row[0],
            cells.collect::<Vec<_>>().join(" ")
        ))?;
    }
    print_line("")?;
    for (network, sentence) in report.networks.iter().zip(&report.summary) {
        print_line(sentence)?;
        if let Some(clipping) = &network.clipping {
            print_line(format!(
                "  Clipping bit in {:.1} % of {} steps and removed {:.0} % of the norm then.",
                100.0 * clipping.clipped,
                clipping.steps,
                100.0 * clipping.removed
            ))?;
        }
    }
    Ok(())
}

/// A row a layer and gate; what belongs to the layer stands in its first row.
fn rows(report: &Report) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for network in &report.networks {
        for (number, layer) in network.layers.iter().enumerate() {
            let lag = |lag: Option<usize>| lag.map_or("never".to_owned(), |lag| lag.to_string());
            for (gate_number, gate) in layer.gates.iter().enumerate() {
                let first = gate_number == 0;
                let once = |text: String| if first { text } else { String::new() };
                let norm_at = |k: usize| layer.state.get(k).map_or(f64::NAN, |n| n.median);
                rows.push(vec![
                    once(network.name.clone()),
                    once(number.to_string()),
                    once(lag(layer.half_lag)),
                    once(lag(layer.hundredth_lag)),
                    once(format!("{:.3}", layer.gain_per_step)),
                    once(format!("{:.1e}", norm_at(report.lags) / norm_at(1))),
                    gate.name.to_owned(),
                    format!("{:.3}", gate.left_saturated),
                    format!("{:.3}", gate.right_saturated),
                    format!("{:.3}", gate.spectral_radius),
                    format!("{:.3}", gate.largest_singular_value),
                ]);
            }
        }
    }
    rows
}

/// Of a text that a model writes itself.
const SYMBOLS_A_POSITION: usize = 128;
const HEADING: [&str; 11] = [
    "network",
    "layer",
    "half by",
    "1 % by",
    "per step",
    "at end",
    "gate",
    "left sat",
    "right sat",
    "ρ(U)",
    "σ(U)",
];
