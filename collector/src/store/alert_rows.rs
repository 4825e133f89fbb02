//! Alerts, their groups and messages, and silences.

use async_trait::async_trait;
use diesel::prelude::{Insertable, Queryable, Selectable};
use systole_shared::UnixMillis;

use super::schema::*;
use super::{StoreError, StoredEvent};
use crate::model::EnvironmentKey;
use crate::store::ListOrder;

/// An alert that is pending or fires, or has ended a few minutes ago.
#[derive(Clone, Debug, PartialEq, Insertable, Queryable, Selectable)]
#[diesel(table_name = alert_states, treat_none_as_default_value = false)]
pub(crate) struct AlertRow {
    /// Rule and subject.
    pub id: String,
    pub rule: String,
    pub subject: String,
    /// 0: the collector itself.
    pub environment: i64,
    pub node: Option<i64>,
    /// The user's id of the pipeline.
    pub pipeline: Option<String>,
    /// The subject for people.
    pub name: String,
    pub severity: String,
    pub state: String,
    pub since: UnixMillis,
    pub fired_at: Option<UnixMillis>,
    pub ended_at: Option<UnixMillis>,
    pub value: Option<f64>,
    pub text: String,
    /// 1 once a message about its firing was written.
    pub notified: i64,
    pub notified_at: Option<UnixMillis>,
}

/// When the last message of a group was written.
#[derive(Clone, Debug, PartialEq, Eq, Insertable, Queryable, Selectable)]
#[diesel(table_name = alert_groups, treat_none_as_default_value = false)]
pub(crate) struct AlertGroupRow {
    pub id: String,
    /// Since when the group has alerts that were reported; 0: it has none.
    pub opened_at: UnixMillis,
    pub sent_at: UnixMillis,
}

/// A message that is to be delivered to a target.
#[derive(Clone, Debug, PartialEq, Eq, Insertable, Queryable, Selectable)]
#[diesel(table_name = alert_outbox, treat_none_as_default_value = false)]
pub(crate) struct OutboxRow {
    pub id: i64,
    pub target: String,
    pub created_at: UnixMillis,
    /// JSON.
    pub message: String,
}

/// The last result of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Insertable, Queryable, Selectable)]
#[diesel(table_name = alert_targets, treat_none_as_default_value = false)]
pub(crate) struct TargetRow {
    pub target: String,
    pub last_attempt_at: UnixMillis,
    pub last_success_at: Option<UnixMillis>,
    /// The first failure since the last success.
    pub failing_since: Option<UnixMillis>,
    pub last_error: Option<String>,
    pub sent: i64,
    pub failed: i64,
}

/// A new silence.
#[derive(Clone, Debug, PartialEq, Eq, Insertable)]
#[diesel(table_name = silences, treat_none_as_default_value = false)]
pub(crate) struct NewSilenceRow {
    /// `None`: all environments.
    pub environment: Option<i64>,
    /// A JSON list of texts.
    pub matchers: String,
    pub starts_at: UnixMillis,
    pub ends_at: UnixMillis,
    pub author: String,
    pub note: String,
    pub created_at: UnixMillis,
}

/// The same as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = silences)]
pub(crate) struct SilenceRow {
    pub id: i64,
    pub environment: Option<i64>,
    pub matchers: String,
    pub starts_at: UnixMillis,
    pub ends_at: UnixMillis,
    pub author: String,
    pub note: String,
    pub created_at: UnixMillis,
}

/// What the alert engine knows when it starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlertSnapshot {
    pub alerts: Vec<AlertRow>,
    pub groups: Vec<AlertGroupRow>,
    pub targets: Vec<TargetRow>,
    /// The number of the last message that waits; 0: none waits.
    pub last_message: i64,
}

/// What the committer writes of alerts in one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AlertBatch {
    pub alerts: Vec<AlertRow>,
    /// Ids of alerts that are forgotten.
    pub forgotten: Vec<String>,
    pub groups: Vec<AlertGroupRow>,
    pub messages: Vec<OutboxRow>,
}

impl AlertBatch {
    /// Rows in all.
    pub(crate) fn row_count(&self) -> usize {
        self.alerts.len() + self.forgotten.len() + self.groups.len() + self.messages.len()
    }

    /// Adds what came later.
    pub(crate) fn append(&mut self, later: AlertBatch) {
        self.alerts.extend(later.alerts);
        self.forgotten.extend(later.forgotten);
        self.groups.extend(later.groups);
        self.messages.extend(later.messages);
    }
}

/// Messages of a target that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboxUsage {
    pub target: String,
    pub messages: i64,
    /// When the oldest was written.
    pub oldest_at: UnixMillis,
}

/// Which changes of alerts.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlertEventQuery {
    /// `None`: every environment, and the collector itself.
    pub environments: Option<Vec<EnvironmentKey>>,
    pub from: Option<UnixMillis>,
    pub to: Option<UnixMillis>,
    pub order: ListOrder,
    pub after: Option<i64>,
    pub limit: i64,
}

/// Alerts. The committer writes their states.
#[async_trait]
pub(crate) trait AlertStore: Send + Sync {
    /// States, groups and results of targets.
    async fn load_alerts(&self) -> Result<AlertSnapshot, StoreError>;
    /// Up to `limit` messages for a target, oldest first.
    async fn waiting_messages(&self, target: String, limit: i64) -> Result<Vec<OutboxRow>, StoreError>;
    /// Notes the result of a target, and removes messages that are delivered or given up.
    async fn finish_messages(&self, done: Vec<i64>, result: TargetRow) -> Result<(), StoreError>;
    /// Messages that wait, by target.
    async fn outbox_usage(&self) -> Result<Vec<OutboxUsage>, StoreError>;
    /// Removes messages of targets that are not configured any more.
    async fn retain_targets(&self, targets: Vec<String>) -> Result<(), StoreError>;
    /// Changes of alerts.
    async fn list_alert_events(&self, query: AlertEventQuery) -> Result<Vec<StoredEvent>, StoreError>;
    /// Adds a silence, and returns it.
    async fn add_silence(&self, silence: NewSilenceRow) -> Result<SilenceRow, StoreError>;
    /// Silences that end after a time, oldest first.
    async fn list_silences(&self, ends_after: UnixMillis) -> Result<Vec<SilenceRow>, StoreError>;
    /// Ends a silence. False when there is none that lasts.
    async fn end_silence(&self, id: i64, now: UnixMillis) -> Result<bool, StoreError>;
    /// Removes silences that ended before a time. Returns how many.
    async fn expire_silences(&self, before: UnixMillis) -> Result<u64, StoreError>;
}
