//! One number for the whole gradient: its projection on a direction.

use std::fmt;

use crate::difference::{
    require_finite, require_finite_value, require_positive, require_same_length,
};
use crate::error::InputError;

/// A directional derivative, once from the gradient and once from differences.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use = "a result nobody looks at checks nothing"]
pub struct Directional {
    /// `v·g`.
    pub analytic: f64,
    /// `(f(x + hv) − f(x − hv)) / 2h`.
    pub numeric: f64,
    /// `|analytic − numeric|`.
    pub abs_error: f64,
    /// `max(|analytic|, |numeric|)`.
    pub scale: f64,
    /// `ε · max|f| / h`, twice the rounding of the quotient when `f` is computed perfectly.
    pub floor: f64,
}

impl Directional {
    /// Whether the absolute error is at most `bound · scale`, or within the rounding floor; never where it overflows.
    #[must_use]
    pub fn ok(&self, bound: f64) -> bool {
        self.abs_error.is_finite() && self.abs_error <= (bound * self.scale).max(self.floor)
    }

    /// `abs_error / scale`; 0 where both derivatives are zero, ∞ where one overflows.
    #[must_use]
    pub fn error(&self) -> f64 {
        if self.abs_error == 0.0 {
            0.0
        } else if !self.abs_error.is_finite() {
            f64::INFINITY
        } else {
            self.abs_error / self.scale
        }
    }
}

impl fmt::Display for Directional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "directional derivative: analytic {:.9e}, numeric {:.9e}, off by {:.1e} ({:.1e} of the larger; rounding floor {:.1e})",
            self.analytic,
            self.numeric,
            self.abs_error,
            self.error(),
            self.floor
        )
    }
}

/// Compares `v·g` with `(f(x + hv) − f(x − hv)) / 2h`: two evaluations, whatever the size of the model.
///
/// `x`, `analytic` (g) and `direction` (v) are `[n]`; `step` is `h`, about 1e-5 for entries of `v` near 1.
/// [`rademacher`](crate::rademacher) draws a direction that looks at every coordinate alike; use
/// several seeds, because one direction misses an error orthogonal to it. Where it fails, a
/// sampled [`Check`](crate::Check) finds the tensor.
///
/// The error is normalised by the derivative along `v` itself, which in a random direction is about
/// `‖g‖`; if it comes out much smaller by chance, rounding weighs more: draw another direction.
///
/// ```
/// use ifog_gradcheck::{directional, rademacher};
///
/// let x: Vec<f64> = (0..100_000).map(|k| (k as f64).sin()).collect();
/// let loss = |x: &[f64]| x.iter().map(|v| 0.5 * v * v).sum::<f64>() / x.len() as f64;
/// let gradient: Vec<f64> = x.iter().map(|v| v / x.len() as f64).collect();
/// let result = directional(loss, &x, &gradient, &rademacher(x.len(), 1), 1e-5)?;
/// assert!(result.ok(1e-6), "{result}");
/// # Ok::<(), ifog_gradcheck::InputError>(())
/// ```
///
/// # Errors
///
/// [`InputError`] if a length, the step or a number is not usable, or the direction is zero.
pub fn directional<F: Fn(&[f64]) -> f64>(
    f: F,
    x: &[f64],
    analytic: &[f64],
    direction: &[f64],
    step: f64,
) -> Result<Directional, InputError> {
    require_positive("step", step)?;
    if x.is_empty() {
        return Err(InputError::Empty);
    }
    require_same_length("gradient", analytic, x)?;
    require_same_length("direction", direction, x)?;
    require_finite("x", x)?;
    require_finite("gradient", analytic)?;
    require_finite("direction", direction)?;
    if direction.iter().all(|&v| v == 0.0) {
        return Err(InputError::ZeroDirection);
    }

    let value_at = |h: f64| {
        let moved: Vec<f64> = x.iter().zip(direction).map(|(x, v)| x + h * v).collect();
        require_finite_value(None, f(&moved))
    };
    let (above, below) = (value_at(step)?, value_at(-step)?);
    let numeric = require_finite_value(None, (above - below) / (2.0 * step))?;
    let analytic: f64 = direction.iter().zip(analytic).map(|(v, g)| v * g).sum();
    Ok(Directional {
        analytic,
        numeric,
        abs_error: (analytic - numeric).abs(),
        scale: analytic.abs().max(numeric.abs()),
        floor: f64::EPSILON * above.abs().max(below.abs()) / step,
    })
}
