//! What the series of a sweep show.

use std::fmt;

use ifog::bench::{Axis, CLIFF, Case, LinearFit, Point, Series};
use serde::Serialize;

use super::Line;

/// Cliffs and fits of all series so far; the last object of `--sweep --json`.
#[derive(Default, Serialize)]
pub(super) struct Verdict {
    /// Measured.
    cases: usize,
    /// Of them, those between two neighbours.
    judged: usize,
    cliffs: Vec<Place>,
    /// The slowest beside its neighbours.
    worst: Option<Place>,
    fits: Vec<Fit>,
    /// Median over the cases of (third quartile − first) / median.
    noise: f64,
    #[serde(skip)]
    spreads: Vec<f64>,
}

/// A case beside its neighbours.
#[derive(Clone, Serialize)]
struct Place {
    #[serde(flatten)]
    key: Key,
    /// Fraction over the one that its neighbours let one expect.
    ratio: f64,
}

/// Time as a line over the axis of a series. Times are milliseconds.
#[derive(Serialize)]
struct Fit {
    #[serde(flatten)]
    key: Key,
    from: usize,
    to: usize,
    intercept_ms: f64,
    slope_ms: f64,
    r2: f64,
    /// (time − line) / time of the point for which it is largest, whatever its sign.
    worst_residual: f64,
    worst_at: usize,
}

/// A case and the axis that it lies on; of a series, without its size along the axis.
#[derive(Clone, Serialize)]
struct Key {
    axis: &'static str,
    case: &'static str,
    cell: &'static str,
    #[serde(rename = "B", skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    #[serde(rename = "T", skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    #[serde(rename = "H", skip_serializing_if = "Option::is_none")]
    hidden: Option<usize>,
    threads: usize,
}

/// A measured case as a line of `--sweep --json`.
#[derive(Serialize)]
pub(super) struct Judged {
    #[serde(flatten)]
    line: Line,
    axis: &'static str,
    /// The fraction that its neighbours let one expect; the ends of a series have none.
    expected_fraction: Option<f64>,
    /// Fraction / expected.
    ratio: Option<f64>,
    cliff: bool,
    /// Measurements, of which the fastest is printed.
    measurements: u32,
}

pub(super) fn judged(series: &Series, point: &Point, line: Line) -> Judged {
    Judged {
        line,
        axis: series.axis().name(),
        expected_fraction: point.expected,
        ratio: point.beside_neighbours(),
        cliff: point.is_cliff(),
        measurements: point.measurements,
    }
}

/// What all cases of a series have in common.
pub(super) fn name(series: &Series) -> String {
    let first = series.points().first();
    first.map_or(String::new(), |point| {
        Key::of_series(series.axis(), &point.case).to_string()
    })
}

impl Verdict {
    pub(super) fn add(&mut self, series: &Series) {
        let spreads = series
            .points()
            .iter()
            .map(|point| point.measured.timing.spread);
        self.spreads.extend(spreads);
        self.spreads.sort_by(f64::total_cmp);
        self.cases = self.spreads.len();
        self.noise = self.spreads[self.cases / 2];
        for point in series.points() {
            let Some(ratio) = point.beside_neighbours() else {
                continue;
            };
            let key = Key::of(series.axis(), &point.case);
            let place = Place { key, ratio };
            self.judged += 1;
            if point.is_cliff() {
                self.cliffs.push(place.clone());
            }
            if self.worst.as_ref().is_none_or(|worst| ratio < worst.ratio) {
                self.worst = Some(place);
            }
        }
        self.fits.extend(Fit::of(series));
    }

    fn write_cliffs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cliffs[..], &self.worst) {
            ([], None) => write!(f, "No case has two neighbours: nothing to compare."),
            ([], Some(worst)) => write!(
                f,
                "No cliffs: none of {} cases is below {CLIFF} of what its neighbours let one expect; the lowest is {worst}.",
                self.judged
            ),
            (cliffs, _) => {
                let plural = if cliffs.len() == 1 { "" } else { "s" };
                let judged = self.judged;
                write!(f, "{} cliff{plural} in {judged} cases:", cliffs.len())?;
                cliffs.iter().try_for_each(|cliff| write!(f, "\n  {cliff}"))
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fit in &self.fits {
            writeln!(f, "{fit}")?;
        }
        self.write_cliffs(f)?;
        if self.noise > DISTURBED {
            write!(
                f,
                "\nThe machine was disturbed: half of the cases have more than {:.0} % of noise. Measure again with nothing beside it.",
                self.noise * 100.0
            )?;
        }
        Ok(())
    }
}

