//! What log lines take, and removing those of one node; see [`crate::store::log_usage`].

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use crate::model::NodeKey;
use crate::store::log_usage::{SAMPLE, Sampled, Samples};
use crate::store::schema::logs;
use crate::store::{EVICTION_SLICE, EvictedLogs, LogUsage, StoreError};

pub(super) async fn measure(connection: &mut AsyncPgConnection) -> Result<LogUsage, StoreError> {
    let first: Option<i64> = logs::table.select(diesel::dsl::min(logs::seq)).first(connection).await?;
    let last: Option<i64> = logs::table.select(diesel::dsl::max(logs::seq)).first(connection).await?;
    let Some((first, last)) = first.zip(last) else { return Ok(LogUsage::default()) };
    let samples = Samples::of(first, last);
    let rows: Vec<Sampled> = sql_query(format!(
        "SELECT node, count(*) AS lines, sum(octet_length(line)) AS bytes FROM unnest($1) AS start (number) \
         JOIN logs ON logs.seq BETWEEN start.number AND start.number + {} GROUP BY node",
        SAMPLE - 1
    ))
    .bind::<Array<BigInt>, _>(&samples.starts)
    .load(connection)
    .await?;
    Ok(samples.usage(&rows))
}

#[derive(QueryableByName)]
struct Removed {
    #[diesel(sql_type = BigInt)]
    entry_seq: i64,
}

/// Removes up to `limit` lines of a node among the next lines from `from` on.
pub(super) async fn evict(
    connection: &mut AsyncPgConnection,
    node: NodeKey,
    from: i64,
    limit: u32,
) -> Result<EvictedLogs, StoreError> {
    let next = logs::table.filter(logs::seq.ge(from)).select(diesel::dsl::min(logs::seq));
    let Some(first) = next.first::<Option<i64>>(connection).await? else {
        return Ok(EvictedLogs { removed: 0, next: None });
    };
    let last = first + EVICTION_SLICE - 1;
    let removed = connection
        .transaction(async |connection: &mut AsyncPgConnection| {
            let removed: Vec<Removed> = sql_query(
                "DELETE FROM logs WHERE seq IN \
                 (SELECT seq FROM logs WHERE seq BETWEEN $1 AND $2 AND node = $3 ORDER BY seq LIMIT $4) \
                 RETURNING entry_seq",
            )
            .bind::<BigInt, _>(first)
            .bind::<BigInt, _>(last)
            .bind::<BigInt, _>(node.0)
            .bind::<BigInt, _>(i64::from(limit))
            .load(connection)
            .await?;
            // From here on nothing is missing.
            if let Some(end) = removed.iter().map(|row| row.entry_seq).max() {
                sql_query("UPDATE meta SET oldest_log = greatest(oldest_log, $1 + 1) WHERE id = 1")
                    .bind::<BigInt, _>(end)
                    .execute(connection)
                    .await?;
            }
            Ok::<_, StoreError>(removed.len() as u64)
        })
        .await?;
    Ok(EvictedLogs { removed, next: Some(if removed < u64::from(limit) { last + 1 } else { first }) })
}
