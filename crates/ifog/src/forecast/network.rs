//! One network of a forecaster: how it reads, and how it learns.

use ifog_kernels::{Level, Threads};

use super::{ForecastConfig, ForecastError};
use crate::clip::ClipRule;
use crate::cost::check_memory;
use crate::fit::{FitConfig, Fitter};
use crate::init::{Init, initial_parameters};
use crate::learning_rate::{Decay, LearningRate, Place};
use crate::loss::squared_error;
use crate::network::{Inputs, Packed, Reader};
use crate::optimizer::OptimizerConfig;
use crate::parameters::Layout;
use crate::rng::{Rng, Stream};

/// What all networks of a forecaster learn from.
#[derive(Debug)]
pub(super) struct Lesson<'a> {
    pub(super) config: ForecastConfig,
    pub(super) layout: &'a Layout,
    /// `[rows, I]`.
    pub(super) inputs: Vec<f32>,
    /// `[rows − h]`: what is to be said at each row.
    pub(super) targets: Vec<f32>,
    /// Rows to learn from, the last h without a target; those after it choose when to stop.
    pub(super) fit: usize,
}

impl Lesson<'_> {
    /// The parameters with the least error on the later rows, those before training included.
    ///
    /// Truncated BPTT over parallel stretches of the rows, whose windows start elsewhere in each pass; AdamW along a cosine.
    pub(super) fn learn(&self, seed: u64) -> Result<Vec<f32>, ForecastError> {
        let Self { config, layout, .. } = self;
        let usable = self.fit - config.horizon;
        let batch = (usable / STRETCH).clamp(1, MOST_STRETCHES);
        let stretch = usable / batch;
        let window = stretch.min(WINDOW);
        check_memory(layout, 1, window, batch, size_of::<f32>())?;
        let mut parameters = initial_parameters(layout, Init::Orthogonal, 1.0, seed);
        parameters[layout.decoder_weight()].fill(0.0);
        let fit = FitConfig {
            optimizer: adamw(config.weight_decay),
            clip: ClipRule::GlobalNorm(1.0),
            ..FitConfig::default()
        };
        let room = (window, batch);
        let mut fitter = Fitter::new(layout, &parameters, room, fit, Threads::SINGLE)?;
        let rate = LearningRate::new(config.lr, 0, Decay::Cosine { floor: 0.0 });
        let mut rng = Rng::new(seed, Stream::Data);
        let mut best = (self.validation_error(&parameters)?, parameters.clone());
        let (mut step, mut best_step) = (0, 0);
        while step < config.steps && step - best_step <= config.steps / PATIENCE {
            fitter.state_mut().reset();
            // Any place where a window may start, so that no row is always beyond the last one.
            let starts = window.min(stretch - window + 1).max(window / 2 + 1);
            let offset = rng.below(starts as u64) as usize;
            let last = stretch.saturating_sub(window).max(offset);
            for start in (offset..=last).step_by(window).take(config.steps - step) {
                let length = window.min(stretch - start);
                let (x, y) = self.rows(start..start + length, stretch, batch);
                let place = Place::of(step as u64 + 1, config.steps as u64);
                let (lr, inputs) = (rate.at(place), Inputs::Vectors(&x));
                let loss = |_, outputs: &mut [f32]| squared_error(outputs, &y, y.len());
                let fit = fitter.step(&mut parameters, lr, inputs, length, loss);
                fit.map_err(|_| ForecastError::Diverged)?;
                step += 1;
            }
            let error = self.validation_error(&parameters)?;
            if error < best.0 {
                best = (error, parameters.clone());
                best_step = step;
            }
        }
        Ok(best.1)
    }

    /// Inputs `[T·B, I]` and targets `[T·B]` of these rows of every stretch.
    fn rows(
        &self,
        window: std::ops::Range<usize>,
        stretch: usize,
        batch: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let width = self.layout.config().input.width();
        let rows = || {
            let steps = window.clone();
            steps.flat_map(|t| (0..batch).map(move |b| b * stretch + t))
        };
        let inputs = rows().flat_map(|row| &self.inputs[row * width..][..width]);
        (
            inputs.copied().collect(),
            rows().map(|row| self.targets[row]).collect(),
        )
    }

    /// Sum of squared errors on the rows that choose.
    fn validation_error(&self, parameters: &[f32]) -> Result<f64, ForecastError> {
        let outputs = read(self.layout, parameters, &self.inputs)?;
        let both = outputs.iter().zip(&self.targets).skip(self.fit);
        Ok(both.map(|(y, t)| f64::from(y - t).powi(2)).sum())
    }
}

/// The outputs row by row, for inputs `[rows, I]`.
pub(super) fn read(
    layout: &Layout,
    parameters: &[f32],
    inputs: &[f32],
) -> Result<Vec<f32>, ForecastError> {
    let mut weights = Packed::new(layout, Level::detect()?, false)?;
    weights.load(parameters, Threads::SINGLE);
    let width = layout.config().input.width();
    let mut reader = Reader::new(&weights, READ, 1)?;
    let mut outputs = Vec::with_capacity(inputs.len() / width);
    for rows in inputs.chunks(READ * width) {
        let steps = rows.len() / width;
        outputs.extend_from_slice(reader.read(
            &weights,
            Inputs::Vectors(rows),
            steps,
            Threads::SINGLE,
        ));
    }
    Ok(outputs)
}

fn adamw(weight_decay: f64) -> OptimizerConfig {
    OptimizerConfig::Adam {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay,
    }
}

/// Most steps of BPTT.
const WINDOW: usize = 72;
/// Least rows of a stretch: three windows.
const STRETCH: usize = 3 * WINDOW;
const MOST_STRETCHES: usize = 16;
/// A network that has not improved in 1/3 of its steps is not expected to.
const PATIENCE: usize = 3;
/// Rows read in one go.
const READ: usize = 256;
