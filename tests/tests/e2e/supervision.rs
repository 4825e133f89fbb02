//! What happens when processes die: pipelines, and the agent itself.

use std::time::Duration;

use nix::sys::signal::Signal;
use systole_tests::harness::database::Database;
use systole_tests::harness::{AgentPipeline, FeedEvent, SOON, StubVector, TestAgent, TestCollector, eventually_true};
use tokio::time::Instant;

const PIPELINE: &str = "orders";
/// From the end of a process to its next run, by the agent's own clock: a second, a start, a scrape and a report.
const RECOVERY_MS: i64 = 20_000;
/// From the last report of an agent to its node's being UNREACHABLE: three intervals of 5 s, and a busy machine.
const UNREACHABLE: Duration = Duration::from_secs(45);

fn assert_recovered_in_time(crashed: &FeedEvent, back: &FeedEvent) {
    let at = |event: &FeedEvent| event.data["timestamp"].as_i64().expect("a change has its time");
    assert!(at(back) - at(crashed) < RECOVERY_MS, "{crashed:?}, then {back:?}");
}

#[tokio::test]
async fn crashed_pipeline_recovers_and_keeps_its_last_lines() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let mut feed = collector.feed("").await;
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    feed.wait_for("the pipeline runs", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING")).await;
    feed.wait_for("the node is healthy", SOON, |event| event.is_change(None, "HEALTHY")).await;

    let life = stub.life();
    let start = Instant::now();
    stub.control("crash?lines=300").await;
    let crashed =
        feed.wait_for("CRASHED", SOON, |event| event.is_change(Some(PIPELINE), "CRASHED") && event.at > start).await;
    let back = feed
        .wait_for("RUNNING again", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING") && event.at > crashed.at)
        .await;
    assert_recovered_in_time(&crashed, &back);
    assert!(crashed.data["reason"].as_str().is_some_and(|reason| reason.contains('1')), "exit 1: {crashed:?}");
    assert_ne!(stub.life().life, life.life);

    let last_words = format!("last words life={}", life.life);
    feed.wait_for("the last words in the feed", SOON, |event| event.lines().contains(&last_words)).await;
    let viewer = collector.viewer().await;
    let logs = viewer.list(&format!("/api/v1/logs?pipeline={PIPELINE}&q=last%20words")).await;
    assert_eq!(logs.len(), 1, "{logs:?}");
    assert_eq!((logs[0]["line"].as_str(), logs[0]["stream"].as_str()), (Some(last_words.as_str()), Some("stderr")));
    let before_it = viewer.list(&format!("/api/v1/logs?pipeline={PIPELINE}&q=line%3D")).await;
    let own = format!("life={} ", life.life);
    let own = before_it.iter().filter(|item| item["line"].as_str().is_some_and(|line| line.contains(&own))).count();
    assert!(own >= 300, "{own} of the 300 lines that came in one rush with the crash");

    // The node is DEGRADED for as long as the pipeline is down.
    let degraded = feed.wait_for("the node", SOON, |event| event.is_change(None, "DEGRADED")).await;
    feed.wait_for("the node", SOON, |event| event.is_change(None, "HEALTHY") && event.at >= degraded.at).await;
    feed.assert_ids_grow();
}

#[tokio::test]
async fn killed_pipeline_recovers() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let mut feed = collector.feed("types=status_change").await;
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    feed.wait_for("the pipeline runs", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING")).await;
    stub.signal(Signal::SIGKILL);
    let crashed = feed.wait_for("CRASHED", SOON, |event| event.is_change(Some(PIPELINE), "CRASHED")).await;
    let back = feed
        .wait_for("RUNNING again", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING") && event.at > crashed.at)
        .await;
    assert_recovered_in_time(&crashed, &back);
}

#[tokio::test]
async fn pipeline_that_exits_0_is_restarted() {
    let collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    stub.control("exit0").await;
    stub.wait_for("a second life", |totals| (totals.lives.len() == 2).then_some(())).await;
}

#[tokio::test]
async fn node_of_a_killed_agent_is_unreachable_after_three_intervals() {
    let mut collector = TestCollector::start().await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    stub.start().await;
    let mut feed = collector.feed("types=status_change,fleet_status").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::watched(PIPELINE, &stub)]).await;
    feed.wait_for("HEALTHY", SOON, |event| event.is_change(None, "HEALTHY")).await;
    let killed = Instant::now();
    agent.kill().await;
    let lost = feed.wait_for("UNREACHABLE", SOON, |event| event.is_change(None, "UNREACHABLE")).await;
    assert!(lost.at - killed < UNREACHABLE);
    let viewer = collector.viewer().await;
    assert_eq!(viewer.list("/api/v1/nodes").await[0]["status"], "UNREACHABLE");
    agent.run();
    let after = |event: &FeedEvent| event.at > lost.at;
    feed.wait_for("HEALTHY again", SOON, |event| event.is_change(None, "HEALTHY") && after(event)).await;
    let healthy = |event: &FeedEvent| event.data["status"] == "HEALTHY" && after(event);
    feed.wait_for("fleet_status", SOON, |event| event.kind == "fleet_status" && healthy(event)).await;
    assert_eq!(viewer.list("/api/v1/nodes").await.len(), 1, "the same node, no ghost");
}

