//! The collector is down, and the agent is killed meanwhile: the spool keeps counts and lines.

use std::time::Duration;

use systole_tests::harness::truth::{Shown, assert_lines};
use systole_tests::harness::{
    AgentPipeline, AgentSetup, ApiClient, ChaosProxy, FaultSchedule, SOON, StubVector, TestAgent, TestCollector,
    eventually_true,
};

const PIPELINE: &str = "orders";
/// How long the collector is away: at least one whole minute has its end in it.
const AWAY: Duration = Duration::from_secs(60);
/// A pipeline of which only the lines count.
const TALKER: &str = "talker";
/// How many pipelines the node has.
const PIPELINES: usize = 10;

/// Waits until everything that the stub has counted so far is in a report: the second scrape from
/// here on begins after the report of the first.
async fn settle(stub: &StubVector) {
    settle_all(std::slice::from_ref(stub)).await;
}

/// [`settle`] for several at once.
async fn settle_all(stubs: &[StubVector]) {
    let mut paused = Vec::new();
    for stub in stubs {
        stub.control("pause").await;
        paused.push(stub.life().scrapes);
    }
    for (stub, before) in stubs.iter().zip(paused) {
        eventually_true("three more scrapes", SOON, async || stub.life().scrapes >= before + 3).await;
    }
}

/// Ten pipelines of different paces, each with two lines a second.
fn stubs(collector: &TestCollector) -> Vec<StubVector> {
    let stub = |number: usize| {
        let (rate, errors) = (format!("{}", 20 + 7 * number), format!("{}", 5 + number));
        let flags = ["--rate", &rate, "--errors-every", &errors, "--discard-every", "7", "--log-rate", "2"];
        // Moves that are rare enough for ten at once.
        StubVector::new(collector.directory(), &id(number), &[&flags[..], &["--tick-ms", "250"]].concat())
    };
    (0..PIPELINES).map(stub).collect()
}

fn id(number: usize) -> String {
    format!("{PIPELINE}-{number}")
}

fn supervised(stubs: &[StubVector]) -> Vec<AgentPipeline> {
    stubs.iter().enumerate().map(|(number, stub)| AgentPipeline::supervised(&id(number), stub)).collect()
}

async fn wait_for_counts(collector: &mut TestCollector) {
    for number in 0..PIPELINES {
        eventually_true("the first events are in the minutes", SOON, async || {
            collector.minute_sums(&id(number)).await.events_in > 0
        })
        .await;
    }
}

/// Asserts that each pipeline's minutes are what it showed, `shown` being how it is asked.
async fn assert_minutes(collector: &mut TestCollector, stubs: &[StubVector], shown: impl Fn(&StubVector) -> Shown) {
    let viewer = collector.viewer().await;
    for (number, stub) in stubs.iter().enumerate() {
        let (id, shown) = (id(number), shown(stub));
        assert!(shown.total().events_in > 0);
        eventually_true("all that was counted is in the minutes", SOON, async || {
            let sums = collector.minute_sums(&id).await;
            assert!(sums.events_in <= shown.total().events_in, "{id}: {sums:?} of {:?}", shown.total());
            sums == shown.total()
        })
        .await;
        let path = format!("/api/v1/pipelines/{id}/minutes?from=0&to=9999999999999&step=minute");
        shown.assert_minutes(&id, &viewer.list(&path).await);
    }
}

async fn assert_all_lines(viewer: &ApiClient, stubs: &[StubVector]) {
    for (number, stub) in stubs.iter().enumerate() {
        let path = format!("/api/v1/logs?pipeline={}&q=line%3D&limit=1000", id(number));
        assert_lines(&id(number), &stub.totals(), &viewer.list(&path).await);
    }
}

#[tokio::test]
async fn outage_of_a_minute_keeps_minutes_and_lines_exact() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stubs = stubs(&collector);
    let mut agent = TestAgent::start(&collector, None, &supervised(&stubs)).await;
    wait_for_counts(&mut collector).await;
    collector.kill().await;
    tokio::time::sleep(AWAY).await;
    collector.run().await;
    settle_all(&stubs).await;
    assert_minutes(&mut collector, &stubs, Shown::by).await;
    agent.stop().await;
    assert_all_lines(&collector.viewer().await, &stubs).await;
}

