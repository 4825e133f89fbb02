//! Rollouts over agents of both kinds. An agent of VectorFlow reports processes, not phases, and does not go back by
//! itself.

use serde_json::{Value, json};
use systole_tests::harness::{DatabaseKind, GoAgent, GoAgentSetup, TestCollector};

use crate::rollout_scene::{Edge, SOON, admin, apply, node_of, rollout_in, start};

on_each_database! {
    crashing_version_halts_over_agents_of_both_kinds,
    first_version_that_crashes_is_taken_from_the_node,
}

const CONFIG: &str = "sources:\n  in: {type: demo_logs}\n";
const CRASHES: &str = "sources:\n  crash: {type: demo_logs}\n";

fn policy(max_failed: u32) -> Value {
    json!({"canary": ["canary=true"], "batch": "1", "healthyForMs": 1_000, "maxFailed": max_failed})
}

async fn go_agent(collector: &TestCollector, name: &str, labels: &[(&str, &str)]) -> GoAgent {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    GoAgent::start(collector, name, GoAgentSetup { labels, ..GoAgentSetup::default() }).await
}

async fn crashing_version_halts_over_agents_of_both_kinds(database: DatabaseKind) {
    let mut collector = start(database).await;
    let admin = admin(&collector).await;
    let canary = go_agent(&collector, "go-canary", &[("canary", "true")]).await;
    let other = go_agent(&collector, "go-other", &[]).await;
    let mut native_canary = Edge::enroll(&collector, "edge-canary", &[("canary", "true")]).await;
    let mut native = Edge::enroll(&collector, "edge-other", &[]).await;
    let mut feed = collector.feed("types=deployment&pipeline=orders").await;

    let first = apply(&admin, "orders", json!({"config": CONFIG, "rollout": policy(0)})).await;
    native_canary.obeys("orders", 1).await;
    canary.wait_for_version("orders", Some(1)).await;
    native.obeys("orders", 1).await;
    rollout_in(&admin, first, "complete").await;
    assert_eq!((canary.starts("orders"), other.starts("orders")), (vec![1], vec![1]));

    let second = apply(&admin, "orders", json!({"config": CRASHES, "rollout": policy(0)})).await;
    native_canary.obeys("orders", 2).await;
    let halted = rollout_in(&admin, second, "halted").await;
    assert_eq!(
        halted["reason"], "1 node failed, none may fail; go-canary: rolled back: its process crashed",
        "{halted:#}"
    );
    assert_eq!(node_of(&halted, "go-canary")["state"], "failed");
    assert_eq!(node_of(&halted, "edge-canary")["state"], "healthy");
    canary.wait_for_version("orders", Some(1)).await;
    assert_eq!(canary.starts("orders"), [1, 2, 1], "back on the version before");
    assert_eq!(other.starts("orders"), [1], "no other node has seen it");
    assert_eq!(native.desired_version("orders").await, Some(1));

    // The version before is healthy there again, and each step is an event.
    let go_canary: Vec<String> = feed
        .wait_until("the canary is healthy again", SOON, |events| {
            let own = events.iter().filter(|event| {
                event.kind == "deployment" && event.data["nodeId"].as_str() == Some(canary.node_id.as_str())
            });
            let steps: Vec<String> = own
                .map(|event| format!("{} {}", event.data["version"], event.data["phase"].as_str().unwrap()))
                .collect();
            (steps.iter().filter(|step| *step == "1 healthy").count() == 2).then_some(steps)
        })
        .await;
    assert!(go_canary.contains(&"2 rolled_back".to_owned()), "{go_canary:?}");

    // A good one passes all of them.
    let third = apply(&admin, "orders", json!({"config": "sources: {}\n", "rollout": policy(0)})).await;
    native_canary.obeys("orders", 3).await;
    native.obeys("orders", 3).await;
    let done = rollout_in(&admin, third, "complete").await;
    assert_eq!(done["healthy"], 4, "{done:#}");
    assert_eq!((canary.version("orders"), other.version("orders")), (Some(3), Some(3)));
    assert_eq!((canary.errors(), other.errors()), (Vec::new(), Vec::new()));
}

async fn first_version_that_crashes_is_taken_from_the_node(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let agent = go_agent(&collector, "go-1", &[("canary", "true")]).await;
    let first = apply(&admin, "orders", json!({"config": CRASHES, "rollout": policy(1)})).await;
    let halted = rollout_in(&admin, first, "halted").await;
    assert_eq!(node_of(&halted, "go-1")["reason"], "rolled back: its process crashed", "{halted:#}");
    agent.wait_for_version("orders", None).await;
    assert_eq!(agent.starts("orders"), [1]);
    let path = format!("/api/v1/rollouts/{first}");
    systole_tests::harness::eventually_true("nothing is reported of it", SOON, async || {
        node_of(&admin.get_json(&path).await, "go-1")["phase"].is_null()
    })
    .await;
    // Tried again, it fails again.
    let resumed = crate::rollout_scene::post(&admin, &format!("{path}/resume"), &json!({})).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    systole_tests::harness::eventually_true("it was started again", SOON, async || agent.starts("orders").len() == 2)
        .await;
    rollout_in(&admin, first, "halted").await;
    agent.wait_for_version("orders", None).await;
}
