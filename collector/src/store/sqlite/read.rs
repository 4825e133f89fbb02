//! The queries of the API.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable};
use diesel::sqlite::Sqlite;
use systole_shared::events::EventType;

use super::access::feed_position;
use crate::store::schema::*;
use crate::store::shapes::*;
use crate::store::*;

/// Values in one statement: SQLite takes 32,766, and a snapshot has all nodes.
const MAX_VARIABLES: usize = 10_000;

pub(super) fn list_nodes(connection: &mut SqliteConnection, query: &NodeQuery) -> Result<Vec<NodeView>, StoreError> {
    let mut select = nodes::table
        .select(NodeColumns::as_select())
        .order((nodes::name, nodes::id))
        .limit(query.limit)
        .into_boxed::<Sqlite>();
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(keys(environments)));
    }
    if let Some(id) = query.id {
        select = select.filter(nodes::uuid.eq(id.to_string()));
    }
    if let Some(status) = &query.status {
        select = select.filter(nodes::status.eq(status.clone()));
    }
    if let Some((name, key)) = &query.after {
        select = select.filter(nodes::name.gt(name.clone()).or(nodes::name.eq(name.clone()).and(nodes::id.gt(*key))));
    }
    let rows = select.load(connection)?;
    let mut statuses = Vec::new();
    for nodes in rows.iter().map(|row| row.id).collect::<Vec<_>>().chunks(MAX_VARIABLES) {
        statuses.extend(statuses_of_nodes(connection, nodes)?);
    }
    Ok(with_pipelines(rows, statuses))
}

fn statuses_of_nodes(connection: &mut SqliteConnection, nodes: &[i64]) -> Result<Vec<PipelineStatusView>, StoreError> {
    let rows: Vec<StatusColumns> = status_join!()
        .filter(pipeline_status::node.eq_any(nodes))
        .filter(pipeline_status::present.eq(1))
        .order((pipeline_status::node, pipelines::slug))
        .load(connection)?;
    Ok(status_views(rows))
}

pub(super) fn node_gaps(connection: &mut SqliteConnection, node: NodeKey) -> Result<Vec<NodeGapRow>, StoreError> {
    Ok(node_gaps::table
        .filter(node_gaps::node.eq(node.0))
        .order(node_gaps::recorded_at.desc())
        .limit(100)
        .select(NodeGapRow::as_select())
        .load(connection)?)
}

pub(super) fn node_minutes(
    connection: &mut SqliteConnection,
    node: NodeKey,
    range: MinuteRange,
) -> Result<Vec<NodeMinuteRow>, StoreError> {
    Ok(node_minutes::table
        .filter(node_minutes::node.eq(node.0))
        .filter(node_minutes::minute.ge(range.from).and(node_minutes::minute.lt(range.to)))
        .order(node_minutes::minute)
        .select(NodeMinuteRow::as_select())
        .load(connection)?)
}

pub(super) fn list_pipelines(
    connection: &mut SqliteConnection,
    query: &PipelineQuery,
) -> Result<Vec<PipelineView>, StoreError> {
    let mut select = pipelines::table
        .select(PipelineRow::as_select())
        .order((pipelines::slug, pipelines::id))
        .limit(query.limit)
        .into_boxed::<Sqlite>();
    if let Some(environments) = &query.environments {
        select = select.filter(pipelines::environment.eq_any(keys(environments)));
    }
    if let Some(id) = &query.id {
        select = select.filter(pipelines::slug.eq(id.clone()));
    }
    if let Some((slug, key)) = &query.after {
        select = select
            .filter(pipelines::slug.gt(slug.clone()).or(pipelines::slug.eq(slug.clone()).and(pipelines::id.gt(*key))));
    }
    let rows = select.load(connection)?;
    let statuses: Vec<StatusColumns> = status_join!()
        .filter(pipeline_status::pipeline.eq_any(rows.iter().map(|row| row.id).collect::<Vec<_>>()))
        .filter(pipeline_status::present.eq(1))
        .order((pipeline_status::pipeline, nodes::name))
        .load(connection)?;
    Ok(with_nodes(rows, statuses))
}

