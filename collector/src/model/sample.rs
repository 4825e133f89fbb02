//! A sample of a pipeline between the transaction and the rings.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systole_shared::events::MetricUpdate;

use super::NodeKey;

/// A sample that goes into the rings once the batch is committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingSample {
    pub node: NodeKey,
    pub update: Arc<MetricUpdate>,
}
