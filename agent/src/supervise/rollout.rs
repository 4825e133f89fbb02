//! Decides which revision a pipeline runs: validates the desired state, and rolls back to the last good
//! revision when a new one fails. Every step of a version of the centre is noted for the reports.

use std::sync::Arc;
use std::time::Duration;

use systole_shared::desired::DeploymentPhase;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Pipeline;
use super::revision::{ConfigCopy, Revision};
use super::revisions::{CopyError, Revisions};
use super::runtime_state::Progress;
use super::validate::validate;
use crate::model::pipeline::{CommandConfig, PipelineConfig};

/// How long reading or writing a configuration file may take.
const DISK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the configuration wants of a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct DesiredState {
    /// The definition.
    pub(crate) config: Arc<PipelineConfig>,
    /// Grows with every change, so that the same definition can be examined again.
    pub(crate) number: u64,
    /// An operator asks: what was refused or given up is tried again.
    pub(crate) force: bool,
}

/// The changes of one pipeline.
pub(super) struct RolloutController {
    pipeline: Arc<Pipeline>,
    desired: watch::Receiver<DesiredState>,
    revisions: Revisions,
    /// Number of the last desired state that was handled to the end.
    last_number: u64,
    good: Option<Revision>,
    /// The revision that is wanted, but was refused.
    refused: Option<Revision>,
    /// The revision that ran when the definition changed without touching its process: its next start
    /// must not bring the old definition back.
    adopted: Option<Revision>,
}

/// How a copy of a revision's configuration is made.
type MakeCopy = fn(&Revisions, &Revision) -> Result<ConfigCopy, CopyError>;

impl RolloutController {
    /// Begins with the first order, which is there already.
    pub(super) fn new(pipeline: Arc<Pipeline>, desired: watch::Receiver<DesiredState>, revisions: Revisions) -> Self {
        let good = revisions.good(&desired.borrow().config);
        RolloutController { pipeline, desired, revisions, last_number: 0, good, refused: None, adopted: None }
    }

    /// What to run first: what is wanted, or else what was good.
    pub(super) async fn first(&mut self) -> Option<Revision> {
        let desired = self.desired.borrow_and_update().clone();
        let wanted = self.examine(&desired, None).await;
        self.last_number = desired.number;
        wanted.or_else(|| self.good.clone())
    }

