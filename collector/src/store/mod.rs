//! What is stored, behind a trait for each concern.
//!
//! Only this module knows SQL. The traits are coarse (a method is a whole transaction or a whole query), because
//! diesel's `MultiConnection` refuses `on_conflict` and a fine-grained one would have to hide every difference
//! between the databases. [`Store`] is what every module may use. [`IngestStore`] and [`MinuteStore`] belong to the
//! time series, because their rows alone are up to a minute old.

pub(crate) mod access;
mod audit_trail;
mod bucket;
#[cfg(test)]
mod conformance;
mod convert;
pub(crate) mod disk;
mod extremes;
mod host_aggregate;
mod level;
mod log_usage;
pub(crate) mod marker;
mod node_settings;
pub(crate) mod postgres;
pub(crate) mod private;
pub(crate) mod queries;
mod replay;
mod rollout_rows;
pub(crate) mod rows;
pub(crate) mod schema;
mod sealed;
mod search;
mod sql;
pub(crate) mod sqlite;
pub(crate) mod transfer;
mod versions;

use async_trait::async_trait;
use systole_shared::{EnvironmentId, TokenId, TokenKind, UnixMillis};

pub(crate) use access::*;
pub(crate) use audit_trail::*;
pub(crate) use bucket::MinuteBucket;
pub(crate) use extremes::*;
pub(crate) use host_aggregate::{HostAggregate, merge_host_aggregates};
pub(crate) use log_usage::{EvictedLogs, LogUsage};
pub(crate) use node_settings::*;
pub(crate) use queries::*;
pub(crate) use rollout_rows::*;
pub(crate) use rows::*;
pub(crate) use sealed::*;
pub(crate) use versions::*;

use crate::model::{BucketRange, EnvironmentKey, NodeKey, PipelineKey, SeriesKey};

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database answered with an error.
    #[error("the database refused a query")]
    Query(#[source] diesel::result::Error),
    /// The database does not answer, or a connection to it was lost. What was asked for may have
    /// been done all the same.
    #[error("cannot reach the database")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The committer's connection was lost before; its state must be loaded again.
    #[error("the connection to the database was lost")]
    Disconnected,
    /// A copy into the database was cut off.
    #[error("the copy into {0} is not complete; run the same migrate-data or restore again")]
    Incomplete(String),
    /// Another collector has taken the database over while this one had lost its connection.
    #[error("another collector has taken over the database")]
    Superseded,
    /// A query took longer than it may.
    #[error("the query takes too long")]
    TimedOut,
    /// The database could not be opened.
    #[error("cannot open the database {url}")]
    Open {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database could not be opened, and its disk is full.
    #[error("the disk of the database {database} is full")]
    NoRoom {
        database: String,
        #[source]
        source: Box<StoreError>,
    },
    /// A migration failed.
    #[error("cannot migrate the database")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A later version has changed the database.
    #[error(
        "the database {database} was written by a later version (migration {migration}); use that version or newer"
    )]
    Newer { database: String, migration: String },
    /// This version has never run on the database, or an earlier one has.
    #[error(
        "the database {database} is of an earlier version (it has no migration {migration}); start the collector once"
    )]
    Older { database: String, migration: String },
    /// Another collector holds the database.
    #[error("another collector is running on {0}")]
    Locked(String),
    /// A name that must be unique is taken.
    #[error("{0} already exists")]
    Exists(String),
    /// The token that a session was to be made from is not valid any more.
    #[error("the token was revoked")]
    Revoked,
    /// A row holds what this program never writes.
    #[error("the database contains an invalid value: {0}")]
    Corrupt(String),
    /// The store has been closed, or its thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether a row that was meant is gone: its node was removed in the meantime.
    pub(crate) fn is_of_missing_row(&self) -> bool {
        use diesel::result::DatabaseErrorKind::ForeignKeyViolation;
        use diesel::result::Error::{DatabaseError, NotFound};
        matches!(self, StoreError::Query(NotFound | DatabaseError(ForeignKeyViolation, _)))
    }
}

impl From<diesel::result::Error> for StoreError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
        use diesel::result::Error::{BrokenTransactionManager, DatabaseError, RollbackErrorOnCommit};
        match &error {
            DatabaseError(UnableToSendCommand | ClosedConnection, _)
            | BrokenTransactionManager
            | RollbackErrorOnCommit { .. } => StoreError::Unreachable(error.into()),
            // What PostgreSQL says to its clients when it stops or crashes.
            DatabaseError(_, told) if told.message().starts_with("terminating connection") => {
                StoreError::Unreachable(error.into())
            }
            // What PostgreSQL says when its statement_timeout is over.
            DatabaseError(_, told) if told.message().ends_with("due to statement timeout") => StoreError::TimedOut,
            _ => StoreError::Query(error),
        }
    }
}

/// The other users that the database may have at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The collector's own: a second one is refused.
    Exclusive,
    /// A command beside a running collector.
    Shared,
}

