//! A recurrent network that can be checked by hand: one unit, one input.
//!
//! ```text
//! a_t = w_xh x_t + w_hh h_{t−1} + b        h_t = tanh(a_t)
//! ∂h_T/∂h_1 = Π_{t=2..T} w_hh (1 − h_t²)
//! ```
//!
//! The product vanishes where the unit saturates and explodes where it does not and |w_hh| > 1 (Bengio, Simard,
//! Frasconi 1994; Pascanu, Mikolov, Bengio 2013).

/// The weights of the unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Toy {
    /// Weight of the input.
    pub w_xh: f64,
    /// Weight of the state before.
    pub w_hh: f64,
    /// Bias.
    pub b: f64,
}

/// A state that the unit stays in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedPoint {
    /// h = tanh(w_xh x + w_hh h + b).
    pub h: f64,
    /// w_hh (1 − h²): what a small deviation is multiplied by in a step. Below 1 in absolute value the point
    /// attracts and forgets, above it repels.
    pub gain: f64,
}

impl Default for Toy {
    /// h_t = tanh(2 x_t + 3 h_{t−1} + 1).
    fn default() -> Self {
        Self {
            w_xh: 2.0,
            w_hh: 3.0,
            b: 1.0,
        }
    }
}

impl Toy {
    /// h_1 … h_T from h_0, for an input each step.
    pub fn states(&self, h0: f64, inputs: &[f64]) -> Vec<f64> {
        let mut h = h0;
        let step = |&x: &f64| {
            h = self.step(x, h);
            h
        };
        inputs.iter().map(step).collect()
    }

    /// ∂h_T/∂h_1 by backpropagation through time; 1 for T = 1, 0 for T = 0.
    ///
    /// ```text
    /// d_T = 1        d_{t−1} = d_t (1 − h_t²) w_hh
    /// ```
    pub fn gradient(&self, states: &[f64]) -> f64 {
        let Some((_, later)) = states.split_first() else {
            return 0.0;
        };
        later
            .iter()
            .rev()
            .fold(1.0, |d, h| d * (1.0 - h * h) * self.w_hh)
    }

    /// ∂h_t/∂h_1 for t = 1 … T, by the product of the same factors from the first step on.
    pub fn gradients(&self, states: &[f64]) -> Vec<f64> {
        let mut product = 1.0;
        let step = |(t, h): (usize, &f64)| {
            if t > 0 {
                product *= (1.0 - h * h) * self.w_hh;
            }
            product
        };
        states.iter().enumerate().map(step).collect()
    }

    /// log₁₀ |∂h_t/∂h_1| for t = 1 … T, also where the gradient is beyond the numbers of f64; −∞ for a gradient of 0.
    pub fn log10_gradients(&self, states: &[f64]) -> Vec<f64> {
        let mut sum = 0.0;
        let step = |(t, h): (usize, &f64)| {
            if t > 0 {
                sum += ((1.0 - h * h) * self.w_hh).abs().log10();
            }
            sum
        };
        states.iter().enumerate().map(step).collect()
    }

    /// ∂h_T/∂h_1 by central differences with steps e and e/2, extrapolated (Richardson):
    ///
    /// ```text
    /// D(e) = (h_T(h_1 + e) − h_T(h_1 − e)) / 2e        (4 D(e/2) − D(e)) / 3
    /// ```
    ///
    /// Rounding leaves an absolute error of some [`ROUNDING`]: a gradient below that cannot be seen so.
    pub fn difference(&self, states: &[f64], inputs: &[f64]) -> f64 {
        let differences = self.differences(states, inputs);
        differences.last().copied().unwrap_or(0.0)
    }

    /// ∂h_t/∂h_1 for t = 1 … T by the same differences.
    pub fn differences(&self, states: &[f64], inputs: &[f64]) -> Vec<f64> {
        let Some(&h1) = states.first() else {
            return Vec::new();
        };
        let (e, half) = (DIFFERENCE_STEP, DIFFERENCE_STEP / 2.0);
        let first = [h1 + e, h1 - e, h1 + half, h1 - half];
        let mut moved = first;
        let step = |(t, &x): (usize, &f64)| {
            if t > 0 {
                moved = moved.map(|h| self.step(x, h));
            }
            let central = |i: usize| (moved[i] - moved[i + 1]) / (first[i] - first[i + 1]);
            (4.0 * central(2) - central(0)) / 3.0
        };
        inputs.iter().enumerate().map(step).collect()
    }

    /// The states it stays in under a constant input, from the lowest: one or, if w_hh > 1, up to three.
    ///
    /// h − tanh(w h + a) is monotone between the points where w (1 − tanh²) = 1, that is w h + a = ±acosh(√w), so
    /// bisection in each of these intervals finds every one.
    pub fn fixed_points(&self, x: f64) -> Vec<FixedPoint> {
        let excess = |h: f64| h - self.step(x, h);
        let mut bounds = vec![-1.0];
        if self.w_hh > 1.0 {
            let turn = self.w_hh.sqrt().acosh();
            let place = |u: f64| (u - self.w_xh * x - self.b) / self.w_hh;
            bounds.extend([place(-turn), place(turn)].map(|h| h.clamp(-1.0, 1.0)));
        }
        bounds.push(1.0);
        let mut found: Vec<FixedPoint> = Vec::new();
        for ends in bounds.windows(2) {
            let (low, high) = (ends[0], ends[1]);
            if low < high && excess(low) * excess(high) <= 0.0 {
                let h = bisect(excess, low, high);
                if found.last().is_none_or(|last| h > last.h) {
                    let gain = self.w_hh * (1.0 - h * h);
                    found.push(FixedPoint { h, gain });
                }
            }
        }
        found
    }

