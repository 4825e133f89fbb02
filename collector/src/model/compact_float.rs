//! A float as a whole number where it is one: for `serde(with)`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
enum Number {
    Whole(i64),
    Float(f64),
}

/// Beyond, not every whole number is a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = value.trunc() == *value && value.abs() < EXACT && !(*value == 0.0 && value.is_sign_negative());
    if whole { Number::Whole(*value as i64) } else { Number::Float(*value) }.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(match Number::deserialize(deserializer)? {
        Number::Whole(value) => value as f64,
        Number::Float(value) => value,
    })
}