/// What the committer loads and writes. Only the time series uses it.
#[async_trait]
pub(crate) trait IngestStore: Send + Sync {
    /// What the committer must know before its first report.
    async fn load_ingest(&self) -> Result<IngestSnapshot, StoreError>;
    /// The same for one node: one that was just enrolled, or whose transaction failed.
    async fn load_node(&self, node: NodeKey) -> Result<Option<StoredNode>, StoreError>;
    /// Writes a batch in one transaction. The batch comes back for what is done after.
    async fn commit(&self, batch: CommitBatch) -> Result<CommitBatch, StoreError>;
    /// Removes pipelines of nodes with their series, in one transaction. Returns those pipelines that no node
    /// has any more, which are removed too. Nothing else of them may be left.
    async fn remove_pipelines(&self, gone: Vec<(NodeKey, PipelineKey)>) -> Result<Vec<PipelineKey>, StoreError>;
    /// Writes rows of the write-ahead log in one transaction.
    async fn flush(&self, batch: FlushBatch) -> Result<(), StoreError>;
    /// Removes up to `limit` of the oldest rows of each kind that is older than its retention.
    /// Returns how many were removed. Sums of past hours may be cached above the store.
    async fn expire(&self, cutoffs: Cutoffs, limit: u32) -> Result<u64, StoreError>;
}

/// Tokens, environments and the enrolment of nodes.
#[async_trait]
pub(crate) trait AccessStore: Send + Sync {
    /// Tokens and environments, unless they are still of this version.
    async fn load_access(&self, known_version: Option<i64>) -> Result<Option<AccessSnapshot>, StoreError>;
    /// Makes a token; [`StoreError::Revoked`] when its parent was revoked in the meantime.
    async fn create_token(&self, token: NewToken) -> Result<StoredToken, StoreError>;
    /// Tokens of these kinds, oldest first.
    async fn list_tokens(&self, kinds: Vec<TokenKind>) -> Result<Vec<StoredToken>, StoreError>;
    /// Revokes a token and what was made from it. False when there is none with this id.
    async fn revoke_token(&self, id: TokenId, now: UnixMillis) -> Result<bool, StoreError>;
    /// Notes when tokens were last used.
    async fn touch_tokens(&self, used: Vec<(TokenId, UnixMillis)>) -> Result<(), StoreError>;
    /// Makes an environment; [`StoreError::Exists`] when the name is taken.
    async fn create_environment(&self, name: String, now: UnixMillis) -> Result<StoredEnvironment, StoreError>;
    /// Nodes that enrolled with a machine id: the one that has it, then its twins, oldest first.
    async fn nodes_of_machine(
        &self,
        environment: EnvironmentKey,
        machine_id: String,
    ) -> Result<Vec<NodeName>, StoreError>;
    /// Makes a host a node and creates its token.
    async fn enroll_node_as(&self, enrolment: NewEnrolment, enrol_as: EnrolAs) -> Result<EnrolledNode, StoreError>;
    /// The same for a host that is the node of its machine id.
    async fn enroll_node(&self, enrolment: NewEnrolment) -> Result<EnrolledNode, StoreError> {
        self.enroll_node_as(enrolment, EnrolAs::NodeOfMachine).await
    }
    /// Key, id and name of every node.
    async fn node_names(&self) -> Result<Vec<NodeName>, StoreError>;
}

/// Reads of rows that are up to a minute older than what was committed: the rest is still in the write-ahead log.
/// Only the time series uses it, which adds the rest.
#[async_trait]
pub(crate) trait MinuteStore: Send + Sync {
    /// Nodes, by name.
    async fn list_nodes(&self, query: NodeQuery) -> Result<Vec<NodeView>, StoreError>;
    /// One node's host by minute, hour or day: the parts that its spans are merged of, in order.
    async fn node_minutes(&self, node: NodeKey, range: BucketRange) -> Result<Persisted<HostAggregate>, StoreError>;
    /// A pipeline by minute, hour or day, summed over nodes unless one is named.
    async fn pipeline_minutes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<Persisted<PipelineMinuteView>, StoreError>;
    /// A pipeline's components by minute, hour or day, summed over nodes unless one is named.
    async fn component_minutes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<Persisted<ComponentMinuteView>, StoreError>;
    /// Extremes of a pipeline's minutes by hour or day, added up over nodes unless one is named. Minutes from
    /// `minutes_before` on are left out.
    async fn pipeline_extremes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
        minutes_before: i64,
    ) -> Result<Vec<PipelineExtremesRow>, StoreError>;
    /// The same of its components.
    async fn component_extremes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
        minutes_before: i64,
    ) -> Result<Vec<ComponentExtremesRow>, StoreError>;
    /// How many nodes have the pipeline.
    async fn pipeline_nodes(&self, pipeline: PipelineKey) -> Result<i64, StoreError>;
    /// The state of nodes and pipelines at one point of the sequence.
    async fn snapshot(
        &self,
        environments: Option<Vec<EnvironmentKey>>,
        parts: StateParts,
    ) -> Result<StateSnapshot, StoreError>;
}

