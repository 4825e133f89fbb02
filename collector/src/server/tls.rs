//! The collector's own certificate.

use anyhow::Context;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;

/// Reads certificate and key. HTTP/2 and HTTP/1.1 are added by the server.
pub(super) fn load(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let (cert, key) = (files.cert.display(), files.key.display());
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {cert}"))?;
    anyhow::ensure!(!chain.is_empty(), "there is no certificate in {cert}");
    let private = PrivateKeyDer::from_pem_file(&files.key).with_context(|| format!("cannot read a key from {key}"))?;
    ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .context("no version of TLS can be spoken")?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("the certificate in {cert} and the key in {key} can not be used together"))
}
