//! Sealed values of secrets.
//!
//! Functions that write expect that the caller has begun the transaction.

use std::collections::{BTreeMap, BTreeSet};

use diesel::dsl::max;
use diesel::prelude::*;

use super::backend::{Backend, Connection, RunQueryDsl, lock_environment, storable};
use super::definitions::{NextVersion, insert_version, live_versions};
use crate::model::EnvironmentKey;
use crate::model::definition::VersionBody;
use crate::store::convert::keys;
use crate::store::schema::*;
use crate::store::*;

/// Environment, name, revision, id of the key, and the sealed value.
type SealedColumns = (i64, String, i64, String, Vec<u8>);

/// The newest revision of each secret of an environment.
pub(super) async fn newest_revisions(
    connection: &mut Connection,
    environment: EnvironmentKey,
) -> Result<BTreeMap<String, i64>, StoreError> {
    let rows: Vec<(String, Option<i64>)> = secrets::table
        .filter(secrets::environment.eq(environment.0))
        .group_by(secrets::name)
        .select((secrets::name, max(secrets::revision)))
        .load(connection)
        .await?;
    Ok(rows.into_iter().filter_map(|(name, revision)| Some((name, revision?))).collect())
}

/// See [`SecretStore::secret_revisions`].
pub(super) async fn secret_revisions(
    connection: &mut Connection,
    environment: EnvironmentKey,
    names: &[String],
) -> Result<Vec<(String, i64)>, StoreError> {
    let newest = newest_revisions(connection, environment).await?;
    Ok(names.iter().filter_map(|name| Some((name.clone(), *newest.get(name)?))).collect())
}

/// See [`SecretStore::put_secret`].
pub(super) async fn put_secret(connection: &mut Connection, secret: &NewSecret) -> Result<SecretOutcome, StoreError> {
    let value = &secret.value;
    lock_environment(connection, value.environment).await?;
    let newest = newest_revisions(connection, value.environment).await?;
    if newest.get(&value.name).copied().unwrap_or(0) + 1 != value.revision {
        return Ok(SecretOutcome::OtherRevision);
    }
    if value.revision == 1 && newest.len() as i64 >= MAX_SECRETS {
        return Ok(SecretOutcome::TooMany);
    }
    let values = (
        secrets::environment.eq(value.environment.0),
        secrets::name.eq(storable(&value.name)),
        secrets::revision.eq(value.revision),
        secrets::key_id.eq(&value.key_id),
        secrets::sealed.eq(&value.sealed),
        secrets::author.eq(storable(&secret.author.name)),
        secrets::created_at.eq(secret.now),
    );
    diesel::insert_into(secrets::table).values(values).execute(connection).await?;
    let mut made = Vec::new();
    let mut needed = BTreeSet::from([value.revision]);
    for user in live_versions(connection, value.environment).await? {
        let Some(revision) = user.uses.secret_revisions.get(&value.name) else { continue };
        // Nodes may still be on their way to it, or go back to it.
        needed.insert(*revision);
        if user.version == user.newest {
            let next = (user.newest + 1, user.stable_version);
            made.push(renew(connection, secret, (user.key, user.slug), next).await?);
        }
    }
    diesel::delete(
        secrets::table
            .filter(secrets::environment.eq(value.environment.0).and(secrets::name.eq(storable(&value.name))))
            .filter(secrets::revision.ne_all(needed)),
    )
    .execute(connection)
    .await?;
    Ok(SecretOutcome::Stored(made))
}

/// Makes a version with the content of the newest one and the new value.
async fn renew(
    connection: &mut Connection,
    secret: &NewSecret,
    (key, slug): (crate::model::DefinitionKey, String),
    (version, stable_version): (i64, Option<i64>),
) -> Result<CreatedVersion, StoreError> {
    let corrupt = |_| StoreError::Corrupt(format!("version {} of pipeline {slug:?}", version - 1));
    let (checksum, body): (String, String) = definition_versions::table
        .find((key.0, version - 1))
        .select((definition_versions::checksum, definition_versions::body))
        .first(connection)
        .await?;
    let mut body: VersionBody = serde_json::from_str(&body).map_err(corrupt)?;
    body.secret_revisions.insert(secret.value.name.clone(), secret.value.revision);
    let policy = serde_json::to_string(&body.definition.rollout).map_err(corrupt)?;
    let body = serde_json::to_string(&body).map_err(corrupt)?;
    let next = NextVersion {
        environment: secret.value.environment,
        key,
        version,
        stable_version,
        checksum: &checksum,
        body: &body,
        policy: &policy,
        author: &secret.author,
        note: &format!("secret {} changed", secret.value.name),
        now: secret.now,
    };
    let rollout = insert_version(connection, &next).await?;
    Ok(CreatedVersion { slug, version, rollout })
}

