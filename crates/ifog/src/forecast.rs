//! The next value of a series from all values so far.
//!
//! For each column the network reads three numbers, scaled with statistics of the training rows alone:
//!
//! ```text
//! Δ_t = (y_t − y_{t−1})/σ_Δ        u_t = (y_t − m_t)/σ_u, m_t ← m_{t−1} + α (y_t − m_{t−1})        z_t = (y_t − μ)/σ
//! ```
//!
//! z is held at the ends of its training range: a level never seen says nothing. It predicts (y_{t+h} − y_t)/σ_h for the horizon
//! h, so an untrained network is the persistence forecast, and what it learns is what can be known beyond that. The evaluation
//! walks forward: the state at t has seen every row up to t and none after it.

pub mod baselines;
pub mod example;
mod file;
pub mod scores;

use ifog_kernels::{Cell, Level, LevelError, Threads};

use crate::clip::{ClipError, ClipRule, Clipper};
use crate::config::{ConfigError, InputConfig, NetworkConfig};
use crate::cost::{MemoryError, check_memory};
use crate::dropout::Dropout;
use crate::init::{Init, initial_parameters};
use crate::loss::squared_error;
use crate::network::{Inputs, Learner, Packed, Reader};
use crate::optimizer::{Optimizer, OptimizerConfig, OptimizerError};
use crate::parameters::Layout;
use crate::rng::{Rng, Stream};

pub use file::FileError;

/// What to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastConfig {
    /// The cell.
    pub cell: Cell,
    /// H.
    pub hidden: usize,
    /// h, in rows.
    pub horizon: usize,
    /// Most passes over the training rows.
    pub epochs: usize,
    /// Learning rate of Adam.
    pub lr: f64,
    /// Where weights and the order of windows come from.
    pub seed: u64,
}

/// A trained network with its scales.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecaster {
    layout: Layout,
    parameters: Vec<f32>,
    scales: Vec<Scale>,
    horizon: usize,
    /// σ_h of the first column, and its errors on the validation rows, sorted.
    spread: f64,
    errors: Vec<f64>,
}

/// The statistics of a column's training rows.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Scale {
    mean: f64,
    deviation: f64,
    low: f64,
    high: f64,
    change: f64,
    excursion: f64,
}

/// Why nothing can be forecast.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ForecastError {
    /// Too little to learn from.
    #[error(
        "{rows} training rows are too few: give at least {least}, or a smaller test part or horizon"
    )]
    Short {
        /// What there is.
        rows: usize,
        /// What is needed.
        least: usize,
    },
    /// The columns do not fit each other or the model.
    #[error("the forecaster reads {expected} column(s) of equal length, not {found}: name as many")]
    Columns {
        /// Of the forecaster.
        expected: usize,
        /// Given.
        found: usize,
    },
    /// A value that is no number.
    #[error("the value in row {0} is not finite")]
    Value(usize),
    /// Training left the finite numbers.
    #[error("training diverged: lower the learning rate")]
    Diverged,
    /// The network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// More memory than the machine has.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The clipping.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The update rule.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// `IFOG_ISA`.
    #[error(transparent)]
    Level(#[from] LevelError),
}

