//! The check of a gradient, coordinate by coordinate.

use std::ops::Range;

use crate::difference::{Probe, require_finite, require_positive, require_same_length};
use crate::error::InputError;
use crate::random::SplitMix64;
use crate::report::{Report, TensorReport};

/// A gradient check of the scalar function `f`, to be configured and then [run](Check::run).
///
/// `f` takes the flat vector of everything that is differentiated (weights, inputs, initial
/// state) and returns the loss; see the [crate documentation](crate) for the method.
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is run"]
pub struct Check<F> {
    f: F,
    step: Option<f64>,
    bound: f64,
    floor: Option<f64>,
    richardson: bool,
    sample: Option<(usize, u64)>,
    tensors: Vec<(String, Range<usize>)>,
}

impl<F: Fn(&[f64]) -> f64> Check<F> {
    /// A check of every coordinate as one tensor named `gradient`, with step 1e-5 and bound 1e-8.
    pub fn new(f: F) -> Self {
        Check {
            f,
            step: None,
            bound: DEFAULT_BOUND,
            floor: None,
            richardson: false,
            sample: None,
            tensors: Vec::new(),
        }
    }

    /// Sets the step `h`; coordinate `k` is moved by `h · max(1, |x_k|)`.
    ///
    /// Default 1e-5, or 1e-3 with [`richardson`](Check::richardson). The crate documentation
    /// derives it; a smaller step is rarely better, because rounding grows as `1/h`.
    pub fn step(mut self, step: f64) -> Self {
        self.step = Some(step);
        self
    }

    /// Sets the largest normalised error of a tensor that still passes. Default 1e-8.
    pub fn bound(mut self, bound: f64) -> Self {
        self.bound = bound;
        self
    }

    /// Sets the absolute error, in units of the gradient, below which a tensor passes whatever its scale.
    ///
    /// It makes a gradient that is zero everywhere checkable: there the differences are nothing
    /// but rounding, and rounding divided by rounding is not small. The default follows
    /// from the values of `f`: `ε · max|f| / h`, twice the rounding of a perfectly computed `f` (three
    /// times that with [`richardson`](Check::richardson), which amplifies rounding by three). With the default
    /// step and bound it matters only for tensors whose gradients are all below `2e-3 · max|f|`. Raise it when `f`
    /// cancels much larger intermediate values.
    pub fn floor(mut self, absolute: f64) -> Self {
        self.floor = Some(absolute);
        self
    }

    /// Compares with the Richardson extrapolation `(4 D(h/2) − D(h)) / 3` instead of `D(h)`.
    ///
    /// The `h²` terms cancel and `−h⁴ f⁽⁵⁾ / 480` is left, so the best step is near `ε^(1/5)` (default
    /// 1e-3) and the error there near 1e-12, for twice the evaluations. Richardson, *Phil. Trans. R. Soc. A* 210 (1911).
    pub fn richardson(mut self, on: bool) -> Self {
        self.richardson = on;
        self
    }

    /// Checks `n` coordinates of each tensor, drawn without repetition; all of a tensor that has no more.
    ///
    /// The draw depends on `seed`, `n` and the lengths of the tensors only. The sample is taken by tensor so that
    /// a bias of a few elements is not lost beside a large matrix.
    pub fn sample(mut self, n: usize, seed: u64) -> Self {
        self.sample = Some((n, seed));
        self
    }

    /// Names the tensors as ranges of the flat vector; each gets its own scale and row.
    ///
    /// The ranges may stand in any order but must cover the vector without gap or overlap: a
    /// coordinate that belongs to no tensor would pass unchecked.
    pub fn named<S: AsRef<str>>(mut self, tensors: &[(S, Range<usize>)]) -> Self {
        let owned = |(name, range): &(S, Range<usize>)| (name.as_ref().to_owned(), range.clone());
        self.tensors = tensors.iter().map(owned).collect();
        self
    }

    /// Compares `analytic`, the claimed gradient of `f` at `x`, with differences of `f`.
    ///
    /// Both slices hold the flat vector, `[n]`. Evaluates `f` twice a checked coordinate (four
    /// times with [`richardson`](Check::richardson)), and twice at `x` itself to see that
    /// it is deterministic.
    ///
    /// # Errors
    ///
    /// [`InputError`] if the question is not well posed: lengths, ranges, settings, or
    /// non-finite numbers. A wrong gradient is not an error but a [`Report`] that is not ok.
    pub fn run(&self, x: &[f64], analytic: &[f64]) -> Result<Report, InputError> {
        let step = self.step.unwrap_or(if self.richardson {
            RICHARDSON_STEP
        } else {
            CENTRAL_STEP
        });
        self.validate(step, x, analytic)?;

        let whole = [("gradient".to_owned(), 0..x.len())];
        let tensors = if self.tensors.is_empty() {
            &whole[..]
        } else {
            require_tiling(&self.tensors, x.len())?;
            &self.tensors
        };

        let mut probe = Probe::new(&self.f, x)?;
        let mut generator = SplitMix64::new(self.sample.map_or(0, |(_, seed)| seed));
        let mut rows = Vec::with_capacity(tensors.len());
        for (name, range) in tensors {
            let coordinates = match self.sample {
                Some((n, _)) if n < range.len() => generator.sample(n, range.clone()),
                _ => range.clone().collect(),
            };
            rows.push(self.compare(&mut probe, name, range, &coordinates, step, analytic)?);
        }
        Ok(Report {
            tensors: rows,
            step,
            bound: self.bound,
            richardson: self.richardson,
            values_fit_f32: probe.values_fit_f32(),
        })
    }

