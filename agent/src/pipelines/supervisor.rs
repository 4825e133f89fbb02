//! Keeps one pipeline's command running.
//!
//! A task per pipeline, so that a slow stop or a crash of one is nothing to the others.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use systole_shared::PipelineStatus;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::output::Output;
use super::restart::{RestartPolicy, Verdict};
use super::{Pipeline, port, process};
use crate::clock;
use crate::config::CommandConfig;
use crate::scrape::fetch::Scraper;

/// How long a process without metrics must live to count as running.
const READY_WITHOUT_METRICS: Duration = Duration::from_secs(2);

/// Between two questions whether a starting process answers.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// A process that lives but does not answer for this long is shown as DEGRADED.
const READY_CEILING: Duration = Duration::from_secs(60);

/// How long a process may take to end after SIGTERM, before SIGKILL.
pub(crate) const STOP_CEILING: Duration = Duration::from_secs(30);

/// How long what a crashed process left behind in its group may take to end, before SIGKILL.
const LEFTOVER_CEILING: Duration = Duration::from_secs(5);

/// How long the pipes of a process that has ended are read on, in case something else holds them.
const DRAIN_CEILING: Duration = Duration::from_millis(500);

/// How long a taken port is waited for: what holds it may be the last agent's process, which has
/// [`STOP_CEILING`] to end.
const PORT_CEILING: Duration = Duration::from_secs(35);

/// Between two looks at a port or a process group.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the last scrape may hold up a stop.
const LAST_SCRAPE_CEILING: Duration = Duration::from_secs(2);

/// Runs a pipeline's command until `stop`.
pub(crate) struct Supervisor {
    pipeline: Arc<Pipeline>,
    scraper: Arc<Scraper>,
    stop: CancellationToken,
}

/// How a life of the process ended.
enum End {
    /// It was told to.
    Asked,
    /// By itself.
    Crashed { reason: String, life: Duration },
}

impl Supervisor {
    /// Makes the supervisor of a pipeline.
    pub(crate) fn new(pipeline: Arc<Pipeline>, scraper: Arc<Scraper>, stop: CancellationToken) -> Self {
        Supervisor { pipeline, scraper, stop }
    }

    /// Runs the command, again and again, until `stop`; then ends it.
    pub(crate) async fn run(self) {
        let Some(command) = self.pipeline.config().command.clone() else { return };
        let stop = self.stop.clone();
        let mut policy = RestartPolicy::default();
        while let End::Crashed { reason, life } = self.live(&command).await {
            let verdict = policy.ended(life);
            let (status, reason) = match verdict {
                Verdict::StartAfter(_) => (PipelineStatus::Crashed, reason),
                Verdict::GiveUp => {
                    (PipelineStatus::CrashLoop, format!("{reason}; too many crashes in a row, not started again"))
                }
            };
            self.pipeline.change(|state| {
                state.status = status;
                state.reason = Some(reason);
                state.pid = None;
                state.started_at = None;
            });
            match verdict {
                Verdict::StartAfter(wait) => tokio::select! {
                    () = sleep(wait) => self.pipeline.change(|state| state.restarts += 1),
                    () = stop.cancelled() => break,
                },
                Verdict::GiveUp => {
                    tracing::error!(pipeline = %self.pipeline.id(), "the pipeline does not stay up and is not started any more; mend its command and restart the agent");
                    stop.cancelled().await;
                    break;
                }
            }
        }
        self.pipeline.change(|state| {
            state.status = PipelineStatus::Stopped;
            state.reason = Some("the agent stops".to_owned());
            state.pid = None;
            state.started_at = None;
        });
    }

    /// One life of the process.
    async fn live(&self, command: &CommandConfig) -> End {
        let alone = tokio::select! {
            alone = self.wait_for_port() => alone,
            () = self.stop.cancelled() => return End::Asked,
        };
        self.pipeline.change(|state| {
            state.status = PipelineStatus::Starting;
            state.reason = None;
        });
        self.pipeline
            .with_meter(|meter| if alone { meter.process_started() } else { meter.process_started_beside_another() });
        let born = Instant::now();
        let mut child = match process::spawn(command) {
            Ok(child) => child,
            Err(error) => {
                let reason = error.to_string();
                self.pipeline.has_no_process(&reason);
                return End::Crashed { reason, life: Duration::ZERO };
            }
        };
        let pid = child.id();
        self.pipeline.change(|state| {
            state.pid = pid;
            state.started_at = Some(clock::unix_millis());
        });
        let output = Output::follow(&self.pipeline, child.stdout.take(), child.stderr.take());

        let ended = tokio::select! {
            ended = child.wait() => Some(ended),
            () = self.become_ready() => None,
            () = self.stop.cancelled() => None,
        };
        let ended = match ended {
            Some(ended) => Some(ended),
            None => tokio::select! {
                ended = child.wait() => Some(ended),
                () = self.stop.cancelled() => None,
            },
        };
        let Some(ended) = ended else {
            self.end(&mut child, pid, &output).await;
            return End::Asked;
        };
        let life = born.elapsed();
        let reason = ended.map_or_else(|error| format!("cannot wait for it: {error}"), process::describe);
        self.clear_away(pid, LEFTOVER_CEILING, &output).await;
        self.pipeline.has_no_process("the process is not running");
        if self.stop.is_cancelled() { End::Asked } else { End::Crashed { reason, life } }
    }

