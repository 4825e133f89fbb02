//! Pages of lists. A page is read with one item more, which says whether another page follows.

use crate::model::DefinitionKey;
use crate::store::{
    AlertEventQuery, AuditQuery, AuditRow, DefinitionQuery, LogQuery, LogView, NodeQuery, NodeView, PipelineQuery,
    PipelineView, RolloutQuery, RolloutView, StatusChangeQuery, Store, StoreError, StoredDefinition, StoredEvent,
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

/// Up to `limit` nodes, by name.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn nodes(timeseries: &TimeSeries, query: NodeQuery) -> Result<PageOf<NodeView>, StoreError> {
    let limit = query.limit;
    let found = timeseries.list_nodes(NodeQuery { limit: limit + 1, ..query }).await?;
    Ok(PageOf::cut(found, limit, |node| format!("{}.{}", node.key.0, node.name)))
}

/// Up to `limit` pipelines, by id.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn pipelines(store: &dyn Store, query: PipelineQuery) -> Result<PageOf<PipelineView>, StoreError> {
    let limit = query.limit;
    let found = store.list_pipelines(PipelineQuery { limit: limit + 1, ..query }).await?;
    Ok(PageOf::cut(found, limit, |pipeline| format!("{}.{}", pipeline.key.0, pipeline.id)))
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

/// Up to `limit` status changes, in the order of the query.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn status_changes(
    store: &dyn Store,
    query: StatusChangeQuery,
) -> Result<PageOf<StoredEvent>, StoreError> {
    let limit = query.limit;
    let found = store.list_status_changes(StatusChangeQuery { limit: limit + 1, ..query }).await?;
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
