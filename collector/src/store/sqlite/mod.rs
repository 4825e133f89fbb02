//! The store on SQLite: bundled, write-ahead log, `synchronous=FULL`.
//!
//! `synchronous=FULL` makes every commit wait for the disk, which is what lets an acknowledgement
//! mean that nothing is lost at a power cut; grouped commits pay for it once per batch.

mod administration;
mod alert_store;
mod backend;
mod backup;
mod commit;
mod control;
mod executor;
mod open;
#[cfg(test)]
mod read_tests;
mod restore;
mod rollout_store;
mod search;
mod size;
#[cfg(test)]
mod tests;
mod tokens;
mod transfer;

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
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use diesel::{Connection, SqliteConnection};
use systole_shared::{TokenId, TokenKind, UnixMillis};

use self::backend::ready;
pub(crate) use self::backup::SqliteBackup;
use self::executor::Executor;
use self::expire::Numbered;
use self::logs::LogSearch;
#[cfg(test)]
pub(super) use self::open::MIGRATIONS;
pub(crate) use self::open::inspect;
pub(crate) use self::restore::{RestoreTarget, check_and_migrate, look_at, renew_epoch, verify};
pub(crate) use self::transfer::SqliteSide;
use super::sql::history::Subject;
use super::*;

/// Threads for queries. One more than the queries that one token may run (`max_queries_per_token`), so that
/// there is one for another token; few, because queries must not keep the writer from its core.
const READERS: usize = 3;

/// A query that takes longer returns a timeout. SQLite cannot be interrupted through diesel: a query
/// that runs keeps its reader until it ends (a search of logs, which may be long, until the end of a
/// slice), one that waits for a reader is never begun.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// SQLite in one file.
pub(crate) struct SqliteStore {
    path: PathBuf,
    writer: Executor,
    readers: Executor,
    /// For look-ups of one row that no query may delay: changes of tokens, and the position of the feed.
    lookups: Executor,
    /// Held for as long as the store is open for serving; see [`open::lock`].
    _lock: Option<std::fs::File>,
}

