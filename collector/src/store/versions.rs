//! Pipelines of the centre in the store: their versions, and the rollouts that a new version begins.
//!
//! A change of a pipeline is one transaction, which holds the lock of its environment: so a version, its rollout and
//! the values of its secrets are always of one moment, and of two changes at once the second sees the first.
//!
//! This part writes the row of a new rollout (running, stage 0) and closes the one before it; what happens after
//! that is the rollout's own. A pipeline that is removed or paused changes its assignments here, and with them the
//! generation of what their nodes should run.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::{ComponentMinuteRow, StoreError};
use crate::model::{DefinitionKey, EnvironmentKey, NodeKey, PipelineKey, RolloutKey};

/// Pipelines of one environment: more than operators name by hand, and few enough that all of them can be read when
/// a secret changes.
pub(crate) const MAX_DEFINITIONS: i64 = 1_000;

/// A pipeline of the centre, with its newest version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredDefinition {
    pub key: DefinitionKey,
    pub environment: EnvironmentKey,
    pub slug: String,
    pub stable_version: Option<i64>,
    pub paused: bool,
    /// The newest version, without its body.
    pub version: VersionInfo,
}

/// A version without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionInfo {
    pub version: i64,
    pub checksum: String,
    pub author: String,
    pub note: String,
    pub created_at: UnixMillis,
}

/// A version with its body: a [`VersionBody`](crate::model::definition::VersionBody) as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredVersion {
    pub info: VersionInfo,
    pub body: String,
}

/// The token that made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Author {
    /// Its name.
    pub name: String,
    /// Its public id.
    pub id: Option<String>,
}

/// A version to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewVersion {
    pub environment: EnvironmentKey,
    pub slug: String,
    /// The version that it replaces; `None` when there is no such pipeline.
    pub replaces: Option<i64>,
    pub checksum: String,
    pub body: String,
    /// The secrets in the body and the revisions of their values, which must still be the newest.
    pub secret_revisions: Vec<(String, i64)>,
    /// The rollout's policy as JSON.
    pub policy: String,
    pub author: Author,
    pub note: String,
    pub now: UnixMillis,
}

/// What became of a version to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VersionOutcome {
    /// It is the newest one.
    Created(CreatedVersion),
    /// The pipeline has another version by now; `None` when it has none.
    OtherVersion(Option<i64>),
    /// A secret has no value, or a newer one.
    OtherSecret(String),
    /// The environment has [`MAX_DEFINITIONS`].
    TooMany,
}

/// A new version and its rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreatedVersion {
    pub slug: String,
    pub version: i64,
    pub rollout: RolloutKey,
}

/// Which pipelines of the centre.
#[derive(Clone, Debug, Default)]
pub(crate) struct DefinitionQuery {
    /// `None`: every environment.
    pub environments: Option<Vec<EnvironmentKey>>,
    /// The user's id of the pipeline.
    pub slug: Option<String>,
    /// Only pipelines after this id and key.
    pub after: Option<(String, i64)>,
    pub limit: i64,
}

/// Pipelines of the centre and their versions.
#[async_trait]
pub(crate) trait DefinitionStore: Send + Sync {
    /// Makes a version and its rollout, and closes the rollout of the version before.
    async fn create_version(&self, version: NewVersion) -> Result<VersionOutcome, StoreError>;
    /// Pipelines that are not removed, by id.
    async fn list_definitions(&self, query: DefinitionQuery) -> Result<Vec<StoredDefinition>, StoreError>;
    /// One version of a pipeline.
    async fn definition_version(
        &self,
        definition: DefinitionKey,
        version: i64,
    ) -> Result<Option<StoredVersion>, StoreError>;
    /// Versions of a pipeline before this one, newest first.
    async fn definition_history(
        &self,
        definition: DefinitionKey,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<VersionInfo>, StoreError>;
    /// Pauses a pipeline or lets it run again. Returns the new generations of the nodes that it
    /// concerns.
    async fn pause_definition(
        &self,
        definition: DefinitionKey,
        paused: bool,
        now: UnixMillis,
    ) -> Result<Vec<(NodeKey, u64)>, StoreError>;
    /// Removes a pipeline and its assignments, and ends its rollout. Returns the new generations of the
    /// nodes that had it.
    async fn remove_definition(
        &self,
        definition: DefinitionKey,
        now: UnixMillis,
    ) -> Result<Vec<(NodeKey, u64)>, StoreError>;
    /// Graphs of a pipeline's configurations, as JSON, by the checksum: those of these checksums.
    async fn topologies(
        &self,
        pipeline: PipelineKey,
        checksums: Vec<String>,
    ) -> Result<Vec<(String, String)>, StoreError>;
    /// The components that nodes have reported of a pipeline, and their kinds.
    async fn pipeline_components(&self, pipeline: PipelineKey) -> Result<Vec<(String, String)>, StoreError>;
    /// The newest buffer of each component of a pipeline on each node, of minutes from this one on. What is still in
    /// the write-ahead log is missing: a buffer is a gauge, and a minute old at most.
    async fn buffer_fills(&self, pipeline: PipelineKey, from_minute: i64) -> Result<Vec<BufferFill>, StoreError>;
}

/// The buffer of a component on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BufferFill {
    pub node: i64,
    pub component: String,
    pub events: Option<i64>,
    pub max_events: Option<i64>,
    pub bytes: Option<i64>,
    pub max_bytes: Option<i64>,
}

impl BufferFill {
    /// How full it is, 0 to 1; unknown without a bound.
    pub(crate) fn share(&self) -> Option<f64> {
        buffer_share((self.events, self.max_events), (self.bytes, self.max_bytes))
    }
}

/// How full a buffer is, 0 to 1, by its events and what fits in, or else by its bytes; unknown without a bound.
fn buffer_share(events: (Option<i64>, Option<i64>), bytes: (Option<i64>, Option<i64>)) -> Option<f64> {
    let share = |(used, of): (Option<i64>, Option<i64>)| match (used, of) {
        (Some(used), Some(of @ 1..)) => Some(used as f64 / of as f64),
        _ => None,
    };
    share(events).or_else(|| share(bytes))
}

impl ComponentMinuteRow {
    /// How full its buffer is, 0 to 1; unknown without a bound.
    pub(crate) fn buffer_fill(&self) -> Option<f64> {
        buffer_share((self.buffer_events, self.buffer_max_events), (self.buffer_bytes, self.buffer_max_bytes))
    }
}
