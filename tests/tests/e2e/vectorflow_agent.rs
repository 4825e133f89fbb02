//! The agent under a VectorFlow server: a strict stand-in refuses whatever breaks the protocol.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use systole_tests::harness::binaries::binary;
use systole_tests::harness::truth::{Shown, assert_lines};
use systole_tests::harness::vectorflow_server::{ENROLL_TOKEN, Fault, NODE_TOKEN};
use systole_tests::harness::{
    AgentPipeline, SOON, StubVector, TestAgent, VectorFlowServer, eventually, eventually_true,
};
use systole_tests::stub::totals::Counts;
use tokio::process::Command;

const PIPELINE: &str = "orders";

fn settings() -> Vec<(&'static str, Value)> {
    vec![("cloud_labels", json!(false)), ("poll_interval", json!("1s"))]
}

fn agent_of(server: &VectorFlowServer, pipelines: &[AgentPipeline]) -> TestAgent {
    TestAgent::of(&server.url(), ENROLL_TOKEN, &settings(), pipelines)
}

async fn status_of(agent: &TestAgent) -> Option<Value> {
    let mut command = Command::new(binary("systole-agent"));
    let output = command.args(["status", "--json", "--data-dir"]).arg(agent.data_dir()).output().await.ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

/// Waits until the server's sums are what the stub has shown.
async fn sums_become(server: &VectorFlowServer, pipeline: &str, expected: Counts) {
    let deadline = tokio::time::Instant::now() + SOON;
    while server.sums(pipeline) != expected {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{pipeline}: the server has {:?}, shown was {expected:?}",
            server.sums(pipeline)
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn lines(server: &VectorFlowServer, pipeline: &str) -> Vec<Value> {
    server.lines(pipeline).into_iter().map(|line| json!({"line": line})).collect()
}

fn assert_no_violation(server: &VectorFlowServer) {
    assert!(server.violations().is_empty(), "{:?}", server.violations());
}

#[tokio::test]
async fn agent_breaks_no_rule_in_a_rough_run_and_everything_arrives() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let stub = |name: &str, flags: &[&str]| StubVector::new(directory.path(), name, flags);
    let orders = stub(PIPELINE, &["--rate", "200", "--log-rate", "20", "--errors-every", "7", "--discard-every", "5"]);
    let noisy = stub("noisy", &["--rate", "50", "--log-rate", "1"]);
    let removed = stub("removed", &["--rate", "50", "--log-rate", "5"]);
    let broken = stub("broken", &["--crash-after-ms", "1"]);
    let all = [(PIPELINE, &orders), ("noisy", &noisy), ("removed", &removed), ("broken", &broken)];
    let pipelines: Vec<_> = all.iter().map(|(id, stub)| AgentPipeline::supervised(id, stub)).collect();
    let mut agent = agent_of(&server, &pipelines);
    agent.run();
    server.wait_for(PIPELINE, "RUNNING", SOON).await;
    server.wait_for("broken", "CRASHED", SOON).await;
    eventually_true("events of the pipeline to be removed", SOON, async || server.sums("removed").events_in > 0).await;

    noisy.control("flood?lines=900").await;
    noisy.control("long-line?bytes=200000").await;
    orders.control("reset").await;
    agent.write_config(&[pipelines[0].clone(), pipelines[1].clone(), pipelines[3].clone()]);
    eventually_true("it is gone", SOON, async || server.pipeline("removed").is_null()).await;
    let first_life = orders.life().life;
    orders.control("crash?code=3&lines=700").await;
    orders.wait_for("it runs again", |totals| (totals.current()?.life != first_life).then_some(())).await;
    server.wait_for(PIPELINE, "RUNNING", SOON).await;
    noisy.control("hang").await;
    eventually_true("a failed scrape has the totals of before and no components", SOON, async || {
        let pipeline = server.pipeline("noisy");
        pipeline["status"] == "RUNNING" && pipeline["eventsIn"].is_u64() && pipeline["componentMetrics"].is_null()
    })
    .await;
    noisy.control("unhang").await;
    orders.pause_and_let_scrape().await;
    noisy.pause_and_let_scrape().await;
    sums_become(&server, PIPELINE, Shown::by(&orders).total()).await;
    sums_become(&server, "noisy", Shown::by(&noisy).total()).await;
    let source = &server.pipeline(PIPELINE)["componentMetrics"][0]["componentId"].clone();
    let received = server.received_events(PIPELINE, source.as_str().expect("it has a source"));
    assert!(received > 0, "{source}");
    agent.stop().await;

    for (id, stub) in [(PIPELINE, &orders), ("noisy", &noisy)] {
        eventually_true("the last line", SOON, async || {
            let said: u64 = stub.totals().lives.iter().map(|life| life.log_lines).sum();
            server.lines(id).iter().filter(|line| line.contains(" line=")).count() as u64 >= said
        })
        .await;
        assert_lines(id, &stub.totals(), &lines(&server, id));
    }
    let statuses: BTreeSet<String> = server
        .heartbeats()
        .iter()
        .flat_map(|heartbeat| heartbeat["pipelines"].as_array().cloned().unwrap_or_default())
        .map(|pipeline| pipeline["status"].to_string())
        .collect();
    assert!(statuses.contains("\"CRASHED\"") && statuses.contains("\"STOPPED\""), "{statuses:?}");
    assert_no_violation(&server);
    let host = &server.enrolled()[0];
    assert_eq!((server.enrolled().len(), &host["labels"]["vf.io/os"]), (1, &json!("linux")), "{host}");
}

#[tokio::test]
async fn totals_are_exact_after_outages_kills_and_stops() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let mut stub = StubVector::new(directory.path(), PIPELINE, &["--rate", "100"]);
    stub.start().await;
    let mut agent = agent_of(&server, &[AgentPipeline::watched(PIPELINE, &stub)]);
    agent.run();
    eventually_true("the first events", SOON, async || server.sums(PIPELINE).events_in > 0).await;

    let scrapes = async |more: usize| {
        let before = stub.scrapes().len();
        eventually_true("scrapes", SOON, async || stub.scrapes().len() >= before + more).await;
    };
    server.set_down(true);
    scrapes(4).await;
    agent.kill().await;
    agent.run();
    scrapes(3).await;
    let before = server.heartbeats().len();
    server.set_down(false);
    eventually_true("heartbeats again", SOON, async || server.heartbeats().len() > before + 1).await;
    agent.kill().await;
    agent.run();
    scrapes(2).await;
    agent.stop().await;
    agent.run();
    stub.pause_and_let_scrape().await;
    sums_become(&server, PIPELINE, Shown::since_first_scrape_by(&stub).total()).await;
    assert_eq!(server.enrolled().len(), 1);
    assert_no_violation(&server);
}

#[tokio::test]
async fn faults_of_the_server_and_of_proxies_change_no_sum_and_lose_no_line() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let stub = StubVector::new(directory.path(), PIPELINE, &["--rate", "100", "--log-rate", "20"]);
    let mut agent = agent_of(&server, &[AgentPipeline::supervised(PIPELINE, &stub)]);
    server.fail_next("enroll", &[Fault::Page(404), Fault::Status(500), Fault::Busy(1)]);
    agent.run();
    eventually_true("the first events", SOON, async || server.sums(PIPELINE).events_in > 0).await;
    let lost = [Fault::LostAnswer, Fault::LostAnswer];
    server.fail_next("heartbeat", &lost);
    server.fail_next("heartbeat", &[Fault::Status(503), Fault::Busy(1), Fault::Page(403), Fault::Page(413)]);
    server.fail_next("logs", &[Fault::Status(500), Fault::Busy(1), Fault::Page(403)]);
    eventually_true("all of them", SOON, async || server.faults_left() == 0).await;
    stub.pause_and_let_scrape().await;
    sums_become(&server, PIPELINE, Shown::by(&stub).total()).await;
    agent.stop().await;
    assert_lines(PIPELINE, &stub.totals(), &lines(&server, PIPELINE));
    assert_no_violation(&server);
}

