//! Forecasters on disk: one `.safetensors` file, a flat tensor of parameters for each network, the rest in the metadata.

use ifog_kernels::Cell;
use serde::{Deserialize, Serialize};

use super::{Band, Forecaster, Scale, layout};
use crate::config::ConfigError;
use crate::safetensors::{
    FormatError, Metadata, SafeTensors, Tensor, content_digest, hash_values, write,
};
use sha2::Digest;

/// Why a forecaster cannot be stored or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file is damaged.
    #[error("it is damaged: {0}")]
    Format(#[from] FormatError),
    /// A bit of it has changed.
    #[error("it is damaged: its content differs from its checksum")]
    Checksum,
    /// Names for other columns.
    #[error("it reads {columns} column(s) and {names} name(s) were given: give one for each")]
    Names {
        /// Given.
        names: usize,
        /// Read.
        columns: usize,
    },
    /// It is something else.
    #[error("it is not a forecaster: {0}")]
    Content(String),
    /// Its network is not possible.
    #[error("it is damaged: {0}")]
    Config(#[from] ConfigError),
}

/// All but the parameters and the names. Its size depends on the number of columns alone.
#[derive(Serialize, Deserialize)]
struct Description {
    cell: String,
    hidden: usize,
    horizon: usize,
    spread: f64,
    scales: Vec<Scale>,
    band: Band,
}

impl Forecaster {
    /// The content of a file with this forecaster, which reads the columns of these names.
    ///
    /// # Errors
    /// There are not as many names as columns, or they exceed a limit of the format.
    pub fn to_bytes(&self, columns: &[String]) -> Result<Vec<u8>, FileError> {
        if columns.len() != self.columns() {
            return Err(FileError::Names {
                names: columns.len(),
                columns: self.columns(),
            });
        }
        let description = Description {
            cell: self.config().cell.name().to_owned(),
            hidden: self.config().hidden,
            horizon: self.horizon,
            spread: self.spread,
            scales: self.scales.clone(),
            band: self.band,
        };
        let mut metadata = Metadata::new();
        metadata.insert("format".to_owned(), FORMAT.to_owned());
        metadata.insert("columns".to_owned(), json(&columns)?);
        metadata.insert("description".to_owned(), json(&description)?);
        let names: Vec<String> = (0..self.networks.len())
            .map(|n| format!("parameters.{n}"))
            .collect();
        let shape = [self.layout.len()];
        let tensors = names.iter().zip(&self.networks);
        let tensors: Vec<Tensor<'_>> = tensors
            .map(|(name, values)| Tensor {
                name,
                shape: &shape,
                values,
            })
            .collect();
        let digest = content_digest(&metadata, |hash| {
            tensors.iter().for_each(|t| hash_values(hash, t.values));
        });
        metadata.insert(DIGEST.to_owned(), digest);
        Ok(write(&metadata, &tensors)?)
    }

    /// The forecaster of a file, and the names of its columns.
    ///
    /// # Errors
    /// The file is damaged or something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, Vec<String>), FileError> {
        let file = SafeTensors::read(bytes)?;
        let text = |key: &str| {
            let found = file.metadata().get(key);
            found.ok_or_else(|| FileError::Content(format!("its metadata has no '{key}'")))
        };
        if text("format")? != FORMAT {
            return Err(FileError::Content(format!(
                "its format is '{}', not '{FORMAT}'",
                text("format")?
            )));
        }
        let mut described = file.metadata().clone();
        // Files that were written before there was one have none.
        if described.remove(DIGEST).is_some_and(|digest| {
            digest != content_digest(&described, |hash| hash.update(file.data()))
        }) {
            return Err(FileError::Checksum);
        }
        let columns: Vec<String> = parsed(text("columns")?)?;
        let Description {
            cell,
            hidden,
            horizon,
            spread,
            scales,
            band,
        } = parsed(text("description")?)?;
        let known = Cell::named(&cell);
        let cell = known.ok_or_else(|| FileError::Content(format!("its cell is '{cell}'")))?;
        let layout = layout(cell, hidden, scales.len())?;
        let networks: Vec<Vec<f32>> = file.tensors().iter().map(|t| t.to_vec()).collect();
        let fits = |parameters: &Vec<f32>| {
            parameters.len() == layout.len() && parameters.iter().all(|p| p.is_finite())
        };
        let sound = scales.len() == columns.len()
            && scales.iter().all(Scale::is_sound)
            && band.is_sound()
            && spread > 0.0
            && spread.is_finite()
            && horizon > 0
            && !networks.is_empty()
            && networks.iter().all(fits);
        if !sound {
            return Err(FileError::Content(
                "its networks do not fit what is said of them".to_owned(),
            ));
        }
        let forecaster = Self {
            layout,
            networks,
            scales,
            horizon,
            spread,
            band,
        };
        Ok((forecaster, columns))
    }
}

