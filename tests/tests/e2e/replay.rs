//! A subscriber that reconnects misses nothing and receives nothing twice.

use std::time::Duration;

use systole_tests::clock;
use systole_tests::harness::reports::{distinct_counts, pipeline, running, with_lines};
use systole_tests::harness::{DatabaseKind, Feed, FeedEvent, NodeClient, SOON, TestCollector};
use tokio::sync::watch;
use tokio::task::JoinHandle;

on_each_database! {
    subscriber_away_for_10_s_misses_no_durable_event,
    resume_is_complete_over_restarts_under_load,
    short_connections_lose_and_repeat_nothing,
    replay_beyond_10000_events_names_a_gap,
}

/// The interval of an imagined agent, and a much shorter one that keeps the collector busy.
const INTERVAL: Duration = Duration::from_millis(100);
const SHORT_INTERVAL: Duration = Duration::from_millis(10);

/// A node that reports at an interval: a numbered line each time, and a pipeline, named as the node,
/// that starts and stops in turn. A request without a response is sent again.
struct Reporter {
    name: String,
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    acknowledged: watch::Receiver<u64>,
}

impl Reporter {
    async fn start(collector: &TestCollector, name: &str, interval: Duration) -> Self {
        let mut node = NodeClient::enroll(collector, None, name).await;
        let id = name.to_owned();
        let (stop, stopped) = watch::channel(false);
        let (count, acknowledged) = watch::channel(0);
        let task = tokio::spawn(async move {
            while !*stopped.borrow() {
                let number = node.next_seq;
                let status = if number.is_multiple_of(2) { "RUNNING" } else { "STOPPED" };
                let lines = with_lines(pipeline(&id, status), clock::now_ms(), [format!("{id} {number}")]);
                let request = node.next_request(vec![lines]);
                node.post_until_accepted(&request).await;
                count.send_replace(number);
                tokio::time::sleep(interval).await;
            }
        });
        Reporter { name: name.to_owned(), task, stop, acknowledged }
    }

    /// Waits until this many more reports are acknowledged.
    async fn reports(&mut self, more: u64) {
        let target = *self.acknowledged.borrow() + more;
        let wait = self.acknowledged.wait_for(|count| *count >= target);
        tokio::time::timeout(SOON, wait).await.expect("reports are taken").expect("the reporter lives");
    }

    /// Ends it; returns its name and the number of reports.
    async fn finish(self) -> (String, u64) {
        self.stop.send_replace(true);
        self.task.await.expect("the reporter does not panic");
        let reports = *self.acknowledged.borrow();
        (self.name, reports)
    }
}

/// Asserts that the feed has every line and every change of a reporter, once and in order, and the
/// same ones as the query API.
async fn assert_complete(collector: &mut TestCollector, feed: &mut Feed, (name, reports): (String, u64)) {
    let last = format!("{name} {reports}");
    feed.wait_for("the last line", SOON, |event| event.lines().contains(&last)).await;
    let own = |event: &FeedEvent| event.data["pipelineId"] == name.as_str();
    let lines: Vec<String> = feed.events().iter().filter(|event| own(event)).flat_map(FeedEvent::lines).collect();
    let expected: Vec<String> = (1..=reports).map(|number| format!("{name} {number}")).collect();
    assert_eq!(lines, expected);
    let changes: Vec<FeedEvent> = feed.events_of("status_change").into_iter().filter(own).collect();
    assert_eq!(changes.len() as u64, reports, "one change with each report");
    for (index, change) in changes.iter().enumerate() {
        let expected = if index % 2 == 0 { "STOPPED" } else { "RUNNING" };
        assert_eq!(change.data["toStatus"], expected);
    }
    feed.assert_ids_grow();
    assert_eq!(feed.events_of("gap").len(), 0);
    assert_eq!(feed.events_of("reset").len(), 0);
    let stored = collector.viewer().await.list(&format!("/api/v1/status-changes?pipeline={name}")).await;
    let mut stored: Vec<u64> = stored.iter().map(|change| change["seq"].as_u64().expect("a seq")).collect();
    stored.sort_unstable();
    let heard: Vec<u64> = changes.into_iter().filter_map(|change| change.id.map(|id| id.seq)).collect();
    assert_eq!(stored, heard);
}

