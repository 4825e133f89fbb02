//! Parameters of the feed.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, de::Error};
use systole_shared::events::EventType;
use systole_shared::{EventId, NodeId, PipelineId};
use utoipa::{IntoParams, ToSchema};

use super::number::Number;
use crate::store::StateParts;

/// What a stream contains.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamOf {
    /// Types of events, separated by commas. Default: all types.
    #[param(style = Form, explode = false, min_items = 1, inline, value_type = Option<Vec<EventType>>)]
    #[serde(default = "all_types", deserialize_with = "listed_types")]
    pub types: BTreeSet<EventType>,
    /// Nodes; can be repeated. Default: all nodes.
    #[param(style = Form, explode, inline)]
    #[serde(default)]
    pub node: Vec<NodeId>,
    /// Only events of nodes with a label, such as `site:lab`, `role` or `!canary`, as they are when an event is sent. Can
    /// be repeated: each condition must hold.
    #[param(style = Form, explode, inline)]
    #[serde(default)]
    pub label: Vec<String>,
    /// Pipelines; can be repeated. With it, events of nodes are left out.
    #[param(style = Form, explode, inline)]
    #[serde(default)]
    pub pipeline: Vec<PipelineId>,
    /// 1: the state first, then what happens. `nodes`: the same without pipelines and samples. A stream that resumes has no
    /// snapshot: its client has the state.
    #[param(inline)]
    #[serde(default)]
    pub snapshot: SnapshotName,
    /// Resume after this id. The header Last-Event-ID wins.
    #[param(pattern = "^[a-z0-9]{1,32}-[0-9]+$", value_type = Option<String>)]
    #[serde(default, deserialize_with = "event_id")]
    pub after: Option<EventId>,
    /// Milliseconds that fleet_status, fleet_totals and metric_update may wait for a newer one of their kind; 0: each as it comes.
    #[param(inline)]
    #[serde(default)]
    pub every: Number<0, 60_000, 250>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[schema(default = "0")]
pub(crate) enum SnapshotName {
    #[default]
    #[serde(rename = "0")]
    No,
    #[serde(rename = "1")]
    All,
    #[serde(rename = "nodes")]
    Nodes,
}

impl SnapshotName {
    /// What of the state comes first.
    pub(crate) fn parts(self) -> Option<StateParts> {
        match self {
            SnapshotName::No => None,
            SnapshotName::All => Some(StateParts::All),
            SnapshotName::Nodes => Some(StateParts::Nodes),
        }
    }
}

/// Headers that describe a client and its stream.
#[expect(dead_code, reason = "it describes headers, which are read one by one")]
#[derive(IntoParams)]
#[into_params(parameter_in = Header, names("Last-Event-ID", "X-Systole-Client"))]
pub(crate) struct StreamHeaders(
    /// The id of the last event that the client has received. Wins over `after`. The answer to an unreadable one is a `reset`.
    #[param(value_type = Option<String>, nullable = false)]
    Option<EventId>,
    /// Name of a client that understands a 503 with Retry-After. A browser's EventSource does not, and receives a
    /// `goodbye` with status 200 instead.
    #[param(nullable = false)]
    Option<String>,
);

fn all_types() -> BTreeSet<EventType> {
    EventType::ALL.into()
}

fn listed_types<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<EventType>, D::Error> {
    let lists = Vec::<String>::deserialize(deserializer)?;
    let names = lists.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let known = || EventType::ALL.map(EventType::as_str).join(", ");
    let read = |name| {
        EventType::from_wire(name).ok_or_else(|| D::Error::custom(format!("{name:?}, expected one of {}", known())))
    };
    let types = names.map(read).collect::<Result<BTreeSet<_>, _>>()?;
    if types.is_empty() { Err(D::Error::custom("is empty; leave it out for all types")) } else { Ok(types) }
}

fn event_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventId>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|fault| D::Error::custom(format!("{text:?} {fault}")))
}
