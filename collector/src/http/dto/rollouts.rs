//! Rollouts and the nodes that they concern.

use std::collections::HashMap;

use serde::Serialize;
use systole_shared::{AgentUpdate, DeploymentPhase, UnixMillis};
use utoipa::ToSchema;

use crate::app::App;
use crate::control::rollout::agents::AgentRollout;
use crate::control::rollout::overview::{NodeOverview, Overview};
use crate::http::render::Row;
use crate::model::EnvironmentKey;
use crate::model::definition::RolloutPolicy;
use crate::store::RolloutView;

/// A version on its way to nodes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rollout {
    id: i64,
    environment_id: Option<String>,
    environment_name: Option<String>,
    /// The pipeline; null for a rollout of agents.
    pipeline_id: Option<String>,
    /// The version of the pipeline; 0 for a rollout of agents.
    version: i64,
    /// What failed nodes go back to; null when there was no version before.
    from_version: Option<i64>,
    /// The version of agents.
    agent_update: Option<AgentUpdate>,
    /// The nodes whose agents get it.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_selector: Option<Vec<String>>,
    /// `running`, `halted`, `complete` or `aborted`.
    state: String,
    /// Why; empty when there is nothing to say.
    reason: String,
    /// 0 for canaries, then batches.
    stage: i64,
    policy: RolloutPolicy,
    author: String,
    started_at: UnixMillis,
    changed_at: UnixMillis,
    finished_at: Option<UnixMillis>,
    /// Nodes that have the version and are not healthy yet.
    deploying: i64,
    healthy: i64,
    failed: i64,
}

/// A rollout with its nodes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RolloutDetail {
    #[serde(flatten)]
    rollout: Rollout,
    /// By name.
    nodes: Vec<RolloutNode>,
}

/// A node of a rollout.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RolloutNode {
    node_id: String,
    node_name: String,
    /// Whether it is one of the first.
    canary: bool,
    /// The stage in which it got the version; null when it did not.
    stage: Option<i64>,
    /// `waiting`, `deploying`, `healthy`, `failed`, or `unfit` for one that never gets the version.
    state: &'static str,
    /// Why; empty when there is nothing to say.
    reason: String,
    changed_at: Option<UnixMillis>,
    /// What its agent reports of the pipeline.
    #[schema(value_type = Option<DeploymentPhase>)]
    phase: Option<String>,
    /// The version that the phase is of.
    reported_version: Option<i64>,
    /// The version whose process runs.
    running_version: Option<i64>,
}

impl Rollout {
    pub(crate) fn new(app: &App, view: RolloutView) -> Self {
        let RolloutView { row, slug, counts, .. } = view;
        let environment = app.auth.environment_by_key(EnvironmentKey(row.environment));
        let counts: HashMap<String, i64> = counts.into_iter().collect();
        let count = |state: &str| counts.get(state).copied().unwrap_or(0);
        let agents = row.agent_update.as_deref().and_then(|text| serde_json::from_str::<AgentRollout>(text).ok());
        let (agent_selector, agent_update) = agents.map(|agents| (agents.selector, agents.update)).unzip();
        Rollout {
            id: row.id,
            environment_id: environment.as_ref().map(|environment| environment.id.to_string()),
            environment_name: environment.map(|environment| environment.name),
            pipeline_id: slug,
            version: row.version,
            from_version: row.from_version,
            agent_update,
            agent_selector,
            state: row.state,
            reason: row.reason,
            stage: row.stage,
            policy: serde_json::from_str(&row.policy).unwrap_or_default(),
            author: row.author,
            started_at: row.started_at,
            changed_at: row.changed_at,
            finished_at: row.finished_at,
            deploying: count("deploying"),
            healthy: count("healthy"),
            failed: count("failed"),
        }
    }
}

impl Row for Rollout {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "environmentId",
        "environmentName",
        "pipelineId",
        "version",
        "fromVersion",
        "state",
        "reason",
        "stage",
        "author",
        "startedAt",
        "changedAt",
        "finishedAt",
        "deploying",
        "healthy",
        "failed",
    ];
}

impl RolloutDetail {
    pub(crate) fn new(app: &App, overview: Overview) -> Self {
        let nodes = overview.nodes.into_iter().map(RolloutNode::new).collect();
        RolloutDetail { rollout: Rollout::new(app, overview.view), nodes }
    }
}

impl RolloutNode {
    fn new(node: NodeOverview) -> Self {
        let (phase, reported_version, running_version) = match node.deployment {
            Some(row) => (Some(row.phase), Some(row.version), row.running_version),
            None => (None, None, None),
        };
        RolloutNode {
            node_id: node.uuid,
            node_name: node.name,
            canary: node.is_canary,
            stage: node.stage,
            state: node.state,
            reason: node.reason,
            changed_at: node.changed_at,
            phase,
            reported_version,
            running_version,
        }
    }
}
