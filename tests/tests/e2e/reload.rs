//! Configurations change while pipelines run: valid ones, invalid ones, and valid ones that crash.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use systole_tests::harness::feed::Feed;
use systole_tests::harness::{AgentPipeline, AgentSetup, SOON, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";
/// How long a revision must stay up to be one to go back to.
const TRIAL: Duration = Duration::from_secs(30);

/// A pipeline whose configuration file is a shell script; the shell validates it.
fn scripted(stub: &StubVector, script: &Path) -> AgentPipeline {
    AgentPipeline { command: None, ..AgentPipeline::watched(PIPELINE, stub) }
        .with("command", json!(["sh", "{config}"]))
        .with("config_file", script.to_string_lossy().as_ref())
        .with("validate", json!(["sh", "-n", "{config}"]))
}

fn script_of(stub: &StubVector) -> String {
    format!("exec {}\n", stub.command().join(" "))
}

fn checksum_of(pipeline: &serde_json::Value) -> Option<String> {
    pipeline["nodes"][0]["configChecksum"].as_str().map(str::to_owned)
}

async fn wait_for(feed: &mut Feed, status: &str, limit: Duration) -> serde_json::Value {
    feed.wait_for(status, limit, |event| event.is_change(Some(PIPELINE), status)).await.data
}

struct Scene {
    collector: TestCollector,
    stub: StubVector,
    script: PathBuf,
    agent: TestAgent,
    feed: Feed,
}

/// A pipeline that runs as its script says.
async fn begin() -> Scene {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--rate", "50"]);
    let script = collector.directory().join("orders.sh");
    std::fs::write(&script, script_of(&stub)).expect("the script is written");
    let mut feed = collector.feed("").await;
    let agent = TestAgent::start(&collector, None, &[scripted(&stub, &script)]).await;
    wait_for(&mut feed, "RUNNING", SOON).await;
    Scene { collector, stub, script, agent, feed }
}

#[tokio::test]
async fn refused_configuration_does_not_stop_the_pipeline() {
    let Scene { mut collector, stub, script, agent: _agent, mut feed } = begin().await;
    std::fs::write(&script, "if then nonsense").unwrap();
    let degraded = wait_for(&mut feed, "DEGRADED", SOON).await;
    let reason = degraded["reason"].as_str().unwrap();
    assert!(reason.contains("sh refuses it") && reason.to_lowercase().contains("syntax error"), "{reason}");

    std::fs::write(&script, format!("# better\n{}", script_of(&stub))).unwrap();
    feed.wait_for("the better one", SOON, |event| {
        event.is_change(Some(PIPELINE), "RUNNING") && stub.totals().lives.len() == 2
    })
    .await;
    let expected = stub.pause_and_let_scrape().await;
    assert_eq!(expected.lives.len(), 2, "the refused one never ran, the better one took over from the first");
    eventually_true("the minutes sum up", SOON, async || collector.minute_sums(PIPELINE).await == expected.total).await;
}

#[tokio::test]
async fn crashing_configuration_is_rolled_back_within_a_minute() {
    let Scene { mut collector, stub, script, mut agent, mut feed } = begin().await;
    let viewer = collector.viewer().await;
    let good = agent.data_dir().join("pipelines").join("orders.good.sh");
    eventually_true("the first one has stayed up", TRIAL + SOON, async || good.is_file()).await;
    let first = checksum_of(&viewer.get_json("/api/v1/pipelines/orders").await);

    std::fs::write(&script, "sleep 1; exit 3").unwrap();
    let crashed = wait_for(&mut feed, "CRASHED", SOON).await;
    assert_eq!(crashed["reason"], "exit code 3");
    let back = wait_for(&mut feed, "DEGRADED", SOON).await;
    let reason = back["reason"].as_str().unwrap();
    assert!(reason.contains("did not stay up for 30 s (exit code 3); back on"), "{reason}");
    assert_eq!(stub.totals().lives.len(), 2);
    assert_eq!(checksum_of(&viewer.get_json("/api/v1/pipelines/orders").await), first);

    // The same after a restart of the agent: the new one is tried, and taken back.
    is_scraped(&stub).await;
    agent.stop().await;
    agent.run();
    stub.wait_for("the good one runs again", |totals| (totals.lives.len() == 3).then_some(())).await;
    feed.wait_until("it is taken for running", SOON, |events| {
        (events.iter().filter(|event| event.is_change(Some(PIPELINE), "DEGRADED")).count() == 2).then_some(())
    })
    .await;
    // When validation fails, the good revision runs at once.
    is_scraped(&stub).await;
    agent.stop().await;
    std::fs::write(&script, "if then nonsense").unwrap();
    agent.run();
    stub.wait_for("the good one runs once more", |totals| (totals.lives.len() == 4).then_some(())).await;
    let expected = stub.pause_and_let_scrape().await;
    eventually_true("the minutes sum up", SOON, async || collector.minute_sums(PIPELINE).await == expected.total).await;
}

/// Waits until the agent has counted events of the process that runs: without that its first events are lost with it.
/// A later scrape shows that the ones before were read, and the first only asks whether the process is up.
async fn is_scraped(stub: &StubVector) {
    stub.wait_for("its process is scraped", |totals| (totals.current()?.scrapes > 3).then_some(())).await;
}

#[tokio::test]
async fn reload_touches_changed_pipelines_only() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stubs =
        ["stays", "goes", "comes"].map(|id| (id, StubVector::new(collector.directory(), id, &["--rate", "20"])));
    let [stays, goes, comes] = stubs.each_ref().map(|(id, stub)| AgentPipeline::supervised(id, stub));
    let mut feed = collector.feed("").await;
    let mut agent = TestAgent::start(&collector, None, &[stays.clone(), goes]).await;
    for id in ["stays", "goes"] {
        feed.wait_for(id, SOON, |event| event.is_change(Some(id), "RUNNING")).await;
    }
    let good = std::fs::read_to_string(agent.config_path()).unwrap();

    std::fs::write(agent.config_path(), format!("{good}\nnonsense = 1\n")).unwrap();
    agent.signal(Signal::SIGHUP);
    let viewer = collector.viewer().await;
    eventually_true("the node's health reports it", SOON, async || {
        let nodes = viewer.list("/api/v1/nodes").await;
        nodes[0]["health"]["configError"].as_str().is_some_and(|error| error.contains("nonsense"))
    })
    .await;
    // Removed and added in one step, with a new name for the one that stays.
    let renamed = AgentPipeline { name: Some("A new name".to_owned()), ..stays };
    agent.write_config(&[comes, renamed]);
    agent.signal(Signal::SIGHUP);
    let gone = feed.wait_for("goes", SOON, |event| event.is_change(Some("goes"), "STOPPED")).await;
    assert_eq!(gone.data["reason"], "removed from the configuration");
    feed.wait_for("comes", SOON, |event| event.is_change(Some("comes"), "RUNNING")).await;
    eventually_true("the new name is known", SOON, async || {
        viewer.get_json("/api/v1/pipelines/stays").await["name"] == "A new name"
    })
    .await;
    let health = viewer.list("/api/v1/nodes").await[0]["health"].clone();
    assert!(health["configError"].is_null(), "it is over: {health}");
    assert!(agent.is_alive(), "SIGHUP is no reason to end");
    for (id, stub) in &stubs {
        assert_eq!(stub.totals().lives.len(), 1, "{id}");
        let expected = if *id == "goes" { stub.totals().exposed } else { stub.pause_and_let_scrape().await.total };
        eventually_true("the minutes sum up", SOON, async || collector.minute_sums(id).await == expected).await;
    }
}

