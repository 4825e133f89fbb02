//! The graph of a configuration, within its limits.

use systole_shared::ComponentId;
use systole_shared::topology::{MAX_TOPOLOGY_COMPONENTS, MAX_TOPOLOGY_EDGES, Topology};

/// Bytes of a topology as it is stored: names of people are far shorter than their limit.
const MAX_TOPOLOGY_BYTES: usize = 1024 * 1024;

/// A topology as JSON, or what is wrong with it.
pub(super) fn take_topology(topology: &Topology) -> Result<String, String> {
    let (components, edges) = (topology.components.len(), topology.edges.len());
    if components > MAX_TOPOLOGY_COMPONENTS {
        return Err(format!("{components} components, at most {MAX_TOPOLOGY_COMPONENTS}"));
    }
    if edges > MAX_TOPOLOGY_EDGES {
        return Err(format!("{edges} edges, at most {MAX_TOPOLOGY_EDGES}"));
    }
    let check = |name: &str| ComponentId::parse(name).map(drop);
    for (index, component) in topology.components.iter().enumerate() {
        check(&component.id).map_err(|fault| format!("components[{index}] {fault}"))?;
    }
    for (index, edge) in topology.edges.iter().enumerate() {
        check(&edge.from).and_then(|()| check(&edge.to)).map_err(|fault| format!("edges[{index}] {fault}"))?;
    }
    let text = serde_json::to_string(topology).map_err(|error| error.to_string())?;
    if text.len() > MAX_TOPOLOGY_BYTES {
        return Err(format!("{} bytes, at most {MAX_TOPOLOGY_BYTES}", text.len()));
    }
    Ok(text)
}
