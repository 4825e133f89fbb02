//! Restarts, samples and taps on agents that speak VectorFlow's protocol.

use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::vectorflow::ErrorBody;
use systole_tests::harness::{ApiClient, DatabaseKind, GoAgent, GoAgentSetup, TestCollector, eventually_true};

use crate::delivery::Stream;
use crate::rollout_scene::{SOON, admin, apply, operator, post, rollout_in};

on_each_database! {
    sample_of_a_go_agent_comes_by_push_and_by_poll,
    three_taps_of_a_go_agent_run_at_once,
    restart_of_a_go_agent_is_seen_by_its_process,
    answers_that_no_request_waits_for_do_no_harm,
}

/// A collector, an agent that runs the pipeline `orders`, and an operator.
async fn running(database: DatabaseKind, setup: GoAgentSetup) -> (TestCollector, GoAgent, ApiClient) {
    let collector = TestCollector::start_on_with(database, &["--interval", "500ms"]).await;
    let admin = admin(&collector).await;
    let with_push = setup.push;
    let agent = GoAgent::start(&collector, "go-1", setup).await;
    let policy = json!({"batch": "100%", "healthyForMs": 1_000});
    let rollout = apply(&admin, "orders", json!({"config": "sources: {}\n", "rollout": policy})).await;
    rollout_in(&admin, rollout, "complete").await;
    eventually_true("its push stream is as wanted", SOON, async || (agent.push_connections() > 0) == with_push).await;
    let operator = operator(&collector).await;
    (collector, agent, operator)
}

async fn sample_of_a_go_agent_comes_by_push_and_by_poll(database: DatabaseKind) {
    for push in [true, false] {
        let (_collector, agent, operator) = running(database, GoAgentSetup { push, ..GoAgentSetup::default() }).await;
        let path = "/api/v1/pipelines/orders/actions/sample";
        let body = |components: Value| json!({"node": agent.node_id, "components": components, "limit": 5});
        let sampled = post(&operator, path, &body(json!(["in", "out"]))).await;
        assert_eq!(sampled.status, 200, "push {push}: {sampled:?}");
        let sampled: Value = sampled.json();
        // The protocol's limit is that of one component: three of each are asked for.
        assert_eq!((sampled["events"].as_array().unwrap().len(), &sampled["dropped"]), (5, &json!(1)), "{sampled}");
        let event: Value = serde_json::from_str(sampled["events"][0]["event"].as_str().unwrap()).unwrap();
        assert!(event["message"].as_str().unwrap().starts_with("event 1 of "), "{event}");
        // One component without events costs the others nothing.
        let sampled: Value = post(&operator, path, &body(json!(["in", "idle"]))).await.json();
        assert_eq!(sampled["events"].as_array().unwrap().len(), 3, "{sampled}");
        let problem = post(&operator, path, &body(json!(["idle"]))).await.problem(409);
        assert_eq!(problem["detail"], "node go-1: idle: no events received within 15s");
        assert_eq!(agent.errors(), Vec::<String>::new());
    }
}

async fn three_taps_of_a_go_agent_run_at_once(database: DatabaseKind) {
    let (collector, agent, operator) = running(database, GoAgentSetup::default()).await;
    let path = |component: &str| format!("/api/v1/pipelines/orders/tap?node={}&component={component}", agent.node_id);
    let mut first = Stream::open(&operator, &path("in")).await;
    let mut long = Stream::open(&operator, &path("long")).await;
    let third = Stream::open(&operator, &path("out")).await;
    operator.get(&path("in")).await.problem(429);
    let event = first.next("tap_event").await;
    assert_eq!(event["componentId"], "in");
    let event: Value = serde_json::from_str(event["event"].as_str().unwrap()).unwrap();
    assert_eq!(event["message"], "event 0");
    let event = long.next("tap_event").await;
    assert_eq!(event["truncated"], true);
    assert!(event["event"].as_str().unwrap().len() <= 16 * 1024);
    eventually_true("three taps run", SOON, async || agent.open_taps() == 3).await;
    // Their watchers leave, and their places are free.
    drop((third, long));
    eventually_true("two of them have stopped", SOON, async || agent.open_taps() == 1).await;
    let mut ends = Stream::open(&operator, &path("ends")).await;
    ends.next("tap_event").await;
    assert_eq!(ends.next("tap_event").await["componentId"], "ends");
    assert_eq!(ends.next("tap_stopped").await["reason"], "process exited");
    drop(first);
    eventually_true("no tap is left", SOON, async || agent.open_taps() == 0).await;

    // The agent cannot be asked without its stream.
    let other = GoAgent::start(&collector, "go-2", GoAgentSetup { push: false, ..GoAgentSetup::default() }).await;
    other.wait_for_version("orders", Some(1)).await;
    let on_other = format!("/api/v1/pipelines/orders/tap?node={}&component=in", other.node_id);
    eventually_true("it reports the pipeline", SOON, async || {
        let node = operator.get_json(&format!("/api/v1/nodes/{}", other.node_id)).await;
        node["pipelines"] != json!([])
    })
    .await;
    let mut refused = Stream::open(&operator, &on_other).await;
    let reason = refused.next("tap_stopped").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("no push stream"), "{reason}");
}

