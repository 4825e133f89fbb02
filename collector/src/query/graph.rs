//! The graph of a pipeline, with what flows through it.
//!
//! Nodes may run different configurations during a rollout. The graph is that of most of them, and rates are
//! summed over the nodes that run it.

use std::collections::{BTreeMap, BTreeSet};

use systole_shared::{PipelineId, RateSample, Topology, TopologyEdge, UnixMillis};

use crate::model::NodeKey;
use crate::model::live::FRESH_MS;
use crate::store::{BufferFill, PipelineView, Store, StoreError};
use crate::timeseries::recent::RecentSamples;

/// A pipeline's graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Graph {
    pub checksum: Option<String>,
    pub components: Vec<Component>,
    /// Each with the rate of its output and the buffer of its receiver.
    pub edges: Vec<(TopologyEdge, Option<f64>, Option<f64>)>,
}

/// A component with its last rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Component {
    pub id: String,
    pub kind: String,
    pub component_type: Option<String>,
    pub received_events_rate: Option<f64>,
    pub sent_events_rate: Option<f64>,
    pub buffer_fill: Option<f64>,
}

/// Received and sent events a second of each component.
type Rates = BTreeMap<String, (f64, f64)>;

/// The graph of a pipeline, of all nodes or of one.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn of(
    store: &dyn Store,
    samples: &RecentSamples,
    pipeline: &PipelineView,
    node: Option<NodeKey>,
    now: UnixMillis,
) -> Result<Graph, StoreError> {
    let nodes: Vec<(NodeKey, Option<String>)> = pipeline
        .nodes
        .iter()
        .map(|status| (NodeKey(status.row.node), status.row.config_checksum.clone()))
        .filter(|(key, _)| node.is_none_or(|node| node == *key))
        .collect();
    let checksums: BTreeSet<String> = nodes.iter().filter_map(|(_, checksum)| checksum.clone()).collect();
    let known: BTreeMap<String, String> =
        store.topologies(pipeline.key, checksums.into_iter().collect()).await?.into_iter().collect();
    let chosen = most_frequent(nodes.iter().filter_map(|(_, checksum)| checksum.as_deref()), &known);
    let is_meant = |checksum: &Option<String>| chosen.is_none() || checksum.as_deref() == chosen;
    let meant: Vec<NodeKey> = nodes.iter().filter(|(_, checksum)| is_meant(checksum)).map(|(key, _)| *key).collect();
    let rates = rates(samples, &pipeline.id, &meant, now - FRESH_MS);
    let buffers = store.buffer_fills(pipeline.key, (now - FRESH_MS) / 60_000).await?;
    let buffers = fills(buffers.iter().filter(|buffer| meant.iter().any(|node| node.0 == buffer.node)));
    let topology = chosen.and_then(|checksum| serde_json::from_str::<Topology>(known.get(checksum)?).ok());
    let mut graph = match topology {
        Some(topology) => of_topology(topology),
        None => {
            let components = store.pipeline_components(pipeline.key).await?;
            let component = |(id, kind)| Component { id, kind, ..Component::default() };
            Graph { components: components.into_iter().map(component).collect(), ..Graph::default() }
        }
    };
    graph.checksum = chosen.map(str::to_owned);
    fill_in(&mut graph, &rates, &buffers);
    Ok(graph)
}

/// The checksum that most nodes report, of those whose graph is known.
fn most_frequent<'a>(checksums: impl Iterator<Item = &'a str>, known: &BTreeMap<String, String>) -> Option<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for checksum in checksums.filter(|checksum| known.contains_key(*checksum)) {
        *counts.entry(checksum).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(checksum, _)| checksum)
}

fn of_topology(topology: Topology) -> Graph {
    let component = |component: systole_shared::TopologyComponent| Component {
        id: component.id,
        kind: component.kind.as_str().to_owned(),
        component_type: Some(component.component_type).filter(|text| !text.is_empty()),
        ..Component::default()
    };
    Graph {
        checksum: None,
        components: topology.components.into_iter().map(component).collect(),
        edges: topology.edges.into_iter().map(|edge| (edge, None, None)).collect(),
    }
}

