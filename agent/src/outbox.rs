//! Where the heartbeat leaves reports and the uplink finds them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::Report;
use tokio::sync::Notify;

use crate::queue::{Lost, Queued, ReportQueue};
use crate::selfcount::SelfCounters;

/// The queue of reports, shared.
pub(crate) struct Outbox {
    queue: Mutex<ReportQueue>,
    posted: Notify,
    counters: Arc<SelfCounters>,
    /// Whether a loss was told since the last success; a full queue loses with every report.
    loss_told: AtomicBool,
}

impl Outbox {
    /// An empty one.
    pub(crate) fn new(counters: Arc<SelfCounters>) -> Self {
        Outbox { queue: Mutex::default(), posted: Notify::new(), counters, loss_told: AtomicBool::new(false) }
    }

    fn queue(&self) -> MutexGuard<'_, ReportQueue> {
        // The queue is whole after every call.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a report. It is written as JSON here, once, however often it is sent.
    pub(crate) fn post(&self, report: &Report<'_>) {
        let body = match serde_json::to_vec(report) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, seq = report.seq, "a report cannot be written as JSON and is lost; please report this as a bug");
                self.counters.lost_reports.add(1);
                return;
            }
        };
        let log_lines = report.pipelines.iter().map(|pipeline| pipeline.logs.len() as u64).sum();
        let lost = self.queue().push(Queued { seq: report.seq, body: body.into(), log_lines });
        if lost.reports > 0 {
            self.count(lost);
            if !self.loss_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    lost = lost.reports,
                    "too many reports wait for the collector; from here on the oldest are dropped"
                );
            }
        }
        self.posted.notify_one();
    }

    /// Waits for a report, and gives the oldest; see [`ReportQueue::oldest`].
    pub(crate) async fn oldest(&self, max_reports: usize, max_bytes: usize) -> Vec<Queued> {
        loop {
            let posted = self.posted.notified();
            let oldest = self.queue().oldest(max_reports, max_bytes);
            if !oldest.is_empty() {
                return oldest;
            }
            posted.await;
        }
    }

    /// Drops a report that the collector will never take.
    pub(crate) fn drop_refused(&self, report: &Queued) {
        if self.queue().forget(report.seq) > 0 {
            self.count(Lost { reports: 1, log_lines: report.log_lines });
        }
    }

    fn count(&self, lost: Lost) {
        self.counters.lost_reports.add(lost.reports);
        self.counters.lost_log_lines.add(lost.log_lines);
    }

    /// See [`ReportQueue::forget`].
    pub(crate) fn forget(&self, seq: u64) -> usize {
        let forgotten = self.queue().forget(seq);
        if forgotten > 0 {
            self.loss_told.store(false, Ordering::Relaxed);
        }
        forgotten
    }

    /// See [`ReportQueue::size`].
    pub(crate) fn size(&self) -> (u64, u64) {
        self.queue().size()
    }
}
