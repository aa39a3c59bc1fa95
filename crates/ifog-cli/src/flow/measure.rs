//! `ifog flow` on models: gradients by lag, of trained and untrained cells.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ifog::Cell;
use ifog::config::{InputConfig, NetworkConfig};
use ifog::flow::{Flow as Measured, FlowConfig, GateSpectrum, LayerFlow, Norms, spectra};
use ifog::init::{Init, initial_parameters};
use ifog::language_model::LanguageModel;
use ifog::parameters::Layout;
use ifog::vocabulary::{Mode, Vocabulary};
use maud::{Markup, html};
use serde::Serialize;

use super::Flow;
use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::model_text::text_for;
use crate::output::{decimals, log, print_line, print_table};
use crate::page::table;
use crate::picture_file::write_chart;
use crate::run_directory::METRICS;
use crate::{embedded, level};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    lags: usize,
    /// Asked for.
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
    /// Measured, all different: fewer than asked for in a short text.
    positions: usize,
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
    /// What a step multiplies the gradient by, on average.
    gain_per_step: f64,
    /// The same up to the lag at which 1 % is left, and from there on.
    gain_before: Option<f64>,
    gain_after: Option<f64>,
    /// Of the gradient at lag 1, at the last lag.
    left: f64,
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
    if args.lags < 2 {
        return Err(Failure::usage(
            "--lags 1 leaves nothing to compare: the gradient of each lag is measured by that of lag 1; give at least 2",
        ));
    }
    level::level()?;
    let mut networks = Vec::new();
    for (path, name) in args.models.iter().zip(names_of(&args.models)) {
        let model = LanguageModel::load(path)?;
        // Before a text is written that could not be measured.
        config(args)
            .check_memory(model.layout())
            .map_err(Failure::of)?;
        // Twice the lags, once to warm up, and room for the positions to differ.
        let apart = args.positions.saturating_mul(SYMBOLS_A_POSITION);
        let symbols = args.lags.saturating_mul(2).saturating_add(apart);
        let text = text_for(&model, args.text.as_deref(), symbols, args.report.seed)?;
        let tokens = model.vocabulary().encode(&text)?;
        log(format_args!("measuring {name}"));
        let (layout, weights) = (model.layout(), model.weights());
        let flow =
            Measured::measure(layout, weights, &tokens, config(args)).map_err(Failure::of)?;
        let trained = Network::new(name.clone(), layout, weights, &flow);
        networks.push(Network {
            trained: true,
            clipping: clipping(path, &model),
            ..trained
        });
        if args.untrained {
            // Beside several models it is told whose shape it has.
            let of = match args.models.len() {
                1 => layout.config().cell.name(),
                _ => &name,
            };
            networks.push(untrained(args, of, layout, &tokens)?);
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
            networks.push(untrained(args, cell.name(), &layout, &tokens)?);
        }
    }
    let report = Report {
        lags: args.lags,
        positions: args.positions,
        seed: args.report.seed,
        summary: networks.iter().map(sentence).collect(),
        networks,
    };
    let draw = |out: &Path| write_chart(out, &chart(&report), &figures(&report));
    args.report.deliver(&report, draw, || print(&report))
}

/// A network of the same shape as `of`.
fn untrained(args: &Flow, of: &str, layout: &Layout, tokens: &[u32]) -> Result<Network, Failure> {
    let name = format!("{of} untrained");
    log(format_args!("measuring {name}"));
    // Before the weights are drawn.
    let config = config(args);
    config.check_memory(layout).map_err(Failure::of)?;
    let weights = initial_parameters(layout, Init::FanIn, 1.0, args.report.seed);
    let flow = Measured::measure(layout, &weights, tokens, config).map_err(Failure::of)?;
    Ok(Network::new(name, layout, &weights, &flow))
}

fn config(args: &Flow) -> FlowConfig {
    FlowConfig {
        lags: args.lags,
        positions: args.positions,
        seed: args.report.seed,
    }
}

