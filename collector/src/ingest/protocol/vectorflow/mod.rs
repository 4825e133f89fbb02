//! Converts VectorFlow's agent protocol, version 1, to [`TotalsReport`]s and lines.
//!
//! A heartbeat is read like a native report: the whole body at once, and item by item only when that fails, so that one
//! pipeline or component that cannot be read is refused alone. VectorFlow's server refuses the whole heartbeat.
//!
//! - An absent counter is zero in a pipeline that has a sample. A pipeline has one if it has components, or a counter
//!   above zero. Without one its scrape has failed: the Go agent omits zeros, and sends nothing else then.
//! - `spansIn`, `spansOut` and `tracesIn` are ignored: they are growth, and the Go agent sends none.
//! - `recentLogs` are only the reason of a crash: the same lines come through `/api/agent/logs`.
//! - `utilization` is unknown at zero: the Go agent reads a metric that does not exist.

mod heartbeat;
mod item_by_item;
mod logs;
mod pipeline;
#[cfg(test)]
mod tests;

use serde::Deserialize;
use serde_json::value::RawValue;
use systole_shared::vectorflow::Heartbeat;

use self::heartbeat::take_heartbeat;
use self::item_by_item::decode_item_by_item;
pub(crate) use self::logs::{DecodedLogs, decode_logs};
use crate::model::report::{Refusals, TotalsReport};

/// Items of one body that are read alone and are of a wrong type.
const MAX_UNREADABLE_ITEMS: usize = 2_000;

/// A reason to refuse a whole body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// No JSON, or not of a body's shape.
    #[error("{0}")]
    Malformed(String),
    /// More unreadable items than one body may have.
    #[error("more than {MAX_UNREADABLE_ITEMS} items of this body cannot be read")]
    TooManyUnreadable,
}

/// A heartbeat that was read: its items judged one by one.
#[derive(Debug)]
pub(crate) struct DecodedHeartbeat {
    pub report: TotalsReport,
    /// Why the agent's own update failed.
    pub update_error: Option<String>,
    /// Events that were asked for, where older agents send them: a list as JSON.
    pub sample_results: Option<Box<RawValue>>,
    pub refusals: Refusals,
}

impl DecodedHeartbeat {
    /// What it takes of memory, about: its structs, without long texts.
    pub(crate) fn bytes(&self) -> usize {
        let pipelines = self.report.pipelines.iter();
        pipelines.map(|totals| size_of_val(totals) + size_of_val(&*totals.pipeline.components)).sum()
    }
}

/// Reads a heartbeat.
///
/// # Errors
///
/// When it is no heartbeat at all, or too many of its items cannot be read.
pub(crate) fn decode_heartbeat(body: &[u8]) -> Result<DecodedHeartbeat, DecodeError> {
    // Structs can be read from lists, and an empty one must not stop every pipeline.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(DecodeError::Malformed("a heartbeat is an object".to_owned()));
    }
    match serde_json::from_slice::<Heartbeat<'_>>(body) {
        Ok(heartbeat) => {
            let sample_results = heartbeat.sample_results.as_ref().and_then(|_| sample_results(body));
            Ok(DecodedHeartbeat { sample_results, ..take_heartbeat(heartbeat) })
        }
        Err(_) => decode_item_by_item(body),
    }
}

/// The samples of a body that could be read.
fn sample_results(body: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OnlySamples {
        sample_results: Option<Box<RawValue>>,
    }
    serde_json::from_slice::<OnlySamples>(body).ok()?.sample_results
}
