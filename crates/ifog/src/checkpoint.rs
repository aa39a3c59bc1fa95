//! Models on disk: one `.safetensors` file, named and ordered as PyTorch's `state_dict`.
//!
//! | tensor | shape | from |
//! |---|---|---|
//! | `embedding.weight` | `[V, D]` | embedding, where there is one |
//! | `rnn.weight_ih_l{k}` | `[G·H, I]` | Wᵀ, gates in PyTorch's order |
//! | `rnn.weight_hh_l{k}` | `[G·H, H]` | Uᵀ |
//! | `rnn.bias_ih_l{k}` | `[G·H]` | b (reset-after: b_r, b_z, b_in) |
//! | `rnn.bias_hh_l{k}` | `[G·H]` | 0 (reset-after: 0, 0, b_hn) |
//! | `decoder.weight` | `[V, H]` | Wᵀ |
//! | `decoder.bias` | `[V]` | b |
//!
//! PyTorch's LSTM has the gates i, f, g, o where ours are i, f, o, g. Its GRU is our reset-after form, gates r, z, n
//! alike; reset-before has no equivalent there (gates z, r, h~), and the metadata says so.

use std::path::{Path, PathBuf};

use ifog_kernels::Cell;

use crate::atomic_file::{WriteError, write_atomically};
use crate::config::{ConfigError, InputConfig, NetworkConfig};
use crate::fit::STATE_FORMAT;
use crate::language_model::{LanguageModel, ModelError, TrainingRecord};
use crate::parameters::Layout;
use crate::regular_file::read_regular;
use crate::safetensors::{
    FormatError, Metadata, SafeTensors, content_digest, tensors_digest, write,
};
use crate::vocabulary::{Vocabulary, VocabularyError};

use tensors::{as_tensors, loaded_parameters, stored_tensors, tensor_shapes};

pub(crate) mod tensors;

/// Why a model cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is no such file.
    #[error("there is no model {}: give a run directory or a .safetensors file", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the model {}: {source}; give a run directory or a .safetensors file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a safetensors file, or is damaged.
    #[error("{} is not a usable model: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// The content is not that of an ifog model.
    #[error("{} is not a usable model: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It could not be put into the format.
    #[error("cannot store the model: {0}")]
    Encode(FormatError),
}

