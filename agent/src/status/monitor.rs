//! The agent as its own pages show it: the state of its parts, put together for each request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use systole_shared::{AgentHealth, PipelineStatus, UnixMillis};
use tokio::sync::watch;
use tokio::time::Instant;

use super::health::health_of;
use super::liveness::Liveness;
use super::{AgentView, CollectorView, PipelineView, Status};
use crate::clock;
use crate::metrics::AgentCounters;
use crate::spool::outbox::Outbox;
use crate::supervise::Pipeline;
use crate::supervise::set::PipelineSet;
use crate::uplink::{Addresses, ConnectionState, ConnectionStatus};
use crate::version::BUILD;

/// The facts that stay while the agent runs.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where the agent keeps what must survive it.
    pub(crate) data_dir: PathBuf,
    /// The configuration file, if one was read.
    pub(crate) config_file: Option<PathBuf>,
    /// The user that the agent runs as.
    pub(crate) running_as: String,
    /// Start of the agent, by the monotonic clock and by the wall's.
    pub(crate) started: (Instant, UnixMillis),
}

/// Sees everything and changes nothing.
pub(crate) struct Monitor {
    /// The facts that stay.
    pub(crate) origin: Origin,
    /// Every pipeline of the node.
    pub(crate) pipelines: Arc<PipelineSet>,
    /// Where reports wait.
    pub(crate) outbox: Arc<Outbox>,
    /// The agent's own counters.
    pub(crate) counters: Arc<AgentCounters>,
    /// The state of the connection to the collector.
    pub(crate) connection: Arc<ConnectionStatus>,
    /// The collector's addresses; never with a password, see `config::settings::http_url`.
    pub(crate) addresses: Arc<Addresses>,
    /// The heartbeat's sign of life.
    pub(crate) liveness: Arc<Liveness>,
    /// The interval of reports.
    pub(crate) interval: watch::Receiver<Duration>,
    /// Where self-metrics are served, once they are.
    pub(crate) metrics_address: OnceLock<SocketAddr>,
}

/// Whether the agent does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Reports are made.
    Ready,
    /// No report was made yet.
    Starting,
    /// Reports are made no more.
    Stuck,
}

impl Monitor {
    /// Whether the agent does its work; a collector that is away is no fault of it.
    pub(crate) fn readiness(&self) -> Readiness {
        if self.liveness.age().is_none() {
            Readiness::Starting
        } else if self.liveness.is_alive(*self.interval.borrow()) {
            Readiness::Ready
        } else {
            Readiness::Stuck
        }
    }

    /// The agent's health, as in its reports.
    pub(crate) fn health(&self) -> AgentHealth {
        health_of(&self.counters, &self.outbox, &self.connection, self.origin.started.0)
    }

    /// The number of pipelines in each state.
    pub(crate) fn count_pipelines(&self, is_counted: impl Fn(PipelineStatus) -> bool) -> usize {
        self.pipelines.all().iter().filter(|pipeline| is_counted(pipeline.state().status)).count()
    }

    /// The agent in one line.
    pub(crate) fn line(&self) -> String {
        let running = self.count_pipelines(PipelineStatus::is_running);
        let collector = match self.connection.facts().state {
            ConnectionState::Connecting => "no answer from the collector yet",
            ConnectionState::Connected => "connected to the collector",
            ConnectionState::Disconnected => "the collector is not reachable, reports wait",
            ConnectionState::Refused => "the collector refuses this node, reports wait",
        };
        format!("{running} of {} pipelines running; {collector}", self.pipelines.all().len())
    }

    /// Everything, for `systole-agent status`.
    pub(crate) fn status(&self) -> Status {
        let (now, connection) = (clock::unix_millis(), self.connection.facts());
        Status {
            now,
            agent: AgentView {
                version: BUILD.version.to_owned(),
                pid: std::process::id(),
                started_at: self.origin.started.1,
                running_as: self.origin.running_as.clone(),
                data_dir: self.origin.data_dir.clone(),
                config_file: self.origin.config_file.clone(),
                metrics_address: self.metrics_address.get().copied(),
                ready: self.readiness() == Readiness::Ready,
            },
            node: connection.node,
            collector: CollectorView {
                url: self.addresses.in_use().to_string(),
                urls: self.addresses.urls().iter().map(ToString::to_string).collect(),
                switches: self.addresses.switches(),
                state: connection.state,
                last_acknowledged_at: connection.acknowledged_at,
                interval_ms: u64::try_from(self.interval.borrow().as_millis()).unwrap_or(u64::MAX),
            },
            health: self.health(),
            pipelines: self.pipelines.all().iter().map(|pipeline| view_of(pipeline, now)).collect(),
        }
    }
}

fn view_of(pipeline: &Pipeline, now: UnixMillis) -> PipelineView {
    let state = pipeline.state();
    let (last_scraped_at, scrape_error) =
        pipeline.counting.with_tracker(|tracker| (tracker.answered_at(), tracker.error()));
    PipelineView {
        id: pipeline.id().to_string(),
        name: pipeline.config().name.clone(),
        status: state.status,
        reason: state.reason,
        pid: state.pid,
        uptime_seconds: state.started_at.map(|at| u64::try_from((now - at) / 1_000).unwrap_or(0)),
        started_at: state.started_at,
        restarts: state.restarts,
        has_metrics: pipeline.config().metrics.is_some(),
        last_scraped_at,
        scrape_error,
        config_checksum: pipeline.runtime.config_checksum(),
    }
}
