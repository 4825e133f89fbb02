//! The JSON of answers: camelCase, times in Unix milliseconds, null where nothing is known.

pub(crate) mod control;
pub(crate) mod fleet;
pub(crate) mod host;
pub(crate) mod rollouts;

use self::fleet::{NodeSample, PipelineRates};
use serde::Serialize;
use serde_json::value::RawValue;
use systole_shared::{
    AgentHealth, ComponentKind, HostMetrics, LogLevel, LogStream, NodeStatus, PipelineStatus, UnixMillis,
};
use utoipa::ToSchema;

use crate::app::App;
use crate::clock;
use crate::http::params::StepPage;
use crate::http::render::Row;
use crate::model::Resolution;
use crate::model::counters::{component_counters, extreme_counters, pipeline_counters, shown_counters};
use crate::model::node::Labels;
use crate::query::fleet::pipelines;
use crate::query::history::ExtremesOf;
use crate::query::list::PageOf;
use crate::store::{
    self, ComponentMinuteView, Extremes, LogView, NodeGapRow, NodeView, PipelineMinuteView, PipelineStatusView,
    PipelineView,
};

/// A page of a list; `next` is the cursor of the page behind it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub items: Vec<T>,
    #[schema(required)]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page of what was found.
    pub(crate) fn new<F>(found: PageOf<F>, item: impl Fn(F) -> T) -> Self {
        Page { items: found.items.into_iter().map(item).collect(), next: found.next }
    }

    /// A list that is complete.
    pub(crate) fn complete(items: Vec<T>) -> Self {
        Page { items, next: None }
    }
}

/// A history in items of equal length.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History<T> {
    /// minute, hour or day.
    pub step: &'static str,
    /// What `min` and `max` are of: `sum`, what the item sums up, minute by minute; `nodes`, each node, added up. Not in minutes,
    /// nor of hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub extremes: Option<ExtremesName>,
    pub items: Vec<T>,
    #[schema(required)]
    pub next: Option<String>,
}

impl<T> History<T> {
    /// Items of a page.
    pub(crate) fn new(page: &StepPage, items: Vec<T>) -> Self {
        History { step: page.range.step.as_str(), extremes: None, items, next: page.next.clone() }
    }

    /// The same, with what the extremes are of.
    pub(crate) fn with_extremes(self, of: Option<ExtremesOf>) -> Self {
        let name = |of| match of {
            ExtremesOf::Sum => ExtremesName::Sum,
            ExtremesOf::EachNode => ExtremesName::Nodes,
        };
        History { extremes: of.map(name), ..self }
    }
}

/// What extremes are of.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExtremesName {
    Sum,
    Nodes,
}

/// An environment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Environment {
    pub id: String,
    pub name: String,
    pub created_at: UnixMillis,
}

impl Row for Environment {
    const COLUMNS: &'static [&'static str] = &["id", "name", "createdAt"];
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    id: String,
    name: String,
    environment_id: Option<String>,
    environment_name: Option<String>,
    #[schema(value_type = NodeStatus)]
    status: String,
    status_reason: String,
    status_since: UnixMillis,
    last_seen_at: Option<UnixMillis>,
    /// The address of its last report: the agent's, or that of the proxy in front of the collector.
    last_address: Option<String>,
    enrolled_at: UnixMillis,
    os: String,
    /// The program that reports for it: systole-agent, or vf-agent for one that speaks VectorFlow's protocol.
    agent_kind: Option<String>,
    agent_version: Option<String>,
    vector_version: Option<String>,
    deployment_mode: Option<String>,
    running_as: Option<String>,
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<Box<RawValue>>,
    /// What an administrator has set. A name and labels here win over those of the agent.
    set_name: Option<String>,
    set_labels: Labels,
    maintenance: Option<InMaintenance>,
    /// The health of its agent, from the last report.
    #[schema(value_type = Option<AgentHealth>)]
    health: Option<Box<RawValue>>,
    /// With its last report.
    #[schema(value_type = Option<HostMetrics>)]
    host: Option<Box<RawValue>>,
    sample: NodeSample,
    /// Pipelines whose process lives.
    pipelines_running: usize,
    pipelines: Vec<PipelineOnNode>,
    /// Only in the answer of the node itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    gaps: Option<Vec<Gap>>,
}

impl Row for Node {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "environmentId",
        "environmentName",
        "status",
        "statusReason",
        "statusSince",
        "lastSeenAt",
        "lastAddress",
        "enrolledAt",
        "os",
        "agentKind",
        "agentVersion",
        "vectorVersion",
        "deploymentMode",
        "runningAs",
        "labels",
        "setName",
        "setLabels",
        "maintenance",
        "health",
        "host",
        "sample",
        "pipelinesRunning",
        "pipelines",
    ];
}

