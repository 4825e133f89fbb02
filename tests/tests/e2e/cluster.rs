//! Three collectors on one PostgreSQL; see [`systole_tests::oracle::cluster`].

use std::time::Duration;

use indicatif::ProgressBar;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::{Cluster, Network};
use systole_tests::oracle::cluster::recovery::{LeaderFault, measure};
use systole_tests::oracle::cluster::{ClusterPlan, Ordeal, run};

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

#[expect(clippy::print_stderr, reason = "reports a test that is left out")]
fn print(text: &str) {
    eprintln!("{text}");
}
