//! Pages of lists. A page is read with one item more, which says whether another page follows.

use std::collections::HashMap;
use std::hash::Hash;

use crate::auth::Scope;
use crate::model::{DefinitionKey, NodeKey, PipelineKey};
use crate::store::{
    AlertEventQuery, AuditQuery, AuditRow, DefinitionQuery, EventQuery, LogQuery, LogView, NodeQuery, NodeView,
    PipelineQuery, PipelineView, RolloutQuery, RolloutView, Store, StoreError, StoredDefinition, StoredEvent,
    VersionInfo,
};
use crate::timeseries::TimeSeries;

/// A page of a list.
#[derive(Debug)]
pub(crate) struct PageOf<T> {
    pub items: Vec<T>,
    /// The cursor of the page after it; `None` at the end.
    pub next: Option<String>,
}

impl<T> PageOf<T> {
    /// Out of up to `limit` items and one more.
    fn cut(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Self {
        let has_more = items.len() as i64 > limit;
        items.truncate(usize::try_from(limit).unwrap_or(0));
        let next = items.last().filter(|_| has_more).map(cursor);
        PageOf { items, next }
    }
}

/// The nodes of these keys, in their order. One that was removed meanwhile is left out.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn nodes(
    timeseries: &TimeSeries,
    scope: Scope,
    keys: Vec<NodeKey>,
) -> Result<Vec<NodeView>, StoreError> {
    let limit = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    let (environments, among) = (scope.environments(), Some(keys.clone()));
    let found = timeseries.list_nodes(NodeQuery { environments, among, limit, ..NodeQuery::default() }).await?;
    Ok(in_order(&keys, found, |node| node.key))
}

/// The pipelines of these keys, in their order, with their state on all nodes or on those named. One that was removed
/// meanwhile is left out.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn pipelines(
    store: &dyn Store,
    scope: Scope,
    keys: Vec<PipelineKey>,
    among: Option<Vec<NodeKey>>,
) -> Result<Vec<PipelineView>, StoreError> {
    let limit = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    let (environments, of) = (scope.environments(), Some(keys.clone()));
    let query = PipelineQuery { environments, among, keys: of, limit, ..PipelineQuery::default() };
    Ok(in_order(&keys, store.list_pipelines(query).await?, |pipeline| pipeline.key))
}

/// What was found, in the order of the keys.
fn in_order<K: Copy + Eq + Hash, T>(keys: &[K], found: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut by_key: HashMap<K, T> = found.into_iter().map(|item| (key(&item), item)).collect();
    keys.iter().filter_map(|key| by_key.remove(key)).collect()
}

/// Up to `limit` rollouts, newest first.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn rollouts(store: &dyn Store, query: RolloutQuery) -> Result<PageOf<RolloutView>, StoreError> {
    let limit = query.limit;
    let found = store.list_rollouts(RolloutQuery { limit: limit + 1, ..query }).await?;
    Ok(PageOf::cut(found, limit, |rollout| rollout.row.id.to_string()))
}

/// Up to `limit` log lines, in the order of the query.
///
/// # Errors
///
/// When the store cannot be read, or the search takes too long.
pub(crate) async fn logs(store: &dyn Store, query: LogQuery) -> Result<PageOf<LogView>, StoreError> {
    let limit = query.limit;
    let found = store.list_logs(LogQuery { limit: limit + 1, ..query }).await?;
    Ok(PageOf::cut(found, limit, |line| line.seq.to_string()))
}

/// Up to `limit` events, in the order of the query.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn events(store: &dyn Store, query: EventQuery) -> Result<PageOf<StoredEvent>, StoreError> {
    let limit = query.limit;
    let found = store.list_events(EventQuery { limit: limit + 1, ..query }).await?;
    Ok(PageOf::cut(found, limit, |change| change.seq.to_string()))
}

/// Up to `limit` changes of alerts, in the order of the query.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn alert_events(store: &dyn Store, query: AlertEventQuery) -> Result<PageOf<StoredEvent>, StoreError> {
    let limit = query.limit;
    let found = store.list_alert_events(AlertEventQuery { limit: limit + 1, ..query }).await?;
    Ok(PageOf::cut(found, limit, |change| change.seq.to_string()))
}

/// Up to `limit` pipelines of the centre, by id.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn definitions(
    store: &dyn Store,
    query: DefinitionQuery,
) -> Result<PageOf<StoredDefinition>, StoreError> {
    let limit = query.limit;
    let found = store.list_definitions(DefinitionQuery { limit: limit + 1, ..query }).await?;
    Ok(PageOf::cut(found, limit, |pipeline| format!("{}.{}", pipeline.key.0, pipeline.slug)))
}

/// Up to `limit` versions of a pipeline before one, newest first.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn versions(
    store: &dyn Store,
    pipeline: DefinitionKey,
    before: Option<i64>,
    limit: i64,
) -> Result<PageOf<VersionInfo>, StoreError> {
    let found = store.definition_history(pipeline, before, limit + 1).await?;
    Ok(PageOf::cut(found, limit, |info| info.version.to_string()))
}

/// Up to `limit` actions, newest first.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn audit(store: &dyn Store, query: AuditQuery) -> Result<PageOf<AuditRow>, StoreError> {
    let limit = query.limit;
    let found = store.list_audit(AuditQuery { limit: limit + 1, ..query }).await?;
    Ok(PageOf::cut(found, limit, |row| row.id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_a_cursor_only_if_another_item_follows() {
        let cut = |count| PageOf::cut((0..count).collect::<Vec<i64>>(), 2, i64::to_string);
        let pages = [0, 2, 3].map(|count| (cut(count).items, cut(count).next));
        assert_eq!(pages, [(vec![], None), (vec![0, 1], None), (vec![0, 1], Some("1".to_owned()))]);
    }
}
