//! A client of the collector's HTTP interface.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::wait::SOON;

/// An HTTP client. Each belongs to the runtime that made it, and every test has its own runtime.
pub fn http() -> reqwest::Client {
    install_crypto();
    reqwest::Client::builder().connect_timeout(SOON).build().expect("a plain client can be built")
}

/// The same for a server whose certificate this authority has signed. Each request has a new connection: what is
/// tested is how it begins.
fn https(authority: &Path) -> reqwest::Client {
    install_crypto();
    let pem = std::fs::read(authority).expect("the authority's certificate");
    let trusted = reqwest::Certificate::from_pem_bundle(&pem).expect("certificates");
    let builder = reqwest::Client::builder().connect_timeout(SOON).pool_max_idle_per_host(0);
    let builder = builder.tls_certs_only(trusted);
    builder.build().expect("a client can be built")
}

/// reqwest needs a cryptography provider, even without TLS.
pub(super) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only when one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Longest wait for an answer while there is another address: that of an agent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends requests to the collector with one token.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    /// The addresses of one collector, or of several of a cluster.
    bases: Arc<[String]>,
    /// The one in use; the client's clones follow.
    current: Arc<AtomicUsize>,
    token: Option<String>,
    authority: Option<PathBuf>,
}

impl ApiClient {
    /// A client for `http://host:port`, without a token.
    pub fn new(base: &str) -> Self {
        Self::of_several(&[base.to_owned()])
    }

    /// A client for a cluster: [`Self::move_on`] goes to the next address.
    pub fn of_several(bases: &[String]) -> Self {
        ApiClient { http: http(), bases: bases.into(), current: Arc::default(), token: None, authority: None }
    }

    /// Whether there are several addresses.
    pub fn has_several(&self) -> bool {
        self.bases.len() > 1
    }

    /// How long to wait for an answer: a collector of a cluster may be frozen.
    pub fn patience(&self) -> Duration {
        if self.has_several() { PATIENCE } else { SOON }
    }

    /// The address in use.
    pub fn base(&self) -> &str {
        &self.bases[self.current.load(Ordering::Relaxed) % self.bases.len()]
    }

    /// Uses the next address, unless another clone of this client did so since `from` was in use.
    pub fn move_on(&self, from: &str) {
        let current = self.current.load(Ordering::Relaxed);
        if self.bases[current % self.bases.len()] == from {
            let _ = self.current.compare_exchange(current, current + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Begins with another address.
    #[must_use]
    pub fn beginning_at(&self, number: usize) -> Self {
        ApiClient { current: Arc::new(AtomicUsize::new(number)), ..self.clone() }
    }

    /// A client for `https://host:port` that trusts this authority (PEM).
    pub fn trusting(base: &str, authority: &Path) -> Self {
        let authority = authority.to_owned();
        ApiClient { http: https(&authority), authority: Some(authority), ..Self::new(base) }
    }

    /// The same from another address of this host.
    pub fn from_address(&self, address: IpAddr) -> Self {
        let builder = reqwest::Client::builder().connect_timeout(SOON).local_address(address);
        ApiClient { http: builder.build().expect("a plain client can be built"), ..self.clone() }
    }

    /// The same with separate connections.
    pub fn reconnected(&self) -> Self {
        let http = self.authority.as_deref().map_or_else(http, https);
        let current = Arc::new(AtomicUsize::new(self.current.load(Ordering::Relaxed)));
        ApiClient { http, current, ..self.clone() }
    }

    /// The same with a token.
    pub fn with_token(&self, token: &str) -> Self {
        ApiClient { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The token, if there is one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A request to be refined and sent.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base()));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// GET, whatever the answer is.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(reqwest::Method::GET, path)).await
    }

    /// GET of JSON that must be there.
    pub async fn get_json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        answer.json()
    }

    /// All items of a list, or none when the thing that is listed is not known yet.
    pub async fn list_if_known(&self, path: &str) -> Vec<Value> {
        if self.get(path).await.status == 404 {
            return Vec::new();
        }
        self.list(path).await
    }

    /// All items of a list, page after page.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut next = path.to_owned();
        loop {
            let mut page = self.get_json(&next).await;
            let Value::Array(more) = page["items"].take() else { panic!("GET {next}: no items") };
            items.extend(more);
            let cursor = match &page["next"] {
                Value::Null => return items,
                Value::String(cursor) => cursor.clone(),
                cursor => cursor.to_string(),
            };
            next = format!("{path}{}cursor={cursor}", if path.contains('?') { '&' } else { '?' });
        }
    }
}

/// An answer, read to its end.
#[derive(Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Content-Type, empty when there is none.
    pub content_type: String,
    /// Retry-After in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(600).collect();
        write!(f, "{} {} {body}", self.status, self.content_type)
    }
}

impl Answer {
    /// Sends a request and reads the answer; panics when there is none.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::try_of(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends a request and reads the answer.
    pub async fn try_of(request: reqwest::RequestBuilder) -> Result<Self, reqwest::Error> {
        let response = request.timeout(SOON).send().await?;
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { status, content_type, retry_after, body: response.bytes().await?.to_vec() })
    }

    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Asserts that this is a refusal in the form of RFC 9457 and returns its body.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.content_type.starts_with("application/problem+json"), "{self:?}");
        let problem: Value = self.json();
        assert_eq!(problem["status"], status, "{self:?}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{self:?}");
        problem
    }
}
