//! The seam between the agent and the protocols of collectors. [`CollectorClient`] is the only place that branches
//! on the protocol: each of its requests has one implementation per protocol, with the same types on this side.

mod detect;
mod memory;
mod native;
mod native_actions;
mod native_push;
pub(super) mod vectorflow;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::{EnrollRequest, ReportAck, SeqRange, Token, UnixMillis};
use tokio::sync::watch;

use self::memory::ProtocolMemory;
use self::native::NativeClient;
use self::vectorflow::VectorFlowClient;
use super::addresses::Addresses;
use super::first_choice;
use super::instructions::Instructions;
use super::push::StreamNote;
use super::request_error::RequestError;
use super::transport::{AnswerTiming, OpenStream, Transport};
use crate::http_client::TlsError;
use crate::metrics::AgentCounters;
use crate::model::action::{ActionAnswer, NodeAction, TapPace};
use crate::model::centre::CentreTerms;
use crate::model::node::{NodeIdentity, node_token};
use crate::model::protocol::{Protocol, ProtocolSetting};
use crate::model::tls::TlsFiles;
use crate::model::wanted::WantedState;
use crate::spool::Queued;
use crate::spool::outbox::Outbox;

/// What a host says of itself when it enrols.
#[derive(Clone, Debug)]
pub(super) struct Enrollment {
    pub(super) token: Token,
    pub(super) hostname: String,
    /// Like `linux/amd64`.
    pub(super) os: String,
    pub(super) agent_version: String,
    /// Empty while it is not known.
    pub(super) vector_version: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) machine_id: Option<String>,
}

/// The host is a node.
#[derive(Clone, Debug)]
pub(super) struct Enrolled {
    pub(super) node_token: Token,
    pub(super) identity: NodeIdentity,
    /// What an operator should know.
    pub(super) notice: Option<String>,
}

/// The reports that go out next.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// The oldest ones, all of one boot.
    pub(super) reports: &'a [Queued],
    /// Where the newer ones are.
    pub(super) outbox: &'a Outbox,
    /// How often the collector wants reports.
    pub(super) interval: Duration,
}

/// What the collector answered to reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Acknowledged {
    /// Highest report that is not needed any more.
    pub(super) durable_seq: u64,
    /// What it refused, for the log, and how much that is.
    pub(super) refused: Vec<systole_shared::Refused>,
    pub(super) refused_count: u64,
    /// The interval that it wants.
    pub(super) interval_ms: Option<u64>,
    /// Its clock.
    pub(super) now: Option<UnixMillis>,
    pub(super) missing: Option<SeqRange>,
    pub(super) desired_generation: Option<u64>,
    pub(super) actions: Vec<NodeAction>,
    /// Of the request that was answered, if it was one.
    pub(super) timing: Option<AnswerTiming>,
}

impl From<ReportAck> for Acknowledged {
    fn from(ack: ReportAck) -> Self {
        Acknowledged {
            durable_seq: ack.durable_seq,
            refused_count: ack.refused_count.max(ack.refused.len() as u64),
            refused: ack.refused,
            interval_ms: Some(ack.interval_ms),
            now: Some(ack.now),
            missing: ack.missing,
            desired_generation: ack.desired_generation,
            timing: None,
            actions: ack.actions.into_iter().map(native_actions::action_of).collect(),
        }
    }
}

/// What the collector answers to a question for the desired state.
#[derive(Debug)]
pub(crate) enum DesiredAnswer {
    /// It is the one that the agent has.
    Same,
    /// It is another one.
    Other {
        /// The state.
        wanted: WantedState,
        /// Its tag, for the next question.
        etag: Option<String>,
    },
}

/// When a node asks for the desired state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cadence {
    /// When the collector names another generation of it.
    WhenNamed,
    /// At the interval of reports, and when the server says that something has changed.
    Polled,
}

/// What a client is made of.
#[derive(Debug)]
pub(crate) struct ClientParts {
    /// Where the collector is.
    pub(crate) addresses: Arc<Addresses>,
    /// Certificates for the connection.
    pub(crate) tls: TlsFiles,
    /// Where the agent keeps what must survive it.
    pub(crate) data_dir: PathBuf,
    /// Which protocol to speak.
    pub(crate) protocol: ProtocolSetting,
    /// Whether a VectorFlow server receives labels of the cloud.
    pub(crate) cloud_labels: bool,
    /// What the agent counts of itself.
    pub(crate) counters: Arc<AgentCounters>,
}

