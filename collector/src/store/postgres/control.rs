//! What the centre decides: pipelines, their versions, and secrets.

use async_trait::async_trait;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use systole_shared::UnixMillis;

use super::{PostgresStore, definitions, secrets, topologies};
use crate::model::{DefinitionKey, EnvironmentKey, NodeKey, PipelineKey};
use crate::store::*;

/// Runs queries in one transaction.
macro_rules! transaction {
    ($pool:expr, |$connection:ident| $queries:expr) => {
        (&mut *$pool.get().await?).transaction(async |$connection: &mut AsyncPgConnection| $queries.await).await
    };
}

#[async_trait]
impl DefinitionStore for PostgresStore {
    async fn create_version(&self, version: NewVersion) -> Result<VersionOutcome, StoreError> {
        transaction!(self.short, |connection| definitions::create_version(connection, &version))
    }

    async fn list_definitions(&self, query: DefinitionQuery) -> Result<Vec<StoredDefinition>, StoreError> {
        definitions::list_definitions(&mut *self.queries.get().await?, &query).await
    }

    async fn definition_version(
        &self,
        definition: DefinitionKey,
        version: i64,
    ) -> Result<Option<StoredVersion>, StoreError> {
        definitions::definition_version(&mut *self.queries.get().await?, definition, version).await
    }

    async fn definition_history(
        &self,
        definition: DefinitionKey,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<VersionInfo>, StoreError> {
        definitions::definition_history(&mut *self.queries.get().await?, definition, before, limit).await
    }

    async fn pause_definition(
        &self,
        definition: DefinitionKey,
        paused: bool,
        now: UnixMillis,
    ) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        self.writer()?.lock().await.pause_definition(definition, paused, now).await
    }

    async fn remove_definition(
        &self,
        definition: DefinitionKey,
        now: UnixMillis,
    ) -> Result<Vec<(NodeKey, u64)>, StoreError> {
        self.writer()?.lock().await.remove_definition(definition, now).await
    }

    async fn topologies(
        &self,
        pipeline: PipelineKey,
        checksums: Vec<String>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        topologies::topologies(&mut *self.queries.get().await?, pipeline, &checksums).await
    }

    async fn pipeline_components(&self, pipeline: PipelineKey) -> Result<Vec<(String, String)>, StoreError> {
        topologies::pipeline_components(&mut *self.queries.get().await?, pipeline).await
    }

    async fn buffer_fills(&self, pipeline: PipelineKey, from_minute: i64) -> Result<Vec<BufferFill>, StoreError> {
        topologies::buffer_fills(&mut *self.queries.get().await?, pipeline, from_minute).await
    }
}

#[async_trait]
impl SecretStore for PostgresStore {
    async fn secret_revisions(
        &self,
        environment: EnvironmentKey,
        names: Vec<String>,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        secrets::secret_revisions(&mut *self.queries.get().await?, environment, &names).await
    }

    async fn put_secret(&self, secret: NewSecret) -> Result<SecretOutcome, StoreError> {
        transaction!(self.short, |connection| secrets::put_secret(connection, &secret))
    }

    async fn list_secrets(&self, environments: Option<Vec<EnvironmentKey>>) -> Result<Vec<SecretInfo>, StoreError> {
        transaction!(self.queries, |connection| secrets::list_secrets(connection, environments.as_deref()))
    }

    async fn sealed_secret(
        &self,
        environment: EnvironmentKey,
        name: String,
        revision: i64,
    ) -> Result<Option<SealedSecret>, StoreError> {
        secrets::sealed_secret(&mut *self.queries.get().await?, environment, &name, revision).await
    }

    async fn remove_secret(&self, environment: EnvironmentKey, name: String) -> Result<SecretRemoval, StoreError> {
        transaction!(self.short, |connection| secrets::remove_secret(connection, environment, &name))
    }

    async fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, StoreError> {
        secrets::sealed_secrets(&mut *self.queries.get().await?).await
    }

    async fn reseal_secrets(&self, secrets: Vec<SealedSecret>) -> Result<(), StoreError> {
        transaction!(self.short, |connection| secrets::reseal_secrets(connection, &secrets))
    }
}
