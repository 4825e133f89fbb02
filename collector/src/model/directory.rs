//! Labels and maintenance of all nodes as last committed, so that filters by label cost no query.
//!
//! The committer writes it after each transaction, before it publishes the transaction's events. Removed nodes stay as
//! long as their events are kept: a subscriber that filters by label must still receive the last one.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use systole_shared::{NodeId, UnixMillis};

use super::node::Labels;
use super::selector::Selector;
use super::{EnvironmentKey, NodeKey};

/// A node as filters see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeEntry {
    pub key: NodeKey,
    pub id: NodeId,
    pub environment: EnvironmentKey,
    pub labels: Labels,
    pub maintenance_until: Option<UnixMillis>,
    /// Whether only its events are left.
    pub is_removed: bool,
}

/// All nodes.
#[derive(Debug, Default)]
pub(crate) struct NodeDirectory {
    nodes: RwLock<HashMap<NodeId, NodeEntry>>,
}

impl NodeDirectory {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<NodeId, NodeEntry>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<NodeId, NodeEntry>> {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces everything by what the database has.
    pub(crate) fn load(&self, entries: impl Iterator<Item = NodeEntry>) {
        *self.write() = entries.map(|entry| (entry.id, entry)).collect();
    }

    /// A node is new or has changed.
    pub(crate) fn put(&self, entry: NodeEntry) {
        self.write().insert(entry.id, entry);
    }

    /// A node was removed.
    pub(crate) fn mark_removed(&self, id: NodeId) {
        if let Some(entry) = self.write().get_mut(&id) {
            entry.is_removed = true;
            entry.maintenance_until = None;
        }
    }

    /// Whether a node, also a removed one, has labels that match.
    pub(crate) fn matches(&self, id: NodeId, selector: &Selector) -> bool {
        self.read().get(&id).is_some_and(|entry| selector.matches(&entry.labels))
    }

    /// The nodes of environments that match, also removed ones. `None`: every environment.
    pub(crate) fn matching(&self, environments: Option<&[EnvironmentKey]>, selector: &Selector) -> Vec<NodeKey> {
        let nodes = self.read();
        let is_inside =
            |entry: &&NodeEntry| environments.is_none_or(|environments| environments.contains(&entry.environment));
        let matching = nodes.values().filter(is_inside).filter(|entry| selector.matches(&entry.labels));
        let mut keys: Vec<_> = matching.map(|entry| entry.key).collect();
        keys.sort_unstable();
        keys
    }

    /// Nodes whose maintenance is over.
    pub(crate) fn maintenance_over(&self, now: UnixMillis) -> Vec<(NodeKey, NodeId, EnvironmentKey)> {
        let nodes = self.read();
        let is_over = |entry: &&NodeEntry| entry.maintenance_until.is_some_and(|until| until <= now);
        nodes.values().filter(is_over).map(|entry| (entry.key, entry.id, entry.environment)).collect()
    }
}

/// Nodes by their labels, for a stream that lasts: the labels of a node may change meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct LabelFilter {
    pub selector: Selector,
    pub directory: Arc<NodeDirectory>,
}

impl LabelFilter {
    /// Whether the node has such labels now.
    pub(crate) fn matches(&self, node: NodeId) -> bool {
        self.directory.matches(node, &self.selector)
    }
}
