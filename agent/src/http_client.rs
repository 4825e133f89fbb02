//! The HTTP clients, with every time-out set.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity};

use crate::model::tls::TlsFiles;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the collector's whole answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle connections are closed after this: longer than the usual interval, so that they are used again.
const IDLE: Duration = Duration::from_secs(30);

/// Makes TLS ready; a second call has no effect.
pub(crate) fn install_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Why there is no client for the collector.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The authorities.
    #[error("{}: {why}", .path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Our certificate or its key.
    #[error("{}: {why}", .path.display())]
    Client {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or with both.
        why: String,
    },
    /// Neither; this should not happen.
    #[error("cannot create a client")]
    Build(#[source] reqwest::Error),
}

impl TlsFiles {
    fn read_ca(&self) -> Result<Option<Vec<Certificate>>, TlsError> {
        let Some(path) = &self.ca else { return Ok(None) };
        let fault = |why| TlsError::Ca { path: path.clone(), why };
        let pem = std::fs::read(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fault(innermost(&error)))?;
        if certificates.is_empty() {
            return Err(fault("holds no certificate in PEM form".to_owned()));
        }
        Ok(Some(certificates))
    }

    fn read_client(&self) -> Result<Option<Identity>, TlsError> {
        let Some((certificate, key)) = &self.client else { return Ok(None) };
        let mut pem = Vec::new();
        for path in [certificate, key] {
            let fault = |why| TlsError::Client { path: path.clone(), why };
            pem.extend(std::fs::read(path).map_err(|error| fault(format!("cannot be read: {error}")))?);
            pem.push(b'\n');
        }
        let fault = |error| TlsError::Client { path: certificate.clone(), why: innermost(&error) };
        Identity::from_pem(&pem).map(Some).map_err(fault)
    }
}

/// The client for the collector. Proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`) are used.
pub(crate) fn for_collector(uses_tls: bool, files: &TlsFiles) -> Result<Client, TlsError> {
    for_collector_with(uses_tls, files, |builder| builder)
}

/// The same client, whose answers have the collector's certificate.
pub(crate) fn for_doctor(uses_tls: bool, files: &TlsFiles) -> Result<Client, TlsError> {
    for_collector_with(uses_tls, files, |builder| builder.tls_info(true))
}

fn for_collector_with(
    uses_tls: bool,
    files: &TlsFiles,
    change: fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, TlsError> {
    let (ca, identity) = (files.read_ca()?, files.read_client()?);
    let has_identity = identity.is_some();
    let with = move |builder: ClientBuilder| {
        let builder = match &ca {
            Some(ca) => builder.tls_certs_only(ca.clone()),
            None => builder,
        };
        let builder = match &identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        };
        change(builder.timeout(REQUEST_TIMEOUT))
    };
    // With authorities of one's own the system's are not read, so nothing else can be missing.
    let built = if files.is_empty() { build(uses_tls, with) } else { with(base(uses_tls)).build() };
    built.map_err(|error| match (&files.client, &files.ca) {
        (Some((path, _)), _) if has_identity => TlsError::Client { path: path.clone(), why: innermost(&error) },
        (_, Some(path)) => TlsError::Ca { path: path.clone(), why: innermost(&error) },
        _ => TlsError::Build(error),
    })
}

/// The innermost cause, which says what to do; the outer ones say that a request failed.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The beginning of a client for programs: the system's authorities, and those of the configuration.
pub(crate) fn for_downloads(files: &TlsFiles) -> Result<ClientBuilder, TlsError> {
    let builder = base(true);
    Ok(match files.read_ca()? {
        Some(ca) => builder.tls_certs_merge(ca),
        None => builder,
    })
}

/// The client for metrics endpoints. The limit of a scrape is the scraper's; proxies are for the
/// way to the collector, not for this host's own processes. No connection is kept: many servers
/// close an idle one after 5 s, which is just when the next scrape would use it.
pub(crate) fn for_scrapes(uses_tls: bool) -> reqwest::Result<Client> {
    build(uses_tls, |builder| builder.no_proxy().pool_max_idle_per_host(0))
}

/// The client for the metadata service of a cloud: no proxy leads there.
pub(crate) fn for_metadata_service(timeout: Duration) -> reqwest::Result<Client> {
    base(false).no_proxy().connect_timeout(timeout).timeout(timeout).build()
}

/// A host without root certificates cannot use TLS, but its pipelines must run.
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
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .redirect(Policy::none())
        .user_agent(concat!("systole-agent/", env!("CARGO_PKG_VERSION")));
    if uses_tls { builder } else { builder.tls_certs_only([]) }
}
