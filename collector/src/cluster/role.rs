//! Leads or follows: this collector follows the leader, and takes over when there is none.
//!
//! A leader that was killed has lost its lock within milliseconds, and the connection to it ends: then the followers try to
//! claim the role at once. A leader that is cut off, or stopped, still has the lock. After 3 s of silence in the
//! connection and in the database its session is ended. In each case the mark in the database decides: what an
//! earlier leader still sends is not committed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rand::RngExt;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::follow::{FollowEnd, SILENT_AFTER, log_end};
use super::{Cluster, Route};
use crate::control::delivery::Delivery;
use crate::feed::Feed;
use crate::ingest::commit_log::Entry;
use crate::ingest::committer::Committer;
use crate::ingest::fleet::Fleet;
use crate::model::directory::NodeDirectory;
use crate::store::{Claim, ClusterStore, IngestSnapshot, LeaderRow, Store, StoreError};
use crate::tasks::driver::{Driver, TaskPanicked};
use crate::telemetry::logging::chain;
use crate::timeseries::TimeSeries;
use crate::timeseries::recent::RecentSamples;

/// Pause between two tries to find a leader or to become it, with as much again at random.
const RETRY_PAUSE: Duration = Duration::from_millis(125);

/// The same right after a leader was lost: its lock is free within milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Tries with the short pause.
const FIRST_TRIES: u32 = 20;

/// How often a leader says that it works, in the database and to its followers.
const RENEW_INTERVAL: Duration = Duration::from_millis(500);

/// A leader that could not say so for this long steps down: soon another one may lead.
const STEP_DOWN_AFTER: Duration = Duration::from_millis(2_500);

/// How long a database that fails may take to answer one such statement.
const RENEW_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a collector without a leader reads the database, for its queries and subscribers.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Longest time for tasks to stop.
const TASKS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the committer may take to finish what waits.
const COMMITTER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a leader runs.
pub(crate) struct Leading {
    pub committer: Committer,
    pub committer_task: JoinHandle<()>,
    /// Takes no more reports and finishes those that wait.
    pub stop: CancellationToken,
    pub tasks: Driver,
}

/// Starts what a leader runs, and loads what that needs.
#[async_trait]
pub(crate) trait Lead: Send + Sync {
    /// `fenced` is cancelled when another collector may lead.
    async fn start(&self, fenced: CancellationToken) -> Result<Leading, StoreError>;
    /// What a follower needs of the loaded state.
    async fn take_over(&self, snapshot: IngestSnapshot) -> Result<(), StoreError>;
}

/// What a follower keeps up to date.
pub(crate) struct Follower {
    pub cluster: Arc<Cluster>,
    pub store: Arc<dyn Store>,
    pub timeseries: Arc<TimeSeries>,
    pub feed: Arc<Feed>,
    pub fleet: Arc<Fleet>,
    pub directory: Arc<NodeDirectory>,
    pub recent_samples: Arc<RecentSamples>,
    pub delivery: Arc<Delivery>,
    pub rollouts: Arc<Notify>,
    pub state: Arc<dyn Lead>,
}

