//! Pipelines of the centre on agents that speak VectorFlow's protocol.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::vectorflow::{ConfigPipeline, ErrorBody, PushEvent, checksum};
use systole_tests::harness::{Answer, DatabaseKind, GoAgent, GoAgentSetup, TestCollector, eventually, eventually_true};
use tokio::time::Instant;

use crate::rollout_scene::{SOON, admin, apply, rollout_in, start};

on_each_database! {
    change_reaches_a_go_agent_by_push_within_two_seconds,
    change_reaches_a_go_agent_without_push_by_its_next_poll,
    versions_are_applied_by_the_rules_of_the_protocol,
    push_of_go_agents_survives_a_restart_of_the_collector,
    answer_to_a_poll_has_the_form_of_the_protocol,
    node_in_maintenance_keeps_what_it_runs,
}

const CONFIG: &str = "sources:\n  in: {type: demo_logs}\n";

fn policy() -> Value {
    json!({"batch": "100%", "healthyForMs": 1_000, "maxFailed": 0})
}

fn delivered(agent: &GoAgent, pipeline: &str) -> Option<ConfigPipeline> {
    agent.last_config()?.pipelines.into_iter().find(|delivered| delivered.pipeline_id == pipeline)
}

async fn change_reaches_a_go_agent_by_push_within_two_seconds(database: DatabaseKind) {
    // It polls once a minute.
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let agent = GoAgent::start(&collector, "go-1", GoAgentSetup::default()).await;
    eventually_true("its push stream is open", SOON, async || !agent.push_events().is_empty()).await;
    for (version, config) in [(1, CONFIG), (2, "sources: {}\n")] {
        let begin = Instant::now();
        apply(&admin, "orders", json!({"config": config, "rollout": policy()})).await;
        agent.wait_for_version("orders", Some(version)).await;
        let taken = begin.elapsed();
        // Two seconds, and room for requests and commits on a busy machine.
        assert!(taken < Duration::from_secs(10), "{taken:?}");
    }
    assert_eq!(agent.errors(), Vec::<String>::new());
}

async fn change_reaches_a_go_agent_without_push_by_its_next_poll(database: DatabaseKind) {
    let variables = [("SYSTOLE_AGENT_PUSH", "false"), ("SYSTOLE_INTERVAL", "500ms")];
    let collector = TestCollector::start_with_variables(database, &variables).await;
    let admin = admin(&collector).await;
    let agent = GoAgent::start(&collector, "go-1", GoAgentSetup::default()).await;
    eventually_true("it polls", SOON, async || agent.polls() > 0).await;
    let rollout = apply(&admin, "orders", json!({"config": CONFIG, "rollout": policy()})).await;
    agent.wait_for_version("orders", Some(1)).await;
    rollout_in(&admin, rollout, "complete").await;
    let config = agent.last_config().unwrap();
    assert_eq!((config.push_url, config.poll_interval_ms, agent.push_connections()), (None, Some(500), 0));
    let refused = agent.client.get("/api/agent/push").await;
    let error: ErrorBody = refused.json();
    assert_eq!(refused.status, 404);
    assert!(error.error.contains("agent_push"), "{}", error.error);
    let removed = admin.send_empty(Method::DELETE, "/api/v1/pipelines/orders/definition").await;
    assert!(removed.status < 300, "{removed:?}");
    agent.wait_for_version("orders", None).await;
    assert_eq!(agent.errors(), Vec::<String>::new());
}

