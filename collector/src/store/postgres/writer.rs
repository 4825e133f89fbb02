//! The committer's connection, and the lock that keeps it unique.
//!
//! The lock belongs to the connection's session, and the same connection commits: what ends one ends
//! the other. A lost connection is replaced only by [`Writer::load`]. So everything that is written follows
//! from reads over the same connection. The server frees the lock only when the lost connection has ended,
//! so a commit without an answer has either succeeded or will never succeed.
//!
//! Some engines that speak PostgreSQL's protocol have no such locks and grant every one of them. For
//! them every connection also writes its own mark into `meta`, and a commit that does not find it
//! there any more fails.

use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use systole_shared::UnixMillis;
use tokio::time::{Duration, Instant};

use super::cluster::NOW_MS;
use super::connect::Connector;
use super::{commit, definitions, load, rollouts, rollup};
use crate::model::{DefinitionKey, NodeKey};
use crate::store::convert::signed;
use crate::store::{Claim, CommitBatch, FlushBatch, IngestSnapshot, RolloutChange, StoreError};
use crate::telemetry::logging::chain;

/// How long the lock of a session that was ended may take to be free, and the pause between two tries.
const END_SESSION_TIMEOUT: Duration = Duration::from_secs(1);
const END_SESSION_PAUSE: Duration = Duration::from_millis(20);

/// How often a transaction is tried that others are in the way of.
const TRIES: usize = 4;

/// Runs queries in one transaction between two batches of the committer, so that no row of a node is locked in two
/// orders.
macro_rules! between_batches {
    ($writer:expr, |$connection:ident| $queries:expr) => {{
        let mut connection = $writer.take()?;
        let mark = $writer.mark.clone();
        let result = connection
            .transaction(async |$connection: &mut AsyncPgConnection| {
                let done = $queries.await?;
                check_mark($connection, &mark).await?;
                Ok(done)
            })
            .await;
        $writer.give_back(connection, &result);
        result
    }};
}

/// The committer's way to the database.
pub(super) struct Writer {
    connector: Connector,
    /// `None` after a failure, until the state is loaded again.
    connection: Option<AsyncPgConnection>,
    /// A connection of a process that does not lead, for its next claim.
    standby: Option<AsyncPgConnection>,
    /// What this connection has written into `meta`; empty in a process that has never led.
    mark: String,
    is_closed: bool,
}

impl Writer {
    /// Takes a connection that is locked already, and marks it as the one that writes.
    pub(super) async fn start(connector: Connector, mut connection: AsyncPgConnection) -> Result<Self, StoreError> {
        let mark = new_mark();
        sql_query("UPDATE meta SET writer = $1 WHERE id = 1").bind::<Text, _>(&mark).execute(&mut connection).await?;
        Ok(Writer { connector, connection: Some(connection), standby: None, mark, is_closed: false })
    }

    /// Of a process that does not lead yet.
    pub(super) fn standby(connector: Connector, connection: AsyncPgConnection) -> Self {
        Writer { connector, connection: None, standby: Some(connection), mark: String::new(), is_closed: false }
    }

    /// Whether this process may commit, as far as it knows.
    pub(super) fn leads(&self) -> bool {
        !self.mark.is_empty()
    }

