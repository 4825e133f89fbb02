//! Nothing blocks a report: no stop, no silent endpoint, no slow collector. And nothing that the
//! agent needs from the collector blocks a pipeline.

use std::time::Duration;

use nix::sys::signal::Signal;
use systole_tests::harness::{
    AgentPipeline, AgentSetup, ApiClient, ChaosProxy, FaultPlan, FaultSchedule, SOON, StubVector, TestAgent,
    TestCollector, eventually_true,
};
use tokio::time::Instant;

/// Between the ends of two reports, at an interval of 5 s: a missing report makes it 10 s.
const LARGEST_GAP_MS: i64 = 9_000;

/// Asserts that no sample of a pipeline is missing since `since`, by the agent's own clock: a late report counts,
/// a late arrival does not.
async fn assert_no_pause(viewer: &ApiClient, pipeline: &str, since: i64, at_least: usize) {
    let nodes = viewer.list("/api/v1/nodes").await;
    let node = nodes[0]["id"].as_str().expect("a node has an id");
    let path = format!("/api/v1/samples?node={node}&pipeline={pipeline}&since={since}");
    let samples = viewer.list(&path).await;
    let ends: Vec<i64> =
        samples.iter().map(|sample| sample["timestamp"].as_i64().expect("a sample has a time")).collect();
    assert!(ends.len() > at_least, "{ends:?}");
    for pair in ends.windows(2) {
        assert!(pair[1] - pair[0] < LARGEST_GAP_MS, "{} ms without a report: {ends:?}", pair[1] - pair[0]);
    }
}

#[tokio::test]
async fn slow_stop_of_a_pipeline_blocks_no_report() {
    let mut collector = TestCollector::start().await;
    let stubborn = StubVector::new(collector.directory(), "stubborn", &["--ignore-sigterm"]);
    let other = StubVector::new(collector.directory(), "other", &[]);
    let both = [AgentPipeline::supervised("stubborn", &stubborn), AgentPipeline::supervised("other", &other)];
    let mut feed = collector.feed("types=status_change").await;
    let agent = TestAgent::start(&collector, None, &both).await;
    for pipeline in ["stubborn", "other"] {
        feed.wait_for("it runs", SOON, |event| event.is_change(Some(pipeline), "RUNNING")).await;
    }
    let process = format!("/proc/{}", stubborn.life().pid);
    let (start, since) = (Instant::now(), systole_tests::clock::now_ms());
    agent.write_config(&both[1..]);
    agent.signal(Signal::SIGHUP);
    eventually_true("its process is gone", SOON, async || !std::path::Path::new(&process).exists()).await;
    assert!(start.elapsed() > Duration::from_secs(25), "it had its time: {:?}", start.elapsed());

    assert_no_pause(&collector.viewer().await, "other", since, 4).await;
    let unreachable = feed.events().iter().any(|event| event.is_change(None, "UNREACHABLE"));
    assert!(!unreachable, "a slow stop is no silence");
    assert_eq!(other.totals().lives.len(), 1, "the other pipeline was not touched");
}

#[tokio::test]
async fn silent_endpoint_and_slow_collector_block_no_report() {
    let mut collector = TestCollector::start().await;
    let silent = StubVector::new(collector.directory(), "silent", &[]);
    let other = StubVector::new(collector.directory(), "other", &[]);
    let both = [AgentPipeline::supervised("silent", &silent), AgentPipeline::supervised("other", &other)];
    let proxy = ChaosProxy::start(&collector.url(), FaultSchedule::Always(FaultPlan::Pass { exchanges: 3 })).await;
    let setup = AgentSetup { url: Some(proxy.url()), ..AgentSetup::default() };
    let mut feed = collector.feed("types=status_change").await;
    let _agent = TestAgent::start_with(&collector, setup, &both).await;
    for pipeline in ["silent", "other"] {
        feed.wait_for("it runs", SOON, |event| event.is_change(Some(pipeline), "RUNNING")).await;
    }
    let since = systole_tests::clock::now_ms();
    silent.control("hang").await;
    proxy.set_schedule(FaultSchedule::Always(FaultPlan::Delay {
        request: Duration::ZERO,
        answer: Duration::from_secs(10),
    }));
    let viewer = collector.viewer().await;
    let gaps = "/api/v1/pipelines/silent/minutes?from=0&to=9999999999999&step=minute";
    eventually_true("both have lasted", SOON, async || {
        let gaps: u64 = viewer.list(gaps).await.iter().filter_map(|item| item["gaps"].as_u64()).sum();
        gaps >= 5 && proxy.applied().get("delay").is_some_and(|turns| *turns >= 4)
    })
    .await;
    assert_no_pause(&viewer, "other", since, 4).await;
}

#[tokio::test]
async fn pipelines_run_after_a_boot_without_a_collector() {
    let mut collector = TestCollector::start().await;
    let stubs = [0, 1, 2].map(|number| StubVector::new(collector.directory(), &format!("p{number}"), &[]));
    let pipelines: Vec<AgentPipeline> =
        stubs.iter().enumerate().map(|(number, stub)| AgentPipeline::supervised(&format!("p{number}"), stub)).collect();
    let mut agent = TestAgent::start(&collector, None, &pipelines).await;
    eventually_true("it is known", SOON, async || collector.minute_sums("p2").await.events_in > 0).await;
    collector.kill().await;
    // A boot after a power failure, with a configuration file that was damaged meanwhile.
    agent.kill().await;
    let good = std::fs::read_to_string(agent.config_path()).unwrap();
    std::fs::write(agent.config_path(), format!("{good}\n[[pipeline")).unwrap();
    agent.run();
    for stub in &stubs {
        stub.wait_for("its second life", |totals| (totals.lives.len() == 2).then(|| totals.current()?.address)?).await;
    }
    // The collector does not come back, so none of them waited for it.
}
