//! What this node lets the collector ask for: pipelines of engines that the node's own file names, and actions.
//!
//! The collector never sends a command. It names an engine, and an [`EngineConfig`] is what the node runs then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::mapping::Mapping;
use super::pipeline::CommandConfig;

/// Stands for the port of a pipeline's metrics endpoint in what an engine says.
pub(crate) const PORT_PLACEHOLDER: &str = "{port}";

/// Stands for the port of a pipeline's API in what an engine says.
pub(crate) const API_PORT_PLACEHOLDER: &str = "{api_port}";

/// What the collector may ask of this node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CentreConfig {
    /// Whether pipelines of the centre are run at all. Default no.
    pub(crate) accepts: bool,
    /// What runs them, by name.
    pub(crate) engines: BTreeMap<String, EngineConfig>,
    /// Where the desired state and the copies of its configurations are.
    pub(crate) dir: PathBuf,
    /// Whether the agent holds a push stream. Default yes.
    pub(crate) push: bool,
    /// Paths of keys whose values are not sent with samples and taps, such as `*.token`.
    pub(crate) redact: Vec<String>,
}

/// A program that runs pipelines of the centre.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EngineConfig {
    /// The command, with placeholders. Its environment has nothing of a pipeline.
    pub(crate) command: CommandConfig,
    /// The ports that pipelines of the engine get, two for each.
    pub(crate) ports: Option<PortRange>,
    /// Where its metrics are.
    pub(crate) metrics: Option<EngineMetrics>,
    /// Where its API is, for samples and taps; with placeholders.
    pub(crate) api_url: Option<String>,
}

/// The metrics of an engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EngineMetrics {
    /// The whole address, with a placeholder.
    pub(crate) url: String,
    /// What they mean.
    pub(crate) mapping: Arc<Mapping>,
    /// Whether the engine's own monitoring is a part of a pipeline's totals.
    pub(crate) count_internal: bool,
}

/// Ports of the loopback, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortRange {
    /// The first.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
}

/// The version of the centre that a pipeline runs.
#[derive(Clone, PartialEq)]
pub(crate) struct CentreVersion {
    /// Its number.
    pub(crate) version: i64,
    /// The engine's configuration.
    pub(crate) content: Arc<[u8]>,
    /// How long it must be up to be healthy.
    pub(crate) healthy_for: Duration,
    /// Stopped, and not removed.
    pub(crate) paused: bool,
}

impl CentreVersion {
    /// An earlier version of the same pipeline.
    pub(crate) fn as_of(&self, version: i64, content: Option<Arc<[u8]>>) -> Self {
        CentreVersion { version, content: content.unwrap_or_default(), ..self.clone() }
    }
}

impl std::fmt::Debug for CentreVersion {
    /// Without the configuration, which is long and may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CentreVersion { version, content, healthy_for, paused } = self;
        f.debug_struct("CentreVersion")
            .field("version", version)
            .field("content_bytes", &content.len())
            .field("healthy_for", healthy_for)
            .field("paused", paused)
            .finish()
    }
}
