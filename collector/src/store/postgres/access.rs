//! Environments, tokens, nodes, and what the committer loads at its start.
//!
//! Unlike on SQLite several transactions may write at once. The row of `meta` is changed last in
//! each, so that no two of them wait for each other.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use systole_shared::{EnvironmentId, NodeId, NodeStatus, TokenId, TokenKind, UnixMillis};
use uuid::Uuid;

use super::read::feed_position;
use super::rows::{Column, Template, storable};
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::*;

pub(super) async fn load_ingest(connection: &mut AsyncPgConnection) -> Result<IngestSnapshot, StoreError> {
    connection
        .build_transaction()
        .read_only()
        .repeatable_read()
        .run(async |connection: &mut AsyncPgConnection| {
            let position = feed_position(connection).await?;
            let columns =
                (nodes::id, nodes::uuid, nodes::environment, nodes::name, nodes::status, nodes::status_reason);
            let rows: Vec<NodeIdentity> = nodes::table.order(nodes::id).select(columns).load(connection).await?;
            let mut by_key: HashMap<i64, StoredNode> =
                rows.into_iter().map(|row| Ok((row.0, stored_node(row)?))).collect::<Result<_, StoreError>>()?;
            let boots: Vec<NodeBootRow> = node_boots::table
                .order(node_boots::last_seen_at)
                .select(NodeBootRow::as_select())
                .load(connection)
                .await?;
            let statuses: Vec<PipelineStatusRow> =
                pipeline_status::table.select(PipelineStatusRow::as_select()).load(connection).await?;
            let series: Vec<SeriesRow> = series::table.select(SeriesRow::as_select()).load(connection).await?;
            let last_series = series.iter().map(|row| row.id).max().unwrap_or(0);
            fill(&mut by_key, boots, statuses, series)?;
            let of_nodes = deployments::table.select(DeploymentRow::as_select()).load(connection).await?;
            add_deployments(&mut by_key, of_nodes);
            let pipelines: Vec<PipelineRow> =
                pipelines::table.select(PipelineRow::as_select()).load(connection).await?;
            let pipelines = pipelines
                .into_iter()
                .map(|row| (PipelineKey(row.id), EnvironmentKey(row.environment), row.slug, row.name))
                .collect();
            let wal = journal::table.order(journal::id).select(WalRow::as_select()).load(connection).await?;
            let mark = meta::table
                .find(1)
                .select((meta::folds, meta::fold_to, meta::fold_minute, meta::fold_node))
                .first(connection)
                .await?;
            let nodes = by_key.into_values().collect();
            Ok(IngestSnapshot {
                position,
                nodes,
                pipelines,
                last_series: SeriesKey(last_series),
                wal,
                mark: flush_mark(mark),
            })
        })
        .await
}

pub(super) async fn load_node(
    connection: &mut AsyncPgConnection,
    node: NodeKey,
) -> Result<Option<StoredNode>, StoreError> {
    connection
        .build_transaction()
        .read_only()
        .repeatable_read()
        .run(async |connection: &mut AsyncPgConnection| {
            let columns =
                (nodes::id, nodes::uuid, nodes::environment, nodes::name, nodes::status, nodes::status_reason);
            let row: Option<NodeIdentity> =
                nodes::table.find(node.0).select(columns).first(connection).await.optional()?;
            let Some(row) = row else { return Ok(None) };
            let mut by_key = HashMap::from([(node.0, stored_node(row)?)]);
            let boots = node_boots::table
                .filter(node_boots::node.eq(node.0))
                .order(node_boots::last_seen_at)
                .select(NodeBootRow::as_select())
                .load(connection)
                .await?;
            let statuses = pipeline_status::table
                .filter(pipeline_status::node.eq(node.0))
                .select(PipelineStatusRow::as_select())
                .load(connection)
                .await?;
            let series =
                series::table.filter(series::node.eq(node.0)).select(SeriesRow::as_select()).load(connection).await?;
            fill(&mut by_key, boots, statuses, series)?;
            let of_node = deployments::table.filter(deployments::node.eq(node.0));
            let of_node = of_node.select(DeploymentRow::as_select()).load(connection).await?;
            add_deployments(&mut by_key, of_node);
            Ok(by_key.remove(&node.0))
        })
        .await
}

