//! Rollouts, assignments and what nodes should run.

use std::collections::HashMap;

use diesel::dsl::{count_star, max};
use diesel::prelude::*;
use diesel::sql_query;

use super::backend::{Backend, Connection, RunQueryDsl, storable};
use crate::model::{DefinitionKey, RolloutKey};
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::*;

/// Rows of one statement: the values of each are bound alone.
const ROWS_AT_ONCE: usize = 1_000;

/// Rollouts of agents that are still followed: nodes that were away get the version of one of the latest.
const AGENT_ROLLOUTS: i64 = 20;

/// Rolls a step back whose rollout or pipeline has changed meanwhile.
const STALE: StoreError = StoreError::Query(diesel::result::Error::RollbackTransaction);

/// The result of a step: `None` when it was stale.
pub(super) fn unless_stale<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Err(StoreError::Query(diesel::result::Error::RollbackTransaction)) => Ok(None),
        result => result.map(Some),
    }
}

/// See [`crate::store::RolloutStore::load_rollouts`]. The caller has begun the transaction.
pub(super) async fn load(connection: &mut Connection) -> Result<RolloutSnapshot, StoreError> {
    let definitions: Vec<RolloutDefinitionRow> = definitions::table
        .filter(definitions::removed_at.is_null())
        .order(definitions::id)
        .select(RolloutDefinitionRow::as_select())
        .load(connection)
        .await?;
    let keys: Vec<Option<i64>> = definitions.iter().map(|row| Some(row.id)).collect();
    let mut latest: Vec<i64> = Vec::new();
    for keys in keys.chunks(ROWS_AT_ONCE) {
        let of_keys: Vec<Option<i64>> = rollouts::table
            .filter(rollouts::definition.eq_any(keys))
            .group_by(rollouts::definition)
            .select(max(rollouts::id))
            .load(connection)
            .await?;
        latest.extend(of_keys.into_iter().flatten());
    }
    let of_agents: Vec<i64> = rollouts::table
        .filter(rollouts::definition.is_null().and(rollouts::state.ne("aborted")))
        .order(rollouts::id.desc())
        .limit(AGENT_ROLLOUTS)
        .select(rollouts::id)
        .load(connection)
        .await?;
    latest.extend(of_agents);
    if definitions.is_empty() && latest.is_empty() {
        return Ok(RolloutSnapshot::default());
    }
    latest.sort_unstable();
    let mut found = RolloutSnapshot { definitions, ..RolloutSnapshot::default() };
    for keys in latest.chunks(ROWS_AT_ONCE) {
        let rows: Vec<RolloutRow> = rollouts::table
            .filter(rollouts::id.eq_any(keys))
            .order(rollouts::id)
            .select(RolloutRow::as_select())
            .load(connection)
            .await?;
        found.rollouts.extend(rows);
        let rows: Vec<RolloutNodeRow> = rollout_nodes::table
            .filter(rollout_nodes::rollout.eq_any(keys))
            .select(RolloutNodeRow::as_select())
            .load(connection)
            .await?;
        found.rollout_nodes.extend(rows);
    }
    found.targets =
        nodes::table.order((nodes::name, nodes::id)).select(RolloutTargetRow::as_select()).load(connection).await?;
    found.assignments = assignments::table.select(AssignmentRow::as_select()).load(connection).await?;
    found.deployments = deployments::table.select(DeploymentRow::as_select()).load(connection).await?;
    Ok(found)
}

pub(super) async fn version_body(
    connection: &mut Connection,
    definition: DefinitionKey,
    version: i64,
) -> Result<Option<String>, StoreError> {
    let row = definition_versions::table.find((definition.0, version)).select(definition_versions::body);
    let found: Vec<String> = row.load(connection).await?;
    Ok(found.into_iter().next())
}

/// See [`crate::store::RolloutStore::apply_step`]. The caller has begun the transaction, and makes nothing of
/// [`STALE`].
pub(super) async fn apply_step(
    connection: &mut Connection,
    change: &RolloutChange,
) -> Result<Vec<(NodeKey, u64)>, StoreError> {
    if let Some(definition) = change.definition {
        // Also the lock of the pipeline against its removal, taken first as everywhere.
        let row = definitions::table.filter(definitions::id.eq(definition.0).and(definitions::removed_at.is_null()));
        let changed = match change.stable_version {
            Some(version) => {
                diesel::update(row).set(definitions::stable_version.eq(version)).execute(connection).await?
            }
            None => diesel::update(row).set(definitions::id.eq(definitions::id)).execute(connection).await?,
        };
        if changed == 0 {
            return Err(STALE);
        }
    }
    if let Some(update) = &change.rollout {
        let is_unchanged = rollouts::id.eq(update.key.0).and(rollouts::changed_at.eq(update.expected));
        let changed = diesel::update(rollouts::table.filter(is_unchanged))
            .set((
                rollouts::state.eq(&update.state),
                rollouts::reason.eq(storable(&update.reason).into_owned()),
                rollouts::stage.eq(update.stage),
                rollouts::changed_at.eq(change.now.max(update.expected + 1)),
                rollouts::finished_at.eq(update.finished_at),
            ))
            .execute(connection)
            .await?;
        if changed == 0 {
            return Err(STALE);
        }
        write_nodes(connection, update).await?;
    }
    if let Some(definition) = change.definition {
        write_assignments(connection, definition, change).await?;
    }
    for (node, rollout) in &change.agents {
        diesel::update(nodes::table.find(node.0))
            .set(nodes::agent_rollout.eq(rollout.map(|key| key.0)))
            .execute(connection)
            .await?;
    }
    bump_generations(connection, &change.nodes(), change.now).await
}

