//! All nodes and pipelines as last committed, so that filters by label and sorted lists cost no query.
//!
//! The committer writes it after each transaction, before it publishes the transaction's events. Removed nodes stay as
//! long as their events are kept: a subscriber that filters by label must still receive the last one.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::HashMap;
use systole_shared::{NodeId, PipelineId, UnixMillis};

use super::live::LiveNode;
use super::node::Labels;
use super::selector::Selector;
use super::{EnvironmentKey, NodeKey, PipelineKey};

/// A node as filters and lists see it.
#[derive(Clone, Debug)]
pub(crate) struct NodeEntry {
    pub key: NodeKey,
    pub id: NodeId,
    pub environment: EnvironmentKey,
    /// The name that is shown.
    pub name: String,
    /// The name that the agent reports.
    pub reported_name: String,
    pub agent_version: Option<String>,
    pub labels: Labels,
    pub maintenance_until: Option<UnixMillis>,
    /// Whether only its events are left.
    pub is_removed: bool,
}

impl NodeEntry {
    /// What a text is looked for in: the names, and the labels written as `key:value` and `key=value`, in lower case and
    /// on lines of their own.
    fn search_text(&self) -> Arc<str> {
        let labels = self.labels.iter().map(|(key, value)| format!("{key}:{value}\n{key}={value}\n"));
        let labels: String = labels.collect();
        format!("{}\n{}\n{labels}", self.name, self.reported_name).to_lowercase().into()
    }
}

/// A pipeline of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PipelineEntry {
    pub key: PipelineKey,
    pub environment: EnvironmentKey,
    pub id: PipelineId,
    pub name: String,
}

/// A node with its last values.
#[derive(Clone, Debug)]
pub(crate) struct ListedNode {
    pub entry: Arc<NodeEntry>,
    search_text: Arc<str>,
    pub live: LiveNode,
}

impl ListedNode {
    fn new(entry: NodeEntry, live: LiveNode) -> Self {
        ListedNode { search_text: entry.search_text(), entry: Arc::new(entry), live }
    }

    /// Whether a text, in lower case, is part of a name or a label.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.search_text.contains(text)
    }
}

/// All nodes and pipelines.
#[derive(Debug, Default)]
pub(crate) struct NodeDirectory {
    nodes: RwLock<HashMap<NodeId, ListedNode>>,
    pipelines: RwLock<HashMap<PipelineKey, Arc<PipelineEntry>>>,
}

impl NodeDirectory {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<NodeId, ListedNode>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<NodeId, ListedNode>> {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces everything by what the database has.
    pub(crate) fn load(&self, entries: impl Iterator<Item = (NodeEntry, LiveNode)>) {
        let listed = |(entry, live): (NodeEntry, LiveNode)| (entry.id, ListedNode::new(entry, live));
        *self.write() = entries.map(listed).collect();
    }

    /// A node is new or has changed.
    pub(crate) fn put(&self, entry: NodeEntry) {
        let mut nodes = self.write();
        let live = nodes.remove(&entry.id).map(|listed| listed.live).unwrap_or_default();
        nodes.insert(entry.id, ListedNode::new(entry, live));
    }

    /// A node was enrolled. One that is known stays as it is until its first report.
    pub(crate) fn put_new(&self, entry: NodeEntry, live: LiveNode) {
        self.write().entry(entry.id).or_insert_with(|| ListedNode::new(entry, live));
    }

    /// The last values of nodes that are known.
    pub(crate) fn put_live(&self, nodes: impl Iterator<Item = (NodeId, LiveNode)>) {
        let mut known = self.write();
        for (id, mut live) in nodes {
            let Some(listed) = known.get_mut(&id) else { continue };
            if listed.live.reason == live.reason {
                live.reason = Arc::clone(&listed.live.reason);
            }
            listed.live = live;
        }
    }

    /// A node was removed.
    pub(crate) fn mark_removed(&self, id: NodeId) {
        if let Some(listed) = self.write().get_mut(&id) {
            let entry = NodeEntry { is_removed: true, maintenance_until: None, ..(*listed.entry).clone() };
            *listed = ListedNode::new(entry, LiveNode::default());
        }
    }

