//! What the committer loads: everything at its start, and a node that has just enrolled.

use std::collections::HashMap;

use diesel::prelude::*;

use super::backend::{Connection, RunQueryDsl};
use super::read::feed_position;
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::*;

/// The committer's part of nodes.
macro_rules! identities {
    ($nodes:expr) => {
        $nodes.select((
            nodes::id,
            nodes::uuid,
            nodes::environment,
            nodes::name,
            nodes::status,
            nodes::status_reason,
            nodes::status_since,
            nodes::enrolled_at,
            nodes::agent_version,
        ))
    };
}

/// See [`IngestStore::load_ingest`]. The caller has begun the transaction.
pub(super) async fn load_ingest(connection: &mut Connection) -> Result<IngestSnapshot, StoreError> {
    let position = feed_position(connection).await?;
    let rows: Vec<NodeIdentity> = identities!(nodes::table.order(nodes::id)).load(connection).await?;
    let mut by_key: HashMap<i64, StoredNode> =
        rows.into_iter().map(|row| Ok((row.0, stored_node(row)?))).collect::<Result<_, StoreError>>()?;
    let boots: Vec<NodeBootRow> =
        node_boots::table.order(node_boots::last_seen_at).select(NodeBootRow::as_select()).load(connection).await?;
    let statuses: Vec<PipelineStatusRow> =
        pipeline_status::table.select(PipelineStatusRow::as_select()).load(connection).await?;
    let series: Vec<SeriesRow> = series::table.select(SeriesRow::as_select()).load(connection).await?;
    let last_series = series.iter().map(|row| row.id).max().unwrap_or(0);
    fill(&mut by_key, boots, statuses, series)?;
    add_deployments(&mut by_key, deployments::table.select(DeploymentRow::as_select()).load(connection).await?);
    add_totals(&mut by_key, node_totals::table.select(NodeTotalsRow::as_select()).load(connection).await?);
    let pipelines: Vec<PipelineRow> = pipelines::table.select(PipelineRow::as_select()).load(connection).await?;
    let pipelines = pipelines
        .into_iter()
        .map(|row| (PipelineKey(row.id), EnvironmentKey(row.environment), row.slug, row.name))
        .collect();
    let wal: Vec<WalRow> = journal::table.order(journal::id).select(WalRow::as_select()).load(connection).await?;
    let marks = (meta::folds, meta::fold_to, meta::fold_minute, meta::fold_node);
    let mark = flush_mark(meta::table.find(1).select(marks).first(connection).await?);
    let nodes = by_key.into_values().collect();
    Ok(IngestSnapshot { position, nodes, pipelines, last_series: SeriesKey(last_series), wal, mark })
}

/// See [`IngestStore::load_node`]. The caller has begun the transaction.
pub(super) async fn load_node(connection: &mut Connection, node: NodeKey) -> Result<Option<StoredNode>, StoreError> {
    let row: Option<NodeIdentity> = identities!(nodes::table.find(node.0)).first(connection).await.optional()?;
    let Some(row) = row else { return Ok(None) };
    let mut by_key = HashMap::from([(node.0, stored_node(row)?)]);
    let boots: Vec<NodeBootRow> = node_boots::table
        .filter(node_boots::node.eq(node.0))
        .order(node_boots::last_seen_at)
        .select(NodeBootRow::as_select())
        .load(connection)
        .await?;
    let statuses: Vec<PipelineStatusRow> = pipeline_status::table
        .filter(pipeline_status::node.eq(node.0))
        .select(PipelineStatusRow::as_select())
        .load(connection)
        .await?;
    let series: Vec<SeriesRow> =
        series::table.filter(series::node.eq(node.0)).select(SeriesRow::as_select()).load(connection).await?;
    fill(&mut by_key, boots, statuses, series)?;
    let of_node = deployments::table.filter(deployments::node.eq(node.0)).select(DeploymentRow::as_select());
    add_deployments(&mut by_key, of_node.load(connection).await?);
    let of_node = node_totals::table.find(node.0).select(NodeTotalsRow::as_select());
    add_totals(&mut by_key, of_node.load(connection).await?);
    Ok(by_key.remove(&node.0))
}
