//! A report counts once, however often and in whatever company it arrives.

use systole_shared::{PipelineReport, SeqRange};
use systole_tests::clock;
use systole_tests::harness::database::Database;
use systole_tests::harness::node::Encoding;
use systole_tests::harness::reports::{distinct_counts, report, running, with_lines};
use systole_tests::harness::{DatabaseKind, NodeClient, SOON, TestCollector};
use tokio::sync::watch;
use tokio::task::JoinSet;

on_each_database! {
    report_sent_repeatedly_counts_once,
    backlog_in_other_batches_counts_once,
    missing_reports_become_a_gap,
    boots_number_their_reports_separately,
    sums_are_exact_over_sigkills_under_load,
}

const PIPELINE: &str = "orders";

fn counting(factor: u64) -> Vec<PipelineReport<'static>> {
    let line = format!("report with the factor {factor}");
    vec![with_lines(running(PIPELINE, distinct_counts(factor)), clock::now_ms(), [line])]
}

async fn report_sent_repeatedly_counts_once(database: DatabaseKind) {
    // The node is not silent for long enough to be UNREACHABLE: that would be a second change.
    let mut collector = TestCollector::start_on_with(database, &["--interval", "60s"]).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(counting(1)).await;

    let request = node.next_request(counting(2));
    let mut posts = JoinSet::new();
    for number in 0..12 {
        let encoding = [Encoding::Plain, Encoding::Gzip, Encoding::Zstd][number % 3];
        let (node, request) = (node.clone(), request.clone());
        posts.spawn(async move { node.post_packed(&request, encoding).await });
    }
    for ack in posts.join_all().await {
        assert_eq!((ack.durable_seq, ack.refused), (2, vec![]));
    }
    let again = node.post(&request).await;
    assert_eq!(again.durable_seq, 2);

    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(3));
    let changes = collector.viewer().await.list("/api/v1/status-changes?pipeline=orders").await;
    assert_eq!(changes.len(), 1, "UNKNOWN to RUNNING, once: {changes:?}");
    let mut database = collector.stop_and_open_database().await;
    assert_eq!(database.minute_sums(PIPELINE), distinct_counts(3));
    let components = database.component_sums(PIPELINE);
    assert_eq!(components["in"].received_events, distinct_counts(3).events_in);
    assert_eq!(components["out"].sent_bytes, distinct_counts(3).bytes_out);
    assert_eq!(database.rows("logs"), 2);
}

async fn backlog_in_other_batches_counts_once(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let now = clock::now_ms();
    let request = |seqs: std::ops::RangeInclusive<u64>| {
        node.request_of(seqs.map(|seq| report(seq, now - 5_000 * (30 - seq as i64), counting(seq))).collect())
    };
    assert_eq!(node.post(&request(1..=10)).await.durable_seq, 10);
    assert_eq!(node.post(&request(5..=15)).await.durable_seq, 15);
    // A late duplicate returns the collector's progress and does not reset it.
    assert_eq!(node.post(&request(1..=3)).await.durable_seq, 15);
    assert_eq!(node.post(&request(1..=20)).await.durable_seq, 20);
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(20 * 21 / 2));
}

async fn missing_reports_become_a_gap(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(counting(1)).await;
    node.next_seq = 5;
    let request = node.next_request(counting(2));
    let ack = node.post(&request).await;
    assert_eq!((ack.durable_seq, ack.missing), (5, Some(SeqRange { from: 2, to: 4 })));
    assert_eq!(Database::open(&collector.database()).rows("node_gaps"), 1);
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(3));
}

async fn boots_number_their_reports_separately(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(counting(1)).await;
    node.report(counting(2)).await;
    let mut reborn = node.clone();
    reborn.boot = systole_shared::BootId(uuid::Uuid::now_v7());
    reborn.next_seq = 1;
    reborn.report(counting(4)).await;
    // Reports that the earlier boot left in its spool are still accepted, once.
    let left_over = node.next_request(counting(8));
    node.post(&left_over).await;
    node.post(&left_over).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1 + 2 + 4 + 8));
}

/// Sends reports without a pause until it is stopped. Returns the sum of the factors that were acknowledged.
async fn send_until_stopped(
    mut node: NodeClient,
    stop: watch::Receiver<bool>,
    acknowledged: watch::Sender<u64>,
) -> u64 {
    let mut sum = 0;
    while !*stop.borrow() {
        let factor = node.next_seq;
        let request = node.next_request(counting(factor));
        let ack = node.post_until_accepted(&request).await;
        assert!(ack.durable_seq >= factor);
        sum += factor;
        acknowledged.send_modify(|count| *count += 1);
    }
    sum
}

async fn sums_are_exact_over_sigkills_under_load(database: DatabaseKind) {
    const NODES: usize = 4;
    const REPORTS_PER_RUN: u64 = 120;
    let mut collector = TestCollector::start_on(database).await;
    let (stop, stopped) = watch::channel(false);
    let (count, mut counted) = watch::channel(0);
    let mut nodes = JoinSet::new();
    for number in 0..NODES {
        let node = NodeClient::enroll(&collector, None, &format!("n{number}")).await;
        nodes.spawn(send_until_stopped(node, stopped.clone(), count.clone()));
    }
    for run in 1..=3 {
        let enough = counted.wait_for(|count| *count >= run * REPORTS_PER_RUN);
        tokio::time::timeout(SOON, enough).await.expect("reports are taken").unwrap();
        collector.kill().await;
        collector.run().await;
    }
    let enough = counted.wait_for(|count| *count >= 4 * REPORTS_PER_RUN);
    tokio::time::timeout(SOON, enough).await.expect("reports are taken").unwrap();
    stop.send_replace(true);
    let factors: u64 = nodes.join_all().await.into_iter().sum();

    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(factors));
    let mut database = collector.stop_and_open_database().await;
    assert_eq!(database.minute_sums(PIPELINE), distinct_counts(factors));
    assert_eq!(database.rows("logs"), *counted.borrow(), "one line for each report");
}
