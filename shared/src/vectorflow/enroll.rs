//! `POST /api/agent/enroll`, without a bearer token.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Token;

/// A host asks to become a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowEnrollRequest))]
#[serde(rename_all = "camelCase")]
pub struct EnrollRequest {
    /// `vf_enroll_<slug>_<16 hex>_<64 hex>`, or the older `vf_enroll_<64 hex>`.
    pub token: Token,
    /// The host's name.
    pub hostname: String,
    /// Like `linux/amd64`.
    #[serde(default)]
    pub os: String,
    /// Version of the agent.
    #[serde(default)]
    pub agent_version: String,
    /// Version of Vector.
    #[serde(default)]
    pub vector_version: String,
    /// The user's labels and the automatic ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The host is a node now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowEnrollResponse))]
#[serde(rename_all = "camelCase")]
pub struct EnrollResponse {
    /// The node.
    pub node_id: String,
    /// `vf_node_<slug>_<16 hex>_<64 hex>`.
    pub node_token: Token,
    /// The environment.
    pub environment_id: String,
    /// Its name.
    pub environment_name: String,
}
