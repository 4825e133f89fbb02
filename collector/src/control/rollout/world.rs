//! What rollouts see, made out of the database: nodes with their labels and engines, and what they say of versions.

use std::collections::{BTreeMap, HashMap};

use systole_shared::{DeploymentPhase, NodeStatus, UnixMillis};

use super::state::{Candidate, NodeState, Readiness, Rollout, RolloutNode, RolloutState, VersionReport};
use crate::model::definition::{RolloutPolicy, VersionBody};
use crate::model::selector::{Selector, SelectorError};
use crate::model::{AgentKind, DefinitionKey, EnvironmentKey, NodeKey, RolloutKey};
use crate::store::{DeploymentRow, RolloutNodeRow, RolloutRow, RolloutSnapshot, RolloutTargetRow};

/// What rollouts need of a version. It never changes.
#[derive(Clone, Debug)]
pub(crate) struct VersionTarget {
    pub selector: Selector,
    pub engine: String,
}

/// Why a version cannot be rolled out. The collector checks versions before it stores them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableVersion {
    /// It is not the JSON that this program writes.
    #[error("the version cannot be read")]
    Json(#[from] serde_json::Error),
    /// Its selector means nothing.
    #[error("the selector of the version cannot be read")]
    Selector(#[from] SelectorError),
}

impl VersionTarget {
    /// Of a version's body as the database keeps it.
    ///
    /// # Errors
    ///
    /// When the body is not what this program writes.
    pub(crate) fn read(body: &str) -> Result<Self, UnreadableVersion> {
        let VersionBody { definition, .. } = serde_json::from_str(body)?;
        Ok(VersionTarget { selector: Selector::parse(&definition.selector)?, engine: definition.engine })
    }
}

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub key: NodeKey,
    pub uuid: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub is_in_maintenance: bool,
    pub agent_version: Option<String>,
    pub agent_rollout: Option<RolloutKey>,
    is_in_container: bool,
    agent_kind: AgentKind,
    /// The engines that it accepts pipelines for; `None`: it accepts none.
    engines: Option<Vec<String>>,
    /// Why it does not report now.
    silence: Option<&'static str>,
}

impl Target {
    /// As the database has it.
    pub(crate) fn read(row: &RolloutTargetRow, now: UnixMillis) -> Self {
        let mut labels: BTreeMap<String, String> = serde_json::from_str(&row.labels).unwrap_or_default();
        let set = row.set_labels.as_deref().and_then(|text| serde_json::from_str::<BTreeMap<_, _>>(text).ok());
        labels.extend(set.unwrap_or_default());
        Target {
            key: NodeKey(row.id),
            uuid: row.uuid.clone(),
            name: row.set_name.clone().unwrap_or_else(|| row.name.clone()),
            labels,
            is_in_maintenance: row.maintenance_until.is_some_and(|until| now < until),
            agent_version: row.agent_version.clone(),
            agent_rollout: row.agent_rollout.map(RolloutKey),
            is_in_container: row.deployment_mode.as_deref() == Some("DOCKER"),
            agent_kind: row.agent_kind.as_deref().map(AgentKind::from_text).unwrap_or_default(),
            engines: row.engines.as_deref().and_then(|text| serde_json::from_str(text).ok()).flatten(),
            silence: match NodeStatus::from_wire(&row.status) {
                Some(NodeStatus::Healthy | NodeStatus::Degraded) => None,
                Some(NodeStatus::Offline) => Some("offline"),
                Some(NodeStatus::Unknown) => Some("has not reported yet"),
                _ => Some("unreachable"),
            },
        }
    }

    /// Whether it can get a pipeline of this engine now.
    pub(crate) fn readiness(&self, engine: &str) -> Readiness {
        const NEVER: &str = "has not reported yet";
        match &self.engines {
            _ if self.silence == Some(NEVER) => Readiness::Away(NEVER),
            None => Readiness::Unfit("does not accept pipelines".to_owned()),
            Some(engines) if !engines.iter().any(|own| own == engine) => {
                let has = if engines.is_empty() { "none".to_owned() } else { engines.join(", ") };
                Readiness::Unfit(format!("has no engine {engine:?}; it has {has}"))
            }
            Some(_) => self.availability(),
        }
    }