/// A fault that ends the collector.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("the committer ended unexpectedly")]
    CommitterEnded,
    #[error(transparent)]
    Panicked(#[from] TaskPanicked),
    #[error("cannot load the database")]
    Load(#[source] StoreError),
    #[error("the task that leads or follows failed")]
    Failed(#[source] tokio::task::JoinError),
}

/// The role of this collector, for as long as it runs.
pub(crate) struct RoleTask {
    pub follower: Follower,
    /// `None` on SQLite: it leads alone.
    pub store: Option<Arc<dyn ClusterStore>>,
    pub repeated: Repeated,
}

/// How the last following ended, and how often in a row. A leader that cannot be reached is tried several times a second.
#[derive(Debug, Default)]
pub(crate) struct Repeated(Mutex<(String, u32)>);

impl Repeated {
    /// Whether to log it: less and less often.
    fn is_news(&self, end: &FollowEnd) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = end.to_string();
        *last = if last.0 == text { (text, last.1.saturating_add(1)) } else { (text, 1) };
        last.1.is_power_of_two()
    }
}

/// How a term of this collector ended.
enum TermEnd {
    Stopped,
    Superseded,
    Cut,
    CommitterEnded,
    Panicked(TaskPanicked),
}

impl RoleTask {
    /// Leads or follows until `stop`; at the end nothing that was acknowledged is left undone.
    ///
    /// # Errors
    ///
    /// When a part of a leader has failed that does not come back.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), ClusterError> {
        let (cluster, stopped) = (Arc::clone(&self.follower.cluster), stop.clone());
        tokio::spawn(async move {
            stopped.cancelled().await;
            cluster.stopping.cancel();
        });
        let Some(store) = self.store.clone() else { return self.lead_alone(stop).await };
        let mut reload_at = Instant::now() + RELOAD_INTERVAL;
        let mut tries = 0;
        while !stop.is_cancelled() {
            let turn = self.take_turn(&store, &stop).await?;
            tries = if turn == Turn::Pause { tries + 1 } else { 0 };
            if turn == Turn::Again {
                continue;
            }
            if Instant::now() >= reload_at {
                if let Err(error) = self.follower.load(0).await {
                    tracing::error!(error = %chain(&error), "cannot read the database");
                }
                reload_at = Instant::now() + RELOAD_INTERVAL;
            }
            let pause = if tries <= FIRST_TRIES { FIRST_PAUSE } else { RETRY_PAUSE };
            let pause = pause.mul_f64(1.0 + rand::rng().random_range(0.0..1.0));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    async fn take_turn(&self, store: &Arc<dyn ClusterStore>, stop: &CancellationToken) -> Result<Turn, ClusterError> {
        let cluster = &self.follower.cluster;
        let leader = match timeout(SILENT_AFTER, store.leader()).await {
            Ok(Ok(leader)) => leader,
            Ok(Err(error)) => {
                tracing::error!(error = %chain(&error), "cannot ask the database which collector leads");
                return Ok(Turn::Pause);
            }
            Err(_) => return Ok(Turn::Pause),
        };
        if let Some(url) = other_leader(&leader, cluster) {
            let end = self.follower.follow(&leader, url, stop).await;
            if self.repeated.is_news(&end) {
                log_end(&end);
            }
            if matches!(end, FollowEnd::Stopped | FollowEnd::Resync(_)) {
                return Ok(Turn::Again);
            }
        }
        let claimed = match store.claim(cluster.id.clone(), Claim::IfFree(leader.term)).await {
            Ok(None) if is_silent(store, cluster, leader.term).await => {
                tracing::warn!(term = leader.term, "the collector that leads is silent, ending its session");
                store.claim(cluster.id.clone(), Claim::Depose(leader.term)).await
            }
            claimed => claimed,
        };
        match claimed {
            Ok(Some(term)) => {
                self.lead(store, term, stop).await?;
                Ok(Turn::Again)
            }
            Ok(None) => Ok(Turn::Pause),
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot claim the leadership");
                Ok(Turn::Pause)
            }
        }
    }

    /// On SQLite no other process can lead.
    async fn lead_alone(&self, stop: CancellationToken) -> Result<(), ClusterError> {
        let fenced = CancellationToken::new();
        let mut leading = self.follower.state.start(fenced).await.map_err(ClusterError::Load)?;
        self.follower.cluster.set_route(Route::Local(leading.committer.clone()));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = &mut leading.committer_task => return Err(ClusterError::CommitterEnded),
            panicked = leading.tasks.panicked() => {
                stop_leading(leading).await;
                return Err(panicked.into());
            }
        }
        stop_leading(leading).await;
        Ok(())
    }

    async fn lead(
        &self,
        store: &Arc<dyn ClusterStore>,
        term: u64,
        stop: &CancellationToken,
    ) -> Result<(), ClusterError> {
        let cluster = &self.follower.cluster;
        cluster.set_term(term);
        cluster.take_overs.fetch_add(1, Ordering::Relaxed);
        let fenced = CancellationToken::new();
        let mut leading = match self.follower.state.start(fenced.clone()).await {
            Ok(leading) => leading,
            Err(error) => {
                tracing::error!(error = %chain(&error), term, "cannot load the database to lead");
                if let Err(error) = store.resign().await {
                    tracing::warn!(error = %chain(&error), "cannot give the leadership back");
                }
                return Ok(());
            }
        };
        cluster.set_route(Route::Local(leading.committer.clone()));
        tracing::info!(term, "this collector leads");
        let end = self.keep_leading(store, term, &mut leading, stop).await;
        match end {
            TermEnd::Stopped => {
                stop_leading(leading).await;
                cluster.set_route(Route::None);
                if let Err(error) = store.resign().await {
                    tracing::warn!(error = %chain(&error), "cannot give the leadership back");
                }
                cluster.commit_log.publish(Entry::Resigned);
                cluster.commit_log.cut_off();
                return Ok(());
            }
            TermEnd::Superseded => tracing::warn!(term, "another collector leads now"),
            TermEnd::Cut => tracing::warn!(term, "the database does not answer, stepping down"),
            TermEnd::CommitterEnded => tracing::warn!(term, "the committer has ended, stepping down"),
            TermEnd::Panicked(ref panicked) => tracing::error!(term, %panicked, "stepping down"),
        }
        cluster.set_route(Route::None);
        fenced.cancel();
        cluster.commit_log.cut_off();
        stop_leading(leading).await;
        // The mark of this process is of no more use; the database may not answer.
        let _ = timeout(RENEW_TIMEOUT, store.resign()).await;
        if let TermEnd::Panicked(panicked) = end {
            return Err(panicked.into());
        }
        Ok(())
    }

    async fn keep_leading(
        &self,
        store: &Arc<dyn ClusterStore>,
        term: u64,
        leading: &mut Leading,
        stop: &CancellationToken,
    ) -> TermEnd {
        let commit_log = &self.follower.cluster.commit_log;
        let mut generations = self.follower.delivery.watch();
        let mut renewal = tokio::time::interval(RENEW_INTERVAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return TermEnd::Stopped,
                _ = &mut leading.committer_task => return TermEnd::CommitterEnded,
                panicked = leading.tasks.panicked() => return TermEnd::Panicked(panicked),
                changed = generations.recv() => match changed {
                    Ok(changed) => commit_log.publish(Entry::Generations(changed)),
                    // Followers read them again with everything else.
                    Err(broadcast::error::RecvError::Lagged(_)) => commit_log.cut_off(),
                    Err(broadcast::error::RecvError::Closed) => return TermEnd::CommitterEnded,
                },
                _ = renewal.tick() => match timeout(RENEW_TIMEOUT, store.renew(term)).await {
                    Ok(Ok(())) => {
                        renewed_at = Instant::now();
                        commit_log.publish(Entry::Alive);
                    }
                    Ok(Err(StoreError::Superseded)) => return TermEnd::Superseded,
                    Ok(Err(_)) | Err(_) if renewed_at.elapsed() >= STEP_DOWN_AFTER => return TermEnd::Cut,
                    Ok(Err(_)) | Err(_) => {}
                },
            }
        }
    }
}

