//! Minutes, hours and days for the queries of the API.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable};

use crate::store::convert::unsigned;
use crate::store::history::{Dialect, Subject, ends, history, node_history, series_of_pipeline};
use crate::store::schema::meta;
use crate::store::*;

/// The part of a range in which tables have rows: never longer than their retention, however long the
/// question is.
fn within(connection: &mut SqliteConnection, table: &str, range: BucketRange) -> Result<BucketRange, StoreError> {
    #[derive(QueryableByName)]
    struct Ends {
        #[diesel(sql_type = Nullable<BigInt>)]
        first: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last: Option<i64>,
    }
    let ends: Vec<Ends> = sql_query(ends(table, range.step)).load(connection)?;
    let first = ends.iter().filter_map(|ends| ends.first).min().unwrap_or(0);
    let last = ends.iter().filter_map(|ends| ends.last).max().unwrap_or(-1);
    Ok(BucketRange { from: range.from.max(first), to: range.to.min(last + 1), ..range })
}

/// Slices of the journal that are rows for everything that the same transaction reads.
fn flush_count(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let count: i64 = meta::table.find(1).select(meta::folds).first(connection)?;
    Ok(unsigned(count))
}

fn series(
    connection: &mut SqliteConnection,
    subject: Subject,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
) -> Result<Vec<SeriesView>, StoreError> {
    Ok(sql_query(series_of_pipeline(Dialect::Sqlite, subject))
        .bind::<BigInt, _>(pipeline.0)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .load(connection)?)
}

/// Runs a query with exact sums, and again without where one does not fit.
pub(super) fn summed<T>(mut query: impl FnMut(Dialect) -> QueryResult<T>) -> Result<T, StoreError> {
    match query(Dialect::Sqlite) {
        Err(error) if error.to_string().contains("integer overflow") => Ok(query(Dialect::SqliteSaturating)?),
        result => Ok(result?),
    }
}

pub(super) fn pipeline_minutes(
    connection: &mut SqliteConnection,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
) -> Result<Persisted<PipelineMinuteView>, StoreError> {
    connection.transaction(|connection| {
        let flushes = flush_count(connection)?;
        let series = series(connection, Subject::Pipeline, pipeline, node)?;
        let range = within(connection, "pipeline", range)?;
        let rows = summed(|dialect| {
            sql_query(history(dialect, Subject::Pipeline, range.step))
                .bind::<BigInt, _>(range.from)
                .bind::<BigInt, _>(range.to)
                .bind::<BigInt, _>(pipeline.0)
                .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
                .load(connection)
        })?;
        Ok(Persisted { rows, flushes, series })
    })
}

pub(super) fn component_minutes(
    connection: &mut SqliteConnection,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
) -> Result<Persisted<ComponentMinuteView>, StoreError> {
    connection.transaction(|connection| {
        let flushes = flush_count(connection)?;
        let series = series(connection, Subject::Component, pipeline, node)?;
        let range = within(connection, "component", range)?;
        let rows = summed(|dialect| {
            sql_query(history(dialect, Subject::Component, range.step))
                .bind::<BigInt, _>(range.from)
                .bind::<BigInt, _>(range.to)
                .bind::<BigInt, _>(pipeline.0)
                .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
                .load(connection)
        })?;
        Ok(Persisted { rows, flushes, series })
    })
}

pub(super) fn node_minutes(
    connection: &mut SqliteConnection,
    node: NodeKey,
    range: BucketRange,
) -> Result<Persisted<HostAggregate>, StoreError> {
    connection.transaction(|connection| {
        let flushes = flush_count(connection)?;
        let range = within(connection, "node", range)?;
        let rows = sql_query(node_history(Dialect::Sqlite, range.step))
            .bind::<BigInt, _>(range.from)
            .bind::<BigInt, _>(range.to)
            .bind::<BigInt, _>(node.0)
            .load(connection)?;
        Ok(Persisted { rows, flushes, series: Vec::new() })
    })
}
