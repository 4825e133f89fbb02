//! What a VectorFlow server makes of totals: the difference to the heartbeat before, or nothing when a total went
//! backwards. The first total of a pipeline is only remembered.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::stub::totals::Counts;

/// The sums so far.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pipelines: BTreeMap<String, (Counts, Counts)>,
    components: BTreeMap<(String, String), (u64, u64)>,
}

impl Sums {
    /// Takes a pipeline of a heartbeat.
    pub(super) fn take(&mut self, pipeline: &Value) {
        let id = pipeline["pipelineId"].as_str().unwrap_or_default().to_owned();
        if pipeline["eventsIn"].is_null() {
            return;
        }
        let total = |name: &str| pipeline[name].as_u64().unwrap_or_default();
        let now = Counts {
            events_in: total("eventsIn"),
            events_out: total("eventsOut"),
            errors: total("errorsTotal"),
            discarded: total("eventsDiscarded"),
            bytes_in: total("bytesIn"),
            bytes_out: total("bytesOut"),
        };
        let (before, sum) = self.pipelines.entry(id.clone()).or_insert((now, Counts::default()));
        let more = Counts {
            events_in: now.events_in.saturating_sub(before.events_in),
            events_out: now.events_out.saturating_sub(before.events_out),
            errors: now.errors.saturating_sub(before.errors),
            discarded: now.discarded.saturating_sub(before.discarded),
            bytes_in: now.bytes_in.saturating_sub(before.bytes_in),
            bytes_out: now.bytes_out.saturating_sub(before.bytes_out),
        };
        (*before, *sum) = (now, [*sum, more].into_iter().sum());
        for component in pipeline["componentMetrics"].as_array().into_iter().flatten() {
            let name = component["componentId"].as_str().unwrap_or_default().to_owned();
            let now = component["receivedEvents"].as_u64().unwrap_or_default();
            let (before, sum) = self.components.entry((id.clone(), name)).or_insert((now, 0));
            *sum += now.saturating_sub(*before);
            *before = now;
        }
    }

    /// The sums of a pipeline.
    pub(super) fn of(&self, pipeline: &str) -> Counts {
        self.pipelines.get(pipeline).map(|(_, sum)| *sum).unwrap_or_default()
    }

    /// Events that a component received.
    pub(super) fn received_by(&self, pipeline: &str, component: &str) -> u64 {
        self.components.get(&(pipeline.to_owned(), component.to_owned())).map_or(0, |(_, sum)| *sum)
    }
}
