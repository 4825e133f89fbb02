//! Delivery to targets that fail.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;
use systole_tests::harness::{AlertSink, Answer, DatabaseKind, SOON, eventually, eventually_true};

use super::alert_scene::{Scene, report_state, told};

on_each_database! {
    target_that_is_down_gets_everything_once_later,
}

async fn target_that_is_down_gets_everything_once_later(database: DatabaseKind) {
    let (down, up) = (AlertSink::start().await, AlertSink::start().await);
    let notify = format!(
        "notify = [{{ name = 'down', url = 'webhook+http://{}/hook' }}, {{ name = 'up', url = 'webhook+http://{}/secret' }}]\n",
        down.address(),
        up.address()
    );
    let mut scene = Scene::start_with_targets(database, &notify).await;
    down.answer_with(503);
    let mut node = scene.node("edge-1").await;
    scene.silence("rule=node-unreachable").await;
    let mut expected = Vec::new();
    for (status, state) in [("CRASH_LOOP", "firing"), ("RUNNING", "resolved"), ("CRASH_LOOP", "firing")] {
        report_state(&mut node, "orders", status).await;
        expected.push(format!("{state} pipeline-crash-loop"));
        let of_pipeline = |sink: &AlertSink| {
            let all = sink.messages().iter().map(told).collect::<Vec<_>>();
            all.into_iter().filter(|told| told.contains("crash-loop")).collect::<Vec<_>>()
        };
        eventually_true("the other target gets it", SOON, async || {
            report_state(&mut node, "orders", status).await;
            of_pipeline(&up).len() >= expected.len()
        })
        .await;
        assert_eq!(of_pipeline(&up), expected);
    }
    // That it fails is an alert to the other one, and not to itself.
    eventually_true("the failure is reported", SOON, async || {
        up.messages().iter().any(|message| told(message).contains("target-failing"))
    })
    .await;
    let targets = scene.operator.list("/api/v1/alerts/targets").await;
    let failing = targets.iter().find(|target| target["name"] == "down").unwrap();
    assert!(failing["lastError"].as_str().unwrap().contains("503") && !failing["failingSince"].is_null(), "{failing}");
    assert!(failing["waiting"].as_i64().unwrap() >= 3 && failing["failed"].as_i64().unwrap() >= 1, "{failing}");
    assert!(!targets.iter().any(|target| target.to_string().contains("secret")), "{targets:?}");
    let metrics = String::from_utf8(scene.operator.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("systole_notifications_failed_total{target=\"webhook\"}"), "{metrics}");
    assert!(
        metrics.contains("systole_alerts_firing{rule=\"pipeline-crash-loop\",severity=\"critical\"} 1"),
        "{metrics}"
    );

    assert!(down.sent().is_empty());
    down.answer_with(200);
    // A restart begins with the shortest pause again.
    scene.kill_and_run().await;
    let of_loop = |sink: &AlertSink| {
        let messages = sink.messages();
        messages.iter().map(told).filter(|told| told.contains("crash-loop")).collect::<Vec<_>>()
    };
    eventually_true("everything came", SOON, async || {
        report_state(&mut node, "orders", "CRASH_LOOP").await;
        of_loop(&down).len() >= expected.len()
    })
    .await;
    assert_eq!(of_loop(&down), expected);
    assert!(!down.messages().iter().any(|message| told(message) == "firing target-failing"), "{:?}", down.messages());
    eventually("the target is well", SOON, async || {
        let targets = scene.operator.list("/api/v1/alerts/targets").await;
        targets.into_iter().find(|target| target["name"] == "down" && target["failingSince"].is_null())
    })
    .await;
    scene.until_clear("target-failing").await;
}

#[tokio::test]
async fn test_messages_say_whether_a_target_works() {
    let scene = Scene::start(DatabaseKind::Sqlite).await;
    let ok = scene.collector.cli(&["alert", "test", "webhook:127.0.0.1"]).await;
    assert_eq!(ok, "webhook:127.0.0.1: ok\n");
    let of_rule = scene.collector.cli(&["alert", "test", "errors"]).await;
    assert_eq!(of_rule, "webhook:127.0.0.1: ok\n");
    let messages = scene.sink.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["commonAnnotations"]["summary"], "[TEST] this target works");
    assert!(messages[1]["commonAnnotations"]["description"].as_str().unwrap().contains("errors / events_in > 0.01"));
    scene.sink.answer_with(404);
    let failed = scene.collector.try_cli(&["alert", "test", "webhook:127.0.0.1"]).await;
    assert!(!failed.status.success());
    assert!(String::from_utf8_lossy(&failed.stdout).contains("it answered 404"), "{failed:?}");
    let missing = Answer::of(scene.operator.request(Method::POST, "/api/v1/alerts/targets/nothing/test")).await;
    missing.problem(404);
    let listed = scene.collector.cli(&["alert", "rules"]).await;
    assert!(listed.contains("node-unreachable") && listed.contains("errors / events_in > 0.01 over 5m"), "{listed}");
    assert_eq!(scene.collector.cli(&["alert", "list"]).await, "no alert fires or is pending\n");
    assert!(scene.collector.cli(&["alert", "targets"]).await.contains("webhook:127.0.0.1"));
    let items: Value = serde_json::from_str(&scene.collector.cli(&["alert", "rules", "--json"]).await).unwrap();
    assert!(items.as_array().unwrap().iter().all(|rule| rule["builtin"] == true));
}

#[tokio::test]
async fn wrong_settings_of_alerts_are_reported_all_at_once() {
    let scene = Scene::start(DatabaseKind::Sqlite).await;
    let bad = "notify = ['gopher://x', 'mailto:ops@example.org']\nnotify_allow = 'everywhere'\nalert_repeat_every = '1s'\n\
        [alerts.errors]\nexpr = 'errors /'\nfor = 'soon'\n[[alerts.rules]]\nname = 'x'\non = 'rate'\n";
    let file = scene.collector.directory().join("bad.toml");
    std::fs::write(&file, bad).unwrap();
    let output = scene.collector.try_cli(&["check-config", "--config", path(&file)]).await;
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    for place in [
        "notify[0]",
        "smtp_url",
        "notify_allow",
        "alert_repeat_every",
        "alerts.errors.expr",
        "alerts.errors.for",
        "alerts.rules.x.expr",
    ] {
        assert!(text.contains(place), "{place} is not in {text}");
    }
    let good = scene.collector.cli(&["check-config", "--config", path(scene.config())]).await;
    assert!(good.contains("# notify: webhook:127.0.0.1") && good.contains("# alert node-unreachable:"), "{good}");
    assert!(!good.contains("/hook"), "an address is a secret: {good}");
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}
