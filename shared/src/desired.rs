//! What the collector wants a node to run, `GET /api/v1/agent/desired`, and what the node says of it.
//!
//! The collector never sends a command. A pipeline names an engine, and the node's own file says what that
//! engine is.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{PipelineId, Text};

/// Bytes of a pipeline's configuration: far above a configuration that a person writes, and far below what a
/// node's answer may have.
pub const MAX_CONFIG_BYTES: usize = 1024 * 1024;

/// Pipelines of the centre that one node can have.
pub const MAX_DESIRED_PIPELINES: usize = 200;

/// Everything that the collector wants of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DesiredState {
    /// Changes with every change of the rest. 0 for a node of which nothing was ever wanted.
    pub generation: u64,
    /// Pipelines to run. One that is missing is stopped, unless it is in the agent's own file.
    pub pipelines: Vec<DesiredPipeline>,
    /// The version that the agent itself should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_update: Option<AgentUpdate>,
}

/// One pipeline that a node should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DesiredPipeline {
    /// Unique in the environment.
    pub id: PipelineId,
    /// The name for display.
    pub name: String,
    /// Number of the version, from 1.
    pub version: i64,
    /// SHA-256 of `config` in hexadecimal digits: of what was applied, byte by byte.
    pub checksum: String,
    /// The engine that runs it, as the node's own file names it.
    pub engine: String,
    /// The engine's configuration, at most 1 MiB ([`MAX_CONFIG_BYTES`]).
    pub config: String,
    /// The format of `config`.
    pub format: ConfigFormat,
    /// Environment of the process. The values are secrets.
    #[serde(default)]
    pub env: BTreeMap<String, SecretValue>,
    /// The engine's log level: `error`, `warn`, `info`, `debug` or `trace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Time without interruption after which the version is healthy.
    pub healthy_for_ms: u64,
    /// Stopped, and not removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// The format of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ConfigFormat {
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl ConfigFormat {
    /// The format as the wire writes it, which is also the extension of its files.
    pub fn as_str(self) -> &'static str {
        match self {
            ConfigFormat::Yaml => "yaml",
            ConfigFormat::Toml => "toml",
            ConfigFormat::Json => "json",
        }
    }

    /// The format of a file by its extension: `yaml`, `yml`, `toml` or `json`.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension {
            "yaml" | "yml" => Some(ConfigFormat::Yaml),
            "toml" => Some(ConfigFormat::Toml),
            "json" => Some(ConfigFormat::Json),
            _ => None,
        }
    }
}

/// The value of a secret. It does not print; its `reveal` returns it where it must be used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(transparent)]
pub struct SecretValue(String);

impl SecretValue {
    /// A secret of this value.
    pub fn new(value: String) -> Self {
        SecretValue(value)
    }

    /// The value itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// A version of the agent to change to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentUpdate {
    /// The version that the program must answer to `--version`.
    pub version: String,
    /// Where the program is: `https` only, redirects too.
    pub url: String,
    /// SHA-256 of the program, in hexadecimal digits.
    pub sha256: String,
    /// Ed25519 signature of the program, base64. An agent with `update_key` requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// The progress of a version of a pipeline on a node. `agent` as pipeline id is the agent's own update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeploymentReport<'a> {
    /// The pipeline.
    #[serde(borrow)]
    pub pipeline_id: Text<'a>,
    /// The version that the node works on.
    pub version: i64,
    /// How far it is. Text, so that an unknown one is refused alone: one of [`DeploymentPhase`].
    #[serde(borrow)]
    pub phase: Text<'a>,
    /// The version whose process runs; absent when none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_version: Option<i64>,
    /// Why, in the engine's own words; empty when there is nothing to say.
    #[serde(borrow, default)]
    pub reason: Text<'a>,
}

/// The progress of a version on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum DeploymentPhase {
    /// The node has the version and has not begun.
    Pending,
    /// The engine checks the configuration.
    Validating,
    /// The process was started and is not healthy yet.
    Starting,
    /// The version has been up for its `healthyForMs`.
    Healthy,
    /// The version was not started: the engine or the agent refuses it.
    Rejected,
    /// The version was started and failed; the version before runs again, if there is one.
    RolledBack,
    /// Stopped because the pipeline is paused.
    Paused,
    /// Stopped because the pipeline was removed from the node. Sent once.
    Removed,
}

impl DeploymentPhase {
    /// Every phase.
    pub const ALL: [DeploymentPhase; 8] = [
        DeploymentPhase::Pending,
        DeploymentPhase::Validating,
        DeploymentPhase::Starting,
        DeploymentPhase::Healthy,
        DeploymentPhase::Rejected,
        DeploymentPhase::RolledBack,
        DeploymentPhase::Paused,
        DeploymentPhase::Removed,
    ];

    /// The phase as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            DeploymentPhase::Pending => "pending",
            DeploymentPhase::Validating => "validating",
            DeploymentPhase::Starting => "starting",
            DeploymentPhase::Healthy => "healthy",
            DeploymentPhase::Rejected => "rejected",
            DeploymentPhase::RolledBack => "rolled_back",
            DeploymentPhase::Paused => "paused",
            DeploymentPhase::Removed => "removed",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    /// Whether the version has failed on the node.
    pub fn is_failure(self) -> bool {
        matches!(self, DeploymentPhase::Rejected | DeploymentPhase::RolledBack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_have_one_name_on_the_wire_and_in_the_database() {
        for phase in DeploymentPhase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
            assert_eq!(DeploymentPhase::from_wire(phase.as_str()), Some(phase));
        }
        assert_eq!(DeploymentPhase::from_wire("done"), None);
    }

    #[test]
    fn secret_does_not_print_its_value() {
        let secret = SecretValue::new("hunter2".into());
        assert_eq!(format!("{secret:?}"), "SecretValue(…)");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
