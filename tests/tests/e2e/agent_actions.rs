//! Actions of operators, at the agent: restart, sample, tap.

use std::time::Duration;

use serde_json::{Value, json};
use systole_shared::action::{ActionRequest, MAX_TAP_EVENTS_PER_SECOND};
use systole_tests::harness::{AgentPipeline, StubVector, eventually, eventually_true};
use systole_tests::stub::totals::Totals;

use crate::agent_pipelines::{SOON, Scene};

/// Longest that a tap of these tests lives, which no test waits for.
const LONG_MS: u64 = 120_000;

fn tap(component: &str) -> ActionRequest {
    ActionRequest::Tap { component: component.to_owned(), duration_ms: LONG_MS }
}

fn sample(components: &[&str], limit: usize) -> ActionRequest {
    let components = components.iter().map(|&component| component.to_owned()).collect();
    ActionRequest::Sample { components, limit, duration_ms: 5_000 }
}

/// The tap processes of the pipeline's engine.
fn tap_processes(scene: &Scene) -> usize {
    let vector = scene.directory.path().join("vector").display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
    commands.filter(|command| command.starts_with(&vector) && command.contains("\0tap\0")).count()
}

#[tokio::test]
async fn restart_keeps_counts() {
    let scene = Scene::new().await;
    scene.run(scene.version("orders", 1, &["rate=20"])).await;
    let first = scene.pid("orders").unwrap();
    let restart = scene.collector.act("orders", ActionRequest::Restart);
    assert_eq!(scene.collector.last_output(restart, SOON).await.error, None);
    let totals = scene.directory.path().join("orders-totals.json");
    eventually_true("another process answers", SOON, async || {
        let lives = Totals::read(&totals).unwrap().unwrap().lives;
        lives.len() == 2 && lives[1].scrapes > 2 && scene.pid("orders").is_some_and(|pid| pid != first)
    })
    .await;
    eventually_true("reports have what both processes have shown", SOON, async || {
        let lives = Totals::read(&totals).unwrap().unwrap().lives;
        let shown: u64 = lives.iter().map(|life| life.exposed.events_in).sum();
        shown > 0 && scene.collector.events_in("orders") == shown
    })
    .await;
    assert_eq!(scene.collector.deployment("orders")["phase"], "healthy", "a restart is no new version");
    assert_eq!(scene.collector.pipeline("orders")["restarts"], 1);
    // The same action again, by the other channel, is not done again.
    let pid = scene.pid("orders");
    scene.collector.act_as(restart, "orders", ActionRequest::Restart);
    let unknown = scene.collector.act("bills", ActionRequest::Restart);
    let refused = scene.collector.last_output(unknown, SOON).await.error.unwrap();
    assert_eq!(refused, "this node has no pipeline \"bills\"");
    assert_eq!(scene.pid("orders"), pid);
}

#[tokio::test]
async fn watched_pipeline_is_not_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let mut stub = StubVector::new(directory.path(), "orders", &[]);
    stub.start().await;
    let scene = Scene::with(&[], &[AgentPipeline::watched("orders", &stub)]).await;
    eventually_true("it is reported", SOON, async || !scene.collector.pipeline("orders").is_null()).await;
    let restart = scene.collector.act("orders", ActionRequest::Restart);
    let error = scene.collector.last_output(restart, SOON).await.error.unwrap();
    assert!(error.contains("only watched"), "{error}");
    let sampled = scene.collector.act("orders", sample(&["out"], 1));
    let error = scene.collector.last_output(sampled, SOON).await.error.unwrap();
    assert!(error.contains("api_url"), "{error}");
}