impl Forecaster {
    /// Learns from the first `rows` of the columns, of which the first is to be forecast. The last seventh of these rows chooses
    /// when to stop.
    ///
    /// # Errors
    /// There are fewer than 20 rows beyond two horizons, or a value is not finite.
    pub fn train(
        config: ForecastConfig,
        columns: &[Vec<f64>],
        rows: usize,
    ) -> Result<Self, ForecastError> {
        let columns: Vec<&[f64]> = columns.iter().map(|c| &c[..rows.min(c.len())]).collect();
        check(&columns, columns.len())?;
        // Rows to learn from and rows to choose by each lie a horizon before their targets.
        let least = LEAST_ROWS.saturating_add(config.horizon.saturating_mul(2));
        let rows = columns[0].len();
        if rows < least {
            return Err(ForecastError::Short { rows, least });
        }
        let fit = rows - (rows / 7).max(config.horizon + 2);
        let scales: Vec<Scale> = columns.iter().map(|c| Scale::of(&c[..fit])).collect();
        let layout = Layout::new(NetworkConfig {
            cell: config.cell,
            input: InputConfig::Dense {
                width: INPUTS * columns.len(),
            },
            hidden: config.hidden,
            layers: 1,
            outputs: 1,
        })?;
        check_memory(&layout, 1, rows, 1, size_of::<f32>())?;
        let mut parameters = initial_parameters(&layout, Init::Uniform, 1.0, config.seed);
        parameters[layout.decoder_weight()].fill(0.0);
        let steps: Vec<f64> = steps(columns[0], config.horizon).collect();
        let mut forecaster = Self {
            spread: root_mean_square(&steps[..fit - config.horizon]).max(f64::MIN_POSITIVE),
            errors: Vec::new(),
            horizon: config.horizon,
            layout,
            parameters,
            scales,
        };
        let inputs = forecaster.inputs(&columns);
        forecaster.descend(config, &inputs, &steps, fit)?;
        let predicted = forecaster.changes(&inputs)?;
        let validation = fit..rows - config.horizon;
        forecaster.errors = validation.map(|t| steps[t] - predicted[t]).collect();
        forecaster.errors.sort_by(f64::total_cmp);
        Ok(forecaster)
    }

    /// For every row t the forecast of the first column's row t + h, from the rows up to t.
    ///
    /// # Errors
    /// The number of columns is not that of the training, or a value is not finite.
    pub fn forecasts(&self, columns: &[Vec<f64>]) -> Result<Vec<f64>, ForecastError> {
        let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        check(&columns, self.scales.len())?;
        let changes = self.changes(&self.inputs(&columns))?;
        Ok(columns[0]
            .iter()
            .zip(changes)
            .map(|(y, change)| y + change)
            .collect())
    }

    /// What lies below and above a forecast in 80 % of the validation rows.
    pub fn interval(&self) -> (f64, f64) {
        let at = |share: f64| {
            let last = self.errors.len().saturating_sub(1);
            self.errors
                .get((last as f64 * share).round() as usize)
                .copied()
                .unwrap_or(0.0)
        };
        (at(0.1), at(0.9))
    }

    /// h, in rows.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// The network.
    pub fn config(&self) -> &NetworkConfig {
        self.layout.config()
    }

    /// Truncated BPTT over parallel stretches of the rows up to `fit`, their starts moved each epoch. The parameters with the
    /// least error on the later rows are kept, the ones before training included.
    fn descend(
        &mut self,
        config: ForecastConfig,
        inputs: &[f32],
        steps: &[f64],
        fit: usize,
    ) -> Result<(), ForecastError> {
        let level = Level::detect()?;
        let width = self.layout.config().input.width();
        let usable = fit - config.horizon;
        let batch = (usable / 220).clamp(1, 16);
        let stretch = usable / batch;
        let window = stretch.min(WINDOW);
        let mut weights = Packed::new(&self.layout, level, true)?;
        let mut learner = Learner::new(&weights, window, batch, Dropout::off(), Threads::SINGLE)?;
        let mut optimizer = Optimizer::new(OptimizerConfig::adam(), self.layout.len())?;
        let mut clipper = Clipper::new(ClipRule::GlobalNorm(1.0))?;
        let mut rng = Rng::new(config.seed, Stream::Data);
        let targets: Vec<f32> = steps.iter().map(|s| (s / self.spread) as f32).collect();
        let error = |forecaster: &Self| -> Result<f64, ForecastError> {
            let predicted = forecaster.changes(inputs)?;
            let errors: Vec<f64> = (fit..steps.len())
                .map(|t| steps[t] - predicted[t])
                .collect();
            Ok(root_mean_square(&errors))
        };
        let mut best = (error(self)?, self.parameters.clone());
        let mut since = 0;
        for epoch in 0..config.epochs {
            let lr = config.lr / (1.0 + 4.0 * epoch as f64 / config.epochs as f64);
            learner.state.reset();
            let offset = rng.below((window / 2 + 1) as u64) as usize;
            let mut t = offset;
            while t + window <= stretch || t == offset {
                let length = window.min(stretch - t);
                let rows =
                    || (t..t + length).flat_map(|t| (0..batch).map(move |b| b * stretch + t));
                let x: Vec<f32> = rows()
                    .flat_map(|row| &inputs[row * width..][..width])
                    .copied()
                    .collect();
                let y: Vec<f32> = rows().map(|row| targets[row]).collect();
                weights.load(&self.parameters, Threads::SINGLE);
                let loss = learner.learn(&weights, Inputs::Vectors(&x), length, |outputs| {
                    squared_error(outputs, &y, y.len())
                });
                let norm = clipper.clip(&mut learner.gradient);
                if !(loss.is_finite() && norm.is_finite()) {
                    return Err(ForecastError::Diverged);
                }
                optimizer.step(&mut self.parameters, &learner.gradient, lr);
                t += length;
            }
            let now = error(self)?;
            if now < best.0 {
                best = (now, self.parameters.clone());
                since = 0;
            } else {
                since += 1;
            }
            if since > PATIENCE {
                break;
            }
        }
        self.parameters = best.1;
        Ok(())
    }

