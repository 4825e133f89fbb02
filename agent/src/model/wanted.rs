//! What the centre wants of this node, whatever protocol it came by. It is kept on disk as it is.

use std::fmt;

use serde::{Deserialize, Serialize};
use systole_shared::PipelineId;
use systole_shared::desired::{AgentUpdate, DesiredPipeline, DesiredState};

use super::centre::CentreTerms;
use crate::files::checksum_of;

/// How long a version must be up to be healthy, for a centre that does not say it: as one of the agent's own file.
pub(crate) const DEDICATED_HEALTHY_FOR_MS: u64 = 30_000;

/// Everything that the centre wants.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WantedState {
    /// Changes with every change of the rest.
    pub(crate) generation: u64,
    /// What the centre may take for granted.
    #[serde(skip_serializing_if = "CentreTerms::is_default")]
    pub(crate) terms: CentreTerms,
    /// Pipelines to run. One that is missing is stopped, unless it is in the agent's own file.
    pub(crate) pipelines: Vec<WantedPipeline>,
    /// The version that the agent itself should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent_update: Option<AgentUpdate>,
}

/// One pipeline.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WantedPipeline {
    /// What it is.
    #[serde(flatten)]
    pub(crate) pipeline: DesiredPipeline,
    /// Files that its configuration names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<WantedFile>,
    /// What it cannot do without and the node does not have yet. It is not started before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waits_for: Option<String>,
    /// Why it cannot run on this node. What ran before under its id runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

/// A file beside a configuration, such as a certificate. It does not print its content.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct WantedFile {
    /// As the centre names it. It may be a path of which only the end counts, and it may be a wrong one.
    pub(crate) name: String,
    /// Its content in base64, as it came.
    pub(crate) data: String,
}

impl WantedPipeline {
    /// Its id.
    pub(crate) fn id(&self) -> &PipelineId {
        &self.pipeline.id
    }
}

impl From<DesiredPipeline> for WantedPipeline {
    /// With a fault if the configuration is not the one that was applied.
    fn from(pipeline: DesiredPipeline) -> Self {
        let (found, expected) = (checksum_of(pipeline.config.as_bytes()), &pipeline.checksum);
        let fault = (!found.eq_ignore_ascii_case(expected))
            .then(|| format!("its configuration does not have its checksum: expected {expected}, found {found}"));
        WantedPipeline { pipeline, files: Vec::new(), waits_for: None, fault }
    }
}

impl From<DesiredState> for WantedState {
    fn from(desired: DesiredState) -> Self {
        let DesiredState { generation, pipelines, agent_update } = desired;
        let pipelines = pipelines.into_iter().map(WantedPipeline::from).collect();
        WantedState { generation, terms: CentreTerms::Consent, pipelines, agent_update }
    }
}

impl fmt::Debug for WantedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WantedFile").field("name", &self.name).finish_non_exhaustive()
    }
}
