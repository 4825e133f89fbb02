//! Rollouts in the store: how versions get to nodes, and what each node should run.
//!
//! The task of rollouts reads everything at once ([`RolloutStore::load_rollouts`]) and writes one rollout's step in
//! one transaction ([`RolloutStore::apply_step`]): the rollout, its nodes, their assignments and the generations of
//! their desired states. So a collector that is killed continues where the database is.

use async_trait::async_trait;
use diesel::prelude::{Insertable, Queryable, Selectable};
use systole_shared::UnixMillis;

use super::schema::*;
use super::{DeploymentRow, StoreError};
use crate::model::{DefinitionKey, EnvironmentKey, NodeKey, RolloutKey};

/// A rollout. `definition` is `None` for one of agents.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = rollouts)]
pub(crate) struct RolloutRow {
    pub id: i64,
    pub environment: i64,
    pub definition: Option<i64>,
    pub version: i64,
    pub from_version: Option<i64>,
    /// JSON.
    pub agent_update: Option<String>,
    /// JSON.
    pub policy: String,
    pub state: String,
    pub reason: String,
    pub stage: i64,
    pub author: String,
    pub started_at: UnixMillis,
    pub changed_at: UnixMillis,
    pub finished_at: Option<UnixMillis>,
}

/// A rollout to be made.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = rollouts, treat_none_as_default_value = false)]
pub(crate) struct NewRollout {
    pub environment: i64,
    pub definition: Option<i64>,
    pub version: i64,
    pub from_version: Option<i64>,
    pub agent_update: Option<String>,
    pub policy: String,
    pub state: String,
    pub reason: String,
    pub stage: i64,
    pub author: String,
    pub started_at: UnixMillis,
    pub changed_at: UnixMillis,
}

/// A node that a rollout has reached.
#[derive(Clone, Debug, PartialEq, Eq, Insertable, Queryable, Selectable)]
#[diesel(table_name = rollout_nodes, treat_none_as_default_value = false)]
pub(crate) struct RolloutNodeRow {
    pub rollout: i64,
    pub node: i64,
    pub stage: i64,
    pub state: String,
    pub reason: String,
    pub changed_at: UnixMillis,
}

/// A version that a node should run.
#[derive(Clone, Debug, PartialEq, Eq, Insertable, Queryable, Selectable)]
#[diesel(table_name = assignments, treat_none_as_default_value = false)]
pub(crate) struct AssignmentRow {
    pub node: i64,
    pub definition: i64,
    pub version: i64,
    pub paused: i64,
}

/// A pipeline of the centre, as rollouts see it.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = definitions)]
pub(crate) struct RolloutDefinitionRow {
    pub id: i64,
    pub environment: i64,
    pub slug: String,
    pub stable_version: Option<i64>,
    pub paused: i64,
}

/// A node, as rollouts see it.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = nodes)]
pub(crate) struct RolloutTargetRow {
    pub id: i64,
    pub uuid: String,
    pub environment: i64,
    pub name: String,
    pub set_name: Option<String>,
    pub labels: String,
    pub set_labels: Option<String>,
    pub status: String,
    pub maintenance_until: Option<UnixMillis>,
    pub engines: Option<String>,
    pub agent_version: Option<String>,
    pub deployment_mode: Option<String>,
    pub agent_rollout: Option<i64>,
    pub desired_generation: i64,
    pub agent_kind: Option<String>,
}

/// Everything that rollouts are decided from, of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RolloutSnapshot {
    /// Pipelines that are not removed.
    pub definitions: Vec<RolloutDefinitionRow>,
    /// The latest rollout of each pipeline, and those of agents that are not aborted, oldest first.
    pub rollouts: Vec<RolloutRow>,
    pub rollout_nodes: Vec<RolloutNodeRow>,
    pub targets: Vec<RolloutTargetRow>,
    pub assignments: Vec<AssignmentRow>,
    pub deployments: Vec<DeploymentRow>,
}

/// What changes of a rollout itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RolloutUpdate {
    pub key: RolloutKey,
    /// The change is left out as a whole when the rollout has changed since.
    pub expected: UnixMillis,
    pub state: String,
    pub reason: String,
    pub stage: i64,
    pub finished_at: Option<UnixMillis>,
    pub nodes: Vec<RolloutNodeRow>,
}

