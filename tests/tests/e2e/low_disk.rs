//! A collector whose disk gets full: logs are removed, then reports wait on their agents.

use std::io::Write;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use systole_tests::clock;
use systole_tests::harness::agent::{can_mount, on_disk_of};
use systole_tests::harness::node::{Encoding, to_json};
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::{
    AgentPipeline, ApiClient, NodeClient, SOON, StubVector, TestAgent, TestCollector, eventually, eventually_true,
};

const PIPELINE: &str = "orders";
const MIB: u64 = 1 << 20;

/// A figure of the collector's own metrics.
async fn metric(viewer: &ApiClient, name: &str) -> Option<f64> {
    let text = String::from_utf8(viewer.get("/metrics").await.body).expect("metrics are text");
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn free_bytes(directory: &Path) -> u64 {
    let stats = statvfs(directory).expect("a disk");
    stats.blocks_available() * stats.fragment_size()
}

/// Writes a file until the disk has only so much left.
fn fill(file: &Path, leave_bytes: u64) {
    let directory = file.parent().expect("a file in a directory");
    let mut ballast = std::fs::File::options().create(true).append(true).open(file).expect("a file");
    while free_bytes(directory) > leave_bytes {
        ballast.write_all(&[1; 64 * 1024]).expect("there is room");
    }
}

#[tokio::test]
async fn full_disk_refuses_reports_and_answers_queries() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("collector.toml");
    std::fs::write(&config, "").unwrap();
    let options = ["--config", config.to_str().unwrap(), "--interval", "200ms"];
    let mut collector = TestCollector::start_with(&options).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let token = collector.create_token("enroll", None).await.token;
    let viewer = collector.viewer().await;
    collector.stop().await;
    // No disk has so much.
    std::fs::write(&config, format!("low_disk_stop_bytes = {}", i64::MAX)).unwrap();
    collector.run_unready().await;

    let request = node.next_request(vec![running(PIPELINE, distinct_counts(2))]);
    let answer = node.post_bytes(to_json(&request), Encoding::Plain).await;
    let problem = answer.problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("disk is almost full"), "{problem}");
    assert!(answer.retry_after.is_some_and(|seconds| seconds >= 10), "agents wait long: {answer:?}");
    let refused = NodeClient::try_enroll(&collector.client(), token.reveal(), "n2").await;
    assert!(refused.problem(503)["detail"].as_str().unwrap().contains("disk"));
    let ready = collector.client().get("/readyz").await;
    assert!(ready.problem(503)["detail"].as_str().unwrap().contains("disk is almost full"));
    assert_eq!(collector.client().get("/healthz").await.status, 200, "it lives");
    assert_eq!(viewer.list("/api/v1/nodes").await.len(), 1);
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
    assert_eq!(metric(&viewer, "systole_disk_full").await, Some(1.0));
    assert_eq!(metric(&viewer, "systole_requests_rejected_total{reason=\"disk_full\"}").await, Some(1.0));

    collector.stop().await;
    std::fs::write(&config, "").unwrap();
    collector.run().await;
    node.post(&request).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(3));
}

#[tokio::test]
async fn node_refused_for_a_full_disk_is_not_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("collector.toml");
    std::fs::write(&config, "").unwrap();
    // Long enough for this test to be a node that reports in time.
    let options = ["--config", config.to_str().unwrap(), "--interval", "3s"];
    let mut collector = TestCollector::start_with(&options).await;
    let mut heard = NodeClient::enroll(&collector, None, "heard").await;
    let mut silent = NodeClient::enroll(&collector, None, "silent").await;
    heard.report(vec![]).await;
    silent.report(vec![]).await;
    let viewer = collector.viewer().await;
    collector.stop().await;
    // The startup grace ends at once for silent nodes.
    let full = format!("low_disk_stop_bytes = {}\nstartup_grace = '2s'", i64::MAX);
    std::fs::write(&config, full).unwrap();
    collector.run_unready().await;
    let status = async |name: &str| {
        // Again and again, like an agent.
        heard.post_bytes(to_json(&heard.request_of(vec![])), Encoding::Plain).await;
        let nodes = viewer.list("/api/v1/nodes").await;
        nodes.iter().find(|node| node["name"] == name).unwrap()["status"].clone()
    };
    eventually_true("the silent one is noticed", SOON, async || status("silent").await == "UNREACHABLE").await;
    assert_eq!(status("heard").await, "HEALTHY");
}

