//! How far the pipelines of the centre are on a node whose agent does not say it: from the processes that it reports,
//! and from what it received to run.
//!
//! - A version that was healthy once stays so until another one comes: what happens to its process later is the
//!   state of the pipeline.
//! - A version that crashed before has failed until it is healthy after all. The agent does not go back by itself; a
//!   rollout gives it the version before. When it receives something new, the version may be tried again: the failure is
//!   then of an earlier attempt, and the next one begins as pending.
//! - A process of another version or checksum says nothing of the version that should run.

use foldhash::HashMap;
use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::{DeploymentPhase, PipelineId, PipelineStatus};

use super::ReportWindow;
use crate::ingest::state::DeploymentState;
use crate::model::report::{Given, GivenVersion, ReportedDeployment, ReportedPipeline};

/// Derives the progress of each given version. `known` is what was derived from the reports before.
pub(super) fn observe(
    given: &[GivenVersion],
    pipelines: &[ReportedPipeline],
    known: &HashMap<PipelineId, DeploymentState>,
    at: &ReportWindow,
) -> Vec<ReportedDeployment> {
    let observe_one = |version: &GivenVersion| {
        let process = pipelines.iter().find(|pipeline| pipeline.id == version.pipeline);
        let before = known.get(&version.pipeline).filter(|known| known.row.version == version.version);
        let before = before.and_then(|known| {
            let phase = DeploymentPhase::from_wire(&known.row.phase)?;
            let is_earlier = phase == DeploymentPhase::RolledBack && known.row.since < version.given_at;
            Some(if is_earlier { Before::EarlierAttempt } else { Before::Phase(phase, &known.row.reason) })
        });
        let (phase, reason) = match &version.given {
            Given::Withheld(reason) => (DeploymentPhase::Rejected, reason.clone()),
            Given::Paused if process.is_some_and(is_up) => (DeploymentPhase::Pending, "it is being stopped".to_owned()),
            Given::Paused => (DeploymentPhase::Paused, String::new()),
            Given::Run { checksum } => {
                let own = process.filter(|process| runs(process, version.version, checksum));
                progress(own, version.healthy_for_ms, before, at)
            }
        };
        ReportedDeployment {
            pipeline: version.pipeline.clone(),
            version: version.version,
            phase,
            running_version: process.filter(|process| is_up(process)).and_then(|process| process.version),
            reason,
        }
    };
    given.iter().map(observe_one).collect()
}

/// What was derived before.
#[derive(Clone, Copy)]
enum Before<'a> {
    Phase(DeploymentPhase, &'a str),
    /// A failure from before the agent received what it has now.
    EarlierAttempt,
}

fn is_up(process: &ReportedPipeline) -> bool {
    process.status.is_running() || process.status == PipelineStatus::Starting
}

/// Whether a process is one of this version. Older agents report no checksum.
fn runs(process: &ReportedPipeline, version: i64, checksum: &str) -> bool {
    process.version == Some(version) && process.config_checksum.as_deref().is_none_or(|own| own == checksum)
}

fn progress(
    process: Option<&ReportedPipeline>,
    healthy_for_ms: u64,
    before: Option<Before<'_>>,
    at: &ReportWindow,
) -> (DeploymentPhase, String) {
    if let Some(Before::Phase(DeploymentPhase::Healthy, _)) = before {
        return (DeploymentPhase::Healthy, String::new());
    }
    let age_ms =
        |process: &ReportedPipeline| at.received_at.saturating_sub(process.started_at.unwrap_or(at.received_at));
    let is_proven = |process: &&ReportedPipeline| {
        process.status.is_running() && u64::try_from(age_ms(process)).is_ok_and(|age| age >= healthy_for_ms)
    };
    if process.filter(is_proven).is_some() {
        return (DeploymentPhase::Healthy, String::new());
    }
    let how = process.and_then(|process| match process.status {
        PipelineStatus::Crashed | PipelineStatus::CrashLoop => Some("crashed"),
        PipelineStatus::Stopped => Some("ended by itself"),
        _ => None,
    });
    match (before, process.zip(how)) {
        (Some(Before::Phase(DeploymentPhase::RolledBack, reason)), None) => {
            (DeploymentPhase::RolledBack, reason.to_owned())
        }
        (Some(Before::EarlierAttempt), Some(_)) => (DeploymentPhase::Pending, String::new()),
        (_, Some((process, how))) => (DeploymentPhase::RolledBack, ending(process, how)),
        (_, None) if process.is_some_and(is_up) => (DeploymentPhase::Starting, String::new()),
        (_, None) => (DeploymentPhase::Pending, String::new()),
    }
}

/// What became of the process, with the engine's own words if the report has some.
fn ending(process: &ReportedPipeline, how: &str) -> String {
    let what = format!("its process {how}");
    let last_line = process.logs.last().map_or("", |line| &line.line);
    match [process.reason.trim(), last_line.trim()].into_iter().find(|line| !line.is_empty()) {
        Some(line) => cut(&format!("{what}: {line}"), MAX_SHORT_TEXT_BYTES).into_owned(),
        None => what,
    }
}

#[cfg(test)]
#[path = "observed_deployments_tests.rs"]
mod tests;
