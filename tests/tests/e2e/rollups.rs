//! Hours and days: sums that are the same however and whenever they are made.

use std::collections::BTreeMap;

use systole_shared::HostMetrics;
use systole_tests::clock;
use systole_tests::harness::collector::counts;
use systole_tests::harness::reports::{distinct_counts, report, running};
use systole_tests::harness::{ApiClient, DatabaseKind, NodeClient, SOON, TestCollector, eventually_true};
use systole_tests::stub::totals::Counts;

on_each_database! {
    hours_and_days_are_complete_over_late_reports_and_sigkills,
    step_follows_the_length_of_the_range,
    host_load_has_minutes_and_hours,
    peak_of_a_minute_survives_the_sum,
    reports_that_came_late_or_never_are_counted,
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Reports of the past, one a minute for this many minutes, numbered from `seq`.
async fn backfill(node: &NodeClient, seq: u64, begin: i64, minutes: i64) -> u64 {
    let reports = (0..minutes).map(|minute| {
        let seq = seq + minute as u64;
        let mut report = report(seq, begin + minute * MINUTE_MS, vec![running("orders", distinct_counts(seq))]);
        report.host = Some(HostMetrics {
            cpu_seconds_total: Some(minute as f64 * 60.0),
            cpu_seconds_idle: Some(minute as f64 * 30.0),
            net_rx_bytes: Some(minute as u64 * 600),
            memory_used_bytes: Some(1_000),
            ..HostMetrics::default()
        });
        report
    });
    assert_eq!(node.post(&node.request_of(reports.collect())).await.refused, []);
    seq + minutes as u64
}

/// What a step's items have, by their time.
async fn sums(viewer: &ApiClient, from: i64, step: &str) -> BTreeMap<i64, Counts> {
    let path = format!("/api/v1/pipelines/orders/minutes?from={from}&to={}&step={step}", from + 4 * DAY_MS);
    viewer
        .list(&path)
        .await
        .iter()
        .map(|item| (item["at"].as_i64().expect("items have a time"), counts(item)))
        .collect()
}

fn summed(minutes: &BTreeMap<i64, Counts>, step_ms: i64) -> BTreeMap<i64, Counts> {
    let mut sums: BTreeMap<i64, Vec<Counts>> = BTreeMap::new();
    for (at, counts) in minutes {
        sums.entry(at / step_ms * step_ms).or_default().push(*counts);
    }
    sums.into_iter().map(|(at, counts)| (at, counts.into_iter().sum())).collect()
}

/// A value of the collector's own metrics, 0 while it is not there.
async fn metric(viewer: &ApiClient, series: &str) -> f64 {
    let page = String::from_utf8(viewer.get("/metrics").await.body).expect("metrics are text");
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

/// Series that this run of the collector has summed so far.
async fn rolled_up(viewer: &ApiClient) -> f64 {
    metric(viewer, "systole_series_rolled_up_total").await
}

/// Waits for the first round of this run. The run before may have left nothing to sum: a flush wakes the task.
async fn first_round(viewer: &ApiClient) {
    let success = "systole_task_last_success_timestamp_seconds{task=\"rollup\"}";
    eventually_true("the past is summed", SOON, async || metric(viewer, success).await > 0.0).await;
}

async fn hours_and_days_are_complete_over_late_reports_and_sigkills(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let midnight = clock::now_ms() / DAY_MS * DAY_MS;
    let from = midnight - 3 * DAY_MS;
    let mut seq = 1;
    let mut summed_series = 0.0;
    for begin in [from + 50 * MINUTE_MS, from + DAY_MS - 20 * MINUTE_MS, midnight - DAY_MS] {
        seq = backfill(&node, seq, begin, 90).await;
    }
    for round in 0..3 {
        let viewer = collector.viewer().await;
        let minutes = sums(&viewer, from, "minute").await;
        assert_eq!(
            minutes.values().map(|counts| counts.events_in).sum::<u64>(),
            (1..seq).map(|seq| distinct_counts(seq).events_in).sum::<u64>()
        );
        assert_eq!(sums(&viewer, from, "hour").await, summed(&minutes, HOUR_MS), "round {round}");
        assert_eq!(sums(&viewer, from, "day").await, summed(&minutes, DAY_MS), "round {round}");
        summed_series += rolled_up(&viewer).await;
        collector.kill().await;
        // The start sums everything that the last run has left.
        collector.run().await;
        let viewer = collector.viewer().await;
        first_round(&viewer).await;
        assert_eq!(sums(&viewer, from, "hour").await, summed(&minutes, HOUR_MS), "round {round}, summed");
        assert_eq!(sums(&viewer, from, "day").await, summed(&minutes, DAY_MS), "round {round}, summed");
        // Late reports, into hours that are summed already.
        seq = backfill(&node.reconnected(), seq, from + (40 + round) * MINUTE_MS, 30).await;
        summed_series += rolled_up(&viewer).await;
    }
    assert!(summed_series > 0.0, "no hour was summed");
}

async fn step_follows_the_length_of_the_range(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    backfill(&node, 1, clock::now_ms() - 10 * MINUTE_MS, 2).await;
    let viewer = collector.viewer().await;
    let to = clock::now_ms() + MINUTE_MS;
    for (days, step) in [(1, "minute"), (6, "hour"), (80, "day")] {
        let range = format!("from={}&to={to}", to - days * DAY_MS);
        for path in
            ["pipelines/orders/minutes", "pipelines/orders/components/minutes", &format!("nodes/{}/minutes", node.id)]
        {
            let answer = viewer.get_json(&format!("/api/v1/{path}?{range}")).await;
            assert_eq!(answer["step"], step, "{path} over {days} days");
            assert!(!answer["items"].as_array().unwrap().is_empty(), "{path}: {answer}");
        }
    }
}

async fn host_load_has_minutes_and_hours(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let hour = (clock::now_ms() / HOUR_MS - 2) * HOUR_MS;
    backfill(&node, 1, hour, 60).await;
    let viewer = collector.viewer().await;
    let list = async |step: &str| {
        let path = format!("/api/v1/nodes/{}/minutes?from={hour}&to={}&step={step}", node.id, hour + HOUR_MS);
        viewer.list(&path).await
    };
    let minutes = list("minute").await;
    assert_eq!(minutes.len(), 60);
    assert!(minutes[0]["cpuUtilization"].is_null(), "nothing is before it: {}", minutes[0]);
    let later = viewer
        .list(&format!(
            "/api/v1/nodes/{}/minutes?from={}&to={}&step=minute",
            node.id,
            hour + MINUTE_MS,
            hour + 2 * MINUTE_MS
        ))
        .await;
    for item in [&minutes[1], &list("hour").await[0], &later[0]] {
        assert_eq!((&item["cpuUtilization"], &item["netRxBytesPerSecond"]), (&0.5.into(), &10.0.into()), "{item}");
        assert_eq!(item["memoryUsedBytesMean"], 1_000.0, "{item}");
    }
}

async fn peak_of_a_minute_survives_the_sum(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let hour = (clock::now_ms() / HOUR_MS - 3) * HOUR_MS;
    let nodes = [NodeClient::enroll(&collector, None, "n1").await, NodeClient::enroll(&collector, None, "n2").await];
    // In the minutes 0 to 9 the first node counts 1 to 10 times, and the second one 10 to 1 times.
    for (node, factor) in nodes.iter().zip([(0, 1), (11, -1)]) {
        let reports = (1..=10_i64).map(|number| {
            let counts = distinct_counts((factor.0 + factor.1 * number) as u64);
            report(number as u64, hour + (number - 1) * MINUTE_MS, vec![running("orders", counts)])
        });
        assert_eq!(node.post(&node.request_of(reports.collect())).await.refused, []);
    }
    let viewer = collector.viewer().await;
    let range = format!("from={hour}&to={}", hour + HOUR_MS);
    let read = async |path: &str| viewer.get_json(&format!("/api/v1/pipelines/orders/{path}&{range}")).await;
    eventually_true("the hour is summed", SOON, async || {
        let one = read(&format!("minutes?step=hour&node={}", nodes[0].id)).await;
        let item = &one["items"][0];
        (&item["min"]["eventsIn"], &item["max"]["eventsIn"]) == (&500.into(), &5_000.into())
    })
    .await;
    let one = read(&format!("minutes?step=hour&node={}", nodes[0].id)).await;
    assert_eq!((&one["extremes"], &one["items"][0]["max"]["errors"]), (&"sum".into(), &30.into()), "{one}");
    let both = read("minutes?step=hour").await;
    assert_eq!(both["extremes"], "sum");
    assert_eq!(
        (&both["items"][0]["min"]["eventsIn"], &both["items"][0]["max"]["eventsIn"]),
        (&5_500.into(), &5_500.into())
    );
    let components = read("components/minutes?step=hour").await;
    assert_eq!(components["extremes"], "nodes");
    assert_eq!(components["items"][0]["componentId"], "in");
    assert_eq!(components["items"][0]["max"]["receivedEvents"], 10_000, "each node's highest");
    let minutes = read("minutes?step=minute").await;
    assert!(minutes["items"][0]["min"].is_null() && minutes["extremes"].is_null(), "{minutes}");
    // A late report changes its hour.
    let late = report(11, hour + 30 * MINUTE_MS, vec![running("orders", distinct_counts(40))]);
    assert_eq!(nodes[0].post(&nodes[0].request_of(vec![late])).await.refused, []);
    let both = read("minutes?step=hour").await;
    assert_eq!(both["items"][0]["max"]["eventsIn"], 20_000, "{both}");
}

async fn reports_that_came_late_or_never_are_counted(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let ledger = async |viewer: &ApiClient| {
        let items = viewer.list("/api/v1/pipelines/orders/minutes?from=-6h&step=hour").await;
        let sum = |name: &str| items.iter().map(|item| item[name].as_i64().unwrap()).sum::<i64>();
        (sum("reports"), sum("lateReports"), sum("missingReports"))
    };
    node.report(vec![running("orders", distinct_counts(1))]).await;
    let viewer = collector.viewer().await;
    assert_eq!(ledger(&viewer).await, (1, 0, 0));
    // An outage of an hour: reports 2 to 11 never come, 12 to 21 come late.
    let begin = clock::now_ms() - HOUR_MS;
    let late =
        (12..22).map(|seq| report(seq, begin + seq as i64 * MINUTE_MS, vec![running("orders", distinct_counts(1))]));
    let request = node.request_of(late.collect());
    assert_eq!(node.post(&request).await.refused, []);
    assert_eq!(ledger(&viewer).await, (11, 10, 10));
    collector.kill().await;
    collector.run().await;
    let node = node.moved_to(&collector);
    // The answer was lost: they come again, with one that is new.
    node.post_until_accepted(&request).await;
    let last = report(22, clock::now_ms(), vec![running("orders", distinct_counts(1))]);
    assert_eq!(node.post(&node.request_of(vec![last])).await.refused, []);
    let viewer = collector.viewer().await;
    assert_eq!(ledger(&viewer).await, (12, 10, 10));
}
