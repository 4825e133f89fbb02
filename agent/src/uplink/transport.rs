//! HTTP to the collector, in whichever protocol: one client for all requests, and what a failure means.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use systole_shared::{Token, UnixMillis};

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

/// An answer that is no error.
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Sends requests to one address.
#[derive(Debug)]
pub(super) struct Transport {
    http: Mutex<reqwest::Client>,
    tls: TlsFiles,
    base: Url,
}

impl Transport {
    /// To the collector at `base`.
    ///
    /// # Errors
    ///
    /// When the certificates cannot be used.
    pub(super) fn new(base: Url, tls: TlsFiles) -> Result<Self, TlsError> {
        let http = Mutex::new(http_client::for_collector(base.scheme() == "https", &tls)?);
        Ok(Transport { http, tls, base })
    }

    /// Where the collector is.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// A GET request of the node with this token, or of no node.
    pub(super) fn get(&self, path: &str, token: Option<&Token>) -> RequestBuilder {
        with_token(self.http().get(self.url(path)), token)
    }

    /// A GET request to an address of the same collector that the collector has named.
    pub(super) fn get_at(&self, url: Url, token: &Token) -> RequestBuilder {
        with_token(self.http().get(url), Some(token))
    }

    /// A POST request with a JSON body.
    pub(super) fn post(&self, path: &str, token: Option<&Token>) -> RequestBuilder {
        with_token(self.http().post(self.url(path)), token).header(CONTENT_TYPE, "application/json")
    }

    /// Sends a request and reads its answer, which must be 200.
    ///
    /// # Errors
    ///
    /// When it is not. The form says which errors are the collector's own.
    pub(super) async fn perform(&self, request: RequestBuilder, form: ErrorForm) -> Result<Vec<u8>, RequestError> {
        let answer = self.exchange(request, form, MAX_ANSWER_BYTES).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer.body);
        }
        Err(RequestError::Unreadable(format!("{} instead of 200", answer.status)))
    }

    /// Sends a request and reads its answer, any success.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        form: ErrorForm,
        max_bytes: usize,
    ) -> Result<HttpAnswer, RequestError> {
        let answer = match request.send().await {
            Ok(response) => read_answer(response, form, max_bytes).await,
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

    /// Opens a stream. Its chunks have no limit of time but the reader's own.
    ///
    /// # Errors
    ///
    /// When the answer is not 200.
    pub(super) async fn open(&self, request: RequestBuilder, form: ErrorForm) -> Result<Response, RequestError> {
        let request = request.timeout(STREAM_TIMEOUT);
        let response = request.send().await.map_err(|error| RequestError::Network(chain(&error)))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let failed = read_answer(response, form, MAX_ANSWER_BYTES).await;
        failed.and(Err(RequestError::Unreadable("an empty answer".to_owned())))
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
        format!("check that url ({}) leads to the collector", self.base)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
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

fn with_token(request: RequestBuilder, token: Option<&Token>) -> RequestBuilder {
    match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.reveal())),
        None => request,
    }
}

/// Reads the whole answer. Only a success, or that nothing has changed, is none of the errors.
async fn read_answer(mut response: Response, form: ErrorForm, max_bytes: usize) -> Result<HttpAnswer, RequestError> {
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
        RequestError::of_answer(FailedResponse { form, status, retry_after, content_type: &content_type, body: &body });
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
