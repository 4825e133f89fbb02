//! The oracle of a cluster: several collectors on one PostgreSQL while any of them fails in any way.
//!
//! The fleet and the subscribers are those of the oracle of the feed, with the addresses of all collectors: a node
//! goes to the next one after a failure, a subscriber connects to any of them with its last id. At the end each
//! collector by itself has everything once, under the same numbers.

pub mod faults;
pub mod recovery;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::faults::{Fault, Faults};
use super::agent;
use super::check::Checker;
use super::feed::subscriber::Goal;
use super::feed::{all_of, count, invite, settle};
use super::ledger::SharedLedger;
use super::{PrintSeed, SEED};
use crate::clock;
use crate::harness::Cluster;

const HOURS_BACK_MS: i64 = 5 * 3_600_000;
/// Until everything that waits is acknowledged.
const DRAINED: Duration = Duration::from_secs(90);
/// How long a collector may be behind what another one has acknowledged: until a take-over is done.
const LAG: Duration = Duration::from_secs(15);

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// Decides everything but time.
    pub seed: u64,
    /// What happens to the collectors.
    pub ordeal: Ordeal,
    /// Collectors.
    pub members: usize,
    /// Whether each collector is on a host of its own, so that cuts drop packets.
    pub on_hosts: bool,
    /// Subscribers.
    pub subscribers: usize,
}

/// What happens to the collectors.
#[derive(Clone, Debug)]
pub enum Ordeal {
    /// So many faults.
    Faults(usize),
    /// They run this program first, and are upgraded one after the other.
    Upgrade(PathBuf),
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct ClusterOutcome {
    /// How often each fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// Reports made, all of them found.
    pub reports: u64,
    /// Lines and changes that are stored.
    pub stored: u64,
    /// Those that came, over all subscribers.
    pub came: u64,
    /// Those that did not come and lie in announced gaps.
    pub in_gaps: u64,
    /// Connections of subscribers.
    pub connections: u64,
    /// Requests without a response, and those answered 5xx.
    pub failed_requests: (u64, u64),
}

impl fmt::Display for ClusterOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, put_off) = self.failed_requests;
        write!(
            f,
            "{} reports; {} lines and changes came {} times over {} connections ({} in announced gaps); \
             {failed} requests failed, {put_off} were put off; faults: {:?}",
            self.reports, self.stored, self.came, self.connections, self.in_gaps, self.faults
        )
    }
}

impl ClusterPlan {
    /// With the seed of the environment, or else a new one; a failing run prints it.
    pub fn new(ordeal: Ordeal, subscribers: usize) -> Self {
        let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
        let seed = given.unwrap_or_else(rand::random);
        ClusterPlan { seed, ordeal, members: 3, on_hosts: false, subscribers }
    }
}

/// Runs it; panics when something is lost, repeated or out of order, when a node is called unreachable, or when the
/// collectors differ.
pub async fn run(plan: ClusterPlan, bar: &ProgressBar) -> ClusterOutcome {
    let _seed = PrintSeed(plan.seed);
    let mut random = StdRng::seed_from_u64(plan.seed);
    let from = clock::now_ms() - HOURS_BACK_MS;
    let cluster = match &plan.ordeal {
        Ordeal::Upgrade(program) => Cluster::start_program(plan.members, program).await,
        Ordeal::Faults(_) if plan.on_hosts => Cluster::start_on_hosts(plan.members).await,
        Ordeal::Faults(_) => Cluster::start(plan.members).await,
    };
    let (world, nodes) = settle(&cluster.members[0].collector, &cluster.urls()).await;
    let world = Arc::new(world);
    let pipelines = world.pipelines.values().flatten().cloned().collect();
    let node_ids = nodes.iter().map(|(node, _)| node.id).collect();
    let checker = Checker { viewer: cluster.viewer(), pipelines, nodes: node_ids, from, lag: LAG };
    let addresses: Vec<_> = cluster.members.iter().map(|member| member.collector.address()).collect();
    let subscribers = invite(&cluster.members[0].collector, &addresses, &world, plan.subscribers, &mut random).await;

    let ledger = SharedLedger::default();
    let (stop, stopped) = watch::channel(false);
    let mut fleet = JoinSet::new();
    for (node, pipelines) in &nodes {
        let node = node.reconnected();
        fleet.spawn(agent::run(node, pipelines.clone(), random.random(), ledger.clone(), stopped.clone()));
    }
    let (reach, goal) = watch::channel(None);
    let mut running: JoinSet<_> = subscribers.into_iter().map(|subscriber| subscriber.run(goal.clone())).collect();
    let mut readers = JoinSet::new();
    for number in 0..plan.members {
        let viewer = cluster.viewer().beginning_at(number);
        let checker = Checker { viewer, ..checker.clone() };
        readers.spawn(checker.check_all_the_time(ledger.clone(), stopped.clone()));
    }

    let mut faults = Faults { cluster, random };
    let mut outcome = ClusterOutcome::default();
    let rounds = match plan.ordeal {
        Ordeal::Faults(rounds) => rounds,
        Ordeal::Upgrade(_) => plan.members,
    };
    for round in 1..=rounds {
        match plan.ordeal {
            Ordeal::Faults(_) => {
                let fault = Fault::of_round(round, &mut faults.random);
                *outcome.faults.entry(fault.name()).or_default() += 1;
                faults.apply(fault).await;
            }
            Ordeal::Upgrade(_) => faults.upgrade_next().await,
        }
        for set in [&mut fleet, &mut readers] {
            if let Some(ended) = set.try_join_next() {
                ended.expect("no node and no reader panics");
            }
        }
        if let Some(ended) = running.try_join_next() {
            ended.expect("no subscriber panics");
        }
        bar.set_position(round as u64);
    }
    // The checks take longer than a silent node stays reachable.
    let reported_until = clock::now_ms();
    stop.send_replace(true);
    timeout(DRAINED, all_of(fleet)).await.expect("everything that waits is acknowledged in time");
    readers.join_all().await;
    let ledger = ledger.open().clone();

    let stored = Arc::new(checker.check_all(&ledger).await);
    for number in 0..plan.members {
        let alone = Checker { viewer: faults.cluster.viewer_at(number), ..checker.clone() };
        assert!(alone.check_all(&ledger).await == *stored, "collector {number} numbers its events otherwise");
    }
    checker.check_reachable(reported_until).await;

    reach.send_replace(Some(Goal { stored: Arc::clone(&stored), epochs: 1 }));
    for one in all_of(running).await {
        let (came, in_gaps) = one.record.compare(&one.filter, &world, &stored);
        assert_eq!(one.record.resets, 0, "the database is the same");
        outcome.came += came;
        outcome.in_gaps += in_gaps;
        outcome.connections += one.connections;
    }
    outcome.reports = ledger.reports;
    outcome.stored = count(&stored);
    outcome.failed_requests = (ledger.failures, ledger.put_off);
    outcome
}
