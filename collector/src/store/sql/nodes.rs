//! Settings of nodes, and the removal of nodes.
//!
//! A node's row goes at once, with all small tables, in the committer's transaction; so do its series, and with them
//! its minutes are in no answer any more. The rows of minutes and lines are removed after that in small steps. The
//! keys of what is left are in `removed_nodes` and `removed_series`.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};
use systole_shared::UnixMillis;

use super::backend::{Backend, Connection, DIALECT, MAX_VALUES, RunQueryDsl};
use crate::model::{EnvironmentKey, NodeKey, PipelineKey, Resolution};
use crate::store::convert::parse_id;
use crate::store::schema::*;
use crate::store::{
    EVICTION_SLICE, EvictedLogs, Leftovers, NodeRemoval, NodeSettingsRow, RemovedNode, RemovedNodes, StepKind,
    StepTable, StoreError, StoredSettings, labels_json, parse_labels,
};

/// Tables with rows of nodes that are few.
const SMALL_TABLES: [&str; 11] = [
    "series",
    "pipeline_status",
    "node_boots",
    "node_totals",
    "node_gaps",
    "dirty_hours",
    "dirty_days",
    "assignments",
    "deployments",
    "rollout_nodes",
    "tokens",
];

type SettingsColumns = (i64, String, String, Option<String>, Option<String>, Option<i64>, Option<String>);

/// See [`crate::store::NodeStore::load_settings`].
pub(super) async fn load_settings(
    connection: &mut Connection,
    node: Option<NodeKey>,
) -> Result<Vec<StoredSettings>, StoreError> {
    let mut select = nodes::table
        .select((
            nodes::id,
            nodes::name,
            nodes::labels,
            nodes::set_name,
            nodes::set_labels,
            nodes::maintenance_until,
            nodes::maintenance_note,
        ))
        .into_boxed::<Backend>();
    if let Some(node) = node {
        select = select.filter(nodes::id.eq(node.0));
    }
    let rows: Vec<SettingsColumns> = select.load(connection).await?;
    let stored = |(id, name, labels, set_name, set_labels, maintenance_until, maintenance_note): SettingsColumns| {
        let row = NodeSettingsRow { id, set_name, set_labels, maintenance_until, maintenance_note };
        StoredSettings {
            node: NodeKey(id),
            reported_name: name,
            reported_labels: parse_labels(&labels),
            settings: row.settings(),
        }
    };
    Ok(rows.into_iter().map(stored).collect())
}

/// See [`crate::store::NodeStore::load_removed`].
pub(super) async fn load_removed(connection: &mut Connection) -> Result<RemovedNodes, StoreError> {
    let rows: Vec<(i64, String, i64, String)> = removed_nodes::table
        .select((removed_nodes::id, removed_nodes::uuid, removed_nodes::environment, removed_nodes::labels))
        .load(connection)
        .await?;
    let removed = |(id, uuid, environment, labels): (i64, String, i64, String)| {
        Ok(RemovedNode {
            key: NodeKey(id),
            id: parse_id(&uuid)?,
            environment: EnvironmentKey(environment),
            labels: parse_labels(&labels),
        })
    };
    let nodes = rows.into_iter().map(removed).collect::<Result<_, StoreError>>()?;
    let last: Option<i64> =
        removed_series::table.select(diesel::dsl::max(removed_series::id)).first(connection).await?;
    Ok(RemovedNodes { nodes, last_series: last.unwrap_or(0) })
}

/// Removes a node but for its minutes and lines. Part of the committer's transaction.
pub(super) async fn remove(connection: &mut Connection, removal: &NodeRemoval) -> Result<(), StoreError> {
    let node = removal.node.0;
    sql_query(
        DIALECT.finish(
            "INSERT INTO removed_nodes (id, uuid, environment, labels, removed_at, is_clean) \
         SELECT id, uuid, environment, $2, $3, 0 FROM nodes WHERE id = $1"
                .to_owned(),
        ),
    )
    .bind::<BigInt, _>(node)
    .bind::<Text, _>(labels_json(&removal.labels))
    .bind::<BigInt, _>(removal.at)
    .execute(connection)
    .await?;
    run(connection, "INSERT INTO removed_series (id) SELECT id FROM series WHERE node = $1", &[node]).await?;
    let unused = "UPDATE pipelines SET unused_since = $2 WHERE id IN (SELECT pipeline FROM series WHERE node = $1) \
         AND NOT EXISTS (SELECT 1 FROM series WHERE series.pipeline = pipelines.id AND series.node <> $1)";
    run(connection, unused, &[node, removal.at]).await?;
    for table in SMALL_TABLES {
        run(connection, &format!("DELETE FROM {table} WHERE node = $1"), &[node]).await?;
    }
    bequeath_machine(connection, node).await?;
    run(connection, "DELETE FROM nodes WHERE id = $1", &[node]).await?;
    // Its token is gone: see `auth`.
    run(connection, "UPDATE meta SET access_version = access_version + 1 WHERE id = 1", &[]).await?;
    Ok(())
}