/// See [`SecretStore::list_secrets`].
pub(super) async fn list_secrets(
    connection: &mut Connection,
    environments: Option<&[EnvironmentKey]>,
) -> Result<Vec<SecretInfo>, StoreError> {
    let mut select = secrets::table
        .select((secrets::environment, secrets::name, secrets::revision, secrets::author, secrets::created_at))
        .order((secrets::name, secrets::environment, secrets::revision.desc()))
        .into_boxed::<Backend>();
    if let Some(environments) = environments {
        select = select.filter(secrets::environment.eq_any(keys(environments)));
    }
    let rows: Vec<(i64, String, i64, String, i64)> = select.load(connection).await?;
    let mut found: Vec<SecretInfo> = Vec::new();
    for (environment, name, revision, author, changed_at) in rows {
        let environment = EnvironmentKey(environment);
        // The newest value comes first.
        if found.last().is_none_or(|last| (&last.name, last.environment) != (&name, environment)) {
            found.push(SecretInfo { environment, name, revision, author, changed_at, users: Vec::new() });
        }
    }
    let with_secrets: BTreeSet<_> = found.iter().map(|secret| secret.environment).collect();
    for environment in with_secrets {
        let users = users_by_name(connection, environment).await?;
        for secret in found.iter_mut().filter(|secret| secret.environment == environment) {
            secret.users = users.get(&secret.name).into_iter().flatten().cloned().collect();
        }
    }
    Ok(found)
}

/// The pipelines of an environment that use each secret.
async fn users_by_name(
    connection: &mut Connection,
    environment: EnvironmentKey,
) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for user in live_versions(connection, environment).await? {
        for name in user.uses.secret_revisions.into_keys() {
            users.entry(name).or_default().insert(user.slug.clone());
        }
    }
    Ok(users)
}

/// See [`SecretStore::sealed_secret`].
pub(super) async fn sealed_secret(
    connection: &mut Connection,
    environment: EnvironmentKey,
    name: &str,
    revision: i64,
) -> Result<Option<SealedSecret>, StoreError> {
    let row: Option<SealedColumns> = secrets::table
        .find((environment.0, storable(name), revision))
        .select((secrets::environment, secrets::name, secrets::revision, secrets::key_id, secrets::sealed))
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(sealed))
}

fn sealed((environment, name, revision, key_id, sealed): SealedColumns) -> SealedSecret {
    SealedSecret { environment: EnvironmentKey(environment), name, revision, key_id, sealed }
}

/// See [`SecretStore::remove_secret`].
pub(super) async fn remove_secret(
    connection: &mut Connection,
    environment: EnvironmentKey,
    name: &str,
) -> Result<SecretRemoval, StoreError> {
    lock_environment(connection, environment).await?;
    let users = users_by_name(connection, environment).await?.remove(name).unwrap_or_default();
    if !users.is_empty() {
        return Ok(SecretRemoval::Used(users.into_iter().collect()));
    }
    let own = secrets::table.filter(secrets::environment.eq(environment.0).and(secrets::name.eq(storable(name))));
    let removed = diesel::delete(own).execute(connection).await?;
    Ok(if removed > 0 { SecretRemoval::Removed } else { SecretRemoval::Unknown })
}

/// See [`SecretStore::sealed_secrets`].
pub(super) async fn sealed_secrets(connection: &mut Connection) -> Result<Vec<SealedSecret>, StoreError> {
    let rows: Vec<SealedColumns> = secrets::table
        .select((secrets::environment, secrets::name, secrets::revision, secrets::key_id, secrets::sealed))
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(sealed).collect())
}

/// See [`SecretStore::reseal_secrets`].
pub(super) async fn reseal_secrets(connection: &mut Connection, secrets: &[SealedSecret]) -> Result<(), StoreError> {
    for secret in secrets {
        diesel::update(secrets::table.find((secret.environment.0, storable(&secret.name), secret.revision)))
            .set((secrets::key_id.eq(&secret.key_id), secrets::sealed.eq(&secret.sealed)))
            .execute(connection)
            .await?;
    }
    Ok(())
}
