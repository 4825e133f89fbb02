//! What an administrator does to nodes: names, labels, maintenance and removal.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::AgentInfo;
use systole_tests::clock;
use systole_tests::harness::database::Database;
use systole_tests::harness::node::{Encoding, to_json};
use systole_tests::harness::reports::{distinct_counts, running, text, with_lines};
use systole_tests::harness::{
    Answer, ApiClient, DatabaseKind, Feed, FeedEvent, NodeClient, TestCollector, eventually_true,
};

on_each_database! {
    changes_of_a_node_are_events_once_and_win_over_its_agent,
    maintenance_ends_by_itself_once,
    removed_node_is_gone_and_its_last_event_stays,
    node_is_removed_under_its_reports,
    node_commands_work_on_a_running_and_a_stopped_collector,
    bad_changes_name_their_field,
    silent_and_stopped_nodes_reach_a_resumed_subscriber_once,
}

const SOON: Duration = systole_tests::harness::SOON;

async fn admin(collector: &TestCollector) -> ApiClient {
    collector.client().with_token(collector.create_token("admin", None).await.token.reveal())
}

async fn send(client: &ApiClient, method: Method, node: &NodeClient, body: Option<Value>) -> Answer {
    let request = client.request(method, &format!("/api/v1/nodes/{}", node.id));
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    Answer::of(request).await
}