impl Node {
    /// A node as lists have it.
    pub(crate) fn new(app: &App, view: NodeView) -> Self {
        let environment = app.auth.environment_by_key(view.environment);
        let pipelines: Vec<_> = view.pipelines.into_iter().map(PipelineOnNode::new).collect();
        let running = |pipeline: &&PipelineOnNode| PipelineStatus::from_wire(&pipeline.status).is_running();
        let listed = view.id.parse().ok().and_then(|id| app.directory.get(id));
        Node {
            id: view.id,
            name: view.name,
            environment_id: environment.as_ref().map(|environment| environment.id.to_string()),
            environment_name: environment.map(|environment| environment.name),
            status: view.status,
            status_reason: view.status_reason,
            status_since: view.status_since,
            last_seen_at: view.last_seen_at,
            last_address: view.last_address,
            enrolled_at: view.enrolled_at,
            os: view.os,
            agent_kind: view.agent_kind,
            agent_version: view.agent_version,
            vector_version: view.vector_version,
            deployment_mode: view.deployment_mode,
            running_as: view.running_as,
            labels: RawValue::from_string(view.labels).ok(),
            set_name: view.settings.name,
            set_labels: view.settings.labels,
            maintenance: view
                .settings
                .maintenance
                .map(|maintenance| InMaintenance { until: maintenance.until, note: maintenance.note }),
            health: view.health.and_then(|json| RawValue::from_string(json).ok()),
            host: view.host.and_then(|json| RawValue::from_string(json).ok()),
            sample: listed.map(|node| NodeSample::of(&node, clock::now_ms())).unwrap_or_default(),
            pipelines_running: pipelines.iter().filter(running).count(),
            pipelines,
            gaps: None,
        }
    }

    /// The node with its holes, as its own page has it.
    pub(crate) fn with_gaps(self, gaps: Vec<NodeGapRow>) -> Self {
        let gaps = gaps.into_iter().map(|row| Gap {
            boot_id: row.boot,
            from_seq: row.from_seq,
            to_seq: row.to_seq,
            recorded_at: row.recorded_at,
        });
        Node { gaps: Some(gaps.collect()), ..self }
    }
}

/// A time in which people work on a node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Maintenance)]
pub(crate) struct InMaintenance {
    until: UnixMillis,
    note: Option<String>,
}

/// Reports of a node that never came.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReportGap)]
pub(crate) struct Gap {
    boot_id: String,
    from_seq: i64,
    to_seq: i64,
    recorded_at: UnixMillis,
}

/// A pipeline's last state on a node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PipelineOnNode {
    node_id: String,
    node_name: String,
    pipeline_id: String,
    pipeline_name: String,
    #[schema(value_type = PipelineStatus)]
    status: String,
    /// The status as reported, when this version does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status_text: Option<String>,
    reason: String,
    since: UnixMillis,
    version: Option<i64>,
    pid: Option<i64>,
    started_at: Option<UnixMillis>,
    restarts: i64,
    config_checksum: Option<String>,
    scrape_error: Option<String>,
}

impl PipelineOnNode {
    /// Converts the store's view.
    pub(crate) fn new(view: PipelineStatusView) -> Self {
        PipelineOnNode {
            node_id: view.node,
            node_name: view.node_name,
            pipeline_id: view.pipeline,
            pipeline_name: view.pipeline_name,
            status: view.row.status,
            status_text: view.row.status_text,
            reason: view.row.reason,
            since: view.row.since,
            version: view.row.version,
            pid: view.row.pid,
            started_at: view.row.started_at,
            restarts: view.row.restarts,
            config_checksum: view.row.config_checksum,
            scrape_error: view.row.scrape_error,
        }
    }
}

/// A pipeline with its state on each node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pipeline {
    id: String,
    name: String,
    environment_id: Option<String>,
    environment_name: Option<String>,
    /// The worst of its states; null when no node has it any more.
    worst: Option<PipelineStatus>,
    /// The last samples, summed over nodes; null when no node has one.
    sample: Option<PipelineRates>,
    nodes: Vec<PipelineOnNode>,
}

impl Row for Pipeline {
    const COLUMNS: &'static [&'static str] =
        &["id", "name", "environmentId", "environmentName", "worst", "sample", "nodes"];
}

impl Pipeline {
    /// Converts the store's view.
    pub(crate) fn new(app: &App, view: PipelineView) -> Self {
        let environment = app.auth.environment_by_key(view.environment);
        let nodes: Vec<_> = view.nodes.iter().filter_map(|on| app.directory.get(on.node.parse().ok()?)).collect();
        let sum = pipelines::sum(nodes.iter(), view.key, clock::now_ms());
        Pipeline {
            id: view.id,
            name: view.name,
            environment_id: environment.as_ref().map(|environment| environment.id.to_string()),
            environment_name: environment.map(|environment| environment.name),
            worst: sum.worst().map(|(status, _)| status),
            sample: sum.throughput.map(PipelineRates::from),
            nodes: view.nodes.into_iter().map(PipelineOnNode::new).collect(),
        }
    }
}

