//! The oracle: a fleet with known counts, lines and changes reports through a bad network
//! to a collector that is killed repeatedly, and at the end the collector has everything once.
//!
//! The nodes behave like agents: they keep what is not acknowledged and send it again, oldest first, under
//! its original boot. Reports of several hours arrive late, so that hours and days are summed
//! again. It asks the query API only, during the run and after a clean restart;
//! how a collector stores the data can change without it.

pub mod agent;
pub mod check;
pub mod cluster;
pub mod faults;
pub mod feed;
pub mod ledger;
pub mod watcher;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::check::Checker;
use self::faults::Faults;
use self::ledger::SharedLedger;
use crate::clock;
use crate::harness::agent::can_mount;
use crate::harness::{ApiClient, ChaosProxy, FaultSchedule, Feed, NodeClient, TestCollector, TestPostgres};

/// Environment variable with the seed that a failing run printed.
pub const SEED: &str = "SYSTOLE_ORACLE_SEED";

const NODES: usize = 4;
/// Pipelines that only one node has, on each.
const OWN_PIPELINES: usize = 2;
/// A pipeline that all nodes have.
const SHARED: &str = "shared";
/// Size of the disk of a collector whose disk is filled.
const DISK_BYTES: u64 = 512 << 20;
/// The disk guard refuses reports before the disk is full; this run tests a collector without it.
const NO_GUARD: &str = "low_disk_warn_bytes = 0\nlow_disk_stop_bytes = 0\n";
/// Readers that query all the time, so that every phase of the collector has a query.
const READERS: usize = 2;
/// Until everything that waits is acknowledged, in a calm network.
const DRAINED: Duration = Duration::from_secs(90);
const HOURS_BACK_MS: i64 = 5 * 3_600_000;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything but time.
    pub seed: u64,
    /// Number of times that the collector is killed.
    pub kills: usize,
    /// Number of times that the disk is full for a while; SQLite only, where a process can have a separate disk.
    pub full_disks: usize,
    /// A server that may be crashed; else the collector is on SQLite.
    pub server: Option<Arc<TestPostgres>>,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Reports made, all of them found.
    pub reports: u64,
    /// Lines.
    pub lines: u64,
    /// Changes of state.
    pub changes: u64,
    /// Events that the subscriber missed and that lie in announced gaps.
    pub events_in_gaps: u64,
    /// Boots of agents.
    pub boots: u64,
    /// Requests without a response, and those answered 5xx.
    pub failed_requests: (u64, u64),
    /// Whether the disk was full for a while.
    pub disk_was_full: bool,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, put_off) = self.failed_requests;
        write!(
            f,
            "{} reports of {} lives, {} lines, {} changes of state ({} events in announced gaps); {failed} requests \
             failed, {put_off} were put off",
            self.reports, self.boots, self.lines, self.changes, self.events_in_gaps
        )
    }
}

impl Plan {
    /// With the seed of the environment, or else a new one; a failing run prints it.
    pub fn new(kills: usize, full_disks: usize, server: Option<Arc<TestPostgres>>) -> Self {
        let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
        Plan { seed: given.unwrap_or_else(rand::random), kills, full_disks, server }
    }
}

/// Runs it; panics when something is lost, repeated, or out of order.
pub async fn run(plan: Plan, bar: &ProgressBar) -> Outcome {
    let _seed = PrintSeed(plan.seed);
    let mut random = StdRng::seed_from_u64(plan.seed);
    let from = clock::now_ms() - HOURS_BACK_MS;
    let has_disk = plan.full_disks > 0 && plan.server.is_none() && can_mount().await;
    let config = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(config.path(), NO_GUARD).expect("a file can be written");
    let options = ["--config", config.path().to_str().expect("a path of our own is text")];
    let mut collector = match &plan.server {
        Some(server) => TestCollector::start_on_postgres_with(server, &options).await,
        None if has_disk => TestCollector::start_on_lasting_disk_of(DISK_BYTES, &options).await,
        None => TestCollector::start().await,
    };
    let proxy = ChaosProxy::start(&collector.url(), FaultSchedule::CALM).await;
    let token = collector.create_token("enroll", None).await;
    let viewer = collector.viewer().await;

    let (stop, stopped) = watch::channel(false);
    let (leave, left) = watch::channel(false);
    let feed = Feed::open(&viewer, watcher::TYPES).await;
    let watching = tokio::spawn(watcher::watch(feed, random.random(), left));
    let ledger = SharedLedger::default();
    let pipelines = vec![SHARED.to_owned()];
    let mut checker = Checker { viewer, pipelines, nodes: Vec::new(), from, lag: Duration::ZERO };
    let mut fleet = JoinSet::new();
    for number in 0..NODES {
        // A separate client, so that nodes share no connection.
        let client = ApiClient::new(&proxy.url());
        let node = NodeClient::enroll_with(&client, token.token.reveal(), &format!("n{number}")).await;
        let own: Vec<String> = (0..OWN_PIPELINES).map(|pipeline| format!("own-{number}-{pipeline}")).collect();
        checker.nodes.push(node.id);
        checker.pipelines.extend(own.iter().cloned());
        let pipelines = [vec![SHARED.to_owned()], own].concat();
        fleet.spawn(agent::run(node, pipelines, random.random(), ledger.clone(), stopped.clone()));
    }
    proxy.set_schedule(FaultSchedule::Random { seed: random.random() });
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        readers.spawn(checker.clone().check_all_the_time(ledger.clone(), stopped.clone()));
    }

    let mut faults = Faults { collector, server: plan.server.clone(), has_disk, random };
    for kill in 1..=plan.kills {
        faults.let_run().await;
        faults.kill().await;
        if plan.full_disks > 0 && kill % plan.kills.div_ceil(plan.full_disks + 1) == 0 {
            faults.fill_disk().await;
        }
        if let Some(ended) = fleet.try_join_next() {
            ended.expect("no node panics");
        }
        if let Some(ended) = readers.try_join_next() {
            ended.expect("no reader panics");
        }
        bar.set_position(kill as u64);
    }
    faults.let_run().await;

    let reported_until = clock::now_ms();
    stop.send_replace(true);
    proxy.set_schedule(FaultSchedule::CALM);
    let drained = async {
        while let Some(ended) = fleet.join_next().await {
            ended.expect("no node panics");
        }
    };
    timeout(DRAINED, drained).await.expect("everything that waits is acknowledged in time");
    readers.join_all().await;
    let ledger = ledger.open().clone();
    assert_eq!(ledger.durable, ledger.made);
    let stored = checker.check_all(&ledger).await;
    checker.check_reachable(reported_until).await;
    leave.send_replace(true);
    let mut feed = watching.await.expect("the subscriber does not panic");
    let events_in_gaps = watcher::check(&mut feed, &stored).await;
    drop(feed);

    faults.collector.stop().await;
    faults.collector.run().await;
    assert_eq!(checker.check_all(&ledger).await, stored, "a clean restart changes nothing");
    Outcome {
        reports: ledger.reports,
        lines: ledger.lines.values().sum(),
        changes: stored.changes.len() as u64,
        events_in_gaps,
        boots: ledger.boots,
        failed_requests: (ledger.failures, ledger.put_off),
        disk_was_full: has_disk,
    }
}

/// Prints the seed of a run that fails.
struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print(&format!("---- oracle: {SEED}={} repeats this run ----\n", self.0));
        }
    }
}

#[expect(clippy::print_stderr, reason = "the output of a failing test")]
fn print(text: &str) {
    eprint!("{text}");
}
