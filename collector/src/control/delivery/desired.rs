//! The desired state of a node, with the values of its secrets.

use std::collections::BTreeMap;

use systole_shared::desired::MAX_DESIRED_PIPELINES;
use systole_shared::{DesiredPipeline, DesiredState, PipelineId};

use crate::control::rollout::agents::AgentRollout;
use crate::control::secrets::{SecretError, Secrets};
use crate::model::EnvironmentKey;
use crate::model::definition::VersionBody;
use crate::store::{AssignedVersion, NodeAssignments, StoreError};

/// Why a desired state cannot be made. None of the texts has a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unresolved {
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A version uses a value that is not there, or that the key does not open.
    #[error("the secret {name:?} of pipeline {pipeline:?} cannot be read")]
    Secret {
        pipeline: String,
        name: String,
        #[source]
        source: SecretError,
    },
    /// A version is not what this program writes.
    #[error("version {version} of pipeline {pipeline:?} cannot be read")]
    Version {
        pipeline: String,
        version: i64,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a node should run, as its agent reads it.
///
/// # Errors
///
/// When a version or one of its secrets cannot be read. Then nothing is sent: a node that lost a pipeline because of
/// that would be worse off than one that keeps what it has.
pub(crate) async fn desired_state(assignments: NodeAssignments, secrets: &Secrets) -> Result<DesiredState, Unresolved> {
    let mut pipelines = Vec::with_capacity(assignments.pipelines.len());
    for assigned in assignments.pipelines.into_iter().take(MAX_DESIRED_PIPELINES) {
        pipelines.push(pipeline(assigned, assignments.environment, secrets).await?);
    }
    let agent_update = assignments.agent_update.as_deref().and_then(|text| serde_json::from_str(text).ok());
    Ok(DesiredState {
        generation: assignments.generation,
        pipelines,
        agent_update: agent_update.map(|agents: AgentRollout| agents.update),
    })
}

async fn pipeline(
    assigned: AssignedVersion,
    environment: EnvironmentKey,
    secrets: &Secrets,
) -> Result<DesiredPipeline, Unresolved> {
    let AssignedVersion { slug, version, checksum, body, paused } = assigned;
    let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| Unresolved::Version {
        pipeline: slug.clone(),
        version,
        source,
    };
    let body: VersionBody = serde_json::from_str(&body).map_err(|error| unreadable(error.into()))?;
    let id = PipelineId::parse(&slug).map_err(|fault| unreadable(fault.into()))?;
    let mut env = BTreeMap::new();
    for (variable, name, revision) in body.environment() {
        let value = secrets.reveal(environment, name, revision).await.map_err(|source| Unresolved::Secret {
            pipeline: slug.clone(),
            name: name.to_owned(),
            source,
        })?;
        env.insert(variable.to_owned(), value);
    }
    let definition = body.definition;
    Ok(DesiredPipeline {
        name: definition.name.unwrap_or_else(|| slug.clone()),
        id,
        version,
        checksum,
        engine: definition.engine,
        config: definition.config,
        format: definition.format,
        env,
        log_level: definition.log_level,
        healthy_for_ms: definition.rollout.healthy_for_ms,
        paused,
    })
}
