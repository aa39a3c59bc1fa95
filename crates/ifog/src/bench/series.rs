//! Cases that differ in one size: whether one falls out of line, and whether time grows linearly.
//!
//! ```text
//! expected   what the two neighbours' fractions of the bound give at a point's place between them, on a logarithmic axis
//! cliff      fraction / expected < 0.8, measured five times
//! line       intercept + slope · size, by least squares of (line − time) / time
//! ```

use super::{Case, Measured};

/// Cases along an axis, measured, each judged by its neighbours.
#[derive(Clone, Debug)]
pub struct Series {
    axis: Axis,
    points: Vec<Point>,
}

/// The size that grows along a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// H; and I, if the cases say so.
    Hidden,
    /// B.
    Batch,
    /// T.
    Steps,
}

/// A measured case of a series.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The case.
    pub case: Case,
    /// The measurement that is nearest to the limit of the machine.
    pub measured: Measured,
    /// Measurements: more than one if it looked like a cliff, or is the neighbour of one that did.
    pub measurements: u32,
    /// The fraction of the bound that its neighbours let one expect; the ends of a series have but one.
    pub expected: Option<f64>,
}

/// Time as a line over a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearFit {
    /// Seconds where the size is 0.
    pub intercept: f64,
    /// Seconds a unit of the size.
    pub slope: f64,
    /// Share of the variance that the line explains; each point weighs 1 / time².
    pub r2: f64,
    /// (time − line) / time of the point for which it is largest, whatever its sign.
    pub worst_residual: f64,
    /// The size of that point.
    pub worst_at: usize,
}

impl Series {
    /// Measures `cases`, in ascending order along `axis`, and what is suspiciously slow again, together with its neighbours: the
    /// measurement nearest to the limit counts, since disturbances only ever slow down.
    ///
    /// # Errors
    /// The first of `measure`.
    pub fn measure<E>(
        axis: Axis,
        cases: &[Case],
        mut measure: impl FnMut(&Case) -> Result<Measured, E>,
    ) -> Result<Self, E> {
        let points = cases.iter().map(|case| {
            Ok(Point {
                case: *case,
                measured: measure(case)?,
                measurements: 1,
                expected: None,
            })
        });
        let points = points.collect::<Result<_, E>>()?;
        let mut series = Self { axis, points };
        series.judge();
        for _ in 1..MEASUREMENTS {
            let doubtful = series.doubtful();
            if doubtful.is_empty() {
                break;
            }
            for place in doubtful {
                let point = &mut series.points[place];
                let measured = measure(&point.case)?;
                point.measurements += 1;
                if measured.fraction() > point.fraction() {
                    point.measured = measured;
                }
            }
            series.judge();
        }
        Ok(series)
    }

    /// The axis.
    pub fn axis(&self) -> Axis {
        self.axis
    }

    /// The points, in order.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Time over the size, from the size `from` on; none for fewer than three points.
    pub fn fit(&self, from: usize) -> Option<LinearFit> {
        let points = self
            .points
            .iter()
            .map(|p| (self.size(p), p.measured.timing.median));
        LinearFit::of(&points.filter(|(size, _)| *size >= from).collect::<Vec<_>>())
    }

    fn size(&self, point: &Point) -> usize {
        self.axis.size(&point.case)
    }

    fn judge(&mut self) {
        for place in 1..self.points.len().saturating_sub(1) {
            let around = [place - 1, place, place + 1].map(|place| &self.points[place]);
            let [left, at, right] = around.map(|point| (self.size(point) as f64).ln());
            let share = (at - left) / (right - left);
            let expected = around[0].fraction() * (1.0 - share) + around[2].fraction() * share;
            self.points[place].expected = Some(expected);
        }
    }

    /// Places of the points that may be cliffs, and of their neighbours.
    fn doubtful(&self) -> Vec<usize> {
        let slow = |place: usize| {
            let ratio = self.points.get(place).and_then(Point::beside_neighbours);
            ratio.is_some_and(|ratio| ratio < DOUBTFUL)
        };
        (0..self.points.len())
            .filter(|&place| slow(place) || slow(place + 1) || place > 0 && slow(place - 1))
            .collect()
    }
}

