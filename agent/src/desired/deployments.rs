//! How far each pipeline of the centre is, for the reports.
//!
//! The list of a report is complete. So a report that is lost loses nothing that the next one does not say, but
//! for the end of a removed pipeline, which is said once and waits in the spool like the rest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::desired::{DeploymentPhase, DeploymentReport};
use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::{PipelineId, Text};

use crate::supervise::Pipeline;

/// The id and number under which the agent reports its own update. Its version is a text.
const AGENT: &str = "agent";
const AGENT_VERSION: i64 = 1;

/// What became of a pipeline of the centre when it was merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The pipeline.
    pub(crate) id: PipelineId,
    /// The version that is wanted.
    pub(crate) version: i64,
    /// What became of it.
    pub(crate) standing: Standing,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The pipeline manager has it.
    Taken,
    /// It is stopped on purpose.
    Paused,
    /// It is not taken, and why.
    Rejected(String),
}

/// The pipelines of the centre on this node.
#[derive(Debug, Default)]
pub(crate) struct Deployments(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// What the node's file names, when it accepts pipelines.
    engines: Option<Vec<String>>,
    entries: Vec<Entry>,
    /// Those whose end no report has said yet.
    removed: Vec<(PipelineId, i64)>,
    /// How far the agent's own update is, and why.
    agent: Option<(DeploymentPhase, String)>,
}

impl Deployments {
    /// Takes the result of a merge. `engines` is none for an agent that accepts no pipelines.
    pub(crate) fn replace(&self, engines: Option<Vec<String>>, entries: Vec<Entry>) {
        let mut table = self.lock();
        let is_wanted = |id: &PipelineId| entries.iter().any(|entry| entry.id == *id);
        let mut removed = std::mem::take(&mut table.removed);
        // One that was rejected is removed as well: its row at the collector ends.
        removed.extend(table.entries.iter().map(|entry| (entry.id.clone(), entry.version)));
        removed.retain(|(id, _)| !is_wanted(id));
        let agent = table.agent.take();
        *table = Table { engines, entries, removed, agent };
    }

    /// How far the update of the agent itself is; none for one that has nothing to say.
    pub(crate) fn set_agent(&self, outcome: Option<(DeploymentPhase, String)>) {
        self.lock().agent = outcome;
    }

    /// The engines, for an agent that accepts pipelines.
    pub(crate) fn engines(&self) -> Option<Vec<Text<'static>>> {
        let table = self.lock();
        Some(table.engines.as_ref()?.iter().map(|name| Text::from(name.clone())).collect())
    }

    /// How far each of them is now. A removed one whose process has ended is in one such list.
    pub(crate) fn take(&self, pipelines: &[Arc<Pipeline>]) -> Vec<DeploymentReport<'static>> {
        let mut table = self.lock();
        let find = |id: &PipelineId| pipelines.iter().find(|pipeline| pipeline.id() == id);
        let mut reports: Vec<_> = table.entries.iter().map(|entry| report_of(entry, find(&entry.id))).collect();
        table.removed.retain(|(id, version)| {
            let lives = find(id).is_some_and(|pipeline| pipeline.runtime.running_version().is_some());
            if !lives {
                reports.push(report(id.as_str(), *version, DeploymentPhase::Removed, None, ""));
            }
            lives
        });
        if let Some((phase, reason)) = &table.agent {
            reports.push(report(AGENT, AGENT_VERSION, *phase, None, reason));
        }
        reports
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // What is behind it is whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report_of(entry: &Entry, pipeline: Option<&Arc<Pipeline>>) -> DeploymentReport<'static> {
    let running = pipeline.and_then(|pipeline| pipeline.runtime.running_version());
    let progress = pipeline.and_then(|pipeline| pipeline.runtime.progress());
    match (&entry.standing, progress) {
        (Standing::Rejected(reason), _) => {
            report(entry.id.as_str(), entry.version, DeploymentPhase::Rejected, running, reason)
        }
        // Its process may take a while to end.
        (Standing::Paused, _) if running.is_some() => {
            report(entry.id.as_str(), entry.version, DeploymentPhase::Pending, running, "the process ends")
        }
        (Standing::Paused, _) => report(entry.id.as_str(), entry.version, DeploymentPhase::Paused, None, ""),
        (Standing::Taken, Some(progress)) if progress.version == entry.version => {
            report(entry.id.as_str(), entry.version, progress.phase, running, &progress.reason)
        }
        (Standing::Taken, _) => report(entry.id.as_str(), entry.version, DeploymentPhase::Pending, running, ""),
    }
}

fn report(
    id: &str,
    version: i64,
    phase: DeploymentPhase,
    running_version: Option<i64>,
    reason: &str,
) -> DeploymentReport<'static> {
    DeploymentReport {
        pipeline_id: Text::from(id.to_owned()),
        version,
        phase: phase.as_str().into(),
        running_version,
        reason: Text::from(cut(reason, MAX_SHORT_TEXT_BYTES).into_owned()),
    }
}
