//! The query API after valid reports.

use systole_shared::{HostMetrics, RateSample};
use systole_tests::clock;
use systole_tests::harness::collector::counts;
use systole_tests::harness::reports::{distinct_counts, pipeline, report, running, with_lines};
use systole_tests::harness::{DatabaseKind, NodeClient, SOON, TestCollector, eventually_true};
use systole_tests::metrics_lint;
use systole_tests::stub::totals::Counts;

on_each_database! {
    node_is_listed_with_name_environment_and_state,
    past_report_counts_in_its_own_minute,
    finished_hour_is_cached_and_accepts_late_reports,
    times_of_a_wrong_clock_are_corrected,
    minutes_are_summed_over_nodes_unless_one_is_named,
    failed_scrape_is_a_gap_and_not_a_sample,
    recent_samples_have_rates_of_pipeline_and_components,
    logs_are_found_by_text_level_pipeline_and_time,
    host_has_its_minutes,
    invalid_parameter_is_400_and_unknown_path_404,
    unsupported_method_is_405_with_the_allowed_ones,
    waiting_for_samples_ends_with_a_revoked_token,
    metrics_count_reports_exactly,
    metrics_report_bytes_of_every_table,
}

const MINUTE_MS: i64 = 60_000;

fn minutes(pipeline: &str, from: i64, to: i64) -> String {
    format!("/api/v1/pipelines/{pipeline}/minutes?from={from}&to={to}&step=minute")
}

async fn node_is_listed_with_name_environment_and_state(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "web-1").await;
    node.report(vec![running("orders", distinct_counts(1)), pipeline("bills", "CRASHED")]).await;
    let viewer = collector.viewer().await;
    let nodes = viewer.list("/api/v1/nodes").await;
    assert_eq!(nodes.len(), 1);
    let detail = viewer.get_json(&format!("/api/v1/nodes/{}", node.id)).await;
    for item in [&nodes[0], &detail] {
        assert_eq!(item["id"], node.id.to_string());
        assert_eq!(item["name"], "web-1");
        assert_eq!(item["environmentName"], "default");
        assert_eq!(item["status"], "DEGRADED", "a pipeline is down");
    }
    let pipelines = viewer.list("/api/v1/pipelines").await;
    let mut ids: Vec<_> = pipelines.iter().filter_map(|item| item["id"].as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["bills", "orders"]);
    let text = viewer.get_json("/api/v1/pipelines/bills").await.to_string();
    assert!(text.contains("CRASHED") && text.contains(&node.id.to_string()), "{text}");
}

async fn past_report_counts_in_its_own_minute(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let minute = (clock::now_ms() / MINUTE_MS - 10) * MINUTE_MS;
    let reports = vec![
        report(1, minute + 4_000, vec![running("orders", distinct_counts(1))]),
        report(2, minute + 59_999, vec![running("orders", distinct_counts(2))]),
        report(3, minute + MINUTE_MS, vec![running("orders", distinct_counts(4))]),
    ];
    assert_eq!(node.post(&node.request_of(reports)).await.refused, []);
    let viewer = collector.viewer().await;
    let items = viewer.list(&minutes("orders", minute, minute + 2 * MINUTE_MS)).await;
    let got: Vec<(Option<i64>, Counts)> = items.iter().map(|item| (item["at"].as_i64(), counts(item))).collect();
    assert_eq!(got, [(Some(minute), distinct_counts(3)), (Some(minute + MINUTE_MS), distinct_counts(4))]);
    assert_eq!(items[0]["samples"], 2);
    // `to` is exclusive, `from` is not.
    let first = viewer.list(&minutes("orders", minute, minute + MINUTE_MS)).await;
    assert_eq!(first.iter().map(counts).collect::<Vec<_>>(), [distinct_counts(3)]);
}

