//! Environments, tokens, nodes, and what the committer loads at its start.

use std::collections::HashMap;

use diesel::prelude::*;
use systole_shared::{EnvironmentId, NodeId, NodeStatus, TokenId, TokenKind, UnixMillis};
use uuid::Uuid;

use super::backend::ready;
use super::read;
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::*;

pub(super) fn feed_position(connection: &mut SqliteConnection) -> Result<FeedPosition, StoreError> {
    ready(read::feed_position(connection))
}

pub(super) fn load_ingest(connection: &mut SqliteConnection) -> Result<IngestSnapshot, StoreError> {
    connection.transaction(|connection| {
        let position = feed_position(connection)?;
        let columns = (nodes::id, nodes::uuid, nodes::environment, nodes::name, nodes::status, nodes::status_reason);
        let rows: Vec<NodeIdentity> = nodes::table.select(columns).order(nodes::id).load(connection)?;
        let mut by_key: HashMap<i64, StoredNode> =
            rows.into_iter().map(|row| Ok((row.0, stored_node(row)?))).collect::<Result<_, StoreError>>()?;
        let boots: Vec<NodeBootRow> =
            node_boots::table.order(node_boots::last_seen_at).select(NodeBootRow::as_select()).load(connection)?;
        let statuses: Vec<PipelineStatusRow> =
            pipeline_status::table.select(PipelineStatusRow::as_select()).load(connection)?;
        let series: Vec<SeriesRow> = series::table.select(SeriesRow::as_select()).load(connection)?;
        let last_series = series.iter().map(|row| row.id).max().unwrap_or(0);
        fill(&mut by_key, boots, statuses, series)?;
        add_deployments(&mut by_key, deployments::table.select(DeploymentRow::as_select()).load(connection)?);
        let pipelines = pipelines::table
            .select(PipelineRow::as_select())
            .load(connection)?
            .into_iter()
            .map(|row| (PipelineKey(row.id), EnvironmentKey(row.environment), row.slug, row.name))
            .collect();
        let wal = journal::table.order(journal::id).select(WalRow::as_select()).load(connection)?;
        let marks = (meta::folds, meta::fold_to, meta::fold_minute, meta::fold_node);
        let mark = flush_mark(meta::table.find(1).select(marks).first(connection)?);
        let nodes = by_key.into_values().collect();
        Ok(IngestSnapshot { position, nodes, pipelines, last_series: SeriesKey(last_series), wal, mark })
    })
}

pub(super) fn load_node(connection: &mut SqliteConnection, node: NodeKey) -> Result<Option<StoredNode>, StoreError> {
    connection.transaction(|connection| {
        let columns = (nodes::id, nodes::uuid, nodes::environment, nodes::name, nodes::status, nodes::status_reason);
        let row: Option<NodeIdentity> = nodes::table.find(node.0).select(columns).first(connection).optional()?;
        let Some(row) = row else { return Ok(None) };
        let mut by_key = HashMap::from([(node.0, stored_node(row)?)]);
        let boots = node_boots::table
            .filter(node_boots::node.eq(node.0))
            .order(node_boots::last_seen_at)
            .select(NodeBootRow::as_select())
            .load(connection)?;
        let statuses = pipeline_status::table
            .filter(pipeline_status::node.eq(node.0))
            .select(PipelineStatusRow::as_select())
            .load(connection)?;
        let series = series::table.filter(series::node.eq(node.0)).select(SeriesRow::as_select()).load(connection)?;
        fill(&mut by_key, boots, statuses, series)?;
        let of_node = deployments::table.filter(deployments::node.eq(node.0)).select(DeploymentRow::as_select());
        add_deployments(&mut by_key, of_node.load(connection)?);
        Ok(by_key.remove(&node.0))
    })
}

pub(super) fn load_access(
    connection: &mut SqliteConnection,
    known_version: Option<i64>,
) -> Result<Option<AccessSnapshot>, StoreError> {
    connection.transaction(|connection| {
        let version: i64 = meta::table.find(1).select(meta::access_version).first(connection)?;
        if known_version == Some(version) {
            return Ok(None);
        }
        let environments: Vec<EnvironmentColumns> = environments::table
            .order(environments::name)
            .select((environments::id, environments::uuid, environments::name, environments::created_at))
            .load(connection)?;
        let environments = environments.into_iter().map(stored_environment).collect::<Result<_, _>>()?;
        let tokens = tokens::table
            .filter(tokens::revoked_at.is_null())
            .select(TokenRow::as_select())
            .load(connection)?
            .into_iter()
            .map(TokenRow::into_stored)
            .collect::<Result<_, _>>()?;
        Ok(Some(AccessSnapshot { version, environments, tokens }))
    })
}