impl SqliteStore {
    /// Opens the file, makes it if needed, and brings it to this version.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, another collector serves, or the database is of a later version.
    pub(crate) fn open(path: &std::path::Path, access: Access) -> Result<Self, StoreError> {
        let lock = match access {
            // One file has one collector.
            Access::Exclusive | Access::Clustered => Some(open::lock(path)?),
            Access::Shared => None,
        };
        let mut writer = open::writer(path)?;
        open::refuse_incomplete(&mut writer, path)?;
        let readers = (0..READERS).map(|_| open::reader(path)).collect::<Result<Vec<_>, _>>()?;
        let threads =
            |source: std::io::Error| StoreError::Open { url: path.display().to_string(), source: source.into() };
        Ok(SqliteStore {
            path: path.to_owned(),
            writer: Executor::start("store-writer", vec![writer]).map_err(threads)?,
            readers: Executor::start("store-reader", readers).map_err(threads)?,
            lookups: Executor::start("store-lookup", vec![open::reader(path)?]).map_err(threads)?,
            _lock: lock,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let answer = tokio::time::timeout(QUERY_TIMEOUT, self.readers.run(job)).await;
        answer.unwrap_or(Err(StoreError::TimedOut))
    }

    /// The same for several queries that see one state of the database.
    async fn read_at_once<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(move |connection| connection.transaction(job)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(move |connection| connection.immediate_transaction(job)).await
    }
}

#[async_trait]
impl IngestStore for SqliteStore {
    async fn load_ingest(&self) -> Result<IngestSnapshot, StoreError> {
        // By the writer, like the committer's other work: a slow query of a person must not delay reports.
        self.write(|connection| ready(load::load_ingest(connection))).await
    }

    async fn load_node(&self, node: NodeKey) -> Result<Option<StoredNode>, StoreError> {
        self.write(move |connection| ready(load::load_node(connection, node))).await
    }

    async fn commit(&self, batch: CommitBatch) -> Result<CommitBatch, StoreError> {
        self.write(move |connection| commit::commit(connection, &batch).map(|()| batch)).await
    }

    async fn flush(&self, batch: FlushBatch) -> Result<(), StoreError> {
        self.write(move |connection| commit::flush(connection, &batch)).await
    }

    async fn remove_pipelines(&self, gone: Vec<(NodeKey, PipelineKey)>) -> Result<Vec<PipelineKey>, StoreError> {
        self.write(move |connection| ready(expire::remove_pipelines(connection, &gone))).await
    }

    async fn expire(&self, cutoffs: Cutoffs, limit: u32) -> Result<u64, StoreError> {
        let expire = move |connection: &mut SqliteConnection| {
            let mut removed = ready(expire::expire_unnumbered(connection, cutoffs, limit))?;
            for rows in Numbered::ALL {
                removed += ready(expire::expire_numbered(connection, rows, cutoffs, limit))?;
            }
            removed += search::expire_blocks(connection, expire::BLOCKS)?;
            Ok(removed as u64)
        };
        self.write(expire).await
    }
}

#[async_trait]
impl AccessStore for SqliteStore {
    async fn load_access(&self, known_version: Option<i64>) -> Result<Option<AccessSnapshot>, StoreError> {
        let load = move |connection: &mut SqliteConnection| {
            connection.transaction(|connection| ready(access::load_access(connection, known_version)))
        };
        self.lookups.run(load).await
    }

    async fn create_token(&self, token: NewToken) -> Result<StoredToken, StoreError> {
        self.write(move |connection| ready(access::create_token(connection, token))).await
    }

    async fn list_tokens(&self, kinds: Vec<TokenKind>) -> Result<Vec<StoredToken>, StoreError> {
        self.read(move |connection| ready(access::list_tokens(connection, &kinds))).await
    }

    async fn revoke_token(&self, id: TokenId, now: UnixMillis) -> Result<bool, StoreError> {
        self.write(move |connection| ready(access::revoke_token(connection, id, now))).await
    }

    async fn touch_tokens(&self, used: Vec<(TokenId, UnixMillis)>) -> Result<(), StoreError> {
        self.write(move |connection| tokens::touch_tokens(connection, &used)).await
    }

    async fn create_environment(&self, name: String, now: UnixMillis) -> Result<StoredEnvironment, StoreError> {
        self.write(move |connection| ready(access::create_environment(connection, &name, now))).await
    }

    async fn nodes_of_machine(
        &self,
        environment: EnvironmentKey,
        machine_id: String,
    ) -> Result<Vec<NodeName>, StoreError> {
        let find = move |connection: &mut SqliteConnection| {
            ready(access::nodes_of_machine(connection, environment, &machine_id))
        };
        self.lookups.run(find).await
    }

    async fn node_names(&self) -> Result<Vec<NodeName>, StoreError> {
        self.read(|connection| ready(access::node_names(connection))).await
    }

    async fn enroll_node_as(&self, enrolment: NewEnrolment, enrol_as: EnrolAs) -> Result<EnrolledNode, StoreError> {
        self.write(move |connection| ready(access::enroll_node(connection, &enrolment, enrol_as))).await
    }
}

#[async_trait]
impl MinuteStore for SqliteStore {
    async fn list_nodes(&self, query: NodeQuery) -> Result<Vec<NodeView>, StoreError> {
        self.read(move |connection| ready(read::list_nodes(connection, &query))).await
    }

    async fn node_minutes(&self, node: NodeKey, range: BucketRange) -> Result<Persisted<HostAggregate>, StoreError> {
        self.read_at_once(move |connection| ready(minutes::node_history(connection, node, range))).await
    }

    async fn pipeline_minutes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<Persisted<PipelineMinuteView>, StoreError> {
        let read = move |connection: &mut _| {
            ready(minutes::pipeline_history(connection, Subject::Pipeline, pipeline, node, range))
        };
        self.read_at_once(read).await
    }

    async fn component_minutes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<Persisted<ComponentMinuteView>, StoreError> {
        let read = move |connection: &mut _| {
            ready(minutes::pipeline_history(connection, Subject::Component, pipeline, node, range))
        };
        self.read_at_once(read).await
    }

    async fn minute_rows(&self, from: i64, to: i64, of: RowsOf) -> Result<MinuteRows, StoreError> {
        self.read_at_once(move |connection| ready(minutes::rows(connection, from, to, of))).await
    }

    async fn pipeline_extremes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
        minutes_before: i64,
    ) -> Result<Vec<PipelineExtremesRow>, StoreError> {
        let read = move |connection: &mut _| {
            ready(minutes::pipeline_extremes(connection, Subject::Pipeline, pipeline, node, range, minutes_before))
        };
        self.read_at_once(read).await
    }

    async fn component_extremes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
        minutes_before: i64,
    ) -> Result<Vec<ComponentExtremesRow>, StoreError> {
        let read = move |connection: &mut _| {
            ready(minutes::pipeline_extremes(connection, Subject::Component, pipeline, node, range, minutes_before))
        };
        self.read_at_once(read).await
    }

