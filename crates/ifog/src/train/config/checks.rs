//! What settings are possible.

use ifog_kernels::Cell;

use super::{OptimizerName, ScheduleName, TrainConfig};
use crate::config::NetworkConfig;
use crate::train::TrainError;

impl TrainConfig {
    /// Checks the settings that no other part checks, or not before it needs them.
    pub(in crate::train) fn validate(&self) -> Result<(), TrainError> {
        let above_zero = |x: f64| x > 0.0 && x.is_finite();
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        let (positive, limit) = (
            "give a finite number above 0",
            "give a finite number, 0 for no clipping",
        );
        let adam = "only Adam decays weights, the other optimisers need 0";
        let optional = |x: Option<f64>| (x.unwrap_or(1.0), x.is_none_or(above_zero));
        let ((epochs, epochs_ok), (seconds, seconds_ok)) =
            (optional(self.epochs), optional(self.max_seconds));
        let ends = self.epochs.is_some() || self.steps.is_some() || self.max_seconds.is_some();
        let decays = self.weight_decay == 0.0 || self.optimizer == OptimizerName::Adam;
        let checks = [
            ("lr", self.lr, above_zero(self.lr), positive),
            (
                "lr_decay",
                self.lr_decay.unwrap_or(1.0),
                self.lr_decay.is_none_or(|x| x > 0.0 && x <= 1.0),
                "give a factor above 0 and at most 1",
            ),
            (
                "lr_min",
                self.lr_min,
                self.lr_min >= 0.0 && self.lr_min <= self.lr,
                "give a rate from 0 to lr",
            ),
            (
                "layers",
                self.layers as f64,
                self.layers <= NetworkConfig::MAX_LAYERS,
                "give at most 64",
            ),
            (
                "layers",
                self.layers as f64,
                self.widths.is_empty() || self.widths.len() == self.layers,
                "give as many layers as there are widths",
            ),
            (
                "chrono",
                self.chrono as f64,
                self.chrono == 0 || (self.chrono > 2 && self.cell != Cell::Rnn),
                "give at least 3 steps, and a cell with gates",
            ),
            (
                "embedding",
                self.embedding as f64,
                !self.tie || Some(&self.embedding) == self.layer_widths().last(),
                "tied weights need an embedding as wide as the last layer",
            ),
            (
                "forget_bias",
                f64::from(self.forget_bias),
                self.forget_bias.is_finite(),
                "give a finite number",
            ),
            ("epochs", epochs, epochs_ok, positive),
            (
                "steps",
                self.steps.map_or(1.0, |steps| steps as f64),
                self.steps != Some(0),
                "give at least 1",
            ),
            (
                "lr_min",
                self.lr_min,
                self.lr_schedule != ScheduleName::Cosine || ends,
                "a cosine falls to it at the end of the run: give epochs, steps or max_seconds",
            ),
            ("max_seconds", seconds, seconds_ok, positive),
            (
                "clip_norm",
                self.clip_norm,
                not_negative(self.clip_norm),
                limit,
            ),
            (
                "clip_value",
                self.clip_value,
                not_negative(self.clip_value),
                limit,
            ),
            (
                "clip_value",
                self.clip_value,
                self.clip_norm == 0.0 || self.clip_value == 0.0,
                "it takes the place of clip_norm, which must be 0 then",
            ),
            ("weight_decay", self.weight_decay, decays, adam),
            (
                "momentum",
                self.momentum,
                self.momentum == 0.0 || self.optimizer == OptimizerName::Sgd,
                "only SGD has it, the other optimisers need 0",
            ),
        ];
        match checks.into_iter().find(|(_, _, ok, _)| !ok) {
            Some((what, value, _, range)) => Err(TrainError::Setting { what, value, range }),
            None => Ok(()),
        }
    }
}
