//! Rows of the hot tables, shared by every store. Keys are the small integers of the dimension
//! tables; times are Unix milliseconds; minutes are Unix minutes.
//!
//! Utilization is summed as busy milliseconds over milliseconds, and latency as microseconds over
//! events. Whole numbers take three bytes on disk where fractions take eight.

use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use serde::{Deserialize, Serialize};

use super::schema::*;
use super::{AlertBatch, NodeRemoval, NodeSettingsRow};
use crate::model::counters::{add_counter, component_counters, pipeline_counters, reported_counters};
use crate::model::report::{PipelineDeltas, ReportedComponent};
use crate::model::{packed, packed_bytes};

/// A new pipeline of an environment.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = pipelines, treat_none_as_default_value = false)]
pub(crate) struct PipelineRow {
    pub id: i64,
    pub environment: i64,
    /// The user's id of the pipeline.
    pub slug: String,
    pub name: String,
}

/// A new series: a pipeline on a node (component "") or one of its components.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = series, treat_none_as_default_value = false)]
pub(crate) struct SeriesRow {
    pub id: i64,
    pub node: i64,
    pub pipeline: i64,
    pub component: String,
    pub kind: String,
}

/// The last applied report of one run of an agent.
#[derive(Clone, Debug, PartialEq, Insertable, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = node_boots, treat_none_as_default_value = false)]
pub(crate) struct NodeBootRow {
    pub node: i64,
    pub boot: String,
    pub seq: i64,
    pub last_seen_at: i64,
}

/// The last totals of a node, packed; only what made them reads them.
#[derive(Clone, Debug, PartialEq, Insertable, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = node_totals, treat_none_as_default_value = false)]
pub(crate) struct NodeTotalsRow {
    pub node: i64,
    #[serde(with = "packed_bytes")]
    pub body: Vec<u8>,
}

/// Reports that an agent can no longer send.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = node_gaps, treat_none_as_default_value = false)]
pub(crate) struct NodeGapRow {
    pub node: i64,
    pub boot: String,
    pub from_seq: i64,
    pub to_seq: i64,
    pub recorded_at: i64,
}

/// The columns of a node that every report changes. `None` leaves a column unchanged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeHeartbeat {
    pub health: Option<String>,
    pub host: Option<String>,
    pub last_seen_at: Option<i64>,
}

impl NodeHeartbeat {
    /// Takes what a later one knows.
    pub(crate) fn renew(&mut self, later: NodeHeartbeat) {
        self.health = later.health.or_else(|| self.health.take());
        self.host = later.host.or_else(|| self.host.take());
        self.last_seen_at = later.last_seen_at.or(self.last_seen_at);
    }
}

/// The columns of a node that seldom change. `None` leaves a column unchanged.
#[derive(Clone, Debug, Default, AsChangeset)]
#[diesel(table_name = nodes)]
pub(crate) struct NodeChange {
    pub name: Option<String>,
    pub agent_kind: Option<String>,
    pub agent_version: Option<String>,
    pub vector_version: Option<String>,
    pub deployment_mode: Option<String>,
    pub running_as: Option<String>,
    pub labels: Option<String>,
    pub status: Option<String>,
    pub status_reason: Option<String>,
    pub status_since: Option<i64>,
    pub last_address: Option<String>,
    /// A list, or `null` once the agent accepts no pipelines any more.
    pub engines: Option<String>,
}

/// The last state of a pipeline on a node.
#[derive(Clone, Debug, PartialEq, Insertable, Queryable, Selectable)]
#[diesel(table_name = pipeline_status, treat_none_as_default_value = false)]
pub(crate) struct PipelineStatusRow {
    pub node: i64,
    pub pipeline: i64,
    pub status: String,
    /// The status as reported, when this version does not know it.
    pub status_text: Option<String>,
    pub reason: String,
    pub since: i64,
    pub version: Option<i64>,
    pub pid: Option<i64>,
    pub started_at: Option<i64>,
    pub restarts: i64,
    pub config_checksum: Option<String>,
    pub scrape_error: Option<String>,
    /// 1 while the node's reports have the pipeline.
    pub present: i64,
    pub reported_at: i64,
}

