//! A host over time.

use crate::model::{BucketRange, NodeKey};
use crate::store::{HostAggregate, StoreError};
use crate::timeseries::TimeSeries;

/// The spans of a range, and the one before it, from which on counters have grown.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn host(
    timeseries: &TimeSeries,
    node: NodeKey,
    range: BucketRange,
) -> Result<Vec<HostAggregate>, StoreError> {
    timeseries.node_minutes(node, BucketRange { from: range.from.saturating_sub(1), ..range }).await
}
