//! What administrators do, on SQLite.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::backend::ready;
use super::{SqliteStore, audit, nodes};
use crate::model::{NodeKey, PipelineKey};
use crate::store::{
    AuditQuery, AuditRow, AuditStore, EvictedLogs, Leftovers, NewAuditRow, NodeStore, RemovedNodes, StepTable,
    StoreError, StoredSettings,
};

#[async_trait]
impl AuditStore for SqliteStore {
    async fn add_audit(&self, row: NewAuditRow) -> Result<(), StoreError> {
        self.write(move |connection| ready(audit::add(connection, &row))).await
    }

    async fn list_audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        self.read(move |connection| ready(audit::list(connection, &query))).await
    }

    async fn expire_audit(&self, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        self.write(move |connection| ready(audit::expire(connection, before, limit))).await
    }
}

#[async_trait]
impl NodeStore for SqliteStore {
    async fn load_settings(&self, node: Option<NodeKey>) -> Result<Vec<StoredSettings>, StoreError> {
        self.write(move |connection| ready(nodes::load_settings(connection, node))).await
    }

    async fn load_removed(&self) -> Result<RemovedNodes, StoreError> {
        self.write(move |connection| ready(nodes::load_removed(connection))).await
    }

    async fn leftovers(&self, limit: u32) -> Result<Leftovers, StoreError> {
        self.read(move |connection| ready(nodes::leftovers(connection, limit))).await
    }

    async fn step_ends(&self, table: StepTable) -> Result<Option<(i64, i64)>, StoreError> {
        self.read(move |connection| ready(nodes::step_ends(connection, table))).await
    }

    async fn remove_steps(&self, table: StepTable, steps: Vec<i64>, owners: Vec<i64>) -> Result<u64, StoreError> {
        self.write(move |connection| ready(nodes::remove_steps(connection, table, &steps, &owners))).await
    }

    async fn remove_lines(&self, nodes: Vec<NodeKey>, from: i64) -> Result<EvictedLogs, StoreError> {
        self.write(move |connection| ready(nodes::remove_lines(connection, &nodes, from))).await
    }

    async fn forget_series(&self, series: Vec<i64>) -> Result<(), StoreError> {
        self.write(move |connection| ready(nodes::forget_series(connection, &series))).await
    }

    async fn mark_clean(&self, nodes: Vec<NodeKey>) -> Result<(), StoreError> {
        self.write(move |connection| ready(nodes::mark_clean(connection, &nodes))).await
    }

    async fn forget_removed(&self, before: UnixMillis) -> Result<Vec<PipelineKey>, StoreError> {
        self.write(move |connection| ready(nodes::forget_removed(connection, before))).await
    }
}
