//! What a VectorFlow server makes of totals: the difference to the heartbeat before, or nothing when a total went
//! backwards. The first total of a pipeline is only remembered, an absent one is remembered as zero, and a pipeline that
//! a heartbeat does not have is forgotten.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::stub::totals::Counts;

/// The sums so far, and the totals of the last heartbeat.
#[derive(Debug, Default)]
pub(super) struct Sums {
    before: BTreeMap<String, Counts>,
    pipelines: BTreeMap<String, Counts>,
    components: BTreeMap<(String, String), (u64, u64)>,
}

impl Sums {
    /// Takes the pipelines of a heartbeat.
    pub(super) fn take<'a>(&mut self, pipelines: impl Iterator<Item = &'a Value>) {
        let before = std::mem::take(&mut self.before);
        for pipeline in pipelines {
            let id = pipeline["pipelineId"].as_str().unwrap_or_default().to_owned();
            let now = totals(pipeline);
            if let (Some(before), false) = (before.get(&id), pipeline["eventsIn"].is_null()) {
                let sum = self.pipelines.entry(id.clone()).or_default();
                *sum = [*sum, growth(*before, now)].into_iter().sum();
            }
            self.take_components(&id, pipeline);
            self.before.insert(id, now);
        }
    }

    fn take_components(&mut self, pipeline: &str, of: &Value) {
        for component in of["componentMetrics"].as_array().into_iter().flatten() {
            let name = component["componentId"].as_str().unwrap_or_default().to_owned();
            let now = component["receivedEvents"].as_u64().unwrap_or_default();
            let (before, sum) = self.components.entry((pipeline.to_owned(), name)).or_insert((now, 0));
            *sum += now.saturating_sub(*before);
            *before = now;
        }
    }

    /// The sums of a pipeline.
    pub(super) fn of(&self, pipeline: &str) -> Counts {
        self.pipelines.get(pipeline).copied().unwrap_or_default()
    }

    /// Events that a component received.
    pub(super) fn received_by(&self, pipeline: &str, component: &str) -> u64 {
        self.components.get(&(pipeline.to_owned(), component.to_owned())).map_or(0, |(_, sum)| *sum)
    }
}

fn totals(pipeline: &Value) -> Counts {
    let total = |name: &str| pipeline[name].as_u64().unwrap_or_default();
    Counts {
        events_in: total("eventsIn"),
        events_out: total("eventsOut"),
        errors: total("errorsTotal"),
        discarded: total("eventsDiscarded"),
        bytes_in: total("bytesIn"),
        bytes_out: total("bytesOut"),
    }
}

fn growth(before: Counts, now: Counts) -> Counts {
    Counts {
        events_in: now.events_in.saturating_sub(before.events_in),
        events_out: now.events_out.saturating_sub(before.events_out),
        errors: now.errors.saturating_sub(before.errors),
        discarded: now.discarded.saturating_sub(before.discarded),
        bytes_in: now.bytes_in.saturating_sub(before.bytes_in),
        bytes_out: now.bytes_out.saturating_sub(before.bytes_out),
    }
}