    /// Makes this process the one that commits. Returns the new term; `None` when another process has the lock.
    ///
    /// The lock is the fast way: it is free as soon as the session of a killed leader ends. The mark is the safe one: what
    /// another leader commits after it fails.
    pub(super) async fn claim(&mut self, id: &str, claim: Claim) -> Result<Option<u64>, StoreError> {
        if self.is_closed {
            return Err(StoreError::Closed);
        }
        (self.mark, self.connection) = (String::new(), None);
        let mut kept = self.standby.take();
        let mut connection = match kept.take_if(|connection| !connection.is_broken()) {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        if !try_lock(&mut connection).await? {
            let may_depose =
                matches!(claim, Claim::Depose(term) if current_term(&mut connection).await? == signed(term));
            if !may_depose {
                self.standby = Some(connection);
                return Ok(None);
            }
            // Without the lock the mark alone protects the term.
            end_leader_session(&mut connection, claim).await?;
        }
        let mark = new_mark();
        let sql = format!(
            "UPDATE meta SET writer = $1, term = term + 1, leader_id = $2, \
             leader_seen_at = {NOW_MS} WHERE id = 1 AND term = $3"
        );
        let claimed = sql_query(sql)
            .bind::<Text, _>(&mark)
            .bind::<Text, _>(id)
            .bind::<BigInt, _>(signed(claim.after()))
            .execute(&mut connection)
            .await?;
        if claimed == 0 {
            // Another process was faster.
            unlock(&mut connection).await?;
            self.standby = Some(connection);
            return Ok(None);
        }
        (self.mark, self.connection) = (mark, Some(connection));
        Ok(Some(claim.after() + 1))
    }

    /// Gives the role up. Another process finds the lock free at once.
    pub(super) async fn resign(&mut self) -> Result<(), StoreError> {
        let mark = std::mem::take(&mut self.mark);
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        // The mark goes too: what this process still sends must not be committed.
        sql_query("UPDATE meta SET writer = '', leader_id = NULL, leader_seen_at = 0 WHERE id = 1 AND writer = $1")
            .bind::<Text, _>(&mark)
            .execute(&mut connection)
            .await?;
        unlock(&mut connection).await?;
        self.standby = Some(connection);
        Ok(())
    }

    /// Loads the committer's state over a connection that may write. Opens a new one if needed.
    pub(super) async fn load(&mut self) -> Result<IngestSnapshot, StoreError> {
        let mut connection = self.take_or_reconnect().await?;
        let snapshot = connection
            .build_transaction()
            .read_only()
            .repeatable_read()
            .run(async |connection: &mut AsyncPgConnection| load::load_ingest(connection).await)
            .await?;
        self.connection = Some(connection);
        Ok(snapshot)
    }

    /// Writes a batch. After a failure of the connection nothing is written until the state is loaded.
    pub(super) async fn commit(&mut self, batch: &CommitBatch) -> Result<(), StoreError> {
        for _ in 1..TRIES {
            match self.try_commit(batch).await {
                Err(error) if is_transient(&error) => {
                    tracing::warn!(error = %chain(&error), "a transaction collided with another one, trying again");
                }
                done => return done,
            }
        }
        self.try_commit(batch).await
    }

    async fn try_commit(&mut self, batch: &CommitBatch) -> Result<(), StoreError> {
        let mut connection = self.take()?;
        let result = commit::commit(&mut connection, batch, &self.mark).await;
        self.give_back(connection, &result);
        result
    }

    /// The same for what becomes rows of the write-ahead log.
    pub(super) async fn flush(&mut self, batch: &FlushBatch) -> Result<(), StoreError> {
        let mut connection = self.take()?;
        let result = commit::flush(&mut connection, batch, &self.mark).await;
        self.give_back(connection, &result);
        result
    }

    /// Sums hours and days between two batches, so that none changes meanwhile.
    pub(super) async fn roll_up(&mut self, hours_before: i64, limit: u32) -> Result<u64, StoreError> {
        let mut connection = self.take()?;
        let result = roll_up(&mut connection, hours_before, limit, &self.mark).await;
        self.give_back(connection, &result);
        result
    }

    /// Writes a step of a rollout.
    pub(super) async fn apply_step(&mut self, change: &RolloutChange) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        between_batches!(self, |connection| rollouts::apply_step(connection, change))
    }

    /// Pauses a pipeline, or lets it run again.
    pub(super) async fn pause_definition(
        &mut self,
        definition: DefinitionKey,
        paused: bool,
        now: UnixMillis,
    ) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        between_batches!(self, |connection| definitions::pause_definition(connection, definition, paused, now))
    }

    /// Removes a pipeline from every node.
    pub(super) async fn remove_definition(
        &mut self,
        definition: DefinitionKey,
        now: UnixMillis,
    ) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        between_batches!(self, |connection| definitions::remove_definition(connection, definition, now))
    }

    /// The connection is taken out: if its work is cancelled, the connection is dropped, and with it the
    /// transaction.
    fn take(&mut self) -> Result<AsyncPgConnection, StoreError> {
        let missing = if self.is_closed { StoreError::Closed } else { StoreError::Disconnected };
        self.connection.take().ok_or(missing)
    }

    /// Keeps a connection that is still good after its work.
    fn give_back<T>(&mut self, mut connection: AsyncPgConnection, result: &Result<T, StoreError>) {
        if !connection.is_broken() && !matches!(result, Err(StoreError::Unreachable(_) | StoreError::Superseded)) {
            self.connection = Some(connection);
        }
    }

    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut AsyncPgConnection {
        self.connection.as_mut().expect("it was not lost")
    }

    /// Gives the lock back.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        (self.connection, self.standby) = (None, None);
    }

    async fn take_or_reconnect(&mut self) -> Result<AsyncPgConnection, StoreError> {
        if self.is_closed {
            return Err(StoreError::Closed);
        }
        if let Some(mut connection) = self.connection.take()
            && !connection.is_broken()
        {
            return Ok(connection);
        }
        let mut connection = self.connector.connect().await?;
        if !try_lock(&mut connection).await? {
            // Either the server has not noticed yet that the old connection is gone, or another
            // collector has come in between.
            let writer = current_writer(&mut connection).await?;
            let is_own = writer == self.mark;
            return Err(if is_own {
                StoreError::Locked(self.connector.shown().to_owned())
            } else {
                StoreError::Superseded
            });
        }
        // Waits for a transaction of the old connection that may still be under way.
        let mark = new_mark();
        let marked = sql_query("UPDATE meta SET writer = $1 WHERE id = 1 AND writer = $2")
            .bind::<Text, _>(&mark)
            .bind::<Text, _>(&self.mark)
            .execute(&mut connection)
            .await?;
        if marked == 0 {
            return Err(StoreError::Superseded);
        }
        self.mark = mark;
        Ok(connection)
    }
}

