//! What an agent does when its disk does not do its part.

use std::time::Duration;

use systole_tests::harness::{AgentPipeline, AgentSetup, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_second_agent_with_the_same_data_ends_and_leaves_the_first_alone() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    let mut second = agent.run_twin();
    assert_eq!(second.wait(SOON).await.code(), Some(1), "a failure, which is worth another try");
    assert!(second.output().contains("another agent runs"), "{}", second.output());
    stub.control("burst?events=100").await;
    let expected = stub.pause_and_let_scrape().await.total;
    eventually_true("the minutes sum up", SOON, async || collector.minute_sums(PIPELINE).await == expected).await;
    assert_eq!(stub.totals().lives.len(), 1, "the second agent touched the first one's pipeline");
    // The lock is the living process's, not the file's.
    agent.kill().await;
    agent.run();
    stub.wait_for("a second life", |totals| (totals.lives.len() == 2).then_some(())).await;
}

#[tokio::test]
async fn an_agent_whose_spool_cannot_be_made_keeps_reports_in_memory_and_comes_back_to_the_disk() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &["--paused", "--log-rate", "5"]);
    stub.start().await;
    let pipelines = [AgentPipeline::watched(PIPELINE, &stub)];
    let mut agent = TestAgent::prepare(&collector, AgentSetup::default(), &pipelines).await;
    let spool = agent.data_dir().join("spool");
    std::fs::create_dir_all(agent.data_dir()).unwrap();
    std::fs::write(&spool, "in the way").unwrap();
    agent.run();
    stub.pause_and_let_scrape().await;

    collector.kill().await;
    stub.control("burst?events=300").await;
    stub.pause_and_let_scrape().await;
    assert!(spool.is_file(), "nobody has touched it");
    collector.run().await;
    eventually_true("what waited in memory is in the minutes", SOON, async || {
        collector.minute_sums(PIPELINE).await.events_in == 300
    })
    .await;

    collector.kill().await;
    std::fs::remove_file(&spool).unwrap();
    stub.control("burst?events=70").await;
    stub.pause_and_let_scrape().await;
    eventually_true("reports are on the disk", SOON, async || {
        std::fs::read_dir(&spool).is_ok_and(|files| {
            files.flatten().any(|file| file.path().extension().is_some_and(|extension| extension == "reports"))
        })
    })
    .await;
    // What is on the disk outlives the agent.
    let scrapes = stub.life().scrapes;
    eventually_true("two more scrapes", SOON, async || stub.life().scrapes >= scrapes + 2).await;
    agent.kill().await;
    agent.run();
    collector.run().await;
    eventually_true("what waited on the disk is in the minutes", SOON, async || {
        collector.minute_sums(PIPELINE).await.events_in == 370
    })
    .await;
}