async fn change(client: &ApiClient, node: &NodeClient, body: Value) -> Value {
    let answer = send(client, Method::PATCH, node, Some(body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// A report of an agent with this name and these labels.
async fn report_as(node: &mut NodeClient, name: &'static str, labels: &[(&'static str, &'static str)]) {
    let mut request = node.next_request(vec![running("orders", distinct_counts(1))]);
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| (text(key), text(value))).collect();
    request.reports[0].agent = Some(AgentInfo { name: Some(text(name)), labels, ..AgentInfo::default() });
    node.post(&request).await;
}

fn reasons(events: &[FeedEvent], node: &NodeClient) -> Vec<String> {
    let own = |event: &&FeedEvent| event.kind == "status_change" && event.data["nodeId"] == node.id.to_string();
    let of_node = events.iter().filter(own).filter(|event| event.data["pipelineId"].is_null());
    of_node.filter_map(|event| event.data["reason"].as_str().map(str::to_owned)).collect()
}

async fn changes_of_a_node_are_events_once_and_win_over_its_agent(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    report_as(&mut node, "web-1", &[("site", "lab"), ("role", "edge")]).await;
    let mut feed = collector.feed("types=status_change").await;
    let hello = feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let start = format!("{}-{}", hello.data["epoch"].as_str().unwrap(), hello.data["head"]);

    let until = clock::now_ms() + 3_600_000;
    let changed = change(
        &admin,
        &node,
        json!({
            "name": "edge-7",
            "labels": {"site": "plant", "canary": "true"},
            "maintenance": {"until": until, "note": "new disk"},
        }),
    )
    .await;
    let labels = json!({"site": "plant", "role": "edge", "canary": "true"});
    assert_eq!((&changed["name"], &changed["labels"]), (&json!("edge-7"), &labels));
    assert_eq!(changed["maintenance"], json!({"until": until, "note": "new disk"}));
    // The same again is no change.
    change(&admin, &node, json!({"name": "edge-7", "labels": {"canary": "true"}})).await;
    // The agent's own are kept below.
    report_as(&mut node, "web-2", &[("site", "lab"), ("role", "core")]).await;

    let viewer = collector.viewer().await;
    let listed = &viewer.list("/api/v1/nodes").await[0];
    assert_eq!((&listed["name"], &listed["setName"]), (&json!("edge-7"), &json!("edge-7")));
    assert_eq!(listed["labels"], json!({"site": "plant", "role": "core", "canary": "true"}));
    assert_eq!(viewer.list("/api/v1/pipelines").await[0]["nodes"][0]["nodeName"], "edge-7");
    let mut snapshot = Feed::open(&viewer, "snapshot=1").await;
    let has_node = |event: &FeedEvent| event.kind == "snapshot" && !event.data["nodes"][0].is_null();
    let snapshot = snapshot.wait_for("a snapshot", SOON, has_node).await;
    assert_eq!(snapshot.data["nodes"][0]["name"], "edge-7");
    assert_eq!(snapshot.data["nodes"][0]["maintenanceUntil"], until);

    let after = change(&admin, &node, json!({"name": null, "labels": {"site": null}, "maintenance": null})).await;
    assert_eq!(
        (&after["name"], &after["labels"]["site"], &after["maintenance"]),
        (&json!("web-2"), &json!("lab"), &Value::Null)
    );
    let is_end = |event: &FeedEvent| event.data["reason"] == "maintenance ended";
    let end = feed.wait_for("the end", SOON, is_end).await;
    assert_eq!(end.data["fromStatus"], end.data["toStatus"], "the state is the same");
    let live = reasons(&feed.events(), &node);
    let expected =
        ["renamed from web-1 to edge-7", "labels changed: canary=true, site=plant", "renamed from edge-7 to web-2"];
    for reason in expected {
        assert_eq!(live.iter().filter(|it| *it == reason).count(), 1, "{reason}: {live:?}");
    }
    assert!(
        live.iter().any(|reason| reason.starts_with("maintenance until ") && reason.ends_with(": new disk")),
        "{live:?}"
    );

    // Each once, out of memory and out of the database.
    for restarted in [false, true] {
        if restarted {
            collector.stop().await;
            collector.run().await;
        }
        let viewer = collector.viewer().await;
        let mut replay = Feed::open_after(&viewer, "types=status_change", Some(&start)).await;
        replay.wait_for("the end", SOON, is_end).await;
        assert_eq!(reasons(&replay.events(), &node), live, "restarted: {restarted}");
    }
    let viewer = collector.viewer().await;
    assert_eq!(viewer.list("/api/v1/nodes").await[0]["labels"]["canary"], "true", "settings outlive a restart");
}

async fn maintenance_ends_by_itself_once(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let mut feed = collector.feed("types=status_change").await;
    feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    change(&admin, &node, json!({"maintenance": {"until": clock::now_ms() + 1_500}})).await;
    feed.wait_for("its end", SOON, |event| event.data["reason"] == "maintenance ended").await;
    let after = admin.get_json(&format!("/api/v1/nodes/{}", node.id)).await;
    assert_eq!(after["maintenance"], Value::Null);
    // Another change comes after it, and nothing in between.
    change(&admin, &node, json!({"name": "other"})).await;
    feed.wait_for("the name", SOON, |event| event.data["reason"] == "renamed from n1 to other").await;
    let ends = reasons(&feed.events(), &node).into_iter().filter(|reason| reason == "maintenance ended");
    assert_eq!(ends.count(), 1);
    let audit = admin.list("/api/v1/audit?action=node.maintenance_end").await;
    assert_eq!((audit.len(), &audit[0]["actor"]), (1, &json!("collector")));
}

/// Rows of a node in the database, by table.
fn rows_of(database: &mut Database, key: u64) -> Vec<(String, u64)> {
    let own = [
        "nodes WHERE id",
        "series WHERE node",
        "pipeline_status WHERE node",
        "node_boots WHERE node",
        "node_totals WHERE node",
        "node_gaps WHERE node",
        "node_minutes WHERE node",
        "node_hours WHERE node",
        "node_days WHERE node",
        "dirty_hours WHERE node",
        "dirty_days WHERE node",
        "logs WHERE node",
        "tokens WHERE node",
    ];
    let mut found: Vec<_> =
        own.iter().map(|table| ((*table).to_owned(), database.rows(&format!("{table} = {key}")))).collect();
    for table in ["pipeline_minutes", "component_minutes", "pipeline_hours", "component_hours"] {
        let orphans = format!("{table} WHERE series NOT IN (SELECT id FROM series)");
        found.push((orphans.clone(), database.rows(&orphans)));
    }
    found.push(("removed_series".to_owned(), database.rows("removed_series")));
    found.retain(|(_, rows)| *rows > 0);
    found
}

async fn wait_for_clean_up(collector: &TestCollector) {
    let mut database = Database::open(&collector.database());
    eventually_true("what is left is removed", SOON, async || {
        database.rows("removed_nodes WHERE is_clean = 0") == 0 && database.rows("removed_series") == 0
    })
    .await;
}

async fn removed_node_is_gone_and_its_last_event_stays(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    let mut kept = NodeClient::enroll(&collector, None, "kept").await;
    let mut gone = NodeClient::enroll(&collector, None, "gone").await;
    let lines =
        |name: &str| with_lines(running("orders", distinct_counts(1)), clock::now_ms(), [format!("line of {name}")]);
    kept.report(vec![lines("kept")]).await;
    gone.report(vec![lines("gone"), running("only-here", distinct_counts(1))]).await;
    // Some of its minutes are rows before, and some are not.
    collector.stop().await;
    collector.run().await;
    let (mut kept, mut gone) = (kept.moved_to(&collector), gone.moved_to(&collector));
    kept.report(vec![lines("kept")]).await;
    gone.report(vec![lines("gone"), running("only-here", distinct_counts(1))]).await;
    let viewer = collector.viewer().await;
    let mut feed = Feed::open(&viewer, "").await;
    let hello = feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let start = format!("{}-{}", hello.data["epoch"].as_str().unwrap(), hello.data["head"]);

    let answer = send(&admin, Method::DELETE, &gone, None).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    send(&admin, Method::DELETE, &gone, None).await.problem(404);
    let id = gone.id.to_string();
    let of_node = |event: &FeedEvent| event.is_change(None, "REMOVED") && event.data["nodeId"] == id.as_str();
    feed.wait_for("REMOVED", SOON, of_node).await;
    assert!(feed.events().iter().any(|event| event.is_change(Some("only-here"), "REMOVED")));
    let late = gone.next_request(Vec::new());
    gone.post_bytes(to_json(&late), Encoding::Plain).await.problem(401);

    assert_eq!(viewer.list("/api/v1/nodes").await.len(), 1);
    let pipelines = viewer.list("/api/v1/pipelines").await;
    assert_eq!((pipelines.len(), pipelines[0]["nodes"].as_array().unwrap().len()), (1, 1), "{pipelines:?}");
    assert_eq!(collector.minute_sums("orders").await, distinct_counts(2), "of the neighbour alone");
    let shown: Vec<_> = viewer.list("/api/v1/logs").await.into_iter().map(|line| line["line"].clone()).collect();
    assert_eq!(shown, [json!("line of kept"), json!("line of kept")]);
    assert_eq!(viewer.get(&format!("/api/v1/samples?node={}&pipeline=orders", gone.id)).await.status, 404);

    wait_for_clean_up(&collector).await;
    for restarted in [false, true] {
        if restarted {
            collector.stop().await;
            collector.run().await;
        }
        let viewer = collector.viewer().await;
        for filter in [String::new(), format!("node={}", gone.id), "label=!no-such-label".to_owned()] {
            let mut replay = Feed::open_after(&viewer, &filter, Some(&start)).await;
            replay.wait_for("REMOVED again", SOON, of_node).await;
            assert_eq!(replay.events().iter().filter(|event| of_node(event)).count(), 1, "{filter}");
        }
    }
    // The same host is another node, and has none of the old one's data.
    let again = NodeClient::enroll(&collector, None, "gone").await;
    assert_ne!(again.id, gone.id);
    let viewer = collector.viewer().await;
    let changes = viewer.list(&format!("/api/v1/status-changes?node={}", again.id)).await;
    assert!(changes.is_empty(), "{changes:?}");
    let mut database = collector.stop_and_open_database().await;
    assert_eq!(rows_of(&mut database, 2), []);
    assert_eq!(database.minute_sums("orders"), distinct_counts(2));
}

async fn node_is_removed_under_its_reports(database: DatabaseKind) {
    const ROUNDS: u64 = 40;
    let mut collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    let mut kept = NodeClient::enroll(&collector, None, "kept").await;
    let gone = NodeClient::enroll(&collector, None, "gone").await;
    let mut reporter = gone.reconnected();
    // As fast as it can, until it is refused.
    let (begun, mut is_begun) = tokio::sync::watch::channel(0_u64);
    let reports = tokio::spawn(async move {
        loop {
            let line = format!("line {}", reporter.next_seq);
            let request =
                reporter.next_request(vec![with_lines(running("orders", distinct_counts(1)), clock::now_ms(), [line])]);
            let body = to_json(&request);
            let answer = reporter.post_bytes(body, Encoding::Plain).await;
            if answer.status != 200 {
                return answer;
            }
            begun.send_modify(|count| *count += 1);
        }
    });
    is_begun.wait_for(|count| *count >= 20).await.unwrap();
    let neighbour = async {
        for _ in 0..ROUNDS {
            kept.report(vec![running("orders", distinct_counts(1))]).await;
        }
    };
    let removal = async {
        is_begun.wait_for(|count| *count >= 40).await.unwrap();
        send(&admin, Method::DELETE, &gone, None).await
    };
    let ((), removed) = tokio::join!(neighbour, removal);
    assert_eq!(removed.status, 204, "{removed:?}");
    let refused = tokio::time::timeout(SOON, reports).await.expect("it is refused").unwrap();
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(collector.minute_sums("orders").await, distinct_counts(ROUNDS));
    wait_for_clean_up(&collector).await;
    let mut database = collector.stop_and_open_database().await;
    assert_eq!(rows_of(&mut database, 2), []);
    assert_eq!(database.minute_sums("orders"), distinct_counts(ROUNDS));
}

async fn bad_changes_name_their_field(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let now = clock::now_ms();
    for (body, field) in [
        (json!({}), "name, labels or maintenance"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"names": "x"}), "names"),
        (json!({"labels": {"!x": "1"}}), "labels.!x"),
        (json!({"labels": {"x": "y".repeat(2_000)}}), "labels.x"),
        (
            json!({"labels": (0..100).map(|n| (format!("l{n}"), json!("v"))).collect::<serde_json::Map<_, _>>()}),
            "labels",
        ),
        (json!({"maintenance": {}}), "until"),
        (json!({"maintenance": {"until": now - 1}}), "maintenance.until"),
        (json!({"maintenance": {"until": i64::MAX}}), "maintenance.until"),
        (json!({"maintenance": {"until": now + 60_000, "note": "\u{0}"}}), "maintenance.note"),
    ] {
        let problem = send(&admin, Method::PATCH, &node, Some(body.clone())).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(field), "{body}: {problem}");
    }
    let unchanged = admin.get_json(&format!("/api/v1/nodes/{}", node.id)).await;
    assert_eq!(
        (&unchanged["name"], &unchanged["setName"], &unchanged["setLabels"]),
        (&json!("n1"), &Value::Null, &json!({}))
    );
}

