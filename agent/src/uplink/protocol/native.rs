//! The native protocol's requests: enrolment and reports, the desired state, the push stream, and answers to
//! actions.

use std::io::Read;
use std::sync::Arc;

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use systole_shared::action::ActionOutput;
use systole_shared::{DesiredState, EnrollRequest, EnrollResponse, ReportAck, Token, UnixMillis};

use super::DesiredAnswer;
use crate::metrics::AgentCounters;
use crate::spool::Queued;
use crate::uplink::request_error::{ErrorForm, RequestError};
use crate::uplink::transport::{AnswerTiming, MAX_ANSWER_BYTES, OpenStream, Transport, Try};

/// The desired state of a node, decompressed: 200 configurations that a person wrote have much less.
const MAX_DESIRED_BYTES: usize = 64 * 1024 * 1024;

/// zstd's fastest level: five times smaller at 54 µs to open.
const ZSTD_LEVEL: i32 = 1;

/// How the collector writes errors.
const FORM: ErrorForm = ErrorForm::Problem;

/// Speaks the native protocol.
#[derive(Debug)]
pub(super) struct NativeClient {
    transport: Arc<Transport>,
    counters: Arc<AgentCounters>,
}

impl NativeClient {
    /// Over this transport.
    pub(super) fn new(transport: Arc<Transport>, counters: Arc<AgentCounters>) -> Self {
        NativeClient { transport, counters }
    }

    /// Asks for the host to become a node.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(super) async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse, RequestError> {
        let body = json(request)?;
        let request = |to: Try<'_>| self.transport.post(to, "api/v1/agent/enroll", None).body(body.clone());
        let answer = self.transport.perform(request, FORM).await?;
        self.transport.read(&answer.body)
    }

    /// Sends reports, all of one boot. An address that is tried later receives a later time of sending, so that the
    /// collector does not take the wait for a difference of the clocks.
    ///
    /// # Errors
    ///
    /// When the collector does not acknowledge them.
    pub(super) async fn report(
        &self,
        token: &Token,
        reports: &[Queued],
    ) -> Result<(ReportAck, AnswerTiming), RequestError> {
        let request = |to: Try<'_>| {
            let plain = body_of(to.sent_at, reports);
            let request = self.transport.post(to, "api/v1/agent/reports", Some(token));
            let (request, body) = match zstd::bulk::compress(&plain, ZSTD_LEVEL) {
                Ok(body) => (request.header(CONTENT_ENCODING, "zstd"), body),
                // Out of memory is the only way here; the plain body needs none.
                Err(_) => (request, plain),
            };
            self.counters.sent_bytes.add(body.len() as u64);
            request.body(body)
        };
        let answer = self.transport.perform(request, FORM).await;
        let ack = answer.and_then(|answer| Ok((self.transport.read(&answer.body)?, answer.timing)));
        match &ack {
            Ok((_, timing)) => self.counters.heartbeats.observe(timing.took),
            Err(_) => self.counters.heartbeat_errors.add(1),
        }
        ack
    }

    /// Asks for the desired state, unless it is the one of `etag`.
    ///
    /// # Errors
    ///
    /// When the collector does not answer with it.
    pub(super) async fn desired(&self, token: &Token, etag: Option<&str>) -> Result<DesiredAnswer, RequestError> {
        let request = |to: Try<'_>| {
            let request = self.transport.get(to, "api/v1/agent/desired", Some(token)).header(ACCEPT_ENCODING, "zstd");
            match etag {
                Some(etag) => request.header(IF_NONE_MATCH, etag),
                None => request,
            }
        };
        let answer = self.transport.exchange(request, FORM, MAX_DESIRED_BYTES).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(DesiredAnswer::Same);
        }
        let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = match text(CONTENT_ENCODING).as_deref() {
            Some("zstd") => decompress(&answer.body)?,
            _ => answer.body,
        };
        let desired: DesiredState = self.transport.read_secret(&body)?;
        Ok(DesiredAnswer::Other { wanted: desired.into(), etag: text(ETAG) })
    }

    /// Opens the push stream.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(super) async fn push(&self, token: &Token) -> Result<OpenStream, RequestError> {
        let request =
            |to: Try<'_>| self.transport.get(to, "api/v1/agent/push", Some(token)).header(ACCEPT, "text/event-stream");
        self.transport.open(request, FORM).await
    }

    /// Sends an answer to an action.
    ///
    /// # Errors
    ///
    /// When the collector does not take it.
    pub(super) async fn answer_action(
        &self,
        token: &Token,
        action: &str,
        output: &ActionOutput,
    ) -> Result<(), RequestError> {
        let (path, body) = (format!("api/v1/agent/actions/{action}"), json(output)?);
        let request = |to: Try<'_>| self.transport.post(to, &path, Some(token)).body(body.clone());
        self.transport.exchange(request, FORM, MAX_ANSWER_BYTES).await.map(drop)
    }
}

fn json(body: &impl serde::Serialize) -> Result<Vec<u8>, RequestError> {
    serde_json::to_vec(body).map_err(|error| RequestError::Unreadable(error.to_string()))
}

/// The request's JSON, put together out of reports that are JSON already.
fn body_of(sent_at: UnixMillis, reports: &[Queued]) -> Vec<u8> {
    let bytes: usize = reports.iter().map(|report| report.body.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 128);
    let boot = reports.first().map(|report| report.boot.to_string()).unwrap_or_default();
    body.extend_from_slice(format!(r#"{{"bootId":"{boot}","sentAt":{sent_at},"reports":["#).as_bytes());
    for (index, report) in reports.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&report.body);
    }
    body.extend_from_slice(b"]}");
    body
}

/// Decompresses a body, within the bound of what it may become.
fn decompress(body: &[u8]) -> Result<Vec<u8>, RequestError> {
    let unreadable = |error: std::io::Error| RequestError::Unreadable(format!("zstd: {error}"));
    let mut plain = Vec::new();
    let decoder = zstd::Decoder::new(body).map_err(unreadable)?;
    decoder.take(MAX_DESIRED_BYTES as u64 + 1).read_to_end(&mut plain).map_err(unreadable)?;
    if plain.len() > MAX_DESIRED_BYTES {
        return Err(RequestError::Unreadable(format!("more than {MAX_DESIRED_BYTES} bytes")));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use systole_shared::{BootId, ReportRequest};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn assembled_body_parses_as_a_request() {
        let boot = BootId(Uuid::from_u128(7));
        let report = |seq| Queued {
            boot,
            seq,
            body: Arc::from(format!(r#"{{"seq":{seq},"start":1,"end":2}}"#).into_bytes()),
            log_lines: 0,
        };
        let body = body_of(9, &[report(1), report(2)]);
        let request: ReportRequest<'_> = serde_json::from_slice(&body).unwrap();
        assert_eq!((request.boot_id, request.sent_at), (boot, 9));
        assert_eq!(request.reports.iter().map(|report| report.seq).collect::<Vec<_>>(), [1, 2]);
    }
}