impl LanguageModel {
    /// Loads a model from a run directory or a `.safetensors` file.
    ///
    /// # Errors
    /// The file is missing, damaged or not a model of ifog.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let file = if path.is_dir() {
            path.join(MODEL_FILE)
        } else {
            path.to_owned()
        };
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => CheckpointError::Missing(file.clone()),
            std::io::ErrorKind::InvalidData => CheckpointError::Content {
                path: file.clone(),
                reason: source.to_string(),
            },
            _ => CheckpointError::Read {
                path: file.clone(),
                source,
            },
        };
        let bytes = read_regular(&file, MAX_FILE_BYTES).map_err(failed)?;
        Self::from_bytes(&bytes).map_err(|error| match error {
            DecodeError::Format(source) => CheckpointError::Format { path: file, source },
            DecodeError::Content(reason) => CheckpointError::Content { path: file, reason },
        })
    }

    /// Saves the model crash-safely and returns the digest of its weights.
    ///
    /// # Errors
    /// The file cannot be written; an older one stays as it was.
    pub fn save(&mut self, path: &Path) -> Result<String, CheckpointError> {
        let bytes = self.to_bytes().map_err(CheckpointError::Encode)?;
        write_atomically(path, &bytes)?;
        Ok(self.digest.clone())
    }

    /// The content of a `.safetensors` file. Sets [`LanguageModel::digest`].
    ///
    /// # Errors
    /// The metadata or the tensors exceed a limit of the format.
    pub fn to_bytes(&mut self) -> Result<Vec<u8>, FormatError> {
        let stored = stored_tensors(&self.layout, &self.parameters);
        let tensors = as_tensors(&stored);
        self.digest = tensors_digest(&tensors);
        let config = self.layout.config();
        let pytorch = match config.cell {
            // One module has layers of one width.
            _ if !self.layout.widths().is_sorted_by(|a, b| a == b) => {
                "none: layers of different widths"
            }
            Cell::Rnn => "nn.RNN",
            Cell::Lstm => "nn.LSTM, gates i, f, g, o",
            Cell::GruAfter => "nn.GRU, gates r, z, n",
            Cell::Gru => "none: reset gate before the recurrent product, gates z, r, h~",
        };
        let mut metadata = Metadata::new();
        let entries = [
            ("format", "ifog".to_owned()),
            ("format_version", VERSION.to_owned()),
            ("cell", config.cell.name().to_owned()),
            ("layers", config.layers.to_string()),
            ("hidden", widths_text(&self.layout)),
            ("input", config.input.name().to_owned()),
            ("input_width", config.input.width().to_string()),
            ("vocab", self.vocabulary.to_json()),
            ("pytorch", pytorch.to_owned()),
            ("digest", self.digest.clone()),
        ];
        metadata.extend(entries.map(|(key, value)| (key.to_owned(), value)));
        let record = self.record.iter();
        metadata.extend(record.map(|(key, value)| (format!("training.{key}"), value.clone())));
        let digest = content_digest(&metadata, |_| ());
        metadata.insert(METADATA_DIGEST.to_owned(), digest);
        write(&metadata, &tensors)
    }

    /// Reads the content of a `.safetensors` file.
    ///
    /// # Errors
    /// It is damaged, or not a model of ifog.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let file = SafeTensors::read(bytes)?;
        let metadata = file.metadata();
        let text = |key: &str| {
            metadata
                .get(key)
                .ok_or_else(|| DecodeError::Content(format!("its metadata has no '{key}'")))
        };
        let number = |key: &str| {
            let value = text(key)?;
            let bad = || {
                DecodeError::Content(format!("its metadata has {key} = '{value}', not a number"))
            };
            value.parse::<usize>().map_err(|_| bad())
        };
        let format = text("format")?;
        if format != "ifog" {
            let advice = match format.as_str() {
                STATE_FORMAT => {
                    "it is the state of a training: give the run directory, or the model.safetensors in it"
                }
                _ => "give a model that ifog train wrote",
            };
            let reason = format!("its format is '{format}', not 'ifog': {advice}");
            return Err(DecodeError::Content(reason));
        }
        let version = text("format_version")?;
        if version != VERSION {
            let reason = format!(
                "it is of version {version} of the format, and this ifog reads version {VERSION}: use the ifog that wrote it"
            );
            return Err(DecodeError::Content(reason));
        }
        let mut described = metadata.clone();
        // Files that were written before there was one have none.
        if described
            .remove(METADATA_DIGEST)
            .is_some_and(|digest| digest != content_digest(&described, |_| ()))
        {
            let reason = "its metadata differ from their checksum: the file is damaged, use a copy";
            return Err(DecodeError::Content(reason.to_owned()));
        }
        if *text("digest")? != file.digest() {
            let reason = "its weights differ from their checksum: the file is damaged, use a copy";
            return Err(DecodeError::Content(reason.to_owned()));
        }
        let vocabulary = Vocabulary::from_json(text("vocab")?)?;
        let symbols = vocabulary.len();
        let width = number("input_width")?;
        let input = match text("input")?.as_str() {
            "one-hot" if width == symbols => InputConfig::OneHot {
                vocabulary: symbols,
            },
            "embedding" => InputConfig::Embedding {
                vocabulary: symbols,
                width,
            },
            other => {
                return Err(DecodeError::Content(format!(
                    "its input '{other}' of {width} is unknown"
                )));
            }
        };
        let cell = text("cell")?;
        let unknown = || DecodeError::Content(format!("its cell '{cell}' is unknown"));
        let config = NetworkConfig {
            cell: Cell::named(cell).ok_or_else(unknown)?,
            input,
            hidden: 0,
            layers: 0,
            outputs: symbols,
        };
        let widths = widths(text("hidden")?, number("layers")?)?;
        let layout = Layout::with_widths(config, &widths)?;
        let (found, wanted) = (file.tensors().len(), tensor_shapes(&layout).len());
        if found != wanted {
            return Err(DecodeError::Content(format!(
                "it has {found} tensors, and its sizes ask for {wanted}"
            )));
        }
        let parameters = loaded_parameters(&layout, &file)?;
        let mut model = Self::with_layout(layout, vocabulary, parameters)?;
        model.digest = file.digest();
        model.record = metadata
            .iter()
            .filter_map(|(key, value)| {
                Some((key.strip_prefix("training.")?.to_owned(), value.clone()))
            })
            .collect::<TrainingRecord>();
        Ok(model)
    }

    /// Names and shapes of the tensors as stored.
    pub fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> + use<> {
        tensor_shapes(&self.layout).into_iter()
    }
}

