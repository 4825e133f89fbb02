//! The graph of a configuration of the OpenTelemetry Collector: its service section.
//!
//! In each pipeline receivers feed the first processor, processors feed the next one, and the last one feeds the
//! exporters. A connector is an exporter of one pipeline and a receiver of another. Ids begin with the kind, as
//! the metrics have them.

use std::collections::{BTreeMap, BTreeSet};

use systole_shared::topology::{TopologyComponent, TopologyEdge};
use systole_shared::{ComponentKind, Topology};

use super::document::Node;
use super::files::ConfigText;

/// Reads the files of a configuration together; none when one of them cannot be read, or none has a service.
pub(super) fn read(files: &[ConfigText]) -> Option<Topology> {
    let mut whole = Node::Table(BTreeMap::new());
    for ConfigText { text, format, .. } in files {
        whole.merge(Node::parse(text, *format)?);
    }
    let pipelines = whole.get("service")?.get("pipelines")?.table()?;
    let connectors = whole.get("connectors").and_then(Node::table);
    let is_connector = |id: &str| connectors.is_some_and(|connectors| connectors.contains_key(id));
    let mut components = BTreeMap::new();
    let mut edges = BTreeSet::new();
    for pipeline in pipelines.values() {
        let mut stage = |key: &str, prefix: &str, kind| {
            let ids = pipeline.get(key).map(Node::texts).unwrap_or_default();
            let mut named = Vec::new();
            for id in ids {
                let (prefix, kind) =
                    if is_connector(id) { ("connector", ComponentKind::Transform) } else { (prefix, kind) };
                let full = format!("{prefix}/{id}");
                let component_type = id.split('/').next().unwrap_or_default().to_owned();
                components.insert((rank(kind), full.clone()), (kind, component_type));
                named.push(full);
            }
            named
        };
        let receivers = stage("receivers", "receiver", ComponentKind::Source);
        let processors = stage("processors", "processor", ComponentKind::Transform);
        let exporters = stage("exporters", "exporter", ComponentKind::Sink);
        let stages = std::iter::once(receivers).chain(processors.into_iter().map(|one| vec![one]));
        let stages: Vec<Vec<String>> = stages.chain([exporters]).collect();
        for pair in stages.windows(2) {
            for from in &pair[0] {
                for to in &pair[1] {
                    edges.insert(TopologyEdge { from: from.clone(), output: None, to: to.clone() });
                }
            }
        }
    }
    let components =
        components.into_iter().map(|((_, id), (kind, component_type))| TopologyComponent { id, kind, component_type });
    Some(Topology { components: components.collect(), edges: edges.into_iter().collect() })
}

/// Sources first, sinks last.
fn rank(kind: ComponentKind) -> u8 {
    match kind {
        ComponentKind::Source => 0,
        ComponentKind::Transform | ComponentKind::Unknown => 1,
        ComponentKind::Sink => 2,
    }
}