/// Whether the same transaction can succeed when it is tried again: another one was in its way (40001, 40P01).
fn is_transient(error: &StoreError) -> bool {
    use diesel::result::DatabaseErrorKind::SerializationFailure;
    use diesel::result::Error::DatabaseError;
    match error {
        StoreError::Query(DatabaseError(SerializationFailure, _)) => true,
        // diesel has no kind for it.
        StoreError::Query(DatabaseError(_, told)) => told.message() == "deadlock detected",
        _ => false,
    }
}

/// Sums, and fails if `writer` is not the connection that may write any more.
async fn roll_up(
    connection: &mut AsyncPgConnection,
    hours_before: i64,
    limit: u32,
    writer: &str,
) -> Result<u64, StoreError> {
    connection
        .transaction(async |connection: &mut AsyncPgConnection| {
            let summed = rollup::roll_up(connection, hours_before, i64::from(limit)).await?;
            // Last, as everywhere; see `commit`.
            check_mark(connection, writer).await?;
            Ok(summed)
        })
        .await
}

/// Fails if this is not the connection any more that may write.
async fn check_mark(connection: &mut AsyncPgConnection, writer: &str) -> Result<(), StoreError> {
    let own = sql_query("SELECT writer FROM meta WHERE id = 1 AND writer = $1 FOR SHARE")
        .bind::<Text, _>(writer)
        .get_result::<Mark>(connection)
        .await
        .optional()?;
    if own.is_some() { Ok(()) } else { Err(StoreError::Superseded) }
}

fn new_mark() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[derive(QueryableByName)]
struct Schema {
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

#[derive(QueryableByName)]
struct Granted {
    #[diesel(sql_type = Bool)]
    granted: bool,
}

#[derive(QueryableByName)]
struct Mark {
    #[diesel(sql_type = Text)]
    writer: String,
}

#[derive(QueryableByName)]
struct Term {
    #[diesel(sql_type = BigInt)]
    term: i64,
}

/// Ends the session that holds the lock. Where that is not permitted it stays, and its commits fail by the mark.
async fn end_leader_session(connection: &mut AsyncPgConnection, claim: Claim) -> Result<(), StoreError> {
    let key = lock_key(connection, "serve").await?;
    let sql = "SELECT pg_terminate_backend(pid) AS granted FROM pg_locks WHERE locktype = 'advisory' AND granted \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
        AND (classid::bigint << 32) | objid::bigint = $1";
    if let Err(error) = sql_query(sql).bind::<BigInt, _>(key).execute(connection).await {
        tracing::warn!(%error, "cannot end the session of the collector that led; its commits are refused all the same");
        return Ok(());
    }
    let begin = Instant::now();
    while !try_lock(connection).await?
        && begin.elapsed() < END_SESSION_TIMEOUT
        && current_term(connection).await? == signed(claim.after())
    {
        tokio::time::sleep(END_SESSION_PAUSE).await;
    }
    Ok(())
}

async fn unlock(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    sql_query("SELECT pg_advisory_unlock_all()").execute(connection).await?;
    Ok(())
}

async fn current_term(connection: &mut AsyncPgConnection) -> Result<i64, StoreError> {
    let row: Term = sql_query("SELECT term FROM meta WHERE id = 1").get_result(connection).await?;
    Ok(row.term)
}

async fn current_writer(connection: &mut AsyncPgConnection) -> Result<String, StoreError> {
    let row: Mark = sql_query("SELECT writer FROM meta WHERE id = 1").get_result(connection).await?;
    Ok(row.writer)
}

/// Takes the lock of the collector that serves, for as long as the connection lives. False when another
/// process has it.
pub(super) async fn try_lock(connection: &mut AsyncPgConnection) -> Result<bool, StoreError> {
    let key = lock_key(connection, "serve").await?;
    let row: Granted =
        sql_query("SELECT pg_try_advisory_lock($1) AS granted").bind::<BigInt, _>(key).get_result(connection).await?;
    Ok(row.granted)
}

/// The number of a lock: another one for each purpose, and for each schema of the database.
pub(super) async fn lock_key(connection: &mut AsyncPgConnection, purpose: &str) -> Result<i64, StoreError> {
    let schema: Schema = sql_query("SELECT current_schema()::text AS name").get_result(connection).await?;
    // FNV-1a.
    let text = format!("systole-collector/{}/{purpose}", schema.name.unwrap_or_default());
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Ok(i64::from_ne_bytes(hash.to_ne_bytes()))
}
