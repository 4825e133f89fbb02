//! The JSON of what the centre decides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;
use utoipa::ToSchema;

use crate::app::App;
use crate::control::versions::Applied as AppliedChange;
use crate::http::render::Row;
use crate::model::definition::{Definition, VersionBody};
use crate::store::{CreatedVersion, SecretInfo, StoredDefinition, VersionInfo};

/// A pipeline of the centre.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PipelineDefinition {
    /// The pipeline.
    id: String,
    environment_id: Option<String>,
    environment_name: Option<String>,
    /// The newest version.
    version: i64,
    /// The newest version whose rollout is complete.
    stable_version: Option<i64>,
    /// Whether it is stopped on every node.
    paused: bool,
    /// SHA-256 of the newest version's configuration.
    checksum: String,
    /// The token that made the newest version, by its name.
    author: String,
    note: String,
    changed_at: UnixMillis,
    /// What was applied. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    definition: Option<Definition>,
    /// The values of its secrets, by their revisions. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret_revisions: Option<BTreeMap<String, i64>>,
}

impl Row for PipelineDefinition {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "environmentId",
        "environmentName",
        "version",
        "stableVersion",
        "paused",
        "checksum",
        "author",
        "note",
        "changedAt",
    ];
}

impl PipelineDefinition {
    /// A pipeline as lists have it.
    pub(crate) fn new(app: &App, stored: StoredDefinition) -> Self {
        let environment = app.auth.environment_by_key(stored.environment);
        PipelineDefinition {
            id: stored.slug,
            environment_id: environment.as_ref().map(|environment| environment.id.to_string()),
            environment_name: environment.map(|environment| environment.name),
            version: stored.version.version,
            stable_version: stored.stable_version,
            paused: stored.paused,
            checksum: stored.version.checksum,
            author: stored.version.author,
            note: stored.version.note,
            changed_at: stored.version.created_at,
            definition: None,
            secret_revisions: None,
        }
    }

    /// With its content.
    pub(crate) fn with_body(self, body: VersionBody) -> Self {
        let VersionBody { definition, secret_revisions } = body;
        PipelineDefinition { definition: Some(definition), secret_revisions: Some(secret_revisions), ..self }
    }
}

/// A version of a pipeline.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PipelineVersion {
    version: i64,
    /// SHA-256 of its configuration.
    checksum: String,
    /// The token that made it, by its name.
    author: String,
    note: String,
    created_at: UnixMillis,
    /// What was applied. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    definition: Option<Definition>,
    /// The values of its secrets, by their revisions. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret_revisions: Option<BTreeMap<String, i64>>,
}

impl Row for PipelineVersion {
    const COLUMNS: &'static [&'static str] = &["version", "checksum", "author", "note", "createdAt"];
}

impl PipelineVersion {
    /// A version as lists have it.
    pub(crate) fn new(info: VersionInfo) -> Self {
        let VersionInfo { version, checksum, author, note, created_at } = info;
        PipelineVersion { version, checksum, author, note, created_at, definition: None, secret_revisions: None }
    }

    /// With its content.
    pub(crate) fn with_body(self, body: VersionBody) -> Self {
        let VersionBody { definition, secret_revisions } = body;
        PipelineVersion { definition: Some(definition), secret_revisions: Some(secret_revisions), ..self }
    }
}

/// What came of applying a pipeline.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Applied {
    /// The newest version; 0 when there is none, which only a dry run leaves so.
    version: i64,
    /// Whether the content differs from the newest version. When it does not, nothing was written.
    changed: bool,
    /// A unified diff against the version before; empty when nothing has changed.
    diff: String,
    /// The rollout that brings the new version to the nodes. Null when there is none.
    rollout_id: Option<i64>,
}

impl From<AppliedChange> for Applied {
    fn from(change: AppliedChange) -> Self {
        let AppliedChange { version, changed, diff, rollout } = change;
        Applied { version, changed, diff, rollout_id: rollout.map(|key| key.0) }
    }
}

/// The difference of two versions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionDiff {
    /// The older version; 0 is nothing.
    pub from: i64,
    /// The newer version.
    pub to: i64,
    /// A unified diff; empty when they are equal.
    pub diff: String,
}

/// Whether a pipeline is stopped on every node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Paused {
    pub paused: bool,
}

/// A secret, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Secret {
    environment_name: Option<String>,
    name: String,
    /// Number of its newest value.
    revision: i64,
    /// The token that set it, by its name.
    author: String,
    changed_at: UnixMillis,
    /// Ids of the pipelines that use it.
    used_by: Vec<String>,
}

impl Row for Secret {
    const COLUMNS: &'static [&'static str] = &["environmentName", "name", "revision", "author", "changedAt", "usedBy"];
}

impl Secret {
    /// A secret with the name of its environment.
    pub(crate) fn new(app: &App, info: SecretInfo) -> Self {
        let environment = app.auth.environment_by_key(info.environment);
        Secret {
            environment_name: environment.map(|environment| environment.name),
            name: info.name,
            revision: info.revision,
            author: info.author,
            changed_at: info.changed_at,
            used_by: info.users,
        }
    }
}

/// The new value of a secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretInput {
    /// At most 64 KiB of text without NUL.
    #[schema(value_type = String)]
    pub value: systole_shared::desired::SecretValue,
}

/// What came of setting a secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretSet {
    /// Number of the value.
    pub revision: i64,
    /// New versions of the pipelines that use it.
    pub versions: Vec<VersionOfPipeline>,
}

/// A new version of a pipeline.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VersionOfPipeline {
    pipeline_id: String,
    version: i64,
    rollout_id: i64,
}

impl From<CreatedVersion> for VersionOfPipeline {
    fn from(created: CreatedVersion) -> Self {
        let CreatedVersion { slug, version, rollout } = created;
        VersionOfPipeline { pipeline_id: slug, version, rollout_id: rollout.0 }
    }
}

/// What came of a change of the key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyRotated {
    /// Id of the new key.
    pub key_id: String,
    /// Values that were encrypted again.
    pub values: usize,
}
