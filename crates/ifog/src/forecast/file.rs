//! Forecasters on disk: one `.safetensors` file, a flat tensor of parameters for each seed, the rest in the metadata.

use ifog_kernels::Cell;
use serde::{Deserialize, Serialize};

use super::{Forecaster, INPUTS, Scale};
use crate::config::{ConfigError, InputConfig, NetworkConfig};
use crate::parameters::Layout;
use crate::safetensors::{FormatError, Metadata, SafeTensors, Tensor, write};

/// Why a forecaster cannot be stored or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file is damaged.
    #[error("it is damaged: {0}")]
    Format(#[from] FormatError),
    /// It is something else.
    #[error("it is not a forecaster: {0}")]
    Content(String),
    /// Its network is not possible.
    #[error("it is damaged: {0}")]
    Config(#[from] ConfigError),
}

/// All but the parameters.
#[derive(Serialize, Deserialize)]
struct Description {
    cell: String,
    hidden: usize,
    horizon: usize,
    spread: f64,
    scales: Vec<Scale>,
    errors: Vec<f64>,
}

impl Forecaster {
    /// The content of a file with these forecasters, which read the columns of these names.
    ///
    /// # Errors
    /// The description exceeds a limit of the format.
    pub fn to_bytes(forecasters: &[Self], columns: &[String]) -> Result<Vec<u8>, FileError> {
        let mut metadata = Metadata::new();
        let describe = |f: &Self| Description {
            cell: f.config().cell.name().to_owned(),
            hidden: f.config().hidden,
            horizon: f.horizon,
            spread: f.spread,
            scales: f.scales.clone(),
            // Quantiles are all that is asked of the errors.
            errors: f.errors.clone(),
        };
        metadata.insert("format".to_owned(), FORMAT.to_owned());
        metadata.insert("columns".to_owned(), json(&columns)?);
        let mut names = Vec::new();
        for (number, forecaster) in forecasters.iter().enumerate() {
            let name = format!("parameters.{number}");
            metadata.insert(format!("network.{number}"), json(&describe(forecaster))?);
            names.push((name, [forecaster.parameters.len()]));
        }
        let tensors: Vec<Tensor<'_>> = names
            .iter()
            .zip(forecasters)
            .map(|((name, shape), forecaster)| Tensor {
                name,
                shape,
                values: &forecaster.parameters,
            })
            .collect();
        Ok(write(&metadata, &tensors)?)
    }

    /// The forecasters of a file, and the names of their columns.
    ///
    /// # Errors
    /// The file is damaged or something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Vec<Self>, Vec<String>), FileError> {
        let file = SafeTensors::read(bytes)?;
        let text = |key: &str| {
            let found = file.metadata().get(key);
            found.ok_or_else(|| FileError::Content(format!("its metadata has no '{key}'")))
        };
        if text("format")? != FORMAT {
            return Err(FileError::Content(format!(
                "its format is '{}'",
                text("format")?
            )));
        }
        let columns: Vec<String> = parsed(text("columns")?)?;
        let mut forecasters = Vec::new();
        for (number, tensor) in file.tensors().iter().enumerate() {
            let description: Description = parsed(text(&format!("network.{number}"))?)?;
            let unusable = || FileError::Content(format!("network {number} is not usable"));
            let layout = Layout::new(NetworkConfig {
                cell: Cell::named(&description.cell).ok_or_else(unusable)?,
                input: InputConfig::Dense {
                    width: INPUTS * description.scales.len(),
                },
                hidden: description.hidden,
                layers: 1,
                outputs: 1,
            })?;
            let parameters = tensor.to_vec();
            let positive = |x: f64| x > 0.0 && x.is_finite();
            let scaled = |s: &Scale| {
                positive(s.deviation)
                    && positive(s.change)
                    && positive(s.excursion)
                    && s.low <= s.high
            };
            let sound = parameters.len() == layout.len()
                && parameters.iter().all(|p| p.is_finite())
                && description.scales.len() == columns.len()
                && description.scales.iter().all(scaled)
                && positive(description.spread)
                && description.horizon > 0;
            if !sound {
                return Err(unusable());
            }
            forecasters.push(Self {
                layout,
                parameters,
                scales: description.scales,
                horizon: description.horizon,
                spread: description.spread,
                errors: description.errors,
            });
        }
        if forecasters.is_empty() {
            return Err(FileError::Content("it has no network".to_owned()));
        }
        Ok((forecasters, columns))
    }
}

fn json(value: &impl Serialize) -> Result<String, FileError> {
    serde_json::to_string(value).map_err(|error| FileError::Content(error.to_string()))
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FileError> {
    serde_json::from_str(text).map_err(|error| FileError::Content(error.to_string()))
}

const FORMAT: &str = "ifog-forecaster-1";
