//! The feed's manners: greeting, pings, filters, snapshots, resets, refusals.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use systole_shared::sse::Item;
use systole_shared::{EventId, PipelineReport};
use systole_tests::clock;
use systole_tests::harness::client::Answer;
use systole_tests::harness::reports::{distinct_counts, pipeline, running, with_lines};
use systole_tests::harness::{Feed, FeedEvent, NodeClient, SOON, TestCollector};

/// Pings come every 10 s; a busy machine may delay one.
const PING: Duration = Duration::from_secs(25);

fn is(kind: &'static str) -> impl Fn(&FeedEvent) -> bool {
    move |event| event.kind == kind
}

/// Reports a running pipeline with one line.
async fn report_line(node: &mut NodeClient, id: &str, line: &str) {
    let report = with_lines(running(id, distinct_counts(1)), clock::now_ms(), [line.to_owned()]);
    node.report(vec![report]).await;
}

#[tokio::test]
async fn subscriber_receives_hello_then_events_in_commit_order() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    report_line(&mut node, "orders", "before").await;
    let mut feed = collector.feed("every=0").await;
    let hello = feed.wait_for("hello", SOON, |_| true).await;
    assert_eq!(hello.kind, "hello");
    assert_eq!((hello.id, hello.data["resumed"].as_bool()), (None, Some(false)));
    assert!(hello.data["pingMs"].as_u64().is_some_and(|ms| ms <= 15_000));
    match feed.first_items().as_slice() {
        [Item::Retry(ms), Item::Event { kind, .. }] => {
            assert!((2_000..=8_000).contains(ms), "retry: {ms}");
            assert_eq!(kind, "hello");
        }
        other => panic!("the stream begins with {other:?}"),
    }
    let head = hello.data["head"].as_u64().unwrap();

    report_line(&mut node, "orders", "after").await;
    let metric = feed.wait_for("metric_update", SOON, is("metric_update")).await;
    assert_eq!(metric.data["pipelineId"], "orders");
    assert_eq!(metric.data["nodeId"], node.id.to_string());
    assert_eq!(metric.data["sample"]["receivedEventsRate"], 100.0, "500 events in 5 s");
    assert_eq!(metric.data["sample"]["sentBytesRate"], 10_020.0);
    assert_eq!(metric.data["sample"]["errorCount"], 3.0);
    assert_eq!(metric.data["components"].as_array().map(Vec::len), Some(2));
    let fleet = feed.wait_for("fleet_status", SOON, is("fleet_status")).await;
    assert_eq!((&fleet.data["status"], &fleet.data["pipelinesRunning"]), (&"HEALTHY".into(), &1.into()));
    let log = feed.wait_for("log_entry", SOON, is("log_entry")).await;
    assert_eq!(log.lines(), ["after"]);
    assert!(log.id.unwrap().seq > head, "what was before the subscription is not news");
    node.report(vec![pipeline("orders", "STOPPED")]).await;
    let change = feed.wait_for("status_change", SOON, is("status_change")).await;
    assert_eq!((&change.data["fromStatus"], &change.data["toStatus"]), (&"RUNNING".into(), &"STOPPED".into()));
    feed.assert_ids_grow();
}

#[tokio::test]
async fn silent_stream_pings_and_moves_its_position() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut filtered = collector.feed("types=log_entry").await;
    let hello = filtered.wait_for("hello", SOON, is("hello")).await;
    let head = hello.data["head"].as_u64().unwrap();
    // Events that this subscriber does not see.
    node.report(vec![running("orders", distinct_counts(1))]).await;
    let ping = filtered.wait_for("ping", PING, is("ping")).await;
    assert!(ping.id.is_none() && ping.data["now"].is_i64());
    filtered
        .wait_until("a second ping", PING, |events| {
            (events.iter().filter(|event| event.kind == "ping").count() > 1).then_some(())
        })
        .await;
    let ids = filtered.ids_without_event();
    assert!(ids.last().is_some_and(|id| id.seq > head), "no id moved the cursor beyond {head}: {ids:?}");
    let kinds: Vec<String> = filtered.events().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["hello", "ping", "ping"]);
}

