//! Which alerts become messages, and which do not.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_tests::clock;
use systole_tests::harness::{Answer, DatabaseKind, NodeClient, SOON, eventually, eventually_true};

use super::alert_scene::{Scene, report_state};

on_each_database! {
    many_silent_nodes_are_one_message_and_one_recovery,
    alert_is_an_event_of_the_feed_and_in_the_history,
    silence_silences_and_its_end_reports_what_still_fires,
    restart_sends_nothing,
    node_that_is_down_inhibits_its_pipelines_and_maintenance_is_silent,
}

/// Nodes that fall silent together.
const NODES: usize = 300;

async fn many_silent_nodes_are_one_message_and_one_recovery(database: DatabaseKind) {
    let scene = Scene::start_with_settings(database, "").await;
    // All of them fall silent within seconds of each other on a busy machine.
    let text = std::fs::read_to_string(scene.config()).unwrap().replace("wait = '0s'", "wait = '10s'");
    std::fs::write(scene.config(), text).unwrap();
    let mut scene = scene;
    scene.kill_and_run().await;
    let token = scene.collector.create_token("enroll", None).await;
    let client = scene.collector.client();
    let mut nodes = Vec::new();
    for number in 0..NODES {
        nodes.push(NodeClient::enroll_with(&client, token.token.reveal(), &format!("edge-{number:03}")).await);
    }
    // Until each has reported, none may be silent for long: then all are at once.
    let mut tasks = Vec::new();
    for mut node in nodes {
        tasks.push(tokio::spawn(async move {
            report_state(&mut node, "orders", "RUNNING").await;
            node
        }));
    }
    let mut nodes = Vec::new();
    for task in tasks {
        nodes.push(task.await.unwrap());
    }
    scene.until_firing("node-unreachable", NODES).await;
    let told = scene.until_told(1).await;
    assert_eq!(told, ["firing node-unreachable"]);
    let message = scene.sink.messages().remove(0);
    let summary = message["commonAnnotations"]["summary"].as_str().unwrap();
    assert!(summary.contains(&format!("{NODES} of {NODES} nodes UNREACHABLE")), "{summary}");
    assert_eq!((message["alerts"].as_array().unwrap().len(), &message["truncatedAlerts"]), (100, &json!(NODES - 100)));

    // They report again, all the time, until the last alert has ended.
    let stop = tokio_token();
    let mut tasks = Vec::new();
    for mut node in nodes {
        let stop = stop.clone();
        tasks.push(tokio::spawn(async move {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                report_state(&mut node, "orders", "RUNNING").await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }));
    }
    scene.until_clear("node-unreachable").await;
    let told = scene.until_told(2).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(told[..2], ["firing node-unreachable", "resolved node-unreachable"]);
}

fn tokio_token() -> std::sync::Arc<std::sync::atomic::AtomicBool> {
    std::sync::Arc::default()
}

