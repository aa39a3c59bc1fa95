//! What goes on with the same bits: everything beside the settings and the data that the next step depends on.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `parameters` | `[P]` | the newest ones |
//! | `optimizer.{buffer}` | `[P]` | moments |
//! | `average` | `[P]` | where weights are averaged |
//! | `carried.h_l{k}`, `carried.c_l{k}` | `[B, H]` | the state carried into the next window |
//!
//! The metadata holds steps, random state, clip statistics and what the caller keeps beside. `digest` is the SHA-256 of all
//! of that and the tensors, so a flipped bit anywhere is found.

use std::fmt::Display;
use std::str::FromStr;

use sha2::Digest;

use super::Fitter;
use crate::clip::ClipStats;
use crate::finite::first_non_finite;
use crate::optimizer::Optimizer;
use crate::rng::RngState;
use crate::safetensors::{
    FormatError, Metadata, SafeTensors, Tensor, TensorView, content_digest, hash_values, write,
};

/// Why bytes are no state to go on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Damaged, or no training state.
    #[error("this is not a usable training state: {0}")]
    Damaged(String),
    /// Of another run; a sentence.
    #[error("the training state cannot be continued: {0}")]
    Foreign(String),
}

/// A state file that is whole, and not yet known to fit.
pub(crate) struct Stored<'a> {
    file: SafeTensors<'a>,
    /// Without the digest.
    pub(crate) metadata: Metadata,
}

/// A state that fits.
pub(crate) struct Fitting {
    optimizer: Optimizer,
    clip: ClipStats,
    dropout_drawn: u64,
    rows_drawn: u64,
    /// Parameters, average, carried states.
    values: std::vec::IntoIter<Vec<f32>>,
}

impl Fitter {
    /// The content of a state file: with these parameters, and what the caller keeps beside them. The names `digest`,
    /// `format`, `format_version`, `step`, `dropout_drawn`, `rows_drawn`, `clip_*` and `fit.*` of the metadata are taken.
    ///
    /// # Errors
    /// `beside` exceeds the header of the format.
    ///
    /// # Panics
    /// `parameters` are not as many as the layout's.
    pub fn state(&self, parameters: &[f32], beside: Metadata) -> Result<Vec<u8>, FormatError> {
        assert_eq!(
            parameters.len(),
            self.layout.len(),
            "parameters of the layout"
        );
        let mut metadata = beside;
        metadata.extend(self.numbers());
        let origin = self.origin().into_iter();
        metadata.extend(origin.map(|(what, value)| (format!("{ORIGIN}{what}"), value)));
        metadata.extend([
            ("format".to_owned(), FORMAT.to_owned()),
            ("format_version".to_owned(), VERSION.to_owned()),
        ]);
        let stored = self.stored(parameters);
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
    }

    /// Goes on from a state that [`Fitter::state`] gave of the same network, batch and settings: `parameters` become those
    /// of then. Returns the metadata, with what was kept beside. On an error nothing has changed.
    ///
    /// # Errors
    /// The bytes are damaged; or of another network, batch or optimiser, or with averaged parameters where there are none or the other
    /// way round: [`StateError::Foreign`].
    ///
    /// # Panics
    /// `parameters` are not as many as the layout's.
    pub fn restore(
        &mut self,
        parameters: &mut [f32],
        bytes: &[u8],
    ) -> Result<Metadata, StateError> {
        assert_eq!(
            parameters.len(),
            self.layout.len(),
            "parameters of the layout"
        );
        let stored = Stored::read(bytes)?;
        let fitting = self.fitting(&stored)?;
        self.adopt(parameters, fitting);
        Ok(stored.metadata)
    }

    /// Reads and checks everything that is needed, before anything is changed.
    pub(crate) fn fitting(&self, stored: &Stored<'_>) -> Result<Fitting, StateError> {
        self.check_origin(&stored.metadata)?;
        let numbers = Numbers(&stored.metadata);
        let clip = ClipStats {
            steps: numbers.count("clip_steps")?,
            clipped: numbers.count("clip_clipped")?,
            last_norm: numbers.number("clip_last_norm")?,
        };
        let (dropout_drawn, rows_drawn) = (
            numbers.number("dropout_drawn")?,
            numbers.number("rows_drawn")?,
        );
        let steps = numbers.count("step")?;
        let mut tensors = stored.file.tensors().iter();
        let mut values = Vec::new();
        // As many parameters as there are gradients.
        for (name, old) in self.stored(self.gradient()) {
            let tensor = tensors.next();
            let fits = |t: &&TensorView<'_>| t.name() == name && t.shape() == [old.len()];
            let Some(tensor) = tensor.filter(fits) else {
                let reason = format!("the tensor {name} is missing or of another size");
                return Err(StateError::Damaged(reason));
            };
            let new = tensor.to_vec();
            self.check_finite(&name, &new)?;
            values.push(new);
        }
        let names = self.config.optimizer.buffer_names();
        let moments: Vec<Vec<f32>> = values.drain(1..=names.len()).collect();
        let moments: Vec<_> = names
            .iter()
            .zip(&moments)
            .map(|(name, values)| (*name, &values[..]))
            .collect();
        let optimizer =
            Optimizer::restore(self.config.optimizer, self.layout.len(), steps, &moments)
                .map_err(|error| StateError::Damaged(error.to_string()))?;
        Ok(Fitting {
            optimizer,
            clip,
            dropout_drawn,
            rows_drawn,
            values: values.into_iter(),
        })
    }

