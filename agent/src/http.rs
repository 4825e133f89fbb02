//! The HTTP clients, with every time-out set.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

/// Longest wait for a connection.
const CONNECT_CEILING: Duration = Duration::from_secs(5);

/// Longest wait for the collector's whole answer.
const REQUEST_CEILING: Duration = Duration::from_secs(30);

/// Idle connections are closed after this: longer than the usual interval, so that they are used again.
const IDLE: Duration = Duration::from_secs(30);

/// Makes TLS ready; a second call has no effect.
pub(crate) fn install_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The client for the collector.
pub(crate) fn for_collector(uses_tls: bool) -> reqwest::Result<Client> {
    build(uses_tls, |builder| builder.timeout(REQUEST_CEILING))
}

/// The client for metrics endpoints. The ceiling of a scrape is the scraper's; proxies are for the
/// way to the collector, not for this host's own processes. No connection is kept: many servers
/// close an idle one after 5 s, which is just when the next scrape would use it.
pub(crate) fn for_scrapes(uses_tls: bool) -> reqwest::Result<Client> {
    build(uses_tls, |builder| builder.no_proxy().pool_max_idle_per_host(0))
}

/// A host without root certificates cannot speak TLS, but its pipelines must run all the same.
fn build(uses_tls: bool, with: impl Fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<Client> {
    match with(base(uses_tls)).build() {
        Err(error) if uses_tls => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(
                cause,
                "no https request can succeed: install root certificates (ca-certificates) or set SSL_CERT_FILE"
            );
            with(base(false)).build()
        }
        built => built,
    }
}

/// Without TLS no roots are read: a host may have none, and they would only cost memory.
fn base(uses_tls: bool) -> ClientBuilder {
    let builder = Client::builder()
        .connect_timeout(CONNECT_CEILING)
        .pool_idle_timeout(IDLE)
        .redirect(Policy::none())
        .user_agent(concat!("systole-agent/", env!("CARGO_PKG_VERSION")));
    if uses_tls { builder } else { builder.tls_certs_only([]) }
}
