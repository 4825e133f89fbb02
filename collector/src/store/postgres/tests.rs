//! Tests of the contract that only PostgreSQL's store has.

use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::sqlite::Sqlite;
use systole_tests::harness::TestPostgres;

use super::*;

async fn open(server: &TestPostgres) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(&server.url().parse().unwrap(), Access::Exclusive).await
}

fn head(head_seq: u64) -> CommitBatch {
    CommitBatch { head_seq, ..CommitBatch::default() }
}

fn line(seq: i64, text: &str) -> LogRow {
    LogRow { seq, entry_seq: seq, at: 0, node: 1, pipeline: 1, stream: "stdout".into(), level: None, line: text.into() }
}

/// Ends the connection that writes, and waits for it, as a restart of the server or of a proxy would.
fn cut_writer(server: &TestPostgres) {
    let cut = server.sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())");
    assert_eq!(cut, "t", "one connection holds the lock");
}

#[test]
fn migrations_have_equal_names_on_both_databases() {
    let postgres = MigrationSource::<Pg>::migrations(&open::MIGRATIONS).unwrap();
    let sqlite = MigrationSource::<Sqlite>::migrations(&sqlite::MIGRATIONS).unwrap();
    let mut names: Vec<_> = postgres.iter().map(|migration| migration.name().to_string()).collect();
    let mut others: Vec<_> = sqlite.iter().map(|migration| migration.name().to_string()).collect();
    names.sort();
    others.sort();
    assert_eq!(names, others);
}

#[tokio::test]
async fn second_collector_is_refused_and_a_command_is_not() {
    let server = TestPostgres::start();
    let first = open(&server).await.unwrap();
    let second = open(&server).await;
    assert!(matches!(second, Err(StoreError::Locked(_))));
    let beside = PostgresStore::open(&server.url().parse().unwrap(), Access::Shared).await.unwrap();
    let epoch = beside.feed_position().await.unwrap().epoch;
    assert!(beside.commit(head(1)).await.is_err(), "only the one that serves writes");
    first.close().await;
    let next = open(&server).await.unwrap();
    assert_eq!(next.feed_position().await.unwrap().epoch, epoch);
}

#[tokio::test]
async fn lost_connection_blocks_writes_until_a_reload() {
    let server = TestPostgres::start();
    let store = open(&server).await.unwrap();
    store.commit(head(1)).await.unwrap();
    cut_writer(&server);
    assert!(matches!(store.commit(head(2)).await, Err(StoreError::Unreachable(_))));
    assert!(matches!(store.commit(head(2)).await, Err(StoreError::Disconnected)));
    assert_eq!(store.load_ingest().await.unwrap().position.head, 1);
    store.commit(head(2)).await.unwrap();
    assert_eq!(store.feed_position().await.unwrap().head, 2);
    assert!(matches!(open(&server).await, Err(StoreError::Locked(_))), "the lock is taken again");
}

#[tokio::test]
async fn replaced_collector_writes_nothing() {
    let server = TestPostgres::start();
    let old = open(&server).await.unwrap();
    cut_writer(&server);
    let new = open(&server).await.unwrap();
    new.commit(head(7)).await.unwrap();
    assert!(old.commit(head(2)).await.is_err());
    assert!(matches!(old.load_ingest().await, Err(StoreError::Superseded)));
    // It has ended in the meantime, and the lock is free.
    new.close().await;
    assert!(matches!(old.load_ingest().await, Err(StoreError::Superseded)));
    assert_eq!(server.sql("SELECT head_seq FROM meta"), "7");
}

#[tokio::test]
async fn mark_separates_writers_without_locks() {
    let server = TestPostgres::start();
    let store = open(&server).await.unwrap();
    server.sql("UPDATE meta SET writer = 'another'");
    let batch = CommitBatch { logs: vec![line(1, "late")], ..head(1) };
    assert!(matches!(store.commit(batch).await, Err(StoreError::Superseded)));
    assert_eq!(server.sql("SELECT count(*) FROM logs"), "0");
}

#[tokio::test]
async fn refused_batch_keeps_the_connection() {
    let server = TestPostgres::start();
    let store = open(&server).await.unwrap();
    let twice = CommitBatch { logs: vec![line(1, "a"), line(1, "b")], ..head(1) };
    assert!(matches!(store.commit(twice).await, Err(StoreError::Query(_))));
    store.commit(CommitBatch { logs: vec![line(1, "a")], ..head(1) }).await.unwrap();
}

