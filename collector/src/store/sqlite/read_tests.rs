//! The statements of the queries of the API.

use std::sync::{Arc, Mutex};

use diesel::connection::InstrumentationEvent;
use diesel::connection::SimpleConnection;
use diesel::sql_query;
use diesel::sql_types::Text;

use diesel::prelude::*;

use super::read::find_pipelines;
use super::{SqliteStore, open, ready};
use crate::model::{EnvironmentKey, PipelineKey};
use crate::store::Access;

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
        let found = ready(find_pipelines(&mut connection, environments.as_deref(), "orders")).unwrap();
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
