//! Line charts as SVG that explain themselves: title, axes with their units, legend, caption; readable on light and
//! dark paper.

use std::fmt::Write;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::failure::Failure;

/// A picture of some series over a common x axis.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// One line above the picture.
    pub(crate) title: String,
    /// What to see in it, below the picture; wrapped.
    pub(crate) caption: String,
    /// Horizontal axis.
    pub(crate) x: Axis,
    /// Vertical axis.
    pub(crate) y: Axis,
    /// Drawn in this order, the first below.
    pub(crate) series: Vec<Series>,
}

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

/// One named series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its name in the legend; without one it takes no place there.
    pub(crate) name: String,
    /// (x, y); points that are not finite interrupt the line.
    pub(crate) points: Vec<(f64, f64)>,
    /// (x, low, high) of a range around the line, quantiles for instance.
    pub(crate) band: Vec<(f64, f64, f64)>,
    /// How it is drawn.
    pub(crate) mark: Mark,
    /// Number of its colour; the colours repeat after [`COLOURS`].
    pub(crate) colour: usize,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A line through the points.
    Line,
    /// A thin grey line: something to compare with.
    Reference,
    /// A dot at each point.
    Dots,
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
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => f64::NAN,
        }
    }

    /// From the least to the greatest of `values`, with a margin, or something to draw where there is nothing.
    fn range(&self, values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
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
            let half = (0.1 * low.abs()).max(0.5);
            return low - half..high + half;
        }
        low - margin * length..high + margin * length
    }

    /// Places that get a mark, and what stands there.
    fn marks(&self, range: &Range<f64>) -> Vec<(f64, String)> {
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

impl Series {
    /// A line through points.
    pub(crate) fn line(name: impl Into<String>, colour: usize, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            band: Vec::new(),
            mark: Mark::Line,
            colour,
        }
    }

    /// The same drawn otherwise.
    pub(crate) fn drawn_as(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }

    fn rgb(&self) -> RGBColor {
        match self.mark {
            Mark::Reference => GREY,
            Mark::Line | Mark::Dots => COLOURS[self.colour % COLOURS.len()],
        }
    }
}

impl Chart {
    /// The picture as an SVG document, which may also stand in the middle of an HTML page.
    pub(crate) fn svg(&self) -> Result<String, Failure> {
        let caption = wrap(&self.caption, CAPTION_COLUMNS);
        let height = PICTURE_HEIGHT + LINE_HEIGHT * caption.len() as u32;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let drawn = self.draw(&area, &caption).and_then(|()| area.present());
        drawn.map_err(|error| Failure::work(format!("cannot draw the chart: {error}")))?;
        drop(area);
        Ok(self.dressed(&svg))
    }

    fn draw(&self, area: &Area<'_>, caption: &[String]) -> Drawn {
        area.fill(&PAPER)?;
        let (picture, below) = area.split_vertically(PICTURE_HEIGHT);
        let title = text(20.0).into_text_style(area);
        let at = Pos::new(HPos::Left, VPos::Top);
        picture.draw(&Text::new(self.title.clone(), (MARGIN, 14), title.pos(at)))?;
        for (line, words) in caption.iter().enumerate() {
            let place = (MARGIN, LINE_HEIGHT as i32 * line as i32 + 4);
            let style = text(14.0).into_text_style(&below).pos(at);
            below.draw(&Text::new(words.clone(), place, style))?;
        }

        let bands = || self.series.iter().flat_map(|s| &s.band);
        let points = || self.series.iter().flat_map(|s| &s.points);
        let x = self
            .x
            .range(points().map(|p| p.0).chain(bands().map(|b| b.0)), 0.01);
        let ys = points().map(|p| p.1);
        let y = self
            .y
            .range(ys.chain(bands().flat_map(|b| [b.1, b.2])), 0.05);
        let (x_marks, y_marks) = (self.x.marks(&x), self.y.marks(&y));
        let mut chart = ChartBuilder::on(&picture)
            .margin(MARGIN)
            .margin_top(44)
            .x_label_area_size(46)
            .y_label_area_size(72)
            .build_cartesian_2d(Places::new(x, &x_marks), Places::new(y, &y_marks))?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc(self.x.label.as_str())
            .y_desc(self.y.label.as_str())
            .axis_desc_style(text(14.0))
            .label_style(text(13.0))
            .axis_style(INK)
            .x_labels(x_marks.len().max(1))
            .y_labels(y_marks.len().max(1))
            .x_label_formatter(&|place| name_of(&x_marks, *place))
            .y_label_formatter(&|place| name_of(&y_marks, *place))
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .draw()?;
        chart
            .configure_mesh()
            .disable_axes()
            .x_labels(x_marks.len().max(1))
            .y_labels(y_marks.len().max(1))
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .draw()?;

        let place = |&(x, y): &(f64, f64)| (self.x.place(x), self.y.place(y));
        for series in &self.series {
            let colour = series.rgb();
            let low = series.band.iter().map(|&(x, low, _)| (x, low));
            let high = series.band.iter().rev().map(|&(x, _, high)| (x, high));
            let outline: Vec<_> = low.chain(high).map(|p| place(&p)).filter(finite).collect();
            if !outline.is_empty() {
                chart.draw_series([Polygon::new(outline, colour.mix(0.18).filled())])?;
            }
            let points: Vec<_> = series.points.iter().map(place).collect();
            if series.mark == Mark::Dots {
                let dots = points.iter().filter(|p| finite(p));
                let dots = dots.map(|p| Circle::new(*p, 3, colour.mix(0.75).filled()));
                chart.draw_series(dots)?;
                continue;
            }
            let width = if series.mark == Mark::Line { 2 } else { 1 };
            for piece in points
                .split(|p| !finite(p))
                .filter(|piece| !piece.is_empty())
            {
                chart.draw_series(LineSeries::new(
                    piece.iter().copied(),
                    colour.stroke_width(width),
                ))?;
            }
        }
        self.draw_legend(&picture)
    }

