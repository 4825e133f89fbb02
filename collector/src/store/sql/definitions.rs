//! Pipelines of the centre: their versions, and the begin and the end of rollouts.
//!
//! Functions that write expect that the caller has begun the transaction.

use diesel::prelude::*;
use systole_shared::UnixMillis;

use super::backend::{Backend, Connection, RunQueryDsl, lock_environment, storable};
use super::rollouts::bump_generations;
use crate::model::definition::SecretUses;
use crate::model::{DefinitionKey, EnvironmentKey, NodeKey, RolloutKey};
use crate::store::convert::keys;
use crate::store::schema::*;
use crate::store::*;

/// A pipeline of the centre: key, newest version, stable version, paused, and when it was removed.
type DefinitionColumns = (i64, i64, Option<i64>, i64, Option<i64>);

/// The same in a list: key, environment, id, stable version, and paused.
type ListedColumns = (i64, i64, String, Option<i64>, i64);

/// The same of one that has live versions: key, id, newest version, and stable version.
type LiveColumns = (i64, String, i64, Option<i64>);

/// A version and its body.
type BodyColumns = (i64, String);

/// Version, checksum, author, note and time.
type VersionColumns = (i64, String, String, String, i64);

/// See [`DefinitionStore::create_version`].
pub(super) async fn create_version(
    connection: &mut Connection,
    new: &NewVersion,
) -> Result<VersionOutcome, StoreError> {
    lock_environment(connection, new.environment).await?;
    let known: Option<DefinitionColumns> = definitions::table
        .filter(definitions::environment.eq(new.environment.0).and(definitions::slug.eq(storable(&new.slug))))
        .select((
            definitions::id,
            definitions::version,
            definitions::stable_version,
            definitions::paused,
            definitions::removed_at,
        ))
        .first(connection)
        .await
        .optional()?;
    let current = known.filter(|known| known.4.is_none()).map(|known| known.1);
    if current != new.replaces {
        return Ok(VersionOutcome::OtherVersion(current));
    }
    let newest = super::secrets::newest_revisions(connection, new.environment).await?;
    let is_newest = |(name, revision): &&(String, i64)| newest.get(name) == Some(revision);
    if let Some((name, _)) = new.secret_revisions.iter().find(|secret| !is_newest(secret)) {
        return Ok(VersionOutcome::OtherSecret(name.clone()));
    }
    if current.is_none() && count(connection, new.environment).await? >= MAX_DEFINITIONS {
        return Ok(VersionOutcome::TooMany);
    }
    let (key, version) = match known {
        Some((key, version, ..)) => (key, version + 1),
        None => (insert_definition(connection, new).await?, 1),
    };
    let next = NextVersion {
        environment: new.environment,
        key: DefinitionKey(key),
        version,
        stable_version: known.and_then(|known| known.2),
        checksum: &new.checksum,
        body: &new.body,
        policy: &new.policy,
        author: &new.author,
        note: &new.note,
        now: new.now,
    };
    let rollout = insert_version(connection, &next).await?;
    Ok(VersionOutcome::Created(CreatedVersion { slug: new.slug.clone(), version, rollout }))
}

async fn count(connection: &mut Connection, environment: EnvironmentKey) -> Result<i64, StoreError> {
    let own = definitions::table
        .filter(definitions::environment.eq(environment.0).and(definitions::removed_at.is_null()))
        .count();
    Ok(own.get_result(connection).await?)
}

async fn insert_definition(connection: &mut Connection, new: &NewVersion) -> Result<i64, StoreError> {
    let values = (
        definitions::environment.eq(new.environment.0),
        definitions::slug.eq(storable(&new.slug)),
        definitions::version.eq(0),
        definitions::paused.eq(0),
    );
    let insert = diesel::insert_into(definitions::table).values(values).returning(definitions::id);
    Ok(insert.get_result(connection).await?)
}

/// A version of a pipeline that exists.
pub(super) struct NextVersion<'a> {
    pub environment: EnvironmentKey,
    pub key: DefinitionKey,
    pub version: i64,
    pub stable_version: Option<i64>,
    pub checksum: &'a str,
    pub body: &'a str,
    pub policy: &'a str,
    pub author: &'a Author,
    pub note: &'a str,
    pub now: UnixMillis,
}