async fn versions_are_applied_by_the_rules_of_the_protocol(database: DatabaseKind) {
    let collector = TestCollector::start_on_with(database, &["--interval", "500ms"]).await;
    let admin = admin(&collector).await;
    let agent = GoAgent::start(&collector, "go-1", GoAgentSetup::default()).await;
    admin.set_secret("prod/db", "hunter2").await;
    let definition = json!({
        "config": CONFIG, "rollout": policy(), "logLevel": "info", "secrets": {"DB_PASSWORD": "prod/db"},
    });
    let rollout = apply(&admin, "orders", definition.clone()).await;
    rollout_in(&admin, rollout, "complete").await;
    let process = agent.process("orders").unwrap();
    assert_eq!((process.version, process.log_level.as_deref()), (1, Some("info")));
    assert_eq!(process.secrets["DB_PASSWORD"], "hunter2");
    assert!(process.config.ends_with(CONFIG) && !process.config.contains("hunter2"), "{}", process.config);
    assert_eq!(process.checksum, checksum(&process.config, &process.secrets));

    // Another name is no reason to restart; another log level, value of a secret or configuration is.
    let mut next = definition;
    for (field, value, restarts) in
        [("name", json!("Orders"), false), ("logLevel", json!("debug"), true), ("config", json!("sources: {}\n"), true)]
    {
        next[field] = value;
        let (before, starts) = (agent.version("orders").unwrap(), agent.starts("orders").len());
        let rollout = apply(&admin, "orders", next.clone()).await;
        rollout_in(&admin, rollout, "complete").await;
        assert_eq!(agent.version("orders"), Some(before + 1), "{field}");
        assert_eq!(agent.starts("orders").len(), starts + usize::from(restarts), "{field}");
    }
    admin.set_secret("prod/db", "hunter3").await;
    eventually_true("the process has the new value", SOON, async || {
        agent.process("orders").is_some_and(|process| process.secrets["DB_PASSWORD"] == "hunter3")
    })
    .await;
    rollout_in(&admin, latest(&admin).await, "complete").await;

    let rolled_back = admin.send(Method::POST, "/api/v1/pipelines/orders/rollback", &json!({"to": 1})).await;
    assert_eq!(rolled_back.status, 200, "{rolled_back:?}");
    rollout_in(&admin, latest(&admin).await, "complete").await;
    assert!(agent.process("orders").unwrap().config.ends_with(CONFIG));
    let version = agent.version("orders");

    for (path, expected) in [("pause", None), ("resume", version)] {
        let answer = admin.send_empty(Method::POST, &format!("/api/v1/pipelines/orders/{path}")).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        agent.wait_for_version("orders", expected).await;
    }
    let removed = admin.send_empty(Method::DELETE, "/api/v1/pipelines/orders/definition").await;
    assert!(removed.status < 300, "{removed:?}");
    agent.wait_for_version("orders", None).await;

    // TOML becomes YAML, and an engine that these agents do not run gets nowhere.
    let toml = json!({"config": "[sources.in]\ntype = \"demo_logs\"\n", "format": "toml", "rollout": policy()});
    let rollout = apply(&admin, "mail", toml).await;
    rollout_in(&admin, rollout, "complete").await;
    assert_eq!(agent.process("mail").unwrap().config, "\"sources\":\n  \"in\":\n    \"type\": \"demo_logs\"\n");
    let rollout = apply(&admin, "bills", json!({"engine": "otelcol"})).await;
    let shown = admin.get_json(&format!("/api/v1/rollouts/{rollout}")).await;
    assert_eq!(shown["nodes"][0]["reason"], "has no engine \"otelcol\"; it has vector", "{shown:#}");
    assert_eq!(agent.errors(), Vec::<String>::new());
}

async fn latest(client: &systole_tests::harness::ApiClient) -> i64 {
    client.get_json("/api/v1/rollouts").await["items"][0]["id"].as_i64().unwrap()
}

async fn push_of_go_agents_survives_a_restart_of_the_collector(database: DatabaseKind) {
    let mut collector = start(database).await;
    let admin_client = admin(&collector).await;
    let agent = GoAgent::start(&collector, "go-1", GoAgentSetup::default()).await;
    apply(&admin_client, "orders", json!({"config": CONFIG, "rollout": policy()})).await;
    agent.wait_for_version("orders", Some(1)).await;
    collector.stop().await;
    collector.run().await;
    eventually_true("its push stream is open again", SOON, async || agent.push_connections() >= 2).await;
    apply(&admin_client, "orders", json!({"config": "sources: {}\n", "rollout": policy()})).await;
    agent.wait_for_version("orders", Some(2)).await;
    let intervals = agent.push_events().into_iter().filter(|event| matches!(event, PushEvent::PollInterval { .. }));
    assert!(intervals.count() >= 2, "each stream begins with the interval");
}

