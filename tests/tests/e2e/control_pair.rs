//! Pipelines of the centre and actions through both programs: the collector decides, the agent does.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::sse::{Decoder, Item};
use systole_tests::harness::{AgentSetup, TestAgent, TestCollector, eventually};
use tempfile::TempDir;

use crate::agent_pipelines::add_engine;
use crate::rollout_scene::{admin, apply, node_of, operator, post, rollout_in};

/// Longest wait, on a machine that builds and tests.
const SOON: Duration = systole_tests::harness::SOON;

struct Pair {
    collector: TestCollector,
    agent: TestAgent,
    _directory: TempDir,
}

impl Pair {
    async fn start() -> Self {
        let collector = TestCollector::start_with(&["--interval", "500ms"]).await;
        let directory = tempfile::tempdir().unwrap();
        let settings = vec![("accept_pipelines", json!(true)), ("name", json!("edge-1"))];
        let setup = AgentSetup { settings, ..AgentSetup::default() };
        let mut agent = TestAgent::prepare(&collector, setup, &[]).await;
        add_engine(&agent, directory.path());
        agent.run();
        Pair { collector, agent, _directory: directory }
    }

    async fn node(&mut self) -> String {
        let viewer = self.collector.viewer().await;
        // A rollout skips a node that has not reported yet.
        eventually("the node reports", SOON, async || {
            let nodes = viewer.list("/api/v1/nodes").await;
            let node = nodes.first().filter(|node| node["status"] == "HEALTHY")?;
            node["id"].as_str().map(str::to_owned)
        })
        .await
    }
}

fn definition(lines: &str) -> Value {
    let config = format!("{lines}\nsources:\n  demo_in:\n    type: demo_logs\n");
    json!({"config": config, "rollout": {"batch": "100%", "healthyForMs": 1_000, "maxFailed": 0}})
}

#[tokio::test]
async fn applied_pipeline_runs_and_a_bad_version_halts_its_rollout() {
    let mut pair = Pair::start().await;
    let admin = admin(&pair.collector).await;
    pair.node().await;
    let first = apply(&admin, "orders", definition("# one")).await;
    rollout_in(&admin, first, "complete").await;
    let viewer = pair.collector.viewer().await;
    let pid = async || viewer.get_json("/api/v1/pipelines/orders").await["nodes"][0]["pid"].as_u64();
    let running = pid().await.expect("it runs");
    let second = apply(&admin, "orders", definition("# stub: invalid=nope")).await;
    let halted = rollout_in(&admin, second, "halted").await;
    let node = node_of(&halted, "edge-1");
    assert!(node["reason"].as_str().unwrap().contains("unknown variant `nope`"), "{halted:#}");
    assert_eq!(pid().await, Some(running), "the old process runs on");
    drop(pair.agent);
}

#[tokio::test]
async fn operator_restarts_and_taps_through_the_collector() {
    let mut pair = Pair::start().await;
    let (admin, operator) = (admin(&pair.collector).await, operator(&pair.collector).await);
    let node = pair.node().await;
    let rollout = apply(&admin, "orders", definition("# stub: rate=20")).await;
    rollout_in(&admin, rollout, "complete").await;
    let sampled = post(
        &operator,
        "/api/v1/pipelines/orders/actions/sample",
        &json!({"node": node, "components": ["demo_in"], "limit": 3, "durationMs": 5_000}),
    )
    .await;
    assert_eq!(sampled.status, 200, "{sampled:?}");
    let sampled: Value = sampled.json();
    assert_eq!(sampled["events"].as_array().unwrap().len(), 3, "{sampled}");
    let path = format!("/api/v1/pipelines/orders/tap?node={node}&component=demo_in");
    let mut stream = operator.request(Method::GET, &path).send().await.unwrap();
    let mut decoder = Decoder::default();
    let event = async {
        loop {
            let chunk = stream.chunk().await.unwrap().expect("the stream lives");
            let found = decoder.push(&chunk).unwrap().into_iter().find_map(|item| match item {
                Item::Event { kind, data, .. } if kind == "tap_event" => Some(data),
                _ => None,
            });
            if let Some(data) = found {
                return data;
            }
        }
    };
    let event = tokio::time::timeout(SOON, event).await.expect("an event comes");
    assert!(event.contains("demo_in"), "{event}");
    drop(stream);
    let restarted = post(&operator, "/api/v1/pipelines/orders/actions/restart", &json!({"node": node})).await;
    assert_eq!(restarted.status, 200, "{restarted:?}");
}
