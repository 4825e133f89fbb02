//! Three collectors on one PostgreSQL; see [`systole_tests::oracle::cluster`].

use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};
use systole_tests::clock;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::collector::counts as counts_of;
use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::truth::{Shown, assert_lines};
use systole_tests::harness::{
    AgentPipeline, AgentSetup, ApiClient, Cluster, Network, NodeClient, SOON, StubVector, TestAgent, eventually_true,
};
use systole_tests::oracle::cluster::recovery::{LeaderFault, measure};
use systole_tests::oracle::cluster::{ClusterPlan, Ordeal, run};
use systole_tests::stub::totals::Counts;

use crate::tail::Tail;

#[tokio::test]
async fn any_collector_may_fail_and_nothing_is_lost_or_doubled() {
    let outcome = run(ClusterPlan::new(Ordeal::Faults(8), 30), &ProgressBar::hidden()).await;
    assert!(outcome.stored > 100 && outcome.came > 1_000 && outcome.connections > 100, "{outcome}");
    assert!(outcome.faults.len() == 8 && outcome.failed_requests.0 > 0, "no faults came true: {outcome}");
    assert!(outcome.in_gaps * 10 < outcome.came, "gaps are the exception: {outcome}");
}

#[tokio::test]
async fn partitions_that_drop_packets_lose_and_double_nothing() {
    if let Some(obstacle) = Network::obstacle() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{obstacle}");
        return print(&format!("not tested: {obstacle}"));
    }
    let plan = ClusterPlan { on_hosts: true, ..ClusterPlan::new(Ordeal::Faults(8), 20) };
    let outcome = run(plan, &ProgressBar::hidden()).await;
    assert!(outcome.stored > 100 && outcome.failed_requests.0 > 0, "{outcome}");
}

#[tokio::test]
async fn rolling_upgrade_loses_nothing_and_alarms_no_one() {
    // The same program twice; `make soak` takes that of another commit.
    let previous = binary("systole-collector");
    let outcome = run(ClusterPlan::new(Ordeal::Upgrade(previous), 20), &ProgressBar::hidden()).await;
    assert!(outcome.stored > 100 && outcome.came > 100, "{outcome}");
}

#[tokio::test]
async fn cluster_serves_again_soon_after_its_leader_fails() {
    let mut cluster = Cluster::start(3).await;
    for (fault, limit) in [(LeaderFault::Kill, 5_000), (LeaderFault::Stop, 2_000), (LeaderFault::Partition, 8_000)] {
        let recoveries = measure(&mut cluster, fault, 2).await;
        let limit = Duration::from_millis(limit);
        assert!(recoveries.summary().iter().all(|(_, worst)| *worst <= limit), "{fault:?}: {recoveries}");
    }
}

#[tokio::test]
async fn every_collector_answers_the_same_while_reports_come() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.members[0].collector.create_token("enroll", None).await;
    // Another collector than the leader hears it.
    let hears = (cluster.leader().await + 1) % 3;
    let client = ApiClient::of_several(&cluster.urls()).beginning_at(hears);
    let mut node = NodeClient::enroll_with(&client, token.token.reveal(), "n1").await;
    let samples = format!("/api/v1/samples?pipeline=orders&node={}", node.id);
    let mut acknowledged = Counts::default();
    for round in 1..=20 {
        let counts = distinct_counts(round);
        acknowledged = [acknowledged, counts].into_iter().sum();
        node.report(vec![running("orders", counts)]).await;
        for member in 0..3 {
            let viewer = cluster.viewer_at(member);
            eventually_true("the running minute has it", SOON, async || {
                let items = viewer.list_if_known("/api/v1/pipelines/orders/minutes?step=minute").await;
                items.iter().map(counts_of).sum::<Counts>() == acknowledged
            })
            .await;
        }
    }
    for member in 0..3 {
        let answer = cluster.viewer_at(member).get_json(&samples).await;
        assert_eq!(answer["items"].as_array().map(Vec::len), Some(20), "collector {member}: {answer}");
        assert_ne!(answer["partial"], true, "{answer}");
    }
    cluster.freeze(hears);
    let answer = cluster.viewer_at((hears + 1) % 3).get_json(&samples).await;
    assert_eq!(answer["partial"], true, "the collector that has them does not answer: {answer}");
    cluster.thaw(hears);
}

#[tokio::test]
async fn real_agents_and_tail_move_to_another_collector_and_count_once() {
    let mut cluster = Cluster::start_with(3, &["--interval", "300ms"]).await;
    let directory = tempfile::tempdir().unwrap();
    let (mut stubs, mut agents) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let id = format!("orders-{number}");
        let stub = StubVector::new(directory.path(), &id, &["--rate", "50", "--log-rate", "5"]);
        let pipelines = [AgentPipeline::supervised(&id, &stub)];
        let setup = AgentSetup { settings: vec![("urls", json!(cluster.urls()))], ..AgentSetup::default() };
        agents.push(TestAgent::start_with(&cluster.members[0].collector, setup, &pipelines).await);
        stubs.push((id, stub));
    }
    let token = cluster.viewer_at(0).token().unwrap().to_owned();
    let urls = cluster.urls();
    let url_options = urls.iter().flat_map(|url| ["--url", url]);
    let args: Vec<&str> = url_options.chain(["--token", &token, "--types", "log_entry"]).collect();
    let mut tail = Tail::following(&args).await;
    tail.wait_for_line("orders-0", SOON).await;
    for number in 0..3 {
        // Each collector is away once, so each agent and the tail must move.
        cluster.kill(number).await;
        let before = tail.printed().lines().count();
        eventually_true("lines come", SOON, async || tail.printed().lines().count() > before + 5).await;
        cluster.run(number).await;
        cluster.settle(SOON).await;
    }
    for (id, stub) in &stubs {
        stub.pause_and_let_scrape().await;
        let shown = Shown::by(stub);
        let (from, to) = (clock::now_ms() - 3_600_000, clock::now_ms() + 3_600_000);
        let path = format!("/api/v1/pipelines/{id}/minutes?from={from}&to={to}&step=minute");
        for member in 0..3 {
            let viewer = cluster.viewer_at(member);
            eventually_true("everything is counted", SOON, async || {
                let items = viewer.list_if_known(&path).await;
                items.iter().map(counts_of).sum::<Counts>() == shown.total()
            })
            .await;
            shown.assert_minutes(id, &viewer.list(&path).await);
        }
        // It may write more meanwhile.
        let totals = stub.totals();
        let written: u64 = totals.lives.iter().map(|life| life.log_lines).sum();
        let path = format!("/api/v1/logs?pipeline={id}&limit=1000");
        let viewer = cluster.viewer();
        let is_numbered = |item: &Value| item["line"].as_str().is_some_and(|line| line.contains(" line="));
        eventually_true("every line is stored", SOON, async || {
            viewer.list(&path).await.iter().filter(|item| is_numbered(item)).count() as u64 >= written
        })
        .await;
        assert_lines(id, &totals, &viewer.list(&path).await);
    }
    for agent in &mut agents {
        agent.stop().await;
    }
}

#[expect(clippy::print_stderr, reason = "reports a test that is left out")]
fn print(text: &str) {
    eprintln!("{text}");
}
