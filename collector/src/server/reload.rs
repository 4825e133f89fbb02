//! Reloads renewed certificates when their files change, and at SIGHUP.
//!
//! The files are polled. A notification of the kernel is lost where a volume is mounted again or a symbolic
//! link above the file changes, which is how Kubernetes and certbot renew.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::tls::Certificates;
use crate::alerts::board::AlertBoard;
use crate::clock::now_ms;
use crate::tasks::driver::{Activation, Pacing, Task, TaskError};

/// Time between two checks of the files. A renewal is used after two checks.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The longest pause after a bad pair: its repair is used within a minute.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// A request to reload the settings that can change while the collector runs.
#[derive(Debug, Default)]
pub(crate) struct ReloadRequest {
    is_open: AtomicBool,
    notify: Notify,
}

impl ReloadRequest {
    /// Asks for it.
    pub(super) fn make(&self) {
        self.is_open.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    fn take(&self) -> bool {
        self.is_open.swap(false, Ordering::Relaxed)
    }
}

/// Identifies the content of both files. `None` for a missing file.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

/// Reads renewed certificates.
pub(super) struct CertificateReload {
    certificates: Arc<Certificates>,
    request: Arc<ReloadRequest>,
    alerts: Arc<AlertBoard>,
    /// Of the pair in use.
    used: Stamp,
    /// At the last check.
    seen: Stamp,
}

impl CertificateReload {
    /// For certificates that were just read.
    pub(super) fn new(certificates: Arc<Certificates>, request: Arc<ReloadRequest>, alerts: Arc<AlertBoard>) -> Self {
        let used = stamp(&certificates);
        alerts.set_certificate_end(certificates.ends_at());
        CertificateReload { certificates, request, alerts, used, seen: used }
    }
}

fn stamp(certificates: &Certificates) -> Stamp {
    let of = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    let files = certificates.files();
    [of(&files.cert), of(&files.key)]
}

#[async_trait]
impl Task for CertificateReload {
    fn name(&self) -> &'static str {
        "certificate_reload"
    }

    fn pacing(&self) -> Pacing {
        Pacing { first: POLL_INTERVAL, between: POLL_INTERVAL, retry: POLL_INTERVAL, max_retry: MAX_RETRY }
    }

    async fn woken(&self) {
        self.request.notify.notified().await;
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        let is_asked = self.request.take();
        let stamp = stamp(&self.certificates);
        // Certificate and key are two files: a pair is read once both stand still.
        let is_settled = stamp == std::mem::replace(&mut self.seen, stamp);
        if is_asked || (is_settled && stamp != self.used) {
            self.certificates.reload(now_ms()).map_err(|error| TaskError::Certificate(error.into()))?;
            self.used = stamp;
            self.alerts.set_certificate_end(self.certificates.ends_at());
            tracing::info!("the certificate was read again; new connections use it");
        }
        Ok(Activation::IdleFor(POLL_INTERVAL))
    }
}
