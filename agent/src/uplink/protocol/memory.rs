//! The protocol that the collector at this address spoke: `<data-dir>/protocol`.
//!
//! Written when an authenticated request was accepted, so it is never the guess of a moment. Another address is
//! asked again.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use reqwest::Url;

use crate::files;
use crate::model::protocol::{Protocol, ProtocolSetting};

const FILE: &str = "protocol";

/// The file. It is not used when the setting names the protocol.
#[derive(Debug)]
pub(super) struct ProtocolMemory {
    path: PathBuf,
    /// The addresses of the collector.
    urls: Vec<String>,
    is_auto: bool,
    /// What this run has written.
    written: Mutex<Option<Protocol>>,
}

impl ProtocolMemory {
    /// Of the agent with this data directory, for this collector.
    pub(super) fn new(data_dir: &Path, urls: &[Url], setting: ProtocolSetting) -> Self {
        let is_auto = setting == ProtocolSetting::Auto;
        let urls = urls.iter().map(Url::to_string).collect();
        ProtocolMemory { path: data_dir.join(FILE), urls, is_auto, written: Mutex::new(None) }
    }

    /// Whether the agent asks.
    pub(super) fn is_auto(&self) -> bool {
        self.is_auto
    }

    /// What the last run found out.
    pub(super) fn read(&self) -> Option<Protocol> {
        if !self.is_auto {
            return None;
        }
        let text = std::fs::read_to_string(&self.path).ok()?;
        let (protocol, url) = text.trim().split_once(' ')?;
        Protocol::parse(protocol).filter(|_| self.urls.iter().any(|known| known == url))
    }

    /// Keeps what was found out.
    pub(super) fn write(&self, protocol: Protocol) {
        let mut written = self.lock();
        if !self.is_auto || *written == Some(protocol) {
            return;
        }
        if let Some(url) = self.urls.first().filter(|_| self.read() != Some(protocol)) {
            let text = format!("{} {url}\n", protocol.as_str());
            if let Err(error) = files::replace(&self.path, text.as_bytes()) {
                tracing::debug!(%error, "cannot save the collector's protocol; the next start asks again");
            }
        }
        *written = Some(protocol);
    }

    /// It is not true any more.
    pub(super) fn forget(&self) {
        *self.lock() = None;
        let _ = std::fs::remove_file(&self.path);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Protocol>> {
        self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_is_kept_for_one_address_and_only_when_it_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let memory = |url: &str, setting| ProtocolMemory::new(dir.path(), &[url.parse::<Url>().unwrap()], setting);
        let (here, there) = ("http://here:1/", "http://there:1/");
        assert_eq!(memory(here, ProtocolSetting::Auto).read(), None);
        memory(here, ProtocolSetting::Fixed(Protocol::Native)).write(Protocol::Native);
        assert_eq!(memory(here, ProtocolSetting::Auto).read(), None);
        memory(here, ProtocolSetting::Auto).write(Protocol::VectorFlow);
        assert_eq!(memory(here, ProtocolSetting::Auto).read(), Some(Protocol::VectorFlow));
        assert_eq!(memory(there, ProtocolSetting::Auto).read(), None);
        memory(here, ProtocolSetting::Auto).forget();
        assert_eq!(memory(here, ProtocolSetting::Auto).read(), None);
    }
}
