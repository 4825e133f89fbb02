//! VectorFlow's agent protocol, version 1, towards a VectorFlow server. The types are in [`systole_shared::vectorflow`].

mod answers;
mod checksum;
mod control;
mod pace;
mod push_events;
mod schema;
mod wanted;

use std::path::Path;
use std::sync::Arc;

use systole_shared::Token;
use systole_shared::vectorflow::{EnrollRequest, EnrollResponse};

use self::control::Control;
pub(super) use self::control::{NODE_TOKEN_PREFIX, STREAM_OPENED, TAP_PACE};
pub(super) use self::push_events::heed;
use super::{Acknowledged, Enrolled, Enrollment, Outgoing};
use crate::metrics::AgentCounters;
use crate::model::node::NodeIdentity;
use crate::uplink::request_error::{ErrorForm, RequestError};
use crate::uplink::transport::Transport;

/// How a VectorFlow server writes errors.
const FORM: ErrorForm = ErrorForm::Error;

/// Speaks VectorFlow's protocol.
#[derive(Debug)]
pub(super) struct VectorFlowClient {
    transport: Arc<Transport>,
    counters: Arc<AgentCounters>,
    control: Control,
}

impl VectorFlowClient {
    /// Over this transport, with what an earlier run left in the data directory.
    pub(super) fn new(transport: Arc<Transport>, _data_dir: &Path, counters: Arc<AgentCounters>) -> Self {
        VectorFlowClient { transport, counters, control: Control::default() }
    }

    /// Asks for the host to become a node.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(super) async fn enroll(&self, host: Enrollment) -> Result<Enrolled, RequestError> {
        let request = EnrollRequest {
            token: host.token,
            hostname: host.hostname,
            os: host.os,
            agent_version: host.agent_version,
            vector_version: host.vector_version,
            labels: host.labels,
        };
        let answer = self.post("api/agent/enroll", None, &request).await?;
        let node: EnrollResponse = self.transport.read_secret(&answer)?;
        Ok(Enrolled {
            node_token: node.node_token,
            identity: NodeIdentity {
                node_id: node.node_id,
                environment_id: node.environment_id,
                environment_name: node.environment_name,
            },
            notice: None,
        })
    }

    /// Sends what the reports say: totals and states as a heartbeat, and their lines.
    ///
    /// # Errors
    ///
    /// When the server does not take the heartbeat.
    pub(super) async fn report(&self, _token: &Token, _outgoing: Outgoing<'_>) -> Result<Acknowledged, RequestError> {
        Err(RequestError::Unreadable("not built yet".to_owned()))
    }

    /// Sends a body; the answer must be 200.
    async fn post(
        &self,
        path: &str,
        token: Option<&Token>,
        body: &impl serde::Serialize,
    ) -> Result<Vec<u8>, RequestError> {
        let body = serde_json::to_vec(body).map_err(|error| RequestError::Unreadable(error.to_string()))?;
        self.counters.sent_bytes.add(body.len() as u64);
        self.transport.perform(self.transport.post(path, token).body(body), FORM).await
    }
}
