//! Tests of the executors: which work waits for which.

use std::sync::Arc;

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use diesel::sql_query;

use super::*;

#[tokio::test]
async fn slow_queries_block_neither_committer_nor_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap();
    let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = Arc::new(std::sync::Mutex::new(held));
    let slow = || {
        let held = Arc::clone(&held);
        store.read(move |_| {
            // Until the other end is dropped.
            let _ = held.lock().unwrap().recv();
            Ok(())
        })
    };
    let committer = async {
        assert!(store.load_node(NodeKey(1)).await.unwrap().is_none());
        store.load_ingest().await.unwrap();
        store.load_access(None).await.unwrap();
        store.feed_position().await.unwrap();
        drop(release);
    };
    let all = async { tokio::join!(futures_util::future::join_all((0..READERS).map(|_| slow())), committer) };
    let within = Duration::from_secs(10);
    let (slow, ()) = tokio::time::timeout(within, all).await.expect("slow queries delay no other work");
    slow.into_iter().for_each(|answer| answer.unwrap());
}

#[tokio::test(start_paused = true)]
async fn slow_query_times_out_and_queued_ones_do_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap();
    let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = Arc::new(std::sync::Mutex::new(held));
    let slow = || {
        let held = Arc::clone(&held);
        store.read(move |_| {
            let _ = held.lock().unwrap().recv();
            Ok(())
        })
    };
    let (begun, is_begun) = std::sync::mpsc::sync_channel(1);
    let behind = store.read(move |_| {
        begun.send(()).unwrap();
        Ok(())
    });
    let running = futures_util::future::join_all((0..READERS).map(|_| slow()));
    let (running, behind): (Vec<Result<(), _>>, Result<(), _>) = tokio::join!(running, behind);
    assert!(running.into_iter().chain([behind]).all(|answer| matches!(answer, Err(StoreError::TimedOut))));
    tokio::time::resume();
    drop(release);
    store.read(|_| Ok(())).await.unwrap();
    store.close().await;
    assert!(is_begun.try_recv().is_err(), "an abandoned query is not started");
}

#[tokio::test]
async fn snapshot_exceeds_the_bind_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap();
    let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 33000) \
        INSERT INTO nodes (uuid, environment, name, os, labels, status, status_reason, status_since, enrolled_at) \
        SELECT 'node ' || n, 1, 'name', '', '{}', 'UNKNOWN', '', 0, 0 FROM n";
    store.write(move |connection| Ok(sql_query(many).execute(connection)?)).await.unwrap();
    assert_eq!(store.snapshot(None, StateParts::All).await.unwrap().nodes.len(), 33_000);
}

#[test]
fn inspection_knows_versions_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("collector.db");
    open::writer(&path).unwrap();
    let inspect_with = |change: &str| {
        let copy = dir.path().join("copy.db");
        let _ = std::fs::remove_file(&copy);
        let mut connection = open::connect(&path, "").unwrap();
        connection.batch_execute(&format!("VACUUM INTO '{}'", copy.display())).unwrap();
        open::connect(&copy, change).unwrap();
        let before = std::fs::read(&copy).unwrap();
        let found = inspect(&copy);
        assert_eq!(std::fs::read(&copy).unwrap(), before);
        found
    };
    inspect_with("").unwrap();
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')";
    assert!(matches!(inspect_with(newer), Err(StoreError::Newer { .. })));
    let older =
        "DELETE FROM __diesel_schema_migrations WHERE version = (SELECT max(version) FROM __diesel_schema_migrations)";
    assert!(matches!(inspect_with(older), Err(StoreError::Older { .. })));
    assert!(matches!(inspect_with("DROP TABLE meta"), Err(StoreError::Open { .. })));
}
