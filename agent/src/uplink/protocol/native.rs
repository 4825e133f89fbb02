//! The native protocol's requests: enrolment and reports, the desired state, the push stream, and answers to
//! actions.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, ETAG, HeaderMap, IF_NONE_MATCH,
    RETRY_AFTER,
};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use systole_shared::action::ActionOutput;
use systole_shared::desired::DesiredState;
use systole_shared::{EnrollRequest, EnrollResponse, ReportAck, Token, UnixMillis};

use uuid::Uuid;

use crate::clock;
use crate::http_client::{self, TlsError};
use crate::metrics::AgentCounters;
use crate::model::tls::TlsFiles;
use crate::spool::Queued;
use crate::uplink::proxy;
use crate::uplink::request_error::{FailedResponse, RequestError, detail_of};

/// Answers are small; a larger one is not the collector's.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The desired state of a node, decompressed: 200 configurations that a person wrote have much less.
const MAX_DESIRED_BYTES: usize = 64 * 1024 * 1024;

/// Answers that are no error. 304 is the one to `If-None-Match`.
const SUCCESSES: [StatusCode; 4] =
    [StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];

/// A push stream may live for a day; it is opened again then.
const PUSH_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// What the collector answers to a question for the desired state.
#[derive(Debug)]
pub(crate) enum DesiredAnswer {
    /// It is the one that the agent has.
    Same,
    /// It is another one.
    Other {
        /// The state.
        desired: DesiredState,
        /// Its tag, for the next question.
        etag: Option<String>,
    },
}

/// An answer that is no error.
struct HttpAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// zstd's fastest level: five times smaller at 54 µs to open.
const ZSTD_LEVEL: i32 = 1;

/// Speaks to the collector.
#[derive(Debug)]
pub(crate) struct CollectorClient {
    http: Mutex<reqwest::Client>,
    tls: TlsFiles,
    base: Url,
    counters: Arc<AgentCounters>,
}

impl CollectorClient {
    /// A client for the collector at `base`.
    pub(crate) fn new(base: Url, tls: TlsFiles, counters: Arc<AgentCounters>) -> Result<Self, TlsError> {
        let http = Mutex::new(http_client::for_collector(base.scheme() == "https", &tls)?);
        Ok(CollectorClient { http, tls, base, counters })
    }

    /// Asks for the host to become a node.
    pub(crate) async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse, RequestError> {
        let body = serde_json::to_vec(request).map_err(|error| RequestError::Unreadable(error.to_string()))?;
        let request = self.post("api/v1/agent/enroll").body(body);
        let answer = self.perform(request).await?;
        self.read(&answer)
    }

    /// Sends reports, all of one boot.
    pub(crate) async fn report(
        &self,
        token: &Token,
        sent_at: UnixMillis,
        reports: &[Queued],
    ) -> Result<ReportAck, RequestError> {
        let plain = body_of(sent_at, reports);
        let request = self.post("api/v1/agent/reports").header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        let (request, body) = match zstd::bulk::compress(&plain, ZSTD_LEVEL) {
            Ok(body) => (request.header(CONTENT_ENCODING, "zstd"), body),
            // Out of memory is the only way here; the plain body needs none.
            Err(_) => (request, plain),
        };
        self.counters.sent_bytes.add(body.len() as u64);
        let request = request.body(body);
        let answer = self.perform(request).await?;
        self.read(&answer)
    }

