//! Minutes, hours and days for the queries of the API.

use diesel::sql_types::{BigInt, Nullable};
use diesel::{QueryDsl, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::store::convert::unsigned;
use crate::store::history::{Dialect, Subject, ends, history, node_history, series_of_pipeline};
use crate::store::schema::meta;
use crate::store::*;

/// The part of a range in which tables have rows: never longer than their retention, however long the
/// question is.
async fn within(
    connection: &mut AsyncPgConnection,
    table: &str,
    range: BucketRange,
) -> Result<BucketRange, StoreError> {
    #[derive(QueryableByName)]
    struct Ends {
        #[diesel(sql_type = Nullable<BigInt>)]
        first: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last: Option<i64>,
    }
    let ends: Vec<Ends> = sql_query(ends(table, range.step)).load(connection).await?;
    let first = ends.iter().filter_map(|ends| ends.first).min().unwrap_or(0);
    let last = ends.iter().filter_map(|ends| ends.last).max().unwrap_or(-1);
    Ok(BucketRange { from: range.from.max(first), to: range.to.min(last + 1), ..range })
}

/// Slices of the journal that are rows for everything that the same transaction reads.
async fn flush_count(connection: &mut AsyncPgConnection) -> Result<u64, StoreError> {
    let count: i64 = meta::table.find(1).select(meta::folds).first(connection).await?;
    Ok(unsigned(count))
}

async fn series(
    connection: &mut AsyncPgConnection,
    subject: Subject,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
) -> Result<Vec<SeriesView>, StoreError> {
    Ok(sql_query(series_of_pipeline(Dialect::Postgres, subject))
        .bind::<BigInt, _>(pipeline.0)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .load(connection)
        .await?)
}

pub(super) async fn pipeline_minutes(
    connection: &mut AsyncPgConnection,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
) -> Result<Persisted<PipelineMinuteView>, StoreError> {
    let read = async |connection: &mut AsyncPgConnection| {
        let flushes = flush_count(connection).await?;
        let series = series(connection, Subject::Pipeline, pipeline, node).await?;
        let range = within(connection, "pipeline", range).await?;
        let rows = sql_query(history(Dialect::Postgres, Subject::Pipeline, range.step))
            .bind::<BigInt, _>(range.from)
            .bind::<BigInt, _>(range.to)
            .bind::<BigInt, _>(pipeline.0)
            .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
            .load(connection)
            .await?;
        Ok(Persisted { rows, flushes, series })
    };
    connection.build_transaction().read_only().repeatable_read().run(read).await
}

pub(super) async fn component_minutes(
    connection: &mut AsyncPgConnection,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
) -> Result<Persisted<ComponentMinuteView>, StoreError> {
    let read = async |connection: &mut AsyncPgConnection| {
        let flushes = flush_count(connection).await?;
        let series = series(connection, Subject::Component, pipeline, node).await?;
        let range = within(connection, "component", range).await?;
        let rows = sql_query(history(Dialect::Postgres, Subject::Component, range.step))
            .bind::<BigInt, _>(range.from)
            .bind::<BigInt, _>(range.to)
            .bind::<BigInt, _>(pipeline.0)
            .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
            .load(connection)
            .await?;
        Ok(Persisted { rows, flushes, series })
    };
    connection.build_transaction().read_only().repeatable_read().run(read).await
}

pub(super) async fn node_minutes(
    connection: &mut AsyncPgConnection,
    node: NodeKey,
    range: BucketRange,
) -> Result<Persisted<HostAggregate>, StoreError> {
    let read = async |connection: &mut AsyncPgConnection| {
        let flushes = flush_count(connection).await?;
        let range = within(connection, "node", range).await?;
        let rows = sql_query(node_history(Dialect::Postgres, range.step))
            .bind::<BigInt, _>(range.from)
            .bind::<BigInt, _>(range.to)
            .bind::<BigInt, _>(node.0)
            .load(connection)
            .await?;
        Ok(Persisted { rows, flushes, series: Vec::new() })
    };
    connection.build_transaction().read_only().repeatable_read().run(read).await
}
