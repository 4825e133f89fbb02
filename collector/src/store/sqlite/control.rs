//! What the centre decides: pipelines, their versions, and secrets.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::backend::ready;
use super::{SqliteStore, definitions, secrets, topologies};
use crate::model::{DefinitionKey, EnvironmentKey, NodeKey, PipelineKey};
use crate::store::*;

#[async_trait]
impl DefinitionStore for SqliteStore {
    async fn create_version(&self, version: NewVersion) -> Result<VersionOutcome, StoreError> {
        self.write(move |connection| ready(definitions::create_version(connection, &version))).await
    }

    async fn list_definitions(&self, query: DefinitionQuery) -> Result<Vec<StoredDefinition>, StoreError> {
        self.read(move |connection| ready(definitions::list_definitions(connection, &query))).await
    }

    async fn definition_version(
        &self,
        definition: DefinitionKey,
        version: i64,
    ) -> Result<Option<StoredVersion>, StoreError> {
        self.read(move |connection| ready(definitions::definition_version(connection, definition, version))).await
    }

    async fn definition_history(
        &self,
        definition: DefinitionKey,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<VersionInfo>, StoreError> {
        self.read(move |connection| ready(definitions::definition_history(connection, definition, before, limit))).await
    }

    async fn pause_definition(
        &self,
        definition: DefinitionKey,
        paused: bool,
        now: UnixMillis,
    ) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        self.write(move |connection| ready(definitions::pause_definition(connection, definition, paused, now))).await
    }

    async fn remove_definition(
        &self,
        definition: DefinitionKey,
        now: UnixMillis,
    ) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        self.write(move |connection| ready(definitions::remove_definition(connection, definition, now))).await
    }

    async fn topologies(
        &self,
        pipeline: PipelineKey,
        checksums: Vec<String>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |connection| ready(topologies::topologies(connection, pipeline, &checksums))).await
    }

    async fn pipeline_components(&self, pipeline: PipelineKey) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |connection| ready(topologies::pipeline_components(connection, pipeline))).await
    }

    async fn buffer_fills(&self, pipeline: PipelineKey, from_minute: i64) -> Result<Vec<BufferFill>, StoreError> {
        self.read(move |connection| ready(topologies::buffer_fills(connection, pipeline, from_minute))).await
    }
}

#[async_trait]
impl SecretStore for SqliteStore {
    async fn secret_revisions(
        &self,
        environment: EnvironmentKey,
        names: Vec<String>,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        self.read(move |connection| ready(secrets::secret_revisions(connection, environment, &names))).await
    }

    async fn put_secret(&self, secret: NewSecret) -> Result<SecretOutcome, StoreError> {
        self.write(move |connection| ready(secrets::put_secret(connection, &secret))).await
    }

    async fn list_secrets(&self, environments: Option<Vec<EnvironmentKey>>) -> Result<Vec<SecretInfo>, StoreError> {
        self.read_at_once(move |connection| ready(secrets::list_secrets(connection, environments.as_deref()))).await
    }

    async fn sealed_secret(
        &self,
        environment: EnvironmentKey,
        name: String,
        revision: i64,
    ) -> Result<Option<SealedSecret>, StoreError> {
        self.read(move |connection| ready(secrets::sealed_secret(connection, environment, &name, revision))).await
    }

    async fn remove_secret(&self, environment: EnvironmentKey, name: String) -> Result<SecretRemoval, StoreError> {
        self.write(move |connection| ready(secrets::remove_secret(connection, environment, &name))).await
    }

    async fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, StoreError> {
        self.read(|connection| ready(secrets::sealed_secrets(connection))).await
    }

    async fn reseal_secrets(&self, secrets: Vec<SealedSecret>) -> Result<(), StoreError> {
        self.write(move |connection| ready(secrets::reseal_secrets(connection, &secrets))).await
    }
}