impl Axis {
    /// `H`, `B`, `T`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hidden => "H",
            Self::Batch => "B",
            Self::Steps => "T",
        }
    }

    /// A case's size along the axis.
    pub fn size(self, case: &Case) -> usize {
        match self {
            Self::Hidden => case.hidden,
            Self::Batch => case.batch,
            Self::Steps => case.steps,
        }
    }
}

impl Point {
    /// Bound / time.
    pub fn fraction(&self) -> f64 {
        self.measured.fraction()
    }

    /// Fraction / expected: below 1 it is slower than its neighbours let one expect.
    pub fn beside_neighbours(&self) -> Option<f64> {
        self.expected.map(|expected| self.fraction() / expected)
    }

    /// Whether it is below [`CLIFF`] of what its neighbours let one expect.
    pub fn is_cliff(&self) -> bool {
        self.beside_neighbours().is_some_and(|ratio| ratio < CLIFF)
    }
}

impl LinearFit {
    /// The line through `(size, time)`; none for fewer than three points, or sizes that are all the same.
    pub fn of(points: &[(usize, f64)]) -> Option<Self> {
        // Weighted by 1 / time²: every point's relative error counts the same, as its noise is.
        let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
            let terms = points.iter().map(|&(x, y)| term(x as f64, y) / (y * y));
            terms.sum()
        };
        let weight = sum(&|_, _| 1.0);
        let (x_mean, y_mean) = (sum(&|x, _| x) / weight, sum(&|_, y| y) / weight);
        let x_square = sum(&|x, _| (x - x_mean).powi(2));
        if points.len() < 3 || x_square <= 0.0 {
            return None;
        }
        let slope = sum(&|x, y| (x - x_mean) * (y - y_mean)) / x_square;
        let intercept = y_mean - slope * x_mean;
        let line = |x: f64| intercept + slope * x;
        let missed = sum(&|x, y| (y - line(x)).powi(2));
        let residuals = points.iter().map(|&(x, y)| (1.0 - line(x as f64) / y, x));
        let (worst_residual, worst_at) =
            residuals.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()))?;
        Some(Self {
            intercept,
            slope,
            r2: 1.0 - missed / sum(&|_, y| (y - y_mean).powi(2)).max(f64::MIN_POSITIVE),
            worst_residual,
            worst_at,
        })
    }
}

