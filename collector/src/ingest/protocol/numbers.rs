//! Numbers of a body within their ranges.

use systole_shared::{Counter, CounterFault, RefusalCode};

use super::Fault;

/// A counter within its range.
pub(super) fn counter(name: &str, counter: Counter) -> Result<i64, Fault> {
    counter.get().map_err(|fault| match fault {
        CounterFault::Negative => (RefusalCode::NegativeCounter, format!("{name} is below zero")),
        CounterFault::TooLarge => (RefusalCode::CounterTooLarge, format!("{name} is above 9223372036854775807")),
    })
}

/// A gauge that is out of range is unknown.
pub(super) fn gauge(value: Option<Counter>) -> Option<i64> {
    value.and_then(|value| value.get().ok())
}

/// From 0 to 1.
pub(super) fn ratio(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, 1.0))
}

/// In any unit, not negative.
pub(super) fn latency(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value >= 0.0)
}