pub(super) async fn load_access(
    connection: &mut AsyncPgConnection,
    known_version: Option<i64>,
) -> Result<Option<AccessSnapshot>, StoreError> {
    connection
        .build_transaction()
        .read_only()
        .repeatable_read()
        .run(async |connection: &mut AsyncPgConnection| {
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
            let tokens: Vec<TokenRow> = tokens::table
                .filter(tokens::revoked_at.is_null())
                .select(TokenRow::as_select())
                .load(connection)
                .await?;
            let tokens = tokens.into_iter().map(TokenRow::into_stored).collect::<Result<_, _>>()?;
            Ok(Some(AccessSnapshot { version, environments, tokens }))
        })
        .await
}

/// Signals to a running collector that tokens or environments have changed.
async fn bump_access_version(connection: &mut AsyncPgConnection) -> QueryResult<usize> {
    diesel::update(meta::table.find(1)).set(meta::access_version.eq(meta::access_version + 1)).execute(connection).await
}

pub(super) async fn create_token(
    connection: &mut AsyncPgConnection,
    token: NewToken,
) -> Result<StoredToken, StoreError> {
    connection
        .transaction(async |connection: &mut AsyncPgConnection| {
            if let Some(parent) = token.parent {
                // Held until the end: a concurrent revocation waits, and then sees the new token.
                let valid: Option<String> = tokens::table
                    .filter(tokens::uuid.eq(parent.to_string()).and(tokens::revoked_at.is_null()))
                    .select(tokens::uuid)
                    .for_update()
                    .first(connection)
                    .await
                    .optional()?;
                if valid.is_none() {
                    return Err(StoreError::Revoked);
                }
            }
            let row = TokenRow::new(token);
            diesel::insert_into(tokens::table).values(&row).execute(connection).await?;
            bump_access_version(connection).await?;
            row.into_stored()
        })
        .await
}

