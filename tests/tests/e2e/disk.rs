//! What an agent does when its disk does not do its part.

use std::io::Write;
use std::path::Path;

use systole_tests::harness::agent::can_mount;
use systole_tests::harness::{AgentPipeline, AgentSetup, SOON, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";

#[tokio::test]
async fn second_agent_on_the_same_data_ends() {
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
async fn spool_falls_back_to_memory_and_returns_to_disk() {
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
    assert!(spool.is_file(), "the file is still in its place");
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

/// Bytes of the reports in a spool.
fn report_bytes(spool: &Path) -> u64 {
    let files = std::fs::read_dir(spool).into_iter().flatten().flatten();
    let reports = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "reports"));
    reports.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Waits for reports of what is there now.
async fn two_more_scrapes(stub: &StubVector) {
    let before = stub.life().scrapes;
    eventually_true("two more scrapes", SOON, async || stub.life().scrapes >= before + 2).await;
}

/// Tests nothing on machines where a process cannot have a separate disk.
#[tokio::test]
async fn spool_waits_in_memory_while_the_disk_is_full() {
    if !can_mount().await {
        return;
    }
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    stub.start().await;
    let pipelines = [AgentPipeline::watched(PIPELINE, &stub)];
    let mut agent = TestAgent::prepare(&collector, AgentSetup::default(), &pipelines).await;
    agent.run_on_disk_of(256 * 1024);
    two_more_scrapes(&stub).await;
    let (spool, filler) = (agent.data_dir().join("spool"), agent.data_dir().join("filler"));
    let (spool, filler) = (agent.seen_by_agent(&spool), agent.seen_by_agent(&filler));

    collector.kill().await;
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 512]).is_ok() {}
    // The last block of the spool's file may still have room for some reports.
    let mut full = report_bytes(&spool);
    loop {
        two_more_scrapes(&stub).await;
        two_more_scrapes(&stub).await;
        let now = report_bytes(&spool);
        if now == full {
            break;
        }
        full = now;
    }
    stub.control("burst?events=300").await;
    two_more_scrapes(&stub).await;
    assert_eq!(report_bytes(&spool), full, "there is no room for reports");
    collector.run().await;
    eventually_true("what waited in memory is in the minutes", SOON, async || {
        collector.minute_sums(PIPELINE).await.events_in == 300
    })
    .await;

    collector.kill().await;
    std::fs::remove_file(&filler).unwrap();
    drop(file);
    stub.control("burst?events=70").await;
    eventually_true("reports are on the disk", SOON, async || report_bytes(&spool) > full + 4_000).await;
    collector.run().await;
    eventually_true("they are in the minutes", SOON, async || collector.minute_sums(PIPELINE).await.events_in == 370)
        .await;
    assert!(agent.is_alive());
}
