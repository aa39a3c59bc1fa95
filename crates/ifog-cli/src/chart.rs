//! Line charts as SVG that explain themselves: title, axes with their units, legend, caption; readable on light and
//! dark paper.

mod axis;
mod paper;

use std::ops::Range;

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::failure::Failure;
use axis::Places;
use paper::{COLOURS, GREY, GRID, INK, PAPER, dressed};

pub(crate) use axis::Axis;

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

/// One named series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its name in the legend; without one it takes no place there.
    pub(crate) name: String,
    /// (x, y); points that are not finite interrupt the line.
    pub(crate) points: Vec<(f64, f64)>,
    /// (x, low, high) of a range around the line, quantiles for instance.
    pub(crate) band: Vec<(f64, f64, f64)>,
    /// Its name in the legend; without one it takes no place there.
    pub(crate) band_name: String,
    /// How it is drawn.
    pub(crate) mark: Mark,
    /// Number of its colour; after the last of [`COLOURS`] they come again in dashes.
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

impl Series {
    /// A line through points.
    pub(crate) fn line(name: impl Into<String>, colour: usize, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            band: Vec::new(),
            band_name: String::new(),
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

    /// Pixels drawn and left out of a line; `None` for one without gaps.
    fn dashes(&self) -> Option<(i32, i32)> {
        let round = self.colour / COLOURS.len();
        let line = self.mark == Mark::Line && round > 0;
        line.then(|| DASHES[(round - 1) % DASHES.len()])
    }
}

impl Chart {
    /// The picture with its title and caption as an SVG document.
    pub(crate) fn svg(&self) -> Result<String, Failure> {
        self.drawn(TITLE_HEIGHT, &wrap(&self.caption, CAPTION_COLUMNS))
    }

    /// The same without the words, for an HTML page that has them as text.
    pub(crate) fn picture(&self) -> Result<String, Failure> {
        self.drawn(0, &[])
    }

    fn drawn(&self, title: u32, caption: &[String]) -> Result<String, Failure> {
        let height = title + self.picture_height() + LINE_HEIGHT * caption.len() as u32;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let drawn = self.draw(&area, title, caption);
        let drawn = drawn.and_then(|()| area.present());
        drawn.map_err(|error| Failure::work(format!("cannot draw the chart: {error}")))?;
        drop(area);
        Ok(dressed(&svg, &self.title, &self.caption))
    }

