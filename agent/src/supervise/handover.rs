//! What one program of the agent hands to the next one of a pipeline, when the process replaces itself.
//!
//! Only what no file has: the process and its counters. Lines are in files, and how far they were reported is
//! in the checkpoint. A pipeline whose process is being started or stopped is not handed over; the agent
//! waits for that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systole_shared::{PipelineId, PipelineStatus, UnixMillis};

use super::Pipeline;
use super::process::orphans::OwnChild;
use super::process::pid_stat;
use super::revision::Revision;
use super::revisions::Revisions;
use crate::model::pipeline::{CommandConfig, PipelineConfig};
use crate::scrape::delta_tracker::SavedTracker;

/// A pipeline at the moment of the hand-over.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct HandedPipeline {
    /// Its id.
    pub(crate) id: PipelineId,
    status: String,
    reason: Option<String>,
    started_at: Option<UnixMillis>,
    restarts: u64,
    /// What it counted up to the last report.
    tracker: Option<SavedTracker>,
    /// Its process, for one that the agent runs and that runs now.
    process: Option<HandedProcess>,
}

/// The process of a pipeline.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct HandedProcess {
    /// Its id.
    pub(crate) pid: u32,
    /// Its start, in the kernel's ticks: another process with this id has another one.
    start_ticks: u64,
    /// What it runs.
    pub(super) command: CommandConfig,
    metrics_url: Option<String>,
    /// SHA-256 of the configuration that it has read.
    checksum: Option<String>,
    /// Number of the version, of a pipeline of the centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    /// What the centre names its configuration by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    named: Option<String>,
}

/// Why a pipeline cannot be handed over now.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NotHanded {
    /// It will be possible in a moment.
    #[error("pipeline \"{0}\" is being started or stopped")]
    Busy(PipelineId),
    /// Its lines would be lost.
    #[error(
        "the output of pipeline \"{0}\" goes through a pipe, because the disk was full at its start; restart that pipeline first"
    )]
    Piped(PipelineId),
}

/// A process that continues under a supervisor of this program.
#[derive(Debug)]
pub(crate) struct Adoption {
    pub(super) process: HandedProcess,
    pub(super) revision: Revision,
    pub(super) started_at: UnixMillis,
    pub(super) is_starting: bool,
    /// From the first moment on, or it may be reaped as an orphan.
    pub(super) own: Option<OwnChild>,
}

impl HandedPipeline {
    /// The process that comes with it.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }

    /// Whether a process comes with it.
    pub(super) fn has_process(&self) -> bool {
        self.process.is_some()
    }

    /// The process that comes with it, if it still is a child of this one.
    pub(crate) fn living_child(&self) -> Option<u32> {
        self.process.as_ref().filter(|process| process.is_child()).map(|process| process.pid)
    }
}

impl HandedProcess {
    /// Whether it is still a child of this process, alive or not waited for yet.
    fn is_child(&self) -> bool {
        pid_stat::read(self.pid)
            .is_some_and(|stat| stat.parent == std::process::id() && stat.start_ticks == self.start_ticks)
    }
}

impl Pipeline {
    /// What is handed over of the pipeline; nothing of one that has ended. `tracker` is what it counted
    /// up to the last report.
    ///
    /// # Errors
    /// When its process changes at this moment, or its lines are not in files.
    pub(crate) fn hand_over(&self, tracker: Option<SavedTracker>) -> Result<HandedPipeline, NotHanded> {
        let state = self.state();
        let running = self.runtime.steady_revision().map_err(|_| NotHanded::Busy(self.id.clone()))?;
        let process = match (running, state.pid) {
            (Some(revision), Some(pid)) => {
                if self.logs().is_through_pipes() {
                    return Err(NotHanded::Piped(self.id.clone()));
                }
                let busy = || NotHanded::Busy(self.id.clone());
                let stat = pid_stat::read(pid).ok_or_else(busy)?;
                let command = revision.config.command.clone().ok_or_else(busy)?;
                let metrics_url = revision.config.metrics.as_ref().map(|metrics| metrics.url.to_string());
                let checksum = revision.checksum.clone();
                let version = revision.version();
                let named = revision.config.centre.as_ref().map(|centre| centre.checksum.clone());
                let start_ticks = stat.start_ticks;
                Some(HandedProcess { pid, start_ticks, command, metrics_url, checksum, version, named })
            }
            _ => None,
        };
        Ok(HandedPipeline {
            id: self.id.clone(),
            status: state.status.as_str().to_owned(),
            reason: state.reason,
            started_at: state.started_at,
            restarts: state.restarts,
            tracker,
            process,
        })
    }

    /// Continues from what was handed over. Returns the process, if the pipeline is one that the agent runs.
    pub(super) fn take_over(&self, handed: HandedPipeline, revisions: &Revisions) -> Option<Adoption> {
        let HandedPipeline { status, reason, started_at, restarts, tracker, process, .. } = handed;
        if !self.config().is_supervised() {
            self.runtime.restore(|state| state.restarts = restarts);
            return None;
        }
        let process = process.filter(|process| process.is_child())?;
        let status = PipelineStatus::from_wire(&status);
        let started_at = started_at.unwrap_or_default();
        let revision = revision_of(&self.config(), &process, revisions);
        self.runtime.run_as(&revision);
        self.runtime.restore(|state| {
            state.status = status;
            state.reason = reason;
            state.pid = Some(process.pid);
            state.started_at = Some(started_at);
            state.restarts = restarts;
        });
        if let Some(tracker) = &tracker {
            self.adopt_tracker(tracker);
        }
        let own = OwnChild::new(Some(process.pid));
        Some(Adoption { process, revision, started_at, is_starting: !status.is_running(), own })
    }
}

/// The revision that the process runs. Without a file that has its content, the revision has none: the process
/// does not need it before its next start.
fn revision_of(config: &Arc<PipelineConfig>, process: &HandedProcess, revisions: &Revisions) -> Revision {
    let mut config = PipelineConfig::clone(config);
    // What is not handed over is as in the configuration: it does not touch the process.
    let validate = config.command.take().and_then(|command| command.validate);
    let command = CommandConfig { validate, ..process.command.clone() };
    config.command = Some(command.clone());
    if let (Some(metrics), Some(url)) =
        (&mut config.metrics, process.metrics_url.as_ref().and_then(|url| url.parse().ok()))
    {
        metrics.url = url;
    }
    let content =
        process.checksum.as_ref().and_then(|checksum| revisions.content_of(checksum, &command)).map(Arc::<[u8]>::from);
    if let (Some(centre), Some(version)) = (&config.centre, process.version) {
        let named = process.named.clone().or_else(|| process.checksum.clone()).unwrap_or_default();
        config.centre = Some(Arc::new(centre.as_of(version, content.clone(), named)));
    }
    Revision::new(Arc::new(config), &command, content)
}
