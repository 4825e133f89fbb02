//! The graphs of pipelines' configurations, and what is in their buffers.

use std::collections::BTreeMap;

use diesel::prelude::*;

use super::backend::{Connection, RunQueryDsl};
use crate::model::PipelineKey;
use crate::store::schema::*;
use crate::store::{BufferFill, StoreError};

/// Node, component, and its buffer: events, the most of them, bytes, the most of them.
type BufferColumns = (i64, String, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

/// See [`DefinitionStore::topologies`](crate::store::DefinitionStore::topologies).
pub(super) async fn topologies(
    connection: &mut Connection,
    pipeline: PipelineKey,
    checksums: &[String],
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(topologies::table
        .filter(topologies::pipeline.eq(pipeline.0).and(topologies::checksum.eq_any(checksums)))
        .select((topologies::checksum, topologies::topology))
        .load(connection)
        .await?)
}

/// See [`DefinitionStore::pipeline_components`](crate::store::DefinitionStore::pipeline_components).
pub(super) async fn pipeline_components(
    connection: &mut Connection,
    pipeline: PipelineKey,
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(series::table
        .filter(series::pipeline.eq(pipeline.0).and(series::component.ne("")))
        .select((series::component, series::kind))
        .distinct()
        .order((series::component, series::kind))
        .load(connection)
        .await?)
}

/// See [`DefinitionStore::buffer_fills`](crate::store::DefinitionStore::buffer_fills).
pub(super) async fn buffer_fills(
    connection: &mut Connection,
    pipeline: PipelineKey,
    from_minute: i64,
) -> Result<Vec<BufferFill>, StoreError> {
    let rows: Vec<BufferColumns> = component_minutes::table
        .inner_join(series::table.on(series::id.eq(component_minutes::series)))
        .filter(series::pipeline.eq(pipeline.0).and(component_minutes::minute.ge(from_minute)))
        .select((
            series::node,
            series::component,
            component_minutes::buffer_events,
            component_minutes::buffer_max_events,
            component_minutes::buffer_bytes,
            component_minutes::buffer_max_bytes,
        ))
        .order(component_minutes::minute)
        .load(connection)
        .await?;
    let mut newest = BTreeMap::new();
    for (node, component, events, max_events, bytes, max_bytes) in rows {
        let key = (node, component.clone());
        newest.insert(key, BufferFill { node, component, events, max_events, bytes, max_bytes });
    }
    Ok(newest.into_values().collect())
}
