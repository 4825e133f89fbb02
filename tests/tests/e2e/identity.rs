//! The identity of nodes: duplicates, and a node that the collector does not know any longer.

use systole_shared::BootId;
use systole_tests::clock;
use systole_tests::harness::reports::{distinct_counts, report, running, with_lines};
use systole_tests::harness::{AgentPipeline, NodeClient, SOON, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";

#[tokio::test]
async fn duplicate_identity_is_reported_and_both_count() {
    let mut collector = TestCollector::start().await;
    let mut feed = collector.feed("types=status_change").await;
    let mut first = NodeClient::enroll(&collector, None, "n1").await;
    let mut clone = first.clone();
    clone.boot = BootId(uuid::Uuid::now_v7());
    for _ in 0..4 {
        first.report(vec![running(PIPELINE, distinct_counts(1))]).await;
        clone.report(vec![running(PIPELINE, distinct_counts(10))]).await;
    }
    let degraded = feed.wait_for("DEGRADED", SOON, |event| event.is_change(None, "DEGRADED")).await;
    assert_eq!(degraded.data["reason"], "duplicate identity");
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(44));
}

#[tokio::test]
async fn restarted_agent_is_not_a_duplicate() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    for _ in 0..12 {
        node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
        node.boot = BootId(uuid::Uuid::now_v7());
        node.next_seq = 1;
    }
    let nodes = collector.viewer().await.list("/api/v1/nodes").await;
    assert_eq!(nodes[0]["status"], "HEALTHY");
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(12));
}

#[tokio::test]
async fn agent_with_revoked_token_enrols_as_the_same_node() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    stub.control("burst?events=100").await;
    let before = stub.pause_and_let_scrape().await.total;
    eventually_true("the first events", SOON, async || collector.minute_sums(PIPELINE).await == before).await;

    let tokens: serde_json::Value =
        serde_json::from_str(&collector.cli(&["token", "list", "--all", "--json"]).await).unwrap();
    let tokens = tokens.as_array().cloned().unwrap_or_else(|| tokens["items"].as_array().unwrap().clone());
    let node_token = tokens.iter().find(|token| token["kind"] == "node").expect("the agent has a token");
    collector.revoke_token(node_token["id"].as_str().unwrap()).await;
    stub.control("burst?events=23").await;
    let after = stub.pause_and_let_scrape().await.total;
    eventually_true("the later events", SOON, async || collector.minute_sums(PIPELINE).await == after).await;
    assert_eq!(collector.viewer().await.list("/api/v1/nodes").await.len(), 1, "no ghost");
    assert_eq!(stub.totals().lives.len(), 1, "the pipeline ran all the while");
    assert!(agent.is_alive());
}

#[tokio::test]
async fn back_fill_is_stored_without_live_metrics() {
    let mut collector = TestCollector::start().await;
    let mut feed = collector.feed("every=0").await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let old = clock::now_ms() - 5 * 60_000;
    let pipeline = |line: &str, at| vec![with_lines(running(PIPELINE, distinct_counts(1)), at, [line.to_owned()])];
    let late = node.request_of(vec![report(1, old, pipeline("late", old))]);
    assert_eq!(node.post(&late).await.refused, []);
    node.next_seq = 2;
    node.report(pipeline("now", clock::now_ms())).await;
    feed.wait_for("the fresh metrics", SOON, |event| event.kind == "metric_update").await;
    feed.wait_for("the fresh state", SOON, |event| event.kind == "fleet_status").await;
    let kinds: Vec<String> =
        feed.events().into_iter().filter(|event| event.id.is_some()).map(|event| event.kind).collect();
    let news = ["metric_update", "fleet_status"];
    for kind in news {
        assert_eq!(
            kinds.iter().filter(|other| *other == kind).count(),
            1,
            "{kind} of the fresh report only: {kinds:?}"
        );
    }
    let lines = feed.events_of("log_entry");
    assert_eq!(lines.iter().flat_map(|event| event.lines()).collect::<Vec<_>>(), ["late", "now"]);
    assert_eq!(lines[0].data["entries"][0]["at"], old, "with its own time");
    let ring = collector.viewer().await.list(&format!("/api/v1/samples?node={}&pipeline={PIPELINE}", node.id)).await;
    assert_eq!(ring.len(), 2);
}
