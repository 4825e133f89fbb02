//! Rows of the views: filtered and sorted.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use systole_shared::events::ComponentSample;
use systole_shared::{ComponentId, ComponentKind, NodeId, NodeStatus, PipelineId, PipelineStatus, UnixMillis};

use super::fleet::{Fleet, Instance, Node};

/// The order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::top) enum Sort {
    /// Worst first.
    #[default]
    State,
    Name,
    EventsIn,
    Errors,
    Cpu,
}

impl Sort {
    /// The next one, as a key selects them.
    pub(super) fn next(self) -> Self {
        match self {
            Sort::State => Sort::Name,
            Sort::Name => Sort::EventsIn,
            Sort::EventsIn => Sort::Errors,
            Sort::Errors => Sort::Cpu,
            Sort::Cpu => Sort::State,
        }
    }

    /// Its name on the screen.
    pub(in crate::cli::top) fn name(self) -> &'static str {
        match self {
            Sort::State => "state",
            Sort::Name => "name",
            Sort::EventsIn => "events in",
            Sort::Errors => "errors",
            Sort::Cpu => "cpu",
        }
    }

    /// Whether rows that are not on the screen decide it by their rates.
    pub(super) fn needs_all_rates(self) -> bool {
        matches!(self, Sort::EventsIn | Sort::Errors)
    }
}

/// What rows are left, and in which order.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::top) struct Order<'a> {
    pub sort: Sort,
    pub is_reversed: bool,
    pub filter: &'a str,
}

/// Sums of rates; none where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::cli::top) struct Rates {
    pub is_known: bool,
    pub events_in: f64,
    pub events_out: f64,
    pub errors: f64,
    pub discarded: f64,
    latency_sum: f64,
    latencies: u32,
}

impl Rates {
    fn add(&mut self, instance: &Instance) {
        let Some(rates) = instance.rates else { return };
        self.is_known = true;
        self.events_in += rates.received_events_rate;
        self.events_out += rates.sent_events_rate;
        self.errors += rates.errors_rate;
        self.discarded += rates.discarded_rate;
        if let Some(latency) = rates.latency_mean_ms {
            self.latency_sum += latency;
            self.latencies += 1;
        }
    }

    /// The mean over nodes.
    pub(in crate::cli::top) fn latency_ms(&self) -> Option<f64> {
        (self.latencies > 0).then(|| self.latency_sum / f64::from(self.latencies))
    }
}

/// A node.
#[derive(Debug)]
pub(in crate::cli::top) struct NodeRow<'a> {
    pub id: NodeId,
    pub node: &'a Node,
    pub rates: Rates,
    /// Pipelines by state, the worst first.
    pub pipelines: Vec<(PipelineStatus, usize)>,
}

/// A pipeline over the nodes in view.
#[derive(Debug)]
pub(in crate::cli::top) struct PipelineRow {
    pub id: PipelineId,
    pub name: String,
    /// The worst state of a node.
    pub status: PipelineStatus,
    /// Of the node with the worst state.
    pub reason: String,
    pub worst_node: NodeId,
    pub since: UnixMillis,
    pub nodes: usize,
    pub running: usize,
    pub rates: Rates,
}

/// A component over the nodes in view.
#[derive(Debug)]
pub(in crate::cli::top) struct ComponentRow {
    pub id: ComponentId,
    pub kind: ComponentKind,
    pub received: f64,
    pub sent: f64,
    pub errors: f64,
    pub discarded: f64,
    pub latency_ms: Option<f64>,
    /// Share of the buffer in use, 0 to 1.
    pub buffer_fill: Option<f64>,
    /// The engine's name of its type.
    pub component_type: Option<String>,
    pub sends_to: Vec<String>,
}

/// How bad a state of a node is; 0 is worst.
pub(in crate::cli::top) fn node_rank(status: NodeStatus) -> u8 {
    match status {
        NodeStatus::Unreachable => 0,
        NodeStatus::Degraded => 1,
        NodeStatus::Unrecognized => 2,
        NodeStatus::Unknown => 3,
        NodeStatus::Offline => 4,
        NodeStatus::Healthy => 5,
    }
}

/// How bad a state of a pipeline is; 0 is worst.
pub(in crate::cli::top) fn pipeline_rank(status: PipelineStatus) -> u8 {
    match status {
        PipelineStatus::CrashLoop => 0,
        PipelineStatus::Crashed => 1,
        PipelineStatus::Degraded => 2,
        PipelineStatus::Unknown => 3,
        PipelineStatus::Starting => 4,
        PipelineStatus::Pending => 5,
        PipelineStatus::Stopped => 6,
        PipelineStatus::Running => 7,
    }
}