#[tokio::test]
async fn killed_agent_leaves_no_process_and_counts_on() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    for (life, events) in [(1, 300), (2, 70), (3, 5)] {
        stub.wait_for("the stub lives", |totals| (totals.lives.len() == life).then(|| totals.current()?.address)?)
            .await;
        stub.control(&format!("burst?events={events}")).await;
        let expected = stub.pause_and_let_scrape().await.exposed;
        eventually_true("the minutes sum up", SOON, async || collector.minute_sums(PIPELINE).await == expected).await;
        let process = format!("/proc/{}/cmdline", stub.life().pid);
        agent.kill().await;
        eventually_true("the pipeline is gone", SOON, async || std::fs::read(&process).unwrap_or_default().is_empty())
            .await;
        agent.run();
    }
    assert_eq!(stub.totals().exposed.events_in, 375);
    assert_eq!(collector.minute_sums(PIPELINE).await, stub.totals().exposed);
}

#[tokio::test]
async fn collector_restart_marks_no_reporting_node() {
    let mut collector = TestCollector::start().await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    stub.start().await;
    let mut feed = collector.feed("types=status_change,fleet_status").await;
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::watched(PIPELINE, &stub)]).await;
    feed.wait_for("HEALTHY", SOON, |event| event.is_change(None, "HEALTHY")).await;
    collector.stop().await;
    collector.run().await;
    feed.resume().await;
    // Two reports after the restart, and no word of UNREACHABLE or of a new first sight.
    feed.wait_until("two reports", SOON, |events| {
        let reports = events.iter().filter(|event| event.kind == "fleet_status" && event.connection == 2);
        (reports.count() >= 2).then_some(())
    })
    .await;
    let changes = feed.events_of("status_change");
    assert!(changes.iter().all(|event| event.connection == 1), "{changes:?}");
}

#[tokio::test]
async fn stopping_agent_counts_to_the_last_event() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let mut feed = collector.feed("types=status_change").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    feed.wait_for("the pipeline runs", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING")).await;
    stub.control("burst?events=777").await;
    let pid = stub.life().pid;
    agent.stop().await;
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the pipeline's process is still there");
    // The last report was sent before the agent ended, so there is nothing to wait for.
    assert_eq!(stub.totals().total.events_in, 777);
    assert_eq!(collector.minute_sums(PIPELINE).await, stub.totals().total);
    feed.wait_for("STOPPED", SOON, |event| event.is_change(Some(PIPELINE), "STOPPED")).await;
    let mut database = Database::open(&collector.database());
    assert!(database.rows("logs") >= 4, "the lines of a graceful stop are kept");
    let viewer = collector.viewer().await;
    assert_eq!(viewer.list("/api/v1/logs?q=Vector%20has%20stopped").await.len(), 1);
}

#[tokio::test]
async fn stopping_pipeline_counts_to_the_last_event() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--rate", "200", "--drain-ms", "2500"]);
    let mut feed = collector.feed("types=status_change").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    feed.wait_for("the pipeline runs", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING")).await;
    let before = stub.life().total.events_in;
    agent.stop().await;
    let totals = stub.totals();
    assert!(totals.exposed.events_in > before + 300, "scraped while it stopped: {totals:?}");
    assert_eq!(collector.minute_sums(PIPELINE).await, totals.exposed);
}