async fn write_nodes(connection: &mut Connection, update: &RolloutUpdate) -> QueryResult<()> {
    for rows in update.nodes.chunks(ROWS_AT_ONCE) {
        let keys: Vec<i64> = rows.iter().map(|row| row.node).collect();
        let old = rollout_nodes::rollout.eq(update.key.0).and(rollout_nodes::node.eq_any(keys));
        diesel::delete(rollout_nodes::table.filter(old)).execute(connection).await?;
        let rows: Vec<RolloutNodeRow> = rows
            .iter()
            .map(|row| RolloutNodeRow { reason: storable(&row.reason).into_owned(), ..row.clone() })
            .collect();
        diesel::insert_into(rollout_nodes::table).values(&rows).execute(connection).await?;
    }
    Ok(())
}

async fn write_assignments(
    connection: &mut Connection,
    definition: DefinitionKey,
    change: &RolloutChange,
) -> QueryResult<()> {
    let keys: Vec<i64> =
        change.assign.iter().map(|row| row.node).chain(change.unassign.iter().map(|node| node.0)).collect();
    for keys in keys.chunks(ROWS_AT_ONCE) {
        let old = assignments::definition.eq(definition.0).and(assignments::node.eq_any(keys));
        diesel::delete(assignments::table.filter(old)).execute(connection).await?;
    }
    for rows in change.assign.chunks(ROWS_AT_ONCE) {
        diesel::insert_into(assignments::table).values(rows).execute(connection).await?;
    }
    Ok(())
}

/// Gives nodes new generations: a time, so that a number that a node has from before a restore never returns with
/// another meaning.
pub(super) async fn bump_generations(
    connection: &mut Connection,
    keys: &[i64],
    now: UnixMillis,
) -> Result<Vec<(NodeKey, u64)>, StoreError> {
    let mut bumped = Vec::with_capacity(keys.len());
    for keys in keys.chunks(ROWS_AT_ONCE) {
        diesel::update(nodes::table.filter(nodes::id.eq_any(keys)))
            .set(nodes::desired_generation.eq(case_when_later(now)))
            .execute(connection)
            .await?;
        let rows: Vec<(i64, i64)> = nodes::table
            .filter(nodes::id.eq_any(keys))
            .select((nodes::id, nodes::desired_generation))
            .load(connection)
            .await?;
        bumped.extend(rows.into_iter().map(|(node, generation)| (NodeKey(node), unsigned(generation))));
    }
    Ok(bumped)
}

/// This time, or one more than the generation that is there.
#[diesel::dsl::auto_type(no_type_alias)]
fn case_when_later(now: UnixMillis) -> _ {
    diesel::dsl::case_when(nodes::desired_generation.ge(now), nodes::desired_generation + 1_i64).otherwise(now)
}

pub(super) async fn desired_generations(connection: &mut Connection) -> Result<Vec<(NodeKey, u64)>, StoreError> {
    let rows: Vec<(i64, i64)> = nodes::table
        .filter(nodes::desired_generation.gt(0))
        .select((nodes::id, nodes::desired_generation))
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(|(node, generation)| (NodeKey(node), unsigned(generation))).collect())
}

/// See [`crate::store::RolloutStore::node_assignments`]. The caller has begun the transaction.
pub(super) async fn node_assignments(
    connection: &mut Connection,
    node: NodeKey,
) -> Result<Option<NodeAssignments>, StoreError> {
    let columns = (nodes::environment, nodes::desired_generation, nodes::agent_rollout);
    let rows: Vec<(i64, i64, Option<i64>)> = nodes::table.find(node.0).select(columns).load(connection).await?;
    let Some((environment, generation, agent_rollout)) = rows.into_iter().next() else { return Ok(None) };
    let version = definition_versions::definition
        .eq(assignments::definition)
        .and(definition_versions::version.eq(assignments::version));
    let pipelines: Vec<(String, i64, String, String, i64)> = assignments::table
        .inner_join(definitions::table.on(definitions::id.eq(assignments::definition)))
        .inner_join(definition_versions::table.on(version))
        .filter(assignments::node.eq(node.0))
        .order(definitions::slug)
        .select((
            definitions::slug,
            assignments::version,
            definition_versions::checksum,
            definition_versions::body,
            assignments::paused,
        ))
        .load(connection)
        .await?;
    let agent_update: Vec<Option<String>> = match agent_rollout {
        Some(rollout) => rollouts::table.find(rollout).select(rollouts::agent_update).load(connection).await?,
        None => Vec::new(),
    };
    let assigned = |(slug, version, checksum, body, paused)| AssignedVersion {
        slug,
        version,
        checksum,
        body,
        paused: paused != 0_i64,
    };
    Ok(Some(NodeAssignments {
        generation: unsigned(generation),
        environment: EnvironmentKey(environment),
        pipelines: pipelines.into_iter().map(assigned).collect(),
        agent_update: agent_update.into_iter().flatten().next(),
    }))
}