#[tokio::test]
async fn filters_pass_only_matching_events() {
    let mut collector = TestCollector::start().await;
    collector.create_environment("red").await;
    collector.create_environment("blue").await;
    let mut red = NodeClient::enroll(&collector, Some("red"), "red-host").await;
    let mut blue = NodeClient::enroll(&collector, Some("blue"), "blue-host").await;
    let mut by_types = collector.feed("types=log_entry,status_change&every=0").await;
    let mut by_environment = collector.feed("environment=red&every=0").await;
    let mut by_node = collector.feed(&format!("node={}&every=0", red.id)).await;
    let mut by_pipeline = collector.feed("pipeline=orders&pipeline=bills&every=0&types=log_entry").await;
    for (node, name) in [(&mut blue, "blue"), (&mut red, "red")] {
        for id in ["orders", "bills", "other"] {
            report_line(node, id, &format!("{name} {id}")).await;
        }
    }
    let last = |event: &FeedEvent| event.lines().contains(&"red other".to_owned());
    let ids = [red.id, blue.id].map(|id| id.to_string());
    // Totals are of an environment and have a test of their own.
    let not_control = |event: &FeedEvent| event.id.is_some() && event.kind != "fleet_totals";

    by_types.wait_for("the last line", SOON, last).await;
    let events: Vec<_> = by_types.events().into_iter().filter(not_control).collect();
    assert!(events.iter().all(|event| event.kind == "log_entry" || event.kind == "status_change"));
    assert_eq!(events.iter().filter(|event| event.kind == "log_entry").count(), 6);

    for feed in [&mut by_environment, &mut by_node] {
        feed.wait_for("the last line", SOON, last).await;
        let events: Vec<_> = feed.events().into_iter().filter(not_control).collect();
        assert!(events.iter().all(|event| event.data["nodeId"] == ids[0]), "{events:?}");
        assert!(events.iter().any(|event| event.kind == "metric_update"));
    }

    by_pipeline.wait_for("the last line", SOON, |event| event.lines().contains(&"red bills".to_owned())).await;
    let lines: Vec<String> = by_pipeline.events().iter().flat_map(FeedEvent::lines).collect();
    assert_eq!(lines, ["blue orders", "blue bills", "red orders", "red bills"]);
}

#[tokio::test]
async fn snapshot_shows_the_state_and_ends_with_its_watermark() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let long = || Some("because ".repeat(100).into());
    let pipelines = (0..100).map(|number| running(&format!("p{number}"), distinct_counts(1)));
    node.report(pipelines.map(|pipeline| PipelineReport { reason: long(), name: long(), ..pipeline }).collect()).await;
    let mut feed = collector.feed("snapshot=1").await;
    let done = feed.wait_for("the last part", SOON, |event| event.data["done"] == true).await;
    let parts: Vec<FeedEvent> = feed.events_of("snapshot");
    let all = |key: &str| -> Vec<serde_json::Value> {
        parts.iter().filter_map(|part| part.data[key].as_array()).flatten().cloned().collect()
    };
    assert_eq!(all("nodes").len(), 1);
    assert_eq!(
        (&all("nodes")[0]["nodeId"], &all("nodes")[0]["status"]),
        (&node.id.to_string().into(), &"HEALTHY".into())
    );
    assert_eq!(all("pipelines").len(), 100);
    assert!(all("pipelines").iter().all(|pipeline| pipeline["status"] == "RUNNING"));
    assert_eq!(all("samples").len(), 100);
    for part in &parts {
        assert!(part.data.to_string().len() <= 16 * 1024, "a part of {} bytes", part.data.to_string().len());
        assert_eq!(part.id.is_some(), part.data["done"] == true, "only the last part has an id");
    }
    // Events after the snapshot are above its watermark.
    node.report(vec![pipeline("p1", "STOPPED")]).await;
    let change = feed.wait_for("the change", SOON, |event| event.is_change(Some("p1"), "STOPPED")).await;
    assert!(change.id.unwrap().seq > done.id.unwrap().seq);
    feed.assert_ids_grow();
}