/// Makes a version the newest one, closes the rollout before and begins the next.
pub(super) async fn insert_version(
    connection: &mut Connection,
    next: &NextVersion<'_>,
) -> Result<RolloutKey, StoreError> {
    let none: Option<i64> = None;
    diesel::update(definitions::table.find(next.key.0))
        .set((definitions::version.eq(next.version), definitions::removed_at.eq(none)))
        .execute(connection)
        .await?;
    let author = storable(&next.author.name);
    let values = (
        definition_versions::definition.eq(next.key.0),
        definition_versions::version.eq(next.version),
        definition_versions::checksum.eq(next.checksum),
        definition_versions::body.eq(next.body),
        definition_versions::author.eq(author.clone()),
        definition_versions::author_id.eq(next.author.id.as_deref()),
        definition_versions::note.eq(storable(next.note)),
        definition_versions::created_at.eq(next.now),
    );
    diesel::insert_into(definition_versions::table).values(values).execute(connection).await?;
    abort_rollouts(connection, next.key, &format!("superseded by version {}", next.version), next.now).await?;
    let values = (
        rollouts::environment.eq(next.environment.0),
        rollouts::definition.eq(next.key.0),
        rollouts::version.eq(next.version),
        rollouts::from_version.eq(next.stable_version),
        rollouts::policy.eq(next.policy),
        rollouts::state.eq("running"),
        rollouts::reason.eq(""),
        rollouts::stage.eq(0),
        rollouts::author.eq(author),
        rollouts::started_at.eq(next.now),
        rollouts::changed_at.eq(next.now),
    );
    let insert = diesel::insert_into(rollouts::table).values(values).returning(rollouts::id);
    Ok(RolloutKey(insert.get_result(connection).await?))
}

