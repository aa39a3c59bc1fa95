//! The deterministic writer.

use std::collections::HashSet;

use super::error::{invalid_header, invalid_tensor};
use super::{
    FormatError, LENGTH_BYTES, MAX_HEADER_BYTES, MAX_RANK, MAX_TENSORS, METADATA_KEY, Metadata,
    byte_len, check_name,
};

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Name: not empty, at most [`MAX_NAME_BYTES`](super::MAX_NAME_BYTES).
    pub name: &'a str,
    /// Size of each dimension, at most [`MAX_RANK`].
    pub shape: &'a [usize],
    /// Values in row-major order, as many as the shape says.
    pub values: &'a [f32],
}

/// The file that holds these tensors, in this order, and this metadata. The same arguments give the
/// same bytes on every machine: metadata are sorted by key, the header is padded with spaces to a
/// multiple of 8 bytes.
///
/// # Errors
///
/// [`FormatError`] for whatever [`SafeTensors::read`](super::SafeTensors::read) would refuse: too many tensors or dimensions,
/// a name that is empty, too long, reserved or there twice, values that do not fit their shape, a
/// header beyond the limit.
pub fn write(metadata: &Metadata, tensors: &[Tensor<'_>]) -> Result<Vec<u8>, FormatError> {
    let mut header = header_json(metadata, tensors)?;
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    if header.len() > MAX_HEADER_BYTES {
        return Err(FormatError::HeaderTooLong {
            claimed: header.len() as u64,
        });
    }
    let data_len: usize = tensors
        .iter()
        .map(|tensor| size_of_val(tensor.values))
        .sum();
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + header.len() + data_len);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.append(&mut header);
    for value in tensors.iter().flat_map(|tensor| tensor.values) {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    Ok(bytes)
}

/// The header of a new file, without padding.
fn header_json(metadata: &Metadata, tensors: &[Tensor<'_>]) -> Result<Vec<u8>, FormatError> {
    if tensors.len() > MAX_TENSORS {
        return Err(invalid_header(&format!(
            "it would have {} tensors and the limit is {MAX_TENSORS}",
            tensors.len()
        )));
    }
    let mut entries = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        let object = serde_json::to_string(metadata).expect("strings have a JSON form");
        entries.push(format!("\"{METADATA_KEY}\":{object}"));
    }
    let mut names = HashSet::new();
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + size_of_val(tensor.values);
        check_tensor(tensor)?;
        if !names.insert(tensor.name) {
            return Err(invalid_header(&format!(
                "the tensor '{}' stands twice",
                tensor.name
            )));
        }
        let name = serde_json::to_string(tensor.name).expect("strings have a JSON form");
        let shape = tensor.shape.iter().map(ToString::to_string);
        let shape = shape.collect::<Vec<_>>().join(",");
        entries.push(format!(
            "{name}:{{\"dtype\":\"F32\",\"shape\":[{shape}],\"data_offsets\":[{offset},{end}]}}"
        ));
        offset = end;
    }
    Ok(format!("{{{}}}", entries.join(",")).into_bytes())
}

fn check_tensor(tensor: &Tensor<'_>) -> Result<(), FormatError> {
    check_name(tensor.name).map_err(|reason| invalid_header(&reason))?;
    if tensor.name == METADATA_KEY {
        return Err(invalid_header(&format!(
            "a tensor is called {METADATA_KEY}, which is reserved"
        )));
    }
    let shape: Vec<u64> = tensor.shape.iter().map(|&size| size as u64).collect();
    if shape.len() > MAX_RANK {
        let reason = format!("the limit is {MAX_RANK} dimensions");
        return Err(invalid_tensor(tensor.name, &shape, reason));
    }
    if byte_len(&shape) != Some(size_of_val(tensor.values) as u64) {
        let reason = format!("it is given {} values", tensor.values.len());
        return Err(invalid_tensor(tensor.name, &shape, reason));
    }
    Ok(())
}

/// The data section starts at a multiple of this.
const ALIGNMENT: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn the_writer_refuses_what_the_reader_would() {
        let good = Tensor {
            name: "a",
            shape: &[2],
            values: &[1.0, 2.0],
        };
        let long = "n".repeat(257);
        let names: Vec<_> = (0..=MAX_TENSORS).map(|i| i.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| Tensor { name, ..good }).collect();
        let cases = [
            (vec![good, good], "'a' stands twice"),
            (vec![Tensor { name: "", ..good }], "empty name"),
            (
                vec![Tensor {
                    name: &long,
                    ..good
                }],
                "257 bytes",
            ),
            (
                vec![Tensor {
                    name: "__metadata__",
                    ..good
                }],
                "reserved",
            ),
            (
                vec![Tensor {
                    shape: &[3],
                    ..good
                }],
                "it is given 2 values",
            ),
            (
                vec![Tensor {
                    shape: &[usize::MAX, 2],
                    ..good
                }],
                "it is given 2 values",
            ),
            (
                vec![Tensor {
                    shape: &[1, 1, 1, 1, 2],
                    ..good
                }],
                "4 dimensions",
            ),
            (many, "4097 tensors"),
        ];
        for (tensors, expected) in cases {
            let error = write(&Metadata::new(), &tensors).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let metadata = Metadata::from([("k".into(), "v".repeat(MAX_HEADER_BYTES))]);
        assert!(matches!(
            write(&metadata, &[]),
            Err(FormatError::HeaderTooLong { .. })
        ));
    }
}
