//! Summing minutes into hours, and hours into days.
//!
//! One transaction sums a few hundred series, on the connection that reports are written on: nothing
//! changes meanwhile, and nothing waits for long. It takes the mark away with the sums that it
//! writes, or notes in it how far it is.

use diesel::sql_types::{BigInt, Bool, Double, Nullable};
use diesel::{OptionalExtension, QueryResult, QueryableByName, sql_query};

use super::backend::{Connection, DIALECT, RunQueryDsl, saturating};
use crate::store::host_aggregate::{Value, merge_host_aggregates};
use crate::store::level::Level;
use crate::store::sql::history::{
    Dialect, Subject, next_mark, node_parts, replace_span, roll_up as roll_up_series, series_of_node,
};
use crate::store::{HostAggregate, StoreError};

/// An hour or a day of a node that is to be summed.
#[derive(QueryableByName)]
struct Mark {
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = BigInt)]
    node: i64,
    /// Series up to this one are summed already.
    #[diesel(sql_type = BigInt)]
    done: i64,
    /// Whether all of its parts are kept.
    #[diesel(sql_type = Bool)]
    is_whole: bool,
}

#[derive(QueryableByName)]
struct SeriesKey {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// See [`crate::store::MaintenanceStore::roll_up`]. The caller has begun the transaction.
pub(super) async fn roll_up(connection: &mut Connection, hours_before: i64, limit: i64) -> Result<u64, StoreError> {
    let mut left = limit;
    while left > 0 {
        let Some((level, mark)) = due(connection, hours_before).await? else { break };
        left -= sum(connection, level, &mark, left).await?;
    }
    Ok((limit - left).unsigned_abs())
}

/// The next hour, or when there is none the next day: its hours are all summed then.
async fn due(connection: &mut Connection, hours_before: i64) -> Result<Option<(Level, Mark)>, StoreError> {
    for (level, before) in [(Level::Hours, hours_before), (Level::Days, hours_before.div_euclid(24))] {
        let next = sql_query(next_mark(DIALECT, level)).bind::<BigInt, _>(before);
        if let Some(mark) = next.get_result(connection).await.optional()? {
            return Ok(Some((level, mark)));
        }
    }
    Ok(None)
}

/// Sums up to `limit` series of a mark, with the first of them the host. Returns how many, at least 1.
async fn sum(connection: &mut Connection, level: Level, mark: &Mark, limit: i64) -> Result<i64, StoreError> {
    let series: Vec<SeriesKey> = sql_query(series_of_node(DIALECT))
        .bind::<BigInt, _>(mark.node)
        .bind::<BigInt, _>(mark.done)
        .bind::<BigInt, _>(limit)
        .load(connection)
        .await?;
    if mark.done == 0 {
        sum_host(connection, level, mark).await?;
    }
    if let Some(last) = series.last().map(|series| series.id) {
        for subject in [Subject::Pipeline, Subject::Component] {
            let keys = (mark.done, last);
            if let Err(error) = sum_series(connection, DIALECT, level, subject, mark, keys).await {
                let Some(dialect) = saturating(&error) else { return Err(error.into()) };
                sum_series(connection, dialect, level, subject, mark, keys).await?;
            }
        }
    }
    let count = i64::try_from(series.len()).unwrap_or(i64::MAX);
    let (marks, key) = (level.marks(), level.target().as_str());
    let sql = if count < limit {
        format!("DELETE FROM {marks} WHERE {key} = $1 AND node = $2 AND done <= $3")
    } else {
        format!("UPDATE {marks} SET done = $3 WHERE {key} = $1 AND node = $2")
    };
    let done = series.last().map_or(mark.done, |series| series.id);
    let query = sql_query(DIALECT.finish(sql)).bind::<BigInt, _>(mark.at).bind::<BigInt, _>(mark.node);
    query.bind::<BigInt, _>(done).execute(connection).await?;
    Ok(count.max(1))
}

/// Sums series after one key up to another.
async fn sum_series(
    connection: &mut Connection,
    dialect: Dialect,
    level: Level,
    subject: Subject,
    mark: &Mark,
    (after, last): (i64, i64),
) -> QueryResult<usize> {
    sql_query(roll_up_series(dialect, level, subject, mark.is_whole))
        .bind::<BigInt, _>(mark.at)
        .bind::<BigInt, _>(mark.node)
        .bind::<BigInt, _>(after)
        .bind::<BigInt, _>(last)
        .execute(connection)
        .await
}

async fn sum_host(connection: &mut Connection, level: Level, mark: &Mark) -> Result<(), StoreError> {
    let parts = sql_query(node_parts(DIALECT, level))
        .bind::<BigInt, _>(mark.at)
        .bind::<BigInt, _>(mark.node)
        .load::<HostAggregate>(connection)
        .await?;
    for span in merge_host_aggregates(parts).into_iter().filter(|span| span.at == mark.at) {
        let sql = replace_span(DIALECT, level, &HostAggregate::columns(), mark.is_whole);
        let mut query = sql_query(sql).into_boxed().bind::<BigInt, _>(mark.at).bind::<BigInt, _>(mark.node);
        for value in span.values() {
            query = match value {
                Value::Int(value) => query.bind::<Nullable<BigInt>, _>(value),
                Value::Float(value) => query.bind::<Nullable<Double>, _>(value),
            };
        }
        query.execute(connection).await?;
    }
    Ok(())
}