    /// Whether its agent can be updated now.
    pub(crate) fn agent_readiness(&self) -> Readiness {
        match self.agent_kind.update_refusal() {
            Some(reason) => Readiness::Unfit(reason.to_owned()),
            None if self.is_in_container => {
                Readiness::Unfit("its agent runs in a container; update the image".to_owned())
            }
            None => self.availability(),
        }
    }

    fn availability(&self) -> Readiness {
        match self.silence {
            Some(reason) => Readiness::Away(reason),
            None if self.is_in_maintenance => Readiness::Away("in maintenance"),
            None => Readiness::Ready,
        }
    }
}

/// All nodes and what they say.
#[derive(Debug, Default)]
pub(crate) struct World {
    targets: HashMap<EnvironmentKey, Vec<Target>>,
    deployments: HashMap<String, HashMap<NodeKey, DeploymentRow>>,
}

impl World {
    /// As the database is.
    pub(crate) fn read(snapshot: &RolloutSnapshot, now: UnixMillis) -> Self {
        let mut world = World::default();
        for row in &snapshot.targets {
            world.targets.entry(EnvironmentKey(row.environment)).or_default().push(Target::read(row, now));
        }
        for row in &snapshot.deployments {
            world.deployments.entry(row.slug.clone()).or_default().insert(NodeKey(row.node), row.clone());
        }
        world
    }

    /// Nodes of an environment, by name.
    pub(crate) fn targets(&self, environment: EnvironmentKey) -> &[Target] {
        self.targets.get(&environment).map_or(&[], Vec::as_slice)
    }

    /// What a node says of a pipeline.
    pub(crate) fn deployment(&self, slug: &str, node: NodeKey) -> Option<&DeploymentRow> {
        self.deployments.get(slug)?.get(&node)
    }

    /// Nodes that a version selects.
    pub(crate) fn candidates(
        &self,
        environment: EnvironmentKey,
        slug: &str,
        number: i64,
        version: &VersionTarget,
        policy: &RolloutPolicy,
    ) -> Vec<Candidate> {
        let canaries = canaries(policy);
        let selected = self.targets(environment).iter().filter(|target| version.selector.matches(&target.labels));
        let candidate = |target: &Target| Candidate {
            key: target.key,
            name: target.name.clone(),
            readiness: target.readiness(&version.engine),
            is_canary: canaries.as_ref().is_some_and(|canaries| canaries.matches(&target.labels)),
            report: self.deployment(slug, target.key).filter(|row| row.version == number).and_then(report),
        };
        selected.map(candidate).collect()
    }
}

/// The canaries of a policy; `None`: there are none.
pub(super) fn canaries(policy: &RolloutPolicy) -> Option<Selector> {
    Selector::parse(&policy.canary).ok()
}

/// What a row says. A phase of a later version says nothing.
pub(super) fn report(row: &DeploymentRow) -> Option<VersionReport> {
    let phase = DeploymentPhase::from_wire(&row.phase)?;
    Some(VersionReport { phase, reason: row.reason.clone(), since: row.since })
}

/// A rollout with the nodes that it has reached.
pub(crate) fn rollout(row: &RolloutRow, nodes: &[&RolloutNodeRow]) -> Rollout {
    let node = |row: &&RolloutNodeRow| {
        let state = NodeState::read(&row.state).unwrap_or(NodeState::Waiting);
        let node = RolloutNode { stage: row.stage, state, reason: row.reason.clone(), changed_at: row.changed_at };
        (NodeKey(row.node), node)
    };
    Rollout {
        key: RolloutKey(row.id),
        version: row.version,
        from_version: row.from_version,
        // What another version of this program wrote gets the careful policy.
        policy: serde_json::from_str(&row.policy).unwrap_or_default(),
        state: RolloutState::read(&row.state).unwrap_or(RolloutState::Aborted),
        reason: row.reason.clone(),
        stage: row.stage,
        nodes: nodes.iter().map(node).collect(),
    }
}

/// Versions that have to be known for a snapshot.
pub(crate) fn needed_versions(snapshot: &RolloutSnapshot) -> Vec<(DefinitionKey, i64)> {
    let stable = snapshot.definitions.iter().filter_map(|row| Some((DefinitionKey(row.id), row.stable_version?)));
    let new = snapshot.rollouts.iter().filter(|row| row.state != RolloutState::Aborted.as_str());
    stable.chain(new.filter_map(|row| Some((DefinitionKey(row.definition?), row.version)))).collect()
}
