//! A sample as dashboards read it: rates per second over the report's interval.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;

/// Rates of a pipeline or a component, of the names that VectorFlow's dashboards use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct RateSample {
    /// End of the interval.
    pub timestamp: UnixMillis,
    /// Events received per second.
    pub received_events_rate: f64,
    /// Events sent per second.
    pub sent_events_rate: f64,
    /// Bytes received per second.
    pub received_bytes_rate: f64,
    /// Bytes sent per second.
    pub sent_bytes_rate: f64,
    /// Errors in the interval.
    pub error_count: f64,
    /// Errors per second.
    pub errors_rate: f64,
    /// Events dropped per second.
    pub discarded_rate: f64,
    /// Mean latency in milliseconds; null when the engine does not report it.
    pub latency_mean_ms: Option<f64>,
}
