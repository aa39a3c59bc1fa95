//! [`Cell`] by name.

use ifog_kernels::Cell;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(super) fn serialize<S: Serializer>(cell: &Cell, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cell.name())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
    let name = String::deserialize(deserializer)?;
    let unknown = || {
        D::Error::custom(format!(
            "unknown cell '{name}': lstm, gru, gru-after or rnn"
        ))
    };
    Cell::named(&name).ok_or_else(unknown)
}