/// Why bytes are not a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not a safetensors file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A safetensors file of something else.
    #[error("{0}")]
    Content(String),
}

impl From<ConfigError> for DecodeError {
    fn from(error: ConfigError) -> Self {
        Self::Content(error.to_string())
    }
}

impl From<VocabularyError> for DecodeError {
    fn from(error: VocabularyError) -> Self {
        Self::Content(error.to_string())
    }
}

impl From<ModelError> for DecodeError {
    fn from(error: ModelError) -> Self {
        Self::Content(error.to_string())
    }
}

/// One number if all layers are equally wide, else one for each: `256,128`.
fn widths_text(layout: &Layout) -> String {
    let config = layout.config();
    if layout.widths().all(|width| width == config.hidden) {
        return config.hidden.to_string();
    }
    let widths: Vec<String> = layout.widths().map(|width| width.to_string()).collect();
    widths.join(",")
}

/// The inverse of [`widths_text`].
fn widths(text: &str, layers: usize) -> Result<Vec<usize>, DecodeError> {
    let bad = || {
        DecodeError::Content(format!(
            "its widths '{text}' are not those of {layers} layers"
        ))
    };
    if layers > NetworkConfig::MAX_LAYERS {
        return Err(bad());
    }
    let widths = text
        .split(',')
        .map(|width| width.parse().map_err(|_| bad()));
    let widths: Vec<usize> = widths.collect::<Result<_, _>>()?;
    match widths[..] {
        [width] => Ok(vec![width; layers]),
        _ if widths.len() == layers => Ok(widths),
        _ => Err(bad()),
    }
}

