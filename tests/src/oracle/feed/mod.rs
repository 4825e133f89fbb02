//! The oracle of the feed: many subscribers with different filters connect and disconnect while the
//! collector is killed repeatedly. Every durable event that matches arrives once and in
//! order, or lies in an announced gap. Then a backup replaces the database, and every subscriber receives
//! a reset.
//!
//! The expected events have two sources: the fleet's ledger has what must be stored, and the stored data
//! has the numbers of the events.

pub mod filter;
pub mod record;
pub mod subscriber;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use systole_shared::BootId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use self::filter::{Filter, World};
use self::record::Record;
use self::subscriber::{Goal, Subscriber};
use super::agent;
use super::check::{Checker, Stored};
use super::faults::Faults;
use super::ledger::SharedLedger;
use super::{PrintSeed, SEED};
use crate::clock;
use crate::harness::reports::{pipeline, with_lines};
use crate::harness::{ApiClient, NodeClient, TestCollector, TestPostgres};

const ENVIRONMENTS: [&str; 3] = ["red", "green", "blue"];
const NODES_OF_EACH: usize = 2;
/// Fewer than a token may have, for a reset is not noticed at once.
const SUBSCRIBERS_PER_TOKEN: usize = 20;
const HOURS_BACK_MS: i64 = 5 * 3_600_000;
/// Until everything that waits is acknowledged.
const DRAINED: Duration = Duration::from_secs(90);
/// Until everyone has found the new epoch.
const FOUND: Duration = Duration::from_secs(90);
/// Lines of each pipeline in the new epoch.
const LATER_LINES: u64 = 10;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct FeedPlan {
    /// Decides everything but time.
    pub seed: u64,
    /// Number of times that the collector is killed.
    pub kills: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// A server that may be crashed; else the collector is on SQLite.
    pub server: Option<Arc<TestPostgres>>,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeedOutcome {
    /// Lines and changes that are stored.
    pub stored: u64,
    /// Those that came, over all subscribers.
    pub came: u64,
    /// Those that did not come and lie in announced gaps.
    pub in_gaps: u64,
    /// Connections.
    pub connections: u64,
    /// Subscribers that received a reset, because the database was replaced.
    pub resets: u64,
    /// Of the second database.
    pub came_later: u64,
}

impl fmt::Display for FeedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines and changes came {} times over {} connections ({} in announced gaps); {} resets, {} came then",
            self.stored, self.came, self.connections, self.in_gaps, self.resets, self.came_later
        )
    }
}

impl FeedPlan {
    /// By the seed of the environment, or else by a new one.
    pub fn new(kills: usize, subscribers: usize, server: Option<Arc<TestPostgres>>) -> Self {
        let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
        FeedPlan { seed: given.unwrap_or_else(rand::random), kills, subscribers, server }
    }
}

/// Runs it; panics when something is lost, repeated, out of order, or seen by the wrong subscriber.
pub async fn run(plan: FeedPlan, bar: &ProgressBar) -> FeedOutcome {
    let _seed = PrintSeed(plan.seed);
    let mut random = StdRng::seed_from_u64(plan.seed);
    let from = clock::now_ms() - HOURS_BACK_MS;
    let mut collector = match &plan.server {
        Some(server) => TestCollector::start_on_postgres(server).await,
        None => TestCollector::start().await,
    };
    let (world, nodes) = settle(&collector, &[collector.url()]).await;
    let world = Arc::new(world);
    let viewer = collector.viewer().await;
    let pipelines = world.pipelines.values().flatten().cloned().collect();
    let checker = Checker {
        viewer,
        pipelines,
        nodes: nodes.iter().map(|(node, _)| node.id).collect(),
        from,
        lag: Duration::ZERO,
    };
    let subscribers = invite(&collector, &[collector.address()], &world, plan.subscribers, &mut random).await;

    let ledger = SharedLedger::default();
    let (stop, stopped) = watch::channel(false);
    let mut fleet = JoinSet::new();
    for (node, pipelines) in &nodes {
        let node = node.reconnected();
        fleet.spawn(agent::run(node, pipelines.clone(), random.random(), ledger.clone(), stopped.clone()));
    }
    let (reach, goal) = watch::channel(None);
    let mut running: JoinSet<_> = subscribers.into_iter().map(|subscriber| subscriber.run(goal.clone())).collect();
    let mut faults = Faults { collector, server: plan.server.clone(), has_disk: false, random };
    for kill in 1..=plan.kills {
        faults.let_run().await;
        faults.kill().await;
        if let Some(ended) = running.try_join_next() {
            ended.expect("no subscriber panics");
        }
        bar.set_position(kill as u64);
    }
    faults.let_run().await;
    stop.send_replace(true);
    timeout(DRAINED, all_of(fleet)).await.expect("everything that waits is acknowledged in time");
    let ledger = ledger.open().clone();
    let stored = Arc::new(checker.check_all(&ledger).await);
    reach.send_replace(Some(Goal { stored: Arc::clone(&stored), epochs: 1 }));
    let subscribers = all_of(running).await;
    let mut outcome = FeedOutcome { stored: count(&stored), ..FeedOutcome::default() };
    for one in &subscribers {
        let (came, in_gaps) = one.record.compare(&one.filter, &world, &stored);
        outcome.came += came;
        outcome.in_gaps += in_gaps;
        outcome.connections += one.connections;
        assert_eq!(one.record.resets, 0, "the database is the same");
    }
    let number_of = |node: &NodeClient, id: &String| ledger.lines.get(&(node.id, id.clone())).copied().unwrap_or(0);
    replace_database(&mut faults.collector, plan.server.is_some()).await;
    let all_found = find_the_new_epoch(subscribers).await;
    for (mut node, pipelines) in nodes {
        // The agent's next boot.
        (node.boot, node.next_seq) = (BootId(Uuid::now_v7()), 1);
        for number in 1..=LATER_LINES {
            let line = |id: &String| format!("{} {id} {}", node.id, number_of(&node, id) + number);
            let reports = pipelines.iter().map(|id| with_lines(pipeline(id, "RUNNING"), clock::now_ms(), [line(id)]));
            let reports = reports.collect();
            node.report(reports).await;
        }
    }
    let stored = Arc::new(checker.stored().await);
    let (_reach, goal) = watch::channel(Some(Goal { stored: Arc::clone(&stored), epochs: 2 }));
    let running: JoinSet<_> = all_found.into_iter().map(|subscriber| subscriber.run(goal.clone())).collect();
    for one in all_of(running).await {
        let (came, in_gaps) = one.record.compare(&one.filter, &world, &stored);
        assert_eq!(in_gaps, 0, "nothing has happened since the reset");
        outcome.came_later += came;
        outcome.resets += u64::from(one.record.resets > 0);
    }
    outcome
}

