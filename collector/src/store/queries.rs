//! Queries to the store and their results.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Double, Nullable, Text};
use systole_shared::events::EventType;
use systole_shared::{LogLevel, NodeId, UnixMillis};

use super::{ComponentMinuteRow, Oldest, PipelineMinuteRow, PipelineStatusRow};
use crate::model::PipelineKey;
use crate::model::counters::{add_counter, component_counters, history_counters, pipeline_counters};
use crate::model::node::NodeSettings;
use crate::model::{EnvironmentKey, NodeKey};

/// Which nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeQuery {
    /// `None`: every environment.
    pub environments: Option<Vec<EnvironmentKey>>,
    /// Only of these nodes.
    pub among: Option<Vec<NodeKey>>,
    pub id: Option<NodeId>,
    /// Whether the nodes come without their pipelines.
    pub without_pipelines: bool,
    pub limit: i64,
}

/// A node with its last state.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    pub key: NodeKey,
    pub id: String,
    pub environment: EnvironmentKey,
    pub name: String,
    pub os: String,
    /// The program that reports for it, after its first report.
    pub agent_kind: Option<String>,
    pub agent_version: Option<String>,
    pub vector_version: Option<String>,
    pub deployment_mode: Option<String>,
    pub running_as: Option<String>,
    pub labels: String,
    pub health: Option<String>,
    pub host: Option<String>,
    pub status: String,
    pub status_reason: String,
    pub status_since: UnixMillis,
    pub last_seen_at: Option<UnixMillis>,
    pub enrolled_at: UnixMillis,
    /// The address that its last report came from.
    pub last_address: Option<String>,
    /// What is set at the collector.
    pub settings: NodeSettings,
    pub pipelines: Vec<PipelineStatusView>,
}

/// A pipeline's last state on one node.
#[derive(Clone, Debug)]
pub(crate) struct PipelineStatusView {
    pub pipeline: String,
    pub pipeline_name: String,
    pub node: String,
    pub node_name: String,
    pub row: PipelineStatusRow,
}

/// Which pipelines.
#[derive(Clone, Debug, Default)]
pub(crate) struct PipelineQuery {
    pub environments: Option<Vec<EnvironmentKey>>,
    /// Only of these nodes.
    pub among: Option<Vec<NodeKey>>,
    /// Only these pipelines.
    pub keys: Option<Vec<PipelineKey>>,
    /// The user's id of the pipeline.
    pub id: Option<String>,
    pub limit: i64,
}

/// A pipeline with its state on each node.
#[derive(Clone, Debug)]
pub(crate) struct PipelineView {
    pub key: PipelineKey,
    pub environment: EnvironmentKey,
    pub id: String,
    pub name: String,
    pub nodes: Vec<PipelineStatusView>,
}

/// Rows as they are stored, with what it takes to add the journal to them.
#[derive(Clone, Debug)]
pub(crate) struct Persisted<R> {
    pub rows: Vec<R>,
    /// Slices of the journal that were rows when these were read.
    pub flushes: u64,
    /// The series that were asked for.
    pub series: Vec<SeriesView>,
}

/// A series, by its node.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub(crate) struct SeriesView {
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    #[diesel(sql_type = BigInt)]
    pub node: i64,
    #[diesel(sql_type = Text)]
    pub component: String,
    #[diesel(sql_type = Text)]
    pub kind: String,
}

/// Makes the view of a minute, an hour or a day: its keys and the sums over nodes.
macro_rules! minute_view {
    (
        { $(#[$about:meta])* $view:ident, $row:ty, $($key:ident)* $(; $share:ident)? }
        $([$kind:ident $column:ident $json:literal ($($type:tt)+) ($($sql:tt)+) $($doc:literal)?])*
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, QueryableByName)]
        pub(crate) struct $view {
            /// Number of the minute, hour or day.
            #[diesel(sql_type = BigInt)]
            pub at: i64,
            $(
                #[diesel(sql_type = Text)]
                pub $key: String,
            )*
            $(
                #[diesel(sql_type = $($sql)+)]
                pub $column: $($type)+,
            )*
            $(
                /// The highest on a node.
                #[diesel(sql_type = Nullable<Double>)]
                pub $share: Option<f64>,
            )?
        }

        impl $view {
            /// Adds a row.
            pub(crate) fn add(&mut self, row: &$row) {
                $(add_counter!($kind, self.$column, row.$column);)*
                $(self.$share = highest(self.$share, row.$share());)?
            }

            /// Share of the time that it was busy, 0 to 1.
            pub(crate) fn utilization(&self) -> Option<f64> {
                mean(self.utilization_sum, self.utilization_weight)
            }

            /// Mean over events.
            pub(crate) fn latency_ms(&self) -> Option<f64> {
                mean(self.latency_sum, self.latency_weight).map(milliseconds)
            }
        }
    };
}

pipeline_counters!(history_counters {
    minute_view {
        /// A pipeline's minute, hour or day, summed over nodes.
        PipelineMinuteView, PipelineMinuteRow,
    }
});

component_counters!(history_counters {
    minute_view {
        /// A component's minute, hour or day, summed over nodes.
        ComponentMinuteView, ComponentMinuteRow, component kind; buffer_fill
    }
});

