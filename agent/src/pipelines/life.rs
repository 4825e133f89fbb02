//! One life of a pipeline's process, from its start to the end of all that it left behind.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::Pipeline;
use super::cgroup::Group;
use super::endpoint::Endpoint;
use super::orphans::OwnChild;
use super::output::Output;
use super::process::{self, SpawnError};
use super::text;
use crate::clock;
use crate::config::CommandConfig;

/// How long a process may take to end after SIGTERM, before SIGKILL.
pub(crate) const STOP_CEILING: Duration = Duration::from_secs(30);

/// How long what a crashed process left behind in its group may take to end, before SIGKILL.
const LEFTOVER_CEILING: Duration = Duration::from_secs(5);

/// How long the end of the output of a process that has ended is waited for: something else may hold it.
const DRAIN_CEILING: Duration = Duration::from_millis(500);

/// Bytes of the last error line in the reason of a crash: a sentence, and room for what follows it.
const ERROR_BYTES: usize = 300;

/// Between two looks at a process group.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A process that was started.
pub(super) struct Life {
    child: Child,
    pid: Option<u32>,
    _own: Option<OwnChild>,
    /// It was killed from outside: what it wrote before does not explain that.
    is_killed: bool,
    output: Output,
    /// Its control group, if its limits need one and there can be one.
    group: Option<Group>,
    /// When it was started.
    pub(super) born: Instant,
}

impl Life {
    /// Starts the process.
    pub(super) async fn begin(pipeline: &Arc<Pipeline>, command: &CommandConfig) -> Result<Life, SpawnError> {
        let (output, stdout, stderr) = Output::prepare(pipeline).await;
        let born = Instant::now();
        pipeline.with_logs(|logs| logs.last_output.clear());
        // A limit that cannot be set is no reason not to run.
        let group = Group::make(pipeline.id(), &command.limits).unwrap_or_else(|error| {
            tracing::warn!(pipeline = %pipeline.id(), "memory_max and cpu_max are not applied: {error}");
            let line = format!("warn: systole-agent: memory_max and cpu_max are not applied: {error}");
            pipeline.say(line);
            None
        });
        let mut child = process::spawn(command, group.as_ref(), stdout, stderr)?;
        let pid = child.id();
        let own = OwnChild::new(pid);
        pipeline.change(|state| {
            state.pid = pid;
            state.started_at = Some(clock::unix_millis());
        });
        output.follow(&mut child);
        Ok(Life { child, pid, _own: own, is_killed: false, output, group, born })
    }

    /// Waits for its end, and says how it was. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> String {
        let ended = self.child.wait().await;
        self.is_killed = ended.as_ref().is_ok_and(process::is_killed);
        let reason = ended.map_or_else(|error| format!("cannot wait for it: {error}"), process::describe);
        match self.group.as_ref().and_then(Group::oom) {
            Some(oom) => format!("{reason}: {oom}"),
            None => reason,
        }
    }

    /// It has ended by itself: sees to what it left. Returns its last error line, if it wrote one.
    pub(super) async fn bury(self, pipeline: &Pipeline) -> Option<String> {
        let ended_at = clock::unix_millis();
        clear_away(self.pid, LEFTOVER_CEILING, &self.output).await;
        if self.is_killed {
            return None;
        }
        pipeline.with_logs(|logs| {
            let line = logs.last_output.error(ended_at)?;
            Some(text::one_line(text::without_time(line), ERROR_BYTES))
        })
    }

    /// Ends it: last scrape, SIGTERM, a wait, SIGKILL.
    pub(super) async fn end(mut self, endpoint: &Endpoint) {
        endpoint.scrape_before_the_end().await;
        let Some(pid) = self.pid else { return };
        let begin = Instant::now();
        process::signal_group(pid, Signal::SIGTERM);
        let ended = async {
            tokio::select! {
                _ = self.child.wait() => {}
                () = endpoint.count_to_the_end() => {}
            }
        };
        if timeout(STOP_CEILING, ended).await.is_err() {
            tracing::warn!(pipeline = %endpoint.pipeline.id(), pid, "the process did not end within {} s of SIGTERM; it gets SIGKILL", STOP_CEILING.as_secs());
            process::signal_group(pid, Signal::SIGKILL);
            let _ = self.child.wait().await;
        }
        let left = STOP_CEILING.saturating_sub(begin.elapsed());
        clear_away(Some(pid), left, &self.output).await;
    }
}

/// The process is gone: ends what it left in its group, and takes its last lines.
async fn clear_away(pid: Option<u32>, ceiling: Duration, output: &Output) {
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
