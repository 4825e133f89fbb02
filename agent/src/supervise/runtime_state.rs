//! What a pipeline runs now, and its state, as reports and status show it.

use std::sync::{Arc, Mutex};

use systole_shared::desired::DeploymentPhase;
use systole_shared::{PipelineId, PipelineStatus};
use tokio::sync::{Notify, watch};

use super::lock;
use super::revision::Revision;
use super::state::{PendingStates, PipelineState};
use crate::clock;
use crate::model::pipeline::PipelineConfig;

/// The state of one pipeline. Each lock is held for a few instructions.
pub(crate) struct RuntimeState {
    id: PipelineId,
    running: Mutex<Running>,
    state: Mutex<PendingStates>,
    changed: Arc<Notify>,
    /// How often an operator has asked for another start.
    restarts_asked: watch::Sender<u64>,
}

/// How far a version of the centre is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Its number.
    pub(crate) version: i64,
    /// How far.
    pub(crate) phase: DeploymentPhase,
    /// Why, in the engine's own words; empty when there is nothing to say.
    pub(crate) reason: String,
}

/// What a pipeline runs now, and whether it should run something else.
struct Running {
    config: Arc<PipelineConfig>,
    checksum: Option<String>,
    /// Why the wanted configuration does not run.
    refusal: Option<String>,
    /// How far the wanted version of the centre is.
    progress: Option<Progress>,
    /// No report has shown it yet.
    is_progress_new: bool,
    /// Why the pipeline ends, if it was removed from the configuration.
    leaving: Option<String>,
    /// The revision of the process that runs now, and whether that is about to change.
    process: ProcessPhase,
    /// All of it has ended.
    is_gone: bool,
}

/// Whether the process can be handed to another program of the agent at this moment.
#[derive(Clone, Debug)]
pub(super) enum ProcessPhase {
    /// There is none.
    None,
    /// It is being started or stopped.
    Changing,
    /// It runs, as this revision.
    Steady(Revision),
}

/// The process is being started or stopped.
#[derive(Debug)]
pub(super) struct IsChanging;

impl RuntimeState {
    /// Of a pipeline that nothing is known of yet. `changed` is notified of every change of its state.
    pub(super) fn new(config: PipelineConfig, changed: Arc<Notify>) -> Self {
        RuntimeState {
            id: config.id.clone(),
            running: Mutex::new(Running {
                config: Arc::new(config),
                checksum: None,
                refusal: None,
                progress: None,
                is_progress_new: false,
                leaving: None,
                process: ProcessPhase::None,
                is_gone: false,
            }),
            state: Mutex::new(PendingStates::new()),
            changed,
            restarts_asked: watch::Sender::new(0),
        }
    }

    /// Asks for another start of the process.
    pub(crate) fn ask_restart(&self) {
        self.restarts_asked.send_modify(|count| *count += 1);
    }

    /// Changes when an operator asks for another start from now on.
    pub(super) fn restarts_asked(&self) -> watch::Receiver<u64> {
        self.restarts_asked.subscribe()
    }

    /// Notes how far a version of the centre is.
    pub(super) fn note_phase(&self, progress: Progress) {
        {
            let mut running = lock(&self.running);
            if running.progress.as_ref() == Some(&progress) {
                return;
            }
            running.is_progress_new = true;
            running.progress = Some(progress);
        }
        self.changed.notify_one();
    }

    /// Notes that the wanted version could not be read.
    pub(super) fn note_refusal(&self, reason: &str) {
        let version = lock(&self.running).config.centre.as_ref().map(|centre| centre.version);
        if let Some(version) = version {
            self.note_phase(Progress { version, phase: DeploymentPhase::Rejected, reason: reason.to_owned() });
        }
    }

    /// How far the wanted version of the centre is; none before anything was tried.
    pub(crate) fn progress(&self) -> Option<Progress> {
        lock(&self.running).progress.clone()
    }

    /// The version of the centre that the process runs.
    pub(crate) fn running_version(&self) -> Option<i64> {
        self.state().pid?;
        Some(lock(&self.running).config.centre.as_ref()?.version)
    }

    /// Replaces what the configuration says of what runs.
    pub(super) fn set_config(&self, config: Arc<PipelineConfig>) {
        let mut running = lock(&self.running);
        if let Some(centre) = &config.centre {
            running.checksum = Some(centre.checksum.clone());
        }
        running.config = config;
    }

    /// What the configuration says of what runs now.
    pub(crate) fn config(&self) -> Arc<PipelineConfig> {
        lock(&self.running).config.clone()
    }

    /// SHA-256 of the configuration file that the process has.
    pub(crate) fn config_checksum(&self) -> Option<String> {
        lock(&self.running).checksum.clone()
    }

    /// The state now.
    pub(crate) fn state(&self) -> PipelineState {
        lock(&self.state).current().clone()
    }

