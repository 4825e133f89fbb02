//! From a pipeline's counters to the collector's minutes, to the last event.

use systole_tests::harness::collector::counts;
use systole_tests::harness::{
    AgentPipeline, DatabaseKind, SOON, StubVector, TestAgent, TestCollector, eventually, eventually_true,
};
use systole_tests::stub::totals::Counts;

on_each_database! {
    minutes_equal_the_pipelines_totals_over_a_sigkill,
    process_runs_of_a_pipeline_add_up,
    watched_pipeline_counts_from_the_first_scrape,
    vanished_and_reset_counters_lose_nothing_exposed,
    hanging_endpoint_is_a_gap_without_loss,
    agents_on_one_host_are_two_nodes_with_summed_pipelines,
}

const PIPELINE: &str = "orders";

/// Waits until the minutes have these sums.
async fn assert_sums(collector: &mut TestCollector, expected: Counts) {
    let mut last = Counts::default();
    eventually(&format!("the minutes sum up to {expected:?}"), SOON, async || {
        last = collector.minute_sums(PIPELINE).await;
        let over = last.events_in > expected.events_in;
        assert!(!over, "more than was counted: {last:?}, expected {expected:?}");
        (last == expected).then_some(())
    })
    .await;
}

async fn minutes_equal_the_pipelines_totals_over_a_sigkill(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let flags = ["--rate", "173", "--errors-every", "10", "--discard-every", "7", "--components", "6"];
    let stub = StubVector::new(collector.directory(), PIPELINE, &flags);
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    eventually_true("the first events are in the minutes", SOON, async || {
        collector.minute_sums(PIPELINE).await.events_in > 0
    })
    .await;

    collector.kill().await;
    let before = stub.life().scrapes;
    eventually_true("the agent scrapes on without a collector", SOON, async || stub.life().scrapes >= before + 2).await;
    collector.run().await;

    let totals = stub.pause_and_let_scrape().await;
    assert_sums(&mut collector, totals.total).await;
    agent.stop().await;
    assert_sums(&mut collector, totals.total).await;
    let mut database = collector.stop_and_open_database().await;
    assert_eq!(database.minute_sums(PIPELINE), totals.total);
    assert_eq!(database.component_sums(PIPELINE), totals.lives[0].components);
}

async fn process_runs_of_a_pipeline_add_up(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    for (life, events) in [(1, 500), (2, 900), (3, 200)] {
        stub.wait_for("the stub lives", |totals| (totals.lives.len() == life).then(|| totals.current()?.address)?)
            .await;
        stub.control(&format!("burst?events={events}")).await;
        stub.pause_and_let_scrape().await;
        stub.control("crash").await;
    }
    stub.wait_for("the stub lives again", |totals| (totals.lives.len() == 4).then_some(())).await;
    assert_eq!(stub.totals().exposed.events_in, 1_600);
    assert_sums(&mut collector, stub.totals().exposed).await;
}

async fn watched_pipeline_counts_from_the_first_scrape(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    stub.start().await;
    stub.control("burst?events=5000").await;
    let before = stub.totals().total;
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::watched(PIPELINE, &stub)]).await;
    stub.pause_and_let_scrape().await;
    stub.control("burst?events=321").await;
    let after = stub.pause_and_let_scrape().await.total;
    let expected = Counts {
        events_in: after.events_in - before.events_in,
        events_out: after.events_out - before.events_out,
        errors: 0,
        discarded: 0,
        bytes_in: after.bytes_in - before.bytes_in,
        bytes_out: after.bytes_out - before.bytes_out,
    };
    assert_eq!(expected.events_in, 321);
    assert_sums(&mut collector, expected).await;
}

async fn vanished_and_reset_counters_lose_nothing_exposed(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    stub.control("burst?events=2000").await;
    stub.pause_and_let_scrape().await;
    // As Vector does with a series that was idle for five minutes.
    stub.control("drop-series?component=out&metric=sent_events").await;
    stub.pause_and_let_scrape().await;
    stub.control("restore-series?component=out&metric=sent_events").await;
    stub.control("burst?events=300").await;
    stub.pause_and_let_scrape().await;
    stub.control("reset").await;
    stub.control("burst?events=40").await;
    let totals = stub.pause_and_let_scrape().await;
    assert_eq!((totals.total.events_in, totals.total.events_out), (2_340, 2_340));
    assert_sums(&mut collector, totals.total).await;
}

async fn hanging_endpoint_is_a_gap_without_loss(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    stub.control("burst?events=100").await;
    stub.pause_and_let_scrape().await;
    stub.control("hang").await;
    let viewer = collector.viewer().await;
    let path = format!("/api/v1/pipelines/{PIPELINE}/minutes?from=0&to=9999999999999&step=minute");
    eventually_true("a gap is in the minutes", SOON, async || {
        viewer.list_if_known(&path).await.iter().any(|item| item["gaps"].as_u64() > Some(0))
    })
    .await;
    stub.control("burst?events=50").await;
    stub.control("unhang").await;
    let totals = stub.pause_and_let_scrape().await;
    assert_eq!(totals.total.events_in, 150);
    assert_sums(&mut collector, totals.total).await;
    assert_eq!(viewer.list(&path).await.iter().map(counts).sum::<Counts>(), totals.total);
}

async fn agents_on_one_host_are_two_nodes_with_summed_pipelines(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let stubs = [0, 1].map(|number| StubVector::new(collector.directory(), &format!("s{number}"), &["--paused"]));
    let mut agents = Vec::new();
    for stub in &stubs {
        agents.push(TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, stub)]).await);
    }
    let mut expected = Vec::new();
    for (stub, events) in stubs.iter().zip([1_000, 234]) {
        stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
        stub.control(&format!("burst?events={events}")).await;
        expected.push(stub.pause_and_let_scrape().await.total);
    }
    assert_sums(&mut collector, expected.iter().copied().sum()).await;
    let viewer = collector.viewer().await;
    let nodes = viewer.list("/api/v1/nodes").await;
    assert_eq!(nodes.len(), 2);
    let mut by_node = Vec::new();
    for node in &nodes {
        let id = node["id"].as_str().unwrap();
        let path = format!("/api/v1/pipelines/{PIPELINE}/minutes?from=0&to=9999999999999&step=minute&node={id}");
        by_node.push(viewer.list(&path).await.iter().map(counts).sum::<Counts>());
    }
    by_node.sort_by_key(|counts| std::cmp::Reverse(counts.events_in));
    assert_eq!(by_node, expected);
}
