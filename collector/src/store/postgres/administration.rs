//! What administrators do, on PostgreSQL.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::{PostgresStore, audit, nodes};
use crate::model::{NodeKey, PipelineKey};
use crate::store::{
    AuditQuery, AuditRow, AuditStore, EvictedLogs, Leftovers, NewAuditRow, NodeStore, RemovedNodes, StepTable,
    StoreError, StoredSettings,
};

#[async_trait]
impl AuditStore for PostgresStore {
    async fn add_audit(&self, row: NewAuditRow) -> Result<(), StoreError> {
        audit::add(&mut *self.short.get().await?, &row).await
    }

    async fn list_audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        audit::list(&mut *self.queries.get().await?, &query).await
    }

    async fn expire_audit(&self, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        audit::expire(&mut *self.short.get().await?, before, limit).await
    }
}

#[async_trait]
impl NodeStore for PostgresStore {
    async fn load_settings(&self, node: Option<NodeKey>) -> Result<Vec<StoredSettings>, StoreError> {
        nodes::load_settings(&mut *self.short.get().await?, node).await
    }

    async fn load_removed(&self) -> Result<RemovedNodes, StoreError> {
        nodes::load_removed(&mut *self.short.get().await?).await
    }

    async fn leftovers(&self, limit: u32) -> Result<Leftovers, StoreError> {
        nodes::leftovers(&mut *self.short.get().await?, limit).await
    }

    async fn step_ends(&self, table: StepTable) -> Result<Option<(i64, i64)>, StoreError> {
        nodes::step_ends(&mut *self.short.get().await?, table).await
    }

    async fn remove_steps(&self, table: StepTable, steps: Vec<i64>, owners: Vec<i64>) -> Result<u64, StoreError> {
        nodes::remove_steps(&mut *self.short.get().await?, table, &steps, &owners).await
    }

    async fn remove_lines(&self, nodes: Vec<NodeKey>, from: i64) -> Result<EvictedLogs, StoreError> {
        nodes::remove_lines(&mut *self.short.get().await?, &nodes, from).await
    }

    async fn forget_series(&self, series: Vec<i64>) -> Result<(), StoreError> {
        nodes::forget_series(&mut *self.short.get().await?, &series).await
    }

    async fn mark_clean(&self, nodes: Vec<NodeKey>) -> Result<(), StoreError> {
        nodes::mark_clean(&mut *self.short.get().await?, &nodes).await
    }

    async fn forget_removed(&self, before: UnixMillis) -> Result<Vec<PipelineKey>, StoreError> {
        nodes::forget_removed(&mut *self.short.get().await?, before).await
    }
}