    /// The forecast changes of the first column, row by row.
    fn changes(&self, inputs: &[f32]) -> Result<Vec<f64>, ForecastError> {
        let mut weights = Packed::new(&self.layout, Level::detect()?, false)?;
        weights.load(&self.parameters, Threads::SINGLE);
        let width = self.layout.config().input.width();
        let mut reader = Reader::new(&weights, READ, 1);
        let mut changes = Vec::with_capacity(inputs.len() / width);
        for rows in inputs.chunks(READ * width) {
            let outputs = reader.read(
                &weights,
                Inputs::Vectors(rows),
                rows.len() / width,
                Threads::SINGLE,
            );
            changes.extend(outputs.iter().map(|y| f64::from(*y) * self.spread));
        }
        Ok(changes)
    }

    /// `[rows, 3 · columns]`.
    fn inputs(&self, columns: &[&[f64]]) -> Vec<f32> {
        let rows = columns[0].len();
        let width = INPUTS * columns.len();
        let mut inputs = vec![0.0f32; rows * width];
        for (number, (column, scale)) in columns.iter().zip(&self.scales).enumerate() {
            let mut smooth = column[0];
            let mut before = column[0];
            for (t, &y) in column.iter().enumerate() {
                smooth += SMOOTHING * (y - smooth);
                let held = y.clamp(scale.low, scale.high);
                let values = [
                    (y - before) / scale.change,
                    (y - smooth) / scale.excursion,
                    (held - scale.mean) / scale.deviation,
                ];
                before = y;
                for (to, value) in inputs[t * width + INPUTS * number..].iter_mut().zip(values) {
                    *to = value.clamp(-FARTHEST, FARTHEST) as f32;
                }
            }
        }
        inputs
    }
}

impl Scale {
    fn of(values: &[f64]) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let mut smooth = values[0];
        let excursions: Vec<f64> = values
            .iter()
            .map(|y| {
                smooth += SMOOTHING * (y - smooth);
                y - smooth
            })
            .collect();
        let deviations: Vec<f64> = values.iter().map(|y| y - mean).collect();
        let changes: Vec<f64> = steps(values, 1).collect();
        // A column that never moves is read as zeros.
        let positive = |x: f64| if x > 0.0 { x } else { 1.0 };
        Self {
            mean,
            deviation: positive(root_mean_square(&deviations)),
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            change: positive(root_mean_square(&changes)),
            excursion: positive(root_mean_square(&excursions)),
        }
    }
}

/// y_{t+h} − y_t.
fn steps(values: &[f64], horizon: usize) -> impl Iterator<Item = f64> + '_ {
    values
        .iter()
        .zip(values.iter().skip(horizon))
        .map(|(now, later)| later - now)
}

fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|x| x * x).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

fn check(columns: &[&[f64]], expected: usize) -> Result<(), ForecastError> {
    let found = columns.len();
    let unequal = columns
        .iter()
        .any(|c| c.is_empty() || c.len() != columns[0].len());
    if found == 0 || found != expected || unequal {
        return Err(ForecastError::Columns { expected, found });
    }
    for column in columns {
        if let Some(row) = column.iter().position(|y| !y.is_finite()) {
            return Err(ForecastError::Value(row));
        }
    }
    Ok(())
}

