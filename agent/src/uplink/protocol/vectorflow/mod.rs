//! VectorFlow's agent protocol, version 1, towards a VectorFlow server. The types are in [`systole_shared::vectorflow`].

mod answers;
mod checksum;
mod cloud;
mod control;
mod heartbeat;
mod heartbeat_sender;
mod ledger;
mod log_batches;
mod log_cursor;
mod log_sender;
pub(in crate::uplink) mod pace;
mod push_events;
mod refusals;
mod schema;
mod wanted;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use systole_shared::Token;
use systole_shared::vectorflow::{EnrollRequest, EnrollResponse};
use tokio::sync::Mutex;

use self::control::Control;
pub(super) use self::control::{NODE_TOKEN_PREFIX, STREAM_OPENED, TAP_PACE};
use self::heartbeat_sender::HeartbeatSender;
use self::log_sender::LogSender;
pub(super) use self::push_events::heed;
use super::{Acknowledged, Enrolled, Enrollment, Outgoing};
use crate::metrics::AgentCounters;
use crate::model::node::NodeIdentity;
use crate::uplink::request_error::{ErrorForm, RequestError};
use crate::uplink::transport::{Transport, Try};

/// How a VectorFlow server writes errors.
const FORM: ErrorForm = ErrorForm::Error;

/// Speaks VectorFlow's protocol.
#[derive(Debug)]
pub(super) struct VectorFlowClient {
    transport: Arc<Transport>,
    counters: Arc<AgentCounters>,
    control: Control,
    /// Labels of the cloud, once they are known. None when they are not wanted.
    cloud: Option<Arc<OnceLock<BTreeMap<String, String>>>>,
    sending: Mutex<Sending>,
}

/// What is kept between two sendings. Only the uplink sends.
#[derive(Debug)]
struct Sending {
    heartbeats: HeartbeatSender,
    logs: LogSender,
    has_asked_for_cloud: bool,
}

impl VectorFlowClient {
    /// Over this transport, with what an earlier run left in the data directory.
    pub(super) fn new(
        transport: Arc<Transport>,
        data_dir: &Path,
        wants_cloud_labels: bool,
        counters: Arc<AgentCounters>,
    ) -> Self {
        let spool_dir = data_dir.join("spool");
        let sending = Sending {
            heartbeats: HeartbeatSender::new(&spool_dir, counters.clone()),
            logs: LogSender::new(&spool_dir, counters.clone()),
            has_asked_for_cloud: false,
        };
        VectorFlowClient {
            transport,
            counters,
            cloud: wants_cloud_labels.then(Arc::default),
            control: Control::default(),
            sending: Mutex::new(sending),
        }
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
        self.sending.lock().await.heartbeats.begin_again();
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
    pub(super) async fn report(&self, token: &Token, outgoing: Outgoing<'_>) -> Result<Acknowledged, RequestError> {
        let mut sending = self.sending.lock().await;
        let Sending { heartbeats, logs, has_asked_for_cloud } = &mut *sending;
        if let (Some(cloud), false) = (&self.cloud, std::mem::replace(has_asked_for_cloud, true)) {
            let cloud = cloud.clone();
            tokio::spawn(async move { cloud.set(cloud::labels().await) });
        }
        heartbeats.send(self, token, outgoing).await?;
        let durable_seq = logs.send(self, token, outgoing.reports).await?;
        Ok(Acknowledged { durable_seq, ..Acknowledged::default() })
    }

    fn cloud_labels(&self) -> BTreeMap<String, String> {
        self.cloud.as_ref().and_then(|labels| labels.get()).cloned().unwrap_or_default()
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
        let request = |to: Try<'_>| self.transport.post(to, path, token).body(body.clone());
        self.transport.perform(request, FORM).await.map(|answer| answer.body)
    }
}
