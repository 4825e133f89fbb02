//! Resolves the names in requests to keys. Names outside of the scope do not exist.

use systole_shared::NodeId;

use crate::auth::Scope;
use crate::model::{EnvironmentKey, PipelineKey};
use crate::store::{NodeQuery, NodeView, Store, StoreError};
use crate::timeseries::TimeSeries;

/// A pipeline of one environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamedPipeline {
    pub key: PipelineKey,
    pub environment: EnvironmentKey,
}

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

/// The pipelines with this id: one per environment in the scope. One indexed look-up, whatever the number of nodes.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn find_pipelines(
    store: &dyn Store,
    scope: Scope,
    id: &str,
) -> Result<Vec<NamedPipeline>, StoreError> {
    let found = store.find_pipelines(scope.environments(), id.to_owned()).await?;
    Ok(found.into_iter().map(|(key, environment)| NamedPipeline { key, environment }).collect())
}