/// Rows of nodes.
pub(in crate::cli::top) fn nodes<'a>(fleet: &'a Fleet, order: Order<'_>) -> Vec<NodeRow<'a>> {
    let mut sums: BTreeMap<NodeId, (Rates, Vec<PipelineStatus>)> = BTreeMap::new();
    for ((_, node), instance) in &fleet.instances {
        let (rates, states) = sums.entry(*node).or_default();
        rates.add(instance);
        states.push(instance.status);
    }
    let filter = order.filter.to_lowercase();
    let is_wanted = |node: &Node| {
        let texts =
            [node.name.as_str(), node.status.as_str()].into_iter().chain(node.labels.iter().map(String::as_str));
        matches(&filter, texts)
    };
    let rows = fleet.nodes.iter().filter(|(_, node)| is_wanted(node)).map(|(id, node)| {
        let (rates, states) = sums.remove(id).unwrap_or_default();
        NodeRow { id: *id, node, rates, pipelines: counted(states) }
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|one, other| {
        let by = match order.sort {
            Sort::State => node_rank(one.node.status).cmp(&node_rank(other.node.status)),
            Sort::Name => Ordering::Equal,
            Sort::EventsIn => other.rates.events_in.total_cmp(&one.rates.events_in),
            Sort::Errors => other.rates.errors.total_cmp(&one.rates.errors),
            Sort::Cpu => other.node.cpu.unwrap_or(-1.0).total_cmp(&one.node.cpu.unwrap_or(-1.0)),
        };
        by.then_with(|| one.node.name.cmp(&other.node.name)).then(one.id.cmp(&other.id))
    });
    if order.is_reversed {
        rows.reverse();
    }
    rows
}

fn counted(states: Vec<PipelineStatus>) -> Vec<(PipelineStatus, usize)> {
    let mut counts = BTreeMap::new();
    for status in states {
        counts.entry(pipeline_rank(status)).or_insert((status, 0)).1 += 1;
    }
    counts.into_values().collect()
}

/// Rows of pipelines: of all nodes, or of one.
pub(in crate::cli::top) fn pipelines(fleet: &Fleet, node: Option<NodeId>, order: Order<'_>) -> Vec<PipelineRow> {
    let mut rows: Vec<PipelineRow> = Vec::new();
    let in_view = fleet.instances.iter().filter(|((_, on), _)| node.is_none_or(|node| node == *on));
    // They are in the order of their ids.
    for ((id, on), instance) in in_view {
        if rows.last().is_none_or(|row| row.id != *id) {
            rows.push(PipelineRow {
                id: id.clone(),
                name: if instance.name.is_empty() { id.as_str().to_owned() } else { instance.name.clone() },
                status: instance.status,
                reason: instance.reason.clone(),
                worst_node: *on,
                since: instance.since,
                nodes: 0,
                running: 0,
                rates: Rates::default(),
            });
        }
        let Some(row) = rows.last_mut() else { continue };
        row.nodes += 1;
        row.running += usize::from(instance.status.is_running());
        row.rates.add(instance);
        if pipeline_rank(instance.status) < pipeline_rank(row.status) {
            (row.status, row.worst_node, row.since) = (instance.status, *on, instance.since);
            row.reason.clone_from(&instance.reason);
        }
    }
    let filter = order.filter.to_lowercase();
    rows.retain(|row| matches(&filter, [row.name.as_str(), row.id.as_str(), row.status.as_str()].into_iter()));
    rows.sort_by(|one, other| {
        let by = match order.sort {
            Sort::State => pipeline_rank(one.status).cmp(&pipeline_rank(other.status)),
            // Nothing is known of a pipeline's own CPU.
            Sort::Name | Sort::Cpu => Ordering::Equal,
            Sort::EventsIn => other.rates.events_in.total_cmp(&one.rates.events_in),
            Sort::Errors => other.rates.errors.total_cmp(&one.rates.errors),
        };
        by.then_with(|| one.name.cmp(&other.name)).then_with(|| one.id.cmp(&other.id))
    });
    if order.is_reversed {
        rows.reverse();
    }
    rows
}

/// Rows of components of a pipeline, on all nodes or on one. Sorted by state they are in the order of the flow.
pub(in crate::cli::top) fn components(
    fleet: &Fleet,
    pipeline: &PipelineId,
    node: Option<NodeId>,
    graph: &Graph,
    order: Order<'_>,
) -> Vec<ComponentRow> {
    let mut rows: BTreeMap<ComponentId, (ComponentRow, u32)> = BTreeMap::new();
    let instances = fleet.of_pipeline(pipeline).filter(|(on, _)| node.is_none_or(|node| node == *on));
    let samples = instances.flat_map(|(_, instance)| &instance.components);
    for ComponentSample { component_id, kind, sample } in samples {
        let known = graph.components.get(component_id.as_str());
        let (row, latencies) = rows.entry(component_id.clone()).or_insert_with(|| {
            let row = ComponentRow {
                id: component_id.clone(),
                kind: *kind,
                received: 0.0,
                sent: 0.0,
                errors: 0.0,
                discarded: 0.0,
                latency_ms: None,
                buffer_fill: known.and_then(|known| known.buffer_fill),
                component_type: known.and_then(|known| known.component_type.clone()),
                sends_to: known.map(|known| known.sends_to.clone()).unwrap_or_default(),
            };
            (row, 0)
        });
        row.received += sample.received_events_rate;
        row.sent += sample.sent_events_rate;
        row.errors += sample.errors_rate;
        row.discarded += sample.discarded_rate;
        if let Some(latency) = sample.latency_mean_ms {
            let sum = row.latency_ms.unwrap_or(0.0) * f64::from(*latencies) + latency;
            *latencies += 1;
            row.latency_ms = Some(sum / f64::from(*latencies));
        }
    }
    let filter = order.filter.to_lowercase();
    let rows = rows.into_values().map(|(row, _)| row);
    let mut rows: Vec<_> =
        rows.filter(|row| matches(&filter, [row.id.as_str(), row.kind.as_str()].into_iter())).collect();
    rows.sort_by(|one, other| {
        let flow = |row: &ComponentRow| match row.kind {
            ComponentKind::Source => 0,
            ComponentKind::Transform => 1,
            ComponentKind::Sink => 2,
            ComponentKind::Unknown => 3,
        };
        let by = match order.sort {
            Sort::State | Sort::Cpu => flow(one).cmp(&flow(other)),
            Sort::Name => Ordering::Equal,
            Sort::EventsIn => other.received.total_cmp(&one.received),
            Sort::Errors => other.errors.total_cmp(&one.errors),
        };
        let depth = |row: &ComponentRow| Reverse(graph.depth(row.id.as_str()));
        let by = if order.sort == Sort::State { by.then(depth(one).cmp(&depth(other))) } else { by };
        by.then_with(|| one.id.cmp(&other.id))
    });
    if order.is_reversed {
        rows.reverse();
    }
    rows
}

fn matches<'a>(filter: &str, mut texts: impl Iterator<Item = &'a str>) -> bool {
    filter.is_empty() || texts.any(|text| text.to_lowercase().contains(filter))
}

