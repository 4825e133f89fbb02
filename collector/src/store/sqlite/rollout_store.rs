//! Rollouts on SQLite.

use async_trait::async_trait;

use super::SqliteStore;
use super::backend::ready;
use super::rollouts::{self, unless_stale};
use crate::model::{DefinitionKey, NodeKey, RolloutKey};
use crate::store::*;

#[async_trait]
impl RolloutStore for SqliteStore {
    async fn load_rollouts(&self) -> Result<RolloutSnapshot, StoreError> {
        self.read_at_once(|connection| ready(rollouts::load(connection))).await
    }

    async fn version_body(&self, definition: DefinitionKey, version: i64) -> Result<Option<String>, StoreError> {
        self.lookups.run(move |connection| ready(rollouts::version_body(connection, definition, version))).await
    }

    async fn apply_step(&self, change: RolloutChange) -> Result<Option<Vec<(NodeKey, u64)>>, StoreError> {
        unless_stale(self.write(move |connection| ready(rollouts::apply_step(connection, &change))).await)
    }

    async fn desired_generations(&self) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        self.read(|connection| ready(rollouts::desired_generations(connection))).await
    }

    async fn node_assignments(&self, node: NodeKey) -> Result<Option<NodeAssignments>, StoreError> {
        self.read_at_once(move |connection| ready(rollouts::node_assignments(connection, node))).await
    }

    async fn create_rollout(&self, rollout: NewRollout) -> Result<RolloutKey, StoreError> {
        self.write(move |connection| ready(rollouts::create(connection, &rollout))).await
    }

    async fn list_rollouts(&self, query: RolloutQuery) -> Result<Vec<RolloutView>, StoreError> {
        self.read_at_once(move |connection| ready(rollouts::list(connection, &query))).await
    }

    async fn rollout_detail(&self, key: RolloutKey) -> Result<Option<RolloutDetail>, StoreError> {
        self.read_at_once(move |connection| ready(rollouts::detail(connection, key))).await
    }

    async fn trim_topologies(&self) -> Result<u64, StoreError> {
        self.write(|connection| ready(rollouts::trim_topologies(connection))).await
    }
}
