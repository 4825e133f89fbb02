//! What administrators do, on PostgreSQL.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::{PostgresStore, audit};
use crate::store::{AuditQuery, AuditRow, AuditStore, NewAuditRow, StoreError};

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
