//! PostgreSQL stops and starts again: nothing is lost, nothing is counted twice.

use std::sync::Arc;
use std::time::Duration;

use systole_tests::clock;
use systole_tests::harness::node::{Encoding, to_json};
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::{Answer, NodeClient, SOON, TestCollector, TestPostgres, eventually_true};
use tokio::sync::watch;
use tokio::task::JoinSet;

const PIPELINE: &str = "orders";

/// Reports without a pause until it is stopped, as an agent does: a request that is answered 503 is sent again
/// unchanged. Returns the sum of the factors.
async fn report_until_stopped(
    mut node: NodeClient,
    stop: watch::Receiver<bool>,
    acknowledged: watch::Sender<u64>,
) -> u64 {
    let mut sum = 0;
    while !*stop.borrow() {
        let factor = node.next_seq;
        let line = format!("{} {factor}", node.id);
        let pipeline = with_lines(running(PIPELINE, distinct_counts(factor)), clock::now_ms(), [line]);
        let request = node.next_request(vec![pipeline]);
        assert_eq!(node.post_until_available(&request).await.durable_seq, factor);
        sum += factor;
        acknowledged.send_modify(|count| *count += 1);
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_are_exact_over_database_crashes_under_load() {
    const NODES: usize = 4;
    const CRASHES: u64 = 4;
    const REPORTS_BETWEEN: u64 = 80;
    let server = Arc::new(TestPostgres::alone());
    let mut collector = TestCollector::start_on_postgres(&server).await;
    let pid = collector.pid();
    let (stop, stopped) = watch::channel(false);
    let (count, mut counted) = watch::channel(0);
    let mut nodes = JoinSet::new();
    for number in 0..NODES {
        let node = NodeClient::enroll(&collector, None, &format!("n{number}")).await;
        nodes.spawn(report_until_stopped(node, stopped.clone(), count.clone()));
    }
    for crash in 1..=CRASHES {
        let enough = counted.wait_for(|count| *count >= crash * REPORTS_BETWEEN);
        tokio::time::timeout(SOON, enough).await.expect("reports are taken").unwrap();
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || server.crash_and_restart()).await.unwrap();
    }
    let enough = counted.wait_for(|count| *count >= (CRASHES + 1) * REPORTS_BETWEEN);
    tokio::time::timeout(SOON, enough).await.expect("reports are taken").unwrap();
    stop.send_replace(true);
    let factors: u64 = nodes.join_all().await.into_iter().sum();

    assert!(collector.is_alive() && collector.pid() == pid, "the same process runs over crashes of its database");
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(factors));
    let mut database = collector.stop_and_open_database().await;
    assert_eq!(database.minute_sums(PIPELINE), distinct_counts(factors));
    assert_eq!(database.rows("logs"), *counted.borrow(), "one line for each report");
    let twice = server.sql("SELECT line FROM logs GROUP BY line HAVING count(*) > 1");
    assert_eq!(twice, "", "every line once");
}

#[tokio::test]
async fn collector_answers_503_without_its_database_and_recovers() {
    let server = Arc::new(TestPostgres::alone());
    let mut collector = TestCollector::start_on_postgres(&server).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let viewer = collector.viewer().await;
    let pid = collector.pid();
    server.crash();
    let answer = viewer.get("/api/v1/nodes").await;
    answer.problem(503);
    // The token may have been created a moment ago, so it is not refused.
    collector.client().with_token("systole_viewer_unknown").get("/api/v1/nodes").await.problem(503);
    server.restart();
    eventually_true("queries are answered again", SOON, async || viewer.get("/api/v1/nodes").await.status == 200).await;
    let request = node.next_request(vec![running(PIPELINE, distinct_counts(2))]);
    eventually_true("reports are taken again", SOON, async || {
        let answer = node.post_bytes(to_json(&request), Encoding::Plain).await;
        answer.status == 200
    })
    .await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(3));
    assert_eq!(collector.pid(), pid, "the same process");
}

