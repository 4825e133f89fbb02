//! HTTP to the collector, in whichever protocol: one client for all requests, the address that each of them goes to,
//! and what a failure means.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use systole_shared::{Token, UnixMillis};
use tokio::time::{Instant, sleep, timeout};

use super::addresses::Addresses;
use super::proxy;
use super::request_error::{ErrorForm, FailedResponse, RequestError, detail_of};
use crate::clock;
use crate::http_client::{self, TlsError};
use crate::model::tls::TlsFiles;

/// Answers are small; a larger one is not the collector's.
pub(super) const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Answers that are no error. 304 is the one to `If-None-Match`.
const SUCCESSES: [StatusCode; 4] =
    [StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];

/// A push stream may live for a day; it is opened again then.
const STREAM_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// Longest wait before the next address is tried. All nodes of a collector that fails notice it at once, and must not
/// come to the next one at once.
const LONGEST_SWITCH_WAIT: Duration = Duration::from_millis(250);

/// Longest wait for the answer to the question whether an address is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// One try of a request at one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try<'a> {
    /// The address.
    base: &'a Url,
    /// This host's clock.
    pub(super) sent_at: UnixMillis,
}

/// An answer that is no error.
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// When the try that was answered was sent, by this host's clock, and how long the answer took.
    pub(super) timing: AnswerTiming,
}

/// When the try that was answered was sent, by this host's clock, and how long the answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AnswerTiming {
    pub(super) sent_at: UnixMillis,
    pub(super) took: Duration,
}

/// A stream, and the number of the address that serves it.
pub(super) struct OpenStream {
    pub(super) response: Response,
    pub(super) address: usize,
}

/// A response of which the body is not read yet.
struct Responded {
    response: Response,
    address: usize,
    sent_at: UnixMillis,
    began: Instant,
}

/// Why a try has no response.
enum TryError {
    /// There is no time left.
    Slow,
    Failed(reqwest::Error),
}

/// Sends requests to the address in use, and to the next ones when it does not answer.
#[derive(Debug)]
pub(super) struct Transport {
    http: Mutex<reqwest::Client>,
    tls: TlsFiles,
    addresses: Arc<Addresses>,
}

impl Transport {
    /// To the collector at these addresses.
    ///
    /// # Errors
    ///
    /// When the certificates cannot be used.
    pub(super) fn new(addresses: Arc<Addresses>, tls: TlsFiles) -> Result<Self, TlsError> {
        let http = Mutex::new(http_client::for_collector(uses_tls(&addresses), &tls)?);
        Ok(Transport { http, tls, addresses })
    }

    /// Where the collector is: the address in use.
    pub(super) fn base(&self) -> &Url {
        self.addresses.in_use()
    }

    /// A GET request of the node with this token, or of no node.
    pub(super) fn get(&self, to: Try<'_>, path: &str, token: Option<&Token>) -> RequestBuilder {
        with_token(self.http().get(below(to.base, path)), token)
    }

    /// A GET request to an address of the same collector that the collector has named.
    pub(super) fn get_at(&self, url: Url, token: &Token) -> RequestBuilder {
        with_token(self.http().get(url), Some(token))
    }

    /// A POST request with a JSON body.
    pub(super) fn post(&self, to: Try<'_>, path: &str, token: Option<&Token>) -> RequestBuilder {
        with_token(self.http().post(below(to.base, path)), token).header(CONTENT_TYPE, "application/json")
    }