/// Environments with nodes; each node has one own pipeline and one that its environment shares. `urls` are the
/// addresses of the collectors; one node begins at each in turn.
pub async fn settle(collector: &TestCollector, urls: &[String]) -> (World, Vec<(NodeClient, Vec<String>)>) {
    let (mut world, mut nodes) = (World::default(), Vec::new());
    for name in ENVIRONMENTS {
        collector.create_environment(name).await;
        let token = collector.create_token("enroll", Some(name)).await;
        let shared = format!("shared-{name}");
        let mut all = vec![shared.clone()];
        for number in 0..NODES_OF_EACH {
            let client = ApiClient::of_several(urls).beginning_at(nodes.len());
            let node = NodeClient::enroll_with(&client, token.token.reveal(), &format!("{name}-{number}")).await;
            let own = format!("own-{name}-{number}");
            all.push(own.clone());
            world.nodes.insert(node.id, name.to_owned());
            nodes.push((node, vec![shared.clone(), own]));
        }
        world.pipelines.insert(name.to_owned(), all);
    }
    (world, nodes)
}

/// Subscribers with filters and tokens, not connected yet. Each connects to any of the addresses, again and again.
pub async fn invite(
    collector: &TestCollector,
    addresses: &[SocketAddr],
    world: &Arc<World>,
    count: usize,
    random: &mut StdRng,
) -> Vec<Subscriber> {
    let mut tokens: std::collections::BTreeMap<Option<String>, (String, usize)> = std::collections::BTreeMap::new();
    let mut subscribers = Vec::with_capacity(count);
    for _ in 0..count {
        let filter = Filter::any(world, random);
        let used = tokens.get(&filter.token).map_or(0, |(_, used)| *used);
        if used.is_multiple_of(SUBSCRIBERS_PER_TOKEN) {
            let token = collector.create_token("viewer", filter.token.as_deref()).await;
            tokens.insert(filter.token.clone(), (token.token.reveal().to_owned(), 0));
        }
        let (token, used) = tokens.get_mut(&filter.token).expect("it was made above");
        *used += 1;
        subscribers.push(Subscriber {
            addresses: addresses.to_vec(),
            token: token.clone(),
            filter,
            world: Arc::clone(world),
            record: Record::default(),
            connections: 0,
            random: StdRng::seed_from_u64(random.random()),
        });
    }
    subscribers
}

/// Replaces the database by a copy. It has the same events under the same numbers, so that only the
/// epoch shows the difference.
async fn replace_database(collector: &mut TestCollector, is_on_server: bool) {
    let backup = collector.directory().join("feed.backup");
    collector.cli(&["backup", text(&backup)]).await;
    collector.stop().await;
    if is_on_server {
        collector.move_to_postgres(&Arc::new(TestPostgres::alone()));
    }
    // On SQLite it takes the place of a file with data.
    let force = if is_on_server { &[][..] } else { &["--force"] };
    collector.cli(&[&["restore", text(&backup)], force].concat()).await;
    collector.run().await;
}

/// Every subscriber connects with an id of the replaced database, and finds its position in the new one.
async fn find_the_new_epoch(subscribers: Vec<Subscriber>) -> Vec<Subscriber> {
    let nothing = Goal { stored: Arc::default(), epochs: 2 };
    let (_reach, goal) = watch::channel(Some(nothing));
    let running: JoinSet<_> = subscribers.into_iter().map(|subscriber| subscriber.run(goal.clone())).collect();
    timeout(FOUND, all_of(running)).await.expect("every subscriber finds the new epoch in time")
}

pub(super) async fn all_of<T: 'static>(mut set: JoinSet<T>) -> Vec<T> {
    let mut all = Vec::with_capacity(set.len());
    while let Some(ended) = set.join_next().await {
        all.push(ended.expect("no subscriber panics"));
    }
    all
}

pub(super) fn count(stored: &Stored) -> u64 {
    stored.lines.values().map(|lines| lines.len() as u64).sum::<u64>() + stored.changes.len() as u64
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of our own is text")
}