    /// `title` is the height of its line, 0 for none.
    fn draw(&self, area: &Area<'_>, title: u32, caption: &[String]) -> Drawn {
        area.fill(&PAPER)?;
        let (above, rest) = area.split_vertically(title);
        let (picture, below) = rest.split_vertically(self.picture_height());
        let at = Pos::new(HPos::Left, VPos::Top);
        if title > 0 {
            let style = text(20.0).into_text_style(area).pos(at);
            above.draw(&Text::new(self.title.clone(), (MARGIN, 14), style))?;
        }
        for (line, words) in caption.iter().enumerate() {
            let place = (MARGIN, LINE_HEIGHT as i32 * line as i32 + 4);
            let style = text(14.0).into_text_style(&below).pos(at);
            below.draw(&Text::new(words.clone(), place, style))?;
        }

        let x = self.x_range();
        let (y, y_marks) = self.y_range();
        let x_marks = self.x.marks(&x);
        let y_label_area = y_label_area(&y_marks);
        let plot = WIDTH as i32 - 2 * MARGIN - y_label_area as i32;
        let mut chart = ChartBuilder::on(&picture)
            .margin(MARGIN)
            .margin_right(MARGIN.max(overhang(&x_marks, &x, plot)))
            .margin_top(self.legend_height())
            .x_label_area_size(46)
            .y_label_area_size(y_label_area)
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
                chart.draw_series([Polygon::new(outline, colour.mix(BAND).filled())])?;
            }
            let points: Vec<_> = series.points.iter().map(place).collect();
            if series.mark == Mark::Dots {
                let dots = points.iter().filter(|p| finite(p));
                let dots = dots.map(|p| Circle::new(*p, RADIUS, colour.mix(DOT).filled()));
                chart.draw_series(dots)?;
                continue;
            }
            let style = colour.stroke_width(if series.mark == Mark::Line { 2 } else { 1 });
            for piece in points
                .split(|p| !finite(p))
                .filter(|piece| !piece.is_empty())
            {
                let piece = piece.iter().copied();
                match series.dashes() {
                    None => chart.draw_series(LineSeries::new(piece, style))?,
                    Some((drawn, left_out)) => {
                        chart.draw_series(DashedLineSeries::new(piece, drawn, left_out, style))?
                    }
                };
            }
        }
        self.draw_legend(&picture)
    }

    fn x_range(&self) -> Range<f64> {
        let points = self.series.iter().flat_map(|s| &s.points).map(|p| p.0);
        let bands = self.series.iter().flat_map(|s| &s.band).map(|b| b.0);
        self.x.range(points.chain(bands), 0.01)
    }

    /// With its marks.
    fn y_range(&self) -> (Range<f64>, Vec<(f64, String)>) {
        let points = self.series.iter().flat_map(|s| &s.points).map(|p| p.1);
        let bands = self.series.iter().flat_map(|s| &s.band);
        let range = self
            .y
            .range(points.chain(bands.flat_map(|b| [b.1, b.2])), 0.05);
        let marks = self.y.marks(&range);
        (range, marks)
    }

    fn picture_height(&self) -> u32 {
        PICTURE_HEIGHT - LEGEND_HEIGHT + self.legend_height()
    }

    fn legend_height(&self) -> u32 {
        let last = self.legend().last().map_or(0, |(row, ..)| row);
        LEGEND_HEIGHT + LINE_HEIGHT * last
    }

    /// What is named in the legend with its row and left edge, from where the y axis is, as many in a row as there is room for.
    fn legend(&self) -> impl Iterator<Item = (u32, i32, Named<'_>)> {
        let start = MARGIN + y_label_area(&self.y_range().1) as i32;
        let (mut row, mut left) = (0, start);
        let named = self.series.iter().flat_map(|series| {
            let of_line = (series.name.as_str(), series, false);
            [of_line, (series.band_name.as_str(), series, true)]
        });
        let named = named.filter(|(name, ..)| !name.is_empty());
        named.map(move |(name, series, is_band)| {
            let width = 46 + letters(name);
            if left > start && left + width > WIDTH as i32 {
                (row, left) = (row + 1, start);
            }
            left += width;
            let named = Named {
                name,
                series,
                is_band,
            };
            (row, left - width, named)
        })
    }

    /// Rows above the picture: they hide no data, and a narrow screen shows them first.
    fn draw_legend(&self, picture: &Area<'_>) -> Drawn {
        for (row, left, named) in self.legend() {
            let y = (LEGEND_HEIGHT / 2 + LINE_HEIGHT * row) as i32;
            named.draw_swatch(picture, left, y)?;
            let style = text(13.0).into_text_style(picture);
            let style = style.pos(Pos::new(HPos::Left, VPos::Center));
            picture.draw(&Text::new(named.name.to_owned(), (left + 24, y), style))?;
        }
        Ok(())
    }
}

/// A name in the legend.
struct Named<'a> {
    name: &'a str,
    series: &'a Series,
    /// Of its band, not of the line or the dots.
    is_band: bool,
}

impl Named<'_> {
    /// As it is drawn in the picture.
    fn draw_swatch(&self, picture: &Area<'_>, left: i32, y: i32) -> Drawn {
        let colour = self.series.rgb();
        let swatch = |half: i32| [(left, y - half), (left + 18, y + half)];
        if self.is_band {
            return picture.draw(&Rectangle::new(swatch(6), colour.mix(BAND).filled()));
        }
        if self.series.mark == Mark::Dots {
            let dot = colour.mix(DOT).filled();
            return picture.draw(&Circle::new((left + 9, y), RADIUS, dot));
        }
        match self.series.dashes() {
            None => picture.draw(&Rectangle::new(swatch(2), colour.filled())),
            Some((drawn, left_out)) => {
                let line = [(left, y), (left + 18, y)];
                let style = colour.stroke_width(4);
                picture.draw(&DashedPathElement::new(line, drawn, left_out, style))
            }
        }
    }
}

/// Room for the names of the marks and of the axis.
fn y_label_area(marks: &[(f64, String)]) -> u32 {
    let widest = marks.iter().map(|(_, name)| letters(name)).max();
    40 + widest.unwrap_or(0) as u32
}

