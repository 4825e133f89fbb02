//! Versions on their way to nodes: stages, failures, nodes that are away, and a collector that is killed.

use serde_json::json;
use systole_shared::events::EventType;
use systole_tests::harness::{DatabaseKind, Feed, TestCollector, eventually};

use crate::rollout_scene::{Edge, SOON, admin, apply, node_of, operator, post, rollout_in, start};

on_each_database! {
    version_goes_to_canaries_first_and_halts_when_one_fails,
    halted_rollout_is_resumed_or_aborted,
    rollout_continues_after_the_collector_was_killed,
    node_that_is_away_gets_the_version_when_it_is_back,
    nodes_that_cannot_run_the_engine_are_listed_and_are_no_failures,
    agents_are_updated_in_a_rollout,
    rollouts_are_decided_by_admins_of_their_environment,
}

/// A fifth of the fleet at a time, and none may fail.
fn policy(canary: &[&str]) -> serde_json::Value {
    json!({"canary": canary, "batch": "1", "healthyForMs": 1_000, "maxFailed": 0})
}

async fn version_goes_to_canaries_first_and_halts_when_one_fails(database: DatabaseKind) {
    let mut collector = start(database).await;
    let admin = admin(&collector).await;
    let mut canary = Edge::enroll(&collector, "edge-1", &[("canary", "true")]).await;
    let mut other = Edge::enroll(&collector, "edge-2", &[]).await;
    let mut feed = collector.feed("types=deployment&pipeline=orders").await;
    let rollout = json!({"rollout": policy(&["canary=true"])});
    let first = apply(&admin, "orders", rollout.clone()).await;
    canary.wait_for_version("orders", Some(1)).await;
    assert_eq!(other.desired_version("orders").await, None, "the canary comes first");
    canary.says("orders", 1, "starting", "").await;
    canary.says("orders", 1, "healthy", "").await;
    other.obeys("orders", 1).await;
    let done = rollout_in(&admin, first, "complete").await;
    assert_eq!((&done["healthy"], &done["reason"]), (&json!(2), &json!("")), "{done:#}");

    let second = apply(&admin, "orders", json!({"config": "b: 2\n", "rollout": policy(&["canary=true"])})).await;
    canary.wait_for_version("orders", Some(2)).await;
    canary.says("orders", 2, "rejected", "unknown field `b`").await;
    let halted = rollout_in(&admin, second, "halted").await;
    assert_eq!(halted["reason"], "1 node failed, none may fail; edge-1: rejected: unknown field `b`");
    assert_eq!(node_of(&halted, "edge-1")["state"], "failed");
    assert_eq!(node_of(&halted, "edge-2")["state"], "waiting");
    for id in ["orders", &second.to_string()] {
        let shown = collector.cli(&["rollout", id]).await;
        assert!(
            shown.starts_with(&format!("rollout {second}: orders from 1 to version 2\nhalted: 1 node failed")),
            "{shown}"
        );
        assert!(shown.contains("rejected: unknown field `b`"), "{shown}");
    }
    canary.wait_for_version("orders", Some(1)).await;
    assert_eq!(other.desired_version("orders").await, Some(1), "it never had the other one");
    canary.says("orders", 1, "healthy", "").await;

    let seen = feed
        .wait_until("every step", SOON, |events| {
            let steps = events.iter().filter(|event| event.kind == "deployment");
            let steps: Vec<_> =
                steps.map(|event| format!("{} {}", event.data["version"], event.data["phase"])).collect();
            (steps.len() == 5).then_some(steps)
        })
        .await;
    let expected = ["1 starting", "1 healthy", "1 healthy", "2 rejected", "1 healthy"];
    assert_eq!(seen, expected.map(|step| step.replace(' ', " \"") + "\""));
    // Out of the database, too, also those from before the pipeline's first report.
    let hello = feed.events_of("hello").remove(0);
    let start = format!("{}-0", hello.data["epoch"].as_str().unwrap());
    collector.stop().await;
    collector.run().await;
    let viewer = collector.viewer().await;
    for query in ["types=deployment&pipeline=orders", "types=deployment"] {
        let mut replay = Feed::open_after(&viewer, query, Some(&start)).await;
        replay
            .wait_until("the same steps", SOON, |events| {
                (events.iter().filter(|event| event.kind == EventType::Deployment.as_str()).count() == 5).then_some(())
            })
            .await;
    }
    let mut other_pipeline = Feed::open_after(&viewer, "types=deployment&pipeline=bills", Some(&start)).await;
    eventually("the replay is over", SOON, async || (other_pipeline.ids_without_event().len() >= 2).then_some(()))
        .await;
    assert!(other_pipeline.events_of("deployment").is_empty());
    other_pipeline.disconnect();
}