/// Reads of rows that are written with the transaction of the report.
#[async_trait]
pub(crate) trait QueryStore: Send + Sync {
    /// The feed's epoch and the ends of its sequence.
    async fn feed_position(&self) -> Result<FeedPosition, StoreError>;
    /// One node's holes, newest first.
    async fn node_gaps(&self, node: NodeKey) -> Result<Vec<NodeGapRow>, StoreError>;
    /// The keys of the pipelines with this id, one per environment. Reads no state of any node.
    async fn find_pipelines(
        &self,
        environments: Option<Vec<EnvironmentKey>>,
        id: String,
    ) -> Result<Vec<(PipelineKey, EnvironmentKey)>, StoreError>;
    /// Pipelines of environments, by id, with their state on each node.
    async fn list_pipelines(&self, query: PipelineQuery) -> Result<Vec<PipelineView>, StoreError>;
    /// Log lines, oldest first.
    async fn list_logs(&self, query: LogQuery) -> Result<Vec<LogView>, StoreError>;
    /// Durable events but log lines, in the order of the query.
    async fn list_events(&self, query: EventQuery) -> Result<Vec<StoredEvent>, StoreError>;
    /// A page of durable events after a sequence number, for a replay.
    async fn replay_page(&self, query: ReplayQuery) -> Result<ReplayPage, StoreError>;
}

/// What keeps the database small and fast, and its end.
#[async_trait]
pub(crate) trait MaintenanceStore: Send + Sync {
    /// Puts up to `blocks` blocks of log lines into the index that searches use. Returns how many; 0
    /// when no block is complete.
    async fn index_logs(&self, blocks: u32) -> Result<u64, StoreError>;
    /// Forgets that index; searches read every line.
    async fn drop_log_index(&self) -> Result<(), StoreError>;
    /// Sums hours before this one, and days that end before it, that have changed since they were
    /// summed: about `limit` series of them, the oldest first. Returns how many; 0 when nothing is left.
    async fn roll_up(&self, hours_before: i64, limit: u32) -> Result<u64, StoreError>;
    /// What log lines take, by node, estimated from samples.
    async fn log_usage(&self) -> Result<LogUsage, StoreError>;
    /// Removes up to `limit` lines of a node, of the next lines from the number `from` on. Those of other nodes
    /// stay and are found as before; the feed does not replay what is before the last removed line.
    async fn evict_logs(&self, node: NodeKey, from: i64, limit: u32) -> Result<EvictedLogs, StoreError>;
    /// What the database's file takes, and what of that is free; `None` where there is no such file. Cheap.
    async fn file_size(&self) -> Result<Option<FileSize>, StoreError>;
    /// What each table takes. May read the whole database.
    async fn table_sizes(&self) -> Result<Vec<TableSize>, StoreError>;
    /// Finishes what is under way and gives the database's own logs back to its file.
    async fn close(&self);
}

/// What every module may do with the database. A method is a whole transaction or a whole query, and fails
/// whole.
pub(crate) trait Store:
    AccessStore + QueryStore + MaintenanceStore + AuditStore + NodeStore + DefinitionStore + SecretStore + RolloutStore
{
}

impl<S> Store for S where
    S: AccessStore
        + QueryStore
        + MaintenanceStore
        + AuditStore
        + NodeStore
        + DefinitionStore
        + SecretStore
        + RolloutStore
{
}

/// The same with what is the time series' own.
pub(crate) trait TimeSeriesStore: Store + IngestStore + MinuteStore {}

impl<S: Store + IngestStore + MinuteStore> TimeSeriesStore for S {}

/// Numbers of the sequence that an eviction of a node's lines looks at in one transaction: some 10 ms.
const EVICTION_SLICE: i64 = 50_000;

/// Bytes of a database in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSize {
    /// On disk, without the log.
    pub file_bytes: u64,
    /// Its write-ahead log.
    pub wal_bytes: u64,
    /// Pages, those that are only in the log included.
    pub database_bytes: u64,
    /// Pages that nothing is in.
    pub reusable_bytes: u64,
}

/// Bytes of a table with its indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableSize {
    pub table: String,
    pub bytes: u64,
}

/// A feed's epoch, made with a database and when one is restored: ids of another are of no use.
fn new_epoch() -> String {
    let mut text = uuid::Uuid::new_v4().simple().to_string();
    text.truncate(12);
    text
}

/// Names of environments that exist from the start.
pub(crate) const DEFAULT_ENVIRONMENT: &str = "default";

/// An environment as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredEnvironment {
    pub key: EnvironmentKey,
    pub id: EnvironmentId,
    pub name: String,
    pub created_at: UnixMillis,
}
