//! A rollout as operators see it: every node that it concerns, and why each is where it is.

use systole_shared::UnixMillis;

use super::agents::{self, AgentRollout};
use super::state::{Candidate, NodeState, Readiness, Rollout, RolloutState};
use super::world::{VersionTarget, World, rollout};
use crate::model::{DefinitionKey, EnvironmentKey, NodeKey, RolloutKey};
use crate::store::{DeploymentRow, RolloutDetail, RolloutSnapshot, RolloutView, Store, StoreError};

/// A rollout with its nodes.
#[derive(Debug)]
pub(crate) struct Overview {
    pub view: RolloutView,
    pub rollout: Rollout,
    /// By name.
    pub nodes: Vec<NodeOverview>,
}

/// A node of a rollout.
#[derive(Debug)]
pub(crate) struct NodeOverview {
    pub uuid: String,
    pub name: String,
    pub is_canary: bool,
    pub stage: Option<i64>,
    pub state: &'static str,
    pub reason: String,
    pub changed_at: Option<UnixMillis>,
    pub deployment: Option<DeploymentRow>,
}

/// A node that never gets the version.
const UNFIT: &str = "unfit";

/// Reads a rollout.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn read(store: &dyn Store, key: RolloutKey, now: UnixMillis) -> Result<Option<Overview>, StoreError> {
    let Some(detail) = store.rollout_detail(key).await? else { return Ok(None) };
    let row = &detail.view.row;
    let version = match row.definition {
        Some(definition) => store.version_body(DefinitionKey(definition), row.version).await?,
        None => None,
    };
    let version = version.and_then(|body| VersionTarget::read(&body).ok());
    Ok(Some(overview(detail, version.as_ref(), now)))
}

fn overview(detail: RolloutDetail, version: Option<&VersionTarget>, now: UnixMillis) -> Overview {
    let RolloutDetail { view, nodes, targets, deployments } = detail;
    let rollout = rollout(&view.row, &nodes.iter().collect::<Vec<_>>());
    let environment = EnvironmentKey(view.row.environment);
    let slug = view.slug.clone().unwrap_or_else(|| agents::AGENT.to_owned());
    let world = World::read(&RolloutSnapshot { targets, deployments, ..RolloutSnapshot::default() }, now);
    let agents = view.row.agent_update.as_deref().and_then(|text| serde_json::from_str::<AgentRollout>(text).ok());
    let candidates = match (version, &agents) {
        (Some(version), _) => world.candidates(environment, &slug, rollout.version, version, &rollout.policy),
        (None, Some(agents)) => agents::candidates(&world, environment, &rollout, agents),
        (None, None) => Vec::new(),
    };
    let find = |key: NodeKey| candidates.iter().find(|candidate| candidate.key == key);
    let is_over = rollout.state == RolloutState::Aborted;
    let mut found = Vec::new();
    for target in world.targets(environment) {
        let (node, candidate) = (rollout.nodes.get(&target.key), find(target.key).filter(|_| !is_over));
        if node.is_none() && candidate.is_none() {
            continue;
        }
        let (state, reason) = match node {
            Some(node) if node.state != NodeState::Waiting || is_over => (node.state.as_str(), node.reason.clone()),
            node => waiting(node.map_or("", |node| &node.reason), candidate),
        };
        found.push(NodeOverview {
            uuid: target.uuid.clone(),
            name: target.name.clone(),
            is_canary: candidate.is_some_and(|candidate| candidate.is_canary),
            stage: node.map(|node| node.stage),
            state,
            reason,
            changed_at: node.map(|node| node.changed_at),
            deployment: world.deployment(&slug, target.key).cloned(),
        });
    }
    Overview { view, rollout, nodes: found }
}

/// Why a node waits: the reason of now before the one that was written.
fn waiting(written: &str, candidate: Option<&Candidate>) -> (&'static str, String) {
    let waiting = NodeState::Waiting.as_str();
    match candidate.map(|candidate| &candidate.readiness) {
        Some(Readiness::Unfit(reason)) => (UNFIT, reason.clone()),
        Some(Readiness::Away(reason)) => (waiting, (*reason).to_owned()),
        Some(Readiness::Ready) => (waiting, written.to_owned()),
        None => (waiting, "no longer selected".to_owned()),
    }
}
