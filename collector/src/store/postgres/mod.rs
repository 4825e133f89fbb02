//! The store on PostgreSQL: one connection that writes what the committer hands in, and a few for
//! everything else.
//!
//! Plain SQL and no extension, so that engines which speak its protocol will do. The driver is
//! written in Rust; there is no client library to install.

mod administration;
mod alert_store;
mod backend;
mod cluster;
mod commit;
mod connect;
mod control;
mod open;
mod rollout_store;
mod rows;
mod search;
mod size;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod transfer;
mod writer;

#[path = "../sql/access.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod access;
#[path = "../sql/alerts.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod alerts;
#[path = "../sql/audit.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod audit;
#[path = "../sql/copy.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod copy;
#[path = "../sql/definitions.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod definitions;
#[path = "../sql/expire.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod expire;
#[path = "../sql/load.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod load;
#[path = "../sql/log_usage.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod log_usage;
#[path = "../sql/logs.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod logs;
#[path = "../sql/minutes.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod minutes;
#[path = "../sql/nodes.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod nodes;
#[path = "../sql/read.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod read;
#[path = "../sql/replay.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod replay;
#[path = "../sql/rollouts.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod rollouts;
#[path = "../sql/rollup.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod rollup;
#[path = "../sql/secrets.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod secrets;
#[path = "../sql/topologies.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled for each database, see `store::sql`")]
mod topologies;

use std::ops::ControlFlow;
use std::time::Duration;

use async_trait::async_trait;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use systole_shared::{TokenId, TokenKind, UnixMillis};
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::connect::{ConnectionPool, Connector};
use self::expire::Numbered;
use self::logs::LogSearch;
pub(crate) use self::transfer::PostgresSide;
use self::writer::Writer;
use super::sql::history::Subject;
use super::*;
use crate::config::PostgresUrl;

/// Connections for queries: more of them at once gain nothing on the few cores that a database has.
const QUERY_CONNECTIONS: usize = 8;

/// Connections for short work that no query may delay: tokens, enrolment, expiry, and the position of the feed.
const SHORT_CONNECTIONS: usize = 4;

/// Longest time of a query; a longer one is cancelled.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a start waits for the lock: the server may not have noticed yet that the last collector
/// is gone.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// One schema of a PostgreSQL database.
pub(crate) struct PostgresStore {
    /// `None` beside a running collector.
    writer: Option<Mutex<Writer>>,
    queries: ConnectionPool,
    short: ConnectionPool,
}

impl PostgresStore {
    /// Connects, brings the database to this version, and takes the lock if the collector serves.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, another collector serves, or the database is of a later version.
    pub(crate) async fn open(url: &PostgresUrl, access: Access) -> Result<Self, StoreError> {
        let connector = Connector::new(url)?;
        let mut connection = connector.connect().await?;
        if access == Access::Exclusive {
            lock(&mut connection, &connector).await?;
        }
        let mut connection = open::migrate(connection, connector.shown()).await?;
        open::refuse_incomplete(&mut connection, connector.shown()).await?;
        let writer = match access {
            Access::Exclusive => Some(Mutex::new(Writer::start(connector.clone(), connection).await?)),
            Access::Clustered => Some(Mutex::new(Writer::standby(connector.for_leader(), connection))),
            Access::Shared => None,
        };
        let timeout = format!("SET statement_timeout = {};", QUERY_TIMEOUT.as_millis());
        Ok(PostgresStore {
            writer,
            queries: connector.pool(QUERY_CONNECTIONS, timeout.clone())?,
            short: connector.pool(SHORT_CONNECTIONS, timeout)?,
        })
    }

    fn writer(&self) -> Result<&Mutex<Writer>, StoreError> {
        self.writer.as_ref().ok_or(StoreError::Closed)
    }
}