    /// Pipelines that are new or have another name.
    pub(crate) fn put_pipelines(&self, entries: impl Iterator<Item = PipelineEntry>) {
        let entries = entries.map(|entry| (entry.key, Arc::new(entry)));
        self.pipelines.write().unwrap_or_else(PoisonError::into_inner).extend(entries);
    }

    /// A pipeline that no node has any more.
    pub(crate) fn forget_pipeline(&self, key: PipelineKey) {
        self.pipelines.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// All pipelines by their keys, as they are now.
    pub(crate) fn pipelines(&self) -> HashMap<PipelineKey, Arc<PipelineEntry>> {
        self.pipelines.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a node, also a removed one, has labels that match.
    pub(crate) fn matches(&self, id: NodeId, selector: &Selector) -> bool {
        self.read().get(&id).is_some_and(|listed| selector.matches(&listed.entry.labels))
    }

    /// The nodes of environments that match, also removed ones. `None`: every environment.
    pub(crate) fn matching(&self, environments: Option<&[EnvironmentKey]>, selector: &Selector) -> Vec<NodeKey> {
        let nodes = self.read();
        let is_inside =
            |entry: &&NodeEntry| environments.is_none_or(|environments| environments.contains(&entry.environment));
        let entries = nodes.values().map(|listed| &*listed.entry);
        let matching = entries.filter(is_inside).filter(|entry| selector.matches(&entry.labels));
        let mut keys: Vec<_> = matching.map(|entry| entry.key).collect();
        keys.sort_unstable();
        keys
    }

    /// A node that is not removed.
    pub(crate) fn get(&self, id: NodeId) -> Option<ListedNode> {
        self.read().get(&id).filter(|listed| !listed.entry.is_removed).cloned()
    }

    /// The nodes that are not removed and that `is_wanted`.
    pub(crate) fn select(&self, is_wanted: impl Fn(&ListedNode) -> bool) -> Vec<ListedNode> {
        let nodes = self.read();
        nodes.values().filter(|listed| !listed.entry.is_removed && is_wanted(listed)).cloned().collect()
    }

    /// Nodes whose maintenance is over.
    pub(crate) fn maintenance_over(&self, now: UnixMillis) -> Vec<(NodeKey, NodeId, EnvironmentKey)> {
        let nodes = self.read();
        let is_over = |entry: &&NodeEntry| entry.maintenance_until.is_some_and(|until| until <= now);
        let entries = nodes.values().map(|listed| &*listed.entry);
        entries.filter(is_over).map(|entry| (entry.key, entry.id, entry.environment)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> NodeEntry {
        NodeEntry {
            key: NodeKey(1),
            id: NodeId(uuid::Uuid::from_u128(1)),
            environment: EnvironmentKey(1),
            name: name.to_owned(),
            reported_name: "Host-7".to_owned(),
            agent_version: None,
            labels: [("site".to_owned(), "Lab".to_owned())].into(),
            maintenance_until: None,
            is_removed: false,
        }
    }

    #[test]
    fn text_is_found_in_names_and_labels() {
        let listed = ListedNode::new(entry("Edge"), LiveNode::default());
        for (text, is_found) in
            [("edge", true), ("host-7", true), ("site:l", true), ("site=lab", true), ("te:l", true), ("role", false)]
        {
            assert_eq!(listed.contains(text), is_found, "{text}");
        }
    }

    #[test]
    fn last_values_stay_when_an_entry_changes_and_go_with_the_node() {
        let directory = NodeDirectory::default();
        directory.put(entry("a"));
        let id = entry("a").id;
        let live = LiveNode { last_seen_at: Some(5), ..LiveNode::default() };
        directory.put_live([(id, live.clone())].into_iter());
        directory.put(entry("b"));
        directory.put_new(entry("c"), LiveNode::default());
        let listed = directory.select(|_| true);
        assert_eq!((listed[0].entry.name.as_str(), &listed[0].live), ("b", &live));
        directory.mark_removed(id);
        assert!(directory.select(|_| true).is_empty(), "it is in no list");
        assert!(directory.matches(id, &Selector::parse(&["site".to_owned()]).unwrap()), "its last events are sent");
    }
}