/// What the graph of a pipeline says of its components.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli::top) struct Graph {
    pub components: BTreeMap<String, GraphComponent>,
}

/// A component of a graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli::top) struct GraphComponent {
    pub component_type: Option<String>,
    pub buffer_fill: Option<f64>,
    pub sends_to: Vec<String>,
    pub(super) depth: usize,
}

impl GraphComponent {
    /// A component of a graph.
    pub(in crate::cli::top) fn new(component_type: Option<String>, buffer_fill: Option<f64>) -> Self {
        GraphComponent { component_type, buffer_fill, ..GraphComponent::default() }
    }
}

/// Steps that are counted from a component to the end of the graph; a configuration with a longer chain is not sorted
/// further.
const MAX_DEPTH: usize = 32;

impl Graph {
    /// A graph of these components.
    pub(in crate::cli::top) fn new(mut components: BTreeMap<String, GraphComponent>) -> Self {
        for _ in 0..MAX_DEPTH {
            let depths: BTreeMap<&str, usize> =
                components.iter().map(|(id, component)| (id.as_str(), component.depth)).collect();
            let through = |to: &String| depths.get(to.as_str()).map_or(0, |depth| depth + 1).min(MAX_DEPTH);
            let longest = |component: &GraphComponent| component.sends_to.iter().map(through).max().unwrap_or(0);
            let next: Vec<usize> = components.values().map(longest).collect();
            let is_settled = components.values().map(|component| component.depth).eq(next.iter().copied());
            components.values_mut().zip(next).for_each(|(component, depth)| component.depth = depth);
            if is_settled {
                break;
            }
        }
        Graph { components }
    }

    /// The longest way from a component to an end of the graph.
    fn depth(&self, id: &str) -> usize {
        self.components.get(id).map_or(0, |component| component.depth)
    }
}