async fn lock(connection: &mut AsyncPgConnection, connector: &Connector) -> Result<(), StoreError> {
    let begin = Instant::now();
    while !writer::try_lock(connection).await? {
        if begin.elapsed() > LOCK_TIMEOUT {
            return Err(StoreError::Locked(connector.shown().to_owned()));
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Ok(())
}

/// Runs queries that see one state of the database.
macro_rules! at_once {
    ($pool:expr, |$connection:ident| $queries:expr) => {
        $pool
            .get()
            .await?
            .build_transaction()
            .read_only()
            .repeatable_read()
            .run(async |$connection: &mut AsyncPgConnection| $queries.await)
            .await
    };
}

/// Runs statements of one transaction, over a connection for short work.
macro_rules! short_transaction {
    ($store:expr, |$connection:ident| $statements:expr) => {{
        let mut pooled = $store.short.get().await?;
        let connection: &mut AsyncPgConnection = &mut pooled;
        connection.transaction(async move |$connection: &mut AsyncPgConnection| $statements.await).await
    }};
}

#[async_trait]
impl IngestStore for PostgresStore {
    async fn load_ingest(&self) -> Result<IngestSnapshot, StoreError> {
        let mut writer = self.writer()?.lock().await;
        if writer.leads() {
            return writer.load().await;
        }
        drop(writer);
        at_once!(self.queries, |connection| load::load_ingest(connection))
    }

    async fn load_node(&self, node: NodeKey) -> Result<Option<StoredNode>, StoreError> {
        at_once!(self.short, |connection| load::load_node(connection, node))
    }

    async fn commit(&self, batch: CommitBatch) -> Result<CommitBatch, StoreError> {
        self.writer()?.lock().await.commit(&batch).await?;
        Ok(batch)
    }

    async fn flush(&self, batch: FlushBatch) -> Result<(), StoreError> {
        self.writer()?.lock().await.flush(&batch).await
    }

    async fn remove_pipelines(&self, gone: Vec<(NodeKey, PipelineKey)>) -> Result<Vec<PipelineKey>, StoreError> {
        short_transaction!(self, |connection| expire::remove_pipelines(connection, &gone))
    }

    async fn expire(&self, cutoffs: Cutoffs, limit: u32) -> Result<u64, StoreError> {
        let mut removed = expire::expire_unnumbered(&mut *self.short.get().await?, cutoffs, limit).await?;
        for rows in Numbered::ALL {
            removed +=
                short_transaction!(self, |connection| { expire::expire_numbered(connection, rows, cutoffs, limit) })?;
        }
        removed += search::expire_blocks(&mut *self.short.get().await?, expire::BLOCKS).await?;
        Ok(removed as u64)
    }
}

#[async_trait]
impl AccessStore for PostgresStore {
    async fn load_access(&self, known_version: Option<i64>) -> Result<Option<AccessSnapshot>, StoreError> {
        at_once!(self.short, |connection| access::load_access(connection, known_version))
    }

    async fn create_token(&self, token: NewToken) -> Result<StoredToken, StoreError> {
        short_transaction!(self, |connection| access::create_token(connection, token))
    }

    async fn list_tokens(&self, kinds: Vec<TokenKind>) -> Result<Vec<StoredToken>, StoreError> {
        access::list_tokens(&mut *self.queries.get().await?, &kinds).await
    }

    async fn revoke_token(&self, id: TokenId, now: UnixMillis) -> Result<bool, StoreError> {
        short_transaction!(self, |connection| access::revoke_token(connection, id, now))
    }

    async fn touch_tokens(&self, used: Vec<(TokenId, UnixMillis)>) -> Result<(), StoreError> {
        tokens::touch_tokens(&*self.short.get().await?, used).await
    }

    async fn create_environment(&self, name: String, now: UnixMillis) -> Result<StoredEnvironment, StoreError> {
        short_transaction!(self, |connection| access::create_environment(connection, &name, now))
    }

    async fn nodes_of_machine(
        &self,
        environment: EnvironmentKey,
        machine_id: String,
    ) -> Result<Vec<NodeName>, StoreError> {
        access::nodes_of_machine(&mut *self.short.get().await?, environment, &machine_id).await
    }

    async fn node_names(&self) -> Result<Vec<NodeName>, StoreError> {
        access::node_names(&mut *self.queries.get().await?).await
    }

    async fn enroll_node_as(&self, enrolment: NewEnrolment, enrol_as: EnrolAs) -> Result<EnrolledNode, StoreError> {
        short_transaction!(self, |connection| access::enroll_node(connection, &enrolment, enrol_as))
    }
}

#[async_trait]
impl MinuteStore for PostgresStore {
    async fn list_nodes(&self, query: NodeQuery) -> Result<Vec<NodeView>, StoreError> {
        read::list_nodes(&mut *self.queries.get().await?, &query).await
    }

    async fn node_minutes(&self, node: NodeKey, range: BucketRange) -> Result<Persisted<HostAggregate>, StoreError> {
        at_once!(self.queries, |connection| minutes::node_history(connection, node, range))
    }

    async fn pipeline_minutes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<Persisted<PipelineMinuteView>, StoreError> {
        at_once!(self.queries, |connection| minutes::pipeline_history(
            connection,
            Subject::Pipeline,
            pipeline,
            node,
            range
        ))
    }

    async fn component_minutes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<Persisted<ComponentMinuteView>, StoreError> {
        at_once!(self.queries, |connection| minutes::pipeline_history(
            connection,
            Subject::Component,
            pipeline,
            node,
            range
        ))
    }

    async fn minute_rows(&self, from: i64, to: i64, of: RowsOf) -> Result<MinuteRows, StoreError> {
        at_once!(self.queries, |connection| minutes::rows(connection, from, to, of))
    }

    async fn pipeline_extremes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
        minutes_before: i64,
    ) -> Result<Vec<PipelineExtremesRow>, StoreError> {
        at_once!(self.queries, |connection| minutes::pipeline_extremes(
            connection,
            Subject::Pipeline,
            pipeline,
            node,
            range,
            minutes_before
        ))
    }

    async fn component_extremes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
        minutes_before: i64,
    ) -> Result<Vec<ComponentExtremesRow>, StoreError> {
        at_once!(self.queries, |connection| minutes::pipeline_extremes(
            connection,
            Subject::Component,
            pipeline,
            node,
            range,
            minutes_before
        ))
    }

    async fn pipeline_nodes(&self, pipeline: PipelineKey) -> Result<i64, StoreError> {
        minutes::pipeline_nodes(&mut *self.queries.get().await?, pipeline).await
    }

    async fn snapshot(
        &self,
        environments: Option<Vec<EnvironmentKey>>,
        parts: StateParts,
    ) -> Result<StateSnapshot, StoreError> {
        at_once!(self.queries, |connection| read::snapshot(connection, environments.clone(), parts))
    }
}

