//! The loops over parameters: plain zipped slices, which the compiler turns into vector code. The
//! formulas stand at [`OptimizerConfig`](super::OptimizerConfig).

use crate::finite::all_finite;
use crate::pool::join;

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
    /// Runs `update` over the whole span, in pieces on several threads if there are any. Returns whether parameters and buffers
    /// are then all finite, for which they are read once more while a cache has them.
    pub(super) fn update(mut self, update: &(impl Fn(&mut Span<'_>) + Sync)) -> bool {
        if self.parameters.len() > PIECE {
            let (left, right) = self.halves();
            let (left, right) = join(false, || left.update(update), || right.update(update));
            return left & right;
        }
        update(&mut self);
        all_finite(self.parameters) & all_finite(self.first) & all_finite(self.second)
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

pub(super) fn sgd(span: &mut Span<'_>, lr: f32) {
    for (theta, g) in span.parameters.iter_mut().zip(span.gradient) {
        *theta -= lr * g;
    }
}

pub(super) fn sgd_momentum(span: &mut Span<'_>, momentum: f32, lr: f32) {
    let components = span.parameters.iter_mut().zip(span.gradient);
    for ((theta, g), b) in components.zip(&mut *span.first) {
        *b = momentum * *b + g;
        *theta -= lr * *b;
    }
}

pub(super) fn scaled_by_root(span: &mut Span<'_>, average: Average, eps: f32, lr: f32) {
    let components = span.parameters.iter_mut().zip(span.gradient);
    for ((theta, g), v) in components.zip(&mut *span.first) {
        *v = average.old * *v + average.new * (g * g);
        *theta -= lr * (g / (v.sqrt() + eps));
    }
}

pub(super) fn adam(span: &mut Span<'_>, step: AdamStep) {
    let components = span.parameters.iter_mut().zip(span.gradient);
    let buffers = span.first.iter_mut().zip(&mut *span.second);
    for ((theta, g), (m, v)) in components.zip(buffers) {
        *m = step.m.old * *m + step.m.new * g;
        *v = step.v.old * *v + step.v.new * (g * g);
        *theta = step.keep * *theta - step.rate * (*m / (v.sqrt() * step.root + step.eps));
    }
}

/// Parameters that one thread updates in one go: with Adam's buffers 256 KiB, which fit an L2 cache
/// and take some ten microseconds, well above the price of a task.
const PIECE: usize = 16_384;