async fn halted_rollout_is_resumed_or_aborted(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let mut edge = Edge::enroll(&collector, "edge-1", &[]).await;
    let first = apply(&admin, "orders", json!({"rollout": policy(&[])})).await;
    edge.obeys("orders", 1).await;
    rollout_in(&admin, first, "complete").await;
    post(&admin, &format!("/api/v1/rollouts/{first}/resume"), &json!({})).await.problem(409);
    post(&admin, &format!("/api/v1/rollouts/{first}/abort"), &json!({})).await.problem(409);

    let second = apply(&admin, "orders", json!({"config": "b: 2\n", "rollout": policy(&[])})).await;
    edge.wait_for_version("orders", Some(2)).await;
    edge.says("orders", 2, "rolled_back", "exit 1").await;
    rollout_in(&admin, second, "halted").await;
    edge.wait_for_version("orders", Some(1)).await;
    edge.says("orders", 1, "healthy", "").await;
    collector.cli(&["rollout", "orders", "resume"]).await;
    edge.wait_for_version("orders", Some(2)).await;
    edge.says("orders", 2, "starting", "").await;
    let answer = post(&admin, &format!("/api/v1/rollouts/{second}/abort"), &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    edge.wait_for_version("orders", Some(1)).await;
    let aborted = rollout_in(&admin, second, "aborted").await;
    assert!(aborted["reason"].as_str().unwrap().starts_with("aborted by "), "{aborted:#}");
    let audit = admin.list("/api/v1/audit").await;
    for action in ["rollout.resume", "rollout.abort"] {
        assert!(audit.iter().any(|row| row["action"] == action), "no {action} in {audit:?}");
    }
}

async fn rollout_continues_after_the_collector_was_killed(database: DatabaseKind) {
    let mut collector = start(database).await;
    let admin = admin(&collector).await;
    let mut edges = Vec::new();
    for number in 1..=3 {
        edges.push(Edge::enroll(&collector, &format!("edge-{number}"), &[]).await);
    }
    let rollout = apply(&admin, "orders", json!({"rollout": policy(&[])})).await;
    edges[0].obeys("orders", 1).await;
    edges[1].wait_for_version("orders", Some(1)).await;
    let generation = edges[1].desired().await.generation;
    collector.kill().await;
    collector.run().await;
    assert_eq!(edges[1].report().await.desired_generation, Some(generation));
    assert_eq!(edges[2].desired_version("orders").await, None, "one node at a time");
    edges[1].obeys("orders", 1).await;
    edges[2].obeys("orders", 1).await;
    let done = rollout_in(&admin, rollout, "complete").await;
    assert_eq!(done["healthy"], 3, "{done:#}");
}

async fn node_that_is_away_gets_the_version_when_it_is_back(database: DatabaseKind) {
    let collector = TestCollector::start_on_with(database, &["--interval", "500ms"]).await;
    let admin = admin(&collector).await;
    let mut away = Edge::enroll(&collector, "edge-1", &[]).await;
    let mut here = Edge::enroll(&collector, "edge-2", &[]).await;
    eventually("edge-1 is unreachable", SOON, async || {
        here.report().await;
        let node = admin.get_json(&format!("/api/v1/nodes/{}", away.node.id)).await;
        (node["status"] == "UNREACHABLE").then_some(())
    })
    .await;
    let rollout = apply(&admin, "orders", json!({"rollout": policy(&[])})).await;
    eventually("edge-2 should run it", SOON, async || {
        here.report().await;
        (here.desired_version("orders").await == Some(1)).then_some(())
    })
    .await;
    here.says("orders", 1, "healthy", "").await;
    let done = rollout_in(&admin, rollout, "complete").await;
    assert_eq!(done["reason"], "1 node gets the version when it is back");
    let waiting = node_of(&done, "edge-1");
    assert_eq!((&waiting["state"], &waiting["reason"]), (&json!("waiting"), &json!("unreachable")));
    eventually("edge-1 should run it", SOON, async || {
        away.report().await;
        (away.desired_version("orders").await == Some(1)).then_some(())
    })
    .await;
    away.says("orders", 1, "healthy", "").await;
    eventually("it counts", SOON, async || {
        let rollout = admin.get_json(&format!("/api/v1/rollouts/{rollout}")).await;
        (rollout["healthy"] == 2).then_some(())
    })
    .await;
}

async fn nodes_that_cannot_run_the_engine_are_listed_and_are_no_failures(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let mut good = Edge::enroll(&collector, "edge-1", &[]).await;
    Edge::enroll_with(&collector, "edge-2", &[], None).await;
    Edge::enroll_with(&collector, "edge-3", &[], Some(vec!["otelcol"])).await;
    let rollout = apply(&admin, "orders", json!({"rollout": policy(&[])})).await;
    good.obeys("orders", 1).await;
    let done = rollout_in(&admin, rollout, "complete").await;
    for (name, reason) in
        [("edge-2", "does not accept pipelines"), ("edge-3", "has no engine \"vector\"; it has otelcol")]
    {
        let node = node_of(&done, name);
        assert_eq!((&node["state"], &node["reason"]), (&json!("unfit"), &json!(reason)));
    }
    // A node that comes later gets it, too.
    let mut late = Edge::enroll(&collector, "edge-4", &[]).await;
    late.obeys("orders", 1).await;
    late.drops("orders").await;
}

async fn agents_are_updated_in_a_rollout(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let mut good = Edge::enroll(&collector, "edge-1", &[("role", "edge")]).await;
    let mut bad = Edge::enroll(&collector, "edge-2", &[("role", "edge")]).await;
    let outside = Edge::enroll(&collector, "core-1", &[]).await;
    let update = json!({
        "selector": ["role=edge"], "version": "0.2.0", "url": "https://example.org/agent", "sha256": "ab".repeat(32),
        "rollout": {"batch": "2", "maxFailed": 1},
    });
    for (field, value) in [
        ("url", json!("http://example.org/agent")),
        ("sha256", json!("ab")),
        ("selector", json!([])),
        ("version", json!("")),
    ] {
        let mut wrong = update.clone();
        wrong[field] = value;
        let problem = post(&admin, "/api/v1/agent-updates", &wrong).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().starts_with(field), "{problem}");
    }
    let answer = post(&admin, "/api/v1/agent-updates", &update).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let rollout = answer.json::<serde_json::Value>()["id"].as_i64().unwrap();
    post(&admin, "/api/v1/agent-updates", &update).await.problem(409);
    let wanted = eventually("the agent should be updated", SOON, async || good.desired().await.agent_update).await;
    assert_eq!((wanted.version.as_str(), wanted.sha256.len()), ("0.2.0", 64));
    eventually("the other, too", SOON, async || bad.desired().await.agent_update).await;
    assert_eq!(outside.desired().await.agent_update, None);
    good.agent_version = "0.2.0".to_owned();
    good.report().await;
    bad.says("agent", 0, "rejected", "SHA-256 does not match").await;
    let done = rollout_in(&admin, rollout, "complete").await;
    assert_eq!((&done["healthy"], &done["failed"]), (&json!(1), &json!(1)), "{done:#}");
    assert_eq!(node_of(&done, "edge-2")["reason"], "rejected: SHA-256 does not match");
    eventually("it is not asked again", SOON, async || bad.desired().await.agent_update.is_none().then_some(())).await;
}

