//! Alerts on SQLite.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::SqliteStore;
use super::alerts;
use super::backend::ready;
use crate::store::*;

#[async_trait]
impl AlertStore for SqliteStore {
    async fn load_alerts(&self) -> Result<AlertSnapshot, StoreError> {
        self.read_at_once(|connection| ready(alerts::load(connection))).await
    }

    async fn waiting_messages(&self, target: String, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
        self.lookups.run(move |connection| ready(alerts::waiting(connection, &target, limit))).await
    }

    async fn finish_messages(&self, done: Vec<i64>, result: TargetRow) -> Result<(), StoreError> {
        self.write(move |connection| ready(alerts::finish(connection, &done, &result))).await
    }

    async fn outbox_usage(&self) -> Result<Vec<OutboxUsage>, StoreError> {
        self.lookups.run(|connection| ready(alerts::usage(connection))).await
    }

    async fn retain_targets(&self, targets: Vec<String>) -> Result<(), StoreError> {
        self.write(move |connection| ready(alerts::retain_targets(connection, &targets))).await
    }

    async fn list_alert_events(&self, query: AlertEventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |connection| ready(alerts::list_events(connection, &query))).await
    }

    async fn add_silence(&self, silence: NewSilenceRow) -> Result<SilenceRow, StoreError> {
        self.write(move |connection| ready(alerts::add_silence(connection, &silence))).await
    }

    async fn list_silences(&self, ends_after: UnixMillis) -> Result<Vec<SilenceRow>, StoreError> {
        self.lookups.run(move |connection| ready(alerts::list_silences(connection, ends_after))).await
    }

    async fn end_silence(&self, id: i64, now: UnixMillis) -> Result<bool, StoreError> {
        self.write(move |connection| ready(alerts::end_silence(connection, id, now))).await
    }

    async fn expire_silences(&self, before: UnixMillis) -> Result<u64, StoreError> {
        self.write(move |connection| ready(alerts::expire_silences(connection, before))).await
    }
}
