//! A unit painted in the terminal.

use super::Scene;
use crate::failure::Failure;
use crate::output::{print_bytes, printable};

/// Prints the text with the unit's value behind each symbol. This is what was asked for, also where no terminal is; `NO_COLOR`
/// leaves the values' signs alone, as + and − under each line.
pub(super) fn paint(scene: &Scene) -> Result<(), Failure> {
    let selection = scene.selection;
    let layer = &scene.trace.layers[selection.layer];
    let values = layer.quantities[selection.quantity].values.iter();
    let values = values.skip(selection.unit).step_by(layer.hidden);
    let values: Vec<f32> = values.copied().take(scene.length).collect();
    let scale = values.iter().fold(1.0f32, |max, v| max.max(v.abs()));
    let shown = scene.symbols.iter().zip(values.iter().map(|v| v / scale));
    let text = if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        signs(shown)
    } else {
        colours(shown)
    };
    print_bytes(text.as_bytes())
}

fn colours<'a>(shown: impl Iterator<Item = (&'a char, f32)>) -> String {
    let mut text = String::new();
    for (&symbol, value) in shown {
        if symbol == '\n' {
            text.push_str("\x1b[0m\n");
            continue;
        }
        // From white to red or blue.
        let rest = (255.0 * (1.0 - value.abs())) as u8;
        let (r, g, b) = if value >= 0.0 {
            (255, rest, rest)
        } else {
            (rest, rest, 255)
        };
        let symbol = printable(symbol.to_string().as_bytes());
        text.push_str(&format!("\x1b[38;2;0;0;0;48;2;{r};{g};{b}m{symbol}"));
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
