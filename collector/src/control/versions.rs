//! Applying pipelines: a change is a new version, or nothing when nothing has changed.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use systole_shared::{PipelineId, UnixMillis};

use super::definition::{Fault, check};
use super::diff;
use crate::model::definition::{Definition, VersionBody};
use crate::model::{EnvironmentKey, RolloutKey};
use crate::store::{
    Author, CreatedVersion, DefinitionQuery, MAX_DEFINITIONS, NewVersion, Store, StoreError, StoredDefinition,
    VersionOutcome,
};

/// Versions that a rollback without a target reads to find another content.
const MAX_STEPS_BACK: i64 = 100;

/// Times that a version is made again because a secret got a new value meanwhile.
const MAX_TRIES: usize = 5;

/// A pipeline as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub environment: EnvironmentKey,
    pub id: PipelineId,
    pub definition: Definition,
    pub note: String,
    /// The version that this replaces, 0 for none; `None` to replace whatever there is.
    pub expected_version: Option<i64>,
    /// Only show what would change.
    pub dry_run: bool,
    pub author: Author,
    pub now: UnixMillis,
}

/// The result of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The newest version, 0 when there is none.
    pub version: i64,
    /// Whether the content is new.
    pub changed: bool,
    /// A unified diff; empty when nothing has changed.
    pub diff: String,
    /// The rollout of the new version.
    pub rollout: Option<RolloutKey>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The definition is not valid.
    #[error("{}", list(.0))]
    Invalid(Vec<Fault>),
    /// Another version is the newest one.
    #[error("{}", other_version(*.expected, *.current))]
    OtherVersion { expected: i64, current: i64 },
    /// The version to go back to does not exist.
    #[error("version {0} does not exist")]
    UnknownVersion(i64),
    /// There is nothing to go back to.
    #[error("there is no earlier version with another content")]
    NothingBefore,
    /// The environment has as many pipelines as it may.
    #[error("the environment has {MAX_DEFINITIONS} pipelines; remove one first")]
    TooMany,
    /// Secrets changed again and again.
    #[error("the secrets of the pipeline change too often; try again")]
    Busy,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn other_version(expected: i64, current: i64) -> String {
    let name = |version| match version {
        0 => "no pipeline".to_owned(),
        version => format!("version {version}"),
    };
    format!(
        "expected {}, but there is {} by now; read it again and apply your change to it",
        name(expected),
        name(current)
    )
}

/// The pipeline of an environment, unless it was removed.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn find(
    store: &dyn Store,
    environment: EnvironmentKey,
    id: &str,
) -> Result<Option<StoredDefinition>, StoreError> {
    let query = DefinitionQuery {
        environments: Some(vec![environment]),
        slug: Some(id.to_owned()),
        limit: 1,
        ..DefinitionQuery::default()
    };
    Ok(store.list_definitions(query).await?.pop())
}

/// The content of a version.
///
/// # Errors
///
/// When the store cannot be read, or holds what this program never writes.
pub(crate) async fn body(
    store: &dyn Store,
    pipeline: &StoredDefinition,
    version: i64,
) -> Result<Option<VersionBody>, StoreError> {
    let Some(stored) = store.definition_version(pipeline.key, version).await? else { return Ok(None) };
    let corrupt = |_| StoreError::Corrupt(format!("version {version} of pipeline {:?}", pipeline.slug));
    serde_json::from_str(&stored.body).map(Some).map_err(corrupt)
}

/// Makes a new version of what differs, or says what would differ.
///
/// # Errors
///
/// Everything that is wrong with the definition; another version than the expected one; errors of the store.
pub(crate) async fn apply(store: &dyn Store, change: &Change) -> Result<Applied, ChangeError> {
    let faults = check(&change.definition);
    if !faults.is_empty() {
        return Err(ChangeError::Invalid(faults));
    }
    for _ in 0..MAX_TRIES {
        let current = find(store, change.environment, change.id.as_str()).await?;
        let current_version = current.as_ref().map_or(0, |current| current.version.version);
        let refuse = |current| ChangeError::OtherVersion {
            expected: change.expected_version.unwrap_or(current_version),
            current,
        };
        if change.expected_version.is_some_and(|expected| expected != current_version) {
            return Err(refuse(current_version));
        }
        let new = with_revisions(store, change).await?;
        let old = match &current {
            Some(current) => body(store, current, current_version).await?,
            None => None,
        };
        if old.as_ref().is_some_and(|old| old.definition == new.definition) {
            return Ok(Applied { version: current_version, changed: false, diff: String::new(), rollout: None });
        }
        let diff = difference(&change.id, old.map(|old| (current_version, old)), &new, "applied").await?;
        if change.dry_run {
            return Ok(Applied { version: current_version, changed: true, diff, rollout: None });
        }
        match store.create_version(new_version(change, current.map(|_| current_version), &new)?).await? {
            VersionOutcome::Created(CreatedVersion { version, rollout, .. }) => {
                return Ok(Applied { version, changed: true, diff, rollout: Some(rollout) });
            }
            VersionOutcome::OtherVersion(other) => return Err(refuse(other.unwrap_or(0))),
            VersionOutcome::TooMany => return Err(ChangeError::TooMany),
            VersionOutcome::OtherSecret(_) => {}
        }
    }
    Err(ChangeError::Busy)
}

