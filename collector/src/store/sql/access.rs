//! Environments, tokens and the nodes that hosts become.
//!
//! Several transactions may write at once on PostgreSQL. The row of `meta` is changed last in each, so that no two
//! of them wait for each other.

use diesel::prelude::*;
use diesel::upsert::excluded;
use systole_shared::{EnvironmentId, NodeId, NodeStatus, TokenId, TokenKind, UnixMillis};
use uuid::Uuid;

use super::backend::{Connection, REUSES_KEYS, RunQueryDsl, locked, storable};
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::*;

/// See [`AccessStore::load_access`]. The caller has begun the transaction.
pub(super) async fn load_access(
    connection: &mut Connection,
    known_version: Option<i64>,
) -> Result<Option<AccessSnapshot>, StoreError> {
    let version: i64 = meta::table.find(1).select(meta::access_version).first(connection).await?;
    if known_version == Some(version) {
        return Ok(None);
    }
    let environments: Vec<EnvironmentColumns> = environments::table
        .order(environments::name)
        .select((environments::id, environments::uuid, environments::name, environments::created_at))
        .load(connection)
        .await?;
    let environments = environments.into_iter().map(stored_environment).collect::<Result<_, _>>()?;
    let tokens: Vec<TokenRow> =
        tokens::table.filter(tokens::revoked_at.is_null()).select(TokenRow::as_select()).load(connection).await?;
    let tokens = tokens.into_iter().map(TokenRow::into_stored).collect::<Result<_, _>>()?;
    Ok(Some(AccessSnapshot { version, environments, tokens }))
}

/// Signals to a running collector that tokens or environments have changed.
async fn bump_access_version(connection: &mut Connection) -> QueryResult<usize> {
    diesel::update(meta::table.find(1)).set(meta::access_version.eq(meta::access_version + 1)).execute(connection).await
}

/// See [`AccessStore::create_token`]. The caller has begun the transaction.
pub(super) async fn create_token(connection: &mut Connection, token: NewToken) -> Result<StoredToken, StoreError> {
    if let Some(parent) = token.parent {
        let valid = tokens::table.filter(tokens::uuid.eq(parent.to_string()).and(tokens::revoked_at.is_null()));
        // Held until the end: a concurrent revocation waits, and then sees the new token.
        let valid: Option<String> = locked!(valid.select(tokens::uuid)).first(connection).await.optional()?;
        if valid.is_none() {
            return Err(StoreError::Revoked);
        }
    }
    let row = TokenRow::new(token);
    diesel::insert_into(tokens::table).values(&row).execute(connection).await?;
    bump_access_version(connection).await?;
    row.into_stored()
}

pub(super) async fn list_tokens(
    connection: &mut Connection,
    kinds: &[TokenKind],
) -> Result<Vec<StoredToken>, StoreError> {
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
    let rows: Vec<TokenRow> = tokens::table
        .filter(tokens::kind.eq_any(kinds))
        .order(tokens::created_at)
        .select(TokenRow::as_select())
        .load(connection)
        .await?;
    rows.into_iter().map(TokenRow::into_stored).collect()
}

/// See [`AccessStore::revoke_token`]. The caller has begun the transaction.
pub(super) async fn revoke_token(
    connection: &mut Connection,
    id: TokenId,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let id = id.to_string();
    // Waits for a session that is just being made from it, which the update must see.
    let own = tokens::table.filter(tokens::uuid.eq(&id)).select(tokens::uuid);
    let known: Option<String> = locked!(own).first(connection).await.optional()?;
    // The first time counts: it is what a person looks for afterwards.
    let with_sessions = tokens::uuid.eq(&id).or(tokens::parent.eq(&id));
    diesel::update(tokens::table.filter(tokens::revoked_at.is_null().and(with_sessions.assume_not_null())))
        .set(tokens::revoked_at.eq(now))
        .execute(connection)
        .await?;
    bump_access_version(connection).await?;
    Ok(known.is_some())
}

