//! The reason of a state says what a person needs: the operator's file, the engine's own words, and the
//! process that continues.

use serde_json::Value;
use systole_tests::harness::{AgentPipeline, ApiClient, SOON, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";

async fn wait_for(viewer: &ApiClient, status: &str, words: &str) -> Value {
    let mut last = Value::Null;
    eventually_true(&format!("{status} with `{words}`"), SOON, async || {
        let answer = viewer.get(&format!("/api/v1/pipelines/{PIPELINE}")).await;
        last = if answer.status == 200 { answer.json::<Value>()["nodes"][0].clone() } else { Value::Null };
        last["status"] == status && last["reason"].as_str().unwrap_or_default().contains(words)
    })
    .await;
    last
}

#[tokio::test]
async fn reason_of_a_refused_configuration_names_file_message_and_process() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let viewer = collector.viewer().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    wait_for(&viewer, "RUNNING", "").await;
    let file = stub.config_path().display();
    // Each refusal is reported, not only the first one.
    for variant in ["one", "two", "three", "four", "five"] {
        stub.write_config(&format!("# stub: invalid={variant}"));
        let state = wait_for(&viewer, "DEGRADED", variant).await;
        let reason = state["reason"].as_str().unwrap();
        let expected = format!(
            "configuration {file} is not used: vector refuses it (exit code 78): {file}: unknown variant `{variant}` \
             in `sources.demo_in`; process {} continues, running since 2",
            stub.life().pid
        );
        assert!(reason.starts_with(&expected) && reason.ends_with('Z'), "{reason}\n{expected}");
    }
    assert_eq!(stub.totals().lives.len(), 1);
}

#[tokio::test]
async fn reason_of_a_crash_has_the_last_error_line() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let viewer = collector.viewer().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let url = stub.metrics_url();
    let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
    let _taken = std::net::TcpListener::bind(address).unwrap();
    // Without an endpoint: the agent itself would wait for it to be free.
    let pipeline = AgentPipeline { metrics_url: None, ..AgentPipeline::supervised(PIPELINE, &stub) };
    let _agent = TestAgent::start(&collector, None, &[pipeline]).await;
    let state = wait_for(&viewer, "CRASHED", "Address already in use").await;
    let reason = state["reason"].as_str().unwrap();
    assert!(reason.starts_with("exit code 1: ERROR vector::topology: Building HTTP server failed."), "{reason}");
    assert!(!reason.contains('\n') && reason.len() < 400, "{reason}");
}
