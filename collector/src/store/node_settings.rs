//! Settings of nodes, and what is left of removed ones.

use std::collections::BTreeMap;

use async_trait::async_trait;
use diesel::prelude::AsChangeset;
use systole_shared::{NodeId, UnixMillis};

use super::schema::nodes;
use super::{EvictedLogs, StoreError, StoredNode};
use crate::model::directory::NodeEntry;
use crate::model::node::{Labels, Maintenance, NodeSettings};
use crate::model::{EnvironmentKey, NodeKey, PipelineKey, Resolution};

/// What an administrator has set of a node. `None` is stored as NULL.
#[derive(Clone, Debug, PartialEq, Eq, AsChangeset)]
#[diesel(table_name = nodes, treat_none_as_null = true)]
pub(crate) struct NodeSettingsRow {
    #[diesel(skip_update)]
    pub id: i64,
    pub set_name: Option<String>,
    /// JSON.
    pub set_labels: Option<String>,
    pub maintenance_until: Option<i64>,
    pub maintenance_note: Option<String>,
}

impl NodeSettingsRow {
    /// The row of settings.
    pub(crate) fn new(node: NodeKey, settings: &NodeSettings) -> Self {
        let labels = Some(&settings.labels).filter(|labels| !labels.is_empty());
        NodeSettingsRow {
            id: node.0,
            set_name: settings.name.clone(),
            set_labels: labels.map(labels_json),
            maintenance_until: settings.maintenance.as_ref().map(|maintenance| maintenance.until),
            maintenance_note: settings.maintenance.as_ref().and_then(|maintenance| maintenance.note.clone()),
        }
    }

    /// The settings of a row.
    pub(crate) fn settings(self) -> NodeSettings {
        let note = self.maintenance_note;
        NodeSettings {
            name: self.set_name,
            labels: self.set_labels.as_deref().map(parse_labels).unwrap_or_default(),
            maintenance: self.maintenance_until.map(|until| Maintenance { until, note }),
        }
    }
}

/// Labels as they are stored.
pub(crate) fn labels_json(labels: &Labels) -> String {
    serde_json::to_string(labels).unwrap_or_else(|_| "{}".to_owned())
}

/// Labels as they were before they were stored.
pub(crate) fn parse_labels(json: &str) -> Labels {
    serde_json::from_str(json).unwrap_or_default()
}

/// A node's settings, and what its agent reports of the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSettings {
    pub node: NodeKey,
    pub reported_name: String,
    pub reported_labels: Labels,
    pub settings: NodeSettings,
}

impl StoredNode {
    /// Takes the settings over.
    pub(crate) fn set(&mut self, stored: StoredSettings) {
        self.name = stored.reported_name;
        self.reported_labels = stored.reported_labels;
        self.settings = stored.settings;
    }
}

/// A node to be removed with a transaction.
#[derive(Clone, Debug)]
pub(crate) struct NodeRemoval {
    pub node: NodeKey,
    /// Those that it had, for filters of its last events.
    pub labels: Labels,
    pub at: UnixMillis,
}

/// A node that was removed.
#[derive(Clone, Debug)]
pub(crate) struct RemovedNode {
    pub key: NodeKey,
    pub id: NodeId,
    pub environment: EnvironmentKey,
    pub labels: Labels,
}

impl RemovedNode {
    /// As filters see it.
    pub(crate) fn entry(self) -> NodeEntry {
        NodeEntry {
            key: self.key,
            id: self.id,
            environment: self.environment,
            name: String::new(),
            reported_name: String::new(),
            agent_version: None,
            labels: self.labels,
            maintenance_until: None,
            is_removed: true,
        }
    }
}

/// Removed nodes whose events may still be kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemovedNodes {
    pub nodes: Vec<RemovedNode>,
    /// The highest key of their series; no series may have it again.
    pub last_series: i64,
}

/// What is left of removed nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftovers {
    pub nodes: Vec<NodeKey>,
    /// Some of their series.
    pub series: Vec<i64>,
}

/// A table with rows of minutes, hours or days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepTable {
    pub kind: StepKind,
    pub step: Resolution,
}

/// What the rows of such a table belong to: a series, or a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepKind {
    Pipeline,
    Component,
    Node,
}

impl StepTable {
    /// Each table.
    pub(crate) fn all() -> impl Iterator<Item = StepTable> {
        let kinds = [StepKind::Pipeline, StepKind::Component, StepKind::Node];
        kinds.into_iter().flat_map(|kind| Resolution::ALL.into_iter().map(move |step| StepTable { kind, step }))
    }

    /// The name of the table.
    pub(super) fn name(self) -> String {
        let kind = match self.kind {
            StepKind::Pipeline => "pipeline",
            StepKind::Component => "component",
            StepKind::Node => "node",
        };
        format!("{kind}_{}s", self.step.as_str())
    }
}

/// Settings of nodes, and the rows of removed ones.
#[async_trait]
pub(crate) trait NodeStore: Send + Sync {
    /// The settings of all nodes, or of one.
    async fn load_settings(&self, node: Option<NodeKey>) -> Result<Vec<StoredSettings>, StoreError>;
    /// Nodes that were removed.
    async fn load_removed(&self) -> Result<RemovedNodes, StoreError>;
    /// Removed nodes that still have rows, and up to `limit` of their series.
    async fn leftovers(&self, limit: u32) -> Result<Leftovers, StoreError>;
    /// The first and the last step of a table.
    async fn step_ends(&self, table: StepTable) -> Result<Option<(i64, i64)>, StoreError>;
    /// Removes the rows of these steps that belong to these series, or nodes. Returns how many.
    async fn remove_steps(&self, table: StepTable, steps: Vec<i64>, owners: Vec<i64>) -> Result<u64, StoreError>;
    /// Removes lines of nodes among the next lines from the number `from` on. The feed's floor stays: no
    /// subscriber misses them.
    async fn remove_lines(&self, nodes: Vec<NodeKey>, from: i64) -> Result<EvictedLogs, StoreError>;
    /// These series have no rows any more.
    async fn forget_series(&self, series: Vec<i64>) -> Result<(), StoreError>;
    /// None of the rows of these nodes are left.
    async fn mark_clean(&self, nodes: Vec<NodeKey>) -> Result<(), StoreError>;
    /// Forgets nodes that were removed before a time, and removes pipelines that no node has since before. Returns
    /// these.
    async fn forget_removed(&self, before: UnixMillis) -> Result<Vec<PipelineKey>, StoreError>;
}

/// Settings by node.
pub(crate) fn by_node(stored: Vec<StoredSettings>) -> BTreeMap<NodeKey, StoredSettings> {
    stored.into_iter().map(|settings| (settings.node, settings)).collect()
}
