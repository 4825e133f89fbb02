//! How the components of a pipeline are connected.

use serde::{Deserialize, Serialize};

use crate::report::ComponentKind;

/// Components of one topology: a configuration that a person writes has far fewer.
pub const MAX_TOPOLOGY_COMPONENTS: usize = 2_000;

/// Connections of one topology.
pub const MAX_TOPOLOGY_EDGES: usize = 10_000;

/// The graph of one configuration. Sent with the first report of a configuration, and kept by its checksum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// At most 2,000 ([`MAX_TOPOLOGY_COMPONENTS`]).
    pub components: Vec<TopologyComponent>,
    /// At most 10,000 ([`MAX_TOPOLOGY_EDGES`]).
    pub edges: Vec<TopologyEdge>,
}

/// One component of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TopologyComponent {
    /// As the engine names it.
    pub id: String,
    /// What it does.
    pub kind: ComponentKind,
    /// The engine's name of its type, such as `remap`; empty when unknown.
    #[serde(default)]
    pub component_type: String,
}

/// One connection: an output of a component that another one reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TopologyEdge {
    /// The component that sends.
    pub from: String,
    /// Its output, such as `errors` of a route; absent for the default output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The component that receives.
    pub to: String,
}
