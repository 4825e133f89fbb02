//! What an operator sees of nodes: silent, stopped and copied ones, and why a state holds.

use std::time::Duration;

use serde_json::{Value, json};
use systole_shared::{PipelineReport, Text};
use systole_tests::harness::reports::{distinct_counts, pipeline, running};
use systole_tests::harness::{
    AgentPipeline, AgentSetup, ApiClient, DatabaseKind, Feed, FeedEvent, NodeClient, SOON, StubVector, TestAgent,
    TestCollector, eventually, eventually_true,
};

on_each_database! {
    pipelines_of_silent_node_are_unknown_until_it_reports,
    stopped_agent_is_offline_and_not_unreachable,
    new_reason_is_an_event_and_does_not_flood,
    hosts_with_one_machine_id_become_two_nodes,
}

const PIPELINE: &str = "orders";
const FAST: [&str; 2] = ["--interval", "1s"];

/// The only pipeline of the only node, as each answer has it: of the node, of the pipeline, of a snapshot.
async fn pipeline_everywhere(viewer: &ApiClient) -> [(String, String); 3] {
    let of = |value: &Value| {
        let text = |key: &str| value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned();
        (text("status"), text("reason"))
    };
    let nodes = viewer.list("/api/v1/nodes").await;
    let pipelines = viewer.list("/api/v1/pipelines").await;
    let mut feed = Feed::open(viewer, "snapshot=1").await;
    let part = |event: &FeedEvent| event.data["pipelines"].as_array().is_some_and(|it| !it.is_empty());
    let snapshot = feed.wait_for("a snapshot", SOON, |event| event.kind == "snapshot" && part(event)).await;
    [of(&nodes[0]["pipelines"][0]), of(&pipelines[0]["nodes"][0]), of(&snapshot.data["pipelines"][0])]
}

/// The stored changes that match.
async fn changes(viewer: &ApiClient, matches: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut changes = viewer.list("/api/v1/status-changes").await;
    changes.retain(matches);
    changes
}

async fn pipelines_of_silent_node_are_unknown_until_it_reports(database: DatabaseKind) {
    let mut collector = TestCollector::start_on_with(database, &FAST).await;
    let mut feed = collector.feed("types=status_change").await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let viewer = collector.viewer().await;

    let change = feed.wait_for("UNKNOWN", SOON, |event| event.is_change(Some(PIPELINE), "UNKNOWN")).await;
    assert_eq!((&change.data["fromStatus"], &change.data["reason"]), (&json!("RUNNING"), &json!("node unreachable")));
    let unknown = ("UNKNOWN".to_owned(), "node unreachable".to_owned());
    assert_eq!(pipeline_everywhere(&viewer).await, [unknown.clone(), unknown.clone(), unknown.clone()]);
    let nodes = viewer.list("/api/v1/nodes").await;
    assert_eq!((&nodes[0]["status"], &nodes[0]["pipelinesRunning"]), (&json!("UNREACHABLE"), &json!(0)));
    let stored = changes(&viewer, |change| change["pipelineId"] == PIPELINE && change["toStatus"] == "UNKNOWN").await;
    assert_eq!(stored.len(), 1, "durable, and once: {stored:?}");

    collector.kill().await;
    collector.run().await;
    let viewer = collector.viewer().await;
    assert_eq!(pipeline_everywhere(&viewer).await[0], unknown, "also after a restart");

    let mut node = node.moved_to(&collector);
    let mut feed = collector.feed("types=status_change").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let change = feed.wait_for("RUNNING", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING")).await;
    assert_eq!(change.data["fromStatus"], "UNKNOWN");
    let node = &viewer.list("/api/v1/nodes").await[0];
    assert_eq!(node["lastAddress"], "127.0.0.1");
    let one = viewer.get_json(&format!("/api/v1/nodes/{}", node["id"].as_str().unwrap())).await;
    assert_eq!(one["lastAddress"], "127.0.0.1");
}

async fn stopped_agent_is_offline_and_not_unreachable(database: DatabaseKind) {
    let mut collector = TestCollector::start_on_with(database, &FAST).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let mut feed = collector.feed("types=status_change").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    feed.wait_for("RUNNING", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING")).await;

    agent.stop().await;
    let offline = feed.wait_for("OFFLINE", SOON, |event| event.is_change(None, "OFFLINE")).await;
    assert_eq!(offline.data["reason"], "agent stopped");
    let unknown = feed.wait_for("UNKNOWN", SOON, |event| event.is_change(Some(PIPELINE), "UNKNOWN")).await;
    assert_eq!(unknown.data["reason"], "node offline");
    let viewer = collector.viewer().await;
    let listed = viewer.list("/api/v1/nodes?status=OFFLINE").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["statusReason"], &listed[0]["pipelines"][0]["status"]),
        (&json!("agent stopped"), &json!("UNKNOWN"))
    );
    let metrics = String::from_utf8(viewer.get("/metrics").await.body).unwrap();
    let count =
        metrics.lines().find(|line| line.contains("OFFLINE")).unwrap_or_else(|| panic!("no OFFLINE in {metrics}"));
    assert!(count.ends_with(" 1"), "{count}");

    // The watchdog has checked both when it finds the one that never reports.
    let silent = NodeClient::enroll(&collector, None, "silent").await;
    let is_lost = |event: &FeedEvent| event.is_change(None, "UNREACHABLE");
    let lost = feed.wait_for("UNREACHABLE", SOON, is_lost).await;
    assert_eq!(lost.data["nodeId"], silent.id.to_string());
    let after = |event: &&FeedEvent| event.at > offline.at && event.data["nodeId"] == offline.data["nodeId"];
    let lost = feed.events().iter().filter(after).filter(|event| is_lost(event)).count();
    assert_eq!(lost, 0, "only the one that never reports");

    agent.run();
    let from_offline = |event: &FeedEvent| event.is_change(None, "HEALTHY") && event.data["fromStatus"] == "OFFLINE";
    feed.wait_for("HEALTHY", SOON, from_offline).await;
    let back = |event: &FeedEvent| {
        event.is_change(Some(PIPELINE), "RUNNING") && event.data["nodeId"] == offline.data["nodeId"]
    };
    feed.wait_until("RUNNING again", SOON, |events| (events.iter().filter(|it| back(it)).count() == 2).then_some(()))
        .await;
}