/// See [`AccessStore::create_environment`]. The caller has begun the transaction.
pub(super) async fn create_environment(
    connection: &mut Connection,
    name: &str,
    now: UnixMillis,
) -> Result<StoredEnvironment, StoreError> {
    let id = EnvironmentId(Uuid::now_v7());
    let key: Option<i64> = diesel::insert_into(environments::table)
        .values((environments::uuid.eq(id.to_string()), environments::name.eq(name), environments::created_at.eq(now)))
        .on_conflict(environments::name)
        .do_nothing()
        .returning(environments::id)
        .get_result(connection)
        .await
        .optional()?;
    let Some(key) = key else { return Err(StoreError::Exists(format!("environment {name:?}"))) };
    bump_access_version(connection).await?;
    Ok(StoredEnvironment { key: EnvironmentKey(key), id, name: name.to_owned(), created_at: now })
}

/// See [`AccessStore::enroll_node_as`]. The caller has begun the transaction.
pub(super) async fn enroll_node(
    connection: &mut Connection,
    enrolment: &NewEnrolment,
    enrol_as: EnrolAs,
) -> Result<EnrolledNode, StoreError> {
    let (key, id) = match enrol_as {
        EnrolAs::NodeOfMachine => insert_or_update_node(connection, enrolment).await?,
        EnrolAs::New | EnrolAs::TwinOf(_) => insert_node(connection, enrolment, enrol_as).await?,
        EnrolAs::Known(key) => update_node(connection, key, enrolment).await?,
    };
    let old_tokens = shorten_tokens(connection, key, enrolment.old_tokens_until).await?;
    let row = TokenRow::of_node(key, enrolment);
    diesel::insert_into(tokens::table).values(&row).execute(connection).await?;
    bump_access_version(connection).await?;
    Ok(EnrolledNode { key: NodeKey(key), id, token: row.into_stored()?, old_tokens })
}

/// The key of a new node, where the database itself would use that of a removed node again: its events are kept.
async fn next_node_key(connection: &mut Connection) -> QueryResult<Option<i64>> {
    if !REUSES_KEYS {
        return Ok(None);
    }
    let last: Option<i64> = nodes::table.select(diesel::dsl::max(nodes::id)).first(connection).await?;
    let removed = removed_nodes::table.select(diesel::dsl::max(removed_nodes::id));
    let removed: Option<i64> = removed.first(connection).await?;
    Ok(Some(last.max(removed).unwrap_or(0) + 1))
}

/// The columns of a new node.
macro_rules! new_node {
    ($key:expr, $id:expr, $enrolment:expr, $machine_id:expr, $twin_of:expr) => {
        (
            $key.map(|key| nodes::id.eq(key)),
            nodes::uuid.eq($id.to_string()),
            nodes::environment.eq($enrolment.environment.0),
            nodes::name.eq(storable(&$enrolment.name)),
            nodes::machine_id.eq($machine_id.map(storable)),
            nodes::twin_of.eq($twin_of),
            nodes::os.eq(storable(&$enrolment.os)),
            nodes::agent_version.eq(storable(&$enrolment.agent_version)),
            nodes::labels.eq(labels_of($enrolment)),
            nodes::status.eq(NodeStatus::Unknown.as_str()),
            nodes::status_reason.eq(ENROLLED),
            nodes::status_since.eq($enrolment.now),
            nodes::enrolled_at.eq($enrolment.now),
        )
    };
}