/// The part of a range in which a table has rows: never longer than its retention, however long the
/// question is.
fn within(connection: &mut SqliteConnection, table: &str, range: MinuteRange) -> Result<MinuteRange, StoreError> {
    #[derive(QueryableByName)]
    struct Ends {
        #[diesel(sql_type = Nullable<BigInt>)]
        first: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last: Option<i64>,
    }
    // Two sub-selects, because SQLite answers each from an end of the key.
    let ends: Ends = sql_query(format!(
        "SELECT (SELECT min(minute) FROM {table}) AS first, (SELECT max(minute) FROM {table}) AS last"
    ))
    .get_result(connection)?;
    let (first, last) = (ends.first.unwrap_or(0), ends.last.unwrap_or(0));
    Ok(MinuteRange { from: range.from.max(first), to: range.to.min(last + 1) })
}

/// The minutes of a range, so that a pipeline's rows are looked up by their key (minute, series)
/// instead of reading everybody's rows of these minutes.
const MINUTES: &str = "WITH RECURSIVE minutes(minute) AS \
     (SELECT ?1 WHERE ?1 < ?2 UNION ALL SELECT minute + 1 FROM minutes WHERE minute + 1 < ?2) ";

/// An average out of a sum and a weight; null without weight.
fn mean(name: &str) -> String {
    format!("CASE WHEN sum({name}_weight) > 0 THEN sum({name}_sum) / sum({name}_weight) END")
}

/// How counters are summed.
#[derive(Clone, Copy)]
enum Sum {
    /// To the last event, as long as the sum is below 2^63; SQLite refuses it beyond.
    Exact,
    /// In floating point up to 2^63-1, for sums that are beyond any sense.
    Saturating,
}

impl Sum {
    fn of(self, column: &str) -> String {
        match self {
            Sum::Exact => format!("sum({column}) AS {column}"),
            // sum() of nothing known is NULL, total() would be 0.
            Sum::Saturating => format!(
                "CASE WHEN count({column}) > 0 \
                 THEN CAST(min(total({column}), 9223372036854775807.0) AS INTEGER) END AS {column}"
            ),
        }
    }

    fn of_all(self, columns: &[&str]) -> String {
        columns.iter().map(|column| self.of(column)).collect::<Vec<_>>().join(", ")
    }
}

/// Runs a query with exact sums, and again without where one does not fit.
fn summed<T>(mut query: impl FnMut(Sum) -> QueryResult<Vec<T>>) -> Result<Vec<T>, StoreError> {
    match query(Sum::Exact) {
        Err(error) if error.to_string().contains("integer overflow") => Ok(query(Sum::Saturating)?),
        result => Ok(result?),
    }
}

pub(super) fn pipeline_minutes(
    connection: &mut SqliteConnection,
    pipeline: i64,
    node: Option<NodeKey>,
    range: MinuteRange,
) -> Result<Vec<PipelineMinuteView>, StoreError> {
    let range = within(connection, "pipeline_minutes", range)?;
    let counters = [
        "events_in",
        "events_out",
        "errors",
        "discarded",
        "bytes_in",
        "bytes_out",
        "samples",
        "gaps",
        "resets",
        "logs_dropped",
    ];
    summed(|sum| {
        sql_query(format!(
            "{MINUTES} SELECT rows.minute AS minute, {}, {} AS utilization, {} AS latency_ms \
             FROM minutes CROSS JOIN series CROSS JOIN pipeline_minutes AS rows \
             WHERE series.pipeline = ?3 AND series.component = '' AND (?4 IS NULL OR series.node = ?4) \
             AND rows.minute = minutes.minute AND rows.series = series.id \
             GROUP BY rows.minute ORDER BY rows.minute",
            sum.of_all(&counters),
            mean("utilization"),
            mean("latency"),
        ))
        .bind::<BigInt, _>(range.from)
        .bind::<BigInt, _>(range.to)
        .bind::<BigInt, _>(pipeline)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .load(connection)
    })
}

