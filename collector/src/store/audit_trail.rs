//! The audit: a row for each action that changes what runs, or the rights to it.

use async_trait::async_trait;
use diesel::prelude::{Insertable, Queryable, Selectable};
use systole_shared::UnixMillis;

use super::StoreError;
use super::schema::audit;
use crate::model::EnvironmentKey;

/// An action that was done or refused.
#[derive(Clone, Debug, PartialEq, Eq, Insertable)]
#[diesel(table_name = audit, treat_none_as_default_value = false)]
pub(crate) struct NewAuditRow {
    pub at: UnixMillis,
    /// `None`: all environments.
    pub environment: Option<i64>,
    /// The public id of the token; `None`: a command on the collector's host.
    pub token: Option<String>,
    /// The name of the token, for people.
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub result: String,
}

/// The same as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = audit)]
pub(crate) struct AuditRow {
    pub id: i64,
    pub at: UnixMillis,
    pub environment: Option<i64>,
    pub token: Option<String>,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub result: String,
}

/// Which actions.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditQuery {
    /// `None`: every environment, and actions of all environments.
    pub environments: Option<Vec<EnvironmentKey>>,
    pub from: Option<UnixMillis>,
    pub to: Option<UnixMillis>,
    pub action: Option<String>,
    /// The public id of a token.
    pub token: Option<String>,
    /// Only actions with a lower id: the list is newest first.
    pub before: Option<i64>,
    pub limit: i64,
}

/// The table of actions.
#[async_trait]
pub(crate) trait AuditStore: Send + Sync {
    /// Adds an action.
    async fn add_audit(&self, row: NewAuditRow) -> Result<(), StoreError>;
    /// Actions, newest first.
    async fn list_audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError>;
    /// Removes up to `limit` actions from before a time. Returns how many.
    async fn expire_audit(&self, before: UnixMillis, limit: u32) -> Result<u64, StoreError>;
}