    fn step(&self, x: f64, h: f64) -> f64 {
        (self.w_xh * x + self.w_hh * h + self.b).tanh()
    }
}

/// The place between `low` and `high` where `f` changes its sign, to the last bit.
fn bisect(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let rising = f(low) <= 0.0;
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        match (f(middle) <= 0.0) == rising {
            true => low = middle,
            false => high = middle,
        }
    }
}

/// The truncation error e⁴/480 · f⁽⁵⁾ and the rounding error 2⁻⁵³/e are about the same here.
const DIFFERENCE_STEP: f64 = 1e-3;
/// 3 · 2⁻⁵³ / e: the absolute error that rounding leaves in [`Toy::difference`].
pub const ROUNDING: f64 = 4e-13;

#[cfg(test)]
mod tests {
    use super::*;

    /// To three digits, as printed in courses; 9 exactly.
    #[test]
    fn the_gradients_of_the_course() {
        let toy = Toy::default();
        for (x, expected) in [(-0.5, 9.0), (0.0, 6.9e-5), (1.0, 5.6e-9)] {
            let inputs = [x; 3];
            let states = toy.states(0.0, &inputs);
            let gradient = toy.gradient(&states);
            assert!(
                (gradient / expected - 1.0).abs() < 0.01,
                "x = {x}: {gradient}"
            );
            let error = (gradient - toy.difference(&states, &inputs)).abs();
            // Rounding, and the truncation error with the fifth derivative of tanh(3 tanh 3h) at 0, which is 1.22e6.
            assert!(
                error < ROUNDING + 1e-12 / 480.0 * 1.3e6,
                "x = {x}: {error:e}"
            );
        }
        assert_eq!(toy.gradient(&toy.states(0.0, &[-0.5; 3])), 9.0);
        let (inputs, mut all) = ([0.1; 40], Vec::new());
        let states = toy.states(0.0, &inputs);
        for t in 1..=states.len() {
            all.push(toy.gradient(&states[..t]));
            let difference = toy.difference(&states[..t], &inputs[..t]);
            assert_eq!(toy.differences(&states, &inputs)[t - 1], difference);
        }
        for (product, bptt) in toy.gradients(&states).into_iter().zip(all) {
            // 39 factors in another order, each product rounded.
            assert!((product / bptt - 1.0).abs() < 1e-13, "{product} {bptt}");
        }
        for (log, gradient) in toy
            .log10_gradients(&states)
            .into_iter()
            .zip(toy.gradients(&states))
        {
            // 39 logarithms of at most 4, each rounded, and their sum.
            assert!((log - gradient.log10()).abs() < 1e-12, "{log} {gradient}");
        }
        // 3³⁹⁹⁹ and 0 have a logarithm too.
        let still = vec![0.0; 4000];
        assert_eq!(toy.gradient(&still), f64::INFINITY);
        let log = toy.log10_gradients(&still)[3999];
        assert!((log - 3999.0 * 3f64.log10()).abs() < 1e-8, "{log}");
        assert_eq!(toy.log10_gradients(&[0.0, 1.0])[1], f64::NEG_INFINITY);
        assert_eq!(toy.gradient(&[0.3]), 1.0);
        assert_eq!(toy.gradient(&[]), 0.0);
    }

    #[test]
    fn three_fixed_points_and_their_gains() {
        let points = Toy::default().fixed_points(0.0);
        let gains: Vec<f64> = points.iter().map(|p| p.gain).collect();
        for (gain, expected) in gains.iter().zip([0.279, 2.157, 0.0040]) {
            assert!((gain / expected - 1.0).abs() < 0.01, "{gains:?}");
        }
        assert_eq!(gains.len(), 3);
        for p in points {
            // A bit of h moves tanh(3h + 1) by at most 3 of them, and the tanh is off by one.
            assert!((p.h - (3.0 * p.h + 1.0).tanh()).abs() < 4.0 * f64::EPSILON);
        }
    }

    #[test]
    fn every_unit_has_a_fixed_point() {
        for w_hh in [-50.0, -1.0, 0.0, 0.5, 1.0, 1.0001, 3.0, 1000.0] {
            for x in [-1e6, -3.0, -0.5, 0.0, 0.2, 7.0, 1e6] {
                let toy = Toy {
                    w_hh,
                    ..Toy::default()
                };
                let found = toy.fixed_points(x);
                assert!(
                    (1..=3).contains(&found.len()),
                    "w_hh {w_hh}, x {x}: {found:?}"
                );
            }
        }
    }
}
