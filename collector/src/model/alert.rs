//! A change of an alert on its way to the feed.

use systole_shared::{AlertChange, NodeId, PipelineId};

use super::{EnvironmentKey, NodeKey, PipelineKey};

/// The environment of alerts about the collector itself: only tokens for all environments see it.
pub(crate) const COLLECTOR_ENVIRONMENT: EnvironmentKey = EnvironmentKey(0);

/// A change of an alert, with the keys of what it is about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AlertEvent {
    pub environment: EnvironmentKey,
    pub node: Option<(NodeKey, NodeId)>,
    pub pipeline: Option<(Option<PipelineKey>, PipelineId)>,
    pub change: AlertChange,
}
