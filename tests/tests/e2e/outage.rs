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
    let mut collector = TestCollector::start().await;
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
