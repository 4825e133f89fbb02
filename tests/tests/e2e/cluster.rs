//! Three collectors on one PostgreSQL; see [`systole_tests::oracle::cluster`].

use std::time::Duration;

use indicatif::ProgressBar;
use systole_tests::harness::Cluster;
use systole_tests::oracle::cluster::recovery::{LeaderFault, measure};
use systole_tests::oracle::cluster::{ClusterPlan, run};

#[tokio::test]
async fn any_collector_may_fail_and_nothing_is_lost_or_doubled() {
    let outcome = run(ClusterPlan::new(8, 30), &ProgressBar::hidden()).await;
    assert!(outcome.stored > 100 && outcome.came > 1_000 && outcome.connections > 100, "{outcome}");
    assert!(outcome.faults.len() == 8 && outcome.failed_requests.0 > 0, "no faults came true: {outcome}");
    assert!(outcome.in_gaps * 10 < outcome.came, "gaps are the exception: {outcome}");
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
