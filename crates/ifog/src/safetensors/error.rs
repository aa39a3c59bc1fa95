//! Why bytes are no file, or tensors cannot be written as one.

use std::fmt;

use super::MAX_HEADER_BYTES;

/// Why bytes are no file that this reader accepts, or tensors cannot be written as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file ends before its header does.
    #[error(
        "the file has {found} bytes but its header needs {needed}: it is cut short or no \
         safetensors file, get it again"
    )]
    Truncated {
        /// Bytes there are.
        found: usize,
        /// Bytes that length field and header take.
        needed: u64,
    },
    /// The length field asks for more than any header needs.
    #[error(
        "the header claims {claimed} bytes and the limit is {MAX_HEADER_BYTES}: this is no \
         safetensors file, or a damaged one"
    )]
    HeaderTooLong {
        /// Bytes claimed.
        claimed: u64,
    },
    /// The header is not UTF-8, not JSON, or not the JSON of a safetensors file.
    #[error("the header is not valid: {reason}; the file is damaged or made by something else")]
    Header {
        /// What is wrong, where the parser knows it with line and column.
        reason: String,
    },
    /// A tensor is of another type than F32.
    #[error("the tensor '{name}' has dtype {dtype}, only F32 can be read: convert it to F32")]
    Dtype {
        /// Name of the tensor.
        name: String,
        /// Its dtype as stored.
        dtype: String,
    },
    /// A tensor's shape and its share of the data do not belong together.
    #[error("the tensor '{name}' of shape {shape:?} is not valid: {reason}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
        /// What is wrong.
        reason: String,
    },
    /// The tensors overlap, leave a hole, or leave bytes after the last.
    #[error("{reason}: the tensors must cover the data section exactly, the file is damaged")]
    Coverage {
        /// Where they do.
        reason: String,
    },
}

pub(super) fn invalid_header(reason: &dyn fmt::Display) -> FormatError {
    FormatError::Header {
        reason: reason.to_string(),
    }
}

pub(super) fn invalid_tensor(name: &str, shape: &[u64], reason: String) -> FormatError {
    FormatError::Tensor {
        name: name.to_owned(),
        shape: shape.to_owned(),
        reason,
    }
}
