//! Axes: how values become places, and which of them get a mark.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// One axis of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// Quantity and unit.
    pub(crate) label: String,
    /// How values become distances.
    pub(crate) scale: Scale,
    /// Marks with names of their own, dates for instance; empty for round numbers.
    pub(crate) ticks: Vec<(f64, String)>,
}

/// How values become distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values of 0 or less are left out.
    Log,
}

impl Axis {
    /// An axis with evenly spaced values.
    pub(crate) fn linear(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            scale: Scale::Linear,
            ticks: Vec::new(),
        }
    }

    /// An axis of orders of magnitude.
    pub(crate) fn log(label: impl Into<String>) -> Self {
        Self {
            scale: Scale::Log,
            ..Self::linear(label)
        }
    }

    /// The place of a value on the axis; NaN for none.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => f64::NAN,
        }
    }

    /// From the least to the greatest of `values`, with a margin, or something to draw where there is nothing.
    pub(super) fn range(&self, values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
        let places = values
            .map(|value| self.place(value))
            .filter(|p| p.is_finite());
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
            (low.min(place), high.max(place))
        });
        if low > high {
            return 0.0..1.0;
        }
        let length = high - low;
        // A single value, or values that differ in their last bits, get a range around them.
        if length <= 1e-12 * low.abs().max(high.abs()) {
            let half = if low == 0.0 { 0.5 } else { 0.5 * low.abs() };
            return low - half..high + half;
        }
        low - margin * length..high + margin * length
    }

    /// Places that get a mark, and what stands there.
    pub(super) fn marks(&self, range: &Range<f64>) -> Vec<(f64, String)> {
        if !self.ticks.is_empty() {
            let placed = self
                .ticks
                .iter()
                .map(|(value, name)| (self.place(*value), name.clone()));
            return placed.filter(|(place, _)| range.contains(place)).collect();
        }
        if self.scale == Scale::Log && range.end - range.start >= 1.0 {
            let step = ((range.end - range.start) / 8.0).ceil().max(1.0);
            let decades = multiples(range, step);
            return decades.map(|e| (e, power_of_ten(e as i64))).collect();
        }
        let step = round_step(range);
        let places = multiples(range, step);
        let value = |place: f64| match self.scale {
            Scale::Linear => number(place, step),
            Scale::Log => format!("{:.2e}", 10f64.powf(place)),
        };
        places.map(|place| (place, value(place))).collect()
    }
}

/// Evenly spaced places whose marks are where we want them.
pub(super) struct Places {
    range: Range<f64>,
    marks: Vec<f64>,
}

impl Places {
    pub(super) fn new(range: Range<f64>, marks: &[(f64, String)]) -> Self {
        let marks = marks.iter().map(|(place, _)| *place).collect();
        Self { range, marks }
    }
}

impl Ranged for Places {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        pixels.0 + (share * f64::from(pixels.1 - pixels.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// 1, 2 or 5 times a power of ten, so that some six fit into the range.
fn round_step(range: &Range<f64>) -> f64 {
    let rough = (range.end - range.start) / 6.0;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade);
    step.into_iter().find(|s| *s >= rough).unwrap_or(rough)
}

fn multiples(range: &Range<f64>, step: f64) -> impl Iterator<Item = f64> {
    let first = (range.start / step).ceil();
    let count = ((range.end / step).floor() - first).clamp(-1.0, 1000.0) as i64 + 1;
    (0..count).map(move |i| (first + i as f64) * step)
}

/// A multiple of `step` with as many decimals as that needs.
fn number(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() {
        return "0".to_owned();
    }
    text
}

fn power_of_ten(exponent: i64) -> String {
    match exponent {
        0 => return "1".to_owned(),
        1 => return "10".to_owned(),
        _ => {}
    }
    let raised = exponent.to_string();
    let raised = raised.chars().map(|c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => {
            char::from_u32(u32::from('⁰') + u32::from(digit) - u32::from('0')).unwrap_or(digit)
        }
    });
    format!("10{}", raised.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_round_numbers() {
        let names = |axis: &Axis, range: Range<f64>| -> Vec<String> {
            axis.marks(&range)
                .into_iter()
                .map(|(_, name)| name)
                .collect()
        };
        let linear = Axis::linear("x");
        assert_eq!(
            names(&linear, 0.0..1.0),
            ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            names(&linear, -7.0..23.0),
            ["-5", "0", "5", "10", "15", "20"]
        );
        assert_eq!(
            names(&Axis::log("y"), -3.1..1.2),
            ["10⁻³", "10⁻²", "10⁻¹", "1", "10"]
        );
        let named = Axis {
            ticks: vec![(3.0, "May".to_owned()), (99.0, "June".to_owned())],
            ..linear
        };
        assert_eq!(names(&named, 0.0..10.0), ["May"]);
    }
}