async fn subscriber_away_for_10_s_misses_no_durable_event(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut feed = collector.feed("").await;
    let mut reporter = Reporter::start(&collector, "n1", INTERVAL).await;
    reporter.reports(10).await;
    feed.disconnect();
    let before = feed.last_id();
    tokio::join!(tokio::time::sleep(Duration::from_secs(10)), reporter.reports(30));
    feed.resume().await;
    reporter.reports(10).await;
    let reports = reporter.finish().await;
    assert!(before.is_some() && reports.1 > 50);
    assert_complete(&mut collector, &mut feed, reports).await;
}

async fn resume_is_complete_over_restarts_under_load(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut feed = collector.feed("types=status_change,log_entry").await;
    let mut reporters = Vec::new();
    for name in ["n1", "n2", "n3", "n4"] {
        reporters.push(Reporter::start(&collector, name, SHORT_INTERVAL).await);
    }
    for graceful in [false, true, false, false] {
        reporters[0].reports(30).await;
        if graceful {
            collector.stop().await;
        } else {
            collector.kill().await;
        }
        feed.wait_for_end(SOON).await;
        collector.run().await;
        reporters[0].reports(5).await;
        feed.resume().await;
    }
    for reporter in reporters {
        let finished = reporter.finish().await;
        assert_complete(&mut collector, &mut feed, finished).await;
    }
}

async fn short_connections_lose_and_repeat_nothing(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut feed = collector.feed("types=status_change,log_entry").await;
    let mut reporter = Reporter::start(&collector, "n1", INTERVAL).await;
    for number in 0..25 {
        reporter.reports(1 + number % 3).await;
        feed.resume().await;
    }
    let reports = reporter.finish().await;
    assert_complete(&mut collector, &mut feed, reports).await;
}

async fn replay_beyond_10000_events_names_a_gap(database: DatabaseKind) {
    const PIPELINES: u64 = 1_000;
    const REPORTS: u64 = 11;
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut probe = collector.feed("types=fleet_status").await;
    let hello = probe.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let start = format!("{}-{}", hello.data["epoch"].as_str().unwrap(), hello.data["head"]);
    for report in 0..REPORTS {
        let at = clock::now_ms();
        let pipelines = (0..PIPELINES)
            .map(|number| {
                with_lines(running(&format!("p{number}"), distinct_counts(1)), at, [format!("{report} {number}")])
            })
            .collect();
        node.report(pipelines).await;
    }
    // What is still in memory is not bounded so; a restart leaves the database only.
    collector.stop().await;
    collector.run().await;
    let viewer = collector.viewer().await;
    let mut feed = Feed::open_after(&viewer, "types=log_entry,status_change", Some(&start)).await;
    let gap = feed.wait_for("the gap", SOON, |event| event.kind == "gap").await;
    assert_eq!(gap.data["reason"], "limit");
    let (from, to) = (gap.data["from"].as_u64().unwrap(), gap.data["to"].as_u64().unwrap());
    let events: Vec<FeedEvent> = feed.events().into_iter().filter(|event| event.id.is_some()).collect();
    assert_eq!(events.len(), 10_000);
    assert!(events.iter().all(|event| event.id.as_ref().unwrap().seq < from), "nothing of the gap comes all the same");
    // Before the gap nothing is missing: the lines are numbered.
    let lines: Vec<String> = events.iter().flat_map(FeedEvent::lines).collect();
    let all = (0..REPORTS).flat_map(|report| (0..PIPELINES).map(move |number| format!("{report} {number}")));
    assert_eq!(lines, all.take(lines.len()).collect::<Vec<String>>());
    // After the gap the stream continues, and the gap is sent once.
    node.report(vec![with_lines(running("p0", distinct_counts(1)), clock::now_ms(), ["news".to_owned()])]).await;
    let news = feed.wait_for("the news", SOON, |event| event.lines() == ["news"]).await;
    assert!(news.id.unwrap().seq > to);
    assert_eq!(feed.events_of("gap").len(), 1);
    feed.assert_ids_grow();
}
