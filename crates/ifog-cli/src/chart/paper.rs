//! Colours on light and dark paper, and what a picture says to those who do not see it.

use std::fmt::Write;

use plotters::prelude::*;

/// Adds what the backend does not write: names for those who do not see the picture, and the colours of dark paper. A style
/// sheet's rule outranks the colour attributes that stand in the elements.
pub(super) fn dressed(svg: &str, title: &str, caption: &str) -> String {
    let mut head = String::from("<svg class=\"chart\" role=\"img\" ");
    let rest = svg.strip_prefix("<svg ").unwrap_or(svg);
    let (attributes, content) = rest.split_once('>').unwrap_or((rest, ""));
    let _ = write!(
        head,
        "{attributes}><title>{}</title><desc>{}</desc><style>svg.chart{{max-width:100%;height:auto}}\
         svg.chart text{{font-family:system-ui,sans-serif}}@media(prefers-color-scheme:dark){{",
        escaped(title),
        escaped(caption),
    );
    for (light, dark) in [(PAPER, DARK_PAPER), (INK, DARK_INK), (GRID, DARK_GRID)] {
        let (light, dark) = (hex(light), hex(dark));
        for attribute in ["fill", "stroke"] {
            let _ = write!(
                head,
                "svg.chart [{attribute}=\"{light}\"]{{{attribute}:{dark}}}"
            );
        }
    }
    head + "}</style>" + content
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
pub(super) const INK: RGBColor = RGBColor(0x1B, 0x1F, 0x24);
pub(super) const GRID: RGBColor = RGBColor(0xE4, 0xE7, 0xEB);
const DARK_PAPER: RGBColor = RGBColor(0x14, 0x17, 0x1A);
const DARK_INK: RGBColor = RGBColor(0xE6, 0xE8, 0xEA);
const DARK_GRID: RGBColor = RGBColor(0x2C, 0x31, 0x37);
/// Middle tones, so that they stand out from both papers; told apart by those who do not see red or green.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0x3B, 0x82, 0xC4),
    RGBColor(0xE0, 0x7B, 0x1A),
    RGBColor(0x1F, 0x9E, 0x77),
    RGBColor(0xB0, 0x5F, 0xC9),
    RGBColor(0xC8, 0x46, 0x46),
    RGBColor(0x8C, 0x8C, 0x2E),
];
pub(super) const GREY: RGBColor = RGBColor(0x8A, 0x90, 0x97);