/// Signals to a running collector that tokens or environments have changed.
fn bump_access_version(connection: &mut SqliteConnection) -> QueryResult<usize> {
    diesel::update(meta::table.find(1)).set(meta::access_version.eq(meta::access_version + 1)).execute(connection)
}

pub(super) fn create_token(connection: &mut SqliteConnection, token: NewToken) -> Result<StoredToken, StoreError> {
    if let Some(parent) = token.parent {
        let valid = tokens::table.filter(tokens::uuid.eq(parent.to_string()).and(tokens::revoked_at.is_null()));
        if valid.count().get_result::<i64>(connection)? == 0 {
            return Err(StoreError::Revoked);
        }
    }
    let row = TokenRow::new(token);
    diesel::insert_into(tokens::table).values(&row).execute(connection)?;
    bump_access_version(connection)?;
    row.into_stored()
}

pub(super) fn list_tokens(
    connection: &mut SqliteConnection,
    kinds: &[TokenKind],
) -> Result<Vec<StoredToken>, StoreError> {
    tokens::table
        .filter(tokens::kind.eq_any(kinds.iter().map(|kind| kind.as_str())))
        .order(tokens::created_at)
        .select(TokenRow::as_select())
        .load(connection)?
        .into_iter()
        .map(TokenRow::into_stored)
        .collect()
}

pub(super) fn revoke_token(
    connection: &mut SqliteConnection,
    id: TokenId,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let id = id.to_string();
    let known: i64 = tokens::table.filter(tokens::uuid.eq(&id)).count().get_result(connection)?;
    // The first time counts: it is what a person looks for afterwards.
    let with_sessions = tokens::uuid.eq(&id).or(tokens::parent.eq(&id));
    diesel::update(tokens::table.filter(tokens::revoked_at.is_null().and(with_sessions.assume_not_null())))
        .set(tokens::revoked_at.eq(now))
        .execute(connection)?;
    bump_access_version(connection)?;
    Ok(known > 0)
}

pub(super) fn touch_tokens(
    connection: &mut SqliteConnection,
    used: &[(TokenId, UnixMillis)],
) -> Result<(), StoreError> {
    for (id, at) in used {
        diesel::update(tokens::table.find(id.to_string())).set(tokens::last_used_at.eq(at)).execute(connection)?;
    }
    Ok(())
}

pub(super) fn create_environment(
    connection: &mut SqliteConnection,
    name: &str,
    now: UnixMillis,
) -> Result<StoredEnvironment, StoreError> {
    let taken: i64 = environments::table.filter(environments::name.eq(name)).count().get_result(connection)?;
    if taken > 0 {
        return Err(StoreError::Exists(format!("environment {name:?}")));
    }
    let id = EnvironmentId(Uuid::now_v7());
    let key: i64 = diesel::insert_into(environments::table)
        .values((environments::uuid.eq(id.to_string()), environments::name.eq(name), environments::created_at.eq(now)))
        .returning(environments::id)
        .get_result(connection)?;
    bump_access_version(connection)?;
    Ok(StoredEnvironment { key: EnvironmentKey(key), id, name: name.to_owned(), created_at: now })
}