async fn finished_hour_is_cached_and_accepts_late_reports(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let viewer = collector.viewer().await;
    let hour = (clock::now_ms() / (60 * MINUTE_MS) - 3) * 60 * MINUTE_MS;
    let path = minutes("orders", hour, hour + 60 * MINUTE_MS);
    for seq in 1..=2 {
        let late = report(seq, hour + MINUTE_MS, vec![running("orders", distinct_counts(1))]);
        assert_eq!(node.post(&node.request_of(vec![late])).await.refused, []);
        for _ in 0..2 {
            let items = viewer.list(&path).await;
            assert_eq!(items.iter().map(counts).collect::<Vec<_>>(), [distinct_counts(seq)]);
        }
    }
    let page = String::from_utf8(viewer.get("/metrics").await.body).unwrap();
    for what in ["hits", "misses"] {
        let series = format!("systole_history_cache_{what}_total ");
        let count = page.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok());
        assert!(count >= Some(1), "{what}: {count:?}");
    }
}

async fn times_of_a_wrong_clock_are_corrected(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let slow = 20 * MINUTE_MS;
    let now = clock::now_ms();
    let mut request = node.request_of(vec![report(1, now - slow, vec![running("orders", distinct_counts(1))])]);
    request.sent_at = now - slow;
    assert_eq!(node.post(&request).await.refused, []);
    let items = collector.viewer().await.list(&minutes("orders", now - 2 * MINUTE_MS, now + 2 * MINUTE_MS)).await;
    assert_eq!(items.iter().map(counts).sum::<Counts>(), distinct_counts(1));
}

async fn minutes_are_summed_over_nodes_unless_one_is_named(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let now = clock::now_ms();
    let mut ids = Vec::new();
    for (name, factor) in [("n1", 1), ("n2", 10)] {
        let node = NodeClient::enroll(&collector, None, name).await;
        node.post(&node.request_of(vec![report(1, now, vec![running("orders", distinct_counts(factor))])])).await;
        ids.push((node.id, factor));
    }
    let viewer = collector.viewer().await;
    let path = minutes("orders", now - MINUTE_MS, now + MINUTE_MS);
    let all = viewer.list(&path).await;
    assert_eq!(all.len(), 1, "one minute, one item: {all:?}");
    assert_eq!(counts(&all[0]), distinct_counts(11));
    assert_eq!(all[0]["samples"], 2);
    assert!((all[0]["utilization"].as_f64().unwrap() - 0.43).abs() < 1e-6, "a mean, not a sum: {}", all[0]);
    assert!((all[0]["latencyMs"].as_f64().unwrap() - 1.2).abs() < 1e-6, "a mean, not a sum: {}", all[0]);
    for (id, factor) in ids {
        let one = viewer.list(&format!("{path}&node={id}")).await;
        assert_eq!(one.iter().map(counts).collect::<Vec<_>>(), [distinct_counts(factor)]);
    }
}

async fn failed_scrape_is_a_gap_and_not_a_sample(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let now = clock::now_ms();
    let mut failed = pipeline("orders", "RUNNING");
    failed.scrape_error = Some("connection refused".into());
    node.post(&node.request_of(vec![report(1, now, vec![failed])])).await;
    let viewer = collector.viewer().await;
    let items = viewer.list(&minutes("orders", now - MINUTE_MS, now + MINUTE_MS)).await;
    assert_eq!(items.len(), 1);
    assert_eq!((&items[0]["samples"], &items[0]["gaps"]), (&0.into(), &1.into()));
    let ring = viewer.list(&format!("/api/v1/samples?node={}&pipeline=orders", node.id)).await;
    assert_eq!(ring, [] as [serde_json::Value; 0]);
}

async fn recent_samples_have_rates_of_pipeline_and_components(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    for factor in 1..=3 {
        node.report(vec![running("orders", distinct_counts(factor))]).await;
    }
    let viewer = collector.viewer().await;
    let path = format!("/api/v1/samples?node={}&pipeline=orders", node.id);
    let samples: Vec<RateSample> =
        viewer.list(&path).await.into_iter().map(|item| serde_json::from_value(item).unwrap()).collect();
    let rates: Vec<f64> = samples.iter().map(|sample| sample.received_events_rate).collect();
    assert_eq!(rates, [100.0, 200.0, 300.0], "events over 5 s");
    let since = samples[1].timestamp;
    let later = viewer.list(&format!("{path}&since={since}")).await;
    assert!((1..=2).contains(&later.len()), "{later:?}");
    let sink = viewer.list(&format!("{path}&component=out")).await;
    let sink: Vec<RateSample> = sink.into_iter().map(|item| serde_json::from_value(item).unwrap()).collect();
    assert_eq!(sink[0].sent_events_rate, 98.0);
    assert_eq!(sink[0].received_bytes_rate, 0.0);
}

