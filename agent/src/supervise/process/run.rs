//! One run of a pipeline's process, from its start to the end of all that it left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::SpawnError;
use super::cgroup::Group;
use super::child::{AdoptedChild, PipelineChild};
use super::orphans::OwnChild;
use super::output::Output;
use crate::clock;
use crate::model::pipeline::CommandConfig;
use crate::supervise::endpoint::Endpoint;
use crate::supervise::handover::Adoption;
use crate::supervise::{Pipeline, process, text};

/// How long a process may take to end after SIGTERM, before SIGKILL.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long what a crashed process left behind in its group may take to end, before SIGKILL.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the output of a process that has ended is waited for: something else may hold it.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// How long an answer of a process that has ended may still be on its way.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of the last error line in the reason of a crash: a sentence, and room for what follows it.
const ERROR_BYTES: usize = 300;

/// Between two checks at a process group.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A process that was started.
pub(in crate::supervise) struct ProcessRun {
    child: PipelineChild,
    pid: Option<u32>,
    _own: Option<OwnChild>,
    /// It was killed from outside: what it wrote before does not explain that.
    is_killed: bool,
    output: Output,
    /// Its control group, if its limits need one and there can be one.
    group: Option<Group>,
    /// When it was started.
    pub(in crate::supervise) started_at: Instant,
}

impl ProcessRun {
    /// Starts the process.
    pub(in crate::supervise) async fn begin(
        pipeline: &Arc<Pipeline>,
        command: &CommandConfig,
    ) -> Result<ProcessRun, SpawnError> {
        let (output, stdout, stderr) = Output::prepare(pipeline).await;
        let started_at = Instant::now();
        pipeline.with_logs(|logs| logs.last_output.clear());
        let group = group_of(pipeline, command);
        let mut child = process::spawn(command, group.as_ref(), stdout, stderr)?;
        let pid = child.id();
        let own = OwnChild::new(pid);
        pipeline.runtime.change(|state| {
            state.pid = pid;
            state.started_at = Some(clock::unix_millis());
        });
        output.follow(&mut child);
        let child = PipelineChild::Started(child);
        Ok(ProcessRun { child, pid, _own: own, is_killed: false, output, group, started_at })
    }

    /// Continues to follow a process that the program before this one started.
    pub(in crate::supervise) async fn adopt(pipeline: &Arc<Pipeline>, adoption: Adoption) -> ProcessRun {
        let Adoption { process, started_at, own, .. } = adoption;
        let output = Output::resume(pipeline).await;
        let group = group_of(pipeline, &process.command);
        let age = u64::try_from(clock::unix_millis() - started_at).map_or(Duration::ZERO, Duration::from_millis);
        let now = Instant::now();
        ProcessRun {
            child: PipelineChild::Adopted(AdoptedChild::new(i32::try_from(process.pid).unwrap_or(i32::MAX))),
            pid: Some(process.pid),
            _own: own,
            is_killed: false,
            output,
            group,
            started_at: now.checked_sub(age).unwrap_or(now),
        }
    }

    /// Waits for its end, and says how it was. May be dropped and called again.
    pub(in crate::supervise) async fn wait(&mut self) -> String {
        let ended = self.child.wait().await;
        self.is_killed = ended.as_ref().is_ok_and(process::is_killed);
        let reason = ended.map_or_else(|error| format!("cannot wait for it: {error}"), process::describe);
        match self.group.as_ref().and_then(Group::oom) {
            Some(oom) => format!("{reason}: {oom}"),
            None => reason,
        }
    }

    /// It has ended by itself: sees to what it left. Returns its last error line, if it wrote one.
    pub(in crate::supervise) async fn reap(self, pipeline: &Pipeline) -> Option<String> {
        let ended_at = clock::unix_millis();
        clear_away(self.pid, LEFTOVER_TIMEOUT, &self.output).await;
        if self.is_killed {
            return None;
        }
        pipeline.with_logs(|logs| {
            let line = logs.last_output.error(ended_at)?;
            Some(text::one_line(text::without_time(line), ERROR_BYTES))
        })
    }

    /// Ends it: last scrape, SIGTERM, a wait, SIGKILL.
    pub(in crate::supervise) async fn end(mut self, endpoint: &Endpoint) {
        endpoint.scrape_before_the_end().await;
        let Some(pid) = self.pid else { return };
        let begin = Instant::now();
        process::signal_group(pid, Signal::SIGTERM);
        let has_ended = AtomicBool::new(false);
        let ended = async {
            let mut counting = std::pin::pin!(endpoint.count_to_the_end(&has_ended));
            tokio::select! {
                _ = self.child.wait() => {}
                () = &mut counting => {
                    let _ = self.child.wait().await;
                    return;
                }
            }
            // The process may have ended right after an answer: no later one has what that counted.
            has_ended.store(true, Ordering::Relaxed);
            let _ = timeout(ANSWER_TIMEOUT, counting).await;
        };
        if timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!(pipeline = %endpoint.pipeline.id(), pid, "the process did not end within {} s of SIGTERM; sending SIGKILL", STOP_TIMEOUT.as_secs());
            process::signal_group(pid, Signal::SIGKILL);
            let _ = self.child.wait().await;
        }
        let left = STOP_TIMEOUT.saturating_sub(begin.elapsed());
        clear_away(Some(pid), left, &self.output).await;
    }
}

/// Ends a child that no pipeline wants: SIGTERM, a wait, SIGKILL.
pub(in crate::supervise) async fn stop_adopted(pid: u32) {
    let _own = OwnChild::new(Some(pid));
    let Ok(id) = i32::try_from(pid) else { return };
    let mut child = AdoptedChild::new(id);
    process::signal_group(pid, Signal::SIGTERM);
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        process::signal_group(pid, Signal::SIGKILL);
        let _ = child.wait().await;
    }
}

/// The control group that its limits need. A limit that cannot be set is no reason not to run.
fn group_of(pipeline: &Pipeline, command: &CommandConfig) -> Option<Group> {
    Group::make(pipeline.id(), &command.limits).unwrap_or_else(|error| {
        tracing::warn!(pipeline = %pipeline.id(), "memory_max and cpu_max are not applied: {error}");
        pipeline.add_line(format!("warn: systole-agent: memory_max and cpu_max are not applied: {error}"));
        None
    })
}

/// The process is gone: ends what it left in its group, and takes its last lines.
async fn clear_away(pid: Option<u32>, limit: Duration, output: &Output) {
    if let Some(pid) = pid.filter(|pid| process::signal_group(*pid, Signal::SIGTERM)) {
        let begin = Instant::now();
        while process::group_lives(pid) {
            if begin.elapsed() >= limit {
                process::signal_group(pid, Signal::SIGKILL);
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
    }
    if timeout(DRAIN_TIMEOUT, output.ended()).await.is_err() {
        output.give_up().await;
    }
}