#[tokio::test]
async fn database_outage_makes_no_node_unreachable() {
    let server = Arc::new(TestPostgres::alone());
    let mut collector = TestCollector::start_on_postgres_with(&server, &["--interval", "3s"]).await;
    let mut first = NodeClient::enroll(&collector, None, "n1").await;
    let mut second = NodeClient::enroll(&collector, None, "n2").await;
    first.report(vec![]).await;
    second.report(vec![]).await;
    let viewer = collector.viewer().await;
    server.crash();
    let body = to_json(&first.next_request(vec![]));
    let meanwhile = first.clone();
    let lost = tokio::spawn(async move { Answer::try_of(meanwhile.raw_request(body, None)).await });
    // It lasts longer than the silence after which a node is UNREACHABLE.
    tokio::time::sleep(Duration::from_secs(12)).await;
    server.restart();
    assert_eq!(lost.await.unwrap().unwrap().status, 503);
    // Everything that waited before this report is committed when it is acknowledged.
    let request = to_json(&first.next_request(vec![]));
    eventually_true("reports are taken again", SOON, async || {
        matches!(Answer::try_of(first.raw_request(request.clone(), None)).await, Ok(answer) if answer.status == 200)
    })
    .await;
    let nodes = viewer.list("/api/v1/nodes").await;
    let of = |name: &str| nodes.iter().find(|node| node["name"] == name).unwrap()["status"].clone();
    assert_eq!((of("n1"), of("n2")), ("HEALTHY".into(), "HEALTHY".into()));
}

#[tokio::test]
async fn collector_without_its_database_stops_in_time() {
    let server = Arc::new(TestPostgres::alone());
    let mut collector = TestCollector::start_on_postgres(&server).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![]).await;
    let viewer = collector.viewer().await;
    // From here on the collector knows the token without its database.
    assert_eq!(viewer.get("/metrics").await.status, 200);
    server.crash();
    let body = to_json(&node.next_request(vec![]));
    let waiting = tokio::spawn(async move { Answer::try_of(node.raw_request(body, None)).await });
    eventually_true("the committer waits for the database", SOON, async || {
        let metrics = String::from_utf8(viewer.get("/metrics").await.body).unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix("systole_commit_failures_total "));
        count.is_some_and(|count| count != "0")
    })
    .await;
    // It asserts a graceful end in time: the collector does not wait for a database that is away.
    collector.stop().await;
    drop(waiting);
}

#[tokio::test]
async fn replaced_leader_follows_and_a_report_counts_once() {
    let server = Arc::new(TestPostgres::start());
    let mut old = TestCollector::start_on_postgres(&server).await;
    let mut node = NodeClient::enroll(&old, None, "n1").await;
    let epoch = server.sql("SELECT epoch FROM meta");
    // As if its host had been suspended: the server has released its lock.
    server.sql(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    let mut new = TestCollector::start_on_postgres(&server).await;
    let (old_pid, new_pid) = (old.pid(), new.pid());
    assert_ne!(old_pid, new_pid);
    let request = node.next_request(vec![running(PIPELINE, distinct_counts(1))]);
    // What it acknowledges the new leader has committed. Until it follows that one, it answers 503.
    let answer = Answer::try_of(node.raw_request(to_json(&request), None)).await.expect("it answers");
    assert!([200, 503].contains(&answer.status), "{answer:?}");
    let viewer = old.viewer().await;
    eventually_true("the old collector follows", SOON, async || {
        let cluster = viewer.get_json("/api/v1/cluster").await;
        let members = cluster["members"].as_array().unwrap();
        let roles: Vec<&str> = members.iter().filter_map(|one| one["role"].as_str()).collect();
        roles.contains(&"leader") && roles.contains(&"follower")
    })
    .await;
    assert!(old.is_alive() && new.is_alive() && new.pid() == new_pid);
    // The same report counts once, wherever it is sent next.
    let node = node.moved_to(&new);
    assert_eq!(node.post(&request).await.durable_seq, 1);
    assert_eq!(node.moved_to(&old).post(&request).await.durable_seq, 1);
    for collector in [&mut old, &mut new] {
        assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
    }
    assert_eq!(server.sql("SELECT epoch FROM meta"), epoch);
}
