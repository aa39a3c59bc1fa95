//! A seed in formats whose whole numbers end at 2⁶³, such as TOML: those above are text.

use std::fmt;

use serde::{Deserializer, Serializer, de};

pub(super) fn serialize<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    match i64::try_from(*seed) {
        Ok(seed) => serializer.serialize_i64(seed),
        Err(_) => serializer.serialize_str(&seed.to_string()),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Seed)
}

struct Seed;

impl de::Visitor<'_> for Seed {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {}", u64::MAX)
    }

    fn visit_u64<E: de::Error>(self, seed: u64) -> Result<u64, E> {
        Ok(seed)
    }

    fn visit_i64<E: de::Error>(self, seed: i64) -> Result<u64, E> {
        let wrong = |_| E::invalid_value(de::Unexpected::Signed(seed), &self);
        u64::try_from(seed).map_err(wrong)
    }

    fn visit_str<E: de::Error>(self, seed: &str) -> Result<u64, E> {
        let wrong = |_| E::invalid_value(de::Unexpected::Str(seed), &self);
        seed.parse().map_err(wrong)
    }
}
