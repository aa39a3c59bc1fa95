//! The loops over parameters: plain zipped slices, of which the compiler makes vector code of the machine's best level. The
//! formulas stand at [`OptimizerConfig`](super::OptimizerConfig).

use ifog_kernels::{Level, Vectorize};

use crate::finite::all_finite;
use crate::pool::join;

/// What one step does with each parameter.
pub(super) trait Rule: Copy + Sync {
    /// To be marked `#[inline(always)]`: see [`Vectorize::run`].
    fn apply(self, span: &mut Span<'_>);
}

/// The same range of parameters, gradient and buffers; a buffer that is not kept is empty.
pub(super) struct Span<'a> {
    pub(super) parameters: &'a mut [f32],
    pub(super) gradient: &'a [f32],
    pub(super) first: &'a mut [f32],
    pub(super) second: &'a mut [f32],
}

/// Weights of the old average and of the new value.
#[derive(Clone, Copy)]
pub(super) struct Average {
    pub(super) old: f32,
    pub(super) new: f32,
}

/// Adam's constants at one step: `keep` 1 − ηλ, `rate` η/(1 − β₁ᵗ), `root` 1/√(1 − β₂ᵗ).
#[derive(Clone, Copy)]
pub(super) struct AdamStep {
    pub(super) keep: f32,
    pub(super) m: Average,
    pub(super) v: Average,
    pub(super) rate: f32,
    pub(super) root: f32,
    pub(super) eps: f32,
}

impl Span<'_> {
    /// Applies `rule` to the whole span, in pieces on several threads if there are any. Returns whether parameters and buffers
    /// are then all finite, for which they are read once more while a cache has them.
    pub(super) fn update(self, rule: impl Rule) -> bool {
        if self.parameters.len() > PIECE {
            let (left, right) = self.halves();
            let (left, right) = join(false, || left.update(rule), || right.update(rule));
            return left & right;
        }
        Level::best().vectorize(Piece { span: self, rule })
    }

    fn halves(self) -> (Self, Self) {
        let middle = (self.parameters.len() / 2).next_multiple_of(PIECE);
        let (parameters, parameters_right) = self.parameters.split_at_mut(middle);
        let (gradient, gradient_right) = self.gradient.split_at(middle);
        let (first, first_right) = self.first.split_at_mut(middle.min(self.first.len()));
        let (second, second_right) = self.second.split_at_mut(middle.min(self.second.len()));
        let left = Self {
            parameters,
            gradient,
            first,
            second,
        };
        let right = Self {
            parameters: parameters_right,
            gradient: gradient_right,
            first: first_right,
            second: second_right,
        };
        (left, right)
    }
}

impl Average {
    /// `old` is `decay`, `new` what is left of 1.
    pub(super) fn decaying(decay: f64) -> Self {
        Self {
            old: decay as f32,
            new: (1.0 - decay) as f32,
        }
    }
}

/// A span that one thread updates in one go.
struct Piece<'a, R> {
    span: Span<'a>,
    rule: R,
}

impl<R: Rule> Vectorize for Piece<'_, R> {
    type Output = bool;

    #[inline(always)]
    fn run(mut self) -> bool {
        self.rule.apply(&mut self.span);
        let Span {
            parameters,
            first,
            second,
            ..
        } = self.span;
        all_finite(parameters) & all_finite(first) & all_finite(second)
    }
}

/// Gradient descent.
#[derive(Clone, Copy)]
pub(super) struct Sgd {
    pub(super) lr: f32,
}

impl Rule for Sgd {
    #[inline(always)]
    fn apply(self, span: &mut Span<'_>) {
        for (theta, g) in span.parameters.iter_mut().zip(span.gradient) {
            *theta -= self.lr * g;
        }
    }
}

/// Gradient descent with momentum.
#[derive(Clone, Copy)]
pub(super) struct Momentum {
    pub(super) momentum: f32,
    pub(super) lr: f32,
}

impl Rule for Momentum {
    #[inline(always)]
    fn apply(self, span: &mut Span<'_>) {
        let components = span.parameters.iter_mut().zip(span.gradient);
        for ((theta, g), b) in components.zip(&mut *span.first) {
            *b = self.momentum * *b + g;
            *theta -= self.lr * *b;
        }
    }
}

/// Adagrad and RMSProp.
#[derive(Clone, Copy)]
pub(super) struct ScaledByRoot {
    pub(super) average: Average,
    pub(super) eps: f32,
    pub(super) lr: f32,
}

impl Rule for ScaledByRoot {
    #[inline(always)]
    fn apply(self, span: &mut Span<'_>) {
        let Average { old, new } = self.average;
        let components = span.parameters.iter_mut().zip(span.gradient);
        for ((theta, g), v) in components.zip(&mut *span.first) {
            *v = old * *v + new * (g * g);
            *theta -= self.lr * (g / (v.sqrt() + self.eps));
        }
    }
}

impl Rule for AdamStep {
    #[inline(always)]
    fn apply(self, span: &mut Span<'_>) {
        let components = span.parameters.iter_mut().zip(span.gradient);
        let buffers = span.first.iter_mut().zip(&mut *span.second);
        for ((theta, g), (m, v)) in components.zip(buffers) {
            *m = self.m.old * *m + self.m.new * g;
            *v = self.v.old * *v + self.v.new * (g * g);
            *theta = self.keep * *theta - self.rate * (*m / (v.sqrt() * self.root + self.eps));
        }
    }
}

/// Parameters that one thread updates in one go: with Adam's buffers 256 KiB, which fit an L2 cache
/// and take some ten microseconds, well above the price of a task.
const PIECE: usize = 16_384;