/// How far a version of a pipeline of the centre is on a node.
#[derive(Clone, Debug, PartialEq, Eq, Insertable, Queryable, Selectable)]
#[diesel(table_name = deployments, treat_none_as_default_value = false)]
pub(crate) struct DeploymentRow {
    pub node: i64,
    /// The user's id of the pipeline.
    pub slug: String,
    pub version: i64,
    pub running_version: Option<i64>,
    pub phase: String,
    pub reason: String,
    /// When the report came that first had this version, phase and reason.
    pub since: i64,
}

/// Graphs that are kept of one pipeline: more than there are versions on the way at once.
pub(crate) const KEPT_TOPOLOGIES: usize = 20;

/// How the components of a configuration are connected.
#[derive(Clone, Debug, PartialEq, Eq, Insertable, Queryable, Selectable)]
#[diesel(table_name = topologies, treat_none_as_default_value = false)]
pub(crate) struct TopologyRow {
    pub pipeline: i64,
    pub checksum: String,
    /// JSON.
    pub topology: String,
    pub last_seen_at: i64,
}

/// Makes a row of a minute, which is also how minutes are packed.
macro_rules! minute_row {
    (
        { $(#[$about:meta])* $row:ident, $table:ident }
        $([$kind:ident $column:ident $json:literal ($($type:tt)+) $sql:tt $($doc:literal)?])*
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Insertable, Queryable, Selectable, Serialize, Deserialize)]
        #[diesel(table_name = $table, treat_none_as_default_value = false)]
        pub(crate) struct $row {
            #[serde(skip)]
            pub minute: i64,
            pub series: i64,
            $(
                $(#[doc = $doc])?
                #[serde(with = "packed")]
                pub $column: $($type)+,
            )*
        }

        impl $row {
            /// Adds what came later.
            pub(crate) fn add(&mut self, later: &Self) {
                $(add_counter!($kind, self.$column, later.$column);)*
            }
        }
    };
}

/// Lets a row take what a report brings.
macro_rules! reported_row {
    ({ $row:ident, $reported:ty } $([$kind:ident $column:ident $($rest:tt)*])*) => {
        impl $row {
            /// Adds the deltas of a sample, and takes its gauges.
            pub(crate) fn add_reported(&mut self, sample: &$reported) {
                $(add_counter!($kind, self.$column, sample.$column);)*
            }
        }
    };
}

pipeline_counters!(minute_row {
    /// Deltas of a pipeline on a node, added to the row of the minute.
    PipelineMinuteRow,
    pipeline_minutes
});
pipeline_counters!(reported_counters { reported_row { PipelineMinuteRow, PipelineDeltas } });

component_counters!(minute_row {
    /// Deltas of a component on a node, added to the row of the minute.
    ComponentMinuteRow,
    component_minutes
});
component_counters!(reported_counters { reported_row { ComponentMinuteRow, ReportedComponent } });

/// The host as last seen in the minute.
#[derive(Clone, Debug, Default, PartialEq, Insertable, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = node_minutes, treat_none_as_default_value = false)]
pub(crate) struct NodeMinuteRow {
    #[serde(skip)]
    pub minute: i64,
    #[serde(skip)]
    pub node: i64,
    pub memory_total_bytes: Option<i64>,
    pub memory_used_bytes: Option<i64>,
    pub memory_free_bytes: Option<i64>,
    pub cpu_seconds_total: Option<f64>,
    pub cpu_seconds_idle: Option<f64>,
    pub load_avg_1: Option<f64>,
    pub load_avg_5: Option<f64>,
    pub load_avg_15: Option<f64>,
    pub fs_total_bytes: Option<i64>,
    pub fs_used_bytes: Option<i64>,
    pub fs_free_bytes: Option<i64>,
    pub disk_read_bytes: Option<i64>,
    pub disk_written_bytes: Option<i64>,
    pub net_rx_bytes: Option<i64>,
    pub net_tx_bytes: Option<i64>,
    pub samples: i64,
}

/// One line of a pipeline.
#[derive(Clone, Debug, PartialEq, Insertable, Queryable, Selectable)]
#[diesel(table_name = logs, treat_none_as_default_value = false)]
pub(crate) struct LogRow {
    pub seq: i64,
    /// The id of the log_entry event that the line went out with.
    pub entry_seq: i64,
    pub at: i64,
    pub node: i64,
    pub pipeline: i64,
    pub stream: String,
    pub level: Option<String>,
    pub line: String,
}

/// A durable event that is no log line.
#[derive(Clone, Debug, PartialEq, Insertable, Queryable, Selectable)]
#[diesel(table_name = events, treat_none_as_default_value = false)]
pub(crate) struct EventRow {
    pub seq: i64,
    pub at: i64,
    pub environment: i64,
    pub node: i64,
    pub pipeline: Option<i64>,
    pub kind: String,
    pub payload: String,
}

/// A record of the journal.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = journal, treat_none_as_default_value = false)]
pub(crate) struct WalRow {
    pub id: i64,
    pub body: Vec<u8>,
}

/// The last flushed record of the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlushMark {
    /// Chunks so far.
    pub number: u64,
    /// Records up to this one are becoming rows; 0: none are.
    pub to: i64,
    /// Of these, buckets up to this minute and node are rows already.
    pub minute: i64,
    pub node: i64,
}

