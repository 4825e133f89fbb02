//! Rollouts of the agents' own version.
//!
//! What a node "should run" is then the rollout that brings the version. A node that has the version is healthy: its
//! agent reports with it. An update is not taken back from a node that has it, and a node that enrols after the end
//! does not get it, because it may have a newer one.

use serde::{Deserialize, Serialize};
use systole_shared::{AgentUpdate, DeploymentPhase};

use super::state::{Candidate, NodeState, Readiness, Rollout, RolloutState, VersionReport};
use super::world::{World, canaries, report};
use crate::model::EnvironmentKey;
use crate::model::selector::Selector;

/// The id that agents report their own update under.
pub(crate) const AGENT: &str = "agent";

/// A version of agents and the nodes that get it, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentRollout {
    pub selector: Vec<String>,
    pub update: AgentUpdate,
}

/// Nodes that the rollout selects.
pub(crate) fn candidates(
    world: &World,
    environment: EnvironmentKey,
    rollout: &Rollout,
    agents: &AgentRollout,
) -> Vec<Candidate> {
    let Ok(selector) = Selector::parse(&agents.selector) else { return Vec::new() };
    let canaries = canaries(&rollout.policy);
    let mut found = Vec::new();
    for target in world.targets(environment).iter().filter(|target| selector.matches(&target.labels)) {
        let has_newer = target.agent_rollout > Some(rollout.key);
        let is_known = rollout.nodes.get(&target.key).is_some_and(|node| node.state != NodeState::Healthy);
        let readiness = target.agent_readiness();
        // One that never gets it stays listed, with the reason.
        let is_unfit = matches!(readiness, Readiness::Unfit(_)) && !rollout.nodes.contains_key(&target.key);
        if has_newer || (rollout.state == RolloutState::Complete && !is_known && !is_unfit) {
            continue;
        }
        let has_version = target.agent_version.as_deref() == Some(agents.update.version.as_str());
        let report = match has_version {
            true => Some(VersionReport { phase: DeploymentPhase::Healthy, reason: String::new(), since: 0 }),
            false => world.deployment(AGENT, target.key).and_then(report).filter(|report| report.phase.is_failure()),
        };
        found.push(Candidate {
            key: target.key,
            name: target.name.clone(),
            readiness,
            is_canary: canaries.as_ref().is_some_and(|canaries| canaries.matches(&target.labels)),
            report,
        });
    }
    found
}
