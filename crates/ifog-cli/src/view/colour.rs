//! The colours of values, and letters that can be read on them.

use ifog::probe::Quantity;

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

/// Of values above 0.
pub(super) const RED: Rgb = [220, 50, 47];
/// Of values below 0.
pub(super) const BLUE: Rgb = [38, 100, 220];
/// What the pages stand on.
pub(super) const LIGHT_PAPER: Rgb = [255; 3];
pub(super) const DARK_PAPER: Rgb = [0x14, 0x17, 0x1A];

/// The colour of a share from −1 to 1.
pub(super) fn colour(share: f32) -> Rgb {
    if share >= 0.0 { RED } else { BLUE }
}

/// The same laid on paper, the more of it the larger the share.
pub(super) fn on_paper(paper: Rgb, share: f32) -> Rgb {
    let (over, part) = (colour(share), share.abs().min(1.0));
    let mixed = |i: usize| f32::from(paper[i]) + part * (f32::from(over[i]) - f32::from(paper[i]));
    [0, 1, 2].map(|i| mixed(i).round() as u8)
}

/// Whether white letters stand out more from this than black ones. The better of the two has a contrast of at least √21, which is
/// above the 4.5 that WCAG asks for.
pub(super) fn wants_white(background: Rgb) -> bool {
    let l = luminance(background);
    (1.0 + 0.05) / (l + 0.05) > (l + 0.05) / 0.05
}

/// Relative luminance of an sRGB colour, from 0 to 1 (WCAG 2).
fn luminance(colour: Rgb) -> f32 {
    let linear = |part: u8| match f32::from(part) / 255.0 {
        s if s <= 0.04045 => s / 12.92,
        s => ((s + 0.055) / 1.055).powf(2.4),
    };
    let [r, g, b] = colour.map(linear);
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// The value of the strongest colour: 1 for what lies between −1 and 1, else the unit's largest absolute value, since the c of
/// some units counts far.
pub(super) fn scale(quantity: &Quantity, unit: usize, hidden: usize) -> f32 {
    let values = quantity.values.iter().skip(unit).step_by(hidden);
    values.fold(1.0, |max, v| max.max(v.abs()))
}

/// A scale in digits that are worth reading; the script of the page writes it likewise.
pub(super) fn scale_name(scale: f32) -> String {
    if scale < 10.0 {
        format!("{scale:.1}")
    } else {
        format!("{scale:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_out_from_every_colour() {
        assert!((luminance([255; 3]) - 1.0).abs() < 1e-6);
        for paper in [LIGHT_PAPER, DARK_PAPER] {
            for hundredth in -100..=100i16 {
                let background = on_paper(paper, f32::from(hundredth) / 100.0);
                let l = luminance(background) + 0.05;
                let contrast = if wants_white(background) {
                    1.05 / l
                } else {
                    l / 0.05
                };
                assert!(contrast >= 4.5, "{background:?}: {contrast}");
            }
        }
        // On white paper the strongest colours want white.
        assert!(wants_white(RED) && wants_white(BLUE) && !wants_white(LIGHT_PAPER));
    }

    #[test]
    fn a_share_is_laid_on_the_paper() {
        assert_eq!(on_paper(LIGHT_PAPER, 0.0), LIGHT_PAPER);
        assert_eq!(on_paper(LIGHT_PAPER, 1.0), RED);
        assert_eq!(on_paper(DARK_PAPER, -1.0), BLUE);
        assert_eq!(on_paper([255; 3], 0.2), [248, 214, 213]);
    }

    #[test]
    fn scales_have_two_digits() {
        assert_eq!([1.0, 2.345, 12.3].map(scale_name), ["1.0", "2.3", "12"]);
    }
}
