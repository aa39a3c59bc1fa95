//! The page of `ifog view`.

use ifog::flow::is_tanh;
use ifog::language_model::LanguageModel;
use ifog::probe::features::Feature;
use ifog::probe::finder::shift_count;
use ifog::probe::{LayerTrace, Quantity};
use ifog::sampling::softmax;
use maud::{Markup, html};
use serde::Serialize;

use super::colour::{
    BLUE, DARK_PAPER, LIGHT_PAPER, RED, colour, on_paper, scale, scale_name, wants_white,
};
use super::{NOTHING, Scene, note, verdict};
use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::page::{Page, figure};

/// What the script reads.
#[derive(Serialize)]
struct Data<'a> {
    layers: Vec<Layer<'a>>,
    /// The likeliest next symbols at each position, with their probabilities in percent.
    next: Vec<Vec<(String, f64)>>,
    /// Of each feature a byte a symbol, 127 for its largest value, in base64.
    features: Vec<(&'a str, String)>,
    layer: usize,
    quantity: usize,
    unit: usize,
}

#[derive(Serialize)]
struct Layer<'a> {
    hidden: usize,
    channels: Vec<Channel<'a>>,
}

/// A quantity of a layer.
#[derive(Serialize)]
struct Channel<'a> {
    name: &'a str,
    /// `[H]`.
    scales: Vec<f32>,
    /// Bytes `[T, H]`, −127 to 127 for plus and minus the unit's scale, in base64.
    values: String,
}

/// The page: painted by the script, and before that, or without it, with the first selection.
pub(super) fn render(scene: &Scene) -> Result<String, Failure> {
    let (length, selection) = (scene.length, scene.selection);
    let next = (0..length).map(|t| candidates(scene, t));
    let layers = scene.trace.layers.iter();
    let features = scene.features.iter();
    let data = Data {
        layers: layers.map(|layer| Layer::of(layer, length)).collect(),
        next: next.collect::<Result<_, _>>()?,
        features: features.map(|feature| strip(feature, length)).collect(),
        layer: selection.layer,
        quantity: selection.quantity,
        unit: selection.unit,
    };
    // Inside a script element only "</" and "<!" could end it.
    let json = serde_json::to_string(&data)?.replace('<', "\\u003c");
    let script = format!("const DATA = {json};\n{SCRIPT}");
    let charts = scene.trace.layers.iter().enumerate();
    let charts: Vec<Chart> = charts
        .filter_map(|(number, layer)| saturation(layer, number))
        .collect();
    let page = Page {
        title: &title(&scene.model),
        lead: "Each character stands on the value that a unit has after reading it.",
        body: html! {
            (controls(scene))
            pre #text tabindex="0" aria-label="text; arrow keys change the unit" {
                (characters(scene))
            }
            p #status .scripted role="status" { "Point at a character for its value and what the model expects after it." }
            h2 { "Units that follow something" }
            (found(scene))
            section.scripted {
                h2 { "All units of the layer" }
                p.lead { "One strip a unit, the text from left to right. Choose one by click or by the arrow keys." }
                div #units {}
            }
            @if !charts.is_empty() { h2 { "Saturated gates" } }
            @for chart in &charts { (figure(chart)?) }
        },
        style: STYLE,
        script: &script,
    };
    Ok(page.render())
}

/// Cell and widths: "lstm: layers of 128 and 64 units".
fn title(model: &LanguageModel) -> String {
    let widths: Vec<String> = model
        .layout()
        .widths()
        .map(|width| width.to_string())
        .collect();
    let units = match &widths[..] {
        [one] => format!("a layer of {one}"),
        [first, rest @ ..] if rest.iter().all(|width| width == first) => {
            format!("{} layers of {first}", widths.len())
        }
        [before @ .., last] => format!("layers of {} and {last}", before.join(", ")),
        [] => String::new(),
    };
    format!("{}: {units} units", model.config().cell.name())
}

