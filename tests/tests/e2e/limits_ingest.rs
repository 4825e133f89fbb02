//! One node cannot take the collector from the others: work, names, histories and memory have bounds.

use std::net::SocketAddr;

use serde_json::Value;
use systole_shared::{RefusalCode, ReportAck};
use systole_tests::bench::attack::ingest::{empty_members_body, new_pipelines_body, refused_items_body};
use systole_tests::bench::process;
use systole_tests::harness::database::Database;
use systole_tests::harness::node::{Encoding, to_json};
use systole_tests::harness::reports::{distinct_counts, pipeline, running};
use systole_tests::harness::{ApiClient, DatabaseKind, NodeClient, SOON, TestCollector, eventually_true};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What an attack may add to the collector's memory.
const MAX_GROWTH_BYTES: u64 = 200 << 20;

/// Processor time that one bad body may take of a build without optimisations; without its bound it took
/// minutes there.
const MAX_BODY_CPU_SECONDS: f64 = 10.0;

on_each_database!(unreported_pipelines_are_removed_and_can_return);

/// A collector with these settings.
async fn start_with(database: DatabaseKind, settings: &str) -> (TestCollector, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("collector.toml");
    std::fs::write(&file, settings).unwrap();
    let collector = TestCollector::start_on_with(database, &["--config", file.to_str().unwrap()]).await;
    (collector, directory)
}

