//! Removing what is older than its retention, a few rows at a time.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;

use super::search;
use crate::store::level::Level;
use crate::store::sql::history::{Dialect, SUBJECTS, delete_days, delete_parts, oldest_whole};
use crate::store::{Cutoffs, StoreError};

/// Blocks that go out of the index of log lines at once; more than lines fill.
const BLOCKS: u32 = 8;

/// Removes up to `limit` rows of each table. Lines and events go in order of their sequence, so
/// that `oldest_log` and `oldest_event` can say from where on nothing is missing.
pub(super) fn expire(connection: &mut SqliteConnection, cutoffs: Cutoffs, limit: u32) -> Result<u64, StoreError> {
    let limit = i64::from(limit);
    let mut removed = 0;
    for (level, before) in [(Level::Hours, cutoffs.minutes_before), (Level::Days, cutoffs.hours_before)] {
        sql_query(oldest_whole(Dialect::Sqlite, level)).bind::<BigInt, _>(before).execute(connection)?;
        for table in SUBJECTS {
            removed += sql_query(delete_parts(Dialect::Sqlite, level, table))
                .bind::<BigInt, _>(before)
                .bind::<BigInt, _>(limit)
                .execute(connection)?;
        }
    }
    for table in SUBJECTS {
        removed += sql_query(delete_days(Dialect::Sqlite, table))
            .bind::<BigInt, _>(cutoffs.days_before)
            .bind::<BigInt, _>(limit)
            .execute(connection)?;
    }
    // Few and small; they go with the minutes that they explain.
    removed += sql_query("DELETE FROM node_gaps WHERE recorded_at < ?")
        .bind::<BigInt, _>(cutoffs.minutes_before.saturating_mul(60_000))
        .execute(connection)?;
    let numbered = [("logs", "oldest_log", cutoffs.logs_before), ("events", "oldest_event", cutoffs.events_before)];
    for (table, oldest, before) in numbered {
        let end = last_expired(connection, table, before, limit)?;
        if end > 0 {
            removed +=
                sql_query(format!("DELETE FROM {table} WHERE seq <= ?")).bind::<BigInt, _>(end).execute(connection)?;
            sql_query(format!("UPDATE meta SET {oldest} = max({oldest}, ? + 1) WHERE id = 1"))
                .bind::<BigInt, _>(end)
                .execute(connection)?;
        }
    }
    removed += search::expire_blocks(connection, BLOCKS)?;
    removed += sql_query(
        "DELETE FROM tokens WHERE uuid IN \
         (SELECT uuid FROM tokens WHERE kind IN ('node', 'session') AND expires_at < ? LIMIT ?)",
    )
    .bind::<BigInt, _>(cutoffs.tokens_before)
    .bind::<BigInt, _>(limit)
    .execute(connection)?;
    Ok(removed as u64)
}

#[derive(QueryableByName)]
struct Seq {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// The end of the oldest run of rows that are all expired, at most `limit` rows long; 0 when the
/// oldest row is still to be kept. A back-filled row holds up the newer ones behind it only until
/// these expire too.
fn last_expired(connection: &mut SqliteConnection, table: &str, before: i64, limit: i64) -> Result<i64, StoreError> {
    let cut = if table == "logs" { "entry_seq" } else { "seq" };
    let row: Seq = sql_query(format!(
        "WITH oldest AS (SELECT seq, {cut} AS cut, at FROM {table} ORDER BY seq LIMIT ?), \
         kept AS (SELECT min(seq) AS seq FROM oldest WHERE at >= ?) \
         SELECT coalesce(max(oldest.cut), 0) AS seq FROM oldest, kept \
         WHERE oldest.cut < coalesce(kept.seq, 9223372036854775807)"
    ))
    .bind::<BigInt, _>(limit)
    .bind::<BigInt, _>(before)
    .get_result(connection)?;
    Ok(row.seq)
}
