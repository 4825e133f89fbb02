//! A fleet outgrows SQLite: `migrate-data`, and the same agents continue.

use std::process::Output;
use std::sync::Arc;

use systole_tests::harness::binaries::binary;
use systole_tests::harness::database::{Database, Place};
use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::{NodeClient, SOON, TestCollector, TestPostgres, eventually_true};
use tokio::process::Command;

const PIPELINE: &str = "orders";
/// Lines in the database besides: enough to interrupt a copy in the middle.
const LINES: u64 = 150_000;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary("systole-collector"));
    command.args(args).kill_on_drop(true);
    command
}

async fn run(args: &[&str]) -> Output {
    tokio::time::timeout(SOON, command(args).output()).await.expect("a copy takes seconds").expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn migration_survives_a_sigkill_and_agents_continue() {
    let server = Arc::new(TestPostgres::start());
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let unanswered = node.next_request(vec![running(PIPELINE, distinct_counts(2))]);
    node.post(&unanswered).await;
    let viewer = collector.viewer().await;
    let Place::File(file) = collector.database() else { panic!("it is on SQLite") };
    let (from, to) = (format!("sqlite://{}", file.display()), server.url());
    let copy = ["migrate-data", "--from", &from, "--to", &to];
    let concurrent = run(&copy).await;
    assert!(!concurrent.status.success() && stderr(&concurrent).contains("another collector"), "{concurrent:?}");
    collector.stop().await;
    Database::execute(
        &collector.database(),
        &format!(
            "WITH RECURSIVE n(n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM n WHERE n < {}) INSERT INTO logs \
             SELECT n, n, n, 1, 1, 'stdout', 'INFO', 'line ' || n FROM n; UPDATE meta SET head_seq = {0};",
            999 + LINES
        ),
    );

    let mut first = command(&copy).spawn().expect("the program starts");
    let begun = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'transfer_progress'";
    eventually_true("the copy begins", SOON, async || server.sql(begun) == "1").await;
    let copied = "SELECT count(*) FROM logs";
    eventually_true("lines are copied", SOON, async || server.sql(copied) != "0").await;
    first.kill().await.expect("a child can be killed");
    let cut: u64 = server.sql(copied).parse().expect("a number");
    assert!(cut < LINES, "it was to be cut off in the middle");
    let early = run(&["token", "list", "--database-url", &to]).await;
    assert!(!early.status.success() && stderr(&early).contains("not complete"), "{early:?}");

    let again = run(&copy).await;
    assert!(again.status.success(), "{again:?}");
    assert_eq!(server.sql("SELECT count(*), count(DISTINCT seq) FROM logs"), format!("{LINES}|{LINES}"));
    server.sql("UPDATE pipeline_minutes SET events_in = events_in + 1");
    let compared = run(&copy).await;
    assert_eq!(compared.status.code(), Some(1));
    assert!(stderr(&compared).contains("pipeline_minutes.events_in"), "{compared:?}");
    server.sql("UPDATE pipeline_minutes SET events_in = events_in - 1");

    collector.move_to_postgres(&server);
    collector.run().await;
    // A report without a received response is known there too.
    node.post(&unanswered).await;
    node.report(vec![running(PIPELINE, distinct_counts(4))]).await;
    NodeClient::enroll(&collector, None, "n2").await.report(vec![running(PIPELINE, distinct_counts(8))]).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1 + 2 + 4 + 8));
    assert_eq!(viewer.list("/api/v1/nodes").await.len(), 2, "tokens came along");
}

#[tokio::test]
async fn migration_from_a_missing_database_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.db");
    let from = format!("sqlite://{}", missing.display());
    let output = run(&["migrate-data", "--from", &from, "--to", "postgres://me:secret@127.0.0.1:9/x"]).await;
    assert!(!output.status.success() && !missing.exists(), "{output:?}");
    let output = run(&["migrate-data", "--from", "mysql://x", "--to", "postgres://me:secret@127.0.0.1:9/x"]).await;
    assert!(!output.status.success() && !stderr(&output).contains("secret"), "{output:?}");
}
