//! The HTTP client of commands that talk to a running collector.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};
use serde_json::Value;
use systole_shared::Token;

use super::under;

/// Longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the first byte of an answer; the collector ends queries after 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Longest wait for the first byte of an answer while there is another address.
pub(super) const NEXT_ADDRESS_AFTER: Duration = Duration::from_secs(5);

/// Largest answer to a query: a thousand nodes with their pipelines.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Fault {
    /// It will be the same the next time.
    #[error("{status}: {detail}")]
    Refused { status: StatusCode, detail: String },
    /// Not now.
    #[error("{status}: {detail}")]
    Busy { status: StatusCode, detail: String, retry_after: Option<Duration> },
    /// Something else than a collector answers.
    #[error("not the feed of a collector: {0}")]
    NoFeed(String),
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Late,
    #[error("the answer is not valid JSON")]
    Unreadable(#[source] serde_json::Error),
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    #[error("{}", innermost(.0))]
    Network(reqwest::Error),
}

impl Fault {
    /// Whether the token is not taken.
    pub(in crate::cli) fn is_unauthorized(&self) -> bool {
        matches!(self, Fault::Refused { status: StatusCode::UNAUTHORIZED, .. })
    }

    /// Whether another try is of no use, whatever was before.
    pub(in crate::cli) fn is_final(&self) -> bool {
        const FINAL: [StatusCode; 3] = [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Fault::Refused { status, .. } if FINAL.contains(status))
    }

    /// Whether another collector of the cluster may answer.
    pub(in crate::cli) fn is_of_one_address(&self) -> bool {
        const UNREADY: [StatusCode; 3] =
            [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        match self {
            Fault::Network(_) | Fault::Late => true,
            Fault::Busy { status, .. } => UNREADY.contains(status),
            _ => false,
        }
    }

    /// Returns the wait that the collector requests.
    pub(in crate::cli) fn retry_after(&self) -> Option<Duration> {
        if let Fault::Busy { retry_after, .. } = self { *retry_after } else { None }
    }
}

/// The innermost cause says what to do; the outer ones say that a request failed.
pub(in crate::cli) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A client of one collector.
#[derive(Debug)]
pub(in crate::cli) struct Api {
    client: Client,
}

impl Api {
    /// A client that trusts the system's authorities, or those of a file.
    pub(in crate::cli) fn new(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        // Fails only when there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let build = |with_tls: bool| {
            let builder = Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(concat!("systole-cli/", env!("CARGO_PKG_VERSION")));
            match (ca_file, with_tls) {
                (Some(path), _) => {
                    let pem =
                        std::fs::read(path).with_context(|| format!("--ca-file: cannot read {}", path.display()))?;
                    let trusted = Certificate::from_pem_bundle(&pem).with_context(|| {
                        format!("--ca-file: {} contains no certificate in PEM format", path.display())
                    })?;
                    Ok(builder.tls_certs_only(trusted))
                }
                (None, true) => Ok(builder),
                (None, false) => Ok::<_, anyhow::Error>(builder.tls_certs_only([])),
            }
        };
        // A host without root certificates can still speak to itself.
        let client = build(true)?.build().or_else(|_| build(false).map_err(|_| ())?.build().map_err(|_| ()));
        Ok(Api { client: client.map_err(|()| anyhow::anyhow!("cannot create an HTTP client"))? })
    }

    /// Opens a stream of events; `client` is the name of the program that reads it.
    pub(in crate::cli) async fn open(
        &self,
        url: Url,
        token: &Token,
        last_id: Option<&str>,
        client: &str,
    ) -> Result<Response, Fault> {
        let mut request = self.client.get(url).header(ACCEPT, "text/event-stream").header("X-Systole-Client", client);
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let answer = self.send(request.bearer_auth(token.reveal())).await?;
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("nothing");
        if !kind.starts_with("text/event-stream") {
            return Err(Fault::NoFeed(format!("it answers with {kind}")));
        }
        Ok(answer)
    }

    /// Asks a query.
    pub(in crate::cli) async fn get(&self, url: Url, token: &Token) -> Result<Value, Fault> {
        self.call(Method::GET, url, token, None).await
    }

    /// Sends a request, with a body of JSON if there is one, and reads the JSON of the answer: null when it is empty.
    pub(in crate::cli) async fn call(
        &self,
        method: Method,
        url: Url,
        token: &Token,
        body: Option<Vec<u8>>,
    ) -> Result<Value, Fault> {
        let mut request = self.client.request(method, url).bearer_auth(token.reveal());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let read = async {
            let mut answer = self.send(request).await?;
            let mut body = Vec::new();
            while let Some(bytes) = answer.chunk().await.map_err(Fault::Network)? {
                body.extend_from_slice(&bytes);
                if body.len() > MAX_ANSWER_BYTES {
                    return Err(Fault::TooLarge);
                }
            }
            if body.is_empty() {
                return Ok(Value::Null);
            }
            serde_json::from_slice(&body).map_err(Fault::Unreadable)
        };
        tokio::time::timeout(ANSWER_TIMEOUT, read).await.map_err(|_| Fault::Late)?
    }

    /// Whether the collector there says that it is ready.
    pub(super) async fn is_ready(&self, base: &Url) -> bool {
        let asked = self.client.get(under(base, "readyz")).timeout(NEXT_ADDRESS_AFTER).send().await;
        asked.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// The scheme that a server speaks which does not understand that of `base`.
    pub(in crate::cli) async fn other_scheme(&self, base: &Url) -> Option<&'static str> {
        let scheme = if base.scheme() == "https" { "http" } else { "https" };
        let mut url = base.clone();
        // `http://host:443` stays at its port.
        let port = base.port_or_known_default();
        url.set_scheme(scheme).ok()?;
        url.set_port(port).ok()?;
        url.set_path("/healthz");
        let asked = self.client.get(url).timeout(CONNECT_TIMEOUT).send().await;
        match asked {
            Ok(_) => Some(scheme),
            // A certificate that is not trusted is one of a server that speaks TLS.
            Err(error) if scheme == "https" && innermost(&error).contains("certificate") => Some(scheme),
            Err(_) => None,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Fault> {
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await;
        let answer = sent.map_err(|_| Fault::Late)?.map_err(Fault::Network)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let problem = tokio::time::timeout(ANSWER_TIMEOUT, answer.bytes()).await;
        let problem = problem.ok().and_then(Result::ok).and_then(|body| serde_json::from_slice::<Value>(&body).ok());
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let detail = detail.unwrap_or("it does not say why").to_owned();
        let is_for_now =
            status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if is_for_now {
            return Err(Fault::Busy { status, detail, retry_after: seconds.map(Duration::from_secs) });
        }
        Err(Fault::Refused { status, detail })
    }
}