async fn alert_is_an_event_of_the_feed_and_in_the_history(database: DatabaseKind) {
    let mut scene = Scene::start(database).await;
    let mut node = scene.node("edge-1").await;
    let feed = scene.collector.feed("types=alert").await;
    report_state(&mut node, "orders", "CRASH_LOOP").await;
    scene.until_firing("pipeline-crash-loop", 1).await;
    report_state(&mut node, "orders", "RUNNING").await;
    scene.until_clear("pipeline-crash-loop").await;
    let own = || {
        let events = feed.events_of("alert").into_iter().filter(|event| event.data["rule"] == "pipeline-crash-loop");
        events.collect::<Vec<_>>()
    };
    eventually_true("both events", SOON, async || own().len() >= 2).await;
    let states: Vec<_> = own().iter().map(|event| event.data["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["firing", "resolved"]);
    let fired = own().remove(0);
    assert_eq!((&fired.data["subject"], &fired.data["severity"]), (&json!("edge-1/orders"), &json!("critical")));
    assert_eq!(fired.data["nodeId"], node.id.to_string());
    assert_eq!(fired.data["pipelineId"], "orders");
    assert_eq!(scene.history("pipeline-crash-loop").await, ["firing", "resolved"]);
    // A subscriber that was away gets them by a replay.
    let id = fired.id.unwrap().to_string();
    let viewer = scene.collector.viewer().await;
    scene.collector.kill().await;
    scene.collector.run().await;
    let resumed = systole_tests::harness::Feed::open_after(&viewer, "types=alert", Some(&id)).await;
    let replayed = eventually("the replay", SOON, async || {
        resumed.events_of("alert").into_iter().find(|event| event.data["rule"] == "pipeline-crash-loop")
    })
    .await;
    assert_eq!(replayed.data["state"], "resolved");
}

async fn silence_silences_and_its_end_reports_what_still_fires(database: DatabaseKind) {
    let scene = Scene::start(database).await;
    let (mut web, mut db) = (scene.node("web-1").await, scene.node("db-1").await);
    let silence = scene.silence("node=web-*").await;
    report_state(&mut web, "orders", "CRASH_LOOP").await;
    let silenced = scene.until_firing("pipeline-crash-loop", 1).await;
    assert_eq!((&silenced[0]["muted"], &silenced[0]["silenceId"]), (&json!("silence"), &json!(silence)));
    report_state(&mut db, "orders", "CRASH_LOOP").await;
    scene.until_told(1).await;
    let first = scene.sink.messages().remove(0);
    assert_eq!(first["alerts"].as_array().unwrap().len(), 1, "{first}");
    assert_eq!(first["alerts"][0]["labels"]["node"], "db-1");
    scene.end_silence(silence).await;
    scene.until_told(2).await;
    let second = scene.sink.messages().remove(1);
    let nodes: Vec<_> =
        second["alerts"].as_array().unwrap().iter().map(|alert| alert["labels"]["node"].clone()).collect();
    assert!(nodes.contains(&json!("web-1")), "{second}");

    let listed = scene.collector.cli(&["silence", "list"]).await;
    assert_eq!(listed, "nothing is silenced\n");
    let made = scene.collector.cli(&["silence", "add", "rule=errors", "site!=lab", "30m", "new", "kernel"]).await;
    assert!(made.starts_with("silence "), "{made}");
    let listed = scene.collector.cli(&["silence", "list"]).await;
    assert!(listed.contains("rule=errors site!=lab") && listed.contains("new kernel"), "{listed}");
    for (body, place) in [
        (json!({"matchers": [], "duration": "1h"}), "matchers"),
        (json!({"matchers": ["node"], "duration": "1h"}), "matchers"),
        (json!({"matchers": ["node=x"]}), "duration"),
        (json!({"matchers": ["node=x"], "endsAt": clock::now_ms() - 1}), "endsAt"),
    ] {
        let request = scene.operator.request(Method::POST, "/api/v1/silences");
        let answer = Answer::of(request.header("content-type", "application/json").body(body.to_string())).await;
        let problem = answer.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(place), "{body}: {problem}");
    }
    let viewer = scene.collector.create_token("viewer", None).await;
    let viewer = scene.collector.client().with_token(viewer.token.reveal());
    let body = json!({"matchers": ["node=x"], "duration": "1h"}).to_string();
    let request = viewer.request(Method::POST, "/api/v1/silences").header("content-type", "application/json");
    Answer::of(request.body(body)).await.problem(403);
}

async fn restart_sends_nothing(database: DatabaseKind) {
    let mut scene = Scene::start(database).await;
    let mut node = scene.node("edge-1").await;
    report_state(&mut node, "orders", "CRASH_LOOP").await;
    scene.until_firing("pipeline-crash-loop", 1).await;
    scene.until_told(1).await;
    for life in 0..3 {
        if life == 1 {
            scene.collector.stop().await;
            scene.collector.run().await;
        } else {
            scene.kill_and_run().await;
        }
        // The node is silent meanwhile; it may become UNREACHABLE, which is no restart's fault.
        report_state(&mut node, "orders", "CRASH_LOOP").await;
        scene.until_firing("pipeline-crash-loop", 1).await;
    }
    // What comes after shows that nothing of before is still on its way.
    let mut other = scene.node("edge-2").await;
    report_state(&mut other, "billing", "CRASH_LOOP").await;
    scene.until_firing("pipeline-crash-loop", 2).await;
    let is_of_loop = |told: &&String| told.contains("pipeline-crash-loop");
    eventually_true("a second message", SOON, async || scene.told().iter().filter(is_of_loop).count() >= 2).await;
    assert_eq!(scene.told().iter().filter(is_of_loop).count(), 2, "{:?}", scene.told());
    assert_eq!(scene.history("pipeline-crash-loop").await, ["firing", "firing"]);
}

async fn node_that_is_down_inhibits_its_pipelines_and_maintenance_is_silent(database: DatabaseKind) {
    let scene = Scene::start(database).await;
    let admin = scene.collector.create_token("admin", None).await;
    let admin = scene.collector.client().with_token(admin.token.reveal());
    let mut node = scene.node("edge-1").await;
    let id = scene.silence("rule=pipeline-crash-loop").await;
    report_state(&mut node, "orders", "CRASH_LOOP").await;
    scene.until_firing("pipeline-crash-loop", 1).await;
    scene.until_firing("node-unreachable", 1).await;
    scene.end_silence(id).await;
    let inhibited = eventually("the pipeline is muted by its node", SOON, async || {
        scene.active("pipeline-crash-loop").await.into_iter().find(|alert| alert["muted"] == "node_down")
    })
    .await;
    assert_eq!(inhibited["state"], "firing");
    scene.until_told(1).await;
    assert_eq!(scene.told(), ["firing node-unreachable"]);

    // A node in maintenance is not reported, and not the end of what was not reported.
    let mut worked_on = scene.node("edge-2").await;
    let body = json!({"maintenance": {"until": clock::now_ms() + 3_600_000, "note": null}}).to_string();
    let path = format!("/api/v1/nodes/{}", worked_on.id);
    let request = admin.request(Method::PATCH, &path).header("content-type", "application/json");
    assert_eq!(Answer::of(request.body(body)).await.status, 200);
    report_state(&mut worked_on, "billing", "CRASH_LOOP").await;
    let silent = |alerts: &[Value]| alerts.iter().all(|alert| alert["nodeName"] != "edge-2");
    eventually_true("it is UNREACHABLE", SOON, async || {
        let node = scene.operator.get_json(&path).await;
        node["status"] == "UNREACHABLE"
    })
    .await;
    assert!(silent(&scene.active("node-unreachable").await) && silent(&scene.active("pipeline-crash-loop").await));
    assert_eq!(scene.told(), ["firing node-unreachable"]);
}
