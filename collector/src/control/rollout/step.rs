//! One step of a rollout. Pure: what it sees is in its arguments, and what it decides is its result.
//!
//! - Canaries get the version first, all at once, then one batch after the other. A batch begins when every node of
//!   the one before is healthy, has failed, or is away.
//! - A node that is away (silent, or in maintenance) is no part of a batch. It gets the version when it is back, also
//!   after the end. So one host that is down blocks no one, and the rollout says how many are missing.
//! - Canaries that are all away block the rollout: without one of them nothing is known of the version. It halts when
//!   all of them have failed, even if so many may fail.
//! - A failed node goes back to the version before at once, and stays there until the next rollout or a resume.
//! - More failures than the policy allows halt the rollout. Nodes that are not healthy yet go back, too; healthy ones
//!   keep the version until an operator resumes or aborts.

use std::collections::BTreeMap;

use systole_shared::{DeploymentPhase, UnixMillis};

use super::state::{Candidate, NodeState, Readiness, Rollout, RolloutNode, RolloutState};
use crate::model::NodeKey;

/// How long a node may take to be healthy, beside the time that it must be up: to fetch the version, to check it,
/// and to start a large pipeline. A node that is not healthy by then has failed.
pub(crate) const DEPLOY_TIMEOUT_MS: i64 = 5 * 60_000;

/// Failed nodes that the reason of a halt names: enough to begin with. The others are listed with the rollout.
const NAMED_FAILURES: usize = 3;

/// What changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// The state, and why.
    pub state: Option<(RolloutState, String)>,
    pub stage: Option<i64>,
    pub nodes: BTreeMap<NodeKey, RolloutNode>,
    /// The version that nodes should run from now on; `None`: none.
    pub assign: BTreeMap<NodeKey, Option<i64>>,
}

impl Step {
    /// Whether the rollout stays as it is.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Step::default()
    }
}

/// Decides what is next. `candidates` are the nodes that the version selects, in the order of their turns.
pub(crate) fn step(rollout: &Rollout, candidates: &[Candidate], now: UnixMillis) -> Step {
    let mut next = Next { rollout, candidates, now, step: Step::default() };
    match rollout.state {
        RolloutState::Running => {
            next.observe();
            if !next.halt_if_failed() {
                next.advance();
            }
        }
        RolloutState::Complete => {
            next.observe();
            next.bring_to_late_nodes();
        }
        RolloutState::Halted | RolloutState::Aborted => {}
    }
    next.step
}

/// Lets a halted rollout continue: failed nodes try again.
pub(crate) fn resume(rollout: &Rollout, now: UnixMillis) -> Step {
    let retried = rollout.nodes.iter().filter(|(_, node)| node.state == NodeState::Failed);
    let retried = retried.map(|(key, node)| {
        (*key, RolloutNode { state: NodeState::Waiting, reason: String::new(), changed_at: now, ..node.clone() })
    });
    Step { state: Some((RolloutState::Running, String::new())), nodes: retried.collect(), ..Step::default() }
}

/// Takes the version back from every node that has it.
pub(crate) fn abort(rollout: &Rollout, reason: &str, now: UnixMillis) -> Step {
    let mut step = Step { state: Some((RolloutState::Aborted, reason.to_owned())), ..Step::default() };
    for (key, node) in &rollout.nodes {
        if matches!(node.state, NodeState::Deploying | NodeState::Healthy) {
            step.assign.insert(*key, rollout.from_version);
            let reason = "aborted".to_owned();
            step.nodes.insert(*key, RolloutNode { state: NodeState::Waiting, reason, changed_at: now, ..node.clone() });
        }
    }
    step
}

struct Next<'a> {
    rollout: &'a Rollout,
    candidates: &'a [Candidate],
    now: UnixMillis,
    step: Step,
}

