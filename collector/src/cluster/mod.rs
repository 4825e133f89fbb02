//! Several collectors on one PostgreSQL: one leads and commits, all of them serve.
//!
//! The database is the only coordinator. The collector that holds its lock, and whose mark is in it, is the leader: it alone runs
//! the committer, the flush, liveness and the other background tasks (`role`). Every collector takes reports and hands
//! them to the leader (`link`), and takes over what the leader has committed (`follow`), in the leader's order: so
//! each of them has the same events under the same ids, and answers queries by itself. `serve` is the leader's
//! side of the connection, `wire` its form, `pinned` its TLS.
//!
//! A collector on SQLite leads alone. See docs/adr/0015-one-leader.md.

mod follow;
mod link;
pub(crate) mod members;
pub(crate) mod peers;
mod pinned;
mod role;
pub(crate) mod serve;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use self::link::Link;
use self::peers::Peers;
pub(crate) use self::pinned::fingerprint;
pub(crate) use self::role::{ClusterError, Follower, Lead, Leading, Repeated, RoleTask};
use self::serve::Session;
use crate::ingest::commit_log::CommitLog;
use crate::ingest::committer::{AdministerError, Committed, Committer, NodeAction, SubmitError};
use crate::model::NodeKey;
use crate::model::report::{Content, Submission};

/// How long a request waits for a leader, and for its answer. Agents try the next address after 5 s.
const HOLD: Duration = Duration::from_secs(4);

/// The way to the committer.
#[derive(Clone)]
pub(crate) enum Route {
    /// No leader is known.
    None,
    /// In this process.
    Local(Committer),
    /// In another one.
    Leader(Arc<Link>),
}

/// What this collector is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Role {
    /// It has no leader at the moment.
    #[default]
    Alone,
    Follower,
    Leader,
}

impl Role {
    /// As the API and metrics write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::Alone => "no leader",
            Role::Follower => "follower",
            Role::Leader => "leader",
        }
    }
}

/// This collector among the others.
pub(crate) struct Cluster {
    /// Made at each start.
    pub id: String,
    /// Where the others reach it.
    pub url: String,
    /// What collectors of this database identify themselves with; `None` on SQLite.
    pub secret: Option<String>,
    pub commit_log: Arc<CommitLog>,
    route: watch::Sender<Route>,
    term: AtomicU64,
    /// Requests that were handed to another collector.
    pub forwarded: AtomicU64,
    /// How often this collector became the leader.
    pub take_overs: AtomicU64,
    /// Cancelled when this collector stops: it will have no leader any more.
    stopping: CancellationToken,
    /// Ways to the other collectors.
    pub peers: Peers,
    /// When the leader last said that it works.
    heard_at: Mutex<Option<Instant>>,
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
}

