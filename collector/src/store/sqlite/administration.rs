//! What administrators do, on SQLite.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::backend::ready;
use super::{SqliteStore, audit};
use crate::store::{AuditQuery, AuditRow, AuditStore, NewAuditRow, StoreError};

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
