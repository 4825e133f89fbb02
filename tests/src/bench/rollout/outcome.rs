//! What was measured, as JSON and for people.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::crash::CrashOutcome;

/// Times over all nodes, from the request.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Times {
    pub p50_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

impl Display for Times {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {} ms, p99 {} ms, at most {} ms", self.p50_ms, self.p99_ms, self.max_ms)
    }
}

/// One change, until every node runs it.
#[derive(Debug, Serialize)]
pub(super) struct StepOutcome {
    pub name: &'static str,
    pub answered_ms: u64,
    /// The new process of each node started.
    pub started: Times,
    /// The feed said so.
    pub reported_running: Times,
    /// It was up for a second, and the feed said so.
    pub reported_healthy: Times,
    pub complete_ms: u64,
}

/// Versions that get to every node.
#[derive(Debug, Serialize)]
pub(super) struct PaceOutcome {
    pub agents: usize,
    pub push: bool,
    pub steps: Vec<StepOutcome>,
}

impl PaceOutcome {
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", fleet(self.agents, self.push));
        for step in &self.steps {
            text += &format!(
                "{}, answered after {} ms:\n  process started: {}\n  reported running: {}\n  reported healthy \
                 (after 1 s): {}\n  rollout complete after {} ms\n",
                step.name,
                step.answered_ms,
                step.started,
                step.reported_running,
                step.reported_healthy,
                step.complete_ms
            );
        }
        text + "the same once more: no generation and no process changed\n"
    }
}

/// Versions that crash.
#[derive(Debug, Serialize)]
pub(super) struct CrashOutcomes {
    pub agents: usize,
    pub canaries: usize,
    pub push: bool,
    pub runs: Vec<CrashOutcome>,
}

impl CrashOutcomes {
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}, {} of them canaries\n", fleet(self.agents, self.push), self.canaries);
        for run in &self.runs {
            text += &format!(
                "{}: halted after {} ms; {} canaries touched, {} failed, each back within {} ms; {} nodes with the \
                 same process, {} agents away\n  {}\n",
                run.trouble.as_str(),
                run.halted_after_ms,
                run.touched,
                run.failed,
                run.back_max_ms,
                run.untouched,
                run.away,
                run.reason
            );
        }
        text
    }
}

fn fleet(agents: usize, push: bool) -> String {
    format!("{agents} agents {} push", if push { "with" } else { "without" })
}