impl Fit {
    /// Of a series over B or T: over H time is no line.
    fn of(series: &Series) -> Option<Self> {
        let axis = series.axis();
        let from = match axis {
            Axis::Hidden => return None,
            Axis::Batch => FIRST_BATCH,
            Axis::Steps => 1,
        };
        let cases = || series.points().iter().map(|point| &point.case);
        let sizes = || {
            cases()
                .map(|case| axis.size(case))
                .filter(|&size| size >= from)
        };
        let LinearFit {
            intercept,
            slope,
            r2,
            worst_residual,
            worst_at,
        } = series.fit(from)?;
        Some(Self {
            key: Key::of_series(axis, cases().next()?),
            from: sizes().min()?,
            to: sizes().max()?,
            intercept_ms: intercept * 1e3,
            slope_ms: slope * 1e3,
            r2,
            worst_residual,
            worst_at,
        })
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axis = self.key.axis;
        let sign = if self.intercept_ms < 0.0 { '-' } else { '+' };
        write!(
            f,
            "{}: {:.5} ms * {axis} {sign} {:.5} ms for {axis} = {} ... {}; R2 = {:.5}, furthest from it {:+.1}% at {axis} = {}",
            self.key,
            self.slope_ms,
            self.intercept_ms.abs(),
            self.from,
            self.to,
            self.r2,
            self.worst_residual * 100.0,
            self.worst_at
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, at {:.2} over {}",
            self.key, self.ratio, self.key.axis
        )
    }
}

impl Key {
    fn of(axis: Axis, case: &Case) -> Self {
        Self {
            axis: axis.name(),
            case: case.pass.name(),
            cell: case.cell.name(),
            batch: Some(case.batch),
            steps: Some(case.steps),
            hidden: Some(case.hidden),
            threads: case.threads,
        }
    }

    fn of_series(axis: Axis, case: &Case) -> Self {
        let mut key = Self::of(axis, case);
        match axis {
            Axis::Hidden => key.hidden = None,
            Axis::Batch => key.batch = None,
            Axis::Steps => key.steps = None,
        }
        key
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.case, self.cell)?;
        let sizes = [("B", self.batch), ("T", self.steps), ("H", self.hidden)];
        for (name, size) in sizes {
            if let Some(size) = size {
                write!(f, " {name}={size}")?;
            }
        }
        Ok(())
    }
}

/// Smaller batches cost the reading of the weights, whatever they are.
const FIRST_BATCH: usize = 8;
/// Noise of a case that is usual on a quiet machine, with two threads too, is below this.
const DISTURBED: f64 = 0.1;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use ifog::Cell;
    use ifog::bench::{Effort, Measured, Pass, Timing};

    use super::*;

    /// Over B, where each row takes a millisecond and the batch `slow` twice that.
    fn verdict(slow: usize) -> Verdict {
        let case = |batch| Case {
            pass: Pass::Infer,
            cell: Cell::Lstm,
            batch,
            steps: 16,
            input: 64,
            hidden: 64,
            threads: 1,
        };
        let quiet = Timing::of(Effort::SMOKE, || {});
        let measure = |case: &Case| {
            let ms = case.batch as f64 * if case.batch == slow { 2.0 } else { 1.0 };
            let timing = Timing {
                median: ms / 1e3,
                min: ms / 1e3,
                ..quiet
            };
            Ok::<_, fmt::Error>(Measured {
                timing,
                bound: 0.9e-3 * case.batch as f64,
                speed_up: None,
            })
        };
        let mut verdict = Verdict::default();
        let cases = [1, 2, 8, 33, 65, 130].map(case);
        verdict.add(&Series::measure(Axis::Batch, &cases, measure).unwrap());
        verdict
    }

    #[test]
    fn the_verdict_names_a_planted_cliff() {
        let text = verdict(33).to_string();
        let last = "1 cliff in 4 cases:\n  infer lstm B=33 T=16 H=64, at 0.50 over B";
        assert!(text.ends_with(last), "{text}");
        assert!(text.contains("at B = 33"), "{text}");
    }

    #[test]
    fn the_verdict_of_none() {
        let text = verdict(0).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("infer lstm T=16 H=64: 1.00000 ms * B "));
        assert!(lines[0].contains("for B = 8 ... 130; R2 = 1.00000"));
        assert!(lines[1].starts_with("No cliffs: none of 4 cases is below 0.8"));
        assert_eq!(lines.len(), 2);
    }
}