pub(super) fn component_minutes(
    connection: &mut SqliteConnection,
    pipeline: i64,
    node: Option<NodeKey>,
    range: MinuteRange,
) -> Result<Vec<ComponentMinuteView>, StoreError> {
    let range = within(connection, "component_minutes", range)?;
    let counters = ["received_events", "sent_events", "errors", "discarded", "received_bytes", "sent_bytes", "samples"];
    summed(|sum| {
        sql_query(format!(
            "{MINUTES} SELECT rows.minute AS minute, series.component AS component, max(series.kind) AS kind, \
             {}, {} AS utilization, {} AS latency_ms \
             FROM minutes CROSS JOIN series CROSS JOIN component_minutes AS rows \
             WHERE series.pipeline = ?3 AND series.component <> '' AND (?4 IS NULL OR series.node = ?4) \
             AND rows.minute = minutes.minute AND rows.series = series.id \
             GROUP BY rows.minute, series.component ORDER BY rows.minute, series.component",
            sum.of_all(&counters),
            mean("utilization"),
            mean("latency"),
        ))
        .bind::<BigInt, _>(range.from)
        .bind::<BigInt, _>(range.to)
        .bind::<BigInt, _>(pipeline)
        .bind::<Nullable<BigInt>, _>(node.map(|key| key.0))
        .load(connection)
    })
}

pub(super) fn list_logs(connection: &mut SqliteConnection, query: &LogQuery) -> Result<Vec<LogView>, StoreError> {
    let mut select = logs::table
        .inner_join(nodes::table.on(nodes::id.eq(logs::node)))
        .inner_join(pipelines::table.on(pipelines::id.eq(logs::pipeline)))
        .select((LogRow::as_select(), nodes::uuid, pipelines::slug))
        .filter(logs::seq.gt(query.after))
        .order(logs::seq)
        .limit(query.limit)
        .into_boxed::<Sqlite>();
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(keys(environments)));
    }
    if let Some(node) = query.node {
        select = select.filter(logs::node.eq(node.0));
    }
    if let Some(pipelines) = &query.pipelines {
        select = select.filter(logs::pipeline.eq_any(pipelines.clone()));
    }
    if let Some(min_level) = query.min_level {
        select = select.filter(logs::level.eq_any(levels_from(min_level)));
    }
    if let Some(text) = &query.text {
        select = select.filter(logs::line.like(like_pattern(text)).escape('\\'));
    }
    if let Some(from) = query.from {
        select = select.filter(logs::at.ge(from));
    }
    if let Some(to) = query.to {
        select = select.filter(logs::at.lt(to));
    }
    Ok(log_views(select.load(connection)?))
}

pub(super) fn list_status_changes(
    connection: &mut SqliteConnection,
    query: &StatusChangeQuery,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut select = events::table
        .select(EventRow::as_select())
        .filter(events::kind.eq(EventType::StatusChange.as_str()))
        .filter(events::seq.gt(query.after))
        .order(events::seq)
        .limit(query.limit)
        .into_boxed::<Sqlite>();
    if let Some(environments) = &query.environments {
        select = select.filter(events::environment.eq_any(keys(environments)));
    }
    if let Some(node) = query.node {
        select = select.filter(events::node.eq(node.0));
    }
    if let Some(pipelines) = &query.pipelines {
        select = select.filter(events::pipeline.eq_any(pipelines.iter().copied().map(Some).collect::<Vec<_>>()));
    }
    if let Some(from) = query.from {
        select = select.filter(events::at.ge(from));
    }
    if let Some(to) = query.to {
        select = select.filter(events::at.lt(to));
    }
    Ok(status_change_events(select.load(connection)?))
}

pub(super) fn snapshot(
    connection: &mut SqliteConnection,
    environments: Option<Vec<EnvironmentKey>>,
) -> Result<StateSnapshot, StoreError> {
    let watermark = feed_position(connection)?.head;
    let query = NodeQuery { environments, limit: i64::MAX, ..NodeQuery::default() };
    Ok(StateSnapshot { watermark, nodes: list_nodes(connection, &query)? })
}