fn degraded(reason: &str) -> Vec<PipelineReport<'static>> {
    vec![PipelineReport { reason: Some(Text::from(reason.to_owned())), ..pipeline(PIPELINE, "DEGRADED") }]
}

async fn new_reason_is_an_event_and_does_not_flood(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let viewer = collector.viewer().await;
    let new_reasons =
        async || changes(&viewer, |it| it["pipelineId"] == PIPELINE && it["fromStatus"] == it["toStatus"]).await;
    for reason in ["config 1 refused", "config 2 refused", "config 2 refused", "config 3 refused"] {
        node.report(degraded(reason)).await;
    }
    let reasons: Vec<Value> = new_reasons().await.iter().map(|change| change["reason"].clone()).collect();
    assert_eq!(reasons, ["config 2 refused", "config 3 refused"]);

    for errors in 0..40 {
        node.report(degraded(&format!("{errors} errors"))).await;
    }
    let events = new_reasons().await.len();
    assert!((5..=6).contains(&events), "5 of a burst, and one more if this took a minute: {events}");
    assert_eq!(pipeline_everywhere(&viewer).await[0].1, "39 errors", "the last reason is in the row");
}

async fn hosts_with_one_machine_id_become_two_nodes(database: DatabaseKind) {
    let mut collector = TestCollector::start_on_with(database, &FAST).await;
    let token = collector.create_token("enroll", None).await;
    let first = NodeClient::enroll_with(&collector.client(), token.token.reveal(), "golden").await;
    let mut living = first.clone();
    let reports = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(500));
        loop {
            every.tick().await;
            living.report(vec![running(PIPELINE, distinct_counts(1))]).await;
        }
    });
    let client = collector.client().reconnected();
    let answer: Value = NodeClient::try_enroll(&client, token.token.reveal(), "golden").await.json();
    assert_ne!(answer["nodeId"], first.id.to_string(), "{answer}");
    assert!(answer["notice"].as_str().unwrap().contains(&first.id.to_string()), "{answer}");
    let viewer = collector.viewer().await;
    assert_eq!(viewer.list("/api/v1/nodes").await.len(), 2);

    // The agent is dead: a host that is installed again is the node that it was.
    reports.abort();
    let again: Value = NodeClient::try_enroll(&client, token.token.reveal(), "golden").await.json();
    assert!([&json!(first.id.to_string()), &answer["nodeId"]].contains(&&again["nodeId"]), "{again}");
    assert_eq!(again["notice"], Value::Null);
    assert_eq!(viewer.list("/api/v1/nodes").await.len(), 2);
}

async fn golden(collector: &TestCollector) -> TestAgent {
    let setup = AgentSetup { settings: vec![("machine_id", json!("golden"))], ..AgentSetup::default() };
    TestAgent::start_with(collector, setup, &[]).await
}

#[tokio::test]
async fn copied_hosts_that_start_at_once_become_two_nodes() {
    let mut collector = TestCollector::start_with(&FAST).await;
    let (_first, _second) = tokio::join!(golden(&collector), golden(&collector));
    let viewer = collector.viewer().await;
    eventually_true("two healthy nodes", SOON, async || {
        let nodes = viewer.list("/api/v1/nodes").await;
        nodes.len() == 2 && nodes.iter().all(|node| node["status"] == "HEALTHY")
    })
    .await;
    let degraded = changes(&viewer, |change| change["toStatus"] == "DEGRADED").await;
    assert_eq!(degraded, Vec::<Value>::new(), "they never shared an identity");
}

#[tokio::test]
async fn reinstalled_agent_keeps_its_node() {
    let mut collector = TestCollector::start_with(&FAST).await;
    let mut agent = golden(&collector).await;
    let viewer = collector.viewer().await;
    let uptime = async || {
        let nodes = viewer.list("/api/v1/nodes").await;
        assert!(nodes.len() <= 1, "one host: {nodes:?}");
        (nodes.first()?["status"] == "HEALTHY").then(|| nodes[0]["id"].clone())
    };
    let id = eventually("the node is healthy", SOON, &uptime).await;
    for is_killed in [false, true] {
        if is_killed {
            agent.kill().await;
        } else {
            agent.stop().await;
        }
        std::fs::remove_dir_all(agent.data_dir()).unwrap();
        let before = collector.cli(&["token", "list", "--all", "--json"]).await.matches("nodeName\":\"").count();
        agent.run();
        eventually_true("it has enrolled again", SOON, async || {
            collector.cli(&["token", "list", "--all", "--json"]).await.matches("nodeName\":\"").count() > before
        })
        .await;
        assert_eq!(eventually("the node is healthy again", SOON, &uptime).await, id);
    }
}
