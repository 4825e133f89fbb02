//! Samples and live taps that a VectorFlow server asks for.

use std::time::Duration;

use serde_json::{Value, json};
use systole_shared::vectorflow::{PushEvent, SampleRequest};
use systole_tests::harness::{AgentSetup, SOON, eventually, eventually_true};

use crate::vectorflow_scene::{QUICK_MS, Scene};

fn sample(id: &str, components: &[&str], limit: u64) -> SampleRequest {
    SampleRequest {
        request_id: id.to_owned(),
        pipeline_id: "cma".to_owned(),
        component_keys: components.iter().map(|&component| component.to_owned()).collect(),
        limit,
    }
}

fn tap(id: &str, component: &str) -> PushEvent {
    PushEvent::TapStart { request_id: id.to_owned(), pipeline_id: "cma".to_owned(), component_id: component.to_owned() }
}

/// The results of a sample.
async fn results(scene: &Scene, id: &str) -> Vec<Value> {
    eventually(&format!("the sample {id}"), SOON, async || {
        let bodies = scene.server.answers("samples");
        bodies.iter().find(|body| body["results"][0]["requestId"] == id).map(|body| body["results"].as_array().cloned())
    })
    .await
    .unwrap()
}

/// The messages of a tap so far.
fn messages(scene: &Scene, id: &str) -> Vec<Value> {
    scene.server.answers("tap-events").into_iter().filter(|body| body["requestId"] == id).collect()
}

async fn reason_of(scene: &Scene, id: &str) -> String {
    eventually(&format!("the end of the tap {id}"), SOON, async || {
        let end = messages(scene, id).into_iter().find(|message| message["status"] == "stopped")?;
        end["reason"].as_str().map(str::to_owned)
    })
    .await
}

async fn scene_of_one_pipeline(variables: Vec<(&'static str, String)>) -> Scene {
    let mut scene = Scene::prepare(&[("tap_redact", json!(["password"]))]).await;
    scene.agent.set_variables(variables);
    scene.agent.run();
    scene.push_is_open().await;
    scene.run(&[scene.version("cma", 1, &["rate=30"])]).await;
    scene
}

#[tokio::test]
async fn sample_has_events_and_fields_of_each_component() {
    let scene = scene_of_one_pipeline(AgentSetup::default().variables).await;
    scene.server.push(PushEvent::SampleRequest(sample("s1", &["nosuch", "demo_in", "router"], 5)));
    let found = results(&scene, "s1").await;
    let keys: Vec<_> = found.iter().map(|result| result["componentKey"].as_str().unwrap()).collect();
    assert_eq!(keys[..2], ["demo_in", "router"], "those with events are first: {found:?}");
    for result in &found[..2] {
        assert_eq!(result["events"].as_array().unwrap().len(), 5);
        assert_eq!(result["events"][0]["log"]["password"], "[redacted]");
        let fields = result["schema"].as_array().unwrap();
        let paths: Vec<_> = fields.iter().map(|field| field["path"].as_str().unwrap()).collect();
        assert!(paths.is_sorted() && paths.contains(&".log.user.name"), "{paths:?}");
        let message = fields.iter().find(|field| field["path"] == ".log.message").unwrap();
        assert!(message["type"] == "string" && message["sample"].as_str().unwrap().starts_with("event "), "{message}");
    }
    assert!(found[2..].iter().all(|result| result["error"].is_string() && result["events"].is_null()), "{found:?}");

    // With the configuration, at each poll until it is answered: it is done once.
    scene.server.set_config(json!({
        "pipelines": [scene.version("cma", 1, &["rate=30"])], "pollIntervalMs": QUICK_MS, "secretBackend": "BUILTIN",
        "sampleRequests": [sample("s2", &["demo_in"], 1)],
    }));
    let polls = scene.server.polls();
    assert_eq!(results(&scene, "s2").await.len(), 1);
    eventually_true("two more polls", SOON, async || scene.server.polls() >= polls + 3).await;
    let answers = scene.server.answers("samples");
    assert_eq!(answers.iter().filter(|body| body["results"][0]["requestId"] == "s2").count(), 1);

    let many: Vec<String> = (0..17).map(|number| format!("c{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    scene.server.push(PushEvent::SampleRequest(sample("s3", &many, 1)));
    let refused = results(&scene, "s3").await;
    assert!(refused.len() == 17 && refused[0]["error"].as_str().unwrap().contains("1 to 16 components"), "{refused:?}");
    assert!(!json!(scene.server.answers("samples")).to_string().contains("hunter2"));
    scene.assert_no_violation();
}

#[tokio::test]
async fn three_taps_stream_in_batches_until_they_are_stopped() {
    let scene = scene_of_one_pipeline(AgentSetup::default().variables).await;
    for (id, component) in [("t1", "demo_in"), ("t2", "router"), ("t3", "demo_in")] {
        scene.server.push(tap(id, component));
    }
    for id in ["t1", "t2", "t3"] {
        eventually_true(&format!("events of {id}"), SOON, async || {
            messages(&scene, id).iter().any(|message| message["events"].as_array().is_some_and(|all| all.len() > 1))
        })
        .await;
    }
    scene.server.push(tap("t4", "demo_in"));
    assert_eq!(reason_of(&scene, "t4").await, "3 taps run on this node already");
    scene.server.push(tap("t1", "demo_in"));
    let event = &messages(&scene, "t2")[0];
    assert_eq!((&event["pipelineId"], &event["componentId"]), (&json!("cma"), &json!("router")));
    assert_eq!(event["events"][0]["log"]["password"], "[redacted]");
    scene.server.push(PushEvent::TapStop { request_id: "t1".into() });
    assert_eq!(reason_of(&scene, "t1").await, "stopped");
    // The pipeline ends the others.
    scene.want_now(&[]);
    for id in ["t2", "t3"] {
        assert_eq!(reason_of(&scene, id).await, "the pipeline's process ended");
    }
    let stops = messages(&scene, "t1").into_iter().filter(|message| message["status"] == "stopped").count();
    assert_eq!(stops, 1);
    eventually_true("it is gone", SOON, async || scene.server.pipeline("cma").is_null()).await;
    scene.server.push(tap("t5", "demo_in"));
    assert_eq!(reason_of(&scene, "t5").await, "this node has no pipeline \"cma\"");
    scene.assert_no_violation();
}

#[tokio::test]
async fn busy_taps_stay_below_the_limit_of_requests() {
    let scene = scene_of_one_pipeline(AgentSetup::default().variables).await;
    scene.run(&[scene.version("cma", 2, &["rate=2000"])]).await;
    for id in ["t1", "t2", "t3"] {
        scene.server.push(tap(id, "demo_in"));
    }
    eventually_true("each tap has sent a lot", SOON, async || {
        ["t1", "t2", "t3"].iter().all(|id| messages(&scene, id).len() >= 8)
    })
    .await;
    scene.assert_no_violation();
}

#[tokio::test]
async fn api_of_an_older_vector_is_graphql() {
    let scene = scene_of_one_pipeline(vec![("STUB_VERSION", "0.54.0".to_owned())]).await;
    scene.server.push(PushEvent::SampleRequest(sample("s1", &["demo_in"], 1)));
    let found = results(&scene, "s1").await;
    assert_eq!(found[0]["error"], Value::Null, "{found:?}");
    scene.server.push(tap("t1", "demo_in"));
    eventually_true("events", Duration::from_secs(120), async || !messages(&scene, "t1").is_empty()).await;
    assert!(messages(&scene, "t1")[0]["events"].is_array());
}
