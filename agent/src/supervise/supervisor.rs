//! Keeps one pipeline's command running, in the revision that is wanted or else in the last good one.
//!
//! A task per pipeline, so that a slow stop or a crash of one does not affect the others.

use std::sync::Arc;
use std::time::Duration;

use systole_shared::PipelineStatus;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Pipeline;
use super::endpoint::Endpoint;
use super::handover::Adoption;
use super::process::run::ProcessRun;
use super::restart::{RestartPolicy, Verdict};
use super::revision::Revision;
use super::revisions::Revisions;
use super::rollout::{DesiredState, RolloutController};
use super::runtime_state::ProcessPhase;
use crate::scrape::fetch::Scraper;

/// Runs a pipeline's command until `stop`.
pub(crate) struct Supervisor {
    pipeline: Arc<Pipeline>,
    endpoint: Endpoint,
    rollout: RolloutController,
    /// A process that runs already.
    adoption: Option<Adoption>,
    stop: CancellationToken,
}

/// How a run of the process ended.
enum End {
    /// The agent stops or removes the pipeline.
    Asked,
    /// Another revision replaces it.
    Replaced(Revision),
    /// An operator asks for another start.
    Restarted,
    /// By itself.
    Crashed { reason: String, uptime: Duration },
}

impl Supervisor {
    /// Makes the supervisor of a pipeline that has its first order.
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        scraper: Arc<Scraper>,
        desired: watch::Receiver<DesiredState>,
        revisions: Revisions,
        adoption: Option<Adoption>,
        stop: CancellationToken,
    ) -> Self {
        let endpoint = Endpoint { pipeline: pipeline.clone(), scraper };
        let rollout = RolloutController::new(pipeline.clone(), desired, revisions);
        Supervisor { pipeline, endpoint, rollout, adoption, stop }
    }

    /// Runs the command, again and again, until `stop`; then ends it.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        let mut adoption = self.adoption.take();
        let mut next = match &adoption {
            Some(adoption) => Some(adoption.revision.clone()),
            None => tokio::select! {
                first = self.rollout.first() => first,
                () = stop.cancelled() => None,
            },
        };
        let mut policy = RestartPolicy::default();
        let (mut last, mut ended) = (None, None);
        while !stop.is_cancelled() {
            let Some(revision) = next.take() else {
                // Nothing that could be run: what is wanted was refused, and there is nothing else.
                self.record_crash(PipelineStatus::Crashed, self.pipeline.runtime.refusal().unwrap_or_default());
                next = self.wait_for_change(None, last.as_ref()).await;
                continue;
            };
            let end = match adoption.take() {
                Some(adoption) => self.run_on(adoption).await,
                None => self.run_once(&revision).await,
            };
            self.pipeline.runtime.set_phase(ProcessPhase::None);
            match end {
                End::Asked => {
                    ended = Some(revision);
                    break;
                }
                End::Replaced(other) => {
                    policy = RestartPolicy::default();
                    next = Some(other);
                }
                End::Restarted => {
                    policy = RestartPolicy::default();
                    self.pipeline.runtime.change(|state| state.restarts += 1);
                    next = Some(revision.clone());
                }
                End::Crashed { reason, uptime } => {
                    // A version of the centre is on trial until it was healthy: it may live and not answer.
                    let is_young = revision.version().is_some() || uptime < revision.healthy_for();
                    let is_on_trial = is_young && self.rollout.is_on_trial(&revision);
                    if is_on_trial && self.rollout.has_better_than(&revision) {
                        self.record_crash(PipelineStatus::Crashed, reason.clone());
                        next = self.rollout.roll_back(&revision, &reason);
                        policy = RestartPolicy::default();
                    } else {
                        if is_on_trial {
                            self.rollout.note_failure(&revision, &reason);
                        }
                        next = self.handle_crash(policy.ended(uptime), reason, &revision, &mut policy).await;
                    }
                }
            }
            last = Some(revision);
        }
        if let Some(last) = ended.or(last) {
            self.rollout.clear_away(&last);
        }
        self.pipeline.runtime.mark_stopped();
    }

    /// Waits as the policy says, or for a change. What to run then; nothing when the agent stops.
    async fn handle_crash(
        &mut self,
        verdict: Verdict,
        reason: String,
        revision: &Revision,
        policy: &mut RestartPolicy,
    ) -> Option<Revision> {
        let wait = match verdict {
            Verdict::StartAfter(wait) => {
                self.record_crash(PipelineStatus::Crashed, reason);
                Some(wait)
            }
            Verdict::GiveUp => {
                let reason = format!("{reason}; too many crashes in a row, not started again");
                self.record_crash(PipelineStatus::CrashLoop, reason);
                tracing::error!(pipeline = %self.pipeline.id(), "the pipeline crashes repeatedly and is not started until its configuration changes or the agent receives SIGHUP");
                None
            }
        };
        let changed = self.wait_for_change(wait, Some(revision)).await;
        if changed.is_some() {
            *policy = RestartPolicy::default();
            return changed;
        }
        if !self.stop.is_cancelled() {
            self.pipeline.runtime.change(|state| state.restarts += 1);
        }
        Some(revision.clone())
    }

    /// Waits for another revision while there is no process; not longer than `limit`, if there is one.
    async fn wait_for_change(&mut self, limit: Option<Duration>, last: Option<&Revision>) -> Option<Revision> {
        let over = async {
            match limit {
                Some(limit) => sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let mut restarts = self.pipeline.runtime.restarts_asked();
        tokio::select! {
            revision = self.rollout.next(None, last) => Some(revision),
            Ok(()) = restarts.changed(), if last.is_some() => last.cloned(),
            () = over => None,
            () = self.stop.cancelled() => None,
        }
    }

    fn record_crash(&self, status: PipelineStatus, reason: String) {
        self.pipeline.runtime.change(|state| {
            state.status = status;
            state.reason = Some(reason);
            state.pid = None;
            state.started_at = None;
        });
    }

    /// The rest of a run that an earlier program of this process began.
    async fn run_on(&mut self, adoption: Adoption) -> End {
        let (revision, is_starting) = (adoption.revision.clone(), adoption.is_starting);
        self.pipeline.learn_topology(&revision).await;
        let run = ProcessRun::adopt(&self.pipeline, adoption).await;
        self.follow(run, &revision, is_starting).await
    }

    /// One run of the process.
    async fn run_once(&mut self, revision: &Revision) -> End {
        let alone = tokio::select! {
            alone = self.endpoint.wait_until_free() => alone,
            () = self.stop.cancelled() => return End::Asked,
        };
        self.pipeline.runtime.set_phase(ProcessPhase::Changing);
        self.pipeline.runtime.change(|state| {
            state.status = PipelineStatus::Starting;
            state.reason = None;
            state.pid = None;
            state.started_at = None;
        });
        self.pipeline.counting.with_tracker(|tracker| {
            if alone { tracker.begin_process() } else { tracker.begin_process_beside_another() }
        });
        let installed = self.rollout.install(revision).await;
        self.pipeline.learn_topology(revision).await;
        let begun = match installed {
            Ok(command) => ProcessRun::begin(&self.pipeline, &command).await.map_err(|error| error.to_string()),
            Err(reason) => Err(reason),
        };
        match begun {
            Ok(run) => self.follow(run, revision, true).await,
            Err(reason) => {
                self.pipeline.record_missing_process(&reason);
                End::Crashed { reason, uptime: Duration::ZERO }
            }
        }
    }

    /// Follows a process to its end.
    async fn follow(&mut self, mut run: ProcessRun, revision: &Revision, mut starting: bool) -> End {
        self.pipeline.runtime.set_phase(ProcessPhase::Steady(revision.clone()));
        let healthy_at = run.started_at + revision.healthy_for();
        let must_answer = revision.version().is_some();
        let mut is_on_trial = self.rollout.is_on_trial(revision) || (must_answer && self.rollout.is_wanted());
        let mut restarts = self.pipeline.runtime.restarts_asked();
        let endpoint = self.endpoint.clone();
        let mut ready = std::pin::pin!(endpoint.become_ready());
        let end = loop {
            tokio::select! {
                reason = run.wait() => break End::Crashed { reason, uptime: run.started_at.elapsed() },
                () = self.stop.cancelled() => break End::Asked,
                other = self.rollout.next(Some(revision), None) => break End::Replaced(other),
                () = &mut ready, if starting => starting = false,
                Ok(()) = restarts.changed() => break End::Restarted,
                () = sleep_until(healthy_at), if is_on_trial && !(must_answer && starting) => {
                    is_on_trial = false;
                    self.rollout.mark_healthy(revision);
                }
            }
        };
        self.pipeline.runtime.set_phase(ProcessPhase::Changing);
        match end {
            End::Crashed { reason, uptime } => {
                let error = run.reap(&self.pipeline).await;
                self.pipeline.record_missing_process("the process is not running");
                if self.stop.is_cancelled() {
                    return End::Asked;
                }
                let reason = error.map_or_else(|| reason.clone(), |error| format!("{reason}: {error}"));
                End::Crashed { reason: revision.without_secrets(reason), uptime }
            }
            asked => {
                run.end(&self.endpoint).await;
                asked
            }
        }
    }
}