/// The oldest twin of a node becomes the one that has the machine id.
async fn bequeath_machine(connection: &mut Connection, node: i64) -> Result<(), StoreError> {
    let heir = nodes::table.filter(nodes::twin_of.eq(node)).select(diesel::dsl::min(nodes::id));
    let heir: Option<i64> = heir.first(connection).await?;
    let Some(heir) = heir else { return Ok(()) };
    let machine_id: Option<String> = nodes::table.find(node).select(nodes::machine_id).first(connection).await?;
    run(connection, "UPDATE nodes SET twin_of = $2 WHERE twin_of = $1", &[node, heir]).await?;
    run(connection, "UPDATE nodes SET machine_id = NULL WHERE id = $1", &[node]).await?;
    sql_query(DIALECT.finish("UPDATE nodes SET twin_of = NULL, machine_id = $2 WHERE id = $1".to_owned()))
        .bind::<BigInt, _>(heir)
        .bind::<Nullable<Text>, _>(machine_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// See [`crate::store::NodeStore::leftovers`].
pub(super) async fn leftovers(connection: &mut Connection, limit: u32) -> Result<Leftovers, StoreError> {
    let dirty = removed_nodes::table.filter(removed_nodes::is_clean.eq(0)).select(removed_nodes::id);
    let nodes: Vec<i64> = dirty.limit(i64::from(limit)).load(connection).await?;
    let series = removed_series::table.select(removed_series::id).order(removed_series::id);
    let series: Vec<i64> = series.limit(i64::from(limit)).load(connection).await?;
    Ok(Leftovers { nodes: nodes.into_iter().map(NodeKey).collect(), series })
}

#[derive(QueryableByName)]
struct Ends {
    #[diesel(sql_type = Nullable<BigInt>)]
    first: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
}

/// See [`crate::store::NodeStore::step_ends`].
pub(super) async fn step_ends(connection: &mut Connection, table: StepTable) -> Result<Option<(i64, i64)>, StoreError> {
    let (name, key) = (table.name(), table.step.as_str());
    // Two sub-selects, because SQLite answers each from an end of the key.
    let sql = format!("SELECT (SELECT min({key}) FROM {name}) AS first, (SELECT max({key}) FROM {name}) AS last");
    let ends: Ends = sql_query(sql).get_result(connection).await?;
    Ok(ends.first.zip(ends.last))
}

/// The keys of tables that no other query names by their types.
mod steps {
    use diesel::table;

    table! { pipeline_hours (hour, series) { hour -> BigInt, series -> BigInt, } }
    table! { pipeline_days (day, series) { day -> BigInt, series -> BigInt, } }
    table! { component_hours (hour, series) { hour -> BigInt, series -> BigInt, } }
    table! { component_days (day, series) { day -> BigInt, series -> BigInt, } }
    table! { node_hours (hour, node) { hour -> BigInt, node -> BigInt, } }
    table! { node_days (day, node) { day -> BigInt, node -> BigInt, } }
}

/// See [`crate::store::NodeStore::remove_steps`]. Both lists are short: each pair of them is one look-up.
pub(super) async fn remove_steps(
    connection: &mut Connection,
    table: StepTable,
    at: &[i64],
    owners: &[i64],
) -> Result<u64, StoreError> {
    use steps::*;
    macro_rules! remove {
        ($table:ident $key:ident $owner:ident) => {
            diesel::delete($table::table.filter($table::$key.eq_any(at).and($table::$owner.eq_any(owners))))
                .execute(connection)
                .await?
        };
    }
    let removed = match (table.kind, table.step) {
        (StepKind::Pipeline, Resolution::Minute) => remove!(pipeline_minutes minute series),
        (StepKind::Pipeline, Resolution::Hour) => remove!(pipeline_hours hour series),
        (StepKind::Pipeline, Resolution::Day) => remove!(pipeline_days day series),
        (StepKind::Component, Resolution::Minute) => remove!(component_minutes minute series),
        (StepKind::Component, Resolution::Hour) => remove!(component_hours hour series),
        (StepKind::Component, Resolution::Day) => remove!(component_days day series),
        (StepKind::Node, Resolution::Minute) => remove!(node_minutes minute node),
        (StepKind::Node, Resolution::Hour) => remove!(node_hours hour node),
        (StepKind::Node, Resolution::Day) => remove!(node_days day node),
    };
    Ok(removed as u64)
}

/// See [`crate::store::NodeStore::remove_lines`].
pub(super) async fn remove_lines(
    connection: &mut Connection,
    nodes: &[NodeKey],
    from: i64,
) -> Result<EvictedLogs, StoreError> {
    let next = logs::table.filter(logs::seq.ge(from)).select(diesel::dsl::min(logs::seq));
    let first: Option<i64> = next.first(connection).await?;
    let Some(first) = first else { return Ok(EvictedLogs { removed: 0, next: None }) };
    let last = first + EVICTION_SLICE - 1;
    let mut removed = 0;
    let keys: Vec<i64> = nodes.iter().map(|node| node.0).collect();
    for keys in keys.chunks(MAX_VALUES) {
        let lines = logs::table.filter(logs::seq.between(first, last).and(logs::node.eq_any(keys)));
        removed += diesel::delete(lines).execute(connection).await?;
    }
    Ok(EvictedLogs { removed: removed as u64, next: Some(last + 1) })
}

/// See [`crate::store::NodeStore::forget_series`].
pub(super) async fn forget_series(connection: &mut Connection, series: &[i64]) -> Result<(), StoreError> {
    diesel::delete(removed_series::table.filter(removed_series::id.eq_any(series))).execute(connection).await?;
    Ok(())
}

/// See [`crate::store::NodeStore::mark_clean`].
pub(super) async fn mark_clean(connection: &mut Connection, nodes: &[NodeKey]) -> Result<(), StoreError> {
    let keys: Vec<i64> = nodes.iter().map(|node| node.0).collect();
    // A rollout that was under way during the removal may have written some of these after it.
    for key in &keys {
        for table in ["assignments", "deployments", "rollout_nodes"] {
            run(connection, &format!("DELETE FROM {table} WHERE node = $1"), &[*key]).await?;
        }
    }
    diesel::update(removed_nodes::table.filter(removed_nodes::id.eq_any(keys)))
        .set(removed_nodes::is_clean.eq(1))
        .execute(connection)
        .await?;
    Ok(())
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// See [`crate::store::NodeStore::forget_removed`]. The newest key stays: the next one must be higher.
pub(super) async fn forget_removed(
    connection: &mut Connection,
    before: UnixMillis,
) -> Result<Vec<PipelineKey>, StoreError> {
    let forgotten = "DELETE FROM removed_nodes WHERE removed_at < $1 AND is_clean = 1 \
         AND id < (SELECT coalesce(max(id), 0) FROM nodes)";
    run(connection, forgotten, &[before]).await?;
    let unused: Vec<Key> = sql_query(
        DIALECT.finish(
            "DELETE FROM pipelines WHERE unused_since < $1 \
         AND NOT EXISTS (SELECT 1 FROM series WHERE series.pipeline = pipelines.id) RETURNING id"
                .to_owned(),
        ),
    )
    .bind::<BigInt, _>(before)
    .load(connection)
    .await?;
    Ok(unused.into_iter().map(|row| PipelineKey(row.id)).collect())
}

async fn run(connection: &mut Connection, sql: &str, values: &[i64]) -> Result<usize, StoreError> {
    let mut query = sql_query(DIALECT.finish(sql.to_owned())).into_boxed::<Backend>();
    for value in values {
        query = query.bind::<BigInt, _>(*value);
    }
    Ok(query.execute(connection).await?)
}