    async fn pipeline_nodes(&self, pipeline: PipelineKey) -> Result<i64, StoreError> {
        self.read(move |connection| ready(minutes::pipeline_nodes(connection, pipeline))).await
    }

    async fn snapshot(
        &self,
        environments: Option<Vec<EnvironmentKey>>,
        parts: StateParts,
    ) -> Result<StateSnapshot, StoreError> {
        self.read_at_once(move |connection| ready(read::snapshot(connection, environments, parts))).await
    }
}

#[async_trait]
impl QueryStore for SqliteStore {
    async fn feed_position(&self) -> Result<FeedPosition, StoreError> {
        self.lookups.run(|connection| ready(read::feed_position(connection))).await
    }

    async fn node_gaps(&self, node: NodeKey) -> Result<Vec<NodeGapRow>, StoreError> {
        self.read(move |connection| ready(read::node_gaps(connection, node))).await
    }

    async fn find_pipelines(
        &self,
        environments: Option<Vec<EnvironmentKey>>,
        id: String,
    ) -> Result<Vec<(PipelineKey, EnvironmentKey)>, StoreError> {
        self.read(move |connection| ready(read::find_pipelines(connection, environments.as_deref(), &id))).await
    }

    async fn list_pipelines(&self, query: PipelineQuery) -> Result<Vec<PipelineView>, StoreError> {
        self.read(move |connection| ready(read::list_pipelines(connection, &query))).await
    }

    async fn list_logs(&self, query: LogQuery) -> Result<Vec<LogView>, StoreError> {
        // In turns with other queries. When this future is dropped, at the time-out or with the client, the
        // search ends with its turn.
        let search = async {
            let begin = move |connection: &mut SqliteConnection| ready(LogSearch::begin(connection, query));
            let mut search = self.readers.run(begin).await?;
            loop {
                match self.readers.run(move |connection| ready(search.take_turn(connection))).await? {
                    ControlFlow::Continue(next) => search = next,
                    ControlFlow::Break(found) => return Ok(found),
                }
            }
        };
        tokio::time::timeout(QUERY_TIMEOUT, search).await.unwrap_or(Err(StoreError::TimedOut))
    }

    async fn list_events(&self, query: EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |connection| ready(read::list_events(connection, &query))).await
    }

    async fn replay_page(&self, query: ReplayQuery) -> Result<ReplayPage, StoreError> {
        self.read_at_once(move |connection| ready(replay::page(connection, &query))).await
    }
}

#[async_trait]
impl MaintenanceStore for SqliteStore {
    async fn index_logs(&self, blocks: u32) -> Result<u64, StoreError> {
        // Lines are read and taken apart beside the writer.
        let made = self
            .read(move |connection| connection.transaction(|connection| ready(logs::make_blocks(connection, blocks))))
            .await?;
        let count = made.blocks.len() as u64;
        if count > 0 {
            self.write(move |connection| search::write_blocks(connection, &made)).await?;
        }
        Ok(count)
    }

    async fn drop_log_index(&self) -> Result<(), StoreError> {
        self.write(search::drop_index).await
    }

    async fn roll_up(&self, hours_before: i64, limit: u32) -> Result<u64, StoreError> {
        self.write(move |connection| ready(rollup::roll_up(connection, hours_before, i64::from(limit)))).await
    }

    async fn log_usage(&self) -> Result<LogUsage, StoreError> {
        self.read(|connection| ready(log_usage::measure(connection))).await
    }

    async fn evict_logs(&self, node: NodeKey, from: i64, limit: u32) -> Result<EvictedLogs, StoreError> {
        self.write(move |connection| ready(log_usage::evict(connection, node, from, limit))).await
    }

    async fn file_size(&self) -> Result<Option<FileSize>, StoreError> {
        let path = self.path.clone();
        self.lookups.run(move |connection| size::file_size(connection, &path)).await.map(Some)
    }

    async fn clock_ms(&self) -> Result<Option<UnixMillis>, StoreError> {
        Ok(None)
    }

    async fn table_sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        size::measure(self.path.clone()).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.lookups.close().await;
        self.writer.close().await;
    }
}