    /// A revision is about to be run.
    pub(super) fn run_as(&self, revision: &Revision) {
        let mut running = lock(&self.running);
        running.config = revision.config.clone();
        running.checksum = revision.reported_checksum().map(str::to_owned);
    }

    /// SHA-256 of a configuration that is in several files.
    pub(super) fn set_checksum(&self, checksum: String) {
        lock(&self.running).checksum = Some(checksum);
    }

    /// The process is started, stopped, or neither.
    pub(super) fn set_phase(&self, phase: ProcessPhase) {
        lock(&self.running).process = phase;
    }

    /// The revision of the process that runs; none without a process.
    ///
    /// # Errors
    /// When the process is being started or stopped.
    pub(super) fn steady_revision(&self) -> Result<Option<Revision>, IsChanging> {
        match &lock(&self.running).process {
            ProcessPhase::None => Ok(None),
            ProcessPhase::Changing => Err(IsChanging),
            ProcessPhase::Steady(revision) => Ok(Some(revision.clone())),
        }
    }

    /// Continues from a state that was reported before.
    pub(super) fn restore(&self, change: impl FnOnce(&mut PipelineState)) {
        lock(&self.state).restore(change);
    }

    /// Why the wanted configuration does not run, when it does not.
    pub(crate) fn refusal(&self) -> Option<String> {
        lock(&self.running).refusal.clone()
    }

    /// Whether it runs, and runs what is wanted.
    pub(super) fn is_as_wanted(&self) -> bool {
        self.refusal().is_none() && self.state().status.is_running()
    }

    /// What is wanted is not run; what runs, runs on.
    pub(super) fn refuse(&self, reason: String) {
        tracing::warn!(pipeline = %self.id, reason, "the new configuration is not used");
        lock(&self.running).refusal = Some(reason);
        self.update_refusal();
    }

    /// What is wanted is about to be run.
    pub(super) fn accept(&self) {
        lock(&self.running).refusal = None;
    }

    /// What runs is what is wanted.
    pub(super) fn accept_running(&self) {
        if lock(&self.running).refusal.take().is_some() {
            self.update_refusal();
        }
    }

    pub(super) fn update_refusal(&self) {
        if self.state().status.is_running() {
            self.mark_running();
        }
    }

    /// The process is ready. It is DEGRADED as long as another configuration than its own is wanted: the
    /// reason then says which process continues.
    pub(super) fn mark_running(&self) {
        let refusal = self.refusal();
        self.change(|state| {
            state.status = if refusal.is_some() { PipelineStatus::Degraded } else { PipelineStatus::Running };
            state.reason = refusal.map(|refusal| match (state.pid, state.started_at.and_then(clock::rfc3339)) {
                (Some(pid), Some(since)) => format!("{refusal}; process {pid} continues, running since {since}"),
                _ => refusal,
            });
        });
    }

    /// The pipeline is removed from the configuration, or replaced by another one with its id.
    pub(crate) fn leave(&self, why: &str) {
        lock(&self.running).leaving = Some(why.to_owned());
    }

    /// Whether it was removed, and all of it has ended.
    pub(super) fn is_gone(&self) -> bool {
        lock(&self.running).is_gone
    }

    /// All of the pipeline has ended: the state is STOPPED.
    pub(crate) fn mark_stopped(&self) {
        let leaving = lock(&self.running).leaving.clone();
        let is_gone = leaving.is_some();
        self.change(|state| {
            state.status = PipelineStatus::Stopped;
            state.reason = Some(leaving.unwrap_or_else(|| "the agent stops".to_owned()));
            state.pid = None;
            state.started_at = None;
        });
        lock(&self.running).is_gone = is_gone;
    }

    /// The state that the next report shows.
    pub(crate) fn take_next_state(&self) -> PipelineState {
        lock(&self.running).is_progress_new = false;
        lock(&self.state).take_next()
    }

    /// Whether states wait that no report has shown.
    pub(crate) fn has_unreported_states(&self) -> bool {
        lock(&self.state).has_unreported() || lock(&self.running).is_progress_new
    }

    /// Changes the state and notifies the heartbeat.
    pub(crate) fn change(&self, change: impl FnOnce(&mut PipelineState)) {
        let is_new = lock(&self.state).change(change);
        if is_new {
            self.log_state();
            self.changed.notify_one();
        }
    }

    pub(super) fn log_state(&self) {
        let PipelineState { status, reason, pid, .. } = self.state();
        let (id, reason) = (&self.id, reason.as_deref());
        if status.degrades_node() {
            tracing::warn!(pipeline = %id, %status, reason, "pipeline has a problem");
        } else {
            tracing::info!(pipeline = %id, %status, reason, pid, "pipeline changed its state");
        }
    }
}
