//! The training state of a language model: that of its [`Fitter`](crate::fit::Fitter), with the corpus position, what the
//! schedule has seen, the settings, a digest of the text, and what the caller keeps beside (`kept.*`).

use std::fmt::Display;
use std::path::Path;

use crate::checkpoint::CheckpointError;
use crate::corpus::Position;
use crate::fit::{Numbers, StateError, Stored};
use crate::learning_rate::Plateau;
use crate::safetensors::Metadata;
use crate::train::{TrainConfig, TrainError, Trainer};

impl Trainer {
    /// The content of a training state file. `kept` comes back from [`Trainer::restore`].
    ///
    /// # Errors
    /// `kept` exceeds the header of the format.
    pub fn state(&self, kept: &Metadata) -> Result<Vec<u8>, TrainError> {
        let mut beside = self.numbers();
        let settings = self.config.settings().into_iter();
        beside.extend(settings.map(|(name, value)| (format!("setting.{name}"), value)));
        beside.extend(
            kept.iter()
                .map(|(name, value)| (format!("kept.{name}"), value.clone())),
        );
        beside.insert("corpus".to_owned(), self.text_digest.clone());
        self.fitter
            .state(&self.model.parameters, beside)
            .map_err(CheckpointError::Encode)
            .map_err(TrainError::from)
    }