#[tokio::test]
async fn lines_of_a_pipeline_that_the_server_does_not_know_cost_no_others() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let known = StubVector::new(directory.path(), "known", &["--log-rate", "10"]);
    let unknown = StubVector::new(directory.path(), "unknown", &["--log-rate", "10"]);
    server.forget_pipeline("unknown");
    let pipelines = [AgentPipeline::supervised("known", &known), AgentPipeline::supervised("unknown", &unknown)];
    let mut agent = agent_of(&server, &pipelines);
    agent.run();
    eventually_true("lines of the other", SOON, async || server.lines("known").len() > 60).await;
    assert!(server.lines("unknown").is_empty());
    server.know_all_pipelines();
    eventually_true("lines when the server knows it", SOON, async || !server.lines("unknown").is_empty()).await;
    agent.stop().await;
    assert_lines("known", &known.totals(), &lines(&server, "known"));
    assert_no_violation(&server);
}

#[tokio::test]
async fn state_of_a_pipeline_that_the_server_refuses_costs_no_others() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let stub = |name: &str| StubVector::new(directory.path(), name, &["--rate", "50"]);
    let (good, other, bad) = (stub("good"), stub("other"), stub("bad"));
    server.refuse_state_of("bad");
    let all = [("good", &good), ("other", &other), ("bad", &bad)];
    let mut agent = agent_of(&server, &all.map(|(id, stub)| AgentPipeline::supervised(id, stub)));
    agent.run();
    eventually_true("the others", SOON, async || {
        let ids: Vec<_> = ["good", "other", "bad"].map(|id| server.pipeline(id)["status"].clone()).into();
        ids[0] == "RUNNING" && ids[1] == "RUNNING" && ids[2].is_null() && server.sums("good").events_in > 0
    })
    .await;
    server.know_all_pipelines();
    eventually_true("it is tried again", SOON, async || server.sums("bad").events_in > 0).await;
    for (id, stub) in all {
        stub.pause_and_let_scrape().await;
        sums_become(&server, id, Shown::by(stub).total()).await;
    }
    assert_no_violation(&server);
}