#[tokio::test]
async fn outage_with_killed_agent_keeps_minutes_and_lines_exact() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut stubs = stubs(&collector);
    let mut pipelines = Vec::new();
    for (number, stub) in stubs.iter_mut().enumerate() {
        stub.start().await;
        pipelines.push(AgentPipeline::watched(&id(number), stub));
    }
    // Counters are exact over a kill where the process outlives the agent, lines where it does not.
    let flags = ["--paused", "--log-rate", "10", "--tick-ms", "250"];
    let talker = StubVector::new(collector.directory(), TALKER, &flags);
    pipelines.push(AgentPipeline::supervised(TALKER, &talker));
    let mut agent = TestAgent::start(&collector, None, &pipelines).await;
    wait_for_counts(&mut collector).await;
    collector.kill().await;
    for _ in 0..2 {
        tokio::time::sleep(AWAY / 3).await;
        // In the middle of whatever it does: nothing was paused.
        agent.kill().await;
        agent.run();
    }
    tokio::time::sleep(AWAY / 3).await;
    collector.run().await;
    settle_all(&stubs).await;
    assert_minutes(&mut collector, &stubs, Shown::since_first_scrape_by).await;
    assert!(stubs.iter().all(|stub| stub.totals().lives.len() == 1));
    agent.stop().await;
    let path = format!("/api/v1/logs?pipeline={TALKER}&q=line%3D&limit=1000");
    let lines = collector.viewer().await.list(&path).await;
    assert_eq!(talker.totals().lives.len(), 3);
    assert_lines(TALKER, &talker.totals(), &lines);
}

#[tokio::test]
async fn outage_in_a_bad_network_keeps_minutes_and_lines_exact() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stubs = stubs(&collector);
    let proxy = ChaosProxy::start(&collector.url(), FaultSchedule::random()).await;
    let setup = AgentSetup { url: Some(proxy.url()), ..AgentSetup::default() };
    let mut agent = TestAgent::start_with(&collector, setup, &supervised(&stubs)).await;
    wait_for_counts(&mut collector).await;
    tokio::time::sleep(AWAY / 4).await;
    collector.kill().await;
    tokio::time::sleep(AWAY).await;
    collector.run().await;
    // The backlog passes the same network.
    tokio::time::sleep(AWAY / 4).await;
    settle_all(&stubs).await;
    proxy.set_schedule(FaultSchedule::CALM);
    assert_minutes(&mut collector, &stubs, Shown::by).await;
    agent.stop().await;
    assert_all_lines(&collector.viewer().await, &stubs).await;
}

#[tokio::test]
async fn outage_with_killed_agent_loses_no_reported_count() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--rate", "97", "--errors-every", "10"]);
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    eventually_true("the first events are in the minutes", SOON, async || {
        collector.minute_sums(PIPELINE).await.events_in > 0
    })
    .await;

    collector.kill().await;
    for life in [1, 2] {
        settle(&stub).await;
        agent.kill().await;
        agent.run();
        stub.wait_for("the next life", |totals| (totals.lives.len() == life + 1).then_some(())).await;
    }
    settle(&stub).await;
    collector.run().await;

    let exposed = stub.totals().exposed;
    assert_eq!(exposed, stub.totals().total, "the stub was paused before each kill");
    eventually_true("the minutes sum up", SOON, async || collector.minute_sums(PIPELINE).await == exposed).await;
}

#[tokio::test]
async fn watched_process_counts_on_over_agent_restarts() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    stub.start().await;
    stub.control("burst?events=1000").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::watched(PIPELINE, &stub)]).await;
    settle(&stub).await;
    // Counts before the first scrape are a baseline.
    let mut expected = 0;
    for (round, events) in [300, 70, 5].into_iter().enumerate() {
        stub.control(&format!("burst?events={events}")).await;
        expected += events;
        settle(&stub).await;
        match round % 2 {
            0 => agent.kill().await,
            _ => agent.stop().await,
        }
        // The agent is down, but the process runs and still counts them.
        stub.control("burst?events=11").await;
        expected += 11;
        agent.run();
        settle(&stub).await;
    }
    eventually_true("the minutes sum up", SOON, async || collector.minute_sums(PIPELINE).await.events_in == expected)
        .await;
    assert_eq!(stub.totals().lives.len(), 1);
}
