//! Periodic clean-up of the committer's state: frees the places of absent components, and removes pipelines
//! that were not reported for the longest retention.
//!
//! A pipeline is removed only after the longest retention. Then no minute, hour, day, line or event of it is
//! left, so no sum changes.

use systole_shared::UnixMillis;

use super::limits::hour_of;
use super::state::{IngestState, NodeState, PipelineState};
use crate::model::{NodeKey, PipelineKey};

/// Hours without a report after which a component's place is free: a pipeline that is down for a night keeps
/// its history.
const PLACE_IDLE_HOURS: i64 = 24;

/// Pipelines that are removed in one transaction.
pub(crate) const REMOVED_AT_ONCE: usize = 100;

/// Makes places free: of components that are gone for long, and of nodes that have more than their share
/// while others wait.
pub(crate) fn free_places(state: &mut IngestState, now: UnixMillis) {
    let IngestState { nodes, dimensions, .. } = state;
    let idle_before = hour_of(now) - PLACE_IDLE_HOURS;
    for node in nodes.values_mut() {
        let components = node.pipelines.values_mut().flat_map(|pipeline| pipeline.components.values_mut());
        let mut freed = 0;
        for component in components.filter(|component| component.has_place && component.seen_hour < idle_before) {
            component.has_place = false;
            freed += 1;
        }
        dimensions.places.give_back(node.key, freed);
    }
    level_places(state);
}

/// Frees the places of nodes above their share. The newest components lose their places.
pub(crate) fn level_places(state: &mut IngestState) {
    for (key, count) in state.dimensions.places.surplus() {
        let Some(node) = state.nodes.get_mut(&key) else { continue };
        let components = node.pipelines.values_mut().flat_map(|pipeline| pipeline.components.values_mut());
        let mut placed: Vec<_> = components.filter(|component| component.has_place).collect();
        placed.sort_unstable_by_key(|component| std::cmp::Reverse(component.series));
        placed.into_iter().take(count).for_each(|component| component.has_place = false);
        state.dimensions.places.give_back(key, count);
    }
}

/// Pipelines of nodes that were last reported before, at most [`REMOVED_AT_ONCE`].
pub(crate) fn unreported(state: &IngestState, before: UnixMillis) -> Vec<(NodeKey, PipelineKey)> {
    let nodes = state.nodes.values();
    let pipelines = nodes.flat_map(|node| node.pipelines.values().map(move |pipeline| (node, pipeline)));
    pipelines
        .filter(|(node, pipeline)| last_reported(node, pipeline) < before)
        .map(|(node, pipeline)| (node.key, PipelineKey(pipeline.row.pipeline)))
        .take(REMOVED_AT_ONCE)
        .collect()
}

/// A pipeline that the node still has was in its last report; its row is written only when it changes.
fn last_reported(node: &NodeState, pipeline: &PipelineState) -> UnixMillis {
    if pipeline.is_present() { node.last_seen.max(pipeline.row.reported_at) } else { pipeline.row.reported_at }
}

/// Forgets pipelines of nodes that the store has removed, and those that no node has any more.
pub(crate) fn forget(state: &mut IngestState, removed: &[(NodeKey, PipelineKey)], unused: &[PipelineKey]) {
    for (key, pipeline) in removed {
        let Some(node) = state.nodes.get_mut(key) else { continue };
        let gone: Vec<_> = node.pipelines.extract_if(|_, known| known.row.pipeline == pipeline.0).collect();
        for (_, gone) in gone {
            node.known_series = node.known_series.saturating_sub(gone.components.len());
            state.dimensions.places.give_back(*key, gone.placed());
        }
    }
    for pipeline in unused {
        state.dimensions.forget_pipeline(*pipeline);
    }
}