impl Next<'_> {
    /// A node as it is after what was decided so far.
    fn node(&self, key: NodeKey) -> Option<&RolloutNode> {
        self.step.nodes.get(&key).or_else(|| self.rollout.nodes.get(&key))
    }

    fn state_of(&self, key: NodeKey) -> NodeState {
        self.node(key).map_or(NodeState::Waiting, |node| node.state)
    }

    fn set(&mut self, key: NodeKey, stage: i64, state: NodeState, reason: String) {
        self.step.nodes.insert(key, RolloutNode { stage, state, reason, changed_at: self.now });
    }

    fn is_in(&self, candidate: &Candidate, state: NodeState) -> bool {
        self.state_of(candidate.key) == state
    }

    /// Keys of all nodes in a state, those included that the version no longer selects.
    fn keys_in(&self, state: NodeState) -> Vec<NodeKey> {
        self.rollout.nodes.keys().copied().filter(|key| self.state_of(*key) == state).collect()
    }

    /// Takes what nodes say of the version.
    fn observe(&mut self) {
        for candidate in self.candidates {
            let Some(node) = self.rollout.nodes.get(&candidate.key) else { continue };
            match node.state {
                NodeState::Deploying => self.observe_deploying(candidate, node),
                NodeState::Healthy => {
                    if let Some(reason) = failure(candidate, node) {
                        self.fail(candidate.key, node.stage, reason);
                    }
                }
                NodeState::Waiting | NodeState::Failed => {}
            }
        }
    }

    fn observe_deploying(&mut self, candidate: &Candidate, node: &RolloutNode) {
        let phase = candidate.report.as_ref().map(|report| report.phase);
        if let Some(reason) = failure(candidate, node) {
            return self.fail(candidate.key, node.stage, reason);
        }
        match phase {
            Some(DeploymentPhase::Healthy) => {
                return self.set(candidate.key, node.stage, NodeState::Healthy, String::new());
            }
            Some(DeploymentPhase::Paused) => {
                return self.set(candidate.key, node.stage, NodeState::Healthy, "paused".to_owned());
            }
            _ => {}
        }
        match candidate.readiness {
            Readiness::Away(reason) if node.reason != reason => {
                self.set(candidate.key, node.stage, NodeState::Deploying, reason.to_owned());
            }
            // Back: its time begins again.
            Readiness::Ready if !node.reason.is_empty() => {
                self.set(candidate.key, node.stage, NodeState::Deploying, String::new());
            }
            Readiness::Ready => {
                let timeout = DEPLOY_TIMEOUT_MS + i64::try_from(self.rollout.policy.healthy_for_ms).unwrap_or(i64::MAX);
                if self.now.saturating_sub(node.changed_at) > timeout {
                    self.fail(candidate.key, node.stage, too_slow(candidate, timeout));
                }
            }
            Readiness::Away(_) | Readiness::Unfit(_) => {}
        }
    }

    fn fail(&mut self, key: NodeKey, stage: i64, reason: String) {
        self.set(key, stage, NodeState::Failed, reason);
        self.step.assign.insert(key, self.rollout.from_version);
    }

    /// Halts when more nodes have failed than may.
    fn halt_if_failed(&mut self) -> bool {
        let failed = self.keys_in(NodeState::Failed);
        if failed.len() <= self.rollout.policy.max_failed as usize {
            return false;
        }
        let allowed = match self.rollout.policy.max_failed {
            0 => "none may fail".to_owned(),
            max => format!("at most {max} may fail"),
        };
        self.halt(&failed, &allowed);
        true
    }

    fn halt(&mut self, failed: &[NodeKey], why: &str) {
        for key in self.keys_in(NodeState::Deploying) {
            let stage = self.node(key).map_or(self.rollout.stage, |node| node.stage);
            self.set(key, stage, NodeState::Waiting, "the rollout is halted".to_owned());
            self.step.assign.insert(key, self.rollout.from_version);
        }
        let name = |key: NodeKey| {
            let found = self.candidates.iter().find(|candidate| candidate.key == key);
            found.map_or_else(|| format!("node {}", key.0), |candidate| candidate.name.clone())
        };
        let named = failed.iter().take(NAMED_FAILURES).map(|key| {
            let reason = self.node(*key).map_or("", |node| &node.reason);
            format!("{}: {reason}", name(*key))
        });
        let named: Vec<_> = named.collect();
        let nodes =
            if failed.len() == 1 { "1 node failed".to_owned() } else { format!("{} nodes failed", failed.len()) };
        let reason = format!("{nodes}, {why}; {}", named.join("; "));
        self.step.state = Some((RolloutState::Halted, reason));
    }

    /// Begins the next batch, or ends the rollout, once the last batch is done.
    fn advance(&mut self) {
        let is_in_flight = |candidate: &&Candidate| candidate.is_ready() && self.is_in(candidate, NodeState::Deploying);
        if self.candidates.iter().any(|candidate| is_in_flight(&candidate)) {
            return;
        }
        let is_next = |candidate: &&Candidate| candidate.is_ready() && self.is_in(candidate, NodeState::Waiting);
        let next: Vec<&Candidate> = self.candidates.iter().filter(is_next).collect();
        if self.rollout.stage == 0 && self.begin_canaries(&next) {
            return;
        }
        if next.is_empty() {
            return self.end();
        }
        let reachable = self.candidates.iter().filter(|candidate| candidate.is_ready()).count();
        let batch = self.rollout.policy.batch.size(reachable).min(next.len());
        let stage = self.rollout.stage + 1;
        self.step.stage = Some(stage);
        self.begin(&next[..batch], stage);
        self.explain(String::new());
    }

    /// Brings the version to the canaries. Returns whether the rollout waits for one of them.
    fn begin_canaries(&mut self, next: &[&Candidate]) -> bool {
        let canaries: Vec<&Candidate> = next.iter().copied().filter(|candidate| candidate.is_canary).collect();
        if !canaries.is_empty() {
            self.begin(&canaries, 0);
            self.explain(String::new());
            return true;
        }
        let all: Vec<&Candidate> =
            self.candidates.iter().filter(|candidate| candidate.is_canary && candidate.is_fit()).collect();
        if all.is_empty() || all.iter().any(|candidate| self.is_in(candidate, NodeState::Healthy)) {
            return false;
        }
        if all.iter().all(|candidate| self.is_in(candidate, NodeState::Failed)) {
            self.halt(&self.keys_in(NodeState::Failed), "and no canary is left");
            return true;
        }
        self.explain("waiting for a canary: each one is unreachable, in maintenance or has failed".to_owned());
        true
    }

    fn begin(&mut self, nodes: &[&Candidate], stage: i64) {
        for candidate in nodes {
            self.set(candidate.key, stage, NodeState::Deploying, String::new());
            self.step.assign.insert(candidate.key, Some(self.rollout.version));
        }
    }

    /// Says why a running rollout waits.
    fn explain(&mut self, reason: String) {
        if self.rollout.reason != reason {
            self.step.state = Some((RolloutState::Running, reason));
        }
    }

    fn end(&mut self) {
        let failed = self.keys_in(NodeState::Failed);
        if !failed.is_empty() && self.keys_in(NodeState::Healthy).is_empty() {
            return self.halt(&failed, "and none is healthy");
        }
        let missing = self.missing();
        let reason = missing_reason(missing.len());
        self.step.state = Some((RolloutState::Complete, reason));
        // They are written down: what is selected later is not one of them.
        for key in missing {
            if self.node(key).is_none() {
                self.set(key, self.rollout.stage, NodeState::Waiting, String::new());
            }
        }
    }

    /// Nodes that are away and do not have the version yet.
    fn missing(&self) -> Vec<NodeKey> {
        let is_missing = |candidate: &&Candidate| {
            matches!(candidate.readiness, Readiness::Away(_))
                && matches!(self.state_of(candidate.key), NodeState::Waiting | NodeState::Deploying)
        };
        self.candidates.iter().filter(is_missing).map(|candidate| candidate.key).collect()
    }

    /// After the end: nodes that are back, and nodes that are selected since.
    fn bring_to_late_nodes(&mut self) {
        let is_late = |candidate: &&Candidate| candidate.is_ready() && self.is_in(candidate, NodeState::Waiting);
        let late: Vec<&Candidate> = self.candidates.iter().filter(is_late).collect();
        self.begin(&late, self.rollout.stage);
        let reason = missing_reason(self.missing().len());
        if reason != self.rollout.reason {
            self.step.state = Some((RolloutState::Complete, reason));
        }
    }
}

fn missing_reason(missing: usize) -> String {
    match missing {
        0 => String::new(),
        1 => "1 node gets the version when it is back".to_owned(),
        missing => format!("{missing} nodes get the version when they are back"),
    }
}

/// Why the version has failed on a node. What the node said before its turn began is of an earlier attempt.
fn failure(candidate: &Candidate, node: &RolloutNode) -> Option<String> {
    let report = candidate.report.as_ref().filter(|report| report.phase.is_failure())?;
    (report.since >= node.changed_at).then(|| match report.phase {
        DeploymentPhase::Rejected => described("rejected", &report.reason),
        _ => described("rolled back", &report.reason),
    })
}

fn too_slow(candidate: &Candidate, timeout_ms: i64) -> String {
    let late = format!("not healthy within {} s", timeout_ms / 1_000);
    match &candidate.report {
        Some(report) => format!("{late}; {}", described(report.phase.as_str(), &report.reason)),
        None => format!("{late}; the agent reports nothing of it"),
    }
}

fn described(phase: &str, reason: &str) -> String {
    if reason.is_empty() { phase.to_owned() } else { format!("{phase}: {reason}") }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