/// A mean out of a sum and a weight; unknown without weight.
fn mean(sum: f64, weight: f64) -> Option<f64> {
    (weight > 0.0).then(|| sum / weight)
}

/// The higher of two shares, or the one that is known.
fn highest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

/// Microseconds as milliseconds.
fn milliseconds(us: f64) -> f64 {
    us / 1_000.0
}

impl PipelineMinuteView {
    /// Nothing yet.
    pub(crate) fn empty(at: i64) -> Self {
        PipelineMinuteView { at, ..PipelineMinuteView::default() }
    }
}

impl ComponentMinuteView {
    /// Nothing yet of a series.
    pub(crate) fn empty(at: i64, series: &SeriesView) -> Self {
        let (component, kind) = (series.component.clone(), series.kind.clone());
        ComponentMinuteView { at, component, kind, ..ComponentMinuteView::default() }
    }
}

/// Which log lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogQuery {
    pub environments: Option<Vec<EnvironmentKey>>,
    /// Only of these nodes.
    pub among: Option<Vec<NodeKey>>,
    pub node: Option<NodeKey>,
    /// Keys of pipelines; `None`: all.
    pub pipelines: Option<Vec<PipelineKey>>,
    /// This level and above.
    pub min_level: Option<LogLevel>,
    /// Text that the line holds, in any case.
    pub text: Option<String>,
    pub from: Option<UnixMillis>,
    pub to: Option<UnixMillis>,
    pub order: ListOrder,
    /// Only lines after this sequence number in the order; `None`: from the beginning.
    pub after: Option<i64>,
    pub limit: i64,
}

/// In which order of sequence numbers a list is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListOrder {
    #[default]
    OldestFirst,
    NewestFirst,
}

impl ListOrder {
    /// The sequence numbers of a list that continues after `after`, inclusive.
    pub(crate) fn bounds(self, after: Option<i64>) -> (i64, i64) {
        match (self, after) {
            (ListOrder::OldestFirst, Some(after)) => (after.saturating_add(1), i64::MAX),
            (ListOrder::NewestFirst, Some(after)) => (0, after.saturating_sub(1)),
            (_, None) => (0, i64::MAX),
        }
    }
}

/// A log line.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    pub seq: i64,
    pub at: UnixMillis,
    pub node: String,
    pub pipeline: String,
    pub stream: String,
    pub level: Option<String>,
    pub line: String,
}

/// Which durable events are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListedEvents {
    #[default]
    StatusChanges,
    Deployments,
}

impl ListedEvents {
    /// Their type.
    pub(crate) fn kind(self) -> EventType {
        match self {
            ListedEvents::StatusChanges => EventType::StatusChange,
            ListedEvents::Deployments => EventType::Deployment,
        }
    }
}

/// Which durable events.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventQuery {
    pub events: ListedEvents,
    pub environments: Option<Vec<EnvironmentKey>>,
    /// Only of these nodes.
    pub among: Option<Vec<NodeKey>>,
    pub node: Option<NodeKey>,
    pub pipelines: Option<Vec<PipelineKey>>,
    /// The id of a pipeline, also of one that has no key yet.
    pub pipeline_id: Option<String>,
    pub from: Option<UnixMillis>,
    pub to: Option<UnixMillis>,
    pub order: ListOrder,
    /// Only events after this sequence number in the order; `None`: from the beginning.
    pub after: Option<i64>,
    pub limit: i64,
}

/// A durable event as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredEvent {
    pub seq: u64,
    pub kind: EventType,
    /// JSON of the event.
    pub payload: String,
}

/// Durable events after `after` up to `to`, as a subscriber may see and wants to see them.
#[derive(Clone, Debug)]
pub(crate) struct ReplayQuery {
    pub environments: Option<Vec<EnvironmentKey>>,
    /// Only of these nodes.
    pub among: Option<Vec<NodeKey>>,
    /// Durable types only.
    pub types: Vec<EventType>,
    /// Empty: every node.
    pub nodes: Vec<NodeId>,
    /// Ids of pipelines. Empty: every pipeline, and events of nodes.
    pub pipelines: Vec<String>,
    pub after: u64,
    pub to: u64,
    pub limit: u32,
}

/// Part of a replay.
#[derive(Clone, Debug)]
pub(crate) struct ReplayPage {
    pub events: Vec<StoredEvent>,
    /// Everything up to here was read.
    pub cursor: u64,
    /// Lowest sequence number from which on everything was still kept when the page was read.
    pub oldest: Oldest,
}

/// What of the state is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum StateParts {
    #[default]
    All,
    /// Nodes without their pipelines.
    Nodes,
}

/// The state of nodes and pipelines at one point of the sequence.
#[derive(Clone, Debug)]
pub(crate) struct StateSnapshot {
    /// Every event up to here is part of it, none behind.
    pub watermark: u64,
    pub nodes: Vec<NodeView>,
}

/// Rows from before these times are expired.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cutoffs {
    pub minutes_before: i64,
    /// Unix hours.
    pub hours_before: i64,
    /// Unix days.
    pub days_before: i64,
    pub logs_before: UnixMillis,
    pub events_before: UnixMillis,
    /// Tokens of nodes and sessions that expired before; tokens of people stay in the list.
    pub tokens_before: UnixMillis,
}
