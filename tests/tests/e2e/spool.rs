//! A long outage and little space: what is kept, what it costs, and what is reported as lost.
//!
//! Time is compressed: at ten reports a second, a minute has as many reports as ten minutes have.

use std::path::Path;
use std::time::Duration;

use systole_tests::bench::process::memory_bytes;
use systole_tests::harness::database::Database;
use systole_tests::harness::truth::Shown;
use systole_tests::harness::{AgentPipeline, AgentSetup, SOON, StubVector, TestAgent, TestCollector, eventually_true};
use tokio::time::Instant;

/// What may wait on the disk.
const BOUND_BYTES: u64 = 256 * 1024;
/// A file that is being merged, the checkpoint, and the report that is being written need space besides it.
const BESIDE_BYTES: u64 = 48 * 1024;
/// An index of what waits, one merge at a time, and what an allocator keeps of that.
const MORE_MEMORY_BYTES: u64 = 3 * 1024 * 1024;
const SAMPLE: Duration = Duration::from_millis(100);

fn setup() -> AgentSetup<'static> {
    AgentSetup { settings: vec![("spool_max_bytes", BOUND_BYTES.into())], ..AgentSetup::default() }
}

fn directory_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Waits, and asserts that the agent stays within its bounds; returns the largest size of the spool.
async fn stay_in_bounds(agent: &TestAgent, time: Duration) -> u64 {
    let memory_before = memory_bytes(agent.pid());
    let spool = agent.data_dir().join("spool");
    let end = Instant::now() + time;
    let mut most = 0;
    while Instant::now() < end {
        let bytes = directory_bytes(&spool);
        assert!(bytes <= BOUND_BYTES + BESIDE_BYTES, "{bytes} bytes in the spool");
        most = most.max(bytes);
        let memory = memory_bytes(agent.pid());
        assert!(memory <= memory_before + MORE_MEMORY_BYTES, "{memory_before} bytes of memory became {memory}");
        tokio::time::sleep(SAMPLE).await;
    }
    most
}

#[tokio::test]
async fn long_outage_is_merged_by_minute_within_bounds() {
    let mut collector = TestCollector::start_with(&["--interval", "100ms"]).await;
    let mut stubs = Vec::new();
    let mut pipelines = Vec::new();
    for number in 0..3 {
        let id = format!("orders-{number}");
        let flags = ["--components", "5", "--errors-every", "10", "--rate", "77"];
        let mut stub = StubVector::new(collector.directory(), &id, &flags);
        stub.start().await;
        pipelines.push(AgentPipeline::watched(&id, &stub));
        stubs.push((id, stub));
    }
    let agent = TestAgent::start_with(&collector, setup(), &pipelines).await;
    eventually_true("the agent reports", SOON, async || collector.minute_sums("orders-2").await.events_in > 0).await;
    collector.kill().await;
    let scrapes = stubs[0].1.life().scrapes;
    // At least one whole minute.
    let most = stay_in_bounds(&agent, Duration::from_secs(75)).await;
    assert!(most > BOUND_BYTES / 2, "there was enough to be merged: {most}");
    assert!(stubs[0].1.life().scrapes > scrapes + 200, "it reported all the time");
    collector.run().await;

    let viewer = collector.viewer().await;
    for (_, stub) in &stubs {
        stub.pause_and_let_scrape().await;
    }
    for (id, stub) in &stubs {
        let shown = Shown::since_first_scrape_by(stub);
        eventually_true("all that was counted is in the minutes", SOON, async || {
            collector.minute_sums(id).await == shown.total()
        })
        .await;
        let path = format!("/api/v1/pipelines/{id}/minutes?from=0&to=9999999999999&step=minute");
        shown.assert_minutes(id, &viewer.list(&path).await);
    }
    assert_eq!(Database::open(&collector.database()).lost_reports(), 0);
}

#[tokio::test]
async fn outage_beyond_the_bound_loses_exactly_the_reported_gap() {
    const EVENTS_PER_REPORT: u64 = 10;
    let id = "orders";
    let mut collector = TestCollector::start_with(&["--interval", "100ms"]).await;
    // Each report has one scrape, and each scrape its ten events. Lines are what cannot be merged away.
    let flags = ["--paused", "--events-per-scrape", "10", "--log-rate", "100", "--components", "5"];
    let stub = StubVector::new(collector.directory(), id, &flags);
    let mut agent = TestAgent::start_with(&collector, setup(), &[AgentPipeline::supervised(id, &stub)]).await;
    eventually_true("the agent reports", SOON, async || collector.minute_sums(id).await.events_in > 0).await;
    collector.kill().await;
    stay_in_bounds(&agent, Duration::from_secs(40)).await;
    collector.run().await;

    let mut database = Database::open(&collector.database());
    eventually_true("the gap is reported", SOON, async || database.lost_reports() > 100).await;
    // From here on no scrape has new events, and no report is lost.
    stub.control("freeze").await;
    let shown = stub.totals().exposed.events_in;
    // Two more reports bring what was shown before.
    let sampled = collector.samples(id).await;
    eventually_true("two more reports", SOON, async || collector.samples(id).await >= sampled + 2).await;
    let (lost, stored) = (database.lost_reports(), collector.minute_sums(id).await.events_in);
    // On a busy machine a report can be made while its scrape is still under way; the next one has both.
    let missing = shown - stored;
    let late = EVENTS_PER_REPORT * (1 + lost / 20);
    assert!(missing.abs_diff(EVENTS_PER_REPORT * lost) <= late, "{missing} are missing, {lost} reports are lost");
    agent.stop().await;
    let holes = database.rows("node_gaps");

    // The lines of those reports are gone with them, in as many pieces, and no others.
    let path = format!("/api/v1/logs?pipeline={id}&q=line%3D&limit=1000");
    let stored: Vec<u64> = collector.viewer().await.list(&path).await.iter().map(line_number).collect();
    assert!(stored.is_sorted_by(|one, next| one < next), "in order and once: {stored:?}");
    assert_eq!((stored.first(), stored.last()), (Some(&1), Some(&stub.life().log_lines)));
    let pieces = stored.windows(2).filter(|pair| pair[1] > pair[0] + 1).count() as u64;
    assert_eq!(pieces, holes, "{stored:?}");
}

fn line_number(item: &serde_json::Value) -> u64 {
    let number = || item["line"].as_str()?.split_once(" line=")?.1.split(' ').next()?.parse().ok();
    number().unwrap_or_else(|| panic!("no number in {item}"))
}
