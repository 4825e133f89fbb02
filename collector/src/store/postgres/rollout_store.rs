//! Rollouts on PostgreSQL. Steps are written by the committer's connection: they change rows of nodes, as its
//! batches do.

use async_trait::async_trait;
use diesel_async::AsyncPgConnection;

use super::PostgresStore;
use super::rollouts::{self, unless_stale};
use crate::model::{DefinitionKey, NodeKey, RolloutKey};
use crate::store::*;

/// Runs queries that see one state of the database.
macro_rules! at_once {
    ($store:expr, |$connection:ident| $queries:expr) => {
        $store
            .queries
            .get()
            .await?
            .build_transaction()
            .read_only()
            .repeatable_read()
            .run(async |$connection: &mut AsyncPgConnection| $queries.await)
            .await
    };
}

#[async_trait]
impl RolloutStore for PostgresStore {
    async fn load_rollouts(&self) -> Result<RolloutSnapshot, StoreError> {
        at_once!(self, |connection| rollouts::load(connection))
    }

    async fn version_body(&self, definition: DefinitionKey, version: i64) -> Result<Option<String>, StoreError> {
        rollouts::version_body(&mut *self.short.get().await?, definition, version).await
    }

    async fn apply_step(&self, change: RolloutChange) -> Result<Option<Vec<(NodeKey, u64)>>, StoreError> {
        unless_stale(self.writer()?.lock().await.apply_step(&change).await)
    }

    async fn desired_generations(&self) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        rollouts::desired_generations(&mut *self.queries.get().await?).await
    }

    async fn node_assignments(&self, node: NodeKey) -> Result<Option<NodeAssignments>, StoreError> {
        at_once!(self, |connection| rollouts::node_assignments(connection, node))
    }

    async fn create_rollout(&self, rollout: NewRollout) -> Result<RolloutKey, StoreError> {
        rollouts::create(&mut *self.short.get().await?, &rollout).await
    }

    async fn list_rollouts(&self, query: RolloutQuery) -> Result<Vec<RolloutView>, StoreError> {
        at_once!(self, |connection| rollouts::list(connection, &query))
    }

    async fn rollout_detail(&self, key: RolloutKey) -> Result<Option<RolloutDetail>, StoreError> {
        at_once!(self, |connection| rollouts::detail(connection, key))
    }

    async fn trim_topologies(&self) -> Result<u64, StoreError> {
        rollouts::trim_topologies(&mut *self.short.get().await?).await
    }
}