/// Pixels by which the last mark's name stands out to the right of a plot so wide.
fn overhang(marks: &[(f64, String)], range: &Range<f64>, plot: i32) -> i32 {
    let Some((place, name)) = marks.last() else {
        return 0;
    };
    let share = (range.end - place) / (range.end - range.start);
    letters(name) / 2 - (share * f64::from(plot)) as i32
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn name_of(marks: &[(f64, String)], place: f64) -> String {
    let found = marks.iter().find(|(mark, _)| *mark == place);
    found.map_or_else(String::new, |(_, name)| name.clone())
}

fn finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

/// Letters of a size in pixels; the backend divides what it is given by 1.24.
fn text(size: f64) -> (&'static str, f64, &'static RGBColor) {
    ("sans-serif", 1.24 * size, &INK)
}

/// About the width of a text in letters of 13 pixels.
fn letters(text: &str) -> i32 {
    8 * text.chars().count() as i32
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

const WIDTH: u32 = 860;
const TITLE_HEIGHT: u32 = 30;
const LEGEND_HEIGHT: u32 = 30;
const PICTURE_HEIGHT: u32 = 460;
const LINE_HEIGHT: u32 = 20;
const MARGIN: i32 = 16;
/// Pixels drawn and left out where the colours come again, in this order.
const DASHES: [(i32, i32); 2] = [(8, 5), (3, 3)];
/// Of a dot.
const RADIUS: i32 = 3;
/// Opacity of a dot.
const DOT: f64 = 0.75;
/// Opacity of a band.
const BAND: f64 = 0.18;
/// Characters of the caption's size that fit into the width.
const CAPTION_COLUMNS: usize = 118;

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
                    band_name: "half to double".to_owned(),
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
            "half to double",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        // A picture that is complete by itself: no address but the name of the format.
        assert_eq!(svg.matches("://").count(), 1);
    }

    #[test]
    fn more_series_than_colours_differ_and_have_a_place_in_the_legend() {
        let line =
            |n: usize| Series::line(format!("network {n:02}"), n, vec![(0.0, 1.0), (9.0, 2.0)]);
        let of = |count: usize| Chart {
            series: (0..count).map(line).collect(),
            ..chart(Axis::linear("y"), Vec::new())
        };
        let looks = |n: usize| (line(n).rgb(), line(n).dashes());
        for n in 0..18 {
            assert!((0..n).all(|other| looks(other) != looks(n)), "{n}");
        }
        let many = of(18);
        let places: Vec<_> = many.legend().map(|(row, left, _)| (row, left)).collect();
        let inside = |(_, left): &(u32, i32)| left + 24 + letters("network 00") <= WIDTH as i32;
        assert!(places.iter().all(inside) && places[17].0 > 0, "{places:?}");
        assert_eq!(
            many.picture_height() - of(4).picture_height(),
            LINE_HEIGHT * places[17].0
        );
        let lines = |chart: &Chart| chart.picture().unwrap().matches("<polyline").count();
        assert!(lines(&of(7)) > lines(&of(6)) + 20);
        assert!(many.svg().unwrap().contains("network 17"));
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
    fn captions_are_wrapped_between_words() {
        assert_eq!(wrap("aa bb  cc d", 5), ["aa bb", "cc d"]);
        assert_eq!(wrap("", 5), Vec::<String>::new());
    }

    #[test]
    fn the_name_of_the_last_mark_has_room() {
        let marks = |place: f64| [(place, "12/26/2018".to_owned())];
        // Half of 10 letters of 8 pixels, less what is left of the plot.
        assert_eq!(overhang(&marks(100.0), &(0.0..100.0), 700), 40);
        assert_eq!(overhang(&marks(99.0), &(0.0..100.0), 700), 33);
        assert_eq!(overhang(&[], &(0.0..100.0), 700), 0);
        let points = vec![(0.0, 1.0), (1.0, 2.0)];
        let wide = Chart {
            x: Axis {
                ticks: vec![(1.0, "0123456789 0123456789".to_owned())],
                ..Axis::linear("x")
            },
            ..chart(Axis::linear("y"), points)
        };
        let svg = wide.svg().unwrap();
        let name = svg
            .split("<text")
            .find(|t| t.contains("0123456789 0123456789"));
        let x = name.and_then(|t| {
            t.split("x=\"")
                .nth(1)?
                .split('"')
                .next()?
                .parse::<i32>()
                .ok()
        });
        // Anchored in its middle; a letter is 7 to 8 pixels wide.
        assert!(x.unwrap() + 21 * 8 / 2 <= WIDTH as i32, "{x:?}");
    }
}
