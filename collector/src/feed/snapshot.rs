//! The state of nodes and pipelines at one point of the sequence, in parts that fit into a write.
//!
//! Equal filters share a snapshot when the second request comes within a second of the first and the
//! first is still being sent. Each stream continues after the id of its own snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use serde::Serialize;
use systole_shared::events::{Control, EventType, FleetTotals, MetricUpdate, SnapshotNode, SnapshotPipeline};
use systole_shared::{NodeId, NodeStatus, PipelineId, PipelineStatus};
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::{Duration, Instant};

use super::encode::{self, block};
use super::{Feed, Subscription};
use crate::auth::Scope;
use crate::model::selector::Selector;
use crate::store::{NodeView, StateParts, StateSnapshot, StoreError, parse_labels};
use crate::timeseries::recent::RecentSamples;

/// Room in a part for the event's own words around its items.
const ENVELOPE_BYTES: usize = 256;

/// Highest age of a snapshot that another subscriber receives too. The subscriber continues after the
/// snapshot's position, so this only bounds the events that it has to catch up with.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// Snapshots that are made at a time; the others wait.
const CONCURRENT_SNAPSHOTS: usize = 2;

/// Number of different snapshots to keep before unused ones are removed.
const REMEMBERED: usize = 64;

/// An error of creating a snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("cannot read the state")]
    Read(#[source] StoreError),
    #[error("cannot encode the state")]
    Render(#[source] JoinError),
}

/// A snapshot as it is sent.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Pieces of at most [`encode::MAX_WRITE_BYTES`].
    pub writes: Vec<Bytes>,
    /// The stream continues after it.
    pub watermark: u64,
}

/// The key under which subscribers share a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: Scope,
    nodes: Vec<NodeId>,
    labels: Option<Selector>,
    pipelines: Vec<PipelineId>,
    has_samples: bool,
    has_totals: bool,
    parts: StateParts,
}

/// The creation time of a snapshot, and the snapshot itself while a stream sends it.
type Made = Option<(Instant, Weak<Snapshot>)>;

/// Snapshots that are under way, so that a thousand dashboards that come back at once cost one.
#[derive(Debug)]
pub(super) struct Snapshots {
    known: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Made>>>>,
    turns: Semaphore,
}

impl Default for Snapshots {
    fn default() -> Self {
        Snapshots { known: Mutex::default(), turns: Semaphore::new(CONCURRENT_SNAPSHOTS) }
    }
}

impl Snapshots {
    /// The state that a subscriber may and wants to see.
    pub(super) async fn take(&self, feed: &Feed, subscription: &Subscription) -> Result<Arc<Snapshot>, SnapshotError> {
        let key = Key {
            scope: subscription.scope,
            nodes: subscription.nodes.clone(),
            labels: subscription.labels.as_ref().map(|labels| labels.selector.clone()),
            pipelines: subscription.pipelines.clone(),
            has_samples: subscription.types.contains(&EventType::MetricUpdate),
            has_totals: subscription.wants(EventType::FleetTotals, None, None),
            parts: subscription.snapshot.unwrap_or_default(),
        };
        let place = self.place(&key);
        let mut made = place.lock().await;
        let shared = made.as_ref().filter(|(at, _)| at.elapsed() < SHARED_FOR).and_then(|(_, it)| it.upgrade());
        if let Some(snapshot) = shared {
            return Ok(snapshot);
        }
        let _turn = self.turns.acquire().await;
        let begin = Instant::now();
        let environments = subscription.scope.environments();
        let state = feed.timeseries.snapshot(environments, key.parts).await.map_err(SnapshotError::Read)?;
        let totals = if key.has_totals { feed.hub.totals(subscription.scope) } else { Vec::new() };
        let (recent_samples, epoch) = (Arc::clone(&feed.recent_samples), Arc::clone(&feed.epoch));
        // A hundred thousand pipelines take a while to write down.
        let render = move || render(&recent_samples, &epoch, &state, totals, &key);
        let snapshot = tokio::task::spawn_blocking(render).await.map_err(SnapshotError::Render)?;
        let snapshot = Arc::new(snapshot);
        *made = Some((begin, Arc::downgrade(&snapshot)));
        Ok(snapshot)
    }

