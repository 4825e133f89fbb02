//! Filters by labels of nodes, in each list and in the feed.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_tests::clock;
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::{Answer, ApiClient, DatabaseKind, Feed, FeedEvent, NodeClient, TestCollector};

on_each_database! {
    lists_are_filtered_by_labels_page_by_page,
    feed_is_filtered_by_the_labels_that_a_node_has_now,
    bad_label_is_refused_by_name,
}

const SOON: Duration = systole_tests::harness::SOON;

/// Three nodes: two at the lab, one of them a canary, and one at the plant.
const FLEET: [(&str, &[(&str, &str)]); 3] = [
    ("a", &[("site", "lab"), ("role", "edge")]),
    ("b", &[("site", "lab"), ("canary", "true")]),
    ("c", &[("site", "plant"), ("role", "core")]),
];

async fn label(admin: &ApiClient, node: &NodeClient, labels: Value) {
    let request = admin.request(Method::PATCH, &format!("/api/v1/nodes/{}", node.id));
    let body = json!({"labels": labels}).to_string();
    let answer = Answer::of(request.header("content-type", "application/json").body(body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn fleet(collector: &TestCollector) -> (ApiClient, Vec<NodeClient>) {
    let admin = collector.client().with_token(collector.create_token("admin", None).await.token.reveal());
    let mut nodes = Vec::new();
    for (name, labels) in FLEET {
        let mut node = NodeClient::enroll(collector, None, name).await;
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        label(&admin, &node, labels.into()).await;
        report(&mut node, name).await;
        nodes.push(node);
    }
    (admin, nodes)
}

/// A report with a pipeline that each node has, and one of its own.
async fn report(node: &mut NodeClient, name: &str) {
    let line = [format!("line of {name}")];
    let shared = with_lines(running("orders", distinct_counts(1)), clock::now_ms(), line);
    node.report(vec![shared, running(&format!("own-{name}"), distinct_counts(1))]).await;
}

/// The letters of the nodes of a list, each once.
fn names(items: &[Value], of: impl Fn(&Value) -> String) -> String {
    let mut names: Vec<_> = items.iter().map(of).collect();
    names.sort();
    names.dedup();
    names.concat()
}

const CASES: [(&str, &str); 8] = [
    ("label=site:lab", "ab"),
    ("label=site%3Dlab", "ab"),
    ("label=role", "ac"),
    ("label=!canary", "ac"),
    ("label=site:lab&label=!canary", "a"),
    ("label=!site:lab", "c"),
    ("label=*", "abc"),
    ("label=nothing", ""),
];

async fn lists_are_filtered_by_labels_page_by_page(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let (_, nodes) = fleet(&collector).await;
    let viewer = collector.viewer().await;
    let letter = |id: &Value| {
        let index = nodes.iter().position(|node| node.id.to_string() == *id).expect("one of the fleet");
        FLEET[index].0.to_owned()
    };
    for (filter, expected) in CASES {
        for page in ["", "&limit=1"] {
            let query = format!("{filter}{page}");
            let list = async |path: &str| viewer.list(&format!("/api/v1/{path}?{query}")).await;
            assert_eq!(names(&list("nodes").await, |node| letter(&node["id"])), expected, "nodes?{query}");
            assert_eq!(names(&list("logs").await, |line| letter(&line["nodeId"])), expected, "logs?{query}");
            let changes = list("status-changes").await;
            assert_eq!(names(&changes, |it| letter(&it["nodeId"])), expected, "status-changes?{query}");
            let pipelines = list("pipelines").await;
            let own: Vec<_> = pipelines.iter().filter(|it| it["id"] != "orders").cloned().collect();
            let last = |it: &Value| it["id"].as_str().unwrap().trim_start_matches("own-").to_owned();
            assert_eq!(names(&own, last), expected, "pipelines?{query}");
            let shared = pipelines.iter().find(|it| it["id"] == "orders");
            let on = shared.map(|it| names(it["nodes"].as_array().unwrap(), |it| letter(&it["nodeId"])));
            assert_eq!(on.unwrap_or_default(), expected, "the nodes of pipelines?{query}");
        }
        // A page is never empty with another one after it.
        let page = viewer.get_json(&format!("/api/v1/nodes?{filter}&limit=1")).await;
        assert!(page["next"].is_null() || page["items"].as_array().unwrap().len() == 1, "{filter}: {page}");
    }
    let healthy = viewer.list("/api/v1/nodes?label=role&status=healthy&environment=default").await;
    assert_eq!(healthy.len(), 2);
}

async fn feed_is_filtered_by_the_labels_that_a_node_has_now(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let (admin, mut nodes) = fleet(&collector).await;
    let viewer = collector.viewer().await;
    let of = |feed: &Feed, node: &NodeClient| {
        let is_own = |event: &FeedEvent| event.data["nodeId"] == node.id.to_string();
        feed.events().iter().filter(|event| is_own(event)).count()
    };
    let mut feed = Feed::open(&viewer, "snapshot=1&label=site:lab&every=0").await;
    let done = feed.wait_for("the snapshot", SOON, |event| event.data["done"] == true).await;
    let shown: usize =
        feed.events_of("snapshot").iter().map(|part| part.data["nodes"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(shown, 2);
    let own_metrics = |node: &NodeClient| {
        let id = node.id.to_string();
        move |event: &FeedEvent| event.kind == "metric_update" && event.data["nodeId"] == id.as_str()
    };
    // The other's events come first.
    report(&mut nodes[2], "c").await;
    report(&mut nodes[0], "a").await;
    feed.wait_for("metrics of a", SOON, own_metrics(&nodes[0])).await;
    assert_eq!(of(&feed, &nodes[2]), 0);
    // From now on it is at the lab.
    label(&admin, &nodes[2], json!({"site": "lab"})).await;
    report(&mut nodes[2], "c").await;
    feed.wait_for("metrics of c", SOON, own_metrics(&nodes[2])).await;
    // A replay has all that was stored of the nodes that match now.
    collector.stop().await;
    collector.run().await;
    let viewer = collector.viewer().await;
    let start = done.id.clone().expect("the end of a snapshot has an id").to_string();
    let mut replay = Feed::open_after(&viewer, "label=site:lab&label=!canary", Some(&start)).await;
    let line = |name: &'static str| move |event: &FeedEvent| event.lines().contains(&format!("line of {name}"));
    replay.wait_for("a line of a", SOON, line("a")).await;
    replay.wait_for("lines of c", SOON, line("c")).await;
    assert_eq!(of(&replay, &nodes[1]), 0);
}

async fn bad_label_is_refused_by_name(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let viewer = collector.viewer().await;
    for path in ["nodes", "pipelines", "logs", "status-changes", "events"] {
        for bad in ["label=", "label=!", "label=%3Dx", "label=*&label=role"] {
            let problem = viewer.get(&format!("/api/v1/{path}?{bad}")).await.problem(400);
            assert!(problem["detail"].as_str().unwrap().starts_with("label: "), "{path}?{bad}: {problem}");
        }
    }
}
