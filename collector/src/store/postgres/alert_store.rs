//! Alerts on PostgreSQL.

use async_trait::async_trait;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use systole_shared::UnixMillis;

use super::PostgresStore;
use super::alerts;
use crate::store::*;

#[async_trait]
impl AlertStore for PostgresStore {
    async fn load_alerts(&self) -> Result<AlertSnapshot, StoreError> {
        self.queries
            .get()
            .await?
            .build_transaction()
            .read_only()
            .repeatable_read()
            .run(async |connection: &mut AsyncPgConnection| alerts::load(connection).await)
            .await
    }

    async fn waiting_messages(&self, target: String, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
        alerts::waiting(&mut *self.short.get().await?, &target, limit).await
    }

    async fn finish_messages(&self, done: Vec<i64>, result: TargetRow) -> Result<(), StoreError> {
        (*self.short.get().await?)
            .transaction(async |connection: &mut AsyncPgConnection| alerts::finish(connection, &done, &result).await)
            .await
    }

    async fn outbox_usage(&self) -> Result<Vec<OutboxUsage>, StoreError> {
        alerts::usage(&mut *self.short.get().await?).await
    }

    async fn retain_targets(&self, targets: Vec<String>) -> Result<(), StoreError> {
        (*self.short.get().await?)
            .transaction(async |connection: &mut AsyncPgConnection| alerts::retain_targets(connection, &targets).await)
            .await
    }

    async fn list_alert_events(&self, query: AlertEventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        alerts::list_events(&mut *self.queries.get().await?, &query).await
    }

    async fn add_silence(&self, silence: NewSilenceRow) -> Result<SilenceRow, StoreError> {
        alerts::add_silence(&mut *self.short.get().await?, &silence).await
    }

    async fn list_silences(&self, ends_after: UnixMillis) -> Result<Vec<SilenceRow>, StoreError> {
        alerts::list_silences(&mut *self.short.get().await?, ends_after).await
    }

    async fn end_silence(&self, id: i64, now: UnixMillis) -> Result<bool, StoreError> {
        alerts::end_silence(&mut *self.short.get().await?, id, now).await
    }

    async fn expire_silences(&self, before: UnixMillis) -> Result<u64, StoreError> {
        alerts::expire_silences(&mut *self.short.get().await?, before).await
    }
}
