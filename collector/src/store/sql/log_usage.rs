//! What log lines take, and removing those of one node; see [`crate::store::log_usage`].

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use super::backend::{Connection, DIALECT, RunQueryDsl};
use crate::model::NodeKey;
use crate::store::log_usage::{SAMPLE, Sampled, Samples};
use crate::store::schema::logs;
use crate::store::{EVICTION_SLICE, EvictedLogs, LogUsage, StoreError};

/// See [`crate::store::MaintenanceStore::log_usage`].
pub(super) async fn measure(connection: &mut Connection) -> Result<LogUsage, StoreError> {
    let first: Option<i64> = logs::table.select(diesel::dsl::min(logs::seq)).first(connection).await?;
    let last: Option<i64> = logs::table.select(diesel::dsl::max(logs::seq)).first(connection).await?;
    let Some((first, last)) = first.zip(last) else { return Ok(LogUsage::default()) };
    let samples = Samples::of(first, last);
    // CROSS JOIN keeps SQLite from scanning the lines.
    let sql = format!(
        "SELECT node, count(*) AS lines, sum(octet_length(line)) AS bytes FROM {} \
         CROSS JOIN logs WHERE logs.seq BETWEEN start.value AND start.value + {} GROUP BY node",
        DIALECT.numbers_of("$1", "start"),
        SAMPLE - 1
    );
    let starts = DIALECT.list(&samples.starts);
    let rows: Vec<Sampled> = sql_query(DIALECT.finish(sql)).bind::<Text, _>(starts).load(connection).await?;
    Ok(samples.usage(&rows))
}

#[derive(QueryableByName)]
struct Removed {
    #[diesel(sql_type = BigInt)]
    entry_seq: i64,
}

/// Removes up to `limit` lines of a node among the next lines from `from` on. The caller has begun the transaction.
pub(super) async fn evict(
    connection: &mut Connection,
    node: NodeKey,
    from: i64,
    limit: u32,
) -> Result<EvictedLogs, StoreError> {
    let next = logs::table.filter(logs::seq.ge(from)).select(diesel::dsl::min(logs::seq));
    let first: Option<i64> = next.first(connection).await?;
    let Some(first) = first else { return Ok(EvictedLogs { removed: 0, next: None }) };
    let last = first + EVICTION_SLICE - 1;
    let sql = "DELETE FROM logs WHERE seq IN \
        (SELECT seq FROM logs WHERE seq BETWEEN $1 AND $2 AND node = $3 ORDER BY seq LIMIT $4) RETURNING entry_seq";
    let removed: Vec<Removed> = sql_query(DIALECT.finish(sql.to_owned()))
        .bind::<BigInt, _>(first)
        .bind::<BigInt, _>(last)
        .bind::<BigInt, _>(node.0)
        .bind::<BigInt, _>(i64::from(limit))
        .load(connection)
        .await?;
    // From here on nothing is missing.
    if let Some(end) = removed.iter().map(|row| row.entry_seq).max() {
        let sql = "UPDATE meta SET oldest_log = $1 + 1 WHERE id = 1 AND oldest_log <= $1";
        sql_query(DIALECT.finish(sql.to_owned())).bind::<BigInt, _>(end).execute(connection).await?;
    }
    let removed = removed.len() as u64;
    Ok(EvictedLogs { removed, next: Some(if removed < u64::from(limit) { last + 1 } else { first }) })
}