#[async_trait]
impl QueryStore for PostgresStore {
    async fn feed_position(&self) -> Result<FeedPosition, StoreError> {
        read::feed_position(&mut *self.short.get().await?).await
    }

    async fn node_gaps(&self, node: NodeKey) -> Result<Vec<NodeGapRow>, StoreError> {
        read::node_gaps(&mut *self.queries.get().await?, node).await
    }

    async fn find_pipelines(
        &self,
        environments: Option<Vec<EnvironmentKey>>,
        id: String,
    ) -> Result<Vec<(PipelineKey, EnvironmentKey)>, StoreError> {
        read::find_pipelines(&mut *self.queries.get().await?, environments.as_deref(), &id).await
    }

    async fn list_pipelines(&self, query: PipelineQuery) -> Result<Vec<PipelineView>, StoreError> {
        read::list_pipelines(&mut *self.queries.get().await?, &query).await
    }

    async fn list_logs(&self, query: LogQuery) -> Result<Vec<LogView>, StoreError> {
        // In turns with other queries, each with a connection from the pool. When this future is dropped, at the
        // time-out or with the client, the search ends with its query.
        let search = async {
            let mut search = LogSearch::begin(&mut *self.queries.get().await?, query).await?;
            loop {
                match search.take_turn(&mut *self.queries.get().await?).await? {
                    ControlFlow::Continue(next) => search = next,
                    ControlFlow::Break(found) => return Ok(found),
                }
            }
        };
        tokio::time::timeout(QUERY_TIMEOUT, search).await.unwrap_or(Err(StoreError::TimedOut))
    }

    async fn list_events(&self, query: EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        read::list_events(&mut *self.queries.get().await?, &query).await
    }

    async fn replay_page(&self, query: ReplayQuery) -> Result<ReplayPage, StoreError> {
        at_once!(self.queries, |connection| replay::page(connection, &query))
    }
}

#[async_trait]
impl MaintenanceStore for PostgresStore {
    async fn index_logs(&self, blocks: u32) -> Result<u64, StoreError> {
        let mut connection = self.short.get().await?;
        let made = logs::make_blocks(&mut connection, blocks).await?;
        let count = made.blocks.len() as u64;
        if count > 0 {
            search::write_blocks(&mut connection, &made).await?;
        }
        Ok(count)
    }

    async fn drop_log_index(&self) -> Result<(), StoreError> {
        search::drop_index(&mut *self.short.get().await?).await
    }

    async fn roll_up(&self, hours_before: i64, limit: u32) -> Result<u64, StoreError> {
        self.writer()?.lock().await.roll_up(hours_before, limit).await
    }

    async fn log_usage(&self) -> Result<LogUsage, StoreError> {
        log_usage::measure(&mut *self.short.get().await?).await
    }

    async fn evict_logs(&self, node: NodeKey, from: i64, limit: u32) -> Result<EvictedLogs, StoreError> {
        short_transaction!(self, |connection| log_usage::evict(connection, node, from, limit))
    }

    async fn file_size(&self) -> Result<Option<FileSize>, StoreError> {
        Ok(None)
    }

    async fn clock_ms(&self) -> Result<Option<UnixMillis>, StoreError> {
        size::clock_ms(&mut *self.short.get().await?).await.map(Some)
    }

    async fn table_sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        size::table_sizes(&mut *self.queries.get().await?).await
    }

    async fn close(&self) {
        self.queries.close();
        self.short.close();
        if let Some(writer) = &self.writer {
            writer.lock().await.close();
        }
    }
}
