//! What the collector that leads runs: the committer, and the tasks of which there is one in a cluster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use systole_shared::NodeStatus;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alerts::board::AlertBoard;
use crate::alerts::target::Sender;
use crate::auth::Authenticator;
use crate::cluster::{Cluster, Lead, Leading};
use crate::config::{Config, LogSearch, Retention};
use crate::control::delivery::Delivery;
use crate::feed::Feed;
use crate::ingest::committer::{Committer, CommitterParts};
use crate::ingest::fleet::Fleet;
use crate::ingest::state::{IngestState, NodeState};
use crate::model::directory::NodeDirectory;
use crate::model::live::LiveNode;
use crate::model::watched::WatchedStates;
use crate::store::{IngestSnapshot, Store, StoreError};
use crate::tasks::alerts::AlertTasks;
use crate::tasks::driver::{Driver, JITTER, TaskStatuses};
use crate::tasks::liveness::Liveness;
use crate::tasks::log_index::LogIndex;
use crate::tasks::log_size::LogSize;
use crate::tasks::maintenance::EndOfMaintenance;
use crate::tasks::removal::NodeRemovals;
use crate::tasks::retention::Expiry;
use crate::tasks::rollouts::Rollouts;
use crate::tasks::rollup::Rollup;
use crate::telemetry::Telemetry;
use crate::timeseries::TimeSeries;
use crate::timeseries::recent::RecentSamples;

/// The dependencies of a leader.
pub(super) struct LeaderParts {
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub timeseries: Arc<TimeSeries>,
    pub cluster: Arc<Cluster>,
    pub fleet: Arc<Fleet>,
    pub recent_samples: Arc<RecentSamples>,
    pub feed: Arc<Feed>,
    pub directory: Arc<NodeDirectory>,
    pub watched: Arc<WatchedStates>,
    pub alerts: Arc<AlertBoard>,
    pub alert_sender: Sender,
    pub auth: Arc<Authenticator>,
    pub delivery: Arc<Delivery>,
    pub rollouts: Arc<Notify>,
    pub telemetry: Arc<Telemetry>,
    /// Where the tasks of a leader are listed, too.
    pub statuses: TaskStatuses,
}

#[async_trait]
impl Lead for LeaderParts {
    async fn start(&self, fenced: CancellationToken) -> Result<Leading, StoreError> {
        let snapshot = self.timeseries.load().await?;
        let head = snapshot.position.head;
        let state = IngestState::load(snapshot, self.config.limits);
        self.take_over_state(&state).await?;
        self.watched.load(state.nodes.values().map(NodeState::watched));
        self.delivery.update(&self.store.desired_generations().await?);
        // What another collector has committed since is in the database.
        self.feed.skip_to(head);
        let stop = CancellationToken::new();
        let (committer, committer_task) = Committer::start(state, self.committer_parts(fenced), stop.clone());
        let tasks = self.start_tasks(&committer).await?;
        Ok(Leading { committer, committer_task, stop, tasks })
    }

    async fn take_over(&self, snapshot: IngestSnapshot) -> Result<(), StoreError> {
        self.take_over_state(&IngestState::load(snapshot, self.config.limits)).await
    }
}

impl LeaderParts {
    /// What is kept beside the committer's state.
    async fn take_over_state(&self, state: &IngestState) -> Result<(), StoreError> {
        let removed = self.timeseries.load_removed().await?;
        let removed = removed.into_iter().map(|node| (node.entry(), LiveNode::default()));
        self.directory.load(state.nodes.values().map(|node| (node.entry(), node.live())).chain(removed));
        self.directory.put_pipelines(state.dimensions.entries());
        let known = state.nodes.values().map(|node| {
            // The watchdog marks these again, and their pipelines with them.
            let status = if node.has_stale_pipelines() { NodeStatus::Unknown } else { node.status };
            (node.key, status)
        });
        self.fleet.renew(known, tokio::time::Instant::now());
        Ok(())
    }

    fn committer_parts(&self, fenced: CancellationToken) -> CommitterParts {
        CommitterParts {
            timeseries: Arc::clone(&self.timeseries),
            fleet: Arc::clone(&self.fleet),
            recent_samples: Arc::clone(&self.recent_samples),
            feed: Arc::clone(&self.feed),
            directory: Arc::clone(&self.directory),
            watched: Arc::clone(&self.watched),
            auth: Arc::clone(&self.auth),
            telemetry: Arc::clone(&self.telemetry),
            interval_ms: self.config.interval.as_millis() as u64,
            minutes_retention: self.config.retention.minutes,
            limits: self.config.limits,
            unreported_retention: unreported_retention(&self.config.retention),
            log_limits: self.config.logs,
            rollouts: Arc::clone(&self.rollouts),
            events_retention: self.config.retention.events,
            commit_log: Arc::clone(&self.cluster.commit_log),
            fenced,
        }
    }

    async fn start_tasks(&self, committer: &Committer) -> Result<Driver, StoreError> {
        let (store, telemetry) = (&self.store, &self.telemetry);
        let mut tasks = Driver::listed_in(&self.statuses, Arc::clone(telemetry), JITTER);
        tasks.spawn(Liveness { fleet: Arc::clone(&self.fleet), committer: committer.clone() });
        tasks.spawn(EndOfMaintenance {
            directory: Arc::clone(&self.directory),
            committer: committer.clone(),
            store: Arc::clone(store),
        });
        tasks.spawn(NodeRemovals::new(Arc::clone(store), Arc::clone(telemetry)));
        tasks.spawn(Rollouts::new(Arc::clone(store), Arc::clone(&self.delivery), Arc::clone(&self.rollouts)));
        tasks.spawn(Rollup {
            store: Arc::clone(store),
            timeseries: Arc::clone(&self.timeseries),
            telemetry: Arc::clone(telemetry),
        });
        tasks.spawn(Expiry {
            timeseries: Arc::clone(&self.timeseries),
            store: Arc::clone(store),
            retention: self.config.retention,
            telemetry: Arc::clone(telemetry),
            commit_log: Arc::clone(&self.cluster.commit_log),
        });
        let alerts = AlertTasks {
            store: Arc::clone(store),
            timeseries: Arc::clone(&self.timeseries),
            committer: committer.clone(),
            watched: Arc::clone(&self.watched),
            auth: Arc::clone(&self.auth),
            board: Arc::clone(&self.alerts),
            sender: self.alert_sender.clone(),
            telemetry: Arc::clone(telemetry),
            interval: self.config.interval,
            grace: self.config.startup_grace,
        };
        alerts.start(&mut tasks);
        if self.config.logs.kept_bytes > 0 {
            tasks.spawn(LogSize::new(
                Arc::clone(store),
                Arc::clone(&self.timeseries),
                self.config.logs.kept_bytes,
                Arc::clone(telemetry),
            ));
        }
        match self.config.log_search {
            LogSearch::Indexed => {
                tasks.spawn(LogIndex { store: Arc::clone(store), telemetry: Arc::clone(telemetry) });
            }
            LogSearch::Scan => store.drop_log_index().await?,
        }
        Ok(tasks)
    }
}

/// After this time without a report nothing is left of a pipeline. Days are removed whole, so it is one more.
fn unreported_retention(retention: &Retention) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    let Retention { minutes, hours, days, logs, events, audit: _ } = *retention;
    DAY + minutes.max(hours).max(days).max(logs).max(events)
}