/// The rows that the committer writes in one transaction.
#[derive(Debug, Default)]
pub(crate) struct CommitBatch {
    /// The additions to minutes, boots and heartbeats, packed.
    pub wal: Option<WalRow>,
    pub pipelines: Vec<PipelineRow>,
    /// Pipelines that were renamed: key and new name.
    pub pipeline_names: Vec<(i64, String)>,
    pub series: Vec<SeriesRow>,
    pub gaps: Vec<NodeGapRow>,
    pub nodes: Vec<(i64, NodeChange)>,
    pub statuses: Vec<PipelineStatusRow>,
    pub deployments: Vec<DeploymentRow>,
    /// Deployments that nodes no longer have: node and pipeline.
    pub ended_deployments: Vec<(i64, String)>,
    pub topologies: Vec<TopologyRow>,
    pub settings: Vec<NodeSettingsRow>,
    /// Nodes that are removed after everything else was written.
    pub removals: Vec<NodeRemoval>,
    pub logs: Vec<LogRow>,
    pub events: Vec<EventRow>,
    /// States and messages of alerts.
    pub alerts: AlertBatch,
    /// Highest assigned sequence number.
    pub head_seq: u64,
}

impl CommitBatch {
    /// Rows in all, for the metric of rows written.
    pub(crate) fn row_count(&self) -> usize {
        self.pipelines.len()
            + self.series.len()
            + self.gaps.len()
            + self.nodes.len()
            + self.statuses.len()
            + self.deployments.len()
            + self.ended_deployments.len()
            + self.topologies.len()
            + self.settings.len()
            + self.removals.len()
            + self.logs.len()
            + self.events.len()
            + self.alerts.row_count()
            + usize::from(self.wal.is_some())
    }
}

/// The rows that one transaction of a flush writes.
#[derive(Debug, Default)]
pub(crate) struct FlushBatch {
    pub boots: Vec<NodeBootRow>,
    /// Boots that a node has too many of.
    pub forgotten_boots: Vec<(i64, String)>,
    pub heartbeats: Vec<(i64, NodeHeartbeat)>,
    pub totals: Vec<NodeTotalsRow>,
    pub pipeline_minutes: Vec<PipelineMinuteRow>,
    pub component_minutes: Vec<ComponentMinuteRow>,
    pub node_minutes: Vec<NodeMinuteRow>,
    /// Hours of nodes, in Unix hours, that these minutes belong to.
    pub dirty_hours: Vec<(i64, i64)>,
    /// The same in Unix days.
    pub dirty_days: Vec<(i64, i64)>,
    /// Records up to this one are removed.
    pub wal_trim: Option<i64>,
    /// The last flushed record after this batch; `None` leaves the mark unchanged.
    pub mark: Option<FlushMark>,
    /// Highest sequence number that is committed.
    pub head_seq: u64,
}

impl FlushBatch {
    /// Rows in all, for the metric of rows written.
    pub(crate) fn row_count(&self) -> usize {
        self.boots.len()
            + self.heartbeats.len()
            + self.totals.len()
            + self.pipeline_minutes.len()
            + self.component_minutes.len()
            + self.node_minutes.len()
    }
}