/// Ends what still brings an older version of a pipeline to nodes.
async fn abort_rollouts(
    connection: &mut Connection,
    key: DefinitionKey,
    reason: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let open =
        rollouts::table.filter(rollouts::definition.eq(key.0).and(rollouts::state.eq_any(["running", "halted"])));
    diesel::update(open)
        .set((
            rollouts::state.eq("aborted"),
            rollouts::reason.eq(reason),
            rollouts::changed_at.eq(now),
            rollouts::finished_at.eq(now),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// See [`DefinitionStore::list_definitions`].
pub(super) async fn list_definitions(
    connection: &mut Connection,
    query: &DefinitionQuery,
) -> Result<Vec<StoredDefinition>, StoreError> {
    let mut select = definitions::table
        .inner_join(
            definition_versions::table.on(definition_versions::definition
                .eq(definitions::id)
                .and(definition_versions::version.eq(definitions::version))),
        )
        .filter(definitions::removed_at.is_null())
        .select((
            (
                definitions::id,
                definitions::environment,
                definitions::slug,
                definitions::stable_version,
                definitions::paused,
            ),
            (
                definition_versions::version,
                definition_versions::checksum,
                definition_versions::author,
                definition_versions::note,
                definition_versions::created_at,
            ),
        ))
        .order((definitions::slug, definitions::id))
        .limit(query.limit)
        .into_boxed::<Backend>();
    if let Some(environments) = &query.environments {
        select = select.filter(definitions::environment.eq_any(keys(environments)));
    }
    if let Some(slug) = &query.slug {
        select = select.filter(definitions::slug.eq(storable(slug).into_owned()));
    }
    if let Some((slug, key)) = &query.after {
        let slug = storable(slug).into_owned();
        select = select
            .filter(definitions::slug.gt(slug.clone()).or(definitions::slug.eq(slug).and(definitions::id.gt(*key))));
    }
    let rows: Vec<(ListedColumns, VersionColumns)> = select.load(connection).await?;
    let definition = |((key, environment, slug, stable_version, paused), version)| StoredDefinition {
        key: DefinitionKey(key),
        environment: EnvironmentKey(environment),
        slug,
        stable_version,
        paused: paused != 0,
        version: version_info(version),
    };
    Ok(rows.into_iter().map(definition).collect())
}

fn version_info((version, checksum, author, note, created_at): VersionColumns) -> VersionInfo {
    VersionInfo { version, checksum, author, note, created_at }
}

/// See [`DefinitionStore::definition_version`].
pub(super) async fn definition_version(
    connection: &mut Connection,
    definition: DefinitionKey,
    version: i64,
) -> Result<Option<StoredVersion>, StoreError> {
    let row: Option<(VersionColumns, String)> = definition_versions::table
        .find((definition.0, version))
        .select((
            (
                definition_versions::version,
                definition_versions::checksum,
                definition_versions::author,
                definition_versions::note,
                definition_versions::created_at,
            ),
            definition_versions::body,
        ))
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(|(version, body)| StoredVersion { info: version_info(version), body }))
}

/// See [`DefinitionStore::definition_history`].
pub(super) async fn definition_history(
    connection: &mut Connection,
    definition: DefinitionKey,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<VersionInfo>, StoreError> {
    let rows: Vec<VersionColumns> = definition_versions::table
        .filter(definition_versions::definition.eq(definition.0))
        .filter(definition_versions::version.lt(before.unwrap_or(i64::MAX)))
        .select((
            definition_versions::version,
            definition_versions::checksum,
            definition_versions::author,
            definition_versions::note,
            definition_versions::created_at,
        ))
        .order(definition_versions::version.desc())
        .limit(limit)
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(version_info).collect())
}

/// See [`DefinitionStore::pause_definition`].
pub(super) async fn pause_definition(
    connection: &mut Connection,
    definition: DefinitionKey,
    paused: bool,
    now: UnixMillis,
) -> Result<Vec<(NodeKey, u64)>, StoreError> {
    lock_environment_of(connection, definition).await?;
    let paused = i64::from(paused);
    diesel::update(definitions::table.find(definition.0))
        .set(definitions::paused.eq(paused))
        .execute(connection)
        .await?;
    let changed = assignments::table
        .filter(assignments::definition.eq(definition.0).and(assignments::paused.ne(paused)))
        .select(assignments::node);
    let nodes: Vec<i64> = changed.load(connection).await?;
    let generations = bump_generations(connection, &nodes, now).await?;
    diesel::update(assignments::table.filter(assignments::definition.eq(definition.0)))
        .set(assignments::paused.eq(paused))
        .execute(connection)
        .await?;
    Ok(generations)
}

/// See [`DefinitionStore::remove_definition`].
pub(super) async fn remove_definition(
    connection: &mut Connection,
    definition: DefinitionKey,
    now: UnixMillis,
) -> Result<Vec<(NodeKey, u64)>, StoreError> {
    lock_environment_of(connection, definition).await?;
    let none: Option<i64> = None;
    diesel::update(definitions::table.find(definition.0))
        .set((definitions::removed_at.eq(now), definitions::stable_version.eq(none), definitions::paused.eq(0)))
        .execute(connection)
        .await?;
    abort_rollouts(connection, definition, "the pipeline was removed", now).await?;
    let own = assignments::table.filter(assignments::definition.eq(definition.0));
    let nodes: Vec<i64> = own.select(assignments::node).load(connection).await?;
    let generations = bump_generations(connection, &nodes, now).await?;
    diesel::delete(own).execute(connection).await?;
    Ok(generations)
}

async fn lock_environment_of(connection: &mut Connection, definition: DefinitionKey) -> Result<(), StoreError> {
    let environment: i64 =
        definitions::table.find(definition.0).select(definitions::environment).first(connection).await?;
    lock_environment(connection, EnvironmentKey(environment)).await
}

/// A version that uses secrets.
pub(super) struct SecretUser {
    pub key: DefinitionKey,
    pub slug: String,
    /// The newest version of its pipeline.
    pub newest: i64,
    pub stable_version: Option<i64>,
    pub version: i64,
    pub uses: SecretUses,
}

/// The versions of an environment that nodes have or can still get: the newest, the stable one, and those that are
/// assigned.
pub(super) async fn live_versions(
    connection: &mut Connection,
    environment: EnvironmentKey,
) -> Result<Vec<SecretUser>, StoreError> {
    let assigned = assignments::table
        .filter(assignments::definition.eq(definition_versions::definition))
        .filter(assignments::version.eq(definition_versions::version));
    let is_live = definition_versions::version
        .eq(definitions::version)
        .or(definition_versions::version.nullable().eq(definitions::stable_version).assume_not_null())
        .or(diesel::dsl::exists(assigned));
    let rows: Vec<(LiveColumns, BodyColumns)> = definitions::table
        .inner_join(definition_versions::table.on(definition_versions::definition.eq(definitions::id)))
        .filter(definitions::environment.eq(environment.0).and(definitions::removed_at.is_null()))
        .filter(is_live)
        .select((
            (definitions::id, definitions::slug, definitions::version, definitions::stable_version),
            (definition_versions::version, definition_versions::body),
        ))
        .order((definitions::slug, definition_versions::version))
        .load(connection)
        .await?;
    let user = |((key, slug, newest, stable_version), (version, body)): (LiveColumns, BodyColumns)| {
        let uses = serde_json::from_str(&body)
            .map_err(|_| StoreError::Corrupt(format!("version {version} of pipeline {slug:?}")))?;
        Ok(SecretUser { key: DefinitionKey(key), slug, newest, stable_version, version, uses })
    };
    rows.into_iter().map(user).collect()
}