fn rates(samples: &RecentSamples, pipeline: &str, nodes: &[NodeKey], since: UnixMillis) -> Rates {
    let mut rates = Rates::new();
    let Ok(pipeline) = PipelineId::parse(pipeline) else { return rates };
    for node in nodes {
        for (component, RateSample { received_events_rate, sent_events_rate, .. }) in
            samples.last_of_components(*node, &pipeline, since)
        {
            let sum = rates.entry(component.as_str().to_owned()).or_default();
            sum.0 += received_events_rate;
            sum.1 += sent_events_rate;
        }
    }
    rates
}

/// The fullest buffer of each component.
fn fills<'a>(buffers: impl Iterator<Item = &'a BufferFill>) -> BTreeMap<String, f64> {
    let mut fills: BTreeMap<String, f64> = BTreeMap::new();
    for buffer in buffers {
        if let Some(share) = buffer.share() {
            let fullest = fills.entry(buffer.component.clone()).or_default();
            *fullest = fullest.max(share);
        }
    }
    fills
}

fn fill_in(graph: &mut Graph, rates: &Rates, buffers: &BTreeMap<String, f64>) {
    for component in &mut graph.components {
        component.received_events_rate = rates.get(&component.id).map(|rate| rate.0);
        component.sent_events_rate = rates.get(&component.id).map(|rate| rate.1);
        component.buffer_fill = buffers.get(&component.id).copied();
    }
    let mut outputs: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
    for (edge, ..) in &graph.edges {
        outputs.entry(edge.from.clone()).or_default().insert(edge.output.clone());
    }
    for (edge, rate, buffer) in &mut graph.edges {
        // Of several outputs only the sum is known.
        let has_one_output = outputs.get(&edge.from).is_some_and(|outputs| outputs.len() == 1);
        *rate = rates.get(&edge.from).filter(|_| has_one_output).map(|rate| rate.1);
        *buffer = buffers.get(&edge.to).copied();
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::{ComponentKind, TopologyComponent};

    use super::*;

    #[test]
    fn rate_of_an_edge_is_known_when_its_component_has_one_output() {
        let component = |id: &str, kind| TopologyComponent { id: id.into(), kind, component_type: String::new() };
        let edge = |from: &str, output: Option<&str>, to: &str| TopologyEdge {
            from: from.into(),
            output: output.map(str::to_owned),
            to: to.into(),
        };
        let mut graph = of_topology(Topology {
            components: vec![
                component("in", ComponentKind::Source),
                component("route", ComponentKind::Transform),
                component("out", ComponentKind::Sink),
                component("errors", ComponentKind::Sink),
            ],
            edges: vec![
                edge("in", None, "route"),
                edge("route", Some("good"), "out"),
                edge("route", Some("bad"), "errors"),
            ],
        });
        let rates = [("in".to_owned(), (0.0, 5.0)), ("route".to_owned(), (5.0, 4.0))].into();
        fill_in(&mut graph, &rates, &[("out".to_owned(), 0.5)].into());
        let edges: Vec<_> = graph.edges.iter().map(|(_, rate, buffer)| (*rate, *buffer)).collect();
        assert_eq!(edges, [(Some(5.0), None), (None, Some(0.5)), (None, None)]);
        assert_eq!(graph.components[1].received_events_rate, Some(5.0));
        assert_eq!(graph.components[3].sent_events_rate, None, "absent is not zero");
    }

    #[test]
    fn graph_is_that_of_most_nodes() {
        let known = ["a", "b"].map(|checksum| (checksum.to_owned(), String::new())).into();
        assert_eq!(most_frequent(["a", "b", "c", "c", "c", "b"].into_iter(), &known), Some("b"));
        assert_eq!(most_frequent(["c"].into_iter(), &known), None);
    }

    #[test]
    fn fullest_buffer_of_a_node_counts() {
        let buffer = |node, events, max_events| BufferFill {
            node,
            component: "out".into(),
            events,
            max_events,
            bytes: None,
            max_bytes: None,
        };
        let buffers = [buffer(1, Some(5), Some(10)), buffer(2, Some(9), Some(10)), buffer(3, Some(1), None)];
        assert_eq!(fills(buffers.iter()), [("out".to_owned(), 0.9)].into());
        assert_eq!(fills([buffer(1, Some(1), Some(0))].iter()), BTreeMap::new());
    }
}