/// Changes of one pipeline or of agents, written in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RolloutChange {
    pub rollout: Option<RolloutUpdate>,
    /// The pipeline whose assignments change; the change is left out when it was removed.
    pub definition: Option<DefinitionKey>,
    /// The version of which the rollout is complete.
    pub stable_version: Option<i64>,
    /// Assignments to write.
    pub assign: Vec<AssignmentRow>,
    /// Nodes that should not run the pipeline any more.
    pub unassign: Vec<NodeKey>,
    /// Nodes and the rollout that brings the version of their agents.
    pub agents: Vec<(NodeKey, Option<RolloutKey>)>,
    pub now: UnixMillis,
}

impl RolloutChange {
    /// Nodes whose desired state changes.
    pub(crate) fn nodes(&self) -> Vec<i64> {
        let assigned = self.assign.iter().map(|row| row.node);
        let others = self.unassign.iter().chain(self.agents.iter().map(|(node, _)| node)).map(|node| node.0);
        assigned.chain(others).collect()
    }
}

/// Which rollouts.
#[derive(Clone, Debug, Default)]
pub(crate) struct RolloutQuery {
    /// `None`: every environment.
    pub environments: Option<Vec<EnvironmentKey>>,
    /// The user's id of the pipeline.
    pub slug: Option<String>,
    /// Only rollouts with a lower number: the list is newest first.
    pub before: Option<i64>,
    pub limit: i64,
}

/// A rollout with the user's id of its pipeline, `None` for one of agents.
#[derive(Clone, Debug)]
pub(crate) struct RolloutView {
    pub row: RolloutRow,
    pub slug: Option<String>,
    /// Whether the pipeline is paused.
    pub is_paused: bool,
    /// Nodes that it has reached, by their state.
    pub counts: Vec<(String, i64)>,
}

/// A rollout with what is known of its nodes.
#[derive(Clone, Debug)]
pub(crate) struct RolloutDetail {
    pub view: RolloutView,
    /// Nodes that it has reached.
    pub nodes: Vec<RolloutNodeRow>,
    /// All nodes of its environment.
    pub targets: Vec<RolloutTargetRow>,
    /// What nodes say of its pipeline, or of their agents.
    pub deployments: Vec<DeploymentRow>,
}

/// A pipeline that a node should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssignedVersion {
    pub slug: String,
    pub version: i64,
    pub checksum: String,
    /// The version as the database keeps it.
    pub body: String,
    pub paused: bool,
}

/// What one node should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeAssignments {
    pub generation: u64,
    pub environment: EnvironmentKey,
    /// By id.
    pub pipelines: Vec<AssignedVersion>,
    /// The version of its agent, as JSON.
    pub agent_update: Option<String>,
}

/// A part of the rollouts' task.
#[async_trait]
pub(crate) trait RolloutStore: Send + Sync {
    /// Everything that rollouts are decided from. Empty when nothing is to be rolled out.
    async fn load_rollouts(&self) -> Result<RolloutSnapshot, StoreError>;
    /// The body of a version, as the database keeps it.
    async fn version_body(&self, definition: DefinitionKey, version: i64) -> Result<Option<String>, StoreError>;
    /// Writes changes. Returns the nodes' new generations; `None` when something else was changed meanwhile, and
    /// then nothing is written.
    async fn apply_step(&self, change: RolloutChange) -> Result<Option<Vec<(NodeKey, u64)>>, StoreError>;
    /// Generations of all nodes of which something was ever wanted.
    async fn desired_generations(&self) -> Result<Vec<(NodeKey, u64)>, StoreError>;
    /// What a node should run.
    async fn node_assignments(&self, node: NodeKey) -> Result<Option<NodeAssignments>, StoreError>;
    /// Makes a rollout of agents, and returns its number.
    async fn create_rollout(&self, rollout: NewRollout) -> Result<RolloutKey, StoreError>;
    /// Rollouts, newest first.
    async fn list_rollouts(&self, query: RolloutQuery) -> Result<Vec<RolloutView>, StoreError>;
    /// A rollout with its nodes.
    async fn rollout_detail(&self, key: RolloutKey) -> Result<Option<RolloutDetail>, StoreError>;
    /// Removes graphs of configurations beyond the latest of each pipeline, and those of pipelines that no node has.
    async fn trim_topologies(&self) -> Result<u64, StoreError>;
}
