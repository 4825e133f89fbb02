//! The connections of components, from the engine's configuration to the collector's graph.

use std::time::Duration;

use serde_json::{Value, json};
use systole_tests::harness::{AgentPipeline, StubVector, TestAgent, TestCollector, eventually};

const PIPELINE: &str = "orders";
/// A start, a connection and a report.
const SOON: Duration = systole_tests::harness::SOON;

const FIRST: &str = "sources:\n  in_a: {type: demo_logs}\n  in_b: {type: demo_logs}\ntransforms:\n  split: {type: route, inputs: [\"in_*\"], route: {ok: .ok}}\nsinks:\n  out: {type: blackhole, inputs: [split.ok]}\n";

const SECOND: &str = "sources:\n  in_a: {type: demo_logs}\nsinks:\n  out: {type: blackhole, inputs: [in_a]}\n";

async fn graph(collector: &mut TestCollector, what: &str, edges: usize) -> Value {
    let viewer = collector.viewer().await;
    eventually(what, SOON, async || {
        let answer = viewer.get(&format!("/api/v1/pipelines/{PIPELINE}/graph")).await;
        let graph: Value = (answer.status == 200).then(|| answer.json())?;
        (graph["edges"].as_array()?.len() == edges).then_some(graph)
    })
    .await
}

fn edge_list(graph: &Value) -> Vec<Value> {
    let all = graph["edges"].as_array().unwrap().iter();
    all.map(|edge| json!([edge["from"], edge["output"], edge["to"]])).collect()
}

#[tokio::test]
async fn graph_follows_the_configuration_and_outlives_the_agent() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let config = collector.directory().join("orders.yaml");
    std::fs::write(&config, FIRST).unwrap();
    let mut command = stub.command();
    let named = command.iter().position(|arg| arg == "--config").expect("the stub has a configuration");
    command[named + 1] = config.display().to_string();
    let pipeline = AgentPipeline { command: Some(command), ..AgentPipeline::supervised(PIPELINE, &stub) };
    let mut agent = TestAgent::start(&collector, None, &[pipeline]).await;

    let first = graph(&mut collector, "the graph of the first configuration", 3).await;
    let expected = [json!(["in_a", null, "split"]), json!(["in_b", null, "split"]), json!(["split", "ok", "out"])];
    assert_eq!(edge_list(&first), expected, "{first}");
    let split = first["components"].as_array().unwrap().iter().find(|one| one["componentId"] == "split").unwrap();
    assert_eq!(
        (split["kind"].as_str(), split["componentType"].as_str()),
        (Some("transform"), Some("route")),
        "{split}"
    );

    std::fs::write(&config, SECOND).unwrap();
    let second = graph(&mut collector, "the graph of the second configuration", 1).await;
    assert_eq!(edge_list(&second), [json!(["in_a", null, "out"])]);
    assert_ne!(first["checksum"], second["checksum"]);

    agent.stop().await;
    let kept = graph(&mut collector, "the graph without an agent", 1).await;
    assert_eq!(kept["checksum"], second["checksum"]);
}