    /// Goes on from there.
    pub(crate) fn adopt(&mut self, parameters: &mut [f32], mut from: Fitting) {
        let mut next = || from.values.next().unwrap_or_default();
        parameters.copy_from_slice(&next());
        if let Some(average) = &mut self.average {
            average.values = next();
        }
        for values in self.learner.state.values_mut() {
            *values = next();
        }
        self.optimizer = from.optimizer;
        self.clipper.resume(from.clip);
        let seed = self.learner.dropout().rng_state();
        self.learner.resume_dropout(RngState {
            drawn: from.dropout_drawn,
            ..seed
        });
        self.rows.resume(RngState {
            drawn: from.rows_drawn,
            ..self.rows.rng_state()
        });
    }

    /// What a state must have in common with what goes on from it.
    fn origin(&self) -> [(&'static str, String); 4] {
        let config = self.layout.config();
        let input = format!("{} {}", config.input.name(), config.input.width());
        let widths: Vec<_> = self.layout.widths().map(|h| h.to_string()).collect();
        let (cell, widths, outputs) = (config.cell.name(), widths.join(" "), config.outputs);
        let averaged = if self.average.is_some() { "yes" } else { "no" };
        [
            ("network", format!("{input}, {cell} {widths}, {outputs}")),
            ("batch", self.learner.batch().to_string()),
            ("optimizer", self.config.optimizer.name().to_owned()),
            ("averaged", averaged.to_owned()),
        ]
    }

    /// A state of a version that did not say where it comes from has its tensors compared alone.
    fn check_origin(&self, metadata: &Metadata) -> Result<(), StateError> {
        for (what, here) in self.origin() {
            let there = metadata.get(&format!("{ORIGIN}{what}"));
            if let Some(there) = there.filter(|there| **there != here) {
                let reason = format!("its {what} is {there}, not {here}");
                return Err(StateError::Foreign(reason));
            }
        }
        Ok(())
    }

    /// A run saves nothing that is not finite, and could not go on from it.
    fn check_finite(&self, name: &str, values: &[f32]) -> Result<(), StateError> {
        let Some(at) = first_non_finite(values) else {
            return Ok(());
        };
        let mut tensors = self.layout.tensors();
        tensors.retain(|(_, range)| values.len() == self.layout.len() && range.contains(&at));
        let of = tensors
            .pop()
            .map_or(String::new(), |(tensor, _)| format!(" for {tensor}"));
        let value = values[at];
        let reason = format!("its tensor {name} has {value}{of}, which is no number");
        Err(StateError::Damaged(reason))
    }

    /// The tensors in the order of the file.
    fn stored<'a>(&'a self, parameters: &'a [f32]) -> Vec<(String, &'a [f32])> {
        let mut stored = vec![("parameters".to_owned(), parameters)];
        let buffers = self.optimizer.buffers();
        stored.extend(
            buffers
                .take(self.config.optimizer.buffer_names().len())
                .map(|(name, values)| (format!("optimizer.{name}"), values)),
        );
        let average = self.average.as_ref();
        stored.extend(average.map(|average| ("average".to_owned(), &average.values[..])));
        let carried = self.learner.state.values();
        stored.extend(carried.map(|(name, values)| (format!("carried.{name}"), values)));
        stored
    }

    fn numbers(&self) -> Metadata {
        let clip = self.clipper.stats();
        let numbers: [(&str, &dyn Display); 6] = [
            ("step", &self.optimizer.steps()),
            ("dropout_drawn", &self.learner.dropout().rng_state().drawn),
            ("rows_drawn", &self.rows.rng_state().drawn),
            ("clip_steps", &clip.steps),
            ("clip_clipped", &clip.clipped),
            ("clip_last_norm", &clip.last_norm),
        ];
        numbers
            .map(|(name, number)| (name.to_owned(), number.to_string()))
            .into()
    }
}

impl<'a> Stored<'a> {
    /// A file with the right checksum.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, StateError> {
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
        Ok(Self { file, metadata })
    }
}

/// Numbers by name. Rust writes and reads floats exactly.
pub(crate) struct Numbers<'a>(pub(crate) &'a Metadata);

impl Numbers<'_> {
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T, StateError> {
        let value = self.0.get(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| StateError::Damaged(format!("its metadata has no usable {name}")))
    }

    /// A count of what a run has done: below what would ever overflow.
    pub(crate) fn count(&self, name: &str) -> Result<u64, StateError> {
        match self.number(name)? {
            count @ 0..=MOST => Ok(count),
            count => {
                let reason = format!("its metadata has {name} = {count}, which no run reaches");
                Err(StateError::Damaged(reason))
            }
        }
    }
}

const ORIGIN: &str = "fit.";
pub(crate) const FORMAT: &str = "ifog-training";
const VERSION: &str = "1";
/// Steps, epochs, characters: no run has more.
const MOST: u64 = 1 << 53;
