//! States of nodes and of their pipelines as last committed, for what decides by them without a query: alerts.
//!
//! The committer writes it after each transaction that changed a state. It also remembers which nodes have changed, so that
//! a reader reads only these.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use systole_shared::{NodeId, NodeStatus, PipelineId, PipelineStatus, UnixMillis};
use tokio::sync::Notify;

use super::node::Labels;
use super::{EnvironmentKey, NodeKey, PipelineKey, SeriesKey};

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WatchedNode {
    pub key: NodeKey,
    pub id: NodeId,
    pub environment: EnvironmentKey,
    pub name: String,
    pub labels: Labels,
    pub maintenance_until: Option<UnixMillis>,
    pub status: NodeStatus,
    pub reason: String,
    pub since: UnixMillis,
    /// When it was last noticed that reports are missing, by this process.
    pub lost_reports_at: Option<UnixMillis>,
    /// How far its clock was behind ours with its last report; `None` without one to this process.
    pub clock_skew_ms: Option<i64>,
    /// By id. Those that its reports no longer have are not in it.
    pub pipelines: Vec<WatchedPipeline>,
}

/// A pipeline on a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WatchedPipeline {
    pub id: PipelineId,
    pub key: PipelineKey,
    pub series: SeriesKey,
    pub status: PipelineStatus,
    pub reason: String,
    pub since: UnixMillis,
}

impl WatchedNode {
    /// A pipeline of the node.
    pub(crate) fn pipeline(&self, id: &PipelineId) -> Option<&WatchedPipeline> {
        self.pipelines.binary_search_by(|pipeline| pipeline.id.cmp(id)).ok().map(|index| &self.pipelines[index])
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(crate) struct WatchedStates {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: HashMap<NodeKey, Arc<WatchedNode>>,
    changed: BTreeSet<NodeKey>,
}

impl WatchedStates {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces everything. Every node counts as changed, also those that are gone.
    pub(crate) fn load(&self, nodes: impl Iterator<Item = WatchedNode>) {
        let mut inner = self.lock();
        let gone: Vec<_> = inner.nodes.keys().copied().collect();
        inner.changed.extend(gone);
        inner.nodes = nodes.map(|node| (node.key, Arc::new(node))).collect();
        let known: Vec<_> = inner.nodes.keys().copied().collect();
        inner.changed.extend(known);
        drop(inner);
        self.changed.notify_one();
    }

    /// Nodes that were committed, with their new states, and nodes that were removed.
    pub(crate) fn update(&self, nodes: Vec<WatchedNode>, removed: impl Iterator<Item = NodeKey>) {
        let mut has_changed = false;
        let mut inner = self.lock();
        for node in nodes {
            if inner.nodes.get(&node.key).is_some_and(|known| **known == node) {
                continue;
            }
            has_changed = true;
            inner.changed.insert(node.key);
            inner.nodes.insert(node.key, Arc::new(node));
        }
        for key in removed {
            has_changed = true;
            inner.nodes.remove(&key);
            inner.changed.insert(key);
        }
        drop(inner);
        if has_changed {
            self.changed.notify_one();
        }
    }

    /// The nodes that have changed since the last call: with their states, or `None` for a node that was removed.
    pub(crate) fn take_changed(&self) -> Vec<(NodeKey, Option<Arc<WatchedNode>>)> {
        let mut inner = self.lock();
        let changed = std::mem::take(&mut inner.changed);
        changed.into_iter().map(|key| (key, inner.nodes.get(&key).cloned())).collect()
    }

    /// A node.
    pub(crate) fn get(&self, key: NodeKey) -> Option<Arc<WatchedNode>> {
        self.lock().nodes.get(&key).cloned()
    }

    /// Every node.
    pub(crate) fn all(&self) -> Vec<Arc<WatchedNode>> {
        self.lock().nodes.values().cloned().collect()
    }

    /// Nodes of an environment.
    pub(crate) fn count(&self, environment: EnvironmentKey) -> usize {
        self.lock().nodes.values().filter(|node| node.environment == environment).count()
    }

    /// Returns when a node has changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(key: i64, status: NodeStatus) -> WatchedNode {
        WatchedNode {
            key: NodeKey(key),
            id: NodeId(uuid::Uuid::nil()),
            environment: EnvironmentKey(1),
            name: "n".into(),
            labels: Labels::new(),
            maintenance_until: None,
            status,
            reason: String::new(),
            since: 0,
            lost_reports_at: None,
            clock_skew_ms: None,
            pipelines: Vec::new(),
        }
    }

    #[test]
    fn only_what_has_changed_is_read_again() {
        let states = WatchedStates::default();
        states.load([node(1, NodeStatus::Healthy), node(2, NodeStatus::Healthy)].into_iter());
        assert_eq!(states.take_changed().len(), 2);
        states.update(vec![node(1, NodeStatus::Healthy), node(2, NodeStatus::Unreachable)], std::iter::empty());
        let changed = states.take_changed();
        assert_eq!(changed.iter().map(|(key, _)| key.0).collect::<Vec<_>>(), [2]);
        states.update(Vec::new(), std::iter::once(NodeKey(2)));
        assert_eq!(states.take_changed(), [(NodeKey(2), None)]);
        assert!(states.take_changed().is_empty());
    }
}