#[tokio::test]
async fn pipeline_lines_arrive_once_and_in_order() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--log-rate", "40"]);
    let mut feed = collector.feed("types=log_entry").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    let numbered = |line: &String| line.contains(" line=");
    feed.wait_until("200 lines", SOON, |events| {
        let lines = events.iter().flat_map(|event| event.lines()).filter(numbered).count();
        (lines >= 200).then_some(())
    })
    .await;
    agent.stop().await;
    let life = stub.life();
    eventually_true("every line is in the feed", SOON, async || {
        let lines = feed.events().iter().flat_map(|event| event.lines()).filter(numbered).count() as u64;
        lines >= life.log_lines
    })
    .await;
    let lines: Vec<String> = feed.events().iter().flat_map(|event| event.lines()).filter(numbered).collect();
    for (index, line) in lines.iter().enumerate() {
        let expected = format!(" line={:06} life={} ", index + 1, life.life);
        assert!(line.contains(&expected), "{expected:?} is not in {line:?}");
    }
    let stored = collector.viewer().await.list(&format!("/api/v1/logs?pipeline={PIPELINE}&q=line%3D&limit=100")).await;
    assert_eq!(stored.len(), lines.len());
}

#[tokio::test]
async fn invalid_utf8_and_floods_do_no_harm() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--log-rate", "1"]);
    let mut feed = collector.feed("types=log_entry").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    stub.control("torn-utf8").await;
    feed.wait_for("the torn line", SOON, |event| {
        event.lines().iter().any(|line| line.starts_with("torn ") && line.ends_with(" bytes"))
    })
    .await;
    feed.wait_for("the whole line", SOON, |event| event.lines().contains(&"whole \u{1F980} crab".to_owned())).await;
    stub.control("flood?lines=30000").await;
    // The newest line of a flood is kept, the oldest ones may go; up to 1 MiB of them waits in the file
    // for its turn at 200 lines a second.
    let last = format!(" line={:06} ", stub.life().log_lines);
    let turn = Duration::from_secs(240);
    feed.wait_for("the flood's last line", turn, |event| event.lines().iter().any(|line| line.contains(&last))).await;
    assert!(agent.is_alive() && collector.is_alive());
}

#[tokio::test]
async fn pipeline_that_ignores_sigterm_is_killed_after_30_s() {
    let mut collector = TestCollector::start().await;
    let flags = ["--ignore-sigterm", "--paused"];
    let stub = StubVector::new(collector.directory(), PIPELINE, &flags);
    let mut feed = collector.feed("types=status_change").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    feed.wait_for("the pipeline runs", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING")).await;
    stub.control("burst?events=99").await;
    let pid = stub.life().pid;
    let start = Instant::now();
    agent.stop().await;
    assert!(start.elapsed() > Duration::from_secs(25), "it had its time: {:?}", start.elapsed());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the pipeline's process is still there");
    assert_eq!(collector.minute_sums(PIPELINE).await, stub.totals().total);
    let unreachable = feed.events().iter().any(|event| event.is_change(None, "UNREACHABLE"));
    assert!(!unreachable, "a slow stop is no silence");
}

#[tokio::test]
async fn command_runs_with_its_limits_or_logs_why_not() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let mut feed = collector.feed("").await;
    let pipeline = AgentPipeline::supervised(PIPELINE, &stub).with("nice", 7).with("memory_max", "2GiB");
    let _agent = TestAgent::start(&collector, None, &[pipeline]).await;
    feed.wait_for("the pipeline runs", SOON, |event| event.is_change(Some(PIPELINE), "RUNNING")).await;
    let pid = stub.life().pid;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    assert_eq!(fields.split(' ').nth(16), Some("7"), "the niceness in {stat}");

    // It is in a separate group with that limit, or its log contains the reason.
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process lives");
    if !own.lines().any(|line| line.starts_with("0::") && line.contains("/pipeline-orders-")) {
        let viewer = collector.viewer().await;
        let lines = viewer.list(&format!("/api/v1/logs?pipeline={PIPELINE}&q=are%20not%20applied")).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["level"], "WARN");
    }
}
