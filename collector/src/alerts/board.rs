//! What is known of alerts now, for the API, the metrics and the tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::UnixMillis;
use tokio::sync::Notify;

use super::engine::Alert;
use super::mute::Mute;
use super::silence::SilenceBook;
use crate::config::AlertSettings;
use crate::store::TargetRow;

/// An alert with why it is not reported.
#[derive(Clone, Debug)]
pub(crate) struct ShownAlert {
    pub alert: Alert,
    pub mute: Option<Mute>,
}

/// Shared by the tasks and the API.
#[derive(Debug)]
pub(crate) struct AlertBoard {
    pub settings: AlertSettings,
    pub silences: SilenceBook,
    inner: Mutex<Inner>,
    woken: Notify,
    deliveries: BTreeMap<String, Arc<Notify>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None`: nothing was evaluated yet.
    alerts: Option<Arc<Vec<ShownAlert>>>,
    targets: BTreeMap<String, TargetRow>,
    certificate_ends_at: Option<UnixMillis>,
}

impl AlertBoard {
    /// Nothing is known yet.
    pub(crate) fn new(settings: AlertSettings) -> Self {
        let deliveries = settings.targets.iter().map(|target| (target.name.clone(), Arc::default())).collect();
        let silences = SilenceBook::default();
        AlertBoard { settings, silences, inner: Mutex::default(), woken: Notify::new(), deliveries }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the alerts.
    pub(crate) fn set_alerts(&self, alerts: Vec<ShownAlert>) {
        self.lock().alerts = Some(Arc::new(alerts));
    }

    /// Alerts that are pending or fire, and those that ended a few minutes ago.
    pub(crate) fn alerts(&self) -> Arc<Vec<ShownAlert>> {
        self.lock().alerts.clone().unwrap_or_default()
    }

    /// The last result of a target.
    pub(crate) fn set_result(&self, result: TargetRow) {
        self.lock().targets.insert(result.target.clone(), result);
    }

    /// The same, if there is one.
    pub(crate) fn result(&self, target: &str) -> Option<TargetRow> {
        self.lock().targets.get(target).cloned()
    }

    /// Last results of all targets.
    pub(crate) fn results(&self) -> Vec<TargetRow> {
        self.lock().targets.values().cloned().collect()
    }

    /// When the collector's certificate ends.
    pub(crate) fn set_certificate_end(&self, at: Option<UnixMillis>) {
        self.lock().certificate_ends_at = at;
    }

    /// The same.
    pub(crate) fn certificate_ends_at(&self) -> Option<UnixMillis> {
        self.lock().certificate_ends_at
    }

    /// Silences have changed: alerts are checked again.
    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Returns when alerts are to be checked again.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Wakes the deliveries to all targets.
    pub(crate) fn wake_deliveries(&self) {
        self.deliveries.values().for_each(|delivery| delivery.notify_one());
    }

    /// What wakes the delivery to a target.
    pub(crate) fn delivery(&self, target: &str) -> Arc<Notify> {
        self.deliveries.get(target).cloned().unwrap_or_default()
    }
}
