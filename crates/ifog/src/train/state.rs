//! The training state: everything beside the settings and the text that a run needs to go on with the same bits.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `parameters` | `[P]` | the newest ones; the model file has the best |
//! | `optimizer.{buffer}` | `[P]` | moments |
//! | `average` | `[P]` | where weights are averaged |
//! | `carried.h_l{k}`, `carried.c_l{k}` | `[B, H]` | the state carried into the next window |
//!
//! The metadata holds step, corpus position, random state, clip statistics, what the schedule has seen, the settings, a
//! digest of the text, and what the caller keeps beside (`kept.*`). `digest` is the SHA-256 of all of that and the
//! tensors, so a flipped bit anywhere is found.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use sha2::Digest;

use crate::checkpoint::CheckpointError;
use crate::clip::ClipStats;
use crate::corpus::Position;
use crate::finite::first_non_finite;
use crate::learning_rate::Plateau;
use crate::optimizer::Optimizer;
use crate::rng::RngState;
use crate::safetensors::{
    FormatError, Metadata, SafeTensors, Tensor, TensorView, content_digest, hash_values, write,
};
use crate::train::{TrainError, Trainer};

/// Why bytes are no state for a trainer.
#[derive(Debug)]
pub(super) enum StateError {
    /// Damaged, or no training state.
    Damaged(String),
    /// Of another run; a sentence.
    Foreign(String),
}

impl StateError {
    pub(super) fn at(self, path: &Path) -> TrainError {
        match self {
            Self::Damaged(reason) => TrainError::DamagedState {
                path: path.to_owned(),
                reason,
            },
            Self::Foreign(reason) => TrainError::ForeignState(reason),
        }
    }
}

/// The numbers of a state.
struct Numbers {
    position: Position,
    clip: ClipStats,
    plateau: Plateau,
    drawn: u64,
    rows_drawn: u64,
    steps: u64,
}

impl Trainer {
    /// The content of a training state file. `kept` comes back from [`Trainer::restore`].
    ///
    /// # Errors
    /// `kept` exceeds the header of the format.
    pub fn state(&self, kept: &Metadata) -> Result<Vec<u8>, TrainError> {
        let mut metadata = self.numbers();
        let settings = self.config.settings().into_iter();
        metadata.extend(settings.map(|(name, value)| (format!("setting.{name}"), value)));
        metadata.extend(
            kept.iter()
                .map(|(name, value)| (format!("kept.{name}"), value.clone())),
        );
        metadata.extend([
            ("format".to_owned(), FORMAT.to_owned()),
            ("format_version".to_owned(), VERSION.to_owned()),
            ("corpus".to_owned(), self.text_digest.clone()),
        ]);
        let stored = self.stored();
        let shapes: Vec<[usize; 1]> = stored.iter().map(|(_, values)| [values.len()]).collect();
        let tensors: Vec<Tensor<'_>> = stored
            .iter()
            .zip(&shapes)
            .map(|((name, values), shape)| Tensor {
                name,
                shape,
                values,
            })
            .collect();
        let digest = content_digest(&metadata, |hash| {
            tensors.iter().for_each(|t| hash_values(hash, t.values));
        });
        metadata.insert("digest".to_owned(), digest);
        write(&metadata, &tensors)
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
            .map_err(|error| error.at(Path::new("the data")))
    }