async fn logs_are_found_by_text_level_pipeline_and_time(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let now = clock::now_ms();
    let lines = (0..25).map(|number| format!("order {number:02} 100%_done"));
    let mut orders = with_lines(running("orders", distinct_counts(1)), now, lines);
    orders.logs[7].level = Some(systole_shared::LogLevel::Error);
    orders.logs[8].level = None;
    orders.logs[9].at = now - 30_000;
    let bills = with_lines(running("bills", distinct_counts(1)), now, ["a bill".to_owned()]);
    node.report(vec![orders, bills]).await;
    let viewer = collector.viewer().await;

    let all = viewer.list("/api/v1/logs?pipeline=orders&limit=10").await;
    let mut lines: Vec<_> = all.iter().filter_map(|item| item["line"].as_str()).collect();
    let mut seqs: Vec<_> = all.iter().filter_map(|item| item["seq"].as_u64()).collect();
    lines.sort_unstable();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!((lines.len(), seqs.len()), (25, 25), "every line once, over three pages");
    assert_eq!((lines[0], lines[24]), ("order 00 100%_done", "order 24 100%_done"));
    assert_eq!(all[0]["nodeId"], node.id.to_string());
    assert_eq!((&all[0]["pipelineId"], &all[0]["stream"]), (&"orders".into(), &"stderr".into()));
    assert_eq!(
        viewer.get_json("/api/v1/logs?pipeline=orders&limit=10").await["items"].as_array().map(Vec::len),
        Some(10)
    );

    let found = async |query: String| viewer.list(&format!("/api/v1/logs?{query}")).await.len();
    assert_eq!(found("q=order%2007".into()).await, 1);
    assert_eq!(found("q=100%25_d".into()).await, 25, "percent and underscore are text");
    assert_eq!(found("q=100_".into()).await, 0, "an underscore is not any character");
    assert_eq!(found("level=error".into()).await, 1);
    assert_eq!(found("pipeline=bills".into()).await, 1);
    assert_eq!(found(format!("node={}", node.id)).await, 26);
    assert_eq!(found(format!("from={}&to={}", now - 31_000, now - 29_000)).await, 1);
    assert_eq!(found(format!("pipeline=orders&from={now}")).await, 24);
    assert_eq!(found(format!("pipeline=orders&to={now}")).await, 1, "to is exclusive");
}

async fn host_has_its_minutes(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let now = clock::now_ms();
    let mut one = report(1, now, vec![]);
    one.host = Some(HostMetrics { memory_total_bytes: Some(1_000), load_avg_1: Some(0.5), ..HostMetrics::default() });
    node.post(&node.request_of(vec![one])).await;
    let path = format!("/api/v1/nodes/{}/minutes?from={}&to={}&step=minute", node.id, now - MINUTE_MS, now + MINUTE_MS);
    let items = collector.viewer().await.list(&path).await;
    assert_eq!(items.len(), 1);
    assert_eq!((&items[0]["memoryTotalBytes"], &items[0]["loadAvg1"]), (&1_000.into(), &0.5.into()));
    assert!(items[0]["memoryUsedBytes"].is_null(), "what was not read is not zero: {}", items[0]);
}

async fn invalid_parameter_is_400_and_unknown_path_404(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running("orders", distinct_counts(1))]).await;
    let viewer = collector.viewer().await;
    for (parameter, path) in [
        ("from", "pipelines/orders/minutes?from=yesterday&to=1&step=minute"),
        ("to", "pipelines/orders/minutes?from=1&to=x&step=minute"),
        ("step", "pipelines/orders/minutes?from=1&to=2&step=decade"),
        ("node", "pipelines/orders/minutes?from=1&to=2&step=minute&node=x"),
        ("limit", "logs?limit=-1"),
        ("limit", "logs?limit=many"),
        ("cursor", "logs?cursor=nonsense"),
        ("level", "logs?level=loud"),
        ("node", "logs?node=x"),
        ("node", "samples?pipeline=orders"),
        ("from", "logs?from=2&to=1"),
        ("from", "status-changes?from=2&to=1"),
        ("status", "nodes?status=tired"),
        ("environment", "nodes?environment=default&environment=default"),
        ("environment", "events?environment=default&environment=default"),
        // The database takes no pattern of this length.
        ("q", &format!("logs?q={}", "x".repeat(60_000))),
    ] {
        let problem = viewer.get(&format!("/api/v1/{path}")).await.problem(400);
        assert!(problem.to_string().contains(parameter), "{path}: {problem}");
    }
    viewer.get("/api/v1/nonsense").await.problem(404);
    viewer.get("/api/v1/pipelines/nonsense").await.problem(404);
}