async fn node_commands_work_on_a_running_and_a_stopped_collector(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "web-1").await;
    let other = NodeClient::enroll(&collector, None, "web-2").await;
    let mut feed = collector.feed("types=status_change").await;
    feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let id = node.id.to_string();

    let list = collector.cli(&["node", "list"]).await;
    assert!(list.contains(&id) && list.contains("web-2"), "{list}");
    collector.cli(&["node", "rename", "web-1", "edge-7"]).await;
    feed.wait_for("a name", SOON, |event| event.data["reason"] == "renamed from web-1 to edge-7").await;
    collector.cli(&["node", "label", "edge", "site=lab", "canary=true"]).await;
    collector.cli(&["node", "label", &id, "canary-"]).await;
    collector.cli(&["node", "maintenance", "edge-7", "--for", "2h", "--note", "new disk"]).await;
    let shown: Value = serde_json::from_str(&collector.cli(&["node", "show", "edge-7", "--json"]).await).unwrap();
    assert_eq!((&shown["setLabels"], &shown["maintenance"]["note"]), (&json!({"site": "lab"}), &json!("new disk")));
    for (args, expected) in [
        (&["node", "rename", "nothing", "x"][..], "nothing"),
        (&["node", "remove", "web"][..], "--yes"),
        (&["node", "show", ""][..], "empty"),
    ] {
        let refused = collector.try_cli(args).await;
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && error.contains(expected), "{args:?}: {error}");
    }

    collector.stop().await;
    collector.cli(&["node", "maintenance", "edge-7", "--end"]).await;
    collector.cli(&["node", "rename", "edge-7", "--reset"]).await;
    collector.cli(&["node", "remove", &other.id.to_string(), "--yes"]).await;
    let list: Value = serde_json::from_str(&collector.cli(&["node", "list", "--json"]).await).unwrap();
    assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][0]["name"]), (1, &json!("web-1")));
    collector.run().await;
    let viewer = collector.viewer().await;
    assert_eq!(viewer.list("/api/v1/nodes").await.len(), 1);
    let removed = viewer.list("/api/v1/status-changes?order=desc").await;
    assert!(removed.iter().any(|it| it["toStatus"] == "REMOVED" && it["nodeId"] == other.id.to_string()));
    let audit = collector.cli(&["audit", "--since", "1h", "--json"]).await;
    for action in ["node.rename", "node.label", "node.maintenance", "node.remove", "token.create"] {
        let line = audit.lines().find(|line| line.contains(&format!("\"{action}\"")));
        assert!(line.is_some_and(|line| line.contains("command line")), "{action}: {audit}");
    }
}