/// What is selected, disabled until the script is there, and what the colours mean.
fn controls(scene: &Scene) -> Markup {
    let (layers, selection) = (&scene.trace.layers, scene.selection);
    let layer = &layers[selection.layer];
    let strongest = scale_name(scale(
        &layer.quantities[selection.quantity],
        selection.unit,
        layer.hidden,
    ));
    let [red, blue] = [RED, BLUE].map(|[r, g, b]| format!("rgb({r},{g},{b})"));
    let ramp = format!("background:linear-gradient(90deg,{blue},transparent,{red})");
    html! {
        div.controls {
            label { "layer " select #layer disabled {
                @for number in 0..layers.len() {
                    option value=(number) selected[number == selection.layer] { (number) }
                }
            } }
            label { "quantity " select #quantity disabled {
                @for (number, quantity) in layer.quantities.iter().enumerate() {
                    option value=(number) selected[number == selection.quantity] { (quantity.name) }
                }
            } }
            label { "unit " input #unit type="number" min="0" max=(layer.hidden - 1) step="1" value=(selection.unit) disabled; }
            button #previous .scripted type="button" { "◀ previous" }
            button #next .scripted type="button" { "next ▶" }
            label.scripted { input #palette type="checkbox"; " orange instead of red" }
            span.legend { span #low { "−" (strongest) } span #ramp style=(ramp) {} span #high { "+" (strongest) } }
            span.keys { span #positive { "red" } " is positive, blue negative" }
            span.keys.scripted {
                kbd { "←" } " " kbd { "→" } " unit, " kbd { "l" } " layer, " kbd { "q" } " quantity, " kbd { "j" } " " kbd { "k" } " character"
            }
        }
    }
}

/// A span a character. A line end is shown, and breaks the line.
fn characters(scene: &Scene) -> Markup {
    let selection = scene.selection;
    let layer = &scene.trace.layers[selection.layer];
    let (hidden, quantity) = (layer.hidden, &layer.quantities[selection.quantity]);
    let scale = scale(quantity, selection.unit, hidden);
    html! {
        @for (t, symbol) in scene.symbols.iter().take(scene.length).enumerate() {
            @let share = quantity.values[t * hidden + selection.unit] / scale;
            @let [r, g, b] = colour(share);
            span class=[letters(share)] style=(format!("background:rgba({r},{g},{b},{:.2})", share.abs())) {
                @if *symbol == '\n' { "⏎\n" } @else if symbol.is_control() && *symbol != '\t' { "�" } @else { (symbol) }
            }
        }
    }
}

/// Where the usual letters, black on light paper and white on dark, would not stand out: a colour too dark on light paper, or too
/// bright on dark.
fn letters(share: f32) -> Option<&'static str> {
    if wants_white(on_paper(LIGHT_PAPER, share)) {
        Some("white")
    } else if wants_white(on_paper(DARK_PAPER, share)) {
        None
    } else {
        Some("black")
    }
}

fn found(scene: &Scene) -> Markup {
    html! {
        @if scene.findings.is_empty() { p { (NOTHING) } }
        @else {
            div.scroll tabindex="0" { table #found {
                thead { tr {
                    @for name in ["feature", "layer", "unit"] { th scope="col" { (name) } }
                    th.scripted scope="col" { "unit above feature" }
                    @for name in ["correlation", "chance", "verdict"] { th scope="col" { (name) } }
                } }
                tbody { @for f in &scene.findings { tr {
                    td { (f.feature) }
                    td { (f.layer) }
                    td { button type="button" data-layer=(f.layer) data-unit=(f.unit) disabled { (f.unit) } }
                    td.strips.scripted data-layer=(f.layer) data-unit=(f.unit) data-feature=(f.feature) {}
                    td { (format!("{:.3}", f.correlation)) }
                    td { (format!("{:.3}", f.chance)) }
                    td { (verdict(f)) }
                } } }
            } }
            p.lead { (note(shift_count(scene.trace.steps()))) }
        }
    }
}