    /// Sends a request and reads its answer, which must be 200.
    ///
    /// # Errors
    ///
    /// When it is not. The form says which errors are the collector's own.
    pub(super) async fn perform(
        &self,
        request: impl Fn(Try<'_>) -> RequestBuilder,
        form: ErrorForm,
    ) -> Result<HttpAnswer, RequestError> {
        let answer = self.exchange(request, form, MAX_ANSWER_BYTES).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        Err(RequestError::Unreadable(format!("{} instead of 200", answer.status)))
    }

    /// Sends a request and reads its answer, any success. `request` makes it again for each address that is tried.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(super) async fn exchange(
        &self,
        request: impl Fn(Try<'_>) -> RequestBuilder,
        form: ErrorForm,
        max_bytes: usize,
    ) -> Result<HttpAnswer, RequestError> {
        let Responded { response, address, sent_at, began } = self.respond(request, form).await?;
        match read_answer(response, form, max_bytes).await {
            Ok(Answer { status, headers, body }) => {
                Ok(HttpAnswer { status, headers, body, timing: AnswerTiming { sent_at, took: began.elapsed() } })
            }
            Err(error) => {
                if let RequestError::Network(_) = error {
                    // It ended within its answer; the next request begins elsewhere.
                    self.addresses.failed(address, false, &mut self.addresses.begin());
                    self.read_certificates_again().await;
                }
                Err(with_hint(error, &self.addresses.urls()[address]))
            }
        }
    }

    /// Opens a stream. Its chunks have no limit of time but the reader's own.
    ///
    /// # Errors
    ///
    /// When the answer is not 200.
    pub(super) async fn open(
        &self,
        request: impl Fn(Try<'_>) -> RequestBuilder,
        form: ErrorForm,
    ) -> Result<OpenStream, RequestError> {
        let responded = self.respond(|to| request(to).timeout(STREAM_TIMEOUT), form).await?;
        let Responded { response, address, .. } = responded;
        if response.status() == StatusCode::OK {
            return Ok(OpenStream { response, address });
        }
        let failed = read_answer(response, form, MAX_ANSWER_BYTES).await;
        Err(failed.err().unwrap_or_else(|| RequestError::Unreadable("an empty answer".to_owned())))
    }

    /// Whether the first choice of the addresses is ready.
    pub(super) async fn is_first_choice_ready(&self) -> bool {
        let url = below(&self.addresses.urls()[0], "readyz");
        let answer = self.http().get(url).timeout(READY_TIMEOUT).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// Sends a request to one address after the other, until one answers that is ready.
    async fn respond(
        &self,
        request: impl Fn(Try<'_>) -> RequestBuilder,
        form: ErrorForm,
    ) -> Result<Responded, RequestError> {
        let mut round = self.addresses.begin();
        let mut last_error = None;
        while let Some(address) = self.addresses.next(&mut round) {
            if last_error.is_some() {
                sleep(LONGEST_SWITCH_WAIT.mul_f64(rand::random())).await;
            }
            let base = &self.addresses.urls()[address];
            let (error, is_slow) = match self.try_at(address, &request).await {
                Ok(responded) if !self.is_elsewhere_better(&responded.response) => {
                    if self.addresses.answered(address) {
                        tracing::info!(url = %base, error = last_error.as_ref().map(RequestError::to_string),
                            "another address of the collector is in use");
                    }
                    return Ok(responded);
                }
                Ok(Responded { response, .. }) => {
                    let answer = read_answer(response, form, MAX_ANSWER_BYTES).await;
                    (answer.err().unwrap_or_else(|| RequestError::Unreadable("an empty answer".to_owned())), false)
                }
                Err(error) => {
                    self.read_certificates_again().await;
                    let is_slow = match &error {
                        TryError::Slow => true,
                        TryError::Failed(error) => error.is_timeout(),
                    };
                    let detail = match error {
                        TryError::Slow => proxy::name("no answer in time".to_owned(), Some(base)),
                        TryError::Failed(error) => chain(&error),
                    };
                    (RequestError::Network(detail), is_slow)
                }
            };
            tracing::debug!(url = %base, %error, "a request failed at this address of the collector");
            self.addresses.failed(address, is_slow, &mut round);
            last_error = Some(with_hint(error, base));
        }
        // There is at least one address, so there was a try.
        Err(last_error.unwrap_or_else(|| RequestError::Network("no address".to_owned())))
    }

    async fn try_at(&self, address: usize, request: impl Fn(Try<'_>) -> RequestBuilder) -> Result<Responded, TryError> {
        let base = &self.addresses.urls()[address];
        let answer_timeout = self.addresses.answer_timeout();
        let mut is_second = false;
        loop {
            let (sent_at, began) = (clock::unix_millis(), Instant::now());
            let sending = request(Try { base, sent_at }).send();
            let response = match answer_timeout {
                Some(limit) => timeout(limit, sending).await.map_err(|_| TryError::Slow)?,
                None => sending.await,
            };
            match response {
                Ok(response) => return Ok(Responded { response, address, sent_at, began }),
                // It may be no more than a connection that the collector closed while it was idle, which must not
                // cost a switch.
                Err(error) if answer_timeout.is_some() && !is_second && !error.is_connect() && !error.is_timeout() => {
                    is_second = true;
                }
                Err(error) => return Err(TryError::Failed(error)),
            }
        }
    }

    /// Whether the collector at this address, or what precedes it, says that it cannot serve now.
    fn is_elsewhere_better(&self, response: &Response) -> bool {
        let unready = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        self.addresses.are_several() && unready.contains(&response.status())
    }

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// When it is not what was expected.
    pub(super) fn read<A: serde::de::DeserializeOwned>(&self, answer: &[u8]) -> Result<A, RequestError> {
        serde_json::from_slice(answer).map_err(|error| {
            let detail = if serde_json::from_slice::<serde_json::Value>(answer).is_ok() {
                error.to_string()
            } else {
                detail_of(answer)
            };
            RequestError::Unreadable(detail).with_hint(&self.address_hint())
        })
    }

    /// Reads an answer with secrets: an error does not quote it.
    ///
    /// # Errors
    ///
    /// When it is not what was expected.
    pub(super) fn read_secret<A: serde::de::DeserializeOwned>(&self, answer: &[u8]) -> Result<A, RequestError> {
        serde_json::from_slice(answer).map_err(|error| {
            let place = format!("it cannot be read at line {}, column {}", error.line(), error.column());
            RequestError::Unreadable(place).with_hint(&self.address_hint())
        })
    }

    /// A success that is not the collector's.
    pub(super) fn unexpected(&self, answer: &[u8]) -> RequestError {
        RequestError::Unreadable(detail_of(answer)).with_hint(&self.address_hint())
    }

    fn address_hint(&self) -> String {
        format!("check that url ({}) leads to the collector", self.base())
    }

    /// Certificates are replaced while the agent runs, and the first sign of it is that the old ones
    /// do not work any more.
    async fn read_certificates_again(&self) {
        if self.tls.is_empty() {
            return;
        }
        let (uses_tls, tls) = (uses_tls(&self.addresses), self.tls.clone());
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

fn with_token(request: RequestBuilder, token: Option<&Token>) -> RequestBuilder {
    match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.reveal())),
        None => request,
    }
}

/// The address of a route.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// All addresses have the same scheme.
fn uses_tls(addresses: &Addresses) -> bool {
    addresses.urls().iter().any(|url| url.scheme() == "https")
}

/// An answer that is no error.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Reads the whole answer. Only a success, or that nothing has changed, is none of the errors.
async fn read_answer(mut response: Response, form: ErrorForm, max_bytes: usize) -> Result<Answer, RequestError> {
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
        return Ok(Answer { status, headers: response.headers().clone(), body });
    }
    let error =
        RequestError::of_answer(FailedResponse { form, status, retry_after, content_type: &content_type, body: &body });
    Err(proxy::name_in(error, &url))
}

fn with_hint(error: RequestError, base: &Url) -> RequestError {
    match hint(&error, base) {
        Some(hint) => error.with_hint(&hint),
        None => error,
    }
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
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod failover_tests;
