//! Targets: what each of them reads, and how it is sent.

pub(crate) mod alertmanager;
pub(crate) mod ntfy;
pub(crate) mod pagerduty;
pub(crate) mod slack;
pub(crate) mod smtp;
pub(crate) mod webhook;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;

use super::address_policy::AddressPolicy;
use super::message::Message;
use crate::config::AlertSettings;
use crate::config::alerts::Smtp;
use crate::config::alerts::target::{Target, TargetKind};

/// Longest time to open a connection, and for a whole request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer that an error shows.
const SHOWN_BYTES: usize = 200;

/// The header by which a receiver notices that it has a message already.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Why a message was not delivered. No error has the address of the target: it is a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("{0}")]
    NotAllowed(#[source] Box<dyn Error + Send + Sync>),
    #[error("no connection: {0}")]
    Network(String),
    #[error("it answered {status}: {text}")]
    Answer { status: StatusCode, text: String },
    #[error("the mail server refused the message: {0}")]
    Mail(String),
    #[error("the message cannot be written: {0}")]
    Message(String),
}

impl SendError {
    /// Whether the same message will not be taken later either.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            SendError::Answer { status, .. } => matches!(status.as_u16(), 400 | 413 | 415 | 422),
            SendError::Message(_) => true,
            SendError::NotAllowed(_) | SendError::Network(_) | SendError::Mail(_) => false,
        }
    }
}

/// Sends messages.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    client: Client,
    policy: AddressPolicy,
    smtp: Option<Smtp>,
}

/// No client could be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot create an HTTP client for notifications")]
pub(crate) struct NoClient(#[source] reqwest::Error);

impl Sender {
    /// With the addresses that are allowed.
    ///
    /// # Errors
    ///
    /// When the TLS library cannot be used.
    pub(crate) fn new(settings: &AlertSettings) -> Result<Self, NoClient> {
        // Fails only when there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let policy = AddressPolicy::new(settings.allow.clone());
        let builder = || {
            let builder = Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(REQUEST_TIMEOUT)
                .redirect(Policy::none())
                .dns_resolver(Arc::new(policy.clone()))
                .user_agent(concat!("systole-collector/", env!("CARGO_PKG_VERSION")));
            // A proxy would connect to anything.
            if policy.is_strict() { builder.no_proxy() } else { builder }
        };
        // A host without root certificates can still reach targets without TLS.
        let client = builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(NoClient)?;
        Ok(Sender { client, policy, smtp: settings.smtp.clone() })
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// When the target did not take it.
    pub(crate) async fn send(&self, target: &Target, message: &Message) -> Result<(), SendError> {
        match target.kind {
            TargetKind::Alertmanager => {
                self.post(target, &alertmanager::encode(&message.alerts, message.created_at), None).await
            }
            TargetKind::Webhook => self.post(target, &webhook::encode(message, &target.name), Some(&message.key)).await,
            TargetKind::Slack => self.post(target, &slack::encode(message), Some(&message.key)).await,
            TargetKind::Pagerduty => {
                let key = target.key.as_ref().map_or("", |key| key.reveal());
                self.post(target, &pagerduty::encode(message, key), Some(&message.key)).await
            }
            TargetKind::Ntfy => {
                let url = self.url(target)?;
                let (url, body) = ntfy::encode(message, &url);
                self.post_to(url, &body, Some(&message.key)).await
            }
            TargetKind::Email => {
                let Some(server) = &self.smtp else {
                    return Err(SendError::Message("smtp_url is not set".to_owned()));
                };
                self.policy.resolve_host(&server.host, server.port).await.map_err(SendError::NotAllowed)?;
                smtp::send(server, target.address.reveal(), message).await
            }
        }
    }

    /// Sends JSON.
    ///
    /// # Errors
    ///
    /// When the target did not take it.
    pub(crate) async fn post(&self, target: &Target, body: &Value, key: Option<&str>) -> Result<(), SendError> {
        self.post_to(self.url(target)?, body, key).await
    }

    fn url(&self, target: &Target) -> Result<Url, SendError> {
        target.address.reveal().parse().map_err(|_| SendError::Message("the address is not valid".to_owned()))
    }

    async fn post_to(&self, url: Url, body: &Value, key: Option<&str>) -> Result<(), SendError> {
        let host = url.host_str().unwrap_or_default();
        self.policy.check_literal(host).map_err(|error| SendError::NotAllowed(error.into()))?;
        let mut request = self.client.post(url).header("content-type", "application/json").body(body.to_string());
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let answer = request.send().await.map_err(|error| SendError::Network(cause(&error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.text().await.unwrap_or_default();
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_BYTES).collect();
        Err(SendError::Answer { status, text })
    }
}

/// The innermost cause says what to do; the outer ones only say that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