#[tokio::test]
async fn line_that_is_too_long_for_the_server_is_dropped_alone() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    server.limit_logs(20_000);
    let stub = StubVector::new(directory.path(), PIPELINE, &["--log-rate", "10"]);
    let mut agent = agent_of(&server, &[AgentPipeline::supervised(PIPELINE, &stub)]);
    agent.run();
    server.wait_for(PIPELINE, "RUNNING", SOON).await;
    stub.control("long-line?bytes=40000").await;
    let after = server.lines(PIPELINE).len() + 30;
    eventually_true("lines behind it", SOON, async || server.lines(PIPELINE).len() > after).await;
    let status = status_of(&agent).await.expect("it runs");
    assert_eq!(status["health"]["lostLogLines"], 1, "{status}");
    agent.stop().await;
    assert_lines(PIPELINE, &stub.totals(), &lines(&server, PIPELINE));
    assert_no_violation(&server);
}

#[tokio::test]
async fn quota_of_nodes_ends_enrolment_and_pipelines_run() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    server.set_enrollment(402);
    let stub = StubVector::new(directory.path(), PIPELINE, &[]);
    let mut agent = agent_of(&server, &[AgentPipeline::supervised(PIPELINE, &stub)]);
    agent.run();
    stub.wait_for("it runs", |totals| totals.current()?.address).await;
    let status = eventually("the state is refused", SOON, async || {
        let status = status_of(&agent).await?;
        (status["collector"]["state"] == "refused").then_some(status)
    })
    .await;
    assert!(status["health"]["lastSendError"].as_str().is_some_and(|error| error.contains("402")), "{status}");
    server.set_enrollment(200);
    agent.stop().await;
    assert!(server.enrolled().is_empty(), "it does not ask again before a restart");
    agent.run();
    eventually_true("after a restart it does", SOON, async || !server.heartbeats().is_empty()).await;
}

#[tokio::test]
async fn node_whose_token_is_refused_enrols_again() {
    let server = VectorFlowServer::start().await;
    let mut agent = agent_of(&server, &[]);
    agent.run();
    eventually_true("a heartbeat", SOON, async || !server.heartbeats().is_empty()).await;
    server.set_token(&NODE_TOKEN.replace("fedcba", "abcdef"));
    eventually_true("a second enrolment", SOON, async || server.enrolled().len() == 2).await;
    let before = server.heartbeats().len();
    eventually_true("a heartbeat of the new token", SOON, async || server.heartbeats().len() > before).await;
    assert_no_violation(&server);
}

#[tokio::test]
async fn lines_do_not_wait_for_the_interval() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let stub = StubVector::new(directory.path(), PIPELINE, &["--log-rate", "5"]);
    let settings =
        [("cloud_labels", json!(false)), ("poll_interval", json!("200s")), ("log_flush_interval", json!("500ms"))];
    let mut agent =
        TestAgent::of(&server.url(), ENROLL_TOKEN, &settings, &[AgentPipeline::supervised(PIPELINE, &stub)]);
    agent.run();
    server.wait_for(PIPELINE, "RUNNING", SOON).await;
    let heartbeats = server.heartbeats().len();
    let before = server.lines(PIPELINE).len();
    eventually_true("lines", SOON, async || server.lines(PIPELINE).len() > before + 20).await;
    assert!(server.heartbeats().len() <= heartbeats + 1, "a heartbeat is not sent with lines alone");
    assert_no_violation(&server);
}