/// Speaks to the collector, in its protocol.
#[derive(Debug)]
pub(crate) struct CollectorClient {
    transport: Arc<Transport>,
    addresses: Arc<Addresses>,
    memory: ProtocolMemory,
    data_dir: PathBuf,
    /// The protocol, once it is known. It does not change while the agent runs.
    protocol: watch::Sender<Option<Protocol>>,
    native: NativeClient,
    vectorflow: VectorFlowClient,
}

impl CollectorClient {
    /// A client; it sends nothing yet.
    ///
    /// # Errors
    ///
    /// When the certificates cannot be used.
    pub(crate) fn new(parts: ClientParts) -> Result<Self, TlsError> {
        let ClientParts { addresses, tls, data_dir, protocol, cloud_labels, counters } = parts;
        let memory = ProtocolMemory::new(&data_dir, addresses.urls(), protocol);
        let transport = Arc::new(Transport::new(addresses.clone(), tls)?);
        Ok(CollectorClient {
            native: NativeClient::new(transport.clone(), counters.clone()),
            vectorflow: VectorFlowClient::new(transport.clone(), &data_dir, cloud_labels, counters),
            protocol: watch::Sender::new(match protocol {
                ProtocolSetting::Fixed(protocol) => Some(protocol),
                ProtocolSetting::Auto => None,
            }),
            transport,
            addresses,
            memory,
            data_dir,
        })
    }

    /// The protocol, if it is known: by the setting, or because the collector was asked.
    pub(crate) fn known_protocol(&self) -> Option<Protocol> {
        *self.protocol.borrow()
    }

    /// The protocol that the collector spoke when the agent was connected last, or speaks. For what must begin
    /// while the collector cannot be asked.
    pub(crate) fn likely_protocol(&self) -> Option<Protocol> {
        self.known_protocol().or_else(|| self.memory.read())
    }

    /// What the centre may take for granted, by the protocol that it is likely to speak. An enrolled node that asked no
    /// centre yet was left by VectorFlow's agent if its token has that form.
    pub(crate) fn likely_terms(&self) -> Option<CentreTerms> {
        let of_token = || {
            let token = node_token::read(&self.data_dir)?;
            token.reveal().starts_with(vectorflow::NODE_TOKEN_PREFIX).then_some(Protocol::VectorFlow)
        };
        self.likely_protocol().or_else(of_token).map(terms_of)
    }

    /// When the node asks for the desired state. Waits until the protocol is known.
    pub(crate) async fn cadence(&self) -> Cadence {
        match self.protocol().await {
            Protocol::Native => Cadence::WhenNamed,
            Protocol::VectorFlow => Cadence::Polled,
        }
    }

