//! The queries of the API.
//!
//! Names sort by their bytes, as on SQLite, whatever the locale of the server is.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use systole_shared::events::EventType;

use super::access::feed_position;
use super::rows::storable;
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::*;

pub(super) async fn list_nodes(
    connection: &mut AsyncPgConnection,
    query: &NodeQuery,
) -> Result<Vec<NodeView>, StoreError> {
    let mut select = nodes::table
        .select(NodeColumns::as_select())
        .order((nodes::name, nodes::id))
        .limit(query.limit)
        .into_boxed::<Pg>();
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(keys(environments)));
    }
    if let Some(id) = query.id {
        select = select.filter(nodes::uuid.eq(id.to_string()));
    }
    if let Some(status) = &query.status {
        select = select.filter(nodes::status.eq(storable(status).into_owned()));
    }
    if let Some((name, key)) = &query.after {
        let name = storable(name).into_owned();
        select = select.filter(nodes::name.gt(name.clone()).or(nodes::name.eq(name).and(nodes::id.gt(*key))));
    }
    let rows: Vec<NodeColumns> = select.load(connection).await?;
    let statuses: Vec<StatusColumns> = status_join!()
        .filter(pipeline_status::node.eq_any(rows.iter().map(|row| row.id).collect::<Vec<_>>()))
        .filter(pipeline_status::present.eq(1))
        .order((pipeline_status::node, pipelines::slug))
        .load(connection)
        .await?;
    Ok(with_pipelines(rows, status_views(statuses)))
}

pub(super) async fn node_gaps(
    connection: &mut AsyncPgConnection,
    node: NodeKey,
) -> Result<Vec<NodeGapRow>, StoreError> {
    Ok(node_gaps::table
        .filter(node_gaps::node.eq(node.0))
        .order(node_gaps::recorded_at.desc())
        .limit(100)
        .select(NodeGapRow::as_select())
        .load(connection)
        .await?)
}

pub(super) async fn find_pipelines(
    connection: &mut AsyncPgConnection,
    environments: Option<&[EnvironmentKey]>,
    id: &str,
) -> Result<Vec<(PipelineKey, EnvironmentKey)>, StoreError> {
    let mut select = pipelines::table
        .select((pipelines::id, pipelines::environment))
        .filter(pipelines::slug.eq(storable(id).into_owned()))
        .order(pipelines::environment)
        .into_boxed::<Pg>();
    // The index begins with the environment, so each environment is named also when all are meant.
    select = match environments {
        Some(environments) => select.filter(pipelines::environment.eq_any(keys(environments))),
        None => select.filter(pipelines::environment.eq_any(environments::table.select(environments::id))),
    };
    let found: Vec<(i64, i64)> = select.load(connection).await?;
    Ok(found.into_iter().map(|(key, environment)| (PipelineKey(key), EnvironmentKey(environment))).collect())
}

pub(super) async fn list_pipelines(
    connection: &mut AsyncPgConnection,
    query: &PipelineQuery,
) -> Result<Vec<PipelineView>, StoreError> {
    let mut select = pipelines::table
        .select(PipelineRow::as_select())
        .order((pipelines::slug, pipelines::id))
        .limit(query.limit)
        .into_boxed::<Pg>();
    if let Some(environments) = &query.environments {
        select = select.filter(pipelines::environment.eq_any(keys(environments)));
    }
    if let Some(id) = &query.id {
        select = select.filter(pipelines::slug.eq(storable(id).into_owned()));
    }
    if let Some((slug, key)) = &query.after {
        let slug = storable(slug).into_owned();
        select =
            select.filter(pipelines::slug.gt(slug.clone()).or(pipelines::slug.eq(slug).and(pipelines::id.gt(*key))));
    }
    let rows: Vec<PipelineRow> = select.load(connection).await?;
    let statuses: Vec<StatusColumns> = status_join!()
        .filter(pipeline_status::pipeline.eq_any(rows.iter().map(|row| row.id).collect::<Vec<_>>()))
        .filter(pipeline_status::present.eq(1))
        .order((pipeline_status::pipeline, nodes::name))
        .load(connection)
        .await?;
    Ok(with_nodes(rows, statuses))
}

pub(super) async fn list_status_changes(
    connection: &mut AsyncPgConnection,
    query: &StatusChangeQuery,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut select = events::table
        .select(EventRow::as_select())
        .filter(events::kind.eq(EventType::StatusChange.as_str()))
        .filter(events::seq.gt(query.after))
        .order(events::seq)
        .limit(query.limit)
        .into_boxed::<Pg>();
    if let Some(environments) = &query.environments {
        select = select.filter(events::environment.eq_any(keys(environments)));
    }
    if let Some(node) = query.node {
        select = select.filter(events::node.eq(node.0));
    }
    if let Some(pipelines) = &query.pipelines {
        select = select.filter(events::pipeline.eq_any(pipelines.iter().map(|key| Some(key.0)).collect::<Vec<_>>()));
    }
    if let Some(from) = query.from {
        select = select.filter(events::at.ge(from));
    }
    if let Some(to) = query.to {
        select = select.filter(events::at.lt(to));
    }
    Ok(status_change_events(select.load(connection).await?))
}

pub(super) async fn snapshot(
    connection: &mut AsyncPgConnection,
    environments: Option<Vec<EnvironmentKey>>,
) -> Result<StateSnapshot, StoreError> {
    let query = NodeQuery { environments, limit: i64::MAX, ..NodeQuery::default() };
    connection
        .build_transaction()
        .read_only()
        .repeatable_read()
        .run(async |connection: &mut AsyncPgConnection| {
            let watermark = feed_position(connection).await?.head;
            Ok(StateSnapshot { watermark, nodes: list_nodes(connection, &query).await? })
        })
        .await
}
