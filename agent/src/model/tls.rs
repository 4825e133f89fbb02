//! Certificates for the connection to the collector.

use std::path::PathBuf;

/// Files for the way to the collector: who it must be, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// Certificates (PEM) of the authorities that are trusted instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Our certificate with those between it and its authority, and its key (PEM).
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        *self == TlsFiles::default()
    }
}
