//! The JSON of a header, entry by entry: limits and double keys are checked while it is parsed, so
//! that no more is allocated than the header has bytes for.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{MAX_RANK, MAX_TENSORS, METADATA_KEY, Metadata, check_name};

/// A header whose names are distinct and within the limits; sizes are not checked yet.
pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<(String, TensorInfo)>,
}

/// One entry of the header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TensorInfo {
    pub(super) dtype: String,
    pub(super) shape: Shape,
    pub(super) data_offsets: [u64; 2],
}

/// At most [`MAX_RANK`] sizes.
pub(super) struct Shape(pub(super) Vec<u64>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Takes the entries one by one: a map type would keep the last of two entries of one name.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut metadata = None;
        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                if metadata.is_some() {
                    return Err(A::Error::custom(format!("{METADATA_KEY} stands twice")));
                }
                metadata = Some(map.next_value::<UniqueStrings>()?.0);
                continue;
            }
            check_name(&name).map_err(A::Error::custom)?;
            if tensors.len() == MAX_TENSORS {
                return Err(A::Error::custom(format!(
                    "it has more than {MAX_TENSORS} tensors"
                )));
            }
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!(
                    "the tensor '{name}' stands twice"
                )));
            }
            tensors.push((name, map.next_value()?));
        }
        Ok(Header {
            metadata: metadata.unwrap_or_default(),
            tensors,
        })
    }
}

/// Metadata whose keys are distinct.
struct UniqueStrings(Metadata);

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueStringsVisitor)
    }
}

struct UniqueStringsVisitor;

impl<'de> Visitor<'de> for UniqueStringsVisitor {
    type Value = UniqueStrings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueStrings, A::Error> {
        let mut metadata = Metadata::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if metadata.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "the metadata key '{key}' stands twice"
                )));
            }
            metadata.insert(key, value);
        }
        Ok(UniqueStrings(metadata))
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_RANK} sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::with_capacity(MAX_RANK);
        while shape.len() < MAX_RANK {
            match sizes.next_element()? {
                Some(size) => shape.push(size),
                None => return Ok(Shape(shape)),
            }
        }
        match sizes.next_element::<IgnoredAny>()? {
            Some(_) => Err(A::Error::invalid_length(MAX_RANK + 1, &self)),
            None => Ok(Shape(shape)),
        }
    }
}
