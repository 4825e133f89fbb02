//! Keeps one pipeline's command running, in the revision that is wanted or else in the last good one.
//!
//! A task per pipeline, so that a slow stop or a crash of one is nothing to the others.

use std::sync::Arc;
use std::time::Duration;

use systole_shared::PipelineStatus;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Pipeline;
use super::changes::{Changes, Order, TRIAL};
use super::endpoint::Endpoint;
use super::life::Life;
use super::restart::{RestartPolicy, Verdict};
use super::revision::Revision;
use super::revisions::Revisions;
use crate::scrape::fetch::Scraper;

/// Runs a pipeline's command until `stop`.
pub(crate) struct Supervisor {
    pipeline: Arc<Pipeline>,
    endpoint: Endpoint,
    changes: Changes,
    stop: CancellationToken,
}

/// How a life of the process ended.
enum End {
    /// It was told to, for good.
    Asked,
    /// It was told to, for another revision's sake.
    Replaced(Revision),
    /// By itself.
    Crashed { reason: String, life: Duration },
}

impl Supervisor {
    /// Makes the supervisor of a pipeline that has its first order.
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        scraper: Arc<Scraper>,
        orders: watch::Receiver<Order>,
        revisions: Revisions,
        stop: CancellationToken,
    ) -> Self {
        let endpoint = Endpoint { pipeline: pipeline.clone(), scraper };
        let changes = Changes::new(pipeline.clone(), orders, revisions);
        Supervisor { pipeline, endpoint, changes, stop }
    }

    /// Runs the command, again and again, until `stop`; then ends it.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        let mut next = tokio::select! {
            first = self.changes.first() => first,
            () = stop.cancelled() => None,
        };
        let mut policy = RestartPolicy::default();
        let mut last = None;
        while !stop.is_cancelled() {
            let Some(revision) = next.take() else {
                // Nothing that could be run: what is wanted was refused, and there is nothing else.
                self.crashed(PipelineStatus::Crashed, self.pipeline.refusal().unwrap_or_default());
                next = self.wait_for_change(None, last.as_ref()).await;
                continue;
            };
            match self.live(&revision).await {
                End::Asked => break,
                End::Replaced(other) => {
                    policy = RestartPolicy::default();
                    next = Some(other);
                }
                End::Crashed { reason, life } => {
                    if life < TRIAL && self.changes.has_better_than(&revision) {
                        self.crashed(PipelineStatus::Crashed, reason.clone());
                        next = self.changes.fall_back(&revision, &reason);
                        policy = RestartPolicy::default();
                    } else {
                        next = self.answer_crash(policy.ended(life), reason, &revision, &mut policy).await;
                    }
                }
            }
            last = Some(revision);
        }
        self.pipeline.stopped();
    }

    /// Waits as the policy says, or for a change. What to run then; nothing when the agent stops.
    async fn answer_crash(
        &mut self,
        verdict: Verdict,
        reason: String,
        revision: &Revision,
        policy: &mut RestartPolicy,
    ) -> Option<Revision> {
        let wait = match verdict {
            Verdict::StartAfter(wait) => {
                self.crashed(PipelineStatus::Crashed, reason);
                Some(wait)
            }
            Verdict::GiveUp => {
                let reason = format!("{reason}; too many crashes in a row, not started again");
                self.crashed(PipelineStatus::CrashLoop, reason);
                tracing::error!(pipeline = %self.pipeline.id(), "the pipeline does not stay up and is not started any more until its configuration changes or the agent gets SIGHUP");
                None
            }
        };
        let changed = self.wait_for_change(wait, Some(revision)).await;
        if changed.is_some() {
            *policy = RestartPolicy::default();
            return changed;
        }
        if !self.stop.is_cancelled() {
            self.pipeline.change(|state| state.restarts += 1);
        }
        Some(revision.clone())
    }

    /// Waits for another revision while there is no process; not longer than `ceiling`, if given.
    async fn wait_for_change(&mut self, ceiling: Option<Duration>, last: Option<&Revision>) -> Option<Revision> {
        let over = async {
            match ceiling {
                Some(ceiling) => sleep(ceiling).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            revision = self.changes.next(None, last) => Some(revision),
            () = over => None,
            () = self.stop.cancelled() => None,
        }
    }

    fn crashed(&self, status: PipelineStatus, reason: String) {
        self.pipeline.change(|state| {
            state.status = status;
            state.reason = Some(reason);
            state.pid = None;
            state.started_at = None;
        });
    }

    /// One life of the process.
    async fn live(&mut self, revision: &Revision) -> End {
        let alone = tokio::select! {
            alone = self.endpoint.wait_until_free() => alone,
            () = self.stop.cancelled() => return End::Asked,
        };
        self.pipeline.change(|state| {
            state.status = PipelineStatus::Starting;
            state.reason = None;
            state.pid = None;
            state.started_at = None;
        });
        self.pipeline
            .with_meter(|meter| if alone { meter.process_started() } else { meter.process_started_beside_another() });
        let begun = match self.changes.install(revision).await {
            Ok(command) => Life::begin(&self.pipeline, &command).await.map_err(|error| error.to_string()),
            Err(reason) => Err(reason),
        };
        let mut life = match begun {
            Ok(life) => life,
            Err(reason) => {
                self.pipeline.has_no_process(&reason);
                return End::Crashed { reason, life: Duration::ZERO };
            }
        };
        let proven_at = life.born + TRIAL;
        let mut on_trial = self.changes.is_on_trial(revision);
        let mut starting = true;
        let endpoint = self.endpoint.clone();
        let mut ready = std::pin::pin!(endpoint.become_ready());
        let end = loop {
            tokio::select! {
                reason = life.ended() => break End::Crashed { reason, life: life.born.elapsed() },
                () = self.stop.cancelled() => break End::Asked,
                other = self.changes.next(Some(revision), None) => break End::Replaced(other),
                () = &mut ready, if starting => starting = false,
                () = sleep_until(proven_at), if on_trial => {
                    on_trial = false;
                    self.changes.prove(revision);
                }
            }
        };
        match end {
            End::Crashed { reason, life: lived } => {
                let error = life.bury(&self.pipeline).await;
                self.pipeline.has_no_process("the process is not running");
                if self.stop.is_cancelled() {
                    return End::Asked;
                }
                let reason = error.map_or_else(|| reason.clone(), |error| format!("{reason}: {error}"));
                End::Crashed { reason, life: lived }
            }
            asked => {
                life.end(&self.endpoint).await;
                asked
            }
        }
    }
}
