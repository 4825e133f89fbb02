//! Removing what is older than its retention, a few rows at a time.

use std::collections::BTreeSet;

use diesel::sql_types::BigInt;
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::search;
use crate::model::{NodeKey, PipelineKey};
use crate::store::level::Level;
use crate::store::sql::history::{Dialect, SUBJECTS, delete_days, delete_parts, oldest_whole};
use crate::store::{Cutoffs, StoreError};

/// Blocks that go out of the index of log lines at once; more than lines fill.
const BLOCKS: u32 = 8;

/// Removes up to `limit` rows of each table. Lines and events go in order of their sequence, so
/// that `oldest_log` and `oldest_event` can say from where on nothing is missing.
pub(super) async fn expire(
    connection: &mut AsyncPgConnection,
    cutoffs: Cutoffs,
    limit: u32,
) -> Result<u64, StoreError> {
    let limit = i64::from(limit);
    let mut removed = 0;
    for (level, before) in [(Level::Hours, cutoffs.minutes_before), (Level::Days, cutoffs.hours_before)] {
        // Recorded first: rows removed below must not be missing from a new sum.
        execute(connection, oldest_whole(Dialect::Postgres, level), &[before]).await?;
        for table in SUBJECTS {
            removed += execute(connection, delete_parts(Dialect::Postgres, level, table), &[before, limit]).await?;
        }
    }
    for table in SUBJECTS {
        removed += execute(connection, delete_days(Dialect::Postgres, table), &[cutoffs.days_before, limit]).await?;
    }
    // Few and small; they go with the minutes that they explain.
    let gaps_before = cutoffs.minutes_before.saturating_mul(60_000);
    removed += execute(connection, "DELETE FROM node_gaps WHERE recorded_at < $1".to_owned(), &[gaps_before]).await?;
    let sql = "DELETE FROM tokens WHERE uuid IN \
        (SELECT uuid FROM tokens WHERE kind IN ('node', 'session') AND expires_at < $1 LIMIT $2)";
    removed += execute(connection, sql.to_owned(), &[cutoffs.tokens_before, limit]).await?;
    let numbered = [("logs", "oldest_log", cutoffs.logs_before), ("events", "oldest_event", cutoffs.events_before)];
    for (table, oldest, before) in numbered {
        removed += connection
            .transaction(async |connection: &mut AsyncPgConnection| {
                let end = last_expired(connection, table, before, limit).await?;
                if end == 0 {
                    return Ok(0);
                }
                let removed = execute(connection, format!("DELETE FROM {table} WHERE seq <= $1"), &[end]).await?;
                sql_query(format!("UPDATE meta SET {oldest} = greatest({oldest}, $1 + 1) WHERE id = 1"))
                    .bind::<BigInt, _>(end)
                    .execute(connection)
                    .await?;
                Ok::<_, StoreError>(removed)
            })
            .await?;
    }
    removed += search::expire_blocks(connection, BLOCKS).await?;
    Ok(removed as u64)
}

/// Removes pipelines of nodes, and returns those pipelines that no node has any more.
pub(super) async fn remove_pipelines(
    connection: &mut AsyncPgConnection,
    gone: &[(NodeKey, PipelineKey)],
) -> Result<Vec<PipelineKey>, StoreError> {
    connection
        .transaction(async |connection: &mut AsyncPgConnection| {
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
            Ok::<_, StoreError>(unused)
        })
        .await
}

async fn execute(connection: &mut AsyncPgConnection, sql: String, values: &[i64]) -> QueryResult<usize> {
    let mut query = sql_query(sql).into_boxed();
    for value in values {
        query = query.bind::<BigInt, _>(*value);
    }
    query.execute(connection).await
}

#[derive(QueryableByName)]
struct Seq {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// The end of the oldest run of rows that are all expired, at most `limit` rows long; 0 when the
/// oldest row is still to be kept. A back-filled row holds up the newer ones behind it only until
/// these expire too.
async fn last_expired(
    connection: &mut AsyncPgConnection,
    table: &str,
    before: i64,
    limit: i64,
) -> Result<i64, StoreError> {
    let cut = if table == "logs" { "entry_seq" } else { "seq" };
    let row: Seq = sql_query(format!(
        "WITH oldest AS (SELECT seq, {cut} AS cut, at FROM {table} ORDER BY seq LIMIT $1), \
         kept AS (SELECT min(seq) AS seq FROM oldest WHERE at >= $2) \
         SELECT coalesce(max(oldest.cut), 0) AS seq FROM oldest, kept \
         WHERE oldest.cut < coalesce(kept.seq, 9223372036854775807)"
    ))
    .bind::<BigInt, _>(limit)
    .bind::<BigInt, _>(before)
    .get_result(connection)
    .await?;
    Ok(row.seq)
}