/// Tests nothing on machines where a process cannot have a separate disk.
#[tokio::test]
async fn low_disk_removes_old_lines_then_blocks_reports() {
    if !can_mount().await {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("collector.toml");
    std::fs::write(&config, format!("low_disk_warn_bytes = {}\nlow_disk_stop_bytes = {}", 24 * MIB, 12 * MIB)).unwrap();
    let options = ["--config", config.to_str().unwrap(), "--interval", "1s"];
    let mut collector = TestCollector::start_on_disk_of(80 * MIB, &options).await;
    let viewer = collector.viewer().await;
    let disk = collector.data_dir_seen_by_others();
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let now = clock::now_ms();
    for _ in 0..4 {
        let old = (0..2_000).map(|line| format!("{line} {}", "x".repeat(2_000)));
        node.report(vec![with_lines(running(PIPELINE, distinct_counts(1)), now - 2 * 3_600_000, old)]).await;
    }
    node.report(vec![with_lines(running(PIPELINE, distinct_counts(1)), now, ["news".to_owned()])]).await;
    let before = collector.minute_sums(PIPELINE).await;

    fill(&disk.join("ballast"), 22 * MIB);
    eventually_true("lines go early", SOON, async || metric(&viewer, "systole_rows_evicted_total").await > Some(0.0))
        .await;
    eventually_true("what went is room", SOON, async || metric(&viewer, "systole_disk_low").await == Some(0.0)).await;
    let lines = viewer.list("/api/v1/logs?limit=1000").await;
    assert_eq!(lines.last().unwrap()["line"], "news");
    assert!(lines.len() > 1 && lines.len() < 8_001, "{} lines: no more than was needed", lines.len());
    assert_eq!(collector.minute_sums(PIPELINE).await, before, "minutes stay");
    assert!(metric(&viewer, "systole_database_file_bytes{part=\"reusable\"}").await > Some(0.0));

    let stub = StubVector::new(collector.directory(), "stub", &["--paused"]);
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised("stub", &stub)]).await;
    eventually("the agent reports", SOON, async || {
        viewer
            .list("/api/v1/nodes")
            .await
            .iter()
            .any(|node| node["status"] == "HEALTHY" && node["name"] != "n1")
            .then_some(())
    })
    .await;
    let readiness = async || collector.client().get("/readyz").await.status;
    fill(&disk.join("more"), MIB);
    eventually_true("nothing more is taken", SOON, async || readiness().await == 503).await;
    stub.control("burst?events=300").await;
    let expected = stub.pause_and_let_scrape().await.total;
    eventually_true("reports wait", SOON, async || {
        metric(&viewer, "systole_requests_rejected_total{reason=\"disk_full\"}").await > Some(0.0)
    })
    .await;
    assert_eq!(metric(&viewer, "systole_commit_failures_total").await, Some(0.0), "the database never ran into it");
    std::fs::remove_file(disk.join("more")).unwrap();
    std::fs::remove_file(disk.join("ballast")).unwrap();
    eventually_true("reports are taken again", SOON, async || readiness().await == 200).await;
    eventually_true("nothing was lost", SOON, async || collector.minute_sums("stub").await == expected).await;
    assert!(agent.is_alive());
}

/// Tests nothing on machines where a process cannot have a separate disk.
#[tokio::test]
async fn commands_report_a_full_disk() {
    if !can_mount().await {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let small = directory.path().join("small");
    let run = async |args: &[&str]| {
        let output = on_disk_of(100 * 1024, &small, "systole-collector").args(args).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let message = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", small.to_str().unwrap()]).await;
    assert!(message.contains("the disk of the database") && message.contains("is full"), "{message}");
    let collector = TestCollector::start().await;
    let (data, file) = (collector.data_dir(), small.join("backup.db"));
    let message = run(&["backup", "--data-dir", data.to_str().unwrap(), file.to_str().unwrap()]).await;
    assert!(message.contains("100.00 KiB free") && message.contains("needed"), "{message}");
}