    /// One row above the picture, on the right: it hides no data.
    fn draw_legend(&self, picture: &Area<'_>) -> Drawn {
        let named = || self.series.iter().filter(|s| !s.name.is_empty());
        // A letter of this size is about 7.2 wide.
        let width = |s: &Series| 34 + (7.2 * s.name.chars().count() as f64) as i32;
        let mut left = WIDTH as i32 - MARGIN - named().map(width).sum::<i32>();
        for series in named() {
            let y = 40;
            let swatch = [(left, y - 2), (left + 18, y + 2)];
            picture.draw(&Rectangle::new(swatch, series.rgb().filled()))?;
            let style = text(13.0).into_text_style(picture);
            let style = style.pos(Pos::new(HPos::Left, VPos::Center));
            picture.draw(&Text::new(series.name.clone(), (left + 24, y), style))?;
            left += width(series);
        }
        Ok(())
    }

    /// Adds what the backend does not write: names for those who do not see the picture, and the colours of dark
    /// paper. A style sheet's rule outranks the colour attributes that stand in the elements.
    fn dressed(&self, svg: &str) -> String {
        let mut head = String::from("<svg class=\"chart\" role=\"img\" ");
        let rest = svg.strip_prefix("<svg ").unwrap_or(svg);
        let (attributes, content) = rest.split_once('>').unwrap_or((rest, ""));
        let _ = write!(
            head,
            "{attributes}><title>{}</title><desc>{}</desc><style>svg.chart{{max-width:100%;height:auto}}\
             svg.chart text{{font-family:system-ui,sans-serif}}@media(prefers-color-scheme:dark){{",
            escaped(&self.title),
            escaped(&self.caption),
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
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Evenly spaced places whose marks are where we want them.
struct Places {
    range: Range<f64>,
    marks: Vec<f64>,
}

impl Places {
    fn new(range: Range<f64>, marks: &[(f64, String)]) -> Self {
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

fn name_of(marks: &[(f64, String)], place: f64) -> String {
    let found = marks.iter().find(|(mark, _)| *mark == place);
    found.map_or_else(String::new, |(_, name)| name.clone())
}

fn finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

fn text(size: f64) -> (&'static str, f64, &'static RGBColor) {
    ("sans-serif", size, &INK)
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

/// Lines of at most `columns` characters, broken between words.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

const WIDTH: u32 = 860;
const PICTURE_HEIGHT: u32 = 480;
const LINE_HEIGHT: u32 = 20;
const MARGIN: i32 = 16;
/// Characters of the caption's size that fit into the width.
const CAPTION_COLUMNS: usize = 118;

const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
const INK: RGBColor = RGBColor(0x1B, 0x1F, 0x24);
const GRID: RGBColor = RGBColor(0xE4, 0xE7, 0xEB);
const DARK_PAPER: RGBColor = RGBColor(0x14, 0x17, 0x1A);
const DARK_INK: RGBColor = RGBColor(0xE6, 0xE8, 0xEA);
const DARK_GRID: RGBColor = RGBColor(0x2C, 0x31, 0x37);
/// Middle tones, so that they stand out from both papers; told apart by those who do not see red or green.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x3B, 0x82, 0xC4),
    RGBColor(0xE0, 0x7B, 0x1A),
    RGBColor(0x1F, 0x9E, 0x77),
    RGBColor(0xB0, 0x5F, 0xC9),
    RGBColor(0xC8, 0x46, 0x46),
    RGBColor(0x8C, 0x8C, 0x2E),
];
const GREY: RGBColor = RGBColor(0x8A, 0x90, 0x97);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn chart(y: Axis, points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "a < b".to_owned(),
            caption: "What \"this\" shows & why.".to_owned(),
            x: Axis::linear("lag in steps"),
            y,
            series: vec![
                Series {
                    band: points.iter().map(|&(x, y)| (x, y / 2.0, y * 2.0)).collect(),
                    ..Series::line("lstm", 0, points.clone())
                },
                Series::line("dots", 1, points.clone()).drawn_as(Mark::Dots),
                Series::line("", 2, points).drawn_as(Mark::Reference),
            ],
        }
    }

    #[test]
    fn a_chart_has_its_words_and_marks() {
        let points = (0..50).map(|k| (f64::from(k), 0.7f64.powi(k))).collect();
        let svg = chart(Axis::log("norm"), points).svg().unwrap();
        for part in [
            "<title>a &lt; b</title>",
            "why.",
            "&amp;",
            "lag in steps",
            "norm",
            "lstm",
            "10⁻⁶",
            "prefers-color-scheme:dark",
            "<polygon",
            "<circle",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        // A picture that is complete by itself: no address but the name of the format.
        assert_eq!(svg.matches("://").count(), 1);
    }

    #[test]
    fn anything_can_be_drawn() {
        for points in [
            vec![],
            vec![(1.0, 1.0)],
            vec![(0.0, f64::NAN), (1.0, f64::INFINITY), (2.0, -1.0)],
            vec![(0.0, 3.0), (1.0, 3.0)],
            vec![(0.0, 1e300), (1.0, -1e300)],
            vec![(0.0, 1e-300), (1.0, 1e-300)],
        ] {
            chart(Axis::log("y"), points.clone()).svg().unwrap();
            chart(Axis::linear("y"), points).svg().unwrap();
        }
    }

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

    #[test]
    fn captions_are_wrapped_between_words() {
        assert_eq!(wrap("aa bb  cc d", 5), ["aa bb", "cc d"]);
        assert_eq!(wrap("", 5), Vec::<String>::new());
    }
}