    /// Goes on from a state that [`Trainer::state`] gave, on the same text with the same settings but for
    /// [`FREE_ON_RESUME`](super::TrainConfig::FREE_ON_RESUME). Returns what was kept with it. On an error nothing has
    /// changed.
    ///
    /// # Errors
    /// The bytes are damaged, or of another run: a sentence says in what it differs.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<Metadata, TrainError> {
        self.restore_state(bytes)
            .map_err(|error| TrainError::of_state(error, Path::new("the data")))
    }

    pub(super) fn restore_state(&mut self, bytes: &[u8]) -> Result<Metadata, StateError> {
        let stored = Stored::read(bytes)?;
        self.check_origin(&stored.metadata)?;
        let numbers = Numbers(&stored.metadata);
        let plateau = Plateau {
            best: numbers.number("plateau_best")?,
            stale: numbers.count("plateau_stale")?,
            reductions: numbers.count("plateau_reductions")?,
        };
        let mut windows = self.windows.clone();
        windows
            .seek(Position {
                epoch: numbers.count("epoch")?,
                window: numbers.count("window")?,
            })
            .map_err(|error| StateError::Foreign(error.to_string()))?;
        let fitting = self.fitter.fitting(&stored)?;

        self.fitter.adopt(&mut self.model.parameters, fitting);
        self.windows = windows;
        self.rate.resume(plateau);
        let kept = stored.metadata.into_iter();
        Ok(kept
            .filter_map(|(name, value)| Some((name.strip_prefix("kept.")?.to_owned(), value)))
            .collect())
    }

    fn numbers(&self) -> Metadata {
        let (position, plateau) = (self.windows.position(), self.rate.plateau());
        let numbers: [(&str, &dyn Display); 5] = [
            ("epoch", &position.epoch),
            ("window", &position.window),
            ("plateau_best", &plateau.best),
            ("plateau_stale", &plateau.stale),
            ("plateau_reductions", &plateau.reductions),
        ];
        numbers
            .map(|(name, number)| (name.to_owned(), number.to_string()))
            .into()
    }

    /// The settings and the text must be those of the stored run.
    fn check_origin(&self, metadata: &Metadata) -> Result<(), StateError> {
        if metadata.get("corpus") != Some(&self.text_digest) {
            let reason = "the text is another one than that of the saved run: give the same corpus (the sources of ifog itself are those \
                          of the ifog that began the run)";
            return Err(StateError::Foreign(reason.to_owned()));
        }
        // A version that did not have a setting did what is the default of it.
        let defaults: Metadata = TrainConfig::default().settings().into_iter().collect();
        for (name, value) in self.config.settings() {
            let stored = metadata.get(&format!("setting.{name}"));
            let stored = stored.or(defaults.get(&name));
            if stored != Some(&value) {
                let stored = stored.map_or("absent", String::as_str);
                return Err(StateError::Foreign(format!(
                    "{name} is {value} here and {stored} in the saved run: leave it as it was, or start a new run"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::safetensors::{SafeTensors, Tensor, content_digest, hash_values, write};
    use crate::train::ScheduleName;

    /// A file that somebody made, with a checksum that is right.
    #[test]
    fn numbers_that_no_run_has_are_refused() {
        let config = TrainConfig {
            hidden: 2,
            layers: 1,
            threads: 1,
            ..TrainConfig::default()
        };
        let mut trainer = Trainer::new(config, b"hello").unwrap();
        let state = trainer.state(&Metadata::new()).unwrap();
        let file = SafeTensors::read(&state).unwrap();
        let values: Vec<Vec<f32>> = file.tensors().iter().map(|t| t.to_vec()).collect();
        let crafted = |name: &str, value: Option<&str>, tensors: &[Vec<f32>]| {
            let mut metadata = file.metadata().clone();
            metadata.remove("digest");
            match value {
                Some(value) => metadata.insert(name.to_owned(), value.to_owned()),
                None => metadata.remove(name),
            };
            let views = file.tensors().iter().zip(tensors);
            let shapes: Vec<[usize; 1]> = tensors.iter().map(|t| [t.len()]).collect();
            let tensors: Vec<Tensor<'_>> = views
                .zip(&shapes)
                .map(|((view, values), shape)| Tensor {
                    name: view.name(),
                    shape,
                    values,
                })
                .collect();
            let hash_all = |hash: &mut _| tensors.iter().for_each(|t| hash_values(hash, t.values));
            metadata.insert("digest".to_owned(), content_digest(&metadata, hash_all));
            write(&metadata, &tensors).unwrap()
        };
        assert_eq!(crafted("none", None, &values), state);
        let names = [
            "step",
            "epoch",
            "window",
            "dropout_drawn",
            "rows_drawn",
            "clip_steps",
            "clip_clipped",
            "plateau_stale",
            "plateau_reductions",
            "plateau_best",
        ];
        for name in names {
            let most = u64::MAX.to_string();
            // Any place of a random sequence, and any loss, is one.
            let free = name.ends_with("drawn") || name == "plateau_best";
            let bad = [None, Some(""), Some("x"), Some(&*most)];
            for value in &bad[..if free { 3 } else { 4 }] {
                let error = trainer
                    .restore(&crafted(name, *value, &values))
                    .unwrap_err();
                assert!(!error.to_string().is_empty(), "{name} {value:?}");
            }
        }
        // A version without a setting did what is its default.
        let older = crafted("setting.momentum", None, &values);
        trainer.restore(&older).unwrap();
        let other = crafted("setting.momentum", Some("0.5"), &values);
        let error = trainer.restore(&other).unwrap_err().to_string();
        assert!(error.contains("momentum is 0.0 here and 0.5"), "{error}");
        for tensor in 0..values.len() {
            let mut longer = values.clone();
            longer[tensor].push(0.0);
            assert!(trainer.restore(&crafted("none", None, &longer)).is_err());
        }
        for (tensor, name) in [
            (0, "parameters has NaN for w_l0"),
            (3, "average has NaN for w_l0"),
            (4, "carried.h_l0 has NaN"),
        ] {
            let mut planted = values.clone();
            planted[tensor][1] = f32::NAN;
            let error = trainer.restore(&crafted("none", None, &planted));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        trainer
            .restore(&crafted(
                "dropout_drawn",
                Some(&u64::MAX.to_string()),
                &values,
            ))
            .unwrap();
        trainer.step().unwrap();
    }

    #[test]
    fn a_plateau_goes_on() {
        let config = TrainConfig {
            hidden: 2,
            layers: 1,
            threads: 1,
            lr: 0.5,
            lr_schedule: ScheduleName::Plateau,
            lr_patience: 1,
            ..TrainConfig::default()
        };
        let start = || Trainer::new(config.clone(), b"hello").unwrap();
        let mut trainer = start();
        // Two that do not improve lower the rate; the third is the first of the next two.
        for _ in 0..4 {
            trainer.observe(3.0);
        }
        let state = trainer.state(&Metadata::new()).unwrap();
        assert_eq!(trainer.step().unwrap().lr, 0.25);
        let mut again = start();
        again.restore(&state).unwrap();
        assert_eq!(again.step().unwrap().lr, 0.25);
        again.observe(3.0);
        assert_eq!(again.step().unwrap().lr, 0.125);
    }
}
