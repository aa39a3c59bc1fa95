//! Parameters of any network under PyTorch's names, in its layouts and its orders of gates: weights from and for a `state_dict`.
//!
//! The tensors are those of [`checkpoint`](crate::checkpoint), whatever the input: a module with an `nn.LSTM`, `nn.GRU` or `nn.RNN`
//! called `rnn`, an `nn.Linear` called `decoder` and, where tokens are embedded, an `nn.Embedding` called `embedding`.
//!
//! ```python
//! safetensors.torch.save_file(module.state_dict(), "module.safetensors")
//! module.load_state_dict(safetensors.torch.load_file("ours.safetensors"))
//! ```
//!
//! ```
//! use ifog::config::{InputConfig, NetworkConfig};
//! use ifog::init::{Init, initial_parameters};
//! use ifog::parameters::Layout;
//! use ifog::{Cell, pytorch};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let input = InputConfig::Dense { width: 3 };
//! let layout = Layout::new(NetworkConfig { cell: Cell::Lstm, input, hidden: 16, layers: 2, outputs: 1 })?;
//! let parameters = initial_parameters(&layout, Init::FanIn, 1.0, 0);
//! let file: Vec<u8> = pytorch::to_bytes(&layout, &parameters)?;
//! assert_eq!(pytorch::from_bytes(&layout, &file)?, parameters);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Cell::Gru`](crate::Cell::Gru) has no module there: its file has the same names, and its gates stand as z, r, h~.

use crate::checkpoint::DecodeError;
use crate::checkpoint::tensors::{as_tensors, loaded_parameters, stored_tensors};
use crate::parameters::Layout;
use crate::safetensors::{FormatError, Metadata, SafeTensors, write};

/// The parameters of a network as the content of a `.safetensors` file.
///
/// # Errors
/// They exceed a limit of the format.
///
/// # Panics
/// `parameters` are not as many as the layout's.
pub fn to_bytes(layout: &Layout, parameters: &[f32]) -> Result<Vec<u8>, FormatError> {
    assert_eq!(parameters.len(), layout.len(), "parameters of the layout");
    let stored = stored_tensors(layout, parameters);
    // PyTorch's own reader asks for it.
    let metadata = Metadata::from([("format".to_owned(), "pt".to_owned())]);
    write(&metadata, &as_tensors(&stored))
}

/// The parameters of a network from the content of a `.safetensors` file in f32. Tensors of other names are left alone; of the two biases
/// of a gate the sum is taken, where the cell has but one.
///
/// # Errors
/// It is no such file, a tensor is missing or has another shape than the layout asks for, or a value is not finite.
pub fn from_bytes(layout: &Layout, bytes: &[u8]) -> Result<Vec<f32>, DecodeError> {
    loaded_parameters(layout, &SafeTensors::read(bytes)?)
}