    /// Asks for the desired state, unless it is the one of `etag`.
    pub(crate) async fn desired(&self, token: &Token, etag: Option<&str>) -> Result<DesiredAnswer, RequestError> {
        let request = self.get("api/v1/agent/desired", token).header(ACCEPT_ENCODING, "zstd");
        let request = match etag {
            Some(etag) => request.header(IF_NONE_MATCH, etag),
            None => request,
        };
        let answer = self.exchange(request, MAX_DESIRED_BYTES).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(DesiredAnswer::Same);
        }
        let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = match text(CONTENT_ENCODING).as_deref() {
            Some("zstd") => decompress(&answer.body)?,
            _ => answer.body,
        };
        Ok(DesiredAnswer::Other { desired: self.read_secret(&body)?, etag: text(ETAG) })
    }

    /// Opens the push stream. Its chunks have no limit of time but the reader's own.
    pub(crate) async fn push(&self, token: &Token) -> Result<Response, RequestError> {
        let request = self.get("api/v1/agent/push", token).header(ACCEPT, "text/event-stream").timeout(PUSH_TIMEOUT);
        let response = request.send().await.map_err(|error| RequestError::Network(chain(&error)))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        read_answer(response, MAX_ANSWER_BYTES).await.and(Err(RequestError::Unreadable("an empty answer".to_owned())))
    }

    /// Sends an answer to an action.
    pub(crate) async fn answer_action(
        &self,
        token: &Token,
        action: Uuid,
        output: &ActionOutput,
    ) -> Result<(), RequestError> {
        let body = serde_json::to_vec(output).map_err(|error| RequestError::Unreadable(error.to_string()))?;
        let request = self.post(&format!("api/v1/agent/actions/{action}"));
        let request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal())).body(body);
        self.exchange(request, MAX_ANSWER_BYTES).await.map(drop)
    }

    /// Reads an answer with secrets: an error does not quote it.
    fn read_secret<A: serde::de::DeserializeOwned>(&self, answer: &[u8]) -> Result<A, RequestError> {
        serde_json::from_slice(answer).map_err(|error| {
            let place = format!("it cannot be read at line {}, column {}", error.line(), error.column());
            RequestError::Unreadable(place).with_hint(&format!("check that url ({}) leads to the collector", self.base))
        })
    }

    fn read<A: serde::de::DeserializeOwned>(&self, answer: &[u8]) -> Result<A, RequestError> {
        serde_json::from_slice(answer).map_err(|error| {
            let detail = if serde_json::from_slice::<serde_json::Value>(answer).is_ok() {
                error.to_string()
            } else {
                detail_of(answer)
            };
            RequestError::Unreadable(detail)
                .with_hint(&format!("check that url ({}) leads to the collector", self.base))
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn get(&self, path: &str, token: &Token) -> RequestBuilder {
        self.http().get(self.url(path)).header(AUTHORIZATION, format!("Bearer {}", token.reveal()))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http().post(self.url(path)).header(CONTENT_TYPE, "application/json")
    }

    async fn perform(&self, request: RequestBuilder) -> Result<Vec<u8>, RequestError> {
        let answer = self.exchange(request, MAX_ANSWER_BYTES).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer.body);
        }
        Err(RequestError::Unreadable(format!("{} instead of 200", answer.status)))
    }

    async fn exchange(&self, request: RequestBuilder, max_bytes: usize) -> Result<HttpAnswer, RequestError> {
        let answer = match request.send().await {
            Ok(response) => read_answer(response, max_bytes).await,
            Err(error) => Err(RequestError::Network(chain(&error))),
        };
        if let Err(RequestError::Network(_)) = answer {
            self.read_certificates_again().await;
        }
        answer.map_err(|error| match hint(&error, &self.base) {
            Some(hint) => error.with_hint(&hint),
            None => error,
        })
    }

    /// Certificates are replaced while the agent runs, and the first sign of it is that the old ones
    /// do not work any more.
    async fn read_certificates_again(&self) {
        if self.tls.is_empty() {
            return;
        }
        let (uses_tls, tls) = (self.base.scheme() == "https", self.tls.clone());
        match tokio::task::spawn_blocking(move || http_client::for_collector(uses_tls, &tls)).await {
            Ok(Ok(client)) => *self.http.lock().unwrap_or_else(PoisonError::into_inner) = client,
            Ok(Err(error)) => tracing::warn!(%error, "cannot read the certificates again; the old ones stay in use"),
            Err(_) => {}
        }
    }

    fn http(&self) -> reqwest::Client {
        // A clone is another handle of the same client.
        self.http.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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

/// Reads the whole answer. Only a success, or that nothing has changed, is none of the errors.
async fn read_answer(mut response: Response, max_bytes: usize) -> Result<HttpAnswer, RequestError> {
    let status = response.status();
    let retry_after = retry_after(response.headers(), clock::unix_millis());
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_owned();
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| RequestError::Network(chain(&error)))? {
        if body.len() + chunk.len() > max_bytes {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    if SUCCESSES.contains(&status) {
        return Ok(HttpAnswer { status, headers: response.headers().clone(), body });
    }
    let error =
        RequestError::of_answer(FailedResponse { status, retry_after, content_type: &content_type, body: &body });
    Err(proxy::name_in(error, &url))
}

/// What to change when the address is wrong in a way that the answer shows.
fn hint(error: &RequestError, base: &Url) -> Option<String> {
    let uses_tls = base.scheme() == "https";
    match error {
        // rustls's word for bytes that are no TLS, and hyper's for bytes that are no HTTP.
        RequestError::Network(detail) if uses_tls && detail.contains("InvalidContentType") => Some(format!(
            "the server speaks plain HTTP, not TLS: if it is the collector, write http:// instead of https:// in url ({base})"
        )),
        RequestError::Network(detail) if !uses_tls && detail.contains("invalid HTTP") => Some(format!(
            "the server does not speak plain HTTP: if the collector has TLS, write https:// instead of http:// in url ({base})"
        )),
        RequestError::Foreign { detail, .. } | RequestError::Refused { detail, .. }
            if !uses_tls && detail.contains("plain HTTP request was sent to HTTPS port") =>
        {
            Some(format!("write https:// instead of http:// in url ({base})"))
        }
        RequestError::Foreign { status, .. } | RequestError::Refused { status, .. }
            if matches!(*status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) =>
        {
            Some(match base.path() {
                "" | "/" => format!("check that url ({base}) leads to the collector"),
                path => format!(
                    "check the path {path} of url ({base}): it must be empty, or the path that a proxy maps to the collector"
                ),
            })
        }
        RequestError::Foreign { status, .. } if status.is_redirection() => {
            Some(format!("the agent follows no redirects: write the collector's final address in url ({base})"))
        }
        _ => None,
    }
}

/// How long the answer asks to wait, in either form that HTTP has: seconds, or a date. A date is
/// measured against the answer's own, for this host's clock may be wrong.
fn retry_after(headers: &HeaderMap, now: UnixMillis) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let date = |text| Some(chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis());
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let answered = text(DATE).and_then(date).unwrap_or(now);
    Some(Duration::from_millis(u64::try_from(date(asked)? - answered).unwrap_or(0)))
}

/// What went wrong, as an operator can act on it.
fn chain(error: &reqwest::Error) -> String {
    proxy::name(cause(error), error.url())
}

fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let cause = http_client::innermost(error);
    // The second: an authority of the same name has another key.
    if cause.contains("UnknownIssuer") || cause.contains("BadSignature") {
        return format!(
            "{cause}: its certificate is not signed by a trusted authority; set ca_file to the certificate of its authority"
        );
    }
    cause
}

#[cfg(test)]
mod tests {
    use systole_shared::{BootId, ReportRequest};

    use super::*;

    #[test]
    fn retry_after_parses_seconds_and_dates() {
        let wait = |pairs: &[(reqwest::header::HeaderName, &str)]| {
            let headers: HeaderMap = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            retry_after(&headers, 784_111_777_000).map(|wait| wait.as_secs())
        };
        let date = (RETRY_AFTER, "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(wait(&[(RETRY_AFTER, " 120 ")]), Some(120));
        assert_eq!(wait(std::slice::from_ref(&date)), Some(30));
        assert_eq!(wait(&[date.clone(), (DATE, "Sun, 06 Nov 1994 08:50:00 GMT")]), Some(7));
        assert_eq!(wait(&[date, (DATE, "Sun, 06 Nov 1994 09:00:00 GMT")]), Some(0));
        assert_eq!(wait(&[(RETRY_AFTER, "soon")]), None);
        assert_eq!(wait(&[]), None);
    }

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