/// The definition with the newest revision of each secret.
async fn with_revisions(store: &dyn Store, change: &Change) -> Result<VersionBody, ChangeError> {
    let secrets = &change.definition.secrets;
    let mut names: Vec<String> = secrets.values().cloned().collect();
    names.sort_unstable();
    names.dedup();
    let revisions = if names.is_empty() { vec![] } else { store.secret_revisions(change.environment, names).await? };
    let body = VersionBody { definition: change.definition.clone(), secret_revisions: revisions.into_iter().collect() };
    let missing = secrets.iter().filter(|(_, name)| !body.secret_revisions.contains_key(*name));
    let fault = |(variable, name): (&String, &String)| {
        let hint = format!("set it with `systole-collector secret set {name}`");
        Fault::new(format!("secrets.{variable}"), format!("the secret {name} does not exist; {hint}"))
    };
    let faults: Vec<_> = missing.map(fault).collect();
    if faults.is_empty() { Ok(body) } else { Err(ChangeError::Invalid(faults)) }
}

fn new_version(change: &Change, replaces: Option<i64>, new: &VersionBody) -> Result<NewVersion, StoreError> {
    let unwritable = |_| StoreError::Corrupt(format!("a version of pipeline {:?}", change.id.as_str()));
    Ok(NewVersion {
        environment: change.environment,
        slug: change.id.as_str().to_owned(),
        replaces,
        checksum: checksum(&new.definition.config),
        body: serde_json::to_string(new).map_err(unwritable)?,
        secret_revisions: new.secret_revisions.iter().map(|(name, revision)| (name.clone(), *revision)).collect(),
        policy: serde_json::to_string(&new.definition.rollout).map_err(unwritable)?,
        author: change.author.clone(),
        note: change.note.clone(),
        now: change.now,
    })
}

/// SHA-256 of a configuration in hexadecimal digits, as agents report it.
pub(crate) fn checksum(config: &str) -> String {
    Sha256::digest(config.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The difference of two contents, on a thread of its own: long texts take long.
///
/// # Errors
///
/// When the thread ends before its time.
pub(crate) async fn difference(
    id: &PipelineId,
    old: Option<(i64, VersionBody)>,
    new: &VersionBody,
    new_label: &str,
) -> Result<String, StoreError> {
    let (id, new, new_label) = (Arc::<str>::from(id.as_str()), new.clone(), new_label.to_owned());
    let work = move || {
        let old = old.as_ref().map(|(version, old)| (format!("version {version}"), old));
        diff::diff(&id, old.as_ref().map(|(label, old)| (label.as_str(), *old)), (&new_label, &new))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)
}

/// The content to go back to: that of the named version, or else of the last good one before the newest.
///
/// # Errors
///
/// When there is none, or the store cannot be read.
pub(crate) async fn earlier(
    store: &dyn Store,
    pipeline: &StoredDefinition,
    to: Option<i64>,
) -> Result<(i64, VersionBody), ChangeError> {
    if let Some(version) = to {
        return body(store, pipeline, version)
            .await?
            .map(|body| (version, body))
            .ok_or(ChangeError::UnknownVersion(version));
    }
    let newest = pipeline.version.version;
    let current = body(store, pipeline, newest).await?;
    let stable = pipeline.stable_version.filter(|stable| *stable != newest);
    let before = store.definition_history(pipeline.key, Some(newest), MAX_STEPS_BACK).await?;
    for version in stable.into_iter().chain(before.into_iter().map(|info| info.version)) {
        match body(store, pipeline, version).await? {
            Some(body) if current.as_ref().is_none_or(|current| current.definition != body.definition) => {
                return Ok((version, body));
            }
            _ => {}
        }
    }
    Err(ChangeError::NothingBefore)
}
