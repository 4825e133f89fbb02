//! Durable events in order of commit.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use systole_shared::events::EventType;

use super::backend::{Backend, Connection, KEYS, RunQueryDsl, storable};
use super::read::feed_position;
use crate::store::convert::{LogColumns, among, keys, node_keys_json, signed};
use crate::store::replay::{self, LINES_PER_PAGE};
use crate::store::schema::*;
use crate::store::{EventRow, LogRow, ReplayPage, ReplayQuery, StoreError};

/// The next events of a replay. The caller has begun the transaction.
pub(super) async fn page(connection: &mut Connection, query: &ReplayQuery) -> Result<ReplayPage, StoreError> {
    let kinds = [EventType::StatusChange, EventType::Deployment, EventType::Alert];
    let kinds: Vec<&str> = kinds.into_iter().filter(|kind| query.types.contains(kind)).map(EventType::as_str).collect();
    let changes = match kinds.is_empty() {
        true => None,
        false => Some(kept_events(connection, query, kinds).await?),
    };
    let lines = match query.types.contains(&EventType::LogEntry) {
        true => Some(log_lines(connection, query).await?),
        false => None,
    };
    let oldest = feed_position(connection).await?.oldest;
    replay::page(query, changes, lines, oldest)
}

async fn kept_events(connection: &mut Connection, query: &ReplayQuery, kinds: Vec<&str>) -> QueryResult<Vec<EventRow>> {
    let mut select = events::table
        .select(EventRow::as_select())
        .filter(events::seq.gt(signed(query.after)).and(events::seq.le(signed(query.to))))
        .filter(events::kind.eq_any(kinds))
        .order(events::seq)
        .limit(i64::from(query.limit))
        .into_boxed::<Backend>();
    if let Some(environments) = &query.environments {
        select = select.filter(events::environment.eq_any(keys(environments)));
    }
    if !query.nodes.is_empty() {
        select = select.filter(events::node.eq_any(node_keys(connection, query).await?));
    }
    if let Some(among) = &query.among {
        select = select.filter(among!("events.node", among));
    }
    if !query.pipelines.is_empty() {
        let pipelines = pipeline_keys(connection, query).await?;
        let is_of_pipeline = events::pipeline.eq_any(pipelines.into_iter().map(Some).collect::<Vec<_>>());
        // A deployment before the first report of its pipeline has no key; `replay::page` reads its id.
        let has_no_key = events::pipeline.is_null().and(events::kind.eq(EventType::Deployment.as_str()));
        select = select.filter(is_of_pipeline.assume_not_null().or(has_no_key));
    }
    select.load(connection).await
}

async fn log_lines(connection: &mut Connection, query: &ReplayQuery) -> QueryResult<Vec<LogColumns>> {
    let mut select = logs::table
        .inner_join(nodes::table.on(nodes::id.eq(logs::node)))
        .inner_join(pipelines::table.on(pipelines::id.eq(logs::pipeline)))
        .select((LogRow::as_select(), nodes::uuid, pipelines::slug))
        .filter(logs::seq.gt(signed(query.after)).and(logs::entry_seq.le(signed(query.to))))
        .order(logs::seq)
        .limit(LINES_PER_PAGE)
        .into_boxed::<Backend>();
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(keys(environments)));
    }
    if !query.nodes.is_empty() {
        select = select.filter(logs::node.eq_any(node_keys(connection, query).await?));
    }
    if let Some(among) = &query.among {
        select = select.filter(among!("logs.node", among));
    }
    if !query.pipelines.is_empty() {
        select = select.filter(logs::pipeline.eq_any(pipeline_keys(connection, query).await?));
    }
    select.load(connection).await
}

async fn node_keys(connection: &mut Connection, query: &ReplayQuery) -> QueryResult<Vec<i64>> {
    let uuids: Vec<String> = query.nodes.iter().map(ToString::to_string).collect();
    let mut keys: Vec<i64> = nodes::table.filter(nodes::uuid.eq_any(&uuids)).select(nodes::id).load(connection).await?;
    // The events of a removed node outlive it.
    let removed = removed_nodes::table.filter(removed_nodes::uuid.eq_any(&uuids)).select(removed_nodes::id);
    keys.extend(removed.load::<i64>(connection).await?);
    Ok(keys)
}

async fn pipeline_keys(connection: &mut Connection, query: &ReplayQuery) -> QueryResult<Vec<i64>> {
    let slugs: Vec<String> = query.pipelines.iter().map(|slug| storable(slug).into_owned()).collect();
    pipelines::table.filter(pipelines::slug.eq_any(slugs)).select(pipelines::id).load(connection).await
}
