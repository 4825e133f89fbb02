//! What the alert engine has decided, in one transaction with its events and messages.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{AdministerError, Committer, Work};
use crate::ingest::changes::Changes;
use crate::model::alert::AlertEvent;
use crate::store::AlertBatch;

/// States, messages and events of alerts that belong together.
#[derive(Debug, Default)]
pub(crate) struct AlertWork {
    pub batch: AlertBatch,
    pub events: Vec<AlertEvent>,
}

/// The way back to the alert engine.
pub(super) type AlertsCommitted = oneshot::Sender<Result<(), AdministerError>>;

impl Committer {
    /// Commits changes of alerts, after the reports that came before.
    ///
    /// # Errors
    ///
    /// When the transaction failed: whether it is in the database is then unknown.
    pub(crate) async fn commit_alerts(&self, work: AlertWork) -> Result<(), AdministerError> {
        let (answer, receiver) = oneshot::channel();
        let sent = self.work.send(Work::Alerts(work, answer)).await;
        sent.map_err(|_| AdministerError::Stopping)?;
        receiver.await.map_err(|_| AdministerError::Stopping)?
    }
}

/// Adds changes of alerts to a batch.
pub(super) fn apply(work: AlertWork, changes: &mut Changes) {
    changes.alerts.append(work.batch);
    for event in work.events {
        let AlertEvent { environment, node, pipeline, change } = event;
        let pipeline = pipeline.as_ref().map(|(key, id)| (*key, id));
        changes.add_alert_event(environment, node, pipeline, change);
    }
}

/// Says that the transaction failed.
pub(super) fn refuse(waiting: Vec<AlertsCommitted>, error: &Arc<crate::store::StoreError>) {
    for answer in waiting {
        let _ = answer.send(Err(AdministerError::Store(Arc::clone(error))));
    }
}