impl Network {
    /// One that was not trained.
    fn new(name: String, layout: &Layout, weights: &[f32], flow: &Measured) -> Self {
        let layers = flow.layers.iter().enumerate();
        let layers = layers.map(|(number, of)| Layer::new(of, spectra(layout, weights, number)));
        Self {
            name,
            cell: layout.config().cell.name(),
            hidden: layout.config().hidden,
            trained: false,
            positions: flow.positions,
            layers: layers.collect(),
            clipping: None,
        }
    }
}

impl Layer {
    fn new(flow: &LayerFlow, spectra: Vec<GateSpectrum>) -> Self {
        let lines = |norms: &[Norms]| norms.iter().map(NormsLine::of).collect();
        let gates = flow.gates.iter().zip(spectra);
        let gates = gates.map(|(saturation, spectrum)| Gate {
            name: saturation.gate,
            left_saturated: saturation.left,
            right_saturated: saturation.right,
            spectral_radius: spectrum.radius,
            largest_singular_value: spectrum.largest_singular_value,
        });
        let (hundredth_lag, end) = (flow.falls_to(0.01), flow.state.len());
        let gain = |lags: Range<usize>| Some(flow.gain_within(lags)).filter(|g| g.is_finite());
        Self {
            state: lines(&flow.state),
            h: lines(&flow.h),
            c: lines(&flow.c),
            half_lag: flow.falls_to(0.5),
            hundredth_lag,
            gain_per_step: flow.gain(),
            gain_before: hundredth_lag.and_then(|lag| gain(1..lag + 1)),
            gain_after: hundredth_lag.and_then(|lag| gain(lag..end)),
            left: flow.share_at(end - 1),
            gates: gates.collect(),
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
    let metrics = fs::read_to_string(path.join(METRICS)).ok()?;
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

/// The file names of run directories or models; if two are alike, the names of the directories that these are in; and if two of
/// these are alike, the paths.
fn names_of(paths: &[PathBuf]) -> Vec<String> {
    let file = |path: &Path| text(path.file_stem().unwrap_or(path.as_os_str()));
    let directory = |path: &Path| text(path.parent().and_then(Path::file_name).unwrap_or_default());
    let named = |name: &dyn Fn(&Path) -> String| -> Option<Vec<String>> {
        let names: Vec<String> = paths.iter().map(|path| name(path)).collect();
        let different: HashSet<&String> = names.iter().filter(|name| !name.is_empty()).collect();
        (different.len() == names.len()).then_some(names)
    };
    named(&file)
        .or_else(|| named(&directory))
        .unwrap_or_else(|| paths.iter().map(|path| text(path.as_os_str())).collect())
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// What the figures of the top layer say.
fn sentence(network: &Network) -> String {
    let Some(top) = network.layers.last() else {
        return String::new();
    };
    if top.left.is_nan() {
        return format!(
            "{}: no gradient reaches its states at all, as whatever it passes is saturated: the model has left the range in which it can learn.",
            network.name
        );
    }
    let end = top.state.len().saturating_sub(1);
    let left = format!("{:.1e} of it is left at lag {end}", top.left);
    let half = match top.half_lag {
        Some(lag) => format!("halves by lag {lag}"),
        None if top.gain_per_step > 1.0 => "grows".to_owned(),
        None => format!("is more than half at lag {end}"),
    };
    let hundredth = match top.hundredth_lag {
        Some(lag) => format!("{half} and is down to 1 % by lag {lag}"),
        None => half,
    };
    let loss = |gain: f64| format!("{:.0} % a step", 100.0 * (1.0 - gain));
    let pace = match (top.gain_before, top.gain_after, top.gain_per_step) {
        (.., gain) if gain > 1.0 => {
            format!("it is multiplied by {gain:.3} a step: it explodes, and {left}")
        }
        // Two paces: what is soon forgotten, and the rest.
        (Some(before), Some(after), _) if 1.0 - after < SLOWER * (1.0 - before) => format!(
            "it first loses {}, the rest only {}, and {left}",
            loss(before),
            loss(after)
        ),
        (.., gain) if gain.is_nan() => left,
        (.., gain) => format!("it loses {}, and {left}", loss(gain)),
    };
    format!("{}: the gradient {hundredth}; {pace}.", network.name)
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
    let read = format!(
        "Norm of the gradient of the loss at one position with respect to the state of the top layer k steps before, as a multiple \
         of that one step before: {}.",
        spread(&report.networks)
    );
    Chart {
        title: "How far gradients flow back through time".to_owned(),
        caption: format!("{read} {}", report.summary.join(" ")),
        x: Axis::linear("lag k in steps"),
        y: Axis::log("|∂loss / ∂state|, lag 1 = 1"),
        series,
    }
}

/// What line and band are of.
fn spread(networks: &[Network]) -> String {
    let counts = || networks.iter().map(|network| network.positions);
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let count = match least == most {
        true => most.to_string(),
        false => format!("{least} to {most}"),
    };
    match most {
        0 | 1 => "at the only position of the text".to_owned(),
        // The nearest values to the quantiles are the least and the largest.
        2..=5 => format!("median and range of the {count} positions"),
        _ => format!("median, and the range of 80 % of the {count} positions"),
    }
}

/// That a text is too short for the positions asked for.
fn few_positions(network: &Network, asked: usize) -> Option<String> {
    let found = network.positions;
    let plural = if found == 1 { "" } else { "s" };
    (found < asked).then(|| {
        format!("Measured at {found} position{plural}: the text is too short for {asked}.")
    })
}

/// What the training did to a gradient that was too long.
fn clipped(clipping: &Clipping) -> String {
    if clipping.clipped == 0.0 {
        return format!("Clipping never bit in {} steps.", clipping.steps);
    }
    format!(
        "Clipping bit in {:.1} % of {} steps and removed {:.0} % of the norm then.",
        100.0 * clipping.clipped,
        clipping.steps,
        100.0 * clipping.removed
    )
}

/// What is to be known beside the figures of a network.
fn remarks(network: &Network, asked: usize) -> Vec<String> {
    let few = few_positions(network, asked);
    few.into_iter()
        .chain(network.clipping.as_ref().map(clipped))
        .collect()
}

fn print(report: &Report) -> Result<(), Failure> {
    print_table(&HEADING, &rows(report))?;
    print_line("")?;
    for (network, sentence) in report.networks.iter().zip(&report.summary) {
        print_line(sentence)?;
        for remark in remarks(network, report.positions) {
            print_line(format!("  {remark}"))?;
        }
    }
    Ok(())
}

/// What stands below the chart of a page.
fn figures(report: &Report) -> Markup {
    let parts = parts(report);
    let lags = shown_lags(report.lags).map(|lag| format!("lag {lag}"));
    let heading: Vec<String> = ["network".to_owned(), "gradient".to_owned()]
        .into_iter()
        .chain(lags)
        .collect();
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    html! {
        @for network in &report.networks {
            @for remark in remarks(network, report.positions) { p { (network.name) ": " (remark) } }
        }
        (table(&HEADING, &rows(report)))
        @if !parts.is_empty() {
            h2 { "State and memory apart" }
            p.lead {
                "The two parts of the gradient in the top layer of an LSTM: medians, as multiples of the whole at lag 1."
            }
            (table(&heading, &parts))
        }
    }
}

/// A row for h and one for c of each network that has both.
fn parts(report: &Report) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for network in &report.networks {
        let Some(top) = network.layers.last().filter(|top| !top.c.is_empty()) else {
            continue;
        };
        let whole = top.state.get(1).map_or(1.0, |n| n.median);
        for (name, of, norms) in [
            ("∂/∂h", network.name.as_str(), &top.h),
            ("∂/∂c", "", &top.c),
        ] {
            let share = |lag: usize| norms.get(lag).map_or(f64::NAN, |n| n.median / whole);
            let shares = shown_lags(report.lags).map(|lag| format!("{:.1e}", share(lag)));
            rows.push(
                [of.to_owned(), name.to_owned()]
                    .into_iter()
                    .chain(shares)
                    .collect(),
            );
        }
    }
    rows
}

/// 1, 2, 5, 10 and so on, and the last.
fn shown_lags(last: usize) -> impl Iterator<Item = usize> {
    let decades = (0..).map_while(|exponent| 10usize.checked_pow(exponent));
    let round = decades.flat_map(|decade| [1, 2, 5].map(|m| decade.saturating_mul(m)));
    round.take_while(move |lag| *lag < last).chain([last])
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
                rows.push(vec![
                    once(network.name.clone()),
                    once(number.to_string()),
                    once(lag(layer.half_lag)),
                    once(lag(layer.hundredth_lag)),
                    once(decimals(layer.gain_per_step, 3)),
                    once(match layer.left.is_nan() {
                        true => "–".to_owned(),
                        false => format!("{:.1e}", layer.left),
                    }),
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
/// A loss a step that is this share of the one before is called a slower one.
const SLOWER: f64 = 0.6;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_different_names() {
        for (paths, names) in [
            (&["A/model.safetensors"][..], &["model"][..]),
            (&["runs/rnn", "runs/lstm"], &["rnn", "lstm"]),
            (&["A/model.safetensors", "B/model.safetensors"], &["A", "B"]),
            (&["a/run/", "b/run"], &["a", "b"]),
            (&["run.1", "run.2"], &["run.1", "run.2"]),
            (
                &["model.safetensors", "B/model.safetensors"],
                &["model.safetensors", "B/model.safetensors"],
            ),
            (&["runs/lr0.1", "runs/lr0.2"], &["runs/lr0.1", "runs/lr0.2"]),
        ] {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            assert_eq!(names_of(&paths), names);
        }
    }

    #[test]
    fn lags_of_a_table_are_round_and_end_with_the_last() {
        let of = |last| shown_lags(last).collect::<Vec<_>>();
        assert_eq!(of(2), [1, 2]);
        assert_eq!(of(12), [1, 2, 5, 10, 12]);
        assert_eq!(of(100), [1, 2, 5, 10, 20, 50, 100]);
        assert_eq!(of(usize::MAX).last(), Some(&usize::MAX));
    }

    #[test]
    fn clipping_that_never_bit_has_removed_nothing() {
        let of = |clipped, removed| Clipping {
            steps: 765,
            clipped,
            removed,
        };
        assert_eq!(clipped(&of(0.0, 0.0)), "Clipping never bit in 765 steps.");
        assert_eq!(
            clipped(&of(0.04, 0.31)),
            "Clipping bit in 4.0 % of 765 steps and removed 31 % of the norm then."
        );
    }

    #[test]
    fn a_band_is_said_to_be_of_the_positions_it_has() {
        let network = |positions| Network {
            name: String::new(),
            cell: "rnn",
            hidden: 1,
            trained: false,
            positions,
            layers: Vec::new(),
            clipping: None,
        };
        let spread = |counts: &[usize]| {
            spread(
                &counts
                    .iter()
                    .map(|&count| network(count))
                    .collect::<Vec<_>>(),
            )
        };
        let quantiles = "median, and the range of 80 % of the 32 positions";
        assert_eq!(spread(&[32, 32]), quantiles);
        assert!(spread(&[7, 32]).ends_with("80 % of the 7 to 32 positions"));
        assert_eq!(spread(&[4]), "median and range of the 4 positions");
        assert_eq!(spread(&[1]), "at the only position of the text");
        assert_eq!(few_positions(&network(32), 32), None);
        let few = few_positions(&network(1), 32).unwrap_or_default();
        assert!(few.starts_with("Measured at 1 position:"), "{few}");
    }
}