impl Cluster {
    /// Without a leader yet.
    pub(crate) fn new(id: String, url: String, secret: Option<String>) -> Self {
        Cluster {
            id,
            url,
            secret,
            commit_log: Arc::default(),
            route: watch::Sender::new(Route::None),
            term: AtomicU64::new(0),
            forwarded: AtomicU64::new(0),
            take_overs: AtomicU64::new(0),
            stopping: CancellationToken::new(),
            peers: Peers::default(),
            heard_at: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// Commits a submission, wherever the committer is. Waits for a leader up to [`HOLD`].
    ///
    /// # Errors
    ///
    /// When it was not committed, or when it is not known whether it was: then the agent sends it again.
    pub(crate) async fn submit(&self, mut submission: Submission) -> Result<Committed, SubmitError> {
        let until = Instant::now() + HOLD;
        if self.secret.is_some() {
            self.peers.note_heard(submission.node);
        }
        // What has no number counts as often as it comes.
        let is_repeatable = matches!(submission.content, Content::Growth { .. });
        loop {
            match self.route_by(until).await {
                None => return Err(SubmitError::NoLeader),
                Some(Route::Local(committer)) if self.secret.is_none() => return committer.submit(submission).await,
                Some(Route::Local(committer)) => {
                    submission.heard_by = None;
                    let committed = timeout_at(until, committer.submit(submission)).await;
                    return committed.unwrap_or(Err(SubmitError::NoLeader));
                }
                Some(Route::Leader(link)) => {
                    self.forwarded.fetch_add(1, Ordering::Relaxed);
                    let committed = timeout_at(until, link.submit(&submission)).await;
                    match committed.unwrap_or(Err(SubmitError::NoLeader)) {
                        Err(SubmitError::NoLeader) if is_repeatable && Instant::now() < until => {
                            self.forget(&link);
                        }
                        other => return other,
                    }
                }
                Some(Route::None) => {}
            }
        }
    }

    /// Does what an administrator asks, wherever the committer is. Returns what was changed, for people.
    ///
    /// # Errors
    ///
    /// When it was not done, or when it is not known whether it was.
    pub(crate) async fn administer(&self, node: NodeKey, action: NodeAction) -> Result<Vec<String>, AdministerError> {
        let until = Instant::now() + HOLD;
        match self.route_by(until).await {
            Some(Route::Local(committer)) => committer.administer(node, action).await,
            Some(Route::Leader(link)) => {
                let done = timeout_at(until, link.administer(node, action)).await;
                done.unwrap_or(Err(AdministerError::NoLeader))
            }
            Some(Route::None) | None => Err(AdministerError::NoLeader),
        }
    }

    /// Whether reports can be committed: everything that was handed to a committer in this process before is done, or
    /// another collector leads and is connected.
    pub(crate) async fn is_ready(&self) -> bool {
        let route = self.route.borrow().clone();
        match route {
            Route::None => false,
            Route::Local(committer) => committer.barrier().await,
            Route::Leader(link) => link.is_open(),
        }
    }

    /// Whether this collector leads.
    pub(crate) fn role(&self) -> Role {
        match &*self.route.borrow() {
            Route::None => Role::Alone,
            Route::Local(_) => Role::Leader,
            Route::Leader(_) => Role::Follower,
        }
    }

    /// Requests that wait for the committer of this process, or for the answer of the leader.
    pub(crate) fn queue_len(&self) -> usize {
        match &*self.route.borrow() {
            Route::None => 0,
            Route::Local(committer) => committer.queue_len(),
            Route::Leader(link) => link.waiting(),
        }
    }

    /// The term of the last known leader.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    fn set_term(&self, term: u64) {
        self.term.store(term, Ordering::Relaxed);
    }

    /// How long ago the leader last said that it works. Zero in the leader itself.
    pub(crate) fn lag(&self) -> Option<Duration> {
        match self.role() {
            Role::Leader => Some(Duration::ZERO),
            Role::Follower | Role::Alone => self.heard().map(|at| at.elapsed()),
        }
    }

    /// Waits until this collector leads or follows.
    pub(crate) async fn has_role(&self) {
        let mut route = self.route.subscribe();
        // The sender is a part of this.
        let _ = route.wait_for(|route| !matches!(route, Route::None)).await;
    }

    /// Reports that rollouts may have something to do, to the collector that runs them.
    fn wake_rollouts(&self) {
        if let Route::Leader(link) = &*self.route.borrow() {
            link.wake_rollouts();
        }
    }

    fn heard(&self) -> Option<Instant> {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_heard(&self) {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn set_route(&self, route: Route) {
        self.route.send_replace(route);
    }

    /// Takes a link out of use that has ended, unless another route is there already.
    fn forget(&self, ended: &Arc<Link>) {
        self.route.send_if_modified(|route| {
            let is_same = matches!(route, Route::Leader(link) if Arc::ptr_eq(link, ended));
            if is_same {
                *route = Route::None;
            }
            is_same
        });
    }

    async fn route_by(&self, until: Instant) -> Option<Route> {
        let mut route = self.route.subscribe();
        tokio::select! {
            biased;
            found = route.wait_for(|route| !matches!(route, Route::None)) => found.ok().map(|route| route.clone()),
            () = self.stopping.cancelled() => None,
            () = sleep_until(until) => None,
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u64, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