    /// Waits until nothing answers at the metrics endpoint; false if something still does.
    async fn wait_for_port(&self) -> bool {
        let config = self.pipeline.config();
        let Some(metrics) = &config.metrics else { return true };
        let begin = Instant::now();
        while port::is_taken(&metrics.url).await {
            if begin.elapsed() > PORT_CEILING {
                tracing::warn!(pipeline = %self.pipeline.id(), url = %metrics.url,
                    "something else answers at the metrics endpoint; the pipeline is started all the same, its first figures are left out");
                return false;
            }
            self.pipeline.has_no_process("the process is not started yet");
            self.pipeline.change(|state| {
                state.status = PipelineStatus::Starting;
                state.reason = Some("waiting: another process answers at the metrics endpoint".to_owned());
            });
            sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Waits for the process to be ready and says so. Never ends otherwise; the process does.
    async fn become_ready(&self) {
        if self.pipeline.config().metrics.is_none() {
            sleep(READY_WITHOUT_METRICS).await;
        } else {
            let begin = Instant::now();
            while let Err(error) = self.pipeline.scrape(&self.scraper).await {
                if begin.elapsed() > READY_CEILING {
                    self.pipeline.change(|state| {
                        state.status = PipelineStatus::Degraded;
                        state.reason =
                            Some(format!("the process runs, but its metrics endpoint does not answer: {error}"));
                    });
                }
                sleep(PROBE_EVERY).await;
            }
        }
        self.pipeline.change(|state| {
            state.status = PipelineStatus::Running;
            state.reason = None;
        });
    }

    /// Ends the process: last scrape, SIGTERM, a wait, SIGKILL.
    async fn end(&self, child: &mut Child, pid: Option<u32>, output: &Output) {
        if self.pipeline.config().metrics.is_some() {
            let _ = timeout(LAST_SCRAPE_CEILING, self.pipeline.scrape(&self.scraper)).await;
        }
        let Some(pid) = pid else { return };
        let begin = Instant::now();
        process::signal_group(pid, Signal::SIGTERM);
        let ended = async {
            tokio::select! {
                _ = child.wait() => {}
                () = self.count_to_the_end() => {}
            }
        };
        if timeout(STOP_CEILING, ended).await.is_err() {
            tracing::warn!(pipeline = %self.pipeline.id(), pid, "the process did not end within {} s of SIGTERM; it gets SIGKILL", STOP_CEILING.as_secs());
            process::signal_group(pid, Signal::SIGKILL);
            let _ = child.wait().await;
        }
        let left = STOP_CEILING.saturating_sub(begin.elapsed());
        self.clear_away(Some(pid), left, output).await;
    }

    /// A process that was told to end may still empty its buffers: counts that. Never ends.
    async fn count_to_the_end(&self) {
        if self.pipeline.config().metrics.is_some() {
            while self.pipeline.scrape(&self.scraper).await.is_ok() {
                sleep(PROBE_EVERY).await;
            }
        }
        std::future::pending::<()>().await;
    }

    /// The process is gone: ends what it left in its group, and takes its last lines.
    async fn clear_away(&self, pid: Option<u32>, ceiling: Duration, output: &Output) {
        if let Some(pid) = pid.filter(|pid| process::signal_group(*pid, Signal::SIGTERM)) {
            let begin = Instant::now();
            while process::group_lives(pid) {
                if begin.elapsed() >= ceiling {
                    process::signal_group(pid, Signal::SIGKILL);
                    break;
                }
                sleep(LOOK_EVERY).await;
            }
        }
        if timeout(DRAIN_CEILING, output.ended()).await.is_err() {
            output.give_up().await;
        }
    }
}