    /// Waits for an order that asks for something else than `running`, and is fit to be run. Without
    /// a process an insisting order asks for the same again. May be dropped and called again at any
    /// time: an order is done only when it was dealt with.
    pub(super) async fn next(&mut self, running: Option<&Revision>, last: Option<&Revision>) -> Revision {
        loop {
            let desired = self.desired.borrow_and_update().clone();
            if desired.number > self.last_number {
                let found = self.examine(&desired, running.or(last.filter(|_| !desired.force))).await;
                self.last_number = desired.number;
                if let Some(revision) = found {
                    return revision;
                }
            }
            if self.desired.changed().await.is_err() {
                // The manager is gone: the agent ends.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The revision that the order asks for, if it is another one than `running` and fit to be run.
    async fn examine(&mut self, desired: &DesiredState, running: Option<&Revision>) -> Option<Revision> {
        let wanted = match self.read(&desired.config).await {
            Ok(wanted) => wanted,
            Err(reason) => {
                self.refuse(None, DeploymentPhase::Rejected, format!("the new configuration cannot be used: {reason}"));
                return None;
            }
        };
        if running.is_some_and(|running| running.runs_as(&wanted)) {
            self.refused = None;
            self.pipeline.runtime.accept_running();
            // What does not touch the process: name, labels, the meaning of metrics.
            self.pipeline.adopt(desired.config.clone());
            // Before it is healthy: an earlier one with the same content must not be taken for it.
            self.adopted = Some(wanted.clone());
            if self.good.as_ref().is_some_and(|good| good.runs_as(&wanted)) {
                self.mark_healthy(&wanted);
            } else {
                self.note(&wanted, DeploymentPhase::Starting, "");
            }
            return None;
        }
        // A new number of the same is an operator's wish to try again.
        let is_refused = |refused: &Revision| refused.runs_as(&wanted) && refused.version() == wanted.version();
        if !desired.force && self.refused.as_ref().is_some_and(is_refused) {
            return None;
        }
        // What stayed up before needs no judge; at the start of a host there may be no time for one.
        let is_known = self.good.as_ref().is_some_and(|good| good.runs_as(&wanted));
        if !is_known {
            self.note(&wanted, DeploymentPhase::Validating, "");
            if let Err(reason) = self.judge(&wanted).await {
                let reason = format!("configuration {} is not used: {reason}", wanted.shown());
                self.refuse(Some(wanted), DeploymentPhase::Rejected, reason);
                return None;
            }
        }
        self.refused = None;
        // It may have the content of an adopted one of earlier, and has a number of its own.
        self.adopted = None;
        self.pipeline.runtime.accept();
        self.note(&wanted, DeploymentPhase::Starting, "");
        Some(wanted)
    }

    /// Reads what is wanted.
    async fn read(&self, config: &Arc<PipelineConfig>) -> Result<Revision, String> {
        let Some(command) = config.command.clone() else { return Err("it has no command".to_owned()) };
        let config = config.clone();
        off_thread(move || Revisions::read(&config, &command)).await
    }

    /// Asks the validation, if there is one.
    async fn judge(&self, wanted: &Revision) -> Result<(), String> {
        if !wanted.has_validation() {
            return Ok(());
        }
        let copy = self.copy(wanted, Revisions::candidate).await?;
        validate(wanted, &copy).await
    }

    /// Makes the revision the one that is run, and returns the command that runs it. Called before
    /// every start: the copy of the last start may be gone.
    pub(super) async fn install(&mut self, revision: &Revision) -> Result<CommandConfig, String> {
        let copy = self.copy(revision, Revisions::install).await?;
        let revision = self.adopted.as_ref().filter(|adopted| adopted.runs_as(revision)).unwrap_or(revision);
        self.pipeline.runtime.run_as(revision);
        revision.command(&copy).ok_or_else(|| "it has no command".to_owned())
    }

    /// The process of the revision has ended for good: removes what only a process needs.
    pub(super) fn clear_away(&self, revision: &Revision) {
        if let Some(command) = &revision.config.command {
            self.revisions.remove_sidecar(command);
        }
    }

    /// A copy of the revision's configuration; the operator's own file when the agent's disk takes none.
    async fn copy(&self, revision: &Revision, make: MakeCopy) -> Result<ConfigCopy, String> {
        let (revisions, wanted) = (self.revisions.clone(), revision.clone());
        let reason = match off_thread(move || make(&revisions, &wanted)).await {
            Ok(copy) => return Ok(copy),
            Err(reason) => reason,
        };
        let wanted = revision.clone();
        let original = off_thread(move || Revisions::original(&wanted)).await;
        let original = original.map_err(|_| format!("its configuration cannot be copied: {reason}"))?;
        tracing::warn!(pipeline = %self.pipeline.id(), reason,
            "cannot copy the pipeline's configuration; the process reads the original");
        Ok(original)
    }

    /// Whether the revision has still to show that it stays up.
    pub(super) fn is_on_trial(&self, revision: &Revision) -> bool {
        self.good.is_none() || self.has_better_than(revision)
    }

    /// The revision stayed up.
    pub(super) fn mark_healthy(&mut self, revision: &Revision) {
        // What was adopted meanwhile runs as it, under a newer number.
        let newest = self.adopted.clone().filter(|adopted| adopted.runs_as(revision));
        let revision = newest.as_ref().unwrap_or(revision);
        if self.refused.is_none() {
            self.note(revision, DeploymentPhase::Healthy, "");
        }
        if let Err(error) = self.revisions.keep_good(revision) {
            tracing::warn!(pipeline = %self.pipeline.id(), %error,
                "cannot save the pipeline's configuration; a rollback to it is possible until the agent stops");
        }
        self.good = Some(revision.clone());
    }

    /// Whether what runs is what is wanted: nothing newer was refused.
    pub(super) fn is_wanted(&self) -> bool {
        self.refused.is_none()
    }

    /// Whether there is another revision than this one to go back to.
    pub(super) fn has_better_than(&self, revision: &Revision) -> bool {
        self.good.as_ref().is_some_and(|good| !good.runs_as(revision))
    }

    /// The revision to go back to when this one ended by itself while it was on trial.
    pub(super) fn roll_back(&mut self, from: &Revision, reason: &str) -> Option<Revision> {
        let good = self.good.clone().filter(|good| !good.runs_as(from))?;
        let text = format!(
            "configuration {} did not stay up for {} s ({reason}); back on {}",
            from.short(),
            from.healthy_for().as_secs(),
            good.short()
        );
        tracing::error!(pipeline = %self.pipeline.id(), "{text}");
        self.refuse(Some(from.clone()), DeploymentPhase::RolledBack, text);
        Some(good)
    }

    /// The revision ended by itself on trial, and there is none to go back to. It is started again.
    pub(super) fn note_failure(&self, revision: &Revision, reason: &str) {
        self.note(revision, DeploymentPhase::RolledBack, reason);
    }

    fn refuse(&mut self, wanted: Option<Revision>, phase: DeploymentPhase, reason: String) {
        let reason = match &wanted {
            Some(wanted) => wanted.without_secrets(reason),
            None => reason,
        };
        match &wanted {
            Some(wanted) => self.note(wanted, phase, &reason),
            None => self.pipeline.runtime.note_refusal(&reason),
        }
        if self.desired.borrow().config.centre.is_some() {
            // A centre may have no place for it but the lines of the pipeline.
            self.pipeline.add_line(format!("error: systole-agent: {reason}"));
        }
        self.refused = wanted;
        self.pipeline.runtime.refuse(reason);
    }

    /// Notes how far a version of the centre is.
    fn note(&self, revision: &Revision, phase: DeploymentPhase, reason: &str) {
        if let Some(version) = revision.version() {
            self.pipeline.runtime.note_phase(Progress { version, phase, reason: reason.to_owned() });
        }
    }
}

/// Works on files off this thread: they may be on a mount that is dead.
async fn off_thread<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    match timeout(DISK_TIMEOUT, spawn_blocking(work)).await {
        Ok(Ok(last_number)) => last_number.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its disk does not answer".to_owned()),
    }
}
