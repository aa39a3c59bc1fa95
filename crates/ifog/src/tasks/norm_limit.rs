//! The longest gradient that is learnt from as it is: a fixed norm, and no more than twice the usual one.
//!
//! What is nearly learnt has short gradients, and so small second moments in Adam: one gradient that is long beside them would
//! move every weight at once. AutoClip (Seetharaman et al. 2020) has a quantile of all norms so far in the place of the mean.

/// The limit, and what is usual.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormLimit {
    /// Never more.
    most: f64,
    /// Mean of the norms of the newest gradients, as they were cut.
    usual: f64,
    /// Gradients in a row that were not finite.
    overflows: u32,
}

impl NormLimit {
    /// `most` is a limit from the start.
    pub(super) fn new(most: f64) -> Self {
        Self {
            most,
            usual: most,
            overflows: 0,
        }
    }

    /// The norm to cut the next gradient to.
    pub(super) fn now(&self) -> f64 {
        self.most.min(SURPRISE * self.usual)
    }

    /// Takes in the norm of a gradient before it was cut. False after too many in a row that are not finite.
    pub(super) fn saw(&mut self, norm: f64) -> bool {
        if norm.is_finite() {
            self.usual += USUAL * (norm.min(self.now()) - self.usual);
            self.overflows = 0;
        } else {
            self.overflows += 1;
        }
        self.overflows <= MOST_OVERFLOWS
    }
}

/// Times the usual norm that a gradient may have.
const SURPRISE: f64 = 2.0;
/// Share of a gradient in what is usual.
const USUAL: f64 = 0.01;
/// Gradients in a row that nothing is learnt from because they overflow: the product of T Jacobians can, for sequences that the next
/// step does not have.
const MOST_OVERFLOWS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_that_is_long_beside_the_usual_ones_is_cut() {
        let mut limit = NormLimit::new(1.0);
        assert_eq!(limit.now(), 1.0);
        // Down to half after ln 2/0.01 short ones; then the usual is below half of the most.
        for _ in 0..60 {
            assert!(limit.saw(0.0));
        }
        assert_eq!(limit.now(), 1.0);
        for _ in 0..940 {
            assert!(limit.saw(0.0));
        }
        let before = limit.now();
        assert!((before / (2.0 * 0.99f64.powi(1000)) - 1.0).abs() < 1e-9);
        // However long, one is no more than twice the usual, and moves it by a hundredth.
        assert!(limit.saw(1e30));
        assert!((limit.now() / before - 1.01).abs() < 1e-9);
    }

    #[test]
    fn overflows_are_borne_for_a_while() {
        let mut limit = NormLimit::new(1.0);
        let overflow = |limit: &mut NormLimit| limit.saw(f64::INFINITY);
        assert!((0..20).all(|_| overflow(&mut limit)));
        assert!(limit.saw(0.5) && (0..20).all(|_| overflow(&mut limit)));
        assert!(!overflow(&mut limit) && !limit.saw(f64::NAN));
    }
}
