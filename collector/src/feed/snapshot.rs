//! The state of nodes and pipelines at one point of the sequence, in parts that fit into a write.

use bytes::Bytes;
use serde::Serialize;
use systole_shared::events::{Control, EventType, MetricUpdate, SnapshotNode, SnapshotPipeline};
use systole_shared::{NodeId, NodeStatus, PipelineId, PipelineStatus};

use super::frame;
use super::{Feed, Subscription};
use crate::auth::Scope;
use crate::store::{NodeView, StoreError};

/// Room in a part for the event's own words around its items.
const ENVELOPE_BYTES: usize = 256;

/// The snapshot's frames and its watermark: the stream goes on behind it.
pub(super) async fn take(feed: &Feed, subscription: &Subscription) -> Result<(Vec<Bytes>, u64), StoreError> {
    let environments = match subscription.scope {
        Scope::All => None,
        Scope::One(environment) => Some(vec![environment]),
    };
    let state = feed.journal.snapshot(environments).await?;
    let mut nodes = Vec::new();
    let mut pipelines = Vec::new();
    let mut samples = Vec::new();
    for view in &state.nodes {
        let Ok(node_id) = view.id.parse::<NodeId>() else { continue };
        if !subscription.nodes.is_empty() && !subscription.nodes.contains(&node_id) {
            continue;
        }
        nodes.push(snapshot_node(node_id, view));
        for status in &view.pipelines {
            let Ok(pipeline_id) = PipelineId::parse(&status.pipeline) else { continue };
            if !subscription.pipelines.is_empty() && !subscription.pipelines.contains(&pipeline_id) {
                continue;
            }
            if subscription.types.contains(&EventType::MetricUpdate)
                && let Some(sample) = feed.rings.last(view.key, &pipeline_id)
            {
                samples.push(MetricUpdate {
                    node_id,
                    pipeline_id: pipeline_id.clone(),
                    timestamp: sample.timestamp,
                    sample,
                    components: Vec::new(),
                });
            }
            pipelines.push(SnapshotPipeline {
                node_id,
                pipeline_id,
                pipeline_name: status.pipeline_name.clone(),
                status: PipelineStatus::from_wire(&status.row.status),
                reason: status.row.reason.clone(),
                since: status.row.since,
            });
        }
    }
    let part = |nodes, pipelines, samples| Control::Snapshot { nodes, pipelines, samples, done: false };
    let mut frames = parts(nodes, |nodes| part(nodes, Vec::new(), Vec::new()));
    frames.extend(parts(pipelines, |pipelines| part(Vec::new(), pipelines, Vec::new())));
    frames.extend(parts(samples, |samples| part(Vec::new(), Vec::new(), samples)));
    let done = Control::Snapshot { nodes: Vec::new(), pipelines: Vec::new(), samples: Vec::new(), done: true };
    let done = serde_json::to_string(&done).unwrap_or_else(|_| r#"{"type":"snapshot","done":true}"#.to_owned());
    frames.push(frame::render(&feed.epoch, state.watermark, "snapshot", &done));
    Ok((frames, state.watermark))
}

/// Items in as few parts as the bound allows.
fn parts<T: Serialize>(items: Vec<T>, part: impl Fn(Vec<T>) -> Control) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut open = Vec::new();
    let mut bytes = ENVELOPE_BYTES;
    for item in items {
        // Serialised twice, which a snapshot can afford; its size is not to be guessed.
        let size = serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
        if !open.is_empty() && bytes + size > frame::MAX_WRITE_BYTES {
            frames.push(frame::control(&part(std::mem::take(&mut open))));
            bytes = ENVELOPE_BYTES;
        }
        bytes += size;
        open.push(item);
    }
    if !open.is_empty() {
        frames.push(frame::control(&part(open)));
    }
    frames
}

fn snapshot_node(node_id: NodeId, view: &NodeView) -> SnapshotNode {
    SnapshotNode {
        node_id,
        name: view.name.clone(),
        status: NodeStatus::from_wire(&view.status),
        last_seen_at: view.last_seen_at,
    }
}