fn json(value: &impl Serialize) -> Result<String, FileError> {
    serde_json::to_string(value).map_err(|error| FileError::Content(error.to_string()))
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FileError> {
    serde_json::from_str(text).map_err(|error| FileError::Content(error.to_string()))
}

const FORMAT: &str = "ifog-forecaster-2";
/// The entry with the checksum of the other entries and the parameters.
const DIGEST: &str = "digest";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::forecast::{ForecastConfig, example};
    use crate::rng::{Rng, Stream};

    fn small() -> (Forecaster, Vec<f64>) {
        let series = example::ar2(120, 1).values;
        let config = ForecastConfig {
            hidden: 2,
            networks: 2,
            steps: 5,
            ..ForecastConfig::DEFAULT
        };
        let columns = std::slice::from_ref(&series);
        let forecaster = Forecaster::train(config, columns, 90, |_| {}).unwrap();
        (forecaster, series)
    }

    #[test]
    fn a_stored_forecaster_is_the_same() {
        let (forecaster, _) = small();
        let names = vec!["y".to_owned()];
        let bytes = forecaster.to_bytes(&names).unwrap();
        assert_eq!(Forecaster::from_bytes(&bytes).unwrap(), (forecaster, names));
    }

    #[test]
    fn a_flipped_bit_is_found_and_a_name_is_not_missed() {
        let (forecaster, _) = small();
        let names = ["y".to_owned()];
        let bytes = forecaster.to_bytes(&names).unwrap();
        for k in 8..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[k] ^= 1;
            if let Ok((read, columns)) = Forecaster::from_bytes(&flipped) {
                // The name of the checksum was hit.
                assert_eq!((&read, &columns[..]), (&forecaster, &names[..]), "byte {k}");
            }
        }
        for columns in [vec![], vec!["y".to_owned(); 2]] {
            let refused = forecaster.to_bytes(&columns);
            assert!(matches!(refused, Err(FileError::Names { .. })));
        }
    }

    #[test]
    fn damaged_files_are_refused_or_can_be_used() {
        let (forecaster, series) = small();
        let bytes = forecaster.to_bytes(&["y".to_owned()]).unwrap();
        for cut in [0, 8, 100, bytes.len() - 1] {
            assert!(Forecaster::from_bytes(&bytes[..cut]).is_err());
        }
        let mut rng = Rng::new(7, Stream::Check);
        for _ in 0..2000 {
            let mut edited = bytes.clone();
            for _ in 0..=rng.below(2) {
                let at = rng.below(edited.len() as u64) as usize;
                // Digits, so that the header often stays one.
                edited[at] = b'0' + rng.below(10) as u8;
            }
            if let Ok((read, _)) = Forecaster::from_bytes(&edited) {
                let forecasts = read.forecasts(std::slice::from_ref(&series)).unwrap();
                assert_eq!(forecasts.len(), series.len());
            }
        }
    }
}