#[tokio::test]
async fn unknown_id_is_answered_with_reset_and_snapshot() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    report_line(&mut node, "orders", "one").await;
    let viewer = collector.viewer().await;
    let mut probe = Feed::open(&viewer, "").await;
    let hello = probe.wait_for("hello", SOON, is("hello")).await;
    let epoch = hello.data["epoch"].as_str().unwrap();
    let ahead = format!("{epoch}-{}", hello.data["head"].as_u64().unwrap() + 1_000_000);
    for (id, reason) in [("otherepoch-1", "epoch"), (ahead.as_str(), "ahead")] {
        let mut feed = Feed::open_after(&viewer, "", Some(id)).await;
        let reset = feed.wait_for("reset", SOON, is("reset")).await;
        assert_eq!(reset.data["reason"], reason);
        let done = feed.wait_for("the snapshot", SOON, |event| event.data["done"] == true).await;
        assert_eq!(done.id.unwrap().epoch.as_ref(), epoch);
        assert_eq!(feed.events()[0].data["resumed"], false);
        assert_eq!(feed.events_of("log_entry").len(), 0, "nothing is replayed");
    }
}

#[tokio::test]
async fn last_event_id_header_precedes_the_parameter() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut first = collector.feed("types=log_entry").await;
    for line in ["one", "two", "three"] {
        report_line(&mut node, "orders", line).await;
    }
    first.wait_for("three", SOON, |event| event.lines() == ["three"]).await;
    let ids: Vec<EventId> = first.events_of("log_entry").into_iter().filter_map(|event| event.id).collect();
    let viewer = collector.viewer().await;
    let query = format!("types=log_entry&after={}", ids[0]);
    for (header, expected) in [(None, vec!["two", "three"]), (Some(ids[1].to_string()), vec!["three"])] {
        let mut feed = Feed::open_after(&viewer, &query, header.as_deref()).await;
        feed.wait_for("three", SOON, |event| event.lines() == ["three"]).await;
        let lines: Vec<String> = feed.events().iter().flat_map(FeedEvent::lines).collect();
        assert_eq!(lines, expected);
        assert_eq!(feed.events()[0].data["resumed"], true);
    }
}

#[tokio::test]
async fn invalid_parameter_is_refused_by_name() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    for (parameter, query) in [
        ("types", "types=log_entry,nonsense"),
        ("types", "types="),
        ("every", "every=-1"),
        ("every", "every=60001"),
        ("every", "every=soon"),
        ("node", "node=not-a-uuid"),
        ("after", "after=nonsense"),
        ("after", "after=k3x9-99999999999999999999"),
        ("snapshot", "snapshot=perhaps"),
    ] {
        let problem = Feed::refusal(&viewer, query).await.problem(400);
        assert!(problem.to_string().contains(parameter), "{query}: {problem}");
    }
    Feed::refusal(&collector.client(), "").await.problem(401);
}

#[tokio::test]
async fn stopping_collector_sends_goodbye() {
    let mut collector = TestCollector::start().await;
    let mut feed = collector.feed("").await;
    feed.wait_for("hello", SOON, is("hello")).await;
    collector.stop().await;
    let goodbye = feed.wait_for("goodbye", SOON, is("goodbye")).await;
    assert_eq!(goodbye.data["reason"], "shutdown");
    assert!(goodbye.data["retryMs"].as_u64().is_some());
    feed.wait_for_end(SOON).await;
}

#[tokio::test]
async fn token_has_at_most_50_streams() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    let mut open = Vec::new();
    for _ in 0..50 {
        open.push(Feed::open(&viewer, "types=log_entry").await);
    }
    let mut browser = Feed::open(&viewer, "").await;
    let goodbye = browser.wait_for("goodbye", SOON, is("goodbye")).await;
    assert_eq!(goodbye.data["reason"], "overloaded");
    browser.wait_for_end(SOON).await;
    let request = viewer.request(Method::GET, "/api/v1/events").header("x-systole-client", "test");
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
    assert!(response.headers().contains_key("retry-after"));
    // Another token is not affected, and a stream that closes frees a place.
    let other = collector.create_token("viewer", None).await;
    let mut other = Feed::open(&collector.client().with_token(other.token.reveal()), "").await;
    other.wait_for("hello", SOON, is("hello")).await;
    drop(open);
    systole_tests::harness::eventually_true("there is room again", SOON, async || {
        let mut feed = Feed::open(&viewer, "").await;
        feed.wait_for("an answer", SOON, |_| true).await.kind == "hello"
    })
    .await;
}