    fn compare(
        &self,
        probe: &mut Probe<'_, F>,
        name: &str,
        range: &Range<usize>,
        coordinates: &[usize],
        step: f64,
        analytic: &[f64],
    ) -> Result<TensorReport, InputError> {
        // The scale is that of the whole tensor, also of its analytic values outside the sample: a
        // sample that happens to hold only small gradients must not be judged by their rounding.
        let mut scale = analytic[range.clone()]
            .iter()
            .fold(0.0_f64, |m, g| m.max(g.abs()));
        let (mut worst, mut worst_numeric, mut max_abs_error) = (range.start, 0.0, -1.0);
        for &k in coordinates {
            let numeric = if self.richardson {
                probe.richardson(k, step)?
            } else {
                probe.central(k, step)?
            };
            scale = scale.max(numeric.abs());
            let error = (analytic[k] - numeric).abs();
            if error > max_abs_error {
                (worst, worst_numeric, max_abs_error) = (k, numeric, error);
            }
        }

        let floor = self.floor.unwrap_or_else(|| {
            let amplification = if self.richardson { 3.0 } else { 1.0 };
            amplification * probe.rounding(step)
        });
        let max_error = normalise(max_abs_error, scale.max(floor / self.bound));
        Ok(TensorReport {
            name: name.to_owned(),
            len: range.len(),
            checked: coordinates.len(),
            worst_coordinate: worst,
            worst_index: worst - range.start,
            analytic: analytic[worst],
            numeric: worst_numeric,
            max_abs_error,
            scale,
            floor,
            max_error,
            ok: max_error <= self.bound,
        })
    }

    fn validate(&self, step: f64, x: &[f64], analytic: &[f64]) -> Result<(), InputError> {
        require_positive("step", step)?;
        require_positive("bound", self.bound)?;
        if let Some(floor) = self.floor
            && !(floor.is_finite() && floor >= 0.0)
        {
            return Err(InputError::Floor { value: floor });
        }
        if self.sample.is_some_and(|(n, _)| n == 0) {
            return Err(InputError::EmptySample);
        }
        if x.is_empty() {
            return Err(InputError::Empty);
        }
        require_same_length("gradient", analytic, x)?;
        require_finite("x", x)?;
        require_finite("gradient", analytic)
    }
}

/// `error / scale`, where no error is 0 at any scale and an overflow is never a pass.
fn normalise(error: f64, scale: f64) -> f64 {
    if error == 0.0 {
        0.0
    } else if error.is_infinite() {
        f64::INFINITY
    } else {
        error / scale
    }
}

fn require_tiling(tensors: &[(String, Range<usize>)], len: usize) -> Result<(), InputError> {
    let mut by_start: Vec<_> = tensors.iter().collect();
    by_start.sort_by_key(|(_, range)| range.start);
    let mut covered = 0;
    for (name, range) in by_start {
        let (name, range) = (name.clone(), range.clone());
        if range.is_empty() {
            return Err(InputError::EmptyRange { name, range });
        }
        if range.end > len {
            return Err(InputError::RangeOutOfBounds { name, range, len });
        }
        if range.start > covered {
            return Err(InputError::Gap {
                range: covered..range.start,
            });
        }
        if range.start < covered {
            return Err(InputError::Overlap {
                name,
                coordinate: range.start,
            });
        }
        covered = range.end;
    }
    if covered < len {
        return Err(InputError::Gap {
            range: covered..len,
        });
    }
    Ok(())
}

/// Near `(3ε/2)^(1/3) = 7e-6`, where truncation and rounding of `D(h)` balance.
const CENTRAL_STEP: f64 = 1e-5;

/// Near `(180ε)^(1/5) = 2e-3`, where `h⁴/480` and `3ε/2h`, truncation and rounding of the extrapolation, balance.
const RICHARDSON_STEP: f64 = 1e-3;

/// Two to three decades above the error of `D(h)` at its best step, seven below a typical bug.
const DEFAULT_BOUND: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_zero_and_overflow() {
        assert_eq!(normalise(0.0, 0.0), 0.0);
        assert_eq!(normalise(f64::INFINITY, f64::INFINITY), f64::INFINITY);
        assert_eq!(normalise(1.0, 4.0), 0.25);
    }
}