    fn place(&self, key: &Key) -> Arc<tokio::sync::Mutex<Made>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            // A stream that creates a snapshot or waits for one keeps its entry too.
            known.retain(|_, place| Arc::strong_count(place) > 1);
        }
        Arc::clone(known.entry(key.clone()).or_default())
    }
}

fn render(
    recent_samples: &RecentSamples,
    epoch: &str,
    state: &StateSnapshot,
    totals: Vec<FleetTotals>,
    key: &Key,
) -> Snapshot {
    let mut nodes = Vec::new();
    let mut pipelines = Vec::new();
    let mut samples = Vec::new();
    for view in &state.nodes {
        let Ok(node_id) = view.id.parse::<NodeId>() else { continue };
        if !key.nodes.is_empty() && !key.nodes.contains(&node_id) {
            continue;
        }
        if key.labels.as_ref().is_some_and(|labels| !labels.matches(&parse_labels(&view.labels))) {
            continue;
        }
        nodes.push(snapshot_node(node_id, view));
        for status in &view.pipelines {
            let Ok(pipeline_id) = PipelineId::parse(&status.pipeline) else { continue };
            if !key.pipelines.is_empty() && !key.pipelines.contains(&pipeline_id) {
                continue;
            }
            if key.has_samples
                && let Some(sample) = recent_samples.last(view.key, &pipeline_id)
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
    let part =
        |nodes, pipelines, samples| Control::Snapshot { nodes, pipelines, samples, totals: Vec::new(), done: false };
    let of_totals = |totals| Control::Snapshot {
        nodes: Vec::new(),
        pipelines: Vec::new(),
        samples: Vec::new(),
        totals,
        done: false,
    };
    let mut frames = parts(totals, of_totals);
    frames.extend(parts(nodes, |nodes| part(nodes, Vec::new(), Vec::new())));
    frames.extend(parts(pipelines, |pipelines| part(Vec::new(), pipelines, Vec::new())));
    frames.extend(parts(samples, |samples| part(Vec::new(), Vec::new(), samples)));
    let done = Control::Snapshot {
        nodes: Vec::new(),
        pipelines: Vec::new(),
        samples: Vec::new(),
        totals: Vec::new(),
        done: true,
    };
    let done = serde_json::to_string(&done).unwrap_or_else(|_| r#"{"type":"snapshot","done":true}"#.to_owned());
    frames.push(block(Some((epoch, state.watermark)), "snapshot", &done));
    Snapshot { writes: encode::join(frames), watermark: state.watermark }
}

/// Items in as few parts as the bound allows.
fn parts<T: Serialize>(items: Vec<T>, part: impl Fn(Vec<T>) -> Control) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut open = Vec::new();
    let mut bytes = ENVELOPE_BYTES;
    for item in items {
        // Serialised twice, which a snapshot can afford; its size is not to be guessed.
        let size = serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
        if !open.is_empty() && bytes + size > encode::MAX_WRITE_BYTES {
            frames.push(encode::control(&part(std::mem::take(&mut open))));
            bytes = ENVELOPE_BYTES;
        }
        bytes += size;
        open.push(item);
    }
    if !open.is_empty() {
        frames.push(encode::control(&part(open)));
    }
    frames
}

fn snapshot_node(node_id: NodeId, view: &NodeView) -> SnapshotNode {
    SnapshotNode {
        node_id,
        name: view.name.clone(),
        // As the committer reads it.
        status: NodeStatus::from_wire(&view.status).unwrap_or(NodeStatus::Unknown),
        last_seen_at: view.last_seen_at,
        maintenance_until: view.settings.maintenance.as_ref().map(|maintenance| maintenance.until),
    }
}
