//! Loads the collector's certificate and key.
//!
//! A lock holds the pair, not rustls' configuration, so that a renewed pair serves new connections while
//! the old ones continue.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use systole_shared::UnixMillis;
use x509_cert::der::Decode;

use crate::clock::to_rfc3339;
use crate::cluster::fingerprint;
use crate::config::TlsFiles;

/// How long before its end a certificate is reported: renewal is usually due 30 days before it, so it has failed by then.
const WARN_BEFORE_END_MS: i64 = 14 * 24 * 3_600_000;

/// An error of a certificate or its key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read certificates from {}", .path.display())]
    Certificate {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("cannot find a certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    #[error("cannot read a key from {}", .path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("the certificate in {} and the key in {} do not match", .cert.display(), .key.display())]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("cannot configure TLS")]
    Protocol(#[source] rustls::Error),
}

/// A certificate with its chain and its key.
#[derive(Debug)]
pub(crate) struct KeyPair {
    key: Arc<CertifiedKey>,
    /// From when to when it is valid; unknown when it has a form that rustls reads and this program does not.
    validity: Option<(UnixMillis, UnixMillis)>,
}

/// A certificate that is not valid now, or not for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValidityFault {
    NotYet(UnixMillis),
    Soon(UnixMillis),
    Expired(UnixMillis),
}

impl std::fmt::Display for ValidityFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ValidityFault::NotYet(at) => write!(f, "the certificate is not valid before {}", to_rfc3339(*at)),
            ValidityFault::Soon(at) => write!(f, "the certificate expires soon, at {}", to_rfc3339(*at)),
            ValidityFault::Expired(at) => write!(f, "the certificate has expired, at {}", to_rfc3339(*at)),
        }
    }
}

impl KeyPair {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or when the key is that of another certificate.
    pub(crate) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_file_iter(&files.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| TlsError::Certificate { path: files.cert.clone(), source })?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(files.cert.clone()));
        }
        let private = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|source| TlsError::Key { path: files.key.clone(), source })?;
        let validity = validity(&chain[0]);
        let key = CertifiedKey::from_der(chain, private, &default_provider()).map_err(|source| TlsError::Pair {
            cert: files.cert.clone(),
            key: files.key.clone(),
            source,
        })?;
        Ok(KeyPair { key: Arc::new(key), validity })
    }

    /// The fault of its time, if there is one.
    pub(crate) fn validity_fault(&self, now: UnixMillis) -> Option<ValidityFault> {
        let (begin, end) = self.validity?;
        if end <= now {
            Some(ValidityFault::Expired(end))
        } else if now < begin {
            Some(ValidityFault::NotYet(begin))
        } else {
            (end - now < WARN_BEFORE_END_MS).then_some(ValidityFault::Soon(end))
        }
    }

    /// When it ends, if that is known.
    fn ends_at(&self) -> Option<UnixMillis> {
        self.validity.map(|(_, end)| end)
    }

    /// Logs what is wrong with its time. It is used all the same: some clients do not check it.
    fn report_validity(&self, now: UnixMillis) {
        match self.validity_fault(now) {
            Some(fault @ ValidityFault::Soon(_)) => tracing::warn!("{fault}; renew it"),
            Some(fault) => tracing::error!("{fault}; clients refuse it"),
            None => {}
        }
    }
}

fn validity(certificate: &CertificateDer<'_>) -> Option<(UnixMillis, UnixMillis)> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let validity = parsed.tbs_certificate.validity;
    let millis = |time: x509_cert::time::Time| UnixMillis::try_from(time.to_unix_duration().as_millis()).ok();
    Some((millis(validity.not_before)?, millis(validity.not_after)?))
}

/// Says what is wrong with the order of a chain: each certificate must come from the next one. `None` also for files
/// that cannot be read.
pub(crate) fn chain_fault(files: &TlsFiles) -> Option<String> {
    let chain = CertificateDer::pem_file_iter(&files.cert).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    let parsed: Vec<_> = chain.iter().filter_map(|der| x509_cert::Certificate::from_der(der).ok()).collect();
    let is_wrong = |pair: &[x509_cert::Certificate]| pair[0].tbs_certificate.issuer != pair[1].tbs_certificate.subject;
    let at = parsed.windows(2).position(is_wrong)?;
    let (number, next) = (at + 1, at + 2);
    Some(format!("certificate {number} of {} does not come from certificate {next}", files.cert.display()))
}

/// The pair that new connections get.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
    ends_at: RwLock<Option<UnixMillis>>,
}

impl Certificates {
    /// Reads the pair for the first time.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub(super) fn load(files: TlsFiles, now: UnixMillis) -> Result<Self, TlsError> {
        let pair = KeyPair::read(&files)?;
        pair.report_validity(now);
        let ends_at = RwLock::new(pair.ends_at());
        Ok(Certificates { files, current: RwLock::new(pair.key), ends_at })
    }

    /// SHA-256 of the certificate that new connections get, in hexadecimal.
    pub(super) fn fingerprint(&self) -> Option<String> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.cert.first().map(|certificate| fingerprint(certificate))
    }

    /// Where the pair is.
    pub(super) fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Reads the pair again. A bad one changes nothing.
    ///
    /// # Errors
    ///
    /// When the pair in the files cannot be used.
    pub(super) fn reload(&self, now: UnixMillis) -> Result<(), TlsError> {
        let pair = KeyPair::read(&self.files)?;
        pair.report_validity(now);
        *self.ends_at.write().unwrap_or_else(PoisonError::into_inner) = pair.ends_at();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair.key;
        Ok(())
    }

    /// When the current pair ends.
    pub(super) fn ends_at(&self) -> Option<UnixMillis> {
        *self.ends_at.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// TLS with whatever pair is current. HTTP/2 and HTTP/1.1 are added by the server.
    ///
    /// # Errors
    ///
    /// When the library knows no version of TLS.
    pub(super) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        Ok(ServerConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
