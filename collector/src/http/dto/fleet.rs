//! The last values of nodes and pipelines, and the small forms of them that lists of a whole fleet have.

use std::collections::BTreeMap;

use serde::Serialize;
use systole_shared::{NodeStatus, PipelineStatus, UnixMillis};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::params::FoundPage;
use crate::http::render::Row;
use crate::model::directory::{ListedNode, PipelineEntry};
use crate::model::node::Labels;
use crate::model::{PipelineKey, Throughput};
use crate::query::fleet::pipelines::ListedPipeline;
use crate::query::fleet::severity::worst_pipeline;

/// A page of a list, with the number of items on all pages.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountedPage<T> {
    pub items: Vec<T>,
    #[schema(required)]
    pub next: Option<String>,
    pub total: usize,
}

impl<T> CountedPage<T> {
    /// A page of what was found.
    pub(crate) fn new<F>(found: FoundPage<F>, item: impl Fn(F) -> T) -> Self {
        CountedPage { items: found.items.into_iter().map(item).collect(), next: found.next, total: found.total }
    }
}

/// A rate of thousandths as it is shown.
fn rate(thousandths: i64) -> f64 {
    thousandths as f64 / 1_000.0
}

/// The last sample of a node: of its host, and of all its pipelines together. Absent values are null, also while the node is
/// silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeSample {
    /// Share of all processors' time that was not idle, 0 to 1, since the report before.
    cpu: Option<f64>,
    memory_used_bytes: Option<i64>,
    memory_total_bytes: Option<i64>,
    /// Events per second that sources received.
    events_in_rate: Option<f64>,
    /// Events per second that sinks sent.
    events_out_rate: Option<f64>,
    errors_rate: Option<f64>,
    discarded_rate: Option<f64>,
}

impl NodeSample {
    /// The last sample of a node.
    pub(crate) fn of(node: &ListedNode, now: UnixMillis) -> Self {
        /// CPU is kept in millionths; four digits are more than a chart shows.
        const PER_DIGIT: i64 = 100;
        let host = node.live.host.unwrap_or_default();
        let flow = node.live.throughput(now);
        NodeSample {
            cpu: host.cpu.map(|millionths| (millionths / PER_DIGIT) as f64 / 10_000.0),
            memory_used_bytes: host.memory_used_bytes,
            memory_total_bytes: host.memory_total_bytes,
            events_in_rate: flow.map(|sum| rate(sum.events_in)),
            events_out_rate: flow.map(|sum| rate(sum.events_out)),
            errors_rate: flow.map(|sum| rate(sum.errors)),
            discarded_rate: flow.map(|sum| rate(sum.discarded)),
        }
    }
}

/// The last samples of a pipeline, summed over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PipelineRates {
    /// Events per second that sources received.
    events_in_rate: f64,
    /// Events per second that sinks sent.
    events_out_rate: f64,
    errors_rate: f64,
    discarded_rate: f64,
}

impl From<Throughput> for PipelineRates {
    fn from(sum: Throughput) -> Self {
        PipelineRates {
            events_in_rate: rate(sum.events_in),
            events_out_rate: rate(sum.events_out),
            errors_rate: rate(sum.errors),
            discarded_rate: rate(sum.discarded),
        }
    }
}

/// A node as a table of a fleet shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FleetNode {
    id: String,
    name: String,
    environment_name: Option<String>,
    status: NodeStatus,
    status_reason: String,
    last_seen_at: Option<UnixMillis>,
    agent_version: Option<String>,
    labels: Labels,
    maintenance_until: Option<UnixMillis>,
    sample: NodeSample,
    /// By id.
    pipelines: Vec<FleetNodePipeline>,
}

/// A pipeline of a node, as a table shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FleetNodePipeline {
    id: String,
    /// Left out where it is the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    status: PipelineStatus,
}

impl Row for FleetNode {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "environmentName",
        "status",
        "statusReason",
        "lastSeenAt",
        "agentVersion",
        "labels",
        "maintenanceUntil",
        "sample",
        "pipelines",
    ];
}

/// Names of pipelines by their keys.
pub(crate) type PipelineNames = foldhash::HashMap<PipelineKey, std::sync::Arc<PipelineEntry>>;