pub(super) async fn list_tokens(
    connection: &mut AsyncPgConnection,
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

pub(super) async fn revoke_token(
    connection: &mut AsyncPgConnection,
    id: TokenId,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let id = id.to_string();
    connection
        .transaction(async |connection: &mut AsyncPgConnection| {
            // Waits for a session that is just being made from it, which the update must see.
            let known: Option<String> = tokens::table
                .filter(tokens::uuid.eq(&id))
                .select(tokens::uuid)
                .for_update()
                .first(connection)
                .await
                .optional()?;
            // The first time counts: it is what a person looks for afterwards.
            let with_sessions = tokens::uuid.eq(&id).or(tokens::parent.eq(&id));
            diesel::update(tokens::table.filter(tokens::revoked_at.is_null().and(with_sessions.assume_not_null())))
                .set(tokens::revoked_at.eq(now))
                .execute(connection)
                .await?;
            bump_access_version(connection).await?;
            Ok(known.is_some())
        })
        .await
}

pub(super) async fn touch_tokens(
    connection: &mut AsyncPgConnection,
    mut used: Vec<(TokenId, UnixMillis)>,
) -> Result<(), StoreError> {
    used.sort_unstable_by_key(|(id, _)| id.0);
    let template =
        Template::over("UPDATE tokens SET last_used_at = new.at FROM", "uuid, at", "WHERE tokens.uuid = new.uuid");
    let uuids = used.iter().map(|(id, _)| id.to_string().into()).collect();
    let times = used.iter().map(|(_, at)| *at).collect();
    template.with(vec![Column::Text(uuids), Column::Int(times)]).run(connection).await?;
    Ok(())
}

pub(super) async fn create_environment(
    connection: &mut AsyncPgConnection,
    name: &str,
    now: UnixMillis,
) -> Result<StoredEnvironment, StoreError> {
    let id = EnvironmentId(Uuid::now_v7());
    connection
        .transaction(async |connection: &mut AsyncPgConnection| {
            let columns = (environments::uuid, environments::name, environments::created_at);
            let values = (columns.0.eq(id.to_string()), columns.1.eq(name), columns.2.eq(now));
            let key: Option<i64> = diesel::insert_into(environments::table)
                .values(values)
                .on_conflict(environments::name)
                .do_nothing()
                .returning(environments::id)
                .get_result(connection)
                .await
                .optional()?;
            let Some(key) = key else { return Err(StoreError::Exists(format!("environment {name:?}"))) };
            bump_access_version(connection).await?;
            Ok(StoredEnvironment { key: EnvironmentKey(key), id, name: name.to_owned(), created_at: now })
        })
        .await
}

pub(super) async fn enroll_node(
    connection: &mut AsyncPgConnection,
    enrolment: &NewEnrolment,
    enrol_as: EnrolAs,
) -> Result<EnrolledNode, StoreError> {
    connection
        .transaction(async |connection: &mut AsyncPgConnection| {
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
        })
        .await
}

/// In one statement, because the same host may ask twice at once. A host without a machine id is new
/// each time.
async fn insert_or_update_node(
    connection: &mut AsyncPgConnection,
    enrolment: &NewEnrolment,
) -> Result<(i64, NodeId), StoreError> {
    let machine_id = enrolment.machine_id.as_deref().map(storable);
    let (key, uuid): (i64, String) = diesel::insert_into(nodes::table)
        .values((
            nodes::uuid.eq(NodeId(Uuid::now_v7()).to_string()),
            nodes::environment.eq(enrolment.environment.0),
            nodes::name.eq(storable(&enrolment.name)),
            nodes::machine_id.eq(machine_id),
            nodes::os.eq(storable(&enrolment.os)),
            nodes::agent_version.eq(storable(&enrolment.agent_version)),
            nodes::labels.eq(labels_json(enrolment)),
            nodes::status.eq(NodeStatus::Unknown.as_str()),
            nodes::status_reason.eq("enrolled"),
            nodes::status_since.eq(enrolment.now),
            nodes::enrolled_at.eq(enrolment.now),
        ))
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

pub(super) async fn node_names(connection: &mut AsyncPgConnection) -> Result<Vec<NodeName>, StoreError> {
    let rows: Vec<NodeNameColumns> =
        nodes::table.select((nodes::id, nodes::uuid, nodes::name)).load(connection).await?;
    rows.into_iter().map(node_name).collect()
}

async fn insert_node(
    connection: &mut AsyncPgConnection,
    enrolment: &NewEnrolment,
    enrol_as: EnrolAs,
) -> Result<(i64, NodeId), StoreError> {
    let id = NodeId(Uuid::now_v7());
    let (machine_id, twin_of) = machine_columns(enrolment, enrol_as);
    let key: Option<i64> = diesel::insert_into(nodes::table)
        .values((
            nodes::uuid.eq(id.to_string()),
            nodes::environment.eq(enrolment.environment.0),
            nodes::name.eq(storable(&enrolment.name)),
            nodes::machine_id.eq(machine_id.map(storable)),
            nodes::twin_of.eq(twin_of),
            nodes::os.eq(storable(&enrolment.os)),
            nodes::agent_version.eq(storable(&enrolment.agent_version)),
            nodes::labels.eq(labels_json(enrolment)),
            nodes::status.eq(NodeStatus::Unknown.as_str()),
            nodes::status_reason.eq("enrolled"),
            nodes::status_since.eq(enrolment.now),
            nodes::enrolled_at.eq(enrolment.now),
        ))
        .on_conflict((nodes::environment, nodes::machine_id))
        .do_nothing()
        .returning(nodes::id)
        .get_result(connection)
        .await
        .optional()?;
    key.map(|key| (key, id)).ok_or_else(|| StoreError::Exists("a node of this machine id".to_owned()))
}

async fn update_node(
    connection: &mut AsyncPgConnection,
    key: NodeKey,
    enrolment: &NewEnrolment,
) -> Result<(i64, NodeId), StoreError> {
    let uuid: String = diesel::update(nodes::table.find(key.0))
        .set((
            nodes::name.eq(storable(&enrolment.name)),
            nodes::os.eq(storable(&enrolment.os)),
            nodes::agent_version.eq(storable(&enrolment.agent_version)),
            nodes::labels.eq(labels_json(enrolment)),
        ))
        .returning(nodes::uuid)
        .get_result(connection)
        .await?;
    Ok((key.0, parse_id(&uuid)?))
}

pub(super) async fn nodes_of_machine(
    connection: &mut AsyncPgConnection,
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

/// Lets a node's earlier tokens end at `until`, unless they end before.
async fn shorten_tokens(
    connection: &mut AsyncPgConnection,
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
