//! A number in a record of the write-ahead log: for `serde(with)`. A float that is a whole number is packed as one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::compact_float;

/// A type of counters.
pub(crate) trait Packed: Sized {
    fn pack<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

impl Packed for i64 {
    fn pack<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl Packed for Option<i64> {
    fn pack<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl Packed for f64 {
    fn pack<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        compact_float::serialize(self, serializer)
    }

    fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        compact_float::deserialize(deserializer)
    }
}

pub(crate) fn serialize<T: Packed, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.pack(serializer)
}

pub(crate) fn deserialize<'de, T: Packed, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::unpack(deserializer)
}