#[tokio::test]
async fn totals_count_what_each_environment_has() {
    let mut collector = TestCollector::start().await;
    collector.create_environment("red").await;
    collector.create_environment("blue").await;
    let mut red = [
        NodeClient::enroll(&collector, Some("red"), "red-1").await,
        NodeClient::enroll(&collector, Some("red"), "red-2").await,
    ];
    let mut blue = NodeClient::enroll(&collector, Some("blue"), "blue-1").await;
    let mut feed = collector.feed("environment=red&types=fleet_totals&every=0").await;
    let mut by_node = collector.feed(&format!("node={}&types=fleet_totals,fleet_status&every=0", red[0].id)).await;
    for node in &mut red {
        node.report(vec![running("orders", distinct_counts(1)), pipeline("bills", "CRASHED")]).await;
    }
    blue.report(vec![running("orders", distinct_counts(7))]).await;

    let counts = json!([{"DEGRADED": 2}, {"RUNNING": 2, "CRASHED": 2}]);
    let is_counted = |event: &FeedEvent| json!([event.data["nodes"], event.data["pipelines"]]) == counts;
    let totals = feed.wait_for("both nodes in the totals", SOON, is_counted).await;
    assert_eq!(totals.data["eventsInRate"], 200.0, "500 events in 5 s on each: {}", totals.data);
    let nothing = json!({"HEALTHY": 1});
    red[0].report(vec![pipeline("orders", "RUNNING")]).await;
    let admin = collector.client().with_token(collector.create_token("admin", None).await.token.reveal());
    let removed = Answer::of(admin.request(Method::DELETE, &format!("/api/v1/nodes/{}", red[1].id))).await;
    assert_eq!(removed.status, 204, "{removed:?}");
    let totals = feed.wait_for("one node is left", SOON, |event| event.data["nodes"] == nothing).await;
    assert_eq!((&totals.data["eventsInRate"], &totals.data["pipelines"]), (&json!(0.0), &json!({"RUNNING": 1})));
    let environments = feed.events().into_iter().filter(|event| event.kind == "fleet_totals");
    let environments: BTreeSet<String> = environments.map(|event| event.data["environmentId"].to_string()).collect();
    assert_eq!(environments.len(), 1, "{environments:?}");
    by_node.wait_for("its own state", SOON, is("fleet_status")).await;
    assert!(!by_node.events().iter().any(|event| event.kind == "fleet_totals"), "a node was asked for");
    feed.assert_ids_grow();
}

#[tokio::test]
async fn snapshot_of_nodes_has_totals_and_no_pipelines() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut all = collector.feed("types=fleet_totals,metric_update&snapshot=1").await;
    node.report(vec![running("orders", distinct_counts(1))]).await;
    all.wait_for("totals with the rate", SOON, |event| event.data["eventsInRate"] == 100.0).await;
    let is_part = |event: &&FeedEvent| event.kind == "snapshot";
    for (query, parts) in [
        ("types=fleet_status,fleet_totals&snapshot=nodes", ["nodes", "totals"].as_slice()),
        ("types=fleet_status,metric_update&snapshot=nodes", &["nodes"]),
        ("types=fleet_totals,metric_update&snapshot=1", &["nodes", "pipelines", "samples", "totals"]),
    ] {
        let mut feed = collector.feed(query).await;
        feed.wait_for("the end of the snapshot", SOON, |event| event.data["done"] == true).await;
        let events = feed.events();
        let found: BTreeSet<_> = events
            .iter()
            .filter(is_part)
            .flat_map(|event| event.data.as_object().unwrap().keys())
            .filter(|key| !["type", "done"].contains(&key.as_str()))
            .map(String::as_str)
            .collect();
        assert_eq!(found, parts.iter().copied().collect(), "{query}");
        if parts.contains(&"totals") {
            let totals = events.iter().filter(is_part).find_map(|event| event.data["totals"].as_array()).unwrap();
            assert_eq!((totals.len(), &totals[0]["eventsInRate"]), (1, &100.0.into()), "{query}");
        }
    }
    let problem = Feed::refusal(&collector.viewer().await, "snapshot=pipelines").await.problem(400);
    assert!(problem["detail"].as_str().unwrap().starts_with("snapshot: "), "{problem}");
}
