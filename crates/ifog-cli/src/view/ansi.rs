//! A unit painted in the terminal.

use ifog::probe::finder::Finding;

use super::colour::{LIGHT_PAPER, on_paper, scale, scale_name, wants_white};
use super::{Scene, verdict};
use crate::failure::Failure;
use crate::output::{print_bytes, print_line, printable};

/// Prints the text with the unit's value behind each symbol. This is what was asked for, also where no terminal is; `NO_COLOR`
/// leaves the values' signs alone, as + and − under each line.
pub(super) fn paint(scene: &Scene) -> Result<(), Failure> {
    let selection = scene.selection;
    let layer = &scene.trace.layers[selection.layer];
    let quantity = &layer.quantities[selection.quantity];
    let values = quantity.values.iter();
    let values = values.skip(selection.unit).step_by(layer.hidden);
    let scale = scale(quantity, selection.unit, layer.hidden);
    let shown = scene.symbols.iter().zip(values.map(|v| v / scale));
    let shown = shown.take(scene.length);
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    print_line(header(scene, scale, plain))?;
    let text = if plain { signs(shown) } else { colours(shown) };
    print_bytes(text.as_bytes())
}

/// What is shown, how to read it, and what the unit follows.
fn header(scene: &Scene, scale: f32, plain: bool) -> String {
    let selection = scene.selection;
    let name = scene.trace.layers[selection.layer].quantities[selection.quantity].name;
    let legend = if plain {
        let half = scale_name(scale / 2.0);
        format!("+ above {half}, - below -{half}")
    } else {
        let most = scale_name(scale);
        format!("blue down to -{most}, white 0, red up to {most}")
    };
    let claimed = || scene.findings.iter().filter(|f| f.claimed);
    let own = claimed().filter(|f| (f.layer, f.unit) == (selection.layer, selection.unit));
    let own: Vec<String> = own.map(claim).collect();
    let found = match claimed().next() {
        _ if !own.is_empty() => format!("its h {}", own.join(", ")),
        Some(f) => format!("unit {} of layer {} {}", f.unit, f.layer, claim(f)),
        None => "no unit is found to follow anything".to_owned(),
    };
    format!(
        "layer {}, unit {}, {name}: {legend}; {found}",
        selection.layer, selection.unit
    )
}

/// "follows 'digit' (0.52)".
fn claim(finding: &Finding) -> String {
    let feature = format!("'{}'", finding.feature);
    let claim = verdict(finding).replacen("it", &feature, 1);
    format!("{claim} ({:.2})", finding.correlation)
}

fn colours<'a>(shown: impl Iterator<Item = (&'a char, f32)>) -> String {
    let mut text = String::new();
    for (&symbol, share) in shown {
        if symbol == '\n' {
            text.push_str("\x1b[0m\n");
            continue;
        }
        let background = on_paper(LIGHT_PAPER, share);
        let ink = if wants_white(background) { 255 } else { 0 };
        let [r, g, b] = background;
        let symbol = printable(symbol.to_string().as_bytes());
        text.push_str(&format!(
            "\x1b[38;2;{ink};{ink};{ink};48;2;{r};{g};{b}m{symbol}"
        ));
    }
    text + "\x1b[0m\n"
}

fn signs<'a>(shown: impl Iterator<Item = (&'a char, f32)>) -> String {
    let (mut text, mut line, mut below) = (String::new(), String::new(), String::new());
    let mut end = |line: &mut String, below: &mut String| {
        text.push_str(&format!("{line}\n{}\n", below.trim_end()));
        line.clear();
        below.clear();
    };
    for (&symbol, value) in shown {
        if symbol == '\n' {
            end(&mut line, &mut below);
            continue;
        }
        line.push_str(&printable(symbol.to_string().as_bytes()));
        below.push(match value {
            v if v > 0.5 => '+',
            v if v < -0.5 => '-',
            _ => ' ',
        });
    }
    end(&mut line, &mut below);
    text
}
