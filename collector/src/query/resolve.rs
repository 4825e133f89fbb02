//! Names of requests to what they name. What is outside of the scope does not exist.

use systole_shared::NodeId;

use crate::auth::Scope;
use crate::store::{NodeQuery, NodeView, PipelineQuery, PipelineView, Store, StoreError};
use crate::timeseries::TimeSeries;

/// Pipelines of one id that are read at most: each is of another environment.
const MAX_PIPELINES: i64 = 1_000;

/// A node in the scope.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn find_node(
    timeseries: &TimeSeries,
    scope: Scope,
    id: NodeId,
) -> Result<Option<NodeView>, StoreError> {
    let query = NodeQuery { environments: scope.environments(), id: Some(id), limit: 1, ..NodeQuery::default() };
    Ok(timeseries.list_nodes(query).await?.pop())
}

/// The pipelines of an id: one per environment in the scope.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn find_pipelines(store: &dyn Store, scope: Scope, id: &str) -> Result<Vec<PipelineView>, StoreError> {
    let query = PipelineQuery {
        environments: scope.environments(),
        id: Some(id.to_owned()),
        limit: MAX_PIPELINES,
        ..PipelineQuery::default()
    };
    store.list_pipelines(query).await
}