/// Makes an item of a history. The names of its JSON are also the columns of its CSV.
macro_rules! minute_item {
    (
        { $(#[$about:meta])* $item:ident, $view:ident, $counts:ident { $($(#[$of:meta])* $key:ident $name:literal = $from:ident;)* }
            { $($(#[$about_share:meta])* $share:ident $share_name:literal;)* } }
        ($([$kind:ident $delta:ident $delta_name:literal ($($type:tt)+) $sql:tt $($doc:literal)?])*)
        ($([$other_kind:ident $other:ident $other_name:literal ($($other_type:tt)+) $other_sql:tt $($other_doc:literal)?])*)
    ) => {
        $(#[$about])*
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $item {
            /// Its beginning.
            at: UnixMillis,
            $($(#[$of])* $key: String,)*
            $($(#[doc = $doc])? $delta: $($type)+,)*
            /// Share of time at work, 0 to 1.
            utilization: Option<f64>,
            /// Mean time that an event takes.
            latency_ms: Option<f64>,
            $($(#[$about_share])* $share: Option<f64>,)*
            $($(#[doc = $other_doc])? $other: $($other_type)+,)*
            /// The lowest counts of its minutes. Null in minutes, and where they are not known.
            min: Option<$counts>,
            /// The highest counts of its minutes.
            max: Option<$counts>,
        }

        impl Row for $item {
            const COLUMNS: &'static [&'static str] =
                &["at", $($name,)* $($delta_name,)* "utilization", "latencyMs", $($share_name,)* $($other_name,)* "min", "max"];
        }

        impl $item {
            /// Converts the store's view.
            pub(crate) fn new(step: Resolution, view: $view, extremes: Option<Extremes<store::$counts>>) -> Self {
                let (utilization, latency_ms) = (view.utilization(), view.latency_ms());
                $item {
                    at: view.at * step.ms(),
                    $($key: view.$from,)*
                    $($delta: view.$delta,)*
                    utilization,
                    latency_ms,
                    $($share: view.$share,)*
                    $($other: view.$other,)*
                    min: extremes.map(|extremes| extremes.min.into()),
                    max: extremes.map(|extremes| extremes.max.into()),
                }
            }
        }
    };
}

/// Makes the counts of one minute.
macro_rules! counts_item {
    ({ $(#[$about:meta])* $counts:ident } $([$kind:ident $column:ident $($rest:tt)*])*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $counts {
            $($column: i64,)*
        }

        impl From<store::$counts> for $counts {
            fn from(counts: store::$counts) -> Self {
                $counts { $($column: counts.$column,)* }
            }
        }
    };
}

pipeline_counters!(extreme_counters {
    counts_item {
        /// Counts of a pipeline in one minute.
        PipelineCounts
    }
});

component_counters!(extreme_counters {
    counts_item {
        /// Counts of a component in one minute.
        ComponentCounts
    }
});

pipeline_counters!(shown_counters {
    minute_item {
        /// A pipeline's minute, hour or day.
        PipelineMinute, PipelineMinuteView, PipelineCounts {} {}
    }
});

component_counters!(shown_counters {
    minute_item {
        /// A component's minute, hour or day.
        ComponentMinute, ComponentMinuteView, ComponentCounts {
            component_id "componentId" = component;
            #[schema(value_type = ComponentKind)]
            kind "kind" = kind;
        } {
            /// How full its buffer was at most, 0 to 1, on the node where it was fullest.
            buffer_fill "bufferFill";
        }
    }
});

/// A log line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StoredLogLine)]
pub(crate) struct LogLine {
    /// Its place in the sequence of the feed.
    seq: i64,
    at: UnixMillis,
    node_id: String,
    pipeline_id: String,
    #[schema(value_type = LogStream)]
    stream: String,
    /// Null when the line does not say.
    #[schema(value_type = Option<LogLevel>)]
    level: Option<String>,
    line: String,
}

impl Row for LogLine {
    const COLUMNS: &'static [&'static str] = &["seq", "at", "nodeId", "pipelineId", "stream", "level", "line"];
}

impl From<LogView> for LogLine {
    fn from(view: LogView) -> Self {
        LogLine {
            seq: view.seq,
            at: view.at,
            node_id: view.node,
            pipeline_id: view.pipeline,
            stream: view.stream,
            level: view.level,
            line: view.line,
        }
    }
}
