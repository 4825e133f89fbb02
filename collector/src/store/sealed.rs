//! Secrets in the store. Their values are sealed before they come here; nothing here can read one.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::{Author, CreatedVersion, StoreError};
use crate::model::EnvironmentKey;

/// Secrets of one environment, each of a name.
pub(crate) const MAX_SECRETS: i64 = 1_000;

/// A sealed value.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SealedSecret {
    pub environment: EnvironmentKey,
    pub name: String,
    pub revision: i64,
    /// The key that it was sealed with.
    pub key_id: String,
    pub sealed: Vec<u8>,
}

/// A value to be stored. Its revision is the one after the newest.
#[derive(Clone)]
pub(crate) struct NewSecret {
    pub value: SealedSecret,
    pub author: Author,
    pub now: UnixMillis,
}

/// What became of a value to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretOutcome {
    /// It is stored, and these pipelines have a new version that uses it.
    Stored(Vec<CreatedVersion>),
    /// The secret has another revision by now.
    OtherRevision,
    /// The environment has [`MAX_SECRETS`].
    TooMany,
}

/// A secret without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretInfo {
    pub environment: EnvironmentKey,
    pub name: String,
    /// Of the newest value.
    pub revision: i64,
    /// The token that set the newest value.
    pub author: String,
    pub changed_at: UnixMillis,
    /// Ids of the pipelines that use it, in order.
    pub users: Vec<String>,
}

/// What became of a secret to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretRemoval {
    Removed,
    Unknown,
    /// These pipelines use it.
    Used(Vec<String>),
}

/// Sealed values of secrets.
#[async_trait]
pub(crate) trait SecretStore: Send + Sync {
    /// The newest revision of each of these secrets that has one.
    async fn secret_revisions(
        &self,
        environment: EnvironmentKey,
        names: Vec<String>,
    ) -> Result<Vec<(String, i64)>, StoreError>;
    /// Stores a new value. Each pipeline that uses the secret gets a new version with it, and a rollout. Values that
    /// no version needs any more are removed.
    async fn put_secret(&self, secret: NewSecret) -> Result<SecretOutcome, StoreError>;
    /// Secrets by name.
    async fn list_secrets(&self, environments: Option<Vec<EnvironmentKey>>) -> Result<Vec<SecretInfo>, StoreError>;
    /// One sealed value.
    async fn sealed_secret(
        &self,
        environment: EnvironmentKey,
        name: String,
        revision: i64,
    ) -> Result<Option<SealedSecret>, StoreError>;
    /// Removes every value of a secret that no pipeline uses.
    async fn remove_secret(&self, environment: EnvironmentKey, name: String) -> Result<SecretRemoval, StoreError>;
    /// Every sealed value.
    async fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, StoreError>;
    /// Replaces sealed values by others of the same secrets, in one transaction.
    async fn reseal_secrets(&self, secrets: Vec<SealedSecret>) -> Result<(), StoreError>;
}