    pub(super) fn restore_state(&mut self, bytes: &[u8]) -> Result<Metadata, StateError> {
        let damaged = |error: FormatError| StateError::Damaged(error.to_string());
        let file = SafeTensors::read(bytes).map_err(damaged)?;
        let mut metadata = file.metadata().clone();
        let stored_digest = metadata.remove("digest");
        if stored_digest != Some(content_digest(&metadata, |hash| hash.update(file.data()))) {
            return Err(StateError::Damaged(
                "its content differs from its checksum".to_owned(),
            ));
        }
        if metadata.get("format").map(String::as_str) != Some(FORMAT)
            || metadata.get("format_version").map(String::as_str) != Some(VERSION)
        {
            let reason = format!("it is not in version {VERSION} of this format");
            return Err(StateError::Damaged(reason));
        }
        self.check_origin(&metadata)?;
        let numbers = Numbers::read(&metadata)?;
        let mut tensors = file.tensors().iter();
        // Everything is read and checked before anything is changed.
        let mut values = Vec::new();
        for (name, old) in self.stored() {
            let tensor = tensors.next();
            let fits = |t: &&TensorView<'_>| t.name() == name && t.shape() == [old.len()];
            let Some(tensor) = tensor.filter(fits) else {
                let reason = format!("the tensor {name} is missing or of another size");
                return Err(StateError::Damaged(reason));
            };
            values.push(tensor.to_vec());
        }
        self.check_finite(&values)?;
        let mut windows = self.windows.clone();
        let seek = windows.seek(numbers.position);
        seek.map_err(|error| StateError::Foreign(error.to_string()))?;
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let parameters = next();
        let config = self.config.optimizer();
        let buffers: Vec<_> = config
            .buffer_names()
            .iter()
            .map(|name| (*name, next()))
            .collect();
        let buffers: Vec<_> = buffers.iter().map(|(name, b)| (*name, &b[..])).collect();
        let optimizer = Optimizer::restore(config, parameters.len(), numbers.steps, &buffers)
            .map_err(|error| StateError::Damaged(error.to_string()))?;

        self.optimizer = optimizer;
        self.model.parameters = parameters;
        if let Some(average) = &mut self.average {
            average.values = next();
        }
        for values in self.learner.state.values_mut() {
            *values = next();
        }
        self.windows = windows;
        self.clipper.resume(numbers.clip);
        self.rate.resume(numbers.plateau);
        let seed = self.learner.dropout().rng_state();
        self.learner.resume_dropout(RngState {
            drawn: numbers.drawn,
            ..seed
        });
        self.rows.resume(RngState {
            drawn: numbers.rows_drawn,
            ..self.rows.rng_state()
        });
        Ok(metadata
            .into_iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("kept.")?.to_owned(), value)))
            .collect())
    }

    /// A run saves nothing that is not finite, and could not go on from it.
    fn check_finite(&self, stored: &[Vec<f32>]) -> Result<(), StateError> {
        for ((name, old), values) in self.stored().iter().zip(stored) {
            let Some(at) = first_non_finite(values) else {
                continue;
            };
            let mut tensors = self.model.layout.tensors();
            tensors
                .retain(|(_, range)| old.len() == self.model.parameters() && range.contains(&at));
            let of = tensors
                .pop()
                .map_or(String::new(), |(tensor, _)| format!(" for {tensor}"));
            let reason = format!(
                "its tensor {name} has {}{of}, which is no number",
                values[at]
            );
            return Err(StateError::Damaged(reason));
        }
        Ok(())
    }

    /// The tensors in the order of the file.
    fn stored(&self) -> Vec<(String, &[f32])> {
        let mut stored = vec![("parameters".to_owned(), &self.model.parameters[..])];
        let buffers = self.optimizer.buffers();
        stored.extend(
            buffers
                .take(self.config.optimizer().buffer_names().len())
                .map(|(name, values)| (format!("optimizer.{name}"), values)),
        );
        let average = self.average.as_ref();
        stored.extend(average.map(|average| ("average".to_owned(), &average.values[..])));
        let carried = self.learner.state.values();
        stored.extend(carried.map(|(name, values)| (format!("carried.{name}"), values)));
        stored
    }

    fn numbers(&self) -> Metadata {
        let (position, clip) = (self.windows.position(), self.clipper.stats());
        let plateau = self.rate.plateau();
        let numbers: [(&str, &dyn Display); 11] = [
            ("step", &self.optimizer.steps()),
            ("epoch", &position.epoch),
            ("window", &position.window),
            ("dropout_drawn", &self.learner.dropout().rng_state().drawn),
            ("rows_drawn", &self.rows.rng_state().drawn),
            ("clip_steps", &clip.steps),
            ("clip_clipped", &clip.clipped),
            ("clip_last_norm", &clip.last_norm),
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
            let reason = "the text is another one than that of the saved run: give the same corpus";
            return Err(StateError::Foreign(reason.to_owned()));
        }
        for (name, value) in self.config.settings() {
            let stored = metadata.get(&format!("setting.{name}"));
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

impl Numbers {
    fn read(metadata: &Metadata) -> Result<Self, StateError> {
        let numbers = Reader(metadata);
        Ok(Self {
            position: Position {
                epoch: numbers.count("epoch")?,
                window: numbers.count("window")?,
            },
            clip: ClipStats {
                steps: numbers.count("clip_steps")?,
                clipped: numbers.count("clip_clipped")?,
                last_norm: numbers.number("clip_last_norm")?,
            },
            plateau: Plateau {
                best: numbers.number("plateau_best")?,
                stale: numbers.count("plateau_stale")?,
                reductions: numbers.count("plateau_reductions")?,
            },
            drawn: numbers.number("dropout_drawn")?,
            rows_drawn: numbers.number("rows_drawn")?,
            steps: numbers.count("step")?,
        })
    }
}

/// Numbers by name. Rust writes and reads floats exactly.
pub(super) struct Reader<'a>(pub(super) &'a Metadata);

impl Reader<'_> {
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<T, StateError> {
        let value = self.0.get(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| StateError::Damaged(format!("its metadata has no usable {name}")))
    }

    /// A count of what a run has done: below what would ever overflow.
    pub(super) fn count(&self, name: &str) -> Result<u64, StateError> {
        match self.number(name)? {
            count @ 0..=MOST => Ok(count),
            count => {
                let reason = format!("its metadata has {name} = {count}, which no run reaches");
                Err(StateError::Damaged(reason))
            }
        }
    }
}

const FORMAT: &str = "ifog-training";
const VERSION: &str = "1";
/// Steps, epochs, characters: no run has more.
const MOST: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::train::TrainConfig;

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
        for tensor in 0..values.len() {
            let mut longer = values.clone();
            longer[tensor].push(0.0);
            assert!(trainer.restore(&crafted("none", None, &longer)).is_err());
        }
        for (tensor, name) in [
            (0, "parameters has NaN for w_l0"),
            (3, "carried.h_l0 has NaN"),
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
}