pub(super) async fn create(connection: &mut Connection, rollout: &NewRollout) -> Result<RolloutKey, StoreError> {
    let insert = diesel::insert_into(rollouts::table).values(rollout).returning(rollouts::id);
    Ok(RolloutKey(insert.get_result(connection).await?))
}

pub(super) async fn list(connection: &mut Connection, query: &RolloutQuery) -> Result<Vec<RolloutView>, StoreError> {
    let mut select = rollouts::table
        .left_join(definitions::table.on(rollouts::definition.eq(definitions::id.nullable())))
        .select((RolloutRow::as_select(), definitions::slug.nullable(), definitions::paused.nullable()))
        .order(rollouts::id.desc())
        .limit(query.limit)
        .into_boxed::<Backend>();
    if let Some(environments) = &query.environments {
        select = select.filter(rollouts::environment.eq_any(keys(environments)));
    }
    if let Some(slug) = &query.slug {
        select = select.filter(definitions::slug.eq(storable(slug).into_owned()));
    }
    if let Some(before) = query.before {
        select = select.filter(rollouts::id.lt(before));
    }
    let rows: Vec<ViewColumns> = select.load(connection).await?;
    with_counts(connection, rows).await
}

/// See [`crate::store::RolloutStore::rollout_detail`]. The caller has begun the transaction.
pub(super) async fn detail(connection: &mut Connection, key: RolloutKey) -> Result<Option<RolloutDetail>, StoreError> {
    let rows: Vec<ViewColumns> = rollouts::table
        .left_join(definitions::table.on(rollouts::definition.eq(definitions::id.nullable())))
        .filter(rollouts::id.eq(key.0))
        .select((RolloutRow::as_select(), definitions::slug.nullable(), definitions::paused.nullable()))
        .load(connection)
        .await?;
    let Some(view) = with_counts(connection, rows).await?.into_iter().next() else { return Ok(None) };
    let nodes = rollout_nodes::table
        .filter(rollout_nodes::rollout.eq(key.0))
        .select(RolloutNodeRow::as_select())
        .load(connection)
        .await?;
    let targets = nodes::table
        .filter(nodes::environment.eq(view.row.environment))
        .order((nodes::name, nodes::id))
        .select(RolloutTargetRow::as_select())
        .load(connection)
        .await?;
    let slug = view.slug.as_deref().unwrap_or("agent");
    let deployments = deployments::table
        .filter(deployments::slug.eq(slug.to_owned()))
        .select(DeploymentRow::as_select())
        .load(connection)
        .await?;
    Ok(Some(RolloutDetail { view, nodes, targets, deployments }))
}

/// A rollout, and the id of its pipeline and whether that is paused.
type ViewColumns = (RolloutRow, Option<String>, Option<i64>);

async fn with_counts(connection: &mut Connection, rows: Vec<ViewColumns>) -> Result<Vec<RolloutView>, StoreError> {
    let keys: Vec<i64> = rows.iter().map(|(row, ..)| row.id).collect();
    let counts: Vec<(i64, String, i64)> = rollout_nodes::table
        .filter(rollout_nodes::rollout.eq_any(keys))
        .group_by((rollout_nodes::rollout, rollout_nodes::state))
        .select((rollout_nodes::rollout, rollout_nodes::state, count_star()))
        .load(connection)
        .await?;
    let mut by_rollout: HashMap<i64, Vec<(String, i64)>> = HashMap::new();
    for (rollout, state, count) in counts {
        by_rollout.entry(rollout).or_default().push((state, count));
    }
    let view = |(row, slug, paused): ViewColumns| RolloutView {
        counts: by_rollout.remove(&row.id).unwrap_or_default(),
        is_paused: paused.is_some_and(|paused| paused != 0),
        row,
        slug,
    };
    Ok(rows.into_iter().map(view).collect())
}

pub(super) async fn trim_topologies(connection: &mut Connection) -> Result<u64, StoreError> {
    let text = format!(
        "DELETE FROM topologies WHERE pipeline NOT IN (SELECT id FROM pipelines) OR (SELECT count(*) FROM topologies AS \
         newer WHERE newer.pipeline = topologies.pipeline AND (newer.last_seen_at > topologies.last_seen_at OR \
         (newer.last_seen_at = topologies.last_seen_at AND newer.checksum > topologies.checksum))) >= {KEPT_TOPOLOGIES}"
    );
    Ok(sql_query(text).execute(connection).await? as u64)
}