async fn unsupported_method_is_405_with_the_allowed_ones(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let viewer = collector.viewer().await;
    for (path, methods) in
        [("/api/v1/nodes", "GET"), ("/api/v1/session", "GET, POST, DELETE"), ("/healthz", "GET, HEAD")]
    {
        for method in [reqwest::Method::PUT, reqwest::Method::OPTIONS] {
            let answer = viewer.request(method, path).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{path}");
            assert_eq!(answer.headers()["allow"], methods, "{path}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(viewer.request(reqwest::Method::HEAD, path).send().await.unwrap().status(), 200, "{path}");
    }
}

async fn waiting_for_samples_ends_with_a_revoked_token(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let token = collector.create_token("viewer", None).await;
    let viewer = collector.client().with_token(token.token.reveal());
    let path = format!("/api/v1/samples?node={}&pipeline=orders&wait=30000", node.id);
    let waiting = tokio::spawn(async move { viewer.get(&path).await });
    let own = collector.client().with_token(token.token.reveal());
    eventually_true("the token counts", SOON, async || own.get("/api/v1/nodes").await.status == 200).await;
    collector.revoke_token(&token.id).await;
    eventually_true("the token is revoked", SOON, async || own.get("/api/v1/nodes").await.status == 401).await;
    assert!(!waiting.is_finished());
    node.report(vec![running("orders", distinct_counts(1))]).await;
    waiting.await.unwrap().problem(401);
}

async fn metrics_count_reports_exactly(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let viewer = collector.viewer().await;
    let counters = async || {
        let page = String::from_utf8(viewer.get("/metrics").await.body).unwrap();
        ["applied", "duplicate", "refused", "missing"].map(|kind| {
            let series = format!("systole_reports_{kind}_total ");
            let value = page.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok());
            value.unwrap_or_else(|| panic!("no {series}in {page}"))
        })
    };
    assert_eq!(counters().await, [0, 0, 0, 0]);
    for _ in 0..7 {
        node.report(vec![running("orders", distinct_counts(1))]).await;
    }
    assert_eq!(counters().await, [7, 0, 0, 0]);
    // The last one again, one that ends in the future, and one after three that are missing.
    node.next_seq -= 1;
    let again = node.next_request(vec![running("orders", distinct_counts(1))]);
    node.post(&again).await;
    let future = report(8, clock::now_ms() + 2 * 60 * MINUTE_MS, vec![]);
    assert_eq!(node.post(&node.request_of(vec![future])).await.refused_count, 1);
    node.next_seq = 12;
    node.report(vec![running("orders", distinct_counts(1))]).await;
    assert_eq!(counters().await, [8, 1, 1, 3]);
    let page = viewer.get("/metrics").await;
    assert!(page.content_type.starts_with("text/plain; version=0.0.4"), "{page:?}");
    assert_eq!(metrics_lint::faults(&String::from_utf8(page.body).unwrap()), [""; 0]);
}

async fn metrics_report_bytes_of_every_table(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running("orders", distinct_counts(1))]).await;
    let viewer = collector.viewer().await;
    let bytes = async |series: &str| -> Option<f64> {
        let page = String::from_utf8(viewer.get("/metrics").await.body).unwrap();
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    };
    // Measured some seconds after the start.
    for table in ["nodes", "pipeline_minutes", "logs"] {
        let series = format!("systole_database_bytes{{table=\"{table}\"}}");
        eventually_true("tables are measured", SOON, async || bytes(&series).await >= Some(4_096.0)).await;
    }
    assert!(bytes("systole_disk_free_bytes").await > Some(0.0));
}
