//! What this node lets the collector ask for: pipelines of engines that the node's own file names, and actions.
//!
//! The collector never sends a command. It names an engine, and an [`EngineConfig`] is what the node runs then.
//! [`CentreTerms`] say what holds where the file says nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mapping::Mapping;
use super::pipeline::CommandConfig;

/// Stands for the port of a pipeline's metrics endpoint in what an engine says.
pub(crate) const PORT_PLACEHOLDER: &str = "{port}";

/// Stands for the port of a pipeline's API in what an engine says.
pub(crate) const API_PORT_PLACEHOLDER: &str = "{api_port}";

/// The engine of a node without a file, under [`CentreTerms::Dedicated`].
pub(crate) const VECTOR_ENGINE: &str = "vector";

/// What a centre may take for granted on a node.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CentreTerms {
    /// Nothing. The node's own file says whether pipelines are run, and by what.
    #[default]
    Consent,
    /// The node runs Vector for the centre, also without an engine in its file, and the configurations are in its
    /// data directory where the VectorFlow agent has them: the two agents can take turns.
    Dedicated,
}

impl CentreTerms {
    /// Whether it is what old files mean, which do not say it.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
    pub(crate) fn is_default(&self) -> bool {
        *self == CentreTerms::default()
    }
}

/// What the collector may ask of this node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CentreConfig {
    /// Whether pipelines of the centre are run at all. Default no.
    pub(crate) accepts: bool,
    /// What runs them, by name.
    pub(crate) engines: BTreeMap<String, EngineConfig>,
    /// What holds under [`CentreTerms::Dedicated`].
    pub(crate) dedicated: DedicatedConfig,
    /// Where the desired state and the copies of its configurations are.
    pub(crate) dir: PathBuf,
    /// Whether the agent holds a push stream. Default yes.
    pub(crate) push: bool,
    /// Paths of keys whose values are not sent with samples and taps, such as `*.token`.
    pub(crate) redact: Vec<String>,
}

/// What holds for a centre that the node is dedicated to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DedicatedConfig {
    /// Whether its pipelines are run.
    pub(crate) accepts: bool,
    /// What runs them where the file has no engine of the name [`VECTOR_ENGINE`].
    pub(crate) engine: Option<EngineConfig>,
    /// The agent starts in place of VectorFlow's, and its file says nothing of pipelines. The node worked for a centre
    /// before, so that any centre finds the same.
    pub(crate) is_inherited: bool,
}

impl CentreConfig {
    /// Whether pipelines of a centre with these terms are run at all.
    pub(crate) fn accepts(&self, terms: CentreTerms) -> bool {
        match terms {
            CentreTerms::Consent => self.accepts || self.dedicated.is_inherited,
            CentreTerms::Dedicated => self.dedicated.accepts,
        }
    }

    /// The engine of that name, for a centre with these terms.
    pub(crate) fn engine(&self, name: &str, terms: CentreTerms) -> Option<&EngineConfig> {
        let is_given = name == VECTOR_ENGINE && self.has_given_engine(terms);
        self.engines.get(name).or_else(|| self.dedicated.engine.as_ref().filter(|_| is_given))
    }

    /// The names of the engines, for a centre with these terms.
    pub(crate) fn engine_names(&self, terms: CentreTerms) -> Vec<String> {
        let is_missing = self.has_given_engine(terms) && !self.engines.contains_key(VECTOR_ENGINE);
        self.engines.keys().cloned().chain(is_missing.then(|| VECTOR_ENGINE.to_owned())).collect()
    }

    fn has_given_engine(&self, terms: CentreTerms) -> bool {
        self.dedicated.engine.is_some() && (terms == CentreTerms::Dedicated || self.dedicated.is_inherited)
    }
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
    /// What the centre names the configuration by.
    pub(crate) checksum: String,
    /// How long it must be up to be healthy.
    pub(crate) healthy_for: Duration,
    /// Why it has no process, although it is not removed.
    pub(crate) hold: Option<Hold>,
    /// Of the files that the configuration names; empty without any. Others mean another start.
    pub(crate) files_digest: String,
    /// Where the agent keeps the configuration.
    pub(crate) place: CopyPlace,
}

/// Why a pipeline of the centre has no process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// An operator has paused it.
    Paused,
    /// The node lacks something that the centre has.
    WaitsFor(String),
    /// The node cannot run it, and has nothing that ran before.
    Refused(String),
}

impl Hold {
    /// For the state of the pipeline.
    pub(crate) fn reason(&self) -> String {
        match self {
            Hold::Paused => "paused by an operator".to_owned(),
            Hold::WaitsFor(what) => format!("waits for {what}"),
            Hold::Refused(why) => why.clone(),
        }
    }
}

/// Where the configuration is that a process of the centre reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CopyPlace {
    /// With the rest of what the centre wants.
    #[default]
    CentreDir,
    /// Where the VectorFlow agent has it.
    DataDir,
}

impl CentreVersion {
    /// An earlier version of the same pipeline.
    pub(crate) fn as_of(&self, version: i64, content: Option<Arc<[u8]>>, checksum: String) -> Self {
        CentreVersion { version, content: content.unwrap_or_default(), checksum, ..self.clone() }
    }
}

impl std::fmt::Debug for CentreVersion {
    /// Without the configuration, which is long and may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CentreVersion { version, content, checksum, healthy_for, hold, files_digest: _, place } = self;
        f.debug_struct("CentreVersion")
            .field("version", version)
            .field("content_bytes", &content.len())
            .field("checksum", checksum)
            .field("healthy_for", healthy_for)
            .field("hold", hold)
            .field("place", place)
            .finish_non_exhaustive()
    }
}