impl FleetNode {
    /// A node as it was listed.
    pub(crate) fn new(app: &App, names: &PipelineNames, node: &ListedNode, now: UnixMillis) -> Self {
        let mut pipelines: Vec<_> = node
            .live
            .present()
            .filter_map(|pipeline| {
                let entry = names.get(&pipeline.key)?;
                Some(FleetNodePipeline {
                    id: entry.id.to_string(),
                    name: Some(entry.name.clone()).filter(|name| name != entry.id.as_str()),
                    status: pipeline.status,
                })
            })
            .collect();
        pipelines.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let entry = &node.entry;
        FleetNode {
            id: entry.id.to_string(),
            name: entry.name.clone(),
            environment_name: app.auth.environment_by_key(entry.environment).map(|environment| environment.name),
            status: node.live.status,
            status_reason: node.live.reason.to_string(),
            last_seen_at: node.live.last_seen_at,
            agent_version: entry.agent_version.clone(),
            labels: entry.labels.clone(),
            maintenance_until: entry.maintenance_until,
            sample: NodeSample::of(node, now),
            pipelines,
        }
    }
}

/// A pipeline as a table of a fleet shows it: over the nodes that have it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FleetPipeline {
    id: String,
    name: String,
    environment_name: Option<String>,
    /// Nodes whose reports have it.
    nodes: u64,
    /// The worst of its states; null when no node has it any more.
    worst: Option<PipelineStatus>,
    /// Nodes by its state there. A state on no node is left out.
    statuses: BTreeMap<PipelineStatus, u64>,
    /// Null when no node has a sample.
    sample: Option<PipelineRates>,
}

impl Row for FleetPipeline {
    const COLUMNS: &'static [&'static str] = &["id", "name", "environmentName", "nodes", "worst", "statuses", "sample"];
}

impl FleetPipeline {
    /// A pipeline as it was listed.
    pub(crate) fn new(app: &App, pipeline: ListedPipeline) -> Self {
        let ListedPipeline { entry, sum } = pipeline;
        FleetPipeline {
            id: entry.id.to_string(),
            name: entry.name.clone(),
            environment_name: app.auth.environment_by_key(entry.environment).map(|environment| environment.name),
            nodes: sum.statuses.values().sum(),
            worst: sum.worst().map(|(status, _)| status),
            statuses: sum.statuses,
            sample: sum.throughput.map(PipelineRates::from),
        }
    }
}

/// All nodes in as few bytes as possible: columns, by name. The same index in `ids`, `names`, `states` and `groups` is one
/// node.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FleetMap {
    total: usize,
    ids: Vec<String>,
    names: Vec<String>,
    /// For each node, which of `stateNames`.
    states: Vec<usize>,
    state_names: Vec<FleetState>,
    /// For each node, which of `groupNames`. Empty without `group`.
    groups: Vec<usize>,
    /// The values of the label, in their order; null for nodes without it.
    group_names: Vec<Option<String>>,
}

/// A state that nodes of the map have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FleetState {
    status: NodeStatus,
    /// The worst state of the node's pipelines; null without a pipeline.
    worst_pipeline: Option<PipelineStatus>,
}

impl FleetMap {
    /// The map of nodes, grouped by the values of a label.
    pub(crate) fn new(nodes: &[ListedNode], group: Option<&str>) -> Self {
        let mut map = FleetMap { total: nodes.len(), ..FleetMap::default() };
        if let Some(group) = group {
            let value = |node: &ListedNode| node.entry.labels.get(group).cloned();
            map.group_names = nodes.iter().map(value).collect();
            // Without a value last.
            map.group_names.sort_unstable_by(|one, other| (one.is_none(), one).cmp(&(other.is_none(), other)));
            map.group_names.dedup();
            let places: BTreeMap<_, _> = map.group_names.iter().zip(0..).collect();
            map.groups = nodes.iter().filter_map(|node| places.get(&value(node)).copied()).collect();
        }
        for node in nodes {
            map.ids.push(node.entry.id.to_string());
            map.names.push(node.entry.name.clone());
            let state = FleetState { status: node.live.status, worst_pipeline: worst_pipeline(&node.live) };
            let known = map.state_names.iter().position(|known| *known == state);
            map.states.push(known.unwrap_or(map.state_names.len()));
            if known.is_none() {
                map.state_names.push(state);
            }
        }
        map
    }
}