/// The version of this format.
const VERSION: &str = "1";
/// The model's file in the directory of a run.
pub const MODEL_FILE: &str = "model.safetensors";
/// The entry with the checksum of the others.
const METADATA_DIGEST: &str = "metadata_digest";
/// 64 GiB: more than the largest network that fits the limits of this machine class.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 36;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::init::{Init, initial_parameters};
    use crate::vocabulary::Mode;

    fn model(cell: Cell, embedding: Option<usize>) -> LanguageModel {
        let vocabulary = Vocabulary::of_text(b"hello world\n", Mode::Auto).unwrap();
        let symbols = vocabulary.len();
        let input = match embedding {
            Some(width) => InputConfig::Embedding {
                vocabulary: symbols,
                width,
            },
            None => InputConfig::OneHot {
                vocabulary: symbols,
            },
        };
        let config = NetworkConfig {
            cell,
            input,
            hidden: 5,
            layers: 2,
            outputs: symbols,
        };
        let layout = Layout::new(config).unwrap();
        let mut params = initial_parameters(&layout, Init::Uniform, 1.0, 1);
        // Biases too must come back.
        params
            .iter_mut()
            .enumerate()
            .for_each(|(k, p)| *p += k as f32 * 1e-4);
        let mut model = LanguageModel::new(config, vocabulary, params).unwrap();
        model.record.insert("seed".to_owned(), "1".to_owned());
        model
    }

    #[test]
    fn round_trip_of_every_cell_and_input() {
        for cell in Cell::ALL {
            for embedding in [None, Some(3)] {
                let mut model = model(cell, embedding);
                let bytes = model.to_bytes().unwrap();
                let read = LanguageModel::from_bytes(&bytes).unwrap();
                assert_eq!(read.weights(), model.weights(), "{cell}");
                assert_eq!(read.config(), model.config());
                assert_eq!(read.vocabulary(), model.vocabulary());
                assert_eq!(read.record(), model.record());
                assert_eq!(read.digest(), model.digest());
            }
        }
    }

    #[test]
    fn layers_of_different_widths_come_back() {
        let plain = model(Cell::Lstm, None);
        let layout = Layout::with_widths(*plain.config(), &[7, 4, 6]).unwrap();
        assert_eq!(layout.config().layers, 3);
        let params = initial_parameters(&layout, Init::Uniform, 1.0, 1);
        let mut model = LanguageModel::with_layout(layout, plain.vocabulary, params).unwrap();
        let read = LanguageModel::from_bytes(&model.to_bytes().unwrap()).unwrap();
        assert_eq!(read.layout(), model.layout());
        assert_eq!(read.weights(), model.weights());
        for (text, layers) in [("", 1), ("7,4", 3), ("7,x", 2), ("5", 1 << 40), ("0,", 2)] {
            assert!(widths(text, layers).is_err(), "{text}");
        }
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused_by_name() {
        let mut model = model(Cell::Lstm, Some(3));
        for value in [f32::NAN, f32::INFINITY] {
            let place = model.layout.layer(1).start;
            let before = std::mem::replace(&mut model.parameters[place], value);
            let error = LanguageModel::from_bytes(&model.to_bytes().unwrap());
            let error = error.unwrap_err().to_string();
            let reason = format!("tensor rnn.weight_ih_l1 has {value} at 0");
            assert!(error.contains(&reason), "{error}");
            model.parameters[place] = before;
        }
        LanguageModel::from_bytes(&model.to_bytes().unwrap()).unwrap();
    }

    #[test]
    fn damage_is_found() {
        let mut model = model(Cell::Gru, None);
        let bytes = model.to_bytes().unwrap();
        for cut in 0..bytes.len() {
            assert!(LanguageModel::from_bytes(&bytes[..cut]).is_err());
        }
        let data = bytes.len() - model.parameters() * 4;
        for k in (data..bytes.len()).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[k] ^= 4;
            assert!(matches!(
                LanguageModel::from_bytes(&flipped),
                Err(DecodeError::Content(_))
            ));
        }
        // Nor of what is said of them: a file that is read is the whole model, as where the name of the checksum is hit.
        for k in 8..data {
            let mut flipped = bytes.clone();
            flipped[k] ^= 1;
            if let Ok(mut read) = LanguageModel::from_bytes(&flipped) {
                assert_eq!(read.to_bytes().unwrap(), bytes, "byte {k}");
            }
        }
    }

    #[test]
    fn a_model_without_a_checksum_of_its_metadata_is_read() {
        let mut model = model(Cell::Gru, None);
        let bytes = model.to_bytes().unwrap();
        let file = SafeTensors::read(&bytes).unwrap();
        let mut metadata = file.metadata().clone();
        assert!(metadata.remove(METADATA_DIGEST).is_some());
        let stored = stored_tensors(&model.layout, &model.parameters);
        let tensors = as_tensors(&stored);
        let read = |metadata: &Metadata| {
            let bytes = write(metadata, &tensors).unwrap();
            LanguageModel::from_bytes(&bytes).map(|mut model| model.to_bytes().unwrap())
        };
        assert_eq!(read(&metadata).unwrap(), bytes);
        metadata.insert("format_version".to_owned(), "2".to_owned());
        let error = read(&metadata).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }
}
