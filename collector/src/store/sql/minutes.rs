//! Minutes, hours and days for the queries of the API. The caller has begun the transaction.

use diesel::sql_types::{BigInt, Nullable};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, QueryDsl, QueryResult, QueryableByName, SelectableHelper, sql_query,
};

use super::backend::{Backend, Connection, DIALECT, RunQueryDsl, saturating};
use crate::store::convert::unsigned;
use crate::store::schema::{meta, node_minutes, pipeline_minutes, series};
use crate::store::sql::history::{
    Dialect, Subject, ends, extremes, history, node_history as sql_of_node, series_of_pipeline,
};
use crate::store::*;

/// The part of a range in which tables have rows: never longer than their retention, however long the
/// question is.
async fn within(connection: &mut Connection, table: &str, range: BucketRange) -> Result<BucketRange, StoreError> {
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
async fn flush_count(connection: &mut Connection) -> Result<u64, StoreError> {
    let count: i64 = meta::table.find(1).select(meta::folds).first(connection).await?;
    Ok(unsigned(count))
}

async fn series_of(
    connection: &mut Connection,
    subject: Subject,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
) -> Result<Vec<SeriesView>, StoreError> {
    Ok(sql_query(series_of_pipeline(DIALECT, subject))
        .bind::<BigInt, _>(pipeline.0)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .load(connection)
        .await?)
}

/// A pipeline or its components by minute, hour or day.
pub(super) async fn pipeline_history<R: QueryableByName<Backend> + Send + 'static>(
    connection: &mut Connection,
    subject: Subject,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
) -> Result<Persisted<R>, StoreError> {
    let flushes = flush_count(connection).await?;
    let series = series_of(connection, subject, pipeline, node).await?;
    let range = within(connection, subject.name(), range).await?;
    let rows = match sums(connection, DIALECT, subject, pipeline, node, range).await {
        Ok(rows) => rows,
        Err(error) => match saturating(&error) {
            Some(dialect) => sums(connection, dialect, subject, pipeline, node, range).await?,
            None => return Err(error.into()),
        },
    };
    Ok(Persisted { rows, flushes, series })
}

async fn sums<R: QueryableByName<Backend> + Send + 'static>(
    connection: &mut Connection,
    dialect: Dialect,
    subject: Subject,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
) -> QueryResult<Vec<R>> {
    sql_query(history(dialect, subject, range.step))
        .bind::<BigInt, _>(range.from)
        .bind::<BigInt, _>(range.to)
        .bind::<BigInt, _>(pipeline.0)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .load(connection)
        .await
}

/// The extremes of a pipeline or its components by hour or day.
pub(super) async fn pipeline_extremes<R: QueryableByName<Backend> + Send + 'static>(
    connection: &mut Connection,
    subject: Subject,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
    minutes_before: i64,
) -> Result<Vec<R>, StoreError> {
    let range = within(connection, subject.name(), range).await?;
    match ends_of_minutes(connection, DIALECT, subject, pipeline, node, (range, minutes_before)).await {
        Ok(rows) => Ok(rows),
        Err(error) => match saturating(&error) {
            Some(dialect) => {
                Ok(ends_of_minutes(connection, dialect, subject, pipeline, node, (range, minutes_before)).await?)
            }
            None => Err(error.into()),
        },
    }
}

async fn ends_of_minutes<R: QueryableByName<Backend> + Send + 'static>(
    connection: &mut Connection,
    dialect: Dialect,
    subject: Subject,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    (range, minutes_before): (BucketRange, i64),
) -> QueryResult<Vec<R>> {
    sql_query(extremes(dialect, subject, range.step))
        .bind::<BigInt, _>(range.from)
        .bind::<BigInt, _>(range.to)
        .bind::<BigInt, _>(pipeline.0)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .bind::<BigInt, _>(minutes_before)
        .load(connection)
        .await
}

/// How many nodes have a pipeline.
pub(super) async fn pipeline_nodes(connection: &mut Connection, pipeline: PipelineKey) -> Result<i64, StoreError> {
    let of_pipeline = series::table.filter(series::pipeline.eq(pipeline.0).and(series::component.eq("")));
    Ok(of_pipeline.count().get_result(connection).await?)
}

pub(super) async fn node_history(
    connection: &mut Connection,
    node: NodeKey,
    range: BucketRange,
) -> Result<Persisted<HostAggregate>, StoreError> {
    let flushes = flush_count(connection).await?;
    let range = within(connection, "node", range).await?;
    let rows = sql_query(sql_of_node(DIALECT, range.step))
        .bind::<BigInt, _>(range.from)
        .bind::<BigInt, _>(range.to)
        .bind::<BigInt, _>(node.0)
        .load(connection)
        .await?;
    Ok(Persisted { rows, flushes, series: Vec::new() })
}

/// The fullest buffer of each pipeline on a node, by minute. What a buffer holds at most is counted in events or bytes.
const BUFFER_FILLS: &str = "SELECT c.minute AS minute, own.id AS series, \
    max(CASE WHEN c.buffer_max_events > 0 THEN CAST(c.buffer_events AS DOUBLE PRECISION) / c.buffer_max_events \
        ELSE CAST(c.buffer_bytes AS DOUBLE PRECISION) / c.buffer_max_bytes END) AS fill \
    FROM component_minutes c JOIN series s ON s.id = c.series \
    JOIN series own ON own.node = s.node AND own.pipeline = s.pipeline AND own.component = '' \
    WHERE c.minute >= $1 AND c.minute < $2 \
    AND ((c.buffer_max_events > 0 AND c.buffer_events IS NOT NULL) \
        OR (c.buffer_max_bytes > 0 AND c.buffer_bytes IS NOT NULL)) \
    GROUP BY c.minute, own.id";

/// See [`MinuteStore::minute_rows`].
pub(super) async fn rows(
    connection: &mut Connection,
    from: i64,
    to: i64,
    of: RowsOf,
) -> Result<MinuteRows, StoreError> {
    let flushes = flush_count(connection).await?;
    let pipelines = pipeline_minutes::table
        .filter(pipeline_minutes::minute.ge(from))
        .filter(pipeline_minutes::minute.lt(to))
        .order((pipeline_minutes::minute, pipeline_minutes::series))
        .select(PipelineMinuteRow::as_select())
        .load(connection)
        .await?;
    if of == RowsOf::Pipelines {
        return Ok(MinuteRows { pipelines, flushes, ..MinuteRows::default() });
    }
    let hosts = node_minutes::table
        .filter(node_minutes::minute.ge(from))
        .filter(node_minutes::minute.lt(to))
        .order((node_minutes::minute, node_minutes::node))
        .select(NodeMinuteRow::as_select())
        .load(connection)
        .await?;
    let fills = sql_query(DIALECT.finish(BUFFER_FILLS.to_owned()))
        .bind::<BigInt, _>(from)
        .bind::<BigInt, _>(to)
        .load(connection)
        .await?;
    Ok(MinuteRows { pipelines, fills, hosts, flushes })
}
