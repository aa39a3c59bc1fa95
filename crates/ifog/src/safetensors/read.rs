//! The strict reader.

use super::error::{invalid_header, invalid_tensor};
use super::header::{Header, Shape, TensorInfo};
use super::{FormatError, LENGTH_BYTES, MAX_HEADER_BYTES, Metadata, byte_len, data_digest};

/// A file read from bytes; the values stay where they are until they are asked for.
///
/// ```
/// use ifog::safetensors::{Metadata, SafeTensors, Tensor, write};
///
/// let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let metadata = Metadata::from([("cell".into(), "lstm".into())]);
/// let tensors = [Tensor { name: "weight", shape: &[2, 3], values: &weight }];
/// let bytes = write(&metadata, &tensors)?;
///
/// let file = SafeTensors::read(&bytes)?;
/// let read = file.tensor("weight").expect("it was written");
/// assert_eq!(read.shape(), [2, 3]);
/// assert_eq!(read.to_vec(), weight);
/// assert_eq!(file.metadata()["cell"], "lstm");
/// # Ok::<(), ifog::safetensors::FormatError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SafeTensors<'a> {
    metadata: Metadata,
    tensors: Vec<TensorView<'a>>,
    data: &'a [u8],
}

/// A tensor of a file that was read.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    name: String,
    shape: Vec<usize>,
    /// Four bytes a value, as many values as the shape says.
    bytes: &'a [u8],
}

impl<'a> SafeTensors<'a> {
    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// [`FormatError`] for anything but a file within the limits of this module whose tensors are
    /// all F32, distinctly named, and cover the data section without overlap, hole or rest. Keys
    /// that stand twice, unknown keys of a tensor and empty names are refused, too.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let (header, data) = split_header(bytes)?;
        let header: Header = std::str::from_utf8(header)
            .map_err(|error| invalid_header(&error))
            .and_then(|text| {
                // The format fixes the first byte, so that no white space precedes the object.
                if !text.starts_with('{') {
                    return Err(invalid_header(&"it does not start with '{'"));
                }
                serde_json::from_str(text).map_err(|error| invalid_header(&error))
            })?;
        check_coverage(&header.tensors, data.len())?;
        let tensors = header
            .tensors
            .into_iter()
            .map(|(name, info)| view(name, info, data))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            metadata: header.metadata,
            tensors,
            data,
        })
    }

    /// The strings stored beside the tensors; empty if there are none.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors in the order of the header.
    #[must_use]
    pub fn tensors(&self) -> &[TensorView<'a>] {
        &self.tensors
    }

    /// The tensor of that name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorView<'a>> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The data section: the bytes of all tensors.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// [`data_digest`] of the data section.
    #[must_use]
    pub fn digest(&self) -> String {
        data_digest(self.data)
    }
}

impl TensorView<'_> {
    /// Its name, unique in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size of each dimension, outermost first; empty for a single number.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order, as many as the product of the shape.
    pub fn values(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        let (values, _) = self.bytes.as_chunks::<4>();
        values.iter().map(|&value| f32::from_le_bytes(value))
    }

    /// The values in row-major order.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        self.values().collect()
    }
}

/// Header and data section of a file.
fn split_header(bytes: &[u8]) -> Result<(&[u8], &[u8]), FormatError> {
    let truncated = |needed| FormatError::Truncated {
        found: bytes.len(),
        needed,
    };
    let (length, rest) = bytes
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| truncated(LENGTH_BYTES as u64))?;
    let claimed = u64::from_le_bytes(*length);
    if claimed > MAX_HEADER_BYTES as u64 {
        return Err(FormatError::HeaderTooLong { claimed });
    }
    rest.split_at_checked(claimed as usize)
        .ok_or_else(|| truncated(LENGTH_BYTES as u64 + claimed))
}

/// Checks that the offsets, in ascending order, run from 0 to `data_len` with no gap and no overlap.
fn check_coverage(tensors: &[(String, TensorInfo)], data_len: usize) -> Result<(), FormatError> {
    let coverage = |reason| Err(FormatError::Coverage { reason });
    let mut ascending: Vec<_> = tensors
        .iter()
        .map(|(name, info)| (info.data_offsets, name))
        .collect();
    ascending.sort_unstable();
    let mut covered = 0;
    for ([start, end], name) in ascending {
        if start > covered {
            return coverage(format!(
                "there is a hole from byte {covered} to {start} before the tensor '{name}'"
            ));
        }
        if start < covered {
            return coverage(format!(
                "the tensor '{name}' starts at byte {start}, inside the one before it, which \
                 ends at {covered}"
            ));
        }
        if end < start {
            return coverage(format!(
                "the tensor '{name}' ends at byte {end}, before its start at {start}"
            ));
        }
        covered = end;
    }
    if covered != data_len as u64 {
        return coverage(format!(
            "the tensors end at byte {covered} and the data section at {data_len}"
        ));
    }
    Ok(())
}

/// The tensor of one header entry whose offsets are known to lie in `data`.
fn view(name: String, info: TensorInfo, data: &[u8]) -> Result<TensorView<'_>, FormatError> {
    let TensorInfo {
        dtype,
        shape: Shape(shape),
        data_offsets: [start, end],
    } = info;
    if dtype != "F32" {
        return Err(FormatError::Dtype { name, dtype });
    }
    let Some(needed) = byte_len(&shape) else {
        return Err(invalid_tensor(
            &name,
            &shape,
            "its size overflows; the file is damaged".into(),
        ));
    };
    if needed != end - start {
        return Err(invalid_tensor(
            &name,
            &shape,
            format!(
                "it needs {needed} bytes and has {}; the file is damaged",
                end - start
            ),
        ));
    }
    let in_data = "coverage was checked: offsets lie within the data section";
    let dimensions = shape
        .iter()
        .map(|&size| usize::try_from(size).map_err(|_| size))
        .collect::<Result<_, _>>()
        .map_err(|size| {
            let reason = format!("a size of {size} is beyond this machine");
            invalid_tensor(&name, &shape, reason)
        })?;
    Ok(TensorView {
        shape: dimensions,
        bytes: data.get(start as usize..end as usize).expect(in_data),
        name,
    })
}