#[tokio::test]
async fn agent_with_a_broken_file_runs_the_last_valid_one() {
    let collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let pipelines = [AgentPipeline::supervised(PIPELINE, &stub)];
    let mut agent = TestAgent::start(&collector, None, &pipelines).await;
    stub.wait_for("the first life", |totals| totals.current()?.address).await;
    agent.stop().await;
    let good = std::fs::read_to_string(agent.config_path()).unwrap();
    std::fs::write(agent.config_path(), format!("{good}\n[broken")).unwrap();
    agent.run();
    stub.wait_for("the second life", |totals| (totals.lives.len() == 2).then_some(())).await;
}

#[tokio::test]
async fn reload_starts_a_crashed_pipeline_at_once() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let flag = collector.directory().join("flag");
    let command = format!("test -e {} && exec sleep 1000; exit 7", flag.display());
    let pipeline = AgentPipeline {
        command: Some(vec!["sh".into(), "-c".into(), command]),
        id: PIPELINE.into(),
        name: None,
        metrics_url: None,
        settings: vec![],
    };
    let mut feed = collector.feed("").await;
    let viewer = collector.viewer().await;
    let agent = TestAgent::start_with(&collector, AgentSetup::default(), &[pipeline]).await;
    wait_for(&mut feed, "CRASHED", SOON).await;
    // Started again after 1, 2, 4 and 8 s: without the reload the next start is 16 s later.
    eventually_true("four tries", SOON, async || {
        viewer.get_json("/api/v1/pipelines/orders").await["nodes"][0]["restarts"] == 4
    })
    .await;
    std::fs::write(&flag, "").unwrap();
    agent.signal(Signal::SIGHUP);
    wait_for(&mut feed, "RUNNING", Duration::from_secs(8)).await;
}
