//! The queries of the API.

use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use systole_shared::events::EventType;

use super::access::feed_position;
use crate::store::convert::*;
use crate::store::schema::*;
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

pub(super) fn find_pipelines(
    connection: &mut SqliteConnection,
    environments: Option<&[EnvironmentKey]>,
    id: &str,
) -> Result<Vec<(PipelineKey, EnvironmentKey)>, StoreError> {
    let mut select = pipelines::table
        .select((pipelines::id, pipelines::environment))
        .filter(pipelines::slug.eq(id))
        .order(pipelines::environment)
        .into_boxed::<Sqlite>();
    // The index begins with the environment, so each environment is named also when all are meant.
    select = match environments {
        Some(environments) => select.filter(pipelines::environment.eq_any(keys(environments))),
        None => select.filter(pipelines::environment.eq_any(environments::table.select(environments::id))),
    };
    let found: Vec<(i64, i64)> = select.load(connection)?;
    Ok(found.into_iter().map(|(key, environment)| (PipelineKey(key), EnvironmentKey(environment))).collect())
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
        select = select.filter(events::pipeline.eq_any(pipelines.iter().map(|key| Some(key.0)).collect::<Vec<_>>()));
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use diesel::connection::InstrumentationEvent;
    use diesel::connection::SimpleConnection;
    use diesel::sql_query;
    use diesel::sql_types::Text;

    use super::*;
    use crate::store::sqlite::{SqliteStore, open};

    #[derive(QueryableByName)]
    struct PlanLine {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    /// A database with one pipeline on 10,000 nodes.
    fn large_fleet(path: &std::path::Path) -> SqliteConnection {
        drop(SqliteStore::open(path, Access::Exclusive).unwrap());
        let mut connection = open::writer(path).unwrap();
        connection
            .batch_execute(
                "INSERT INTO pipelines (id, environment, slug, name) VALUES (7, 1, 'orders', 'Orders');
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
                 INSERT INTO nodes (id, uuid, environment, name, os, labels, status, status_reason, status_since, enrolled_at)
                 SELECT i, 'uuid-' || i, 1, 'node-' || i, 'linux', '{}', 'HEALTHY', '', 0, 0 FROM n;
                 INSERT INTO pipeline_status (node, pipeline, status, reason, since, restarts, present, reported_at)
                 SELECT id, 7, 'RUNNING', '', 0, 0, 1, 0 FROM nodes;",
            )
            .unwrap();
        connection
    }

    #[test]
    fn find_pipelines_is_one_indexed_look_up_on_a_large_fleet() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = large_fleet(&dir.path().join("collector.db"));
        let statements = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&statements);
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { query, .. } = event {
                seen.lock().unwrap().push(query.to_string());
            }
        });
        for environments in [None, Some(vec![EnvironmentKey(1)])] {
            statements.lock().unwrap().clear();
            let found = find_pipelines(&mut connection, environments.as_deref(), "orders").unwrap();
            assert_eq!(found, [(PipelineKey(7), EnvironmentKey(1))]);
            let [statement] = &statements.lock().unwrap()[..] else { panic!("{statements:?}") };
            let text = statement.split(" -- binds").next().unwrap();
            assert!(!text.contains("pipeline_status") && !text.contains("nodes"), "{text}");
            let plan: Vec<PlanLine> = sql_query(format!("EXPLAIN QUERY PLAN {}", text.replace('?', "1")))
                .load(&mut open::writer(&dir.path().join("collector.db")).unwrap())
                .unwrap();
            let plan = plan.into_iter().map(|line| line.detail).collect::<Vec<_>>();
            let reads_by_key =
                "SEARCH pipelines USING COVERING INDEX sqlite_autoindex_pipelines_1 (environment=? AND slug=?)";
            assert!(plan.iter().any(|line| line == reads_by_key), "{plan:?}");
        }
    }
}
