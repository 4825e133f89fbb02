//! Counters of the wire: whole numbers from 0 to 2^63-1.
//!
//! A counter outside of that range costs only the item that holds it, not the request. So the parser keeps
//! the fault as a value, and the code that applies the item checks it ([`Counter::get`]).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};
use std::hash::Hash;

/// A counter as it was received. [`Counter::get`] checks it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = i64, minimum = 0, description = "A whole number from 0 to 2^63-1."))]
pub struct Counter(i64);

/// A fault of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterFault {
    /// Below zero: a delta is never negative.
    Negative,
    /// Above 2^63-1.
    TooLarge,
}

impl Counter {
    /// The largest counter, 2^63-1.
    pub const MAX: Counter = Counter(i64::MAX);
    /// Marks every value above the largest. No delta has this value, because it is below zero.
    const TOO_LARGE: Counter = Counter(i64::MIN);

    /// A counter of this value; values above the largest become the largest.
    pub fn new(value: u64) -> Self {
        Counter(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// The value, from 0 to 2^63-1.
    ///
    /// # Errors
    ///
    /// [`CounterFault`] when the received value is outside of that range.
    pub fn get(self) -> Result<i64, CounterFault> {
        match self {
            Counter::TOO_LARGE => Err(CounterFault::TooLarge),
            Counter(value) if value < 0 => Err(CounterFault::Negative),
            Counter(value) => Ok(value),
        }
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => write!(f, "{value}"),
            Err(fault) => write!(f, "{fault:?}"),
        }
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CounterVisitor;

        impl Visitor<'_> for CounterVisitor {
            type Value = Counter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 to 9223372036854775807")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Counter, E> {
                Ok(i64::try_from(value).map_or(Counter::TOO_LARGE, Counter))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Counter, E> {
                // The smallest i64 is the mark for "too large". As a value it is negative like its
                // neighbour.
                Ok(Counter(value.max(i64::MIN + 1)))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Counter, E> {
                // serde_json passes whole numbers beyond u64 and i64 as floats.
                if value >= i64::MAX as f64 {
                    Ok(Counter::TOO_LARGE)
                } else if value <= i64::MIN as f64 {
                    Ok(Counter(-1))
                } else {
                    Err(E::invalid_type(serde::de::Unexpected::Float(value), &self))
                }
            }
        }

        deserializer.deserialize_any(CounterVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Result<i64, CounterFault>, serde_json::Error> {
        serde_json::from_str::<Counter>(json).map(Counter::get)
    }

    #[test]
    fn counter_accepts_its_range_and_marks_other_numbers() {
        assert_eq!(parse("0").unwrap(), Ok(0));
        assert_eq!(parse("9223372036854775807").unwrap(), Ok(i64::MAX));
        assert_eq!(parse("9223372036854775808").unwrap(), Err(CounterFault::TooLarge));
        assert_eq!(parse("1e30").unwrap(), Err(CounterFault::TooLarge));
        assert_eq!(parse("-1").unwrap(), Err(CounterFault::Negative));
        assert_eq!(parse("-9223372036854775808").unwrap(), Err(CounterFault::Negative));
        assert_eq!(parse("-99999999999999999999").unwrap(), Err(CounterFault::Negative));
    }

    #[test]
    fn counter_refuses_fractions_and_strings() {
        assert!(parse("1.5").is_err());
        assert!(parse("\"1\"").is_err());
        assert!(parse("null").is_err());
    }
}