/// Below this share of what its neighbours let one expect a case is a cliff.
pub const CLIFF: f64 = 0.8;
/// Below this it is measured again.
const DOUBTFUL: f64 = 0.9;
/// At most, of a case.
const MEASUREMENTS: u32 = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::cell::Cell as Counter;
    use std::convert::Infallible;

    use ifog_kernels::Cell;

    use super::*;
    use crate::bench::{Pass, Timing};

    /// A machine on which the fraction grows evenly with the logarithm of H, but for what `slower` makes of it. `slower` is
    /// given the width and how often it was measured before.
    fn measured(slower: impl Fn(usize, u32) -> f64) -> Series {
        let widths = [8, 12, 20, 31, 64, 65, 100, 256, 400, 513, 1100];
        let counts = widths.map(|_| Counter::new(0));
        let measure = |case: &Case| {
            let place = widths.iter().position(|&h| h == case.hidden).unwrap();
            let before = counts[place].replace(counts[place].get() + 1);
            let bound = (case.hidden * case.hidden) as f64 * 1e-9;
            let fraction = 0.1 * (case.hidden as f64).ln();
            let time = bound / fraction * slower(case.hidden, before);
            let timing = Timing::of_runs(vec![time]);
            Ok::<_, Infallible>(Measured {
                timing,
                bound,
                speed_up: None,
            })
        };
        Series::measure(Axis::Hidden, &widths.map(of_width), measure).unwrap()
    }

    fn of_width(hidden: usize) -> Case {
        Case {
            pass: Pass::Infer,
            cell: Cell::Lstm,
            batch: 8,
            steps: 16,
            input: hidden,
            hidden,
            threads: 1,
        }
    }

    fn cliffs(series: &Series) -> Vec<usize> {
        let cliffs = series.points().iter().filter(|point| point.is_cliff());
        cliffs.map(|point| point.case.hidden).collect()
    }

    #[test]
    fn a_smooth_series_has_no_cliff_and_is_measured_once() {
        let series = measured(|_, _| 1.0);
        for (place, point) in series.points().iter().enumerate() {
            assert_eq!(point.measurements, 1);
            let inner = (1..series.points().len() - 1).contains(&place);
            assert_eq!(point.beside_neighbours().is_some(), inner);
            let ratio = point.beside_neighbours().unwrap_or(1.0);
            assert!((ratio - 1.0).abs() < 1e-12, "{ratio}");
        }
    }

    /// A time of 1.3 is a fraction of 0.77; 1.2 is 0.83.
    #[test]
    fn a_planted_cliff_is_found_where_it_is() {
        let series = measured(|width, _| if width == 65 { 1.3 } else { 1.0 });
        assert_eq!(cliffs(&series), [65]);
        let series = measured(|width, _| if width == 65 { 1.2 } else { 1.0 });
        assert_eq!(cliffs(&series), [0; 0]);
        // From a width on, as if something had outgrown a cache.
        let series = measured(|width, _| if width >= 256 { 2.0 } else { 1.0 });
        assert_eq!(cliffs(&series), [256]);
    }

    #[test]
    fn a_disturbance_is_no_cliff() {
        for undisturbed in 1..MEASUREMENTS {
            let series = measured(|width, before| {
                let disturbed = width == 100 && before < undisturbed;
                if disturbed { 3.0 } else { 1.0 }
            });
            assert_eq!(cliffs(&series), [0; 0]);
        }
        let always = measured(|width, _| if width == 100 { 3.0 } else { 1.0 });
        assert_eq!(cliffs(&always), [100]);
        let most = always.points().iter().map(|point| point.measurements).max();
        assert_eq!(most, Some(MEASUREMENTS));
    }

    /// Beside a neighbour that was disturbed a cliff looks like less; so the neighbour is measured again, too.
    #[test]
    fn a_disturbed_neighbour_hides_no_cliff() {
        let series = measured(|width, before| match width {
            256 => 1.3,
            100 if before == 0 => 1.5,
            _ => 1.0,
        });
        assert_eq!(cliffs(&series), [256]);
    }

    #[test]
    fn a_line_is_found_and_what_leaves_it_is_named() {
        let line = |x: usize| (x, 3e-6 + 2e-6 * x as f64);
        let mut points: Vec<_> = [1, 4, 9, 16, 50, 130].map(line).to_vec();
        let fit = LinearFit::of(&points).unwrap();
        assert!((fit.slope / 2e-6 - 1.0).abs() < 1e-9, "{fit:?}");
        assert!((fit.intercept / 3e-6 - 1.0).abs() < 1e-9, "{fit:?}");
        assert!(fit.r2 > 1.0 - 1e-12 && fit.worst_residual.abs() < 1e-9);

        points[4].1 *= 1.5;
        let fit = LinearFit::of(&points).unwrap();
        assert_eq!(fit.worst_at, 50);
        assert!(fit.worst_residual > 0.2 && fit.r2 < 0.98, "{fit:?}");
        // Time that grows with the square is no line.
        let square: Vec<_> = [1, 4, 9, 16, 50, 130].map(|x| (x, (x * x) as f64)).to_vec();
        let fit = LinearFit::of(&square).unwrap();
        assert!(fit.worst_residual.abs() > 0.5, "{fit:?}");
        assert!(LinearFit::of(&points[..2]).is_none());
    }

    #[test]
    fn a_fit_begins_where_it_is_told() {
        let series = measured(|_, _| 1.0);
        let all = series.fit(0).unwrap();
        assert_ne!(series.fit(100).unwrap().slope, all.slope);
        assert!(series.fit(513).is_none());
    }
}
