//! Durable events in order of commit.

use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use systole_shared::events::EventType;

use super::access::feed_position;
use crate::store::convert::{LogColumns, keys, signed};
use crate::store::replay::{self, LINES_PER_PAGE};
use crate::store::schema::*;
use crate::store::{EventRow, LogRow, ReplayPage, ReplayQuery, StoreError};

/// The next events of a replay.
pub(super) fn page(connection: &mut SqliteConnection, query: &ReplayQuery) -> Result<ReplayPage, StoreError> {
    let wants = |kind| query.types.contains(&kind);
    let changes = wants(EventType::StatusChange).then(|| status_changes(connection, query)).transpose()?;
    let lines = wants(EventType::LogEntry).then(|| log_lines(connection, query)).transpose()?;
    let oldest = feed_position(connection)?.oldest;
    replay::page(query, changes, lines, oldest)
}

fn status_changes(connection: &mut SqliteConnection, query: &ReplayQuery) -> QueryResult<Vec<EventRow>> {
    let mut select = events::table
        .select(EventRow::as_select())
        .filter(events::seq.gt(signed(query.after)).and(events::seq.le(signed(query.to))))
        .order(events::seq)
        .limit(i64::from(query.limit))
        .into_boxed::<Sqlite>();
    if let Some(environments) = &query.environments {
        select = select.filter(events::environment.eq_any(keys(environments)));
    }
    if !query.nodes.is_empty() {
        select = select.filter(events::node.eq_any(node_keys(connection, query)?));
    }
    if !query.pipelines.is_empty() {
        select = select.filter(
            events::pipeline.eq_any(pipeline_keys(connection, query)?.into_iter().map(Some).collect::<Vec<_>>()),
        );
    }
    select.load(connection)
}

fn log_lines(connection: &mut SqliteConnection, query: &ReplayQuery) -> QueryResult<Vec<LogColumns>> {
    let mut select = logs::table
        .inner_join(nodes::table.on(nodes::id.eq(logs::node)))
        .inner_join(pipelines::table.on(pipelines::id.eq(logs::pipeline)))
        .select((LogRow::as_select(), nodes::uuid, pipelines::slug))
        .filter(logs::seq.gt(signed(query.after)).and(logs::entry_seq.le(signed(query.to))))
        .order(logs::seq)
        .limit(LINES_PER_PAGE)
        .into_boxed::<Sqlite>();
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(keys(environments)));
    }
    if !query.nodes.is_empty() {
        select = select.filter(logs::node.eq_any(node_keys(connection, query)?));
    }
    if !query.pipelines.is_empty() {
        select = select.filter(logs::pipeline.eq_any(pipeline_keys(connection, query)?));
    }
    select.load(connection)
}

fn node_keys(connection: &mut SqliteConnection, query: &ReplayQuery) -> QueryResult<Vec<i64>> {
    let uuids: Vec<String> = query.nodes.iter().map(ToString::to_string).collect();
    nodes::table.filter(nodes::uuid.eq_any(uuids)).select(nodes::id).load(connection)
}

fn pipeline_keys(connection: &mut SqliteConnection, query: &ReplayQuery) -> QueryResult<Vec<i64>> {
    pipelines::table.filter(pipelines::slug.eq_any(&query.pipelines)).select(pipelines::id).load(connection)
}
