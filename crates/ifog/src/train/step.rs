//! One step: a window forward and backward, and an update.

use super::{TrainError, Trainer};
use crate::fit::{Diverged, Fit};
use crate::learning_rate::Place;
use crate::loss::summed_cross_entropy;
use crate::network::Inputs;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Passes over the training part, in fractions.
    pub epoch: f64,
    /// Mean loss of the window in nats, before the update.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Share of all steps so far whose gradient was clipped.
    pub clip_rate: f64,
    /// Learning rate used.
    pub lr: f64,
    /// Symbols predicted.
    pub characters: u64,
}

impl Trainer {
    /// One step: the next window forward and backward, the gradient clipped, the parameters updated.
    ///
    /// # Errors
    /// [`TrainError::Diverged`]: the loss or the gradient is not finite, and the parameters were not touched; or they, or the
    /// optimiser's state, are not finite after the update.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        self.step_at(0.0)
    }

    /// As [`Trainer::step`], with the part of the run that is done, 0 to 1: what a cosine schedule follows in a run
    /// that is limited by the clock. A run of a known number of steps follows those.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn step_at(&mut self, fraction: f64) -> Result<StepReport, TrainError> {
        let step = self.fitter.steps() + 1;
        let lr = self.rate.at(Place {
            step,
            epoch: self.windows.position().epoch,
            fraction: match self.total_steps() {
                Some(total) => (step - 1) as f64 / total as f64,
                None => fraction,
            },
        });
        if !(self.one_batch && step > 1) {
            self.windows.read(self.corpus.tokens(), &mut self.window);
        }
        if self.window.first || self.one_batch {
            self.fitter.state_mut().reset();
        }
        let (window, model, fitter) = (&self.window, &mut self.model, &mut self.fitter);
        let (vocabulary, level) = (model.vocabulary.len(), fitter.level);
        let rows = window.targets.len();
        let loss = |range, logits: &mut [f32]| {
            let targets = &window.targets[range];
            summed_cross_entropy(level, logits, vocabulary, targets, rows)
        };
        let inputs = Inputs::Tokens(&window.inputs);
        let fit = self
            .pool
            .install(|| fitter.step(&mut model.parameters, lr, inputs, window.seq_len, loss));
        let Fit { loss, grad_norm } =
            fit.map_err(|Diverged { what, .. }| TrainError::Diverged { step, what })?;
        let position = self.windows.position();
        let share = position.window as f64 / self.windows.windows_per_epoch() as f64;
        Ok(StepReport {
            step,
            epoch: position.epoch as f64 + share,
            loss: loss / rows as f64,
            grad_norm,
            clip_rate: self.fitter.clip_stats().rate(),
            lr,
            characters: rows as u64,
        })
    }

    /// From now on every step reads the same window, from the zero state: a model and a learning rate that cannot learn
    /// one batch by heart have something wrong.
    pub fn overfit_one_batch(&mut self) {
        self.one_batch = true;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::train::tests::{TEXT, config};
    use crate::train::{OptimizerName, ScheduleName, TrainConfig};

    /// Planted at a step, found at that step, named as the first tensor it is in.
    #[test]
    fn a_planted_nan_is_named() {
        let plant = |name: &str| {
            let mut trainer = Trainer::new(config(), TEXT).unwrap();
            trainer.step().unwrap();
            let tensors = trainer.model.layout.tensors();
            let (_, range) = tensors.into_iter().find(|(n, _)| n == name).unwrap();
            trainer.model.parameters[range.end - 1] = f32::NAN;
            let error = trainer.step().unwrap_err();
            assert!(
                matches!(error, TrainError::Diverged { step: 2, .. }),
                "{error}"
            );
            error.to_string()
        };
        for name in ["w_l0", "u_l0", "b_l1", "decoder_w"] {
            assert!(plant(name).contains(&format!("weight tensor {name} is not finite")));
        }
        // A carried state that is none shows in the layer that reads it, and no parameter is touched.
        let mut trainer = Trainer::new(config(), &TEXT.repeat(3)).unwrap();
        trainer.step().unwrap();
        trainer.fitter.learner.state.h[1][0] = f32::NAN;
        let before = trainer.model.parameters.clone();
        let error = trainer.step().unwrap_err().to_string();
        assert!(
            error.contains("output of layer 1") && error.contains("learning rate"),
            "{error}"
        );
        assert_eq!(trainer.model.parameters, before);
        // What arose behind the segment that is kept stands in the state at the end.
        let mut trainer = Trainer::new(config(), TEXT).unwrap();
        trainer.step().unwrap();
        trainer.fitter.learner.state.h[0][0] = f32::NAN;
        let finite = [0, 1].map(|layer| trainer.fitter.learner.output_is_finite(layer));
        assert_eq!(finite, [false, true]);
    }

    /// The step that makes them is the one that is named, so that no state with them is ever saved.
    #[test]
    fn an_update_beyond_the_numbers_is_found_in_its_step() {
        let diverged = |config: TrainConfig| {
            let mut trainer = Trainer::new(config, TEXT).unwrap();
            let error = trainer.step().unwrap_err();
            assert!(
                matches!(error, TrainError::Diverged { step: 1, .. }),
                "{error}"
            );
            error.to_string()
        };
        let optimizer = OptimizerName::Sgd;
        let beyond = diverged(TrainConfig {
            lr: 1e39,
            optimizer,
            ..config()
        });
        assert!(beyond.contains("the weight tensor w_l0 is"), "{beyond}");
        // Gradients whose squares are beyond f32 leave their weights where they are.
        let mut trainer = Trainer::new(config(), TEXT).unwrap();
        let mut gradient = vec![0.0; trainer.model.parameters.len()];
        let place = trainer.model.layout.decoder_bias().start;
        gradient[place] = 1e30;
        let (fitter, parameters) = (&mut trainer.fitter, &mut trainer.model.parameters);
        assert!(!fitter.optimizer.step(parameters, &gradient, 1e-3));
        assert_eq!(
            fitter.non_finite(parameters, 1.0),
            "optimiser's v of decoder_b"
        );
    }

    #[test]
    fn one_batch_is_learnt_by_heart() {
        let mut trainer = Trainer::new(
            TrainConfig {
                lr: 0.02,
                ..config()
            },
            TEXT,
        )
        .unwrap();
        trainer.overfit_one_batch();
        let losses: Vec<f64> = (0..300).map(|_| trainer.step().unwrap().loss).collect();
        assert!(losses[299] < 0.05, "{}", losses[299]);
        assert_eq!(trainer.windows.position().window, 1);
    }

    /// Each window reads the same symbols, at a rate that is 0 as an f32: nothing but the carried state can change a loss.
    #[test]
    fn each_epoch_begins_with_the_zero_state() {
        let still = TrainConfig {
            batch: 1,
            val: 0.0,
            lr: 1e-60,
            optimizer: OptimizerName::Sgd,
            ..config()
        };
        let mut trainer = Trainer::new(still, &b"0123456789".repeat(4)).unwrap();
        assert_eq!(trainer.steps_per_epoch(), 3);
        let losses: Vec<f64> = (0..6).map(|_| trainer.step().unwrap().loss).collect();
        assert_eq!(losses[..3], losses[3..]);
        assert_ne!(losses[0], losses[1]);
    }

    #[test]
    fn the_rate_falls_with_the_epochs() {
        let config = TrainConfig {
            lr: 0.5,
            lr_schedule: ScheduleName::Step,
            lr_decay: Some(0.5),
            lr_decay_after: 2,
            ..config()
        };
        let mut trainer = Trainer::new(config, TEXT).unwrap();
        let rates: Vec<f64> = (0..12).map(|_| trainer.step().unwrap().lr).collect();
        let epochs = [0.5, 0.5, 0.25, 0.125];
        assert_eq!(rates, epochs.map(|lr| [lr; 3]).as_flattened());
    }
}
