//! The centre is away, and the agent dies meanwhile: the spool keeps what was counted.

use std::time::Duration;

use systole_tests::harness::{AgentPipeline, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";
const SOON: Duration = Duration::from_secs(30);

/// Waits until everything that the stub has counted so far is in a report: the second scrape from
/// here on begins after the report of the first.
async fn settle(stub: &StubVector) {
    stub.pause_and_let_scrape().await;
    let before = stub.life().scrapes;
    eventually_true("two more scrapes", SOON, async || stub.life().scrapes >= before + 2).await;
}

#[tokio::test]
async fn an_outage_with_an_agent_killed_twice_loses_no_count_that_was_reported() {
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
async fn a_watched_process_is_counted_on_over_a_killed_and_a_stopped_agent() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    stub.start().await;
    stub.control("burst?events=1000").await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::watched(PIPELINE, &stub)]).await;
    settle(&stub).await;
    // What it counted before anybody watched is a baseline.
    let mut expected = 0;
    for (round, events) in [300, 70, 5].into_iter().enumerate() {
        stub.control(&format!("burst?events={events}")).await;
        expected += events;
        settle(&stub).await;
        match round % 2 {
            0 => agent.kill().await,
            _ => agent.stop().await,
        }
        // Nobody sees these come, but the process lives and still counts them.
        stub.control("burst?events=11").await;
        expected += 11;
        agent.run();
        settle(&stub).await;
    }
    eventually_true("the minutes sum up", SOON, async || collector.minute_sums(PIPELINE).await.events_in == expected)
        .await;
    assert_eq!(stub.totals().lives.len(), 1);
}
