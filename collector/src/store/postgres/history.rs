//! Minutes, hours and days for the queries of the API.

use diesel::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::store::history::{Dialect, Subject, ends, history, node_history};
use crate::store::span::merged;
use crate::store::*;

/// The part of a range in which tables have rows: never longer than their retention, however long the
/// question is.
async fn within(connection: &mut AsyncPgConnection, table: &str, range: StepRange) -> Result<StepRange, StoreError> {
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
    Ok(StepRange { from: range.from.max(first), to: range.to.min(last + 1), ..range })
}

pub(super) async fn pipeline_minutes(
    connection: &mut AsyncPgConnection,
    pipeline: i64,
    node: Option<NodeKey>,
    range: StepRange,
) -> Result<Vec<PipelineMinuteView>, StoreError> {
    let range = within(connection, "pipeline", range).await?;
    Ok(sql_query(history(Dialect::Postgres, Subject::Pipeline, range.step))
        .bind::<BigInt, _>(range.from)
        .bind::<BigInt, _>(range.to)
        .bind::<BigInt, _>(pipeline)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .load(connection)
        .await?)
}

pub(super) async fn component_minutes(
    connection: &mut AsyncPgConnection,
    pipeline: i64,
    node: Option<NodeKey>,
    range: StepRange,
) -> Result<Vec<ComponentMinuteView>, StoreError> {
    let range = within(connection, "component", range).await?;
    Ok(sql_query(history(Dialect::Postgres, Subject::Component, range.step))
        .bind::<BigInt, _>(range.from)
        .bind::<BigInt, _>(range.to)
        .bind::<BigInt, _>(pipeline)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .load(connection)
        .await?)
}

pub(super) async fn node_minutes(
    connection: &mut AsyncPgConnection,
    node: NodeKey,
    range: StepRange,
) -> Result<Vec<NodeSpan>, StoreError> {
    let range = within(connection, "node", range).await?;
    let parts = sql_query(node_history(Dialect::Postgres, range.step))
        .bind::<BigInt, _>(range.from)
        .bind::<BigInt, _>(range.to)
        .bind::<BigInt, _>(node.0)
        .load(connection)
        .await?;
    Ok(merged(parts))
}