async fn silent_and_stopped_nodes_reach_a_resumed_subscriber_once(database: DatabaseKind) {
    let mut collector = TestCollector::start_on_with(database, &["--interval", "1s"]).await;
    let mut feed = collector.feed("types=status_change").await;
    let hello = feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let start = format!("{}-{}", hello.data["epoch"].as_str().unwrap(), hello.data["head"]);
    let mut silent = NodeClient::enroll(&collector, None, "silent").await;
    let mut stopped = NodeClient::enroll(&collector, None, "stopped").await;
    silent.report(vec![running("orders", distinct_counts(1))]).await;
    let mut last = stopped.next_request(vec![running("orders", distinct_counts(1))]);
    last.reports[0].agent = Some(AgentInfo { stopping: Some(text("agent stopped")), ..AgentInfo::default() });
    stopped.post(&last).await;
    let changes = |events: &[FeedEvent]| {
        let mut found = Vec::new();
        for (node, pipeline, status) in [
            (&silent, None, "UNREACHABLE"),
            (&silent, Some("orders"), "UNKNOWN"),
            (&stopped, None, "OFFLINE"),
            (&stopped, Some("orders"), "UNKNOWN"),
        ] {
            let own =
                |event: &&FeedEvent| event.is_change(pipeline, status) && event.data["nodeId"] == node.id.to_string();
            found.push(events.iter().filter(own).count());
        }
        found
    };
    feed.wait_until("all four", SOON, |events| (changes(events) == [1, 1, 1, 1]).then_some(())).await;
    for restarted in [false, true] {
        if restarted {
            collector.stop().await;
            collector.run().await;
        }
        let viewer = collector.viewer().await;
        let mut replay = Feed::open_after(&viewer, "types=status_change", Some(&start)).await;
        replay.wait_until("all four", SOON, |events| (!changes(events).contains(&0)).then_some(())).await;
        assert_eq!(changes(&replay.events()), [1, 1, 1, 1], "restarted: {restarted}");
    }
}