#[tokio::test]
async fn text_with_nul_is_stored_and_found() {
    let server = TestPostgres::start();
    let store = open(&server).await.unwrap();
    server.sql("INSERT INTO nodes (id, uuid, environment, name, os, labels, status, status_reason, status_since, enrolled_at) VALUES (1, 'n', 1, 'n', '', '{}', '', '', 0, 0); INSERT INTO pipelines VALUES (1, 1, 'p', 'p')");
    store.commit(CommitBatch { logs: vec![line(1, "be\0fore"), line(2, "after")], ..head(2) }).await.unwrap();
    let query = LogQuery { text: Some("e\0F".into()), limit: 10, ..LogQuery::default() };
    let found = store.list_logs(query).await.unwrap();
    assert_eq!(found.iter().map(|line| line.line.as_str()).collect::<Vec<_>>(), ["be\u{fffd}fore"]);
}

#[tokio::test]
async fn repeated_rows_in_a_batch_all_count() {
    let server = TestPostgres::start();
    let store = open(&server).await.unwrap();
    let row = |series, events_in| PipelineMinuteRow { minute: 1, series, events_in, ..Default::default() };
    let minutes = vec![row(1, 1), row(2, 10), row(1, 2), row(1, i64::MAX), row(2, 20)];
    store.flush(FlushBatch { pipeline_minutes: minutes, head_seq: 1, ..FlushBatch::default() }).await.unwrap();
    let sums = server.sql("SELECT series, events_in FROM pipeline_minutes ORDER BY series");
    assert_eq!(sums, format!("1|{}\n2|30", i64::MAX));
}

#[tokio::test]
async fn statements_stay_prepared() {
    use diesel::QueryableByName;
    use diesel::sql_types::BigInt;
    use diesel_async::RunQueryDsl;
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let server = TestPostgres::start();
    let store = open(&server).await.unwrap();
    let mut counts = Vec::new();
    for seq in 1..=3 {
        let row = PipelineMinuteRow { minute: seq, ..Default::default() };
        let pipeline_minutes = vec![row; seq as usize];
        store.flush(FlushBatch { pipeline_minutes, head_seq: 1, ..FlushBatch::default() }).await.unwrap();
        store.commit(CommitBatch { logs: vec![line(seq, "")], ..head(1) }).await.unwrap();
        let mut writer = store.writer().unwrap().lock().await;
        let sql = "SELECT count(*) FROM pg_prepared_statements WHERE statement NOT LIKE 'SELECT%' AND statement LIKE '%unnest%'";
        let count: Count = diesel::sql_query(sql).get_result(writer.connection()).await.unwrap();
        counts.push(count.count);
    }
    assert_eq!(counts, [3, 3, 3], "minutes, lines and the head, whatever the number of rows");
}

#[tokio::test]
async fn slow_query_times_out() {
    use diesel_async::RunQueryDsl;
    let server = TestPostgres::start();
    let store = open(&server).await.unwrap();
    let mut connection = store.queries.get().await.unwrap();
    diesel::sql_query("SET statement_timeout = 10").execute(&mut *connection).await.unwrap();
    let slow = diesel::sql_query("SELECT pg_sleep(10)").execute(&mut *connection).await;
    assert!(matches!(StoreError::from(slow.unwrap_err()), StoreError::TimedOut));
}

#[tokio::test]
async fn connection_error_hides_the_password() {
    for url in [
        "postgres://me:secret@127.0.0.1:9/x",
        "postgres://me:secret@127.0.0.1:9/x?sslmode=verify-full&sslrootcert=/none",
    ] {
        let Err(error) = PostgresStore::open(&url.parse().unwrap(), Access::Shared).await else { panic!("{url}") };
        let told = crate::telemetry::logging::chain(&error);
        assert!(told.contains("127.0.0.1") && !told.contains("secret"), "{told}");
    }
}

#[tokio::test]
async fn clock_of_the_server_is_in_milliseconds() {
    let server = TestPostgres::start();
    let store = open(&server).await.unwrap();
    let before = crate::clock::now_ms();
    let clock = store.clock_ms().await.unwrap().unwrap();
    assert!((before - 1_000..=crate::clock::now_ms() + 1_000).contains(&clock), "{clock}");
    store.close().await;
}