/// In one statement, because the same host may ask twice at once. A host without a machine id is new
/// each time.
async fn insert_or_update_node(
    connection: &mut Connection,
    enrolment: &NewEnrolment,
) -> Result<(i64, NodeId), StoreError> {
    let (machine_id, twin_of) = machine_columns(enrolment, EnrolAs::NodeOfMachine);
    let new_key = next_node_key(connection).await?;
    let (key, uuid): (i64, String) = diesel::insert_into(nodes::table)
        .values(new_node!(new_key, NodeId(Uuid::now_v7()), enrolment, machine_id, twin_of))
        .on_conflict((nodes::environment, nodes::machine_id))
        .do_update()
        .set((
            nodes::name.eq(excluded(nodes::name)),
            nodes::os.eq(excluded(nodes::os)),
            nodes::agent_version.eq(excluded(nodes::agent_version)),
            nodes::labels.eq(excluded(nodes::labels)),
        ))
        .returning((nodes::id, nodes::uuid))
        .get_result(connection)
        .await?;
    Ok((key, parse_id(&uuid)?))
}

async fn insert_node(
    connection: &mut Connection,
    enrolment: &NewEnrolment,
    enrol_as: EnrolAs,
) -> Result<(i64, NodeId), StoreError> {
    let id = NodeId(Uuid::now_v7());
    let (machine_id, twin_of) = machine_columns(enrolment, enrol_as);
    let new_key = next_node_key(connection).await?;
    let key: Option<i64> = diesel::insert_into(nodes::table)
        .values(new_node!(new_key, id, enrolment, machine_id, twin_of))
        .on_conflict((nodes::environment, nodes::machine_id))
        .do_nothing()
        .returning(nodes::id)
        .get_result(connection)
        .await
        .optional()?;
    key.map(|key| (key, id)).ok_or_else(|| StoreError::Exists("a node of this machine id".to_owned()))
}

async fn update_node(
    connection: &mut Connection,
    key: NodeKey,
    enrolment: &NewEnrolment,
) -> Result<(i64, NodeId), StoreError> {
    let uuid: String = diesel::update(nodes::table.find(key.0))
        .set((
            nodes::name.eq(storable(&enrolment.name)),
            nodes::os.eq(storable(&enrolment.os)),
            nodes::agent_version.eq(storable(&enrolment.agent_version)),
            nodes::labels.eq(labels_of(enrolment)),
        ))
        .returning(nodes::uuid)
        .get_result(connection)
        .await?;
    Ok((key.0, parse_id(&uuid)?))
}

/// Lets a node's earlier tokens end at `until`, unless they end before.
async fn shorten_tokens(
    connection: &mut Connection,
    node: i64,
    until: UnixMillis,
) -> Result<Vec<StoredToken>, StoreError> {
    let rows: Vec<TokenRow> = diesel::update(
        tokens::table
            .filter(tokens::node.eq(node).and(tokens::revoked_at.is_null()))
            .filter(tokens::expires_at.is_null().or(tokens::expires_at.gt(until))),
    )
    .set(tokens::expires_at.eq(until))
    .returning(TokenRow::as_returning())
    .get_results(connection)
    .await?;
    rows.into_iter().map(TokenRow::into_stored).collect()
}

pub(super) async fn nodes_of_machine(
    connection: &mut Connection,
    environment: EnvironmentKey,
    machine_id: &str,
) -> Result<Vec<NodeName>, StoreError> {
    let machine_id = storable(machine_id);
    let own = nodes::table.filter(nodes::environment.eq(environment.0).and(nodes::machine_id.eq(machine_id)));
    let first: Option<i64> = own.select(nodes::id).first(connection).await.optional()?;
    let Some(first) = first else { return Ok(Vec::new()) };
    let rows: Vec<NodeNameColumns> = nodes::table
        .filter(nodes::id.eq(first).or(nodes::twin_of.eq(first).assume_not_null()))
        .order(nodes::id)
        .select((nodes::id, nodes::uuid, nodes::name))
        .load(connection)
        .await?;
    rows.into_iter().map(node_name).collect()
}

pub(super) async fn node_names(connection: &mut Connection) -> Result<Vec<NodeName>, StoreError> {
    let rows: Vec<NodeNameColumns> = nodes::table
        .select((nodes::id, nodes::uuid, shown_name(nodes::set_name, nodes::name)))
        .load(connection)
        .await?;
    rows.into_iter().map(node_name).collect()
}