async fn rollouts_are_decided_by_admins_of_their_environment(database: DatabaseKind) {
    let mut collector = start(database).await;
    let admin = admin(&collector).await;
    let edge = Edge::enroll(&collector, "edge-1", &[]).await;
    let rollout = apply(&admin, "orders", json!({"rollout": policy(&[])})).await;
    collector.create_environment("other").await;
    let path = format!("/api/v1/rollouts/{rollout}");
    let viewer = collector.viewer().await;
    let operator = operator(&collector).await;
    let foreign = collector.viewer_of("other").await;
    for reader in [&viewer, &operator] {
        reader.get_json(&path).await;
        assert_eq!(reader.list("/api/v1/rollouts").await.len(), 1);
        for action in ["resume", "abort"] {
            post(reader, &format!("{path}/{action}"), &json!({})).await.problem(403);
        }
        post(reader, "/api/v1/agent-updates", &json!({})).await.problem(403);
    }
    foreign.get(&path).await.problem(404);
    assert!(foreign.list("/api/v1/rollouts").await.is_empty());
    let foreign_admin = collector.create_token("admin", Some("other")).await;
    let foreign_admin = collector.client().with_token(foreign_admin.token.reveal());
    post(&foreign_admin, &format!("{path}/abort"), &json!({})).await.problem(404);
    for none in [&collector.client(), edge.node.client()] {
        let status = none.get(&path).await.status;
        assert_eq!(status, if none.token().is_none() { 401 } else { 403 });
    }
    admin.get("/api/v1/rollouts/x").await.problem(404);
    admin.get("/api/v1/rollouts/999").await.problem(404);
}