async fn restart_of_a_go_agent_is_seen_by_its_process(database: DatabaseKind) {
    // One that restarts for the push action, the public one, which polls instead, and one without a stream.
    for (push, restarts) in [(true, true), (true, false), (false, false)] {
        let setup = GoAgentSetup { push, restarts, ..GoAgentSetup::default() };
        let (_collector, agent, operator) = running(database, setup).await;
        let before = agent.process("orders").unwrap();
        let path = "/api/v1/pipelines/orders/actions/restart";
        let restarted = post(&operator, path, &json!({"node": agent.node_id})).await;
        assert_eq!(restarted.status, 200, "push {push}, restarts {restarts}: {restarted:?}");
        let after = agent.process("orders").unwrap();
        assert!(after.pid != before.pid && after.checksum == before.checksum, "{after:?}");
        assert_eq!(agent.starts("orders"), [1, 1]);
        let rollouts = operator.get_json("/api/v1/rollouts").await;
        assert_eq!(rollouts["items"][0]["state"], "complete", "a restart is no new version");
    }
}

async fn answers_that_no_request_waits_for_do_no_harm(database: DatabaseKind) {
    let (collector, agent, operator) = running(database, GoAgentSetup::default()).await;
    let id = "0190a1b2-0000-7000-8000-000000000000";
    let good = |id: &str| json!({"results": [{"requestId": id, "componentKey": "in", "events": [{"a": 1}]}]});
    let tapped = |id: &str| json!({"requestId": id, "pipelineId": "orders", "componentId": "in", "events": [{"a": 1}]});
    for id in [id, "foreign", ""] {
        for (route, body) in [("samples", good(id)), ("tap-events", tapped(id))] {
            let answer = post(&agent.client, &format!("/api/agent/{route}"), &body).await;
            assert_eq!((answer.status, answer.json::<Value>()), (200, json!({"ok": true})), "{route} {id}");
        }
    }
    for (route, body) in [
        ("samples", "{"),
        ("samples", "[]"),
        ("samples", r#"{"results": 7}"#),
        ("tap-events", "null"),
        ("tap-events", r#"{"requestId": 7}"#),
    ] {
        let request = agent.client.request(Method::POST, &format!("/api/agent/{route}"));
        let answer = systole_tests::harness::Answer::of(request.body(body.to_owned())).await;
        let error: ErrorBody = answer.json();
        assert!(answer.status == 400 && !error.error.is_empty(), "{route} {body}: {answer:?}");
    }
    // A tap of one node is not answered by another, and an unreadable answer costs its neighbours nothing.
    let other = GoAgent::start(&collector, "go-2", GoAgentSetup::default()).await;
    let tap = format!("/api/v1/pipelines/orders/tap?node={}&component=quiet", agent.node_id);
    let mut stream = Stream::open(&operator, &tap).await;
    stream.next("tap_event").await;
    let started = agent.push_events().into_iter().find_map(|event| match event {
        systole_shared::vectorflow::PushEvent::TapStart { request_id, .. } => Some(request_id),
        _ => None,
    });
    let mut stopped = tapped(&started.unwrap());
    stopped["status"] = json!("stopped");
    assert_eq!(post(&other.client, "/api/agent/tap-events", &stopped).await.status, 200);
    stream.next("tap_event").await;
    assert_eq!(post(&agent.client, "/api/agent/tap-events", &stopped).await.status, 200);
    loop {
        let (kind, _) = stream.try_next().await.expect("it ends with its reason");
        if kind == "tap_stopped" {
            break;
        }
    }
    assert!(agent.errors().is_empty(), "{:?}", agent.errors());
}
