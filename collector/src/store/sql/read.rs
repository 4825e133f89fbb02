//! The queries of the API.
//!
//! Names sort by their bytes on both, whatever the locale of a server is.

use diesel::dsl::{exists, sql};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use super::backend::{Backend, Connection, KEYS, MAX_VALUES, RunQueryDsl, storable};
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::*;

pub(super) async fn feed_position(connection: &mut Connection) -> Result<FeedPosition, StoreError> {
    let (epoch, head, log, event): (String, i64, i64, i64) = meta::table
        .find(1)
        .select((meta::epoch, meta::head_seq, meta::oldest_log, meta::oldest_event))
        .first(connection)
        .await?;
    let oldest = Oldest { log: unsigned(log), event: unsigned(event) };
    Ok(FeedPosition { epoch: epoch.into(), head: unsigned(head), oldest })
}

pub(super) async fn list_nodes(connection: &mut Connection, query: &NodeQuery) -> Result<Vec<NodeView>, StoreError> {
    let mut select = nodes::table
        .select(NodeColumns::as_select())
        .order((shown_name(nodes::set_name, nodes::name), nodes::id))
        .limit(query.limit)
        .into_boxed::<Backend>();
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(keys(environments)));
    }
    if let Some(id) = query.id {
        select = select.filter(nodes::uuid.eq(id.to_string()));
    }
    if let Some(among) = &query.among {
        select = select.filter(among!("nodes.id", among));
    }
    let rows: Vec<NodeColumns> = select.load(connection).await?;
    let keys: Vec<i64> = if query.without_pipelines { Vec::new() } else { rows.iter().map(|row| row.id).collect() };
    let mut statuses = Vec::new();
    for nodes in keys.chunks(MAX_VALUES) {
        let of_nodes: Vec<StatusColumns> = status_join!()
            .filter(pipeline_status::node.eq_any(nodes))
            .filter(pipeline_status::present.eq(1))
            .order((pipeline_status::node, pipelines::slug))
            .load(connection)
            .await?;
        statuses.extend(of_nodes);
    }
    Ok(with_pipelines(rows, status_views(statuses)))
}

pub(super) async fn node_gaps(connection: &mut Connection, node: NodeKey) -> Result<Vec<NodeGapRow>, StoreError> {
    Ok(node_gaps::table
        .filter(node_gaps::node.eq(node.0))
        .order(node_gaps::recorded_at.desc())
        .limit(100)
        .select(NodeGapRow::as_select())
        .load(connection)
        .await?)
}

pub(super) async fn find_pipelines(
    connection: &mut Connection,
    environments: Option<&[EnvironmentKey]>,
    id: &str,
) -> Result<Vec<(PipelineKey, EnvironmentKey)>, StoreError> {
    let mut select = pipelines::table
        .select((pipelines::id, pipelines::environment))
        .filter(pipelines::slug.eq(storable(id).into_owned()))
        .order(pipelines::environment)
        .into_boxed::<Backend>();
    // The index begins with the environment, so each environment is named also when all are meant.
    select = match environments {
        Some(environments) => select.filter(pipelines::environment.eq_any(keys(environments))),
        None => select.filter(pipelines::environment.eq_any(environments::table.select(environments::id))),
    };
    let found: Vec<(i64, i64)> = select.load(connection).await?;
    Ok(found.into_iter().map(|(key, environment)| (PipelineKey(key), EnvironmentKey(environment))).collect())
}

pub(super) async fn list_pipelines(
    connection: &mut Connection,
    query: &PipelineQuery,
) -> Result<Vec<PipelineView>, StoreError> {
    let mut select = pipelines::table
        .select(PipelineRow::as_select())
        .order((pipelines::slug, pipelines::id))
        .limit(query.limit)
        .into_boxed::<Backend>();
    if let Some(environments) = &query.environments {
        select = select.filter(pipelines::environment.eq_any(keys(environments)));
    }
    if let Some(id) = &query.id {
        select = select.filter(pipelines::slug.eq(storable(id).into_owned()));
    }
    if let Some(keys) = &query.keys {
        select = select.filter(pipelines::id.eq_any(pipeline_keys(keys)));
    }
    // A removed node may have been the last one that had the pipeline.
    let has_node = exists(pipeline_status::table.filter(pipeline_status::pipeline.eq(pipelines::id)));
    select = select.filter(pipelines::unused_since.is_null().or(has_node));
    if let Some(among) = &query.among {
        let is_there = pipeline_status::table
            .filter(pipeline_status::pipeline.eq(pipelines::id).and(pipeline_status::present.eq(1)))
            .filter(among!("pipeline_status.node", among));
        select = select.filter(exists(is_there));
    }
    let rows: Vec<PipelineRow> = select.load(connection).await?;
    let mut statuses = status_join!()
        .filter(pipeline_status::pipeline.eq_any(rows.iter().map(|row| row.id).collect::<Vec<_>>()))
        .filter(pipeline_status::present.eq(1))
        .order((pipeline_status::pipeline, shown_name(nodes::set_name, nodes::name)))
        .into_boxed::<Backend>();
    if let Some(among) = &query.among {
        statuses = statuses.filter(among!("pipeline_status.node", among));
    }
    let statuses: Vec<StatusColumns> = statuses.load(connection).await?;
    Ok(with_nodes(rows, statuses))
}

pub(super) async fn list_events(
    connection: &mut Connection,
    query: &EventQuery,
) -> Result<Vec<StoredEvent>, StoreError> {
    let (lowest, highest) = query.order.bounds(query.after);
    let mut select = events::table
        .select(EventRow::as_select())
        .filter(events::kind.eq(query.events.kind().as_str()))
        .filter(events::seq.between(lowest, highest))
        .limit(query.limit)
        .into_boxed::<Backend>();
    select = match query.order {
        ListOrder::OldestFirst => select.order(events::seq),
        ListOrder::NewestFirst => select.order(events::seq.desc()),
    };
    if let Some(environments) = &query.environments {
        select = select.filter(events::environment.eq_any(keys(environments)));
    }
    if let Some(node) = query.node {
        select = select.filter(events::node.eq(node.0));
    }
    if let Some(among) = &query.among {
        select = select.filter(among!("events.node", among));
    }
    if let Some(pipelines) = &query.pipelines {
        select = select.filter(events::pipeline.eq_any(pipelines.iter().map(|key| Some(key.0)).collect::<Vec<_>>()));
    }
    if let Some(id) = &query.pipeline_id {
        // The payload is the JSON that this program writes.
        let named = format!("\"pipelineId\":{},", serde_json::Value::from(id.as_str()));
        select = select.filter(events::payload.like(like_pattern(storable(&named).as_ref())).escape('\\'));
    }
    if let Some(from) = query.from {
        select = select.filter(events::at.ge(from));
    }
    if let Some(to) = query.to {
        select = select.filter(events::at.lt(to));
    }
    Ok(kept_events(select.load(connection).await?))
}

/// See [`crate::store::MinuteStore::snapshot`]. The caller has begun the transaction.
pub(super) async fn snapshot(
    connection: &mut Connection,
    environments: Option<Vec<EnvironmentKey>>,
    parts: StateParts,
) -> Result<StateSnapshot, StoreError> {
    let watermark = feed_position(connection).await?.head;
    let without_pipelines = parts == StateParts::Nodes;
    let query = NodeQuery { environments, without_pipelines, limit: i64::MAX, ..NodeQuery::default() };
    Ok(StateSnapshot { watermark, nodes: list_nodes(connection, &query).await? })
}
