//! The graph of a configuration of Vector: `inputs` name outputs of other components, also with wildcards.

use std::collections::{BTreeMap, BTreeSet};

use systole_shared::topology::{MAX_TOPOLOGY_EDGES, TopologyComponent, TopologyEdge};
use systole_shared::{ComponentKind, Topology};

use super::document::Node;
use super::files::ConfigText;
use super::glob;

/// An output: a component, and a name for all but the default one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Output {
    component: String,
    port: Option<String>,
}

impl Output {
    /// As `inputs` name it.
    fn name(&self) -> String {
        match &self.port {
            Some(port) => format!("{}.{port}", self.component),
            None => self.component.clone(),
        }
    }
}

/// Reads the files of a configuration together; none when one of them cannot be read.
pub(super) fn read(files: &[ConfigText]) -> Option<Topology> {
    merged(files).map(|whole| Graph::of(&whole).topology())
}

/// All files as one.
pub(super) fn merged(files: &[ConfigText]) -> Option<Node> {
    let mut whole = Node::Table(BTreeMap::new());
    for ConfigText { text, format, component } in files {
        let node = Node::parse(text, *format)?;
        let node = match component {
            Some((section, id)) => table(section, table(id, node)),
            None => node,
        };
        whole.merge(node);
    }
    Some(whole)
}

fn table(key: &str, value: Node) -> Node {
    Node::Table(BTreeMap::from([(key.to_owned(), value)]))
}

/// The components of a configuration, sources first.
struct Graph<'n> {
    components: Vec<(&'n str, ComponentKind, &'n Node)>,
    outputs: BTreeMap<String, Output>,
}

impl<'n> Graph<'n> {
    fn of(whole: &'n Node) -> Self {
        let sections = [
            ("sources", ComponentKind::Source),
            ("transforms", ComponentKind::Transform),
            ("sinks", ComponentKind::Sink),
            ("enrichment_tables", ComponentKind::Sink),
        ];
        let mut components = Vec::new();
        for (section, kind) in sections {
            let all = whole.get(section).and_then(Node::table).into_iter().flatten();
            // A table is a component only if it is fed like a sink.
            let is_component = |node: &Node| section != "enrichment_tables" || node.get("inputs").is_some();
            components.extend(all.filter(|(_, node)| is_component(node)).map(|(id, node)| (id.as_str(), kind, node)));
        }
        let outputs = components.iter().flat_map(|(id, kind, node)| outputs_of(id, *kind, node));
        let outputs = outputs.map(|output| (output.name(), output)).collect();
        Graph { components, outputs }
    }

    fn topology(&self) -> Topology {
        let component = |(id, kind, node): &(&str, ComponentKind, &Node)| TopologyComponent {
            id: (*id).to_owned(),
            kind: *kind,
            component_type: type_of(node).to_owned(),
        };
        let mut edges = BTreeSet::new();
        for (id, _, node) in &self.components {
            for input in node.get("inputs").map(Node::texts).unwrap_or_default() {
                for Output { component, port } in self.resolve(input, id) {
                    edges.insert(TopologyEdge { from: component, output: port, to: (*id).to_owned() });
                }
                if edges.len() > MAX_TOPOLOGY_EDGES {
                    break;
                }
            }
        }
        Topology { components: self.components.iter().map(component).collect(), edges: edges.into_iter().collect() }
    }

    /// The outputs that an input names. A pattern never names the component itself.
    fn resolve(&self, input: &str, own: &str) -> Vec<Output> {
        if let Some(output) = self.outputs.get(input) {
            return vec![output.clone()];
        }
        if !glob::is_pattern(input) {
            return Vec::new();
        }
        let meant = self.outputs.iter().filter(|(name, output)| output.component != own && glob::matches(input, name));
        meant.map(|(_, output)| output.clone()).collect()
    }
}

fn type_of(node: &Node) -> &str {
    node.get("type").and_then(Node::text).unwrap_or_default()
}

/// The outputs of a component.
fn outputs_of(id: &str, kind: ComponentKind, node: &Node) -> Vec<Output> {
    let port = |name: &str| Output { component: id.to_owned(), port: Some(name.to_owned()) };
    let default = Output { component: id.to_owned(), port: None };
    match (kind, type_of(node)) {
        (ComponentKind::Sink, _) => Vec::new(),
        (ComponentKind::Source, "opentelemetry") => ["logs", "metrics", "traces"].map(port).to_vec(),
        (ComponentKind::Source, "datadog_agent") if node.is_true("multiple_outputs") => {
            ["logs", "metrics", "traces"].map(port).to_vec()
        }
        (ComponentKind::Transform, "route" | "swimlanes") => {
            let routes = ["route", "lanes"].iter().filter_map(|key| node.get(key)?.table()).flatten();
            let unmatched = node.get("reroute_unmatched").and_then(Node::text) != Some("false");
            routes.map(|(name, _)| name.as_str()).chain(unmatched.then_some("_unmatched")).map(port).collect()
        }
        (ComponentKind::Transform, "exclusive_route") => {
            let routes = match node.get("routes") {
                Some(Node::List(routes)) => routes.as_slice(),
                _ => &[],
            };
            let names = routes.iter().filter_map(|route| route.get("name")?.text());
            names.chain(["_unmatched"]).map(port).collect()
        }
        (ComponentKind::Transform, _) if node.is_true("reroute_dropped") => vec![default, port("dropped")],
        _ => vec![default],
    }
}