#[tokio::test]
async fn sample_has_redacted_events_of_each_component() {
    let scene = Scene::with(&[("tap_redact", json!(["password", "*.token"]))], &[]).await;
    scene.run(scene.version("orders", 1, &["rate=50"])).await;
    let sampled = scene.collector.act("orders", sample(&["demo_in", "router"], 10));
    let output = scene.collector.last_output(sampled, SOON).await;
    assert_eq!((output.error.as_deref(), output.events.len()), (None, 10), "{output:?}");
    for component in ["demo_in", "router"] {
        assert!(output.events.iter().filter(|event| event.component_id == component).count() == 5, "{output:?}");
    }
    for event in &output.events {
        let event: Value = serde_json::from_str(&event.event).unwrap();
        assert_eq!(
            (&event["log"]["password"], &event["log"]["user"]["token"]),
            (&json!("[redacted]"), &json!("[redacted]"))
        );
        assert_eq!(event["log"]["user"]["name"], "alice");
    }
    let unknown = scene.collector.act("orders", sample(&["nosuch"], 10));
    let error = scene.collector.last_output(unknown, SOON).await.error.unwrap();
    assert_eq!(error, "the pipeline has no component `nosuch` with outputs");
    let pattern = scene.collector.act("orders", sample(&["*"], 10));
    assert!(scene.collector.last_output(pattern, SOON).await.error.unwrap().contains("no id of a component"));
    let many: Vec<String> = (0..17).map(|number| format!("c{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = scene.collector.act("orders", sample(&many, 10));
    assert!(scene.collector.last_output(refused, SOON).await.error.unwrap().contains("1 to 16 components"));
}

#[tokio::test]
async fn three_taps_stream_until_they_are_stopped_or_abandoned() {
    let scene = Scene::with(&[("tap_redact", json!(["password"]))], &[]).await;
    scene.run(scene.version("orders", 1, &["rate=30"])).await;
    let taps: Vec<_> =
        ["demo_in", "router", "demo_in"].map(|component| scene.collector.act("orders", tap(component))).into();
    for id in &taps {
        eventually("events come", SOON, async || {
            scene.collector.outputs(*id).iter().any(|output| !output.events.is_empty()).then_some(())
        })
        .await;
    }
    let fourth = scene.collector.act("orders", tap("demo_in"));
    let refused = scene.collector.last_output(fourth, SOON).await.error.unwrap();
    assert_eq!(refused, "3 taps run on this node already");
    assert_eq!(tap_processes(&scene), 3);
    assert!(!scene.collector.received().contains("hunter2"));
    // An operator ends one, the collector does not know another one any more, and the pipeline ends the third.
    scene.collector.act_as(taps[0], "orders", ActionRequest::StopTap);
    assert_eq!(scene.collector.last_output(taps[0], SOON).await.error, None);
    scene.collector.abandon(taps[1]);
    eventually_true("two of them have ended", SOON, async || tap_processes(&scene) == 1).await;
    scene.collector.want(&[]);
    let ended = scene.collector.last_output(taps[2], SOON).await.error.unwrap();
    assert_eq!(ended, "the pipeline's process ended");
    eventually_true("no process is left", SOON, async || tap_processes(&scene) == 0).await;
}

#[tokio::test]
async fn busy_tap_sends_no_more_than_its_rate() {
    let scene = Scene::new().await;
    scene.run(scene.version("orders", 1, &["rate=2000"])).await;
    let id = scene.collector.act("orders", ActionRequest::Tap { component: "demo_in".into(), duration_ms: 4_000 });
    let last = scene.collector.last_output(id, SOON).await;
    assert_eq!(last.error, None);
    let outputs = scene.collector.outputs(id);
    let events: usize = outputs.iter().map(|output| output.events.len()).sum();
    let dropped: u64 = outputs.iter().map(|output| output.dropped).sum();
    assert!(events <= 5 * MAX_TAP_EVENTS_PER_SECOND && events > MAX_TAP_EVENTS_PER_SECOND, "{events}");
    assert!(dropped > 0, "Vector sends more than the agent passes on");
}

#[tokio::test]
async fn tap_without_an_api_says_what_is_missing() {
    let scene = Scene::new().await;
    scene.run(scene.version("orders", 1, &[])).await;
    // Its process is gone, and with it the API.
    let path = scene.directory.path().join("metrics.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("address: 127.0.0.1:${SYSTOLE_API_PORT}", "other: 1")).unwrap();
    let restart = scene.collector.act("orders", ActionRequest::Restart);
    scene.collector.last_output(restart, SOON).await;
    let first = scene.pid("orders");
    eventually_true("another process", SOON, async || {
        let pipeline = scene.collector.pipeline("orders");
        pipeline["status"] == "RUNNING" && pipeline["restarts"] == 1
    })
    .await;
    assert!(first.is_some());
    let id = scene.collector.act("orders", tap("demo_in"));
    let error = scene.collector.last_output(id, Duration::from_secs(30)).await.error.unwrap();
    assert!(error.starts_with("the API of the pipeline does not answer; enable it"), "{error}");
}