/// A dot a unit and gate, as Karpathy, Johnson & Li 2015 draw them; `None` for a cell without gates.
fn saturation(layer: &LayerTrace, number: usize) -> Option<Chart> {
    let dots = |(colour, (name, units))| Series::line(name, colour, units).drawn_as(Mark::Dots);
    let mut series: Vec<Series> = gates(layer).enumerate().map(dots).collect();
    if series.is_empty() {
        return None;
    }
    series.insert(
        0,
        Series::line("", 0, vec![(0.0, 1.0), (1.0, 0.0)]).drawn_as(Mark::Reference),
    );
    Some(Chart {
        title: format!("Saturated gates of layer {number}"),
        caption: "A dot a unit: how often its gate is below 0.1 (closed) and above 0.9 (open). A forget gate far to the top remembers for \
                  a long time; a unit at the left bottom corner works in between."
            .to_owned(),
        x: Axis::linear("share of characters below 0.1"),
        y: Axis::linear("share of characters above 0.9"),
        series,
    })
}

/// The gates between 0 and 1, with how often their units are nearly there.
pub(super) fn gates(layer: &LayerTrace) -> impl Iterator<Item = (&'static str, Vec<(f64, f64)>)> {
    let quantities = layer.quantities.iter();
    let gates = quantities.filter(|q| !matches!(q.name, "h" | "c") && !is_tanh(q.name));
    gates.map(|gate| (gate.name, gate.saturation(layer.hidden, 0.1, 0.9)))
}

fn strip(feature: &Feature, length: usize) -> (&str, String) {
    let values = &feature.values[..length];
    let most = values.iter().fold(1.0, |most: f64, v| most.max(*v));
    let bytes: Vec<u8> = values
        .iter()
        .map(|v| (v / most * 127.0).round() as u8)
        .collect();
    (feature.name, base64(&bytes))
}

impl<'a> Layer<'a> {
    fn of(layer: &'a LayerTrace, length: usize) -> Self {
        let hidden = layer.hidden;
        let quantities = layer.quantities.iter();
        Self {
            hidden,
            channels: quantities
                .map(|q| channel(q, length * hidden, hidden))
                .collect(),
        }
    }
}

fn channel(quantity: &Quantity, count: usize, hidden: usize) -> Channel<'_> {
    let scales: Vec<f32> = (0..hidden)
        .map(|unit| scale(quantity, unit, hidden))
        .collect();
    let shares = quantity.values[..count].iter().zip(scales.iter().cycle());
    let bytes: Vec<u8> = shares
        .map(|(v, scale)| (v / scale * 127.0).round() as i8 as u8)
        .collect();
    Channel {
        name: quantity.name,
        scales,
        values: base64(&bytes),
    }
}

/// The likeliest symbols after the one at t, with their probabilities in percent.
pub(super) fn candidates(scene: &Scene, t: usize) -> Result<Vec<(String, f64)>, Failure> {
    let model = &scene.model;
    let symbols = model.config().outputs;
    let logits = &scene.trace.logits[t * symbols..][..symbols];
    let mut probabilities = Vec::new();
    softmax(logits, 1.0, &mut probabilities)?;
    let mut order: Vec<u32> = (0..symbols as u32).collect();
    order.sort_by(|a, b| probabilities[*b as usize].total_cmp(&probabilities[*a as usize]));
    order.truncate(CANDIDATES);
    let name = |token: u32| -> Result<(String, f64), Failure> {
        let mut bytes = Vec::new();
        model.vocabulary().decode_onto(token, &mut bytes)?;
        let percent = (1000.0 * probabilities[token as usize]).round() / 10.0;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), percent))
    };
    order.into_iter().map(name).collect()
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for sextet in 0..4 {
            let digit = bits >> (18 - 6 * sextet) & 63;
            text.push(if sextet <= chunk.len() {
                char::from(ALPHABET[digit as usize])
            } else {
                '='
            });
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const CANDIDATES: usize = 5;
const SCRIPT: &str = include_str!("view.js");
const STYLE: &str = include_str!("view.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
