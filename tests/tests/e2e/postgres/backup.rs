//! Backups of a collector on PostgreSQL: one file, restored there or on SQLite.

use std::path::PathBuf;
use std::sync::Arc;

use systole_tests::clock;
use systole_tests::harness::database::Database;
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::{Feed, NodeClient, SOON, TestCollector, TestPostgres, eventually_true};
use tokio::sync::watch;

const PIPELINE: &str = "orders";

async fn refusal(collector: &TestCollector, args: &[&str]) -> String {
    let output = collector.try_cli(args).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends reports until it is stopped: each counts once and contains its number.
async fn report_until_told(mut node: NodeClient, stop: watch::Receiver<bool>, done: watch::Sender<u64>) -> NodeClient {
    while !*stop.borrow() {
        let line = node.next_seq.to_string();
        node.report(vec![with_lines(running(PIPELINE, distinct_counts(1)), clock::now_ms(), [line])]).await;
        done.send_modify(|done| *done += 1);
    }
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_under_load_restores_into_either_database() {
    let mut collector = TestCollector::start_on_postgres(&Arc::new(TestPostgres::start())).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let viewer = collector.viewer().await;
    let (stop, stopped) = watch::channel(false);
    let (done, mut reports) = watch::channel(0);
    let reporter = tokio::spawn(report_until_told(node, stopped, done));
    reports.wait_for(|reports| *reports >= 20).await.unwrap();
    let file: PathBuf = collector.directory().join("backup.db");
    let file = file.display().to_string();
    collector.cli(&["backup", &file]).await;
    let at_backup = *reports.borrow();
    reports.wait_for(|reports| *reports >= at_backup + 20).await.unwrap();
    stop.send_replace(true);
    let mut node = reporter.await.unwrap();
    let last = node.next_seq - 1;
    let epoch = Feed::open(&viewer, "").await.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let epoch = epoch.data["epoch"].as_str().unwrap().to_owned();

    assert!(refusal(&collector, &["restore", &file]).await.contains("another collector is running"));
    collector.stop().await;
    assert!(refusal(&collector, &["restore", &file]).await.contains("holds data"));
    assert!(refusal(&collector, &["restore", &file, "--force"]).await.contains("new database or schema"));

    let server = Arc::new(TestPostgres::start());
    collector.move_to_postgres(&server);
    collector.cli(&["restore", &file]).await;
    assert!(refusal(&collector, &["restore", &file]).await.contains("holds data"), "it is restored once");
    collector.run().await;
    let kept = Database::open(&collector.database()).rows("logs");
    assert!((20..=at_backup).contains(&kept), "{kept} of {at_backup}");
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(kept), "all tables are of the same moment");
    let ack = node.report(vec![running(PIPELINE, distinct_counts(1_000))]).await;
    let missing = ack.missing.expect("a hole");
    assert_eq!((missing.from, missing.to), (kept + 1, last));
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(kept + 1_000));
    let mut feed = Feed::open_after(&viewer, "", Some(&format!("{epoch}-1"))).await;
    feed.wait_for("a reset", SOON, |event| event.kind == "reset").await;

    let mut on_file = TestCollector::start().await;
    on_file.stop().await;
    on_file.cli(&["restore", &file]).await;
    on_file.run().await;
    let viewer = on_file.client().with_token(viewer.token().unwrap());
    assert_eq!(viewer.list("/api/v1/logs?limit=1000").await.len() as u64, kept);
    assert_eq!(on_file.minute_sums(PIPELINE).await, distinct_counts(kept));
}

#[tokio::test]
async fn interrupted_restore_is_not_served_and_can_continue() {
    let server = Arc::new(TestPostgres::start());
    let mut collector = TestCollector::start_on_postgres(&server).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let file = collector.directory().join("backup.db").display().to_string();
    collector.cli(&["backup", &file]).await;
    collector.stop().await;
    let target = Arc::new(TestPostgres::start());
    collector.move_to_postgres(&target);
    collector.cli(&["environment", "list"]).await;
    // The last of its tables cannot be written.
    target.sql("ALTER TABLE events ADD CONSTRAINT closed CHECK (false)");
    refusal(&collector, &["restore", &file]).await;
    assert!(refusal(&collector, &["token", "list"]).await.contains("not complete"));
    target.sql("ALTER TABLE events DROP CONSTRAINT closed");
    collector.cli(&["restore", &file]).await;
    collector.run().await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
    assert_ne!(target.sql("SELECT epoch FROM meta"), server.sql("SELECT epoch FROM meta"));
    let left = std::fs::read_dir(collector.data_dir()).unwrap();
    let left = left.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("unfinished"));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn unused_database_is_not_backed_up() {
    let server = Arc::new(TestPostgres::start());
    let url = server.url();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup.db");
    let mut command = tokio::process::Command::new(systole_tests::harness::binaries::binary("systole-collector"));
    let output = command.args(["backup", "--database-url", &url]).arg(&file).output().await.unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("earlier version"), "{output:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()";
    eventually_true("nothing was made there", SOON, async || server.sql(tables) == "0").await;
}
