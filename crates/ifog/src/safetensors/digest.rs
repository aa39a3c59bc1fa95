//! The checksum that the format lacks.

use sha2::{Digest, Sha256};

use super::{Metadata, Tensor};

/// SHA-256 of a data section, as 64 lower-case hexadecimal digits.
///
/// The format has no checksum, so a flipped bit in the data gives a valid file with a wrong weight.
/// Whoever writes a file stores this in its metadata and compares it on reading.
#[must_use]
pub fn data_digest(data: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(data))
}

/// [`data_digest`] of the data section that [`write()`](super::write()) makes of these tensors, without making it.
#[must_use]
pub fn tensors_digest(tensors: &[Tensor<'_>]) -> String {
    let mut hash = Sha256::new();
    for tensor in tensors {
        hash_values(&mut hash, tensor.values);
    }
    hexadecimal(hash)
}

/// Feeds a hash with values as a data section has them.
pub(crate) fn hash_values(hash: &mut Sha256, values: &[f32]) {
    let mut block = [0; 4 * DIGEST_BLOCK];
    for values in values.chunks(DIGEST_BLOCK) {
        for (bytes, value) in block.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        hash.update(&block[..4 * values.len()]);
    }
}

/// SHA-256 of the metadata, each string behind its length, and of what `values` feeds: the data section, or nothing.
pub(crate) fn content_digest(metadata: &Metadata, values: impl FnOnce(&mut Sha256)) -> String {
    let mut hash = Sha256::new();
    for text in metadata.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    values(&mut hash);
    hexadecimal(hash)
}

fn hexadecimal(hash: Sha256) -> String {
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// Values converted at a time for a digest: 4 KiB, on the stack.
const DIGEST_BLOCK: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::safetensors::{Metadata, SafeTensors, write};

    #[test]
    fn the_digest_is_sha_256_and_needs_no_file() {
        // FIPS 180-4, example of one block.
        assert_eq!(
            data_digest(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let values: Vec<f32> = (0..3000).map(|i| i as f32 * 0.37).collect();
        let tensors = [
            Tensor {
                name: "a",
                shape: &[1, 500],
                values: &values[..500],
            },
            Tensor {
                name: "b",
                shape: &[2500],
                values: &values[500..],
            },
        ];
        let bytes = write(&Metadata::new(), &tensors).unwrap();
        assert_eq!(
            SafeTensors::read(&bytes).unwrap().digest(),
            tensors_digest(&tensors)
        );
    }
}
