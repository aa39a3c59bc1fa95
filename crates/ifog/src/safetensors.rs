//! A strict reader and a deterministic writer of the safetensors format, for F32 tensors.
//!
//! A file is
//!
//! ```text
//! | 8 bytes: header length N, little-endian | N bytes: header, JSON | data section |
//! header: {"__metadata__": {"key": "value", …},
//!          "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
//! ```
//!
//! with offsets relative to the data section, which the tensors cover exactly. The format is
//! Hugging Face's (<https://huggingface.co/docs/safetensors>); this reader accepts a part of what
//! theirs does and is meant for files from anywhere: every size is checked against the bytes that
//! are there before it is used, nothing is allocated from a number in the file, and a file is either
//! read completely or refused with one sentence. Values may be NaN or infinite.

use std::collections::BTreeMap;

pub(crate) use digest::{content_digest, hash_values};
pub use digest::{data_digest, tensors_digest};
pub use error::FormatError;
pub use read::{SafeTensors, TensorView};
pub use write::{Tensor, write};

mod digest;
mod error;
mod header;
mod read;
#[cfg(test)]
mod tests;
mod write;

/// The longest header, in bytes.
pub const MAX_HEADER_BYTES: usize = 1 << 20;
/// The most tensors in a file.
pub const MAX_TENSORS: usize = 4096;
/// The most dimensions of a tensor.
pub const MAX_RANK: usize = 4;
/// The longest name of a tensor, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The strings stored beside the tensors.
pub type Metadata = BTreeMap<String, String>;

/// Bytes of an F32 tensor, `None` if they, or a product on the way, overflow.
fn byte_len(shape: &[u64]) -> Option<u64> {
    shape
        .iter()
        .try_fold(1u64, |product, &size| product.checked_mul(size))?
        .checked_mul(4)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a tensor has an empty name".into());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!(
            "a tensor's name has {} bytes and the limit is {MAX_NAME_BYTES}",
            name.len()
        ));
    }
    Ok(())
}

const METADATA_KEY: &str = "__metadata__";
/// Bytes of the length field.
const LENGTH_BYTES: usize = 8;
