//! An event between the transaction that writes it and the subscribers that receive it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systole_shared::events::{Event, EventType, FleetStatus, FleetTotals, MetricUpdate};
use systole_shared::{NodeId, PipelineId};

use super::EnvironmentKey;

/// An event that goes to subscribers once the batch is committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingEvent {
    pub seq: u64,
    pub environment: EnvironmentKey,
    /// `None`: it is about all nodes of the environment.
    pub node: Option<NodeId>,
    pub pipeline: Option<PipelineId>,
    pub kind: EventType,
    pub payload: Payload,
}

/// The content of an event. Ten thousand nodes bring twenty thousand conflated events a second, of which
/// most are never read: these become text when a subscriber reads them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Payload {
    /// JSON of the event.
    Text(String),
    Metrics(Arc<MetricUpdate>),
    Fleet(FleetStatus),
    Totals(FleetTotals),
}

impl Payload {
    /// JSON of the event.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Payload::Text(text) => text.clone(),
            Payload::Metrics(update) => to_json(&Event::MetricUpdate(Arc::clone(update))),
            Payload::Fleet(status) => to_json(&Event::FleetStatus(status.clone())),
            Payload::Totals(totals) => to_json(&Event::FleetTotals(totals.clone())),
        }
    }

    /// About how many bytes it takes, as it is or as JSON.
    pub(crate) fn size(&self) -> usize {
        /// Names and digits of a sample as JSON.
        const SAMPLE_BYTES: usize = 250;
        match self {
            Payload::Text(text) => text.len(),
            Payload::Metrics(update) => SAMPLE_BYTES * (2 + update.components.len()),
            Payload::Fleet(_) | Payload::Totals(_) => SAMPLE_BYTES,
        }
    }
}

/// JSON of an event.
pub(crate) fn to_json(event: &Event) -> String {
    serde_json::to_string(event).expect("events have string keys and finite numbers only")
}