/// What comes after a try.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Again,
    Pause,
}

/// The address of a leader that is another process and was heard of lately.
fn other_leader<'a>(leader: &'a LeaderRow, cluster: &Cluster) -> Option<&'a str> {
    let is_other = leader.id.as_deref().is_some_and(|id| id != cluster.id);
    // An earlier process of this address is gone.
    let url = leader.url.as_deref().filter(|url| *url != cluster.url)?;
    (is_other && !has_been_silent(leader)).then_some(url)
}

fn has_been_silent(leader: &LeaderRow) -> bool {
    u128::try_from(leader.silent_ms).is_ok_and(|silent| silent >= SILENT_AFTER.as_millis())
}

/// Whether the leader of this term has written nothing for too long, or was a process at the address of this one.
async fn is_silent(store: &Arc<dyn ClusterStore>, cluster: &Cluster, term: u64) -> bool {
    let is_gone = |leader: LeaderRow| {
        leader.term == term && (has_been_silent(&leader) || leader.url.as_deref() == Some(&*cluster.url))
    };
    store.leader().await.is_ok_and(is_gone)
}

/// Sources first, then the committer finishes what waits.
async fn stop_leading(leading: Leading) {
    leading.tasks.stop(TASKS_TIMEOUT).await;
    leading.stop.cancel();
    // Its end may have been the reason.
    if !leading.committer_task.is_finished() && timeout(COMMITTER_TIMEOUT, leading.committer_task).await.is_err() {
        tracing::error!("the last reports were not committed in time; their agents will send them again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_end_is_logged_less_and_less_often() {
        let repeated = Repeated::default();
        let logged = (1..=20).filter(|_| repeated.is_news(&FollowEnd::Ended)).count();
        assert_eq!(logged, 5, "the first, second, fourth, eighth and sixteenth time");
        assert!(repeated.is_news(&FollowEnd::Resigned) && repeated.is_news(&FollowEnd::Ended), "another end is news");
    }
}
