//! How often conflated events come, and that durable ones do not wait for them.

use systole_tests::clock;
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::{Feed, FeedEvent, NodeClient, SOON, TestCollector, eventually_true};

/// Reports a running pipeline with one line.
async fn report_line(node: &mut NodeClient, line: &str) {
    let report = with_lines(running("orders", distinct_counts(1)), clock::now_ms(), [line.to_owned()]);
    node.report(vec![report]).await;
}

async fn wait_for_line(feed: &mut Feed, line: &str) -> FeedEvent {
    feed.wait_for(line, SOON, |event| event.lines().iter().any(|own| own == line)).await
}

#[tokio::test]
async fn metrics_respect_every_and_lines_do_not_wait() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut feed = collector.feed("types=metric_update,log_entry&every=60000").await;
    for number in 0..20 {
        let line = format!("line {number}");
        report_line(&mut node, &line).await;
        wait_for_line(&mut feed, &line).await;
    }
    let metrics = feed.events_of("metric_update");
    assert_eq!(metrics.len(), 1, "the first comes at once, and the next a minute later");
    feed.assert_ids_grow();
}

#[tokio::test]
async fn conflated_event_is_the_latest_and_has_no_id() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut feed = collector.feed("types=metric_update,log_entry&every=1000").await;
    // In each round a metric waits while a line is sent, unless the machine is too slow.
    let mut late = None;
    for round in 1..=20 {
        let line = format!("line {round}");
        report_line(&mut node, "before").await;
        node.report(vec![running("bills", distinct_counts(1))]).await;
        node.report(vec![running("bills", distinct_counts(2))]).await;
        report_line(&mut node, &line).await;
        wait_for_line(&mut feed, &line).await;
        let viewer = collector.viewer().await;
        let samples = viewer.list(&format!("/api/v1/samples?node={}&pipeline=bills", node.id)).await;
        let newest = samples.last().unwrap()["timestamp"].clone();
        let is_newest = |event: &FeedEvent| event.data["pipelineId"] == "bills" && event.data["timestamp"] == newest;
        let metric = feed.wait_for("the newest metric", SOON, is_newest).await;
        if metric.id.is_none() {
            late = Some(metric);
            break;
        }
    }
    assert!(late.is_some(), "twenty times nothing had to wait");
    feed.assert_ids_grow();
}

#[tokio::test]
async fn conflated_event_survives_a_reconnect() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut feed = collector.feed("types=metric_update,log_entry&every=60000").await;
    report_line(&mut node, "first").await;
    feed.wait_for("a metric", SOON, |event| event.kind == "metric_update").await;
    // Of these the line is sent, and moves the client's place beyond the metric that has to wait.
    node.report(vec![running("bills", distinct_counts(1))]).await;
    report_line(&mut node, "second").await;
    wait_for_line(&mut feed, "second").await;
    assert_eq!(feed.events_of("metric_update").len(), 1, "the others wait");
    feed.disconnect();
    feed.resume().await;
    let metric = feed
        .wait_until("the metric that waited", SOON, |events| {
            events.iter().find(|event| event.data["pipelineId"] == "bills").cloned()
        })
        .await;
    assert!(metric.id.is_none(), "the client's place is behind it already");
}

#[tokio::test]
async fn resume_without_missed_events_moves_the_position_before_a_ping() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut feed = collector.feed("types=log_entry&pipeline=bills").await;
    feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    feed.disconnect();
    report_line(&mut node, "of orders").await;
    feed.resume().await;
    let hello = feed.wait_for("hello", SOON, |event| event.kind == "hello" && event.connection == 2).await;
    let head = hello.data["head"].as_u64().unwrap();
    // A ping would bring the id too, after 10 s.
    let is_ping = |event: &FeedEvent| event.kind == "ping" && event.connection == 2;
    eventually_true("the head as an id alone", SOON, async || {
        assert!(!feed.events().iter().any(is_ping), "the id comes before the first ping");
        feed.ids_without_event().last().is_some_and(|id| id.seq >= head)
    })
    .await;
}