async fn metric(viewer: &ApiClient, name: &str) -> f64 {
    let page = String::from_utf8(viewer.get("/metrics").await.body).unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

fn pipeline_with_components(id: &str, components: usize) -> Value {
    let mut report = serde_json::to_value(running(id, distinct_counts(1))).unwrap();
    let pattern = report["components"][0].clone();
    let components = (0..components).map(|number| {
        let mut component = pattern.clone();
        component["id"] = format!("c{number}").into();
        component
    });
    report["components"] = components.collect();
    report
}

async fn report_values(node: &mut NodeClient, pipelines: Vec<Value>) -> ReportAck {
    let mut request = serde_json::to_value(node.next_request(vec![])).unwrap();
    request["reports"][0]["pipelines"] = pipelines.into();
    node.post(&request).await
}

/// Components of a pipeline that have a history.
async fn histories(viewer: &ApiClient, pipeline: &str) -> usize {
    let path = format!("/api/v1/pipelines/{pipeline}/components/minutes?from=0&to=9999999999999&step=minute");
    let mut names: Vec<_> =
        viewer.list(&path).await.iter().map(|item| item["componentId"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    names.len()
}

#[tokio::test]
async fn body_of_millions_of_bad_items_costs_its_node_little_and_others_nothing() {
    let mut collector = TestCollector::start().await;
    let mut good = NodeClient::enroll(&collector, None, "good").await;
    let attacker = NodeClient::enroll(&collector, None, "attacker").await;
    let body = refused_items_body(attacker.boot);
    let before = process::cpu_seconds(collector.pid());
    let ack: ReportAck = attacker.post_raw(body.clone(), Some("zstd")).await.json();
    let spent = process::cpu_seconds(collector.pid()) - before;
    assert_eq!((ack.durable_seq, ack.refused_count, ack.refused.len()), (1, 3_900_000, 200));
    assert!(spent < MAX_BODY_CPU_SECONDS, "{spent} s for one body");

    // More of them at once than may wait: the rest is refused at once, and the good node continues.
    let mut attack = JoinSet::new();
    for _ in 0..8 {
        let (attacker, body) = (attacker.clone(), body.clone());
        attack.spawn(async move { attacker.post_raw(body, Some("zstd")).await });
    }
    for _ in 0..5 {
        good.report(vec![running("good", distinct_counts(1))]).await;
    }
    let mut refused = 0;
    for answer in attack.join_all().await {
        if answer.status != 200 {
            answer.problem(503);
            assert!(answer.retry_after.is_some());
            refused += 1;
        }
    }
    assert!(refused >= 3, "{refused} of 8 refused");
    assert_eq!(collector.minute_sums("good").await, distinct_counts(5));
}

#[tokio::test]
async fn body_of_many_empty_members_or_frames_is_refused() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let before = process::cpu_seconds(collector.pid());
    node.post_raw(empty_members_body(node.boot), Some("gzip")).await.problem(413);
    let frames = Encoding::Zstd.pack(b"").repeat(200_000);
    node.post_raw(frames, Some("zstd")).await.problem(413);
    let spent = process::cpu_seconds(collector.pid()) - before;
    assert!(spent < MAX_BODY_CPU_SECONDS, "{spent} s for two bodies");
    node.report(vec![running("good", distinct_counts(1))]).await;
    assert!(collector.is_alive());
}

#[tokio::test]
async fn new_pipelines_of_a_node_are_bounded_and_others_go_on() {
    const NEW: u64 = 1_500;
    let mut collector = TestCollector::start().await;
    let mut attacker = NodeClient::enroll(&collector, None, "attacker").await;
    attacker.report(vec![running("known", distinct_counts(1))]).await;
    let memory = process::memory_bytes(collector.pid());
    for request in 0..4 {
        let body = new_pipelines_body(attacker.boot, attacker.next_seq, request * 100_000);
        attacker.next_seq += 100;
        let answer = attacker.post_raw(body, Some("zstd")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let ack: ReportAck = answer.json();
        let taken = if request == 0 { NEW - 1 } else { 0 };
        assert_eq!(ack.refused_count, 100_000 - taken);
        assert!(ack.refused.iter().all(|refused| refused.code == RefusalCode::NodePipelineLimit), "{:?}", ack.refused);
    }
    attacker.report(vec![running("known", distinct_counts(2))]).await;
    let mut good = NodeClient::enroll(&collector, None, "good").await;
    good.report(vec![running("good", distinct_counts(1)), pipeline("p399999", "RUNNING")]).await;
    assert_eq!(collector.minute_sums("known").await, distinct_counts(3), "known pipelines continue");
    let viewer = collector.viewer().await;
    let refused = metric(&viewer, "systole_pipelines_refused_total{limit=\"node_pipelines\"}").await;
    assert_eq!(refused, (400_000 - (NEW - 1)) as f64);
    let growth = process::memory_bytes(collector.pid()).saturating_sub(memory);
    assert!(growth < MAX_GROWTH_BYTES, "{growth} bytes");
    let mut database = collector.stop_and_open_database().await;
    assert_eq!(database.rows("pipelines"), NEW + 2);
}

#[tokio::test]
async fn pipelines_of_an_environment_are_bounded() {
    let (collector, _file) = start_with(DatabaseKind::Sqlite, "max_pipelines_per_environment = 2\n").await;
    let mut first = NodeClient::enroll(&collector, None, "n1").await;
    first.report(vec![pipeline("a", "RUNNING"), pipeline("b", "RUNNING")]).await;
    let mut second = NodeClient::enroll(&collector, None, "n2").await;
    let request = second.next_request(vec![pipeline("b", "RUNNING"), pipeline("c", "RUNNING")]);
    let ack = second.post(&request).await;
    let refused: Vec<_> = ack.refused.iter().map(|refused| (refused.pipeline_id.as_deref(), refused.code)).collect();
    assert_eq!(refused, [(Some("c"), RefusalCode::EnvironmentPipelineLimit)]);
}

async fn unreported_pipelines_are_removed_and_can_return(database: DatabaseKind) {
    const THREE_DAYS_MS: i64 = 3 * 86_400_000;
    let retentions = ["minutes", "hours", "days", "logs", "events"].map(|what| format!("retention_{what} = '1h'\n"));
    let (mut collector, _file) = start_with(database, &retentions.concat()).await;
    let mut vanished = NodeClient::enroll(&collector, None, "vanished").await;
    vanished.report(vec![running("gone", distinct_counts(1)), running("shared", distinct_counts(1))]).await;
    let mut good = NodeClient::enroll(&collector, None, "good").await;
    good.report(vec![running("kept", distinct_counts(1)), running("shared", distinct_counts(1))]).await;
    collector.stop().await;
    let node = "(SELECT id FROM nodes WHERE name = 'vanished')";
    for (table, column) in [("node_boots", "last_seen_at"), ("pipeline_status", "reported_at")] {
        let sql = format!("UPDATE {table} SET {column} = {column} - {THREE_DAYS_MS} WHERE node = {node}");
        Database::execute(&collector.database(), &sql);
    }
    collector.run().await;
    let place = collector.database();
    eventually_true("what the node reported is removed", SOON, async || {
        let mut database = Database::open(&place);
        (database.rows("pipelines"), database.rows("pipeline_status")) == (2, 2)
    })
    .await;
    let viewer = collector.viewer().await;
    viewer.get("/api/v1/pipelines/gone").await.problem(404);
    assert_eq!(collector.minute_sums("kept").await, distinct_counts(1));
    good.report(vec![running("kept", distinct_counts(1)), running("shared", distinct_counts(1))]).await;
    assert_eq!(collector.minute_sums("kept").await, distinct_counts(2));
    assert_eq!(metric(&viewer, "systole_pipelines_removed_total").await, 2.0);
    // It comes back as a new one, and exactly.
    vanished.report(vec![running("gone", distinct_counts(5))]).await;
    assert_eq!(collector.minute_sums("gone").await, distinct_counts(5));
    collector.stop().await;
    collector.run().await;
    vanished.report(vec![running("gone", distinct_counts(2))]).await;
    assert_eq!(collector.minute_sums("gone").await, distinct_counts(7));
}

#[tokio::test]
async fn component_histories_are_shared_and_come_back() {
    let (mut collector, _file) = start_with(DatabaseKind::Sqlite, "max_component_series = 10\n").await;
    let viewer = collector.viewer().await;
    let mut first = NodeClient::enroll(&collector, None, "first").await;
    report_values(&mut first, vec![pipeline_with_components("large", 20)]).await;
    assert_eq!(histories(&viewer, "large").await, 10, "alone it has all places");
    let mut later = NodeClient::enroll(&collector, None, "later").await;
    report_values(&mut later, vec![pipeline_with_components("small", 3)]).await;
    assert_eq!(histories(&viewer, "small").await, 3, "a later node has its share");
    assert!(metric(&viewer, "systole_component_samples_without_history_total").await >= 10.0);
    // The large pipeline is removed: its places are free.
    report_values(&mut first, vec![]).await;
    let mut last = NodeClient::enroll(&collector, None, "last").await;
    report_values(&mut last, vec![pipeline_with_components("third", 20)]).await;
    assert_eq!(histories(&viewer, "third").await, 7);
    assert_eq!(metric(&viewer, "systole_component_histories").await, 10.0);
}

/// Sends a body of 8 MiB but its last byte; returns the connection, and the answer. A body that has a place stays
/// without one.
async fn hold_body(address: SocketAddr, token: String) -> (TcpStream, String) {
    const BYTES: usize = 8 << 20;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/agent/reports HTTP/1.1\r\nHost: collector\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {BYTES}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut left = BYTES - 1;
    while left > 0 {
        let piece = left.min(64 << 10);
        if stream.write_all(&vec![b' '; piece]).await.is_err() {
            break;
        }
        left -= piece;
    }
    let mut answer = vec![0; 4_096];
    let read = stream.read(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
    (stream, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_bodies_have_a_budget_and_others_go_on() {
    let mut collector = TestCollector::start().await;
    let attacker = NodeClient::enroll(&collector, None, "attacker").await;
    let mut good = NodeClient::enroll(&collector, None, "good").await;
    good.report(vec![running("good", distinct_counts(1))]).await;
    let memory = process::memory_bytes(collector.pid());
    let mut held = JoinSet::new();
    for _ in 0..40 {
        held.spawn(hold_body(collector.address(), attacker.token().to_owned()));
    }
    let mut refused = Vec::new();
    while refused.len() < 36 {
        let next = tokio::time::timeout(SOON, held.join_next()).await;
        refused.push(next.expect("36 of 40 have no place").expect("there are more").unwrap());
    }
    let answers: Vec<_> = refused.iter().map(|(_, answer)| answer.as_str()).filter(|text| !text.is_empty()).collect();
    let is_clear = |answer: &&str| answer.starts_with("HTTP/1.1 503") && answer.to_lowercase().contains("retry-after");
    assert!(!answers.is_empty() && answers.iter().all(is_clear), "{answers:?}");
    let growth = process::memory_bytes(collector.pid()).saturating_sub(memory);
    assert!(growth < MAX_GROWTH_BYTES, "{growth} bytes");
    assert!(metric(&collector.viewer().await, "systole_unfinished_body_bytes").await >= f64::from(8 << 20));

    // A large body of another node, which comes in many pieces.
    let mut body = to_json(&good.next_request(vec![running("good", distinct_counts(1))]));
    body.resize(4 << 20, b' ');
    let answer = good.post_bytes(body, Encoding::Plain).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(collector.minute_sums("good").await, distinct_counts(2));
    drop(held);
    let viewer = collector.viewer().await;
    eventually_true("the budget is free", SOON, async || metric(&viewer, "systole_unfinished_body_bytes").await == 0.0)
        .await;
}
