//! Central differences of one coordinate, and what every check demands of its numbers.

use crate::error::InputError;

/// Evaluates `f` around one point and remembers what the rounding floor needs.
pub(crate) struct Probe<'f, F> {
    f: &'f F,
    /// The point, `[n]`; one coordinate is moved during a difference and put back.
    point: Vec<f64>,
    max_value: f64,
    values_fit_f32: bool,
}

impl<'f, F: Fn(&[f64]) -> f64> Probe<'f, F> {
    /// Evaluates `f` twice at `x`: the two values must be finite and have the same bits.
    pub(crate) fn new(f: &'f F, x: &[f64]) -> Result<Self, InputError> {
        let mut probe = Probe {
            f,
            point: x.to_vec(),
            max_value: 0.0,
            values_fit_f32: true,
        };
        let first = probe.evaluate(None)?;
        let second = probe.evaluate(None)?;
        if first.to_bits() != second.to_bits() {
            return Err(InputError::NotDeterministic { first, second });
        }
        Ok(probe)
    }

    /// `D(h) = (f(x + h e_k) − f(x − h e_k)) / 2h` with `h = step · max(1, |x_k|)`.
    pub(crate) fn central(&mut self, k: usize, step: f64) -> Result<f64, InputError> {
        let centre = self.point[k];
        let h = step * centre.abs().max(1.0);
        let (above, below) = (centre + h, centre - h);
        // The distance as it is after rounding, not as it was asked for: for |x_k| = 1 and
        // h = 1e-5 the difference would otherwise carry a relative error of 1e-11.
        let distance = above - below;
        if distance == 0.0 {
            return Err(InputError::StepLost {
                coordinate: k,
                value: centre,
            });
        }
        self.point[k] = above;
        let f_above = self.evaluate(Some(k))?;
        self.point[k] = below;
        let f_below = self.evaluate(Some(k))?;
        self.point[k] = centre;

        let quotient = (f_above - f_below) / distance;
        require_finite_value(Some(k), quotient)
    }

    /// `(4 D(h/2) − D(h)) / 3 = f' − h⁴ f⁽⁵⁾ / 480 + O(h⁶)`.
    pub(crate) fn richardson(&mut self, k: usize, step: f64) -> Result<f64, InputError> {
        let coarse = self.central(k, step)?;
        let fine = self.central(k, 0.5 * step)?;
        require_finite_value(Some(k), (4.0 * fine - coarse) / 3.0)
    }

    /// `ε · max|f| / h` over the values seen so far: twice the rounding error of `D(h)` when
    /// each value of `f` is the nearest `f64`.
    pub(crate) fn rounding(&self, step: f64) -> f64 {
        f64::EPSILON * self.max_value / step
    }

    /// Whether every value of `f` was exactly an `f32`, as happens when `f` computes in `f32`.
    pub(crate) fn values_fit_f32(&self) -> bool {
        self.values_fit_f32
    }

    fn evaluate(&mut self, moved: Option<usize>) -> Result<f64, InputError> {
        let value = require_finite_value(moved, (self.f)(&self.point))?;
        self.max_value = self.max_value.max(value.abs());
        self.values_fit_f32 &= f64::from(value as f32) == value;
        Ok(value)
    }
}

pub(crate) fn require_finite_value(
    coordinate: Option<usize>,
    value: f64,
) -> Result<f64, InputError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(InputError::NonFiniteFunction { coordinate, value })
    }
}

pub(crate) fn require_positive(what: &'static str, value: f64) -> Result<(), InputError> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(InputError::NotPositive { what, value })
    }
}

pub(crate) fn require_same_length(
    what: &'static str,
    values: &[f64],
    x: &[f64],
) -> Result<(), InputError> {
    if values.len() == x.len() {
        Ok(())
    } else {
        Err(InputError::LengthMismatch {
            what,
            len: values.len(),
            expected: x.len(),
        })
    }
}

pub(crate) fn require_finite(what: &'static str, values: &[f64]) -> Result<(), InputError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(coordinate) => Err(InputError::NonFinite {
            what,
            coordinate,
            value: values[coordinate],
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a failed unwrap is the failure of the test"
    )]

    use super::*;

    #[test]
    fn the_order_of_both_formulas_is_as_documented() {
        // f = x⁵ at 0.5: D(h) − f' = h² f'''/6 + h⁴ f⁽⁵⁾/120 = 2.5 h² + h⁴, and the extrapolation is
        // off by −h⁴ f⁽⁵⁾/480 = −h⁴/4 exactly (no seventh derivative). At h = 2⁻⁵ rounding is
        // below ε·0.1/h = 1e-15.
        let f = |x: &[f64]| x[0].powi(5);
        let h = 0.03125_f64;
        let exact = 5.0 * 0.5_f64.powi(4);
        let mut probe = Probe::new(&f, &[0.5]).unwrap();
        let central = probe.central(0, h).unwrap() - exact;
        let richardson = probe.richardson(0, h).unwrap() - exact;
        assert!((central - (2.5 * h * h + h.powi(4))).abs() < 1e-14);
        assert!((richardson + h.powi(4) / 4.0).abs() < 1e-14);
    }

    #[test]
    fn the_point_is_put_back() {
        let f = |x: &[f64]| x[0] * x[1];
        let mut probe = Probe::new(&f, &[0.1, 0.3]).unwrap();
        probe.central(0, 1e-5).unwrap();
        probe.richardson(1, 1e-3).unwrap();
        assert_eq!(probe.point, [0.1, 0.3]);
    }
}