/// Inputs of a column.
const INPUTS: usize = 3;
/// α of the moving mean: about the last twenty rows.
const SMOOTHING: f64 = 0.1;
/// Inputs are held within this many deviations.
const FARTHEST: f64 = 10.0;
/// Training rows beyond the horizons of both their parts.
const LEAST_ROWS: usize = 20;
/// Steps of BPTT.
const WINDOW: usize = 72;
/// Epochs without a better validation error.
const PATIENCE: usize = 200;
/// Rows read in one go.
const READ: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    fn config(seed: u64) -> ForecastConfig {
        ForecastConfig {
            cell: Cell::Gru,
            hidden: 16,
            horizon: 1,
            epochs: 40,
            lr: 5e-3,
            seed,
        }
    }

    #[test]
    fn a_forecast_has_seen_nothing_of_the_future() {
        let series = example::ar2(300, 1).values;
        let forecaster = Forecaster::train(config(0), std::slice::from_ref(&series), 240).unwrap();
        let all = forecaster.forecasts(std::slice::from_ref(&series)).unwrap();
        let mut changed = series.clone();
        changed[270..].fill(1e3);
        let part = forecaster.forecasts(&[changed]).unwrap();
        assert_eq!(all[..270], part[..270]);
        assert_ne!(all[270], part[270]);
        // Training itself does not look beyond its rows either.
        let mut later = series;
        later[240..].fill(-1e3);
        assert_eq!(
            forecaster,
            Forecaster::train(config(0), &[later], 240).unwrap()
        );
    }

    #[test]
    fn a_stored_forecaster_forecasts_the_same() {
        let series = example::noisy_sine(200, 1).values;
        let forecaster = Forecaster::train(config(3), std::slice::from_ref(&series), 160).unwrap();
        let names = vec!["y".to_owned()];
        let bytes = Forecaster::to_bytes(std::slice::from_ref(&forecaster), &names).unwrap();
        let (restored, columns) = Forecaster::from_bytes(&bytes).unwrap();
        assert_eq!(columns, names);
        assert_eq!(restored, [forecaster]);
        for cut in [0, 8, 100, bytes.len() - 1] {
            assert!(Forecaster::from_bytes(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn what_cannot_be_forecast_is_refused() {
        let train = |columns: &[Vec<f64>]| Forecaster::train(config(0), columns, usize::MAX).err();
        assert_eq!(
            train(&[vec![1.0; 5]]),
            Some(ForecastError::Short { rows: 5, least: 22 })
        );
        let far = |horizon, rows| {
            let config = ForecastConfig {
                horizon,
                epochs: 1,
                ..config(0)
            };
            Forecaster::train(config, &[example::ar2(rows, 1).values], rows).err()
        };
        for horizon in [1, 7, 100] {
            let least = LEAST_ROWS + 2 * horizon;
            assert_eq!(far(horizon, least), None);
            let rows = least - 1;
            assert_eq!(
                far(horizon, rows),
                Some(ForecastError::Short { rows, least })
            );
        }
        assert!(matches!(
            far(usize::MAX, 50),
            Some(ForecastError::Short { .. })
        ));
        assert!(matches!(train(&[]), Some(ForecastError::Columns { .. })));
        assert!(matches!(
            train(&[vec![1.0; 50], vec![1.0; 49]]),
            Some(ForecastError::Columns { .. })
        ));
        let mut gap = vec![1.0; 50];
        gap[7] = f64::NAN;
        assert_eq!(train(&[gap]), Some(ForecastError::Value(7)));
        // A series that never moves is forecast to stay.
        let still = Forecaster::train(config(0), &[vec![4.0; 50]], 50).unwrap();
        assert!(
            still
                .forecasts(&[vec![4.0; 50]])
                .unwrap()
                .iter()
                .all(|y| (y - 4.0).abs() < 1e-6)
        );
    }
}