pub(super) fn enroll_node(
    connection: &mut SqliteConnection,
    enrolment: &NewEnrolment,
    enrol_as: EnrolAs,
) -> Result<EnrolledNode, StoreError> {
    let known = match enrol_as {
        EnrolAs::NodeOfMachine => node_of_machine(connection, enrolment)?,
        EnrolAs::New if node_of_machine(connection, enrolment)?.is_some() => {
            return Err(StoreError::Exists("a node of this machine id".to_owned()));
        }
        EnrolAs::New | EnrolAs::TwinOf(_) => None,
        EnrolAs::Known(key) => Some(nodes::table.find(key.0).select((nodes::id, nodes::uuid)).first(connection)?),
    };
    let labels = labels_json(enrolment);
    let (key, id) = match known {
        Some((key, uuid)) => {
            diesel::update(nodes::table.find(key))
                .set((
                    nodes::name.eq(&enrolment.name),
                    nodes::os.eq(&enrolment.os),
                    nodes::agent_version.eq(&enrolment.agent_version),
                    nodes::labels.eq(labels),
                ))
                .execute(connection)?;
            (key, parse_id(&uuid)?)
        }
        None => insert_node(connection, enrolment, enrol_as, labels)?,
    };
    let old_tokens = shorten_tokens(connection, key, enrolment.old_tokens_until)?;
    let row = TokenRow::of_node(key, enrolment);
    diesel::insert_into(tokens::table).values(&row).execute(connection)?;
    bump_access_version(connection)?;
    Ok(EnrolledNode { key: NodeKey(key), id, token: row.into_stored()?, old_tokens })
}

fn node_of_machine(
    connection: &mut SqliteConnection,
    enrolment: &NewEnrolment,
) -> Result<Option<(i64, String)>, StoreError> {
    let Some(machine_id) = &enrolment.machine_id else { return Ok(None) };
    Ok(nodes::table
        .filter(nodes::environment.eq(enrolment.environment.0).and(nodes::machine_id.eq(machine_id)))
        .select((nodes::id, nodes::uuid))
        .first(connection)
        .optional()?)
}

pub(super) fn nodes_of_machine(
    connection: &mut SqliteConnection,
    environment: EnvironmentKey,
    machine_id: &str,
) -> Result<Vec<NodeName>, StoreError> {
    let own = nodes::table.filter(nodes::environment.eq(environment.0).and(nodes::machine_id.eq(machine_id)));
    let first: Option<i64> = own.select(nodes::id).first(connection).optional()?;
    let Some(first) = first else { return Ok(Vec::new()) };
    let rows: Vec<NodeNameColumns> = nodes::table
        .filter(nodes::id.eq(first).or(nodes::twin_of.eq(first).assume_not_null()))
        .order(nodes::id)
        .select((nodes::id, nodes::uuid, nodes::name))
        .load(connection)?;
    rows.into_iter().map(node_name).collect()
}

pub(super) fn node_names(connection: &mut SqliteConnection) -> Result<Vec<NodeName>, StoreError> {
    let rows: Vec<NodeNameColumns> = nodes::table.select((nodes::id, nodes::uuid, nodes::name)).load(connection)?;
    rows.into_iter().map(node_name).collect()
}

fn insert_node(
    connection: &mut SqliteConnection,
    enrolment: &NewEnrolment,
    enrol_as: EnrolAs,
    labels: String,
) -> Result<(i64, NodeId), StoreError> {
    let id = NodeId(Uuid::now_v7());
    let (machine_id, twin_of) = machine_columns(enrolment, enrol_as);
    let key: i64 = diesel::insert_into(nodes::table)
        .values((
            nodes::uuid.eq(id.to_string()),
            nodes::environment.eq(enrolment.environment.0),
            nodes::name.eq(&enrolment.name),
            nodes::machine_id.eq(machine_id),
            nodes::twin_of.eq(twin_of),
            nodes::os.eq(&enrolment.os),
            nodes::agent_version.eq(&enrolment.agent_version),
            nodes::labels.eq(labels),
            nodes::status.eq(NodeStatus::Unknown.as_str()),
            nodes::status_reason.eq("enrolled"),
            nodes::status_since.eq(enrolment.now),
            nodes::enrolled_at.eq(enrolment.now),
        ))
        .returning(nodes::id)
        .get_result(connection)?;
    Ok((key, id))
}

/// Lets a node's earlier tokens end at `until`, unless they end before.
fn shorten_tokens(
    connection: &mut SqliteConnection,
    node: i64,
    until: UnixMillis,
) -> Result<Vec<StoredToken>, StoreError> {
    diesel::update(
        tokens::table
            .filter(tokens::node.eq(node).and(tokens::revoked_at.is_null()))
            .filter(tokens::expires_at.is_null().or(tokens::expires_at.gt(until))),
    )
    .set(tokens::expires_at.eq(until))
    .returning(TokenRow::as_returning())
    .get_results(connection)?
    .into_iter()
    .map(TokenRow::into_stored)
    .collect()
}