    /// The protocol. Waits until the session has learned it.
    pub(crate) async fn protocol(&self) -> Protocol {
        let mut known = self.protocol.subscribe();
        match known.wait_for(Option::is_some).await.map(|known| *known) {
            Ok(Some(protocol)) => protocol,
            // The sender is `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Learns the protocol: from the setting, from the last run of an agent that `is_enrolled`, or by a request
    /// that changes nothing.
    ///
    /// # Errors
    ///
    /// When the answer does not show it, such as that of a proxy. Nothing is decided then.
    pub(super) async fn decide(&self, is_enrolled: bool) -> Result<(), RequestError> {
        if self.known_protocol().is_some() {
            return Ok(());
        }
        let protocol = match self.memory.read().filter(|_| is_enrolled) {
            Some(remembered) => remembered,
            None => {
                let found = detect::detect(&self.transport).await?;
                tracing::info!(protocol = found.as_str(), url = %self.transport.base(), "the protocol of the collector is known");
                found
            }
        };
        if protocol == Protocol::VectorFlow && self.addresses.are_several() {
            return Err(RequestError::Unreadable(format!(
                "{} is a VectorFlow server, which has one address: set url instead of urls",
                self.transport.base()
            )));
        }
        self.protocol.send_replace(Some(protocol));
        Ok(())
    }

    /// Brings the node back to the first choice of the addresses when it is ready again. Never ends.
    pub(crate) async fn keep_to_first_choice(&self) {
        first_choice::keep_to_first_choice(&self.addresses, rand::random, || self.transport.is_first_choice_ready())
            .await;
    }

    /// The number of the address in use, and each later one.
    pub(super) fn watch_address(&self) -> watch::Receiver<usize> {
        self.addresses.watch()
    }

    /// The collector has accepted an authenticated request: what was found out is true, and kept.
    pub(super) fn confirm_protocol(&self) {
        if let Some(protocol) = self.known_protocol() {
            self.memory.write(protocol);
        }
    }

    /// The collector has no such route: is another kind of server behind the address now?
    pub(super) async fn check_protocol_again(&self) {
        let Some(known) = self.known_protocol() else { return };
        if self.memory.is_auto()
            && let Ok(found) = detect::detect(&self.transport).await
            && found != known
        {
            self.memory.forget();
            tracing::error!(
                before = known.as_str(),
                now = found.as_str(),
                "the collector at url speaks another protocol than before; restart the agent to change to it"
            );
        }
    }

    /// Asks for the host to become a node.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(super) async fn enroll(&self, host: Enrollment) -> Result<Enrolled, RequestError> {
        match self.protocol().await {
            Protocol::Native => {
                let node = self.native.enroll(&native_enrolment(host)).await?;
                Ok(Enrolled {
                    node_token: node.node_token,
                    identity: NodeIdentity {
                        node_id: node.node_id.to_string(),
                        environment_id: node.environment_id.to_string(),
                        environment_name: node.environment_name,
                    },
                    notice: node.notice,
                })
            }
            Protocol::VectorFlow => self.vectorflow.enroll(host).await,
        }
    }

    /// Sends reports.
    ///
    /// # Errors
    ///
    /// When the collector does not acknowledge them.
    pub(super) async fn report(&self, token: &Token, outgoing: Outgoing<'_>) -> Result<Acknowledged, RequestError> {
        match self.protocol().await {
            Protocol::Native => {
                let (ack, timing) = self.native.report(token, outgoing.reports).await?;
                Ok(Acknowledged { timing: Some(timing), ..Acknowledged::from(ack) })
            }
            Protocol::VectorFlow => self.vectorflow.report(token, outgoing).await,
        }
    }

    /// Asks for the desired state, unless it is the one of `etag`. What else the answer asks for goes to the
    /// instructions.
    ///
    /// # Errors
    ///
    /// When the collector does not answer with it.
    pub(crate) async fn desired(
        &self,
        token: &Token,
        etag: Option<&str>,
        instructions: &Instructions,
    ) -> Result<DesiredAnswer, RequestError> {
        match self.protocol().await {
            Protocol::Native => self.native.desired(token, etag).await,
            Protocol::VectorFlow => self.vectorflow.desired(token, instructions).await,
        }
    }

    /// Opens the push stream. Its chunks have no limit of time but the reader's own.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(super) async fn push(&self, token: &Token) -> Result<OpenStream, RequestError> {
        match self.protocol().await {
            Protocol::Native => self.native.push(token).await,
            Protocol::VectorFlow => self.vectorflow.push(token).await,
        }
    }

    /// What holds for a push stream that was opened.
    pub(super) async fn stream_opened(&self) -> StreamNote {
        match self.protocol().await {
            Protocol::Native => native_push::OPENED,
            Protocol::VectorFlow => vectorflow::STREAM_OPENED,
        }
    }

    /// Passes on what a message of the push stream asks for.
    pub(super) async fn heed(&self, kind: &str, data: &str, instructions: &Instructions) -> StreamNote {
        match self.protocol().await {
            Protocol::Native => native_push::heed(kind, data, instructions),
            Protocol::VectorFlow => {
                vectorflow::heed(kind, data, instructions);
                StreamNote::default()
            }
        }
    }

    /// How the collector wants the events of taps.
    pub(crate) async fn tap_pace(&self) -> TapPace {
        match self.protocol().await {
            Protocol::Native => native_actions::TAP_PACE,
            Protocol::VectorFlow => vectorflow::TAP_PACE,
        }
    }

    /// Sends an answer to an action.
    ///
    /// # Errors
    ///
    /// When the collector does not take it.
    pub(crate) async fn answer_action(
        &self,
        token: &Token,
        action: &NodeAction,
        answer: &ActionAnswer,
    ) -> Result<(), RequestError> {
        match self.protocol().await {
            Protocol::Native => {
                self.native.answer_action(token, action.id.as_str(), &native_actions::output_of(answer)).await
            }
            Protocol::VectorFlow => self.vectorflow.answer_action(token, action, answer).await,
        }
    }
}

fn terms_of(protocol: Protocol) -> CentreTerms {
    match protocol {
        Protocol::Native => CentreTerms::Consent,
        Protocol::VectorFlow => CentreTerms::Dedicated,
    }
}

fn native_enrolment(host: Enrollment) -> EnrollRequest {
    EnrollRequest {
        token: host.token,
        hostname: host.hostname,
        os: host.os,
        agent_version: host.agent_version,
        labels: host.labels,
        machine_id: host.machine_id,
    }
}
