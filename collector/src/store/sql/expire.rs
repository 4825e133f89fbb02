//! Removing what is older than its retention, a few rows at a time.

use std::collections::BTreeSet;

use diesel::sql_types::BigInt;
use diesel::{QueryResult, QueryableByName, sql_query};

use super::backend::{Connection, DIALECT, RunQueryDsl};
use crate::model::{NodeKey, PipelineKey};
use crate::store::level::Level;
use crate::store::sql::history::{SUBJECTS, delete_days, delete_parts, oldest_whole};
use crate::store::{Cutoffs, StoreError};

/// Blocks that are removed from the index of log lines at once; more than lines fill.
pub(super) const BLOCKS: u32 = 8;

/// Rows with a number in the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    Logs,
    Events,
}

impl Numbered {
    pub(super) const ALL: [Numbered; 2] = [Numbered::Logs, Numbered::Events];

    fn table(self) -> &'static str {
        match self {
            Numbered::Logs => "logs",
            Numbered::Events => "events",
        }
    }

    /// The number that a removal must not separate from the row: a line is part of an event with others.
    fn cut(self) -> &'static str {
        match self {
            Numbered::Logs => "entry_seq",
            Numbered::Events => "seq",
        }
    }

    /// The column of `meta` with the number from which on nothing is missing.
    fn oldest(self) -> &'static str {
        match self {
            Numbered::Logs => "oldest_log",
            Numbered::Events => "oldest_event",
        }
    }

    fn cutoff(self, cutoffs: Cutoffs) -> i64 {
        match self {
            Numbered::Logs => cutoffs.logs_before,
            Numbered::Events => cutoffs.events_before,
        }
    }
}

/// Removes up to `limit` rows of each table without a sequence. Each statement is right alone.
pub(super) async fn expire_unnumbered(
    connection: &mut Connection,
    cutoffs: Cutoffs,
    limit: u32,
) -> Result<usize, StoreError> {
    let limit = i64::from(limit);
    let mut removed = 0;
    for (level, before) in [(Level::Hours, cutoffs.minutes_before), (Level::Days, cutoffs.hours_before)] {
        // Recorded first: rows removed below must not be missing from a new sum.
        execute(connection, oldest_whole(DIALECT, level), &[before]).await?;
        for table in SUBJECTS {
            removed += execute(connection, delete_parts(DIALECT, level, table), &[before, limit]).await?;
        }
    }
    for table in SUBJECTS {
        removed += execute(connection, delete_days(DIALECT, table), &[cutoffs.days_before, limit]).await?;
    }
    // Few and small; they go with the minutes that they explain.
    let gaps_before = cutoffs.minutes_before.saturating_mul(60_000);
    removed += execute(connection, "DELETE FROM node_gaps WHERE recorded_at < $1".to_owned(), &[gaps_before]).await?;
    let sql = "DELETE FROM tokens WHERE uuid IN \
        (SELECT uuid FROM tokens WHERE kind IN ('node', 'session') AND expires_at < $1 LIMIT $2)";
    removed += execute(connection, sql.to_owned(), &[cutoffs.tokens_before, limit]).await?;
    Ok(removed)
}

/// Removes up to `limit` lines or events in order of their sequence, so that `meta` can say from where on
/// nothing is missing. The caller has begun the transaction.
pub(super) async fn expire_numbered(
    connection: &mut Connection,
    rows: Numbered,
    cutoffs: Cutoffs,
    limit: u32,
) -> Result<usize, StoreError> {
    let end = last_expired(connection, rows, rows.cutoff(cutoffs), i64::from(limit)).await?;
    if end == 0 {
        return Ok(0);
    }
    let removed = execute(connection, format!("DELETE FROM {} WHERE seq <= $1", rows.table()), &[end]).await?;
    let oldest = rows.oldest();
    let moved = format!("UPDATE meta SET {oldest} = $1 + 1 WHERE id = 1 AND {oldest} <= $1");
    execute(connection, moved, &[end]).await?;
    Ok(removed)
}

/// The end of the oldest run of rows that are all expired, at most `limit` rows long; 0 when the
/// oldest row is still to be kept. A back-filled row holds up the newer ones behind it only until
/// these expire too.
async fn last_expired(connection: &mut Connection, rows: Numbered, before: i64, limit: i64) -> Result<i64, StoreError> {
    let (table, cut) = (rows.table(), rows.cut());
    let row: Seq = sql_query(DIALECT.finish(format!(
        "WITH oldest AS (SELECT seq, {cut} AS cut, at FROM {table} ORDER BY seq LIMIT $1), \
         kept AS (SELECT min(seq) AS seq FROM oldest WHERE at >= $2) \
         SELECT coalesce(max(oldest.cut), 0) AS seq FROM oldest, kept \
         WHERE oldest.cut < coalesce(kept.seq, 9223372036854775807)"
    )))
    .bind::<BigInt, _>(limit)
    .bind::<BigInt, _>(before)
    .get_result(connection)
    .await?;
    Ok(row.seq)
}

#[derive(QueryableByName)]
struct Seq {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// Removes pipelines of nodes, and returns those pipelines that no node has any more. The caller has begun the
/// transaction.
pub(super) async fn remove_pipelines(
    connection: &mut Connection,
    gone: &[(NodeKey, PipelineKey)],
) -> Result<Vec<PipelineKey>, StoreError> {
    for (node, pipeline) in gone {
        for table in ["pipeline_status", "series"] {
            let sql = format!("DELETE FROM {table} WHERE node = $1 AND pipeline = $2");
            execute(connection, sql, &[node.0, pipeline.0]).await?;
        }
    }
    let mut unused = Vec::new();
    for pipeline in gone.iter().map(|(_, pipeline)| *pipeline).collect::<BTreeSet<_>>() {
        let sql = "DELETE FROM pipelines WHERE id = $1 \
            AND NOT EXISTS (SELECT 1 FROM series WHERE series.pipeline = pipelines.id)";
        let removed = execute(connection, sql.to_owned(), &[pipeline.0]).await?;
        unused.extend((removed > 0).then_some(pipeline));
    }
    Ok(unused)
}

/// Runs a statement whose parameters `$1`, `$2`, … are numbers.
async fn execute(connection: &mut Connection, sql: String, values: &[i64]) -> QueryResult<usize> {
    let mut query = sql_query(DIALECT.finish(sql)).into_boxed();
    for value in values {
        query = query.bind::<BigInt, _>(*value);
    }
    query.execute(connection).await
}
