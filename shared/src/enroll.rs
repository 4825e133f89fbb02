//! `POST /api/v1/agent/enroll`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::token::Token;
use crate::{EnvironmentId, NodeId};

/// The version of the protocol that this code uses.
pub const PROTOCOL: u32 = 1;

/// A host asks to become a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EnrollRequest {
    /// An enrolment token.
    pub token: Token,
    /// The host's name, for display.
    pub hostname: String,
    /// Like `linux/amd64`.
    pub os: String,
    /// Version of the agent.
    pub agent_version: String,
    /// The user's labels and the automatic ones.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Stays the same when the host is installed again; the same value is the same node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
}

/// The host is a node now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EnrollResponse {
    /// The node.
    pub node_id: NodeId,
    /// The token of all its later requests. No other response contains it.
    pub node_token: Token,
    /// The environment that the enrolment token is for.
    pub environment_id: EnvironmentId,
    /// Its name.
    pub environment_name: String,
    /// The version of the protocol in use: 1 ([`PROTOCOL`]).
    pub protocol: u32,
    /// A message for the operator of the host: the reason why it is not the node of its machine id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enrolment_has_the_names_of_the_protocol() {
        let json = r#"{"token":"t","hostname":"web-1","os":"linux/amd64","agentVersion":"0.1.0","labels":{"a":"b"},"machineId":"m"}"#;
        let request: EnrollRequest = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), serde_json::from_str::<serde_json::Value>(json).unwrap());

        let json = r#"{"nodeId":"01890a5d-ac96-774b-bcce-b302099a8057","nodeToken":"n",
            "environmentId":"01890a5d-ac96-774b-bcce-b302099a8058","environmentName":"default","protocol":1}"#;
        let response: EnrollResponse = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_value(&response).unwrap(), serde_json::from_str::<serde_json::Value>(json).unwrap());
    }
}
