//! The pipelines of this node: their processes, states, lines and counters.
//!
//! A [`Pipeline`] is the place where a pipeline's supervisor, its output readers and its scrapes
//! leave what they know, and where the heartbeat takes it from. None of them waits for another: every
//! lock is held for a few instructions, and never across an await, but for the one that keeps two
//! scrapes of one endpoint apart.

mod endpoint;
pub(crate) mod handover;
pub(crate) mod manager;
mod port;
pub(crate) mod process;
mod restart;
pub(crate) mod revision;
pub(crate) mod revisions;
pub(crate) mod rollout;
pub(crate) mod runtime_state;
mod scraping;
pub(crate) mod set;
mod sidecar;
mod state;
pub(crate) mod supervisor;
pub(crate) mod tap;
mod text;
mod topology;
mod validate;
pub(crate) mod vector_version;
pub(crate) mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::{LogStream, PipelineId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;
use crate::logs::budget::LogBuffer;
use crate::logs::registry::LogOwner;
use crate::logs::{Line, PipelineLogs};
use crate::metrics::AgentCounters;
use crate::model::pipeline::PipelineConfig;
use crate::scrape::delta_tracker::DeltaTracker;

use self::runtime_state::RuntimeState;
use self::scraping::Counting;
use self::topology::KnownTopology;
use self::watch::ProcessTracker;
pub(crate) use state::PipelineState;

/// One pipeline as all parts of the agent share it.
pub(crate) struct Pipeline {
    id: PipelineId,
    /// What it runs, and its state.
    pub(crate) runtime: RuntimeState,
    /// Its lines, and where they come from.
    logs: Arc<PipelineLogs>,
    /// What scrapes have counted.
    pub(crate) counting: Counting,
    /// How the components of what it runs are connected.
    topology: KnownTopology,
    /// What is known of a pipeline that the agent does not run.
    watch: Mutex<ProcessTracker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipeline {
    /// A pipeline that nothing is known of yet. `changed` is notified of every change of its state.
    pub(crate) fn new(
        config: PipelineConfig,
        logs: Arc<PipelineLogs>,
        changed: Arc<Notify>,
        counters: Arc<AgentCounters>,
    ) -> Self {
        let tracker = if config.is_supervised() { DeltaTracker::of_supervised() } else { DeltaTracker::of_watched() };
        Pipeline {
            id: config.id.clone(),
            runtime: RuntimeState::new(config, changed),
            logs,
            counting: Counting::new(tracker, counters),
            topology: KnownTopology::default(),
            watch: Mutex::default(),
        }
    }

    /// Unique in the environment, and the same for the pipeline's lifetime.
    pub(crate) fn id(&self) -> &PipelineId {
        &self.id
    }

    /// What the configuration says of what runs now.
    pub(crate) fn config(&self) -> Arc<PipelineConfig> {
        self.runtime.config()
    }

    /// The state now.
    pub(crate) fn state(&self) -> PipelineState {
        self.runtime.state()
    }

    /// Takes what a new definition says beyond the process: the process stays.
    pub(crate) fn adopt(&self, config: Arc<PipelineConfig>) {
        let source = self.metrics_source();
        self.runtime.set_config(config);
        if self.metrics_source() != source {
            self.counting.with_tracker(DeltaTracker::change_source);
        }
    }

    /// Whether reports need not show the pipeline any more: it is gone, and everything was reported.
    pub(crate) fn is_over(&self) -> bool {
        self.runtime.is_gone()
            && !self.runtime.has_unreported_states()
            && self.with_logs(|logs| logs.first().is_none())
            && self.counting.with_tracker(|tracker| !tracker.has_pending())
    }

    /// Its lines, and where they come from.
    pub(crate) fn logs(&self) -> &Arc<PipelineLogs> {
        &self.logs
    }

    /// Adds a line of the agent's own to what the process writes to its standard error.
    fn add_line(&self, text: String) {
        let line = Line { at: clock::unix_millis(), stream: LogStream::Stderr, text, level: None };
        self.with_logs(|logs| logs.push(line, Instant::now()));
    }

    /// Works on the waiting lines.
    pub(crate) fn with_logs<T>(&self, work: impl FnOnce(&mut LogBuffer) -> T) -> T {
        self.logs.with_buffer(work)
    }
}

impl LogOwner for Pipeline {
    fn logs(&self) -> &Arc<PipelineLogs> {
        &self.logs
    }

    fn config(&self) -> Arc<PipelineConfig> {
        Pipeline::config(self)
    }
}