async fn answer_to_a_poll_has_the_form_of_the_protocol(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let agent = GoAgent::start(&collector, "go-1", GoAgentSetup { push: false, ..GoAgentSetup::default() }).await;
    apply(&admin, "orders", json!({"name": "Orders", "config": CONFIG})).await;
    let config = eventually("the version is delivered", SOON, async || {
        let config = agent.client.get_json("/api/agent/config").await;
        (config["pipelines"] != json!([])).then_some(config)
    })
    .await;
    let expected = json!({
        "pipelines": [{
            "pipelineId": "orders", "pipelineName": "Orders", "version": 1, "configYaml": CONFIG,
            "checksum": checksum(CONFIG, &Default::default()),
        }],
        "pollIntervalMs": 60_000,
        "secretBackend": "BUILTIN",
        "pushUrl": format!("{}/api/agent/push", collector.url()),
    });
    assert_eq!(config, expected);
    // Behind a proxy it is the proxy's address, which is what the agent knows.
    let proxied = agent.client.request(Method::GET, "/api/agent/config");
    let proxied = proxied.header("x-forwarded-proto", "https").header("x-forwarded-host", "systole.example:8443");
    let proxied: Value = Answer::of(proxied).await.json();
    assert_eq!(proxied["pushUrl"], "https://systole.example:8443/api/agent/push");
    let plain = agent.client.request(Method::GET, "/api/agent/config").send().await.unwrap();
    assert_eq!(plain.headers()["cache-control"], "no-store");
    for client in [collector.client(), collector.client().with_token("vf_node_default_00_00")] {
        let refused = client.get("/api/agent/config").await;
        let error: ErrorBody = refused.json();
        assert!(refused.status == 401 && !error.error.is_empty(), "{refused:?}");
    }
    let mut push = agent.client.request(Method::GET, "/api/agent/push").send().await.unwrap();
    let first = push.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b": connected\n\n"), "{first:?}");
    let replayed = agent.client.send_empty(Method::POST, "/api/agent/replay?pipelineId=orders&batchSize=10").await;
    assert_eq!((replayed.status, replayed.body.len()), (204, 0));

    let node = admin.get_json(&format!("/api/v1/nodes/{}", agent.node_id)).await;
    assert_eq!((&node["agentKind"], &node["agentVersion"]), (&json!("vf-agent"), &json!("1.9.2")));
    assert!(collector.cli(&["node", "show", "go-1"]).await.contains("vf-agent 1.9.2"));
    let update = json!({
        "selector": ["*"], "rollout": {}, "version": "9.9.9", "url": "https://example.org/agent", "sha256": "0".repeat(64),
    });
    let update: Value = crate::rollout_scene::post(&admin, "/api/v1/agent-updates", &update).await.json();
    let shown = admin.get_json(&format!("/api/v1/rollouts/{}", update["id"])).await;
    assert_eq!(shown["nodes"][0]["state"], "unfit", "{shown:#}");
    assert!(shown["nodes"][0]["reason"].as_str().unwrap().contains("VectorFlow's agent"), "{shown:#}");
    let config = agent.client.get_json("/api/agent/config").await;
    assert!(config.get("pendingAction").is_none(), "{config}");
}

async fn node_in_maintenance_keeps_what_it_runs(database: DatabaseKind) {
    let collector = TestCollector::start_on_with(database, &["--interval", "500ms"]).await;
    let admin = admin(&collector).await;
    let agent = GoAgent::start(&collector, "go-1", GoAgentSetup::default()).await;
    let rollout = apply(&admin, "orders", json!({"config": CONFIG, "rollout": policy()})).await;
    rollout_in(&admin, rollout, "complete").await;
    let path = format!("/api/v1/nodes/{}", agent.node_id);
    let until = systole_tests::clock::now_ms() + 3_600_000;
    let changed = admin.send(Method::PATCH, &path, &json!({"maintenance": {"until": until}})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    apply(&admin, "orders", json!({"config": "sources: {}\n", "rollout": policy()})).await;
    let polls = agent.polls();
    eventually_true("it has polled again", SOON, async || agent.polls() >= polls + 4).await;
    assert_eq!((agent.version("orders"), agent.starts("orders")), (Some(1), vec![1]));
    assert!(delivered(&agent, "orders").is_some());
    let changed = admin.send(Method::PATCH, &path, &json!({"maintenance": null})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    agent.wait_for_version("orders", Some(2)).await;
}
