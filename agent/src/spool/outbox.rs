//! Where the heartbeat leaves reports and the uplink finds them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::{BootId, Report};
use tokio::sync::Notify;

use super::{DiskNews, Lost, Queued, Spool};
use crate::clock;
use crate::metrics::AgentCounters;

/// The spool of reports, shared.
pub(crate) struct Outbox {
    spool: Mutex<Spool>,
    posted: Notify,
    counters: Arc<AgentCounters>,
    /// Whether a loss was logged since the last success; a full queue loses with every report.
    loss_told: AtomicBool,
}

impl Outbox {
    /// With what the spool holds.
    pub(crate) fn new(spool: Spool, counters: Arc<AgentCounters>) -> Self {
        Outbox { spool: Mutex::new(spool), posted: Notify::new(), counters, loss_told: AtomicBool::new(false) }
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        // The spool is whole after every call.
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a report. It is written as JSON here, once, however often it is sent.
    pub(crate) fn post(&self, report: &Report<'_>) {
        let body = match serde_json::to_vec(report) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, seq = report.seq, "cannot write a report as JSON, it is lost; please report this as a bug");
                self.counters.lost_reports.add(1);
                return;
            }
        };
        let log_lines = report.pipelines.iter().map(|pipeline| pipeline.logs.len() as u64).sum();
        let pushed = self.spool().push(report.seq, body.into(), log_lines, clock::unix_millis());
        match pushed.disk {
            DiskNews::None => {}
            DiskNews::Lost(reason) => tracing::warn!(
                %reason,
                "cannot write reports to the spool in data_dir: they wait in memory until the disk works again, and a restart loses them"
            ),
            DiskNews::Back => tracing::info!("reports are written to the spool again"),
        }
        let damaged = pushed.damaged;
        if damaged.reports > 0 {
            self.count(damaged);
            tracing::warn!(
                reports = damaged.reports,
                log_lines = damaged.log_lines,
                "the disk lost reports of the spool; the collector shows them as a gap"
            );
        }
        let lost = pushed.lost;
        if lost.reports > 0 {
            self.count(lost);
            if !self.loss_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    lost = lost.reports,
                    "too many reports wait for the collector; the oldest are dropped from now on"
                );
            }
        }
        self.posted.notify_one();
    }

    /// Waits for a report, and gives the oldest; see [`Spool::oldest`].
    pub(crate) async fn oldest(&self, max_reports: usize, max_bytes: usize) -> Vec<Queued> {
        loop {
            let posted = self.posted.notified();
            let oldest = self.spool().oldest(max_reports, max_bytes);
            if !oldest.is_empty() {
                return oldest;
            }
            posted.await;
        }
    }

    /// See [`Spool::unread`].
    pub(crate) fn unread(
        &self,
        wanted: impl Fn(BootId, u64) -> bool,
        max_reports: usize,
        max_bytes: usize,
    ) -> Vec<Queued> {
        self.spool().unread(wanted, max_reports, max_bytes)
    }

    /// Waits for a report of this run, and gives the newest that waits.
    pub(crate) async fn newest(&self) -> Queued {
        loop {
            let posted = self.posted.notified();
            if let Some(newest) = self.spool().newest() {
                return newest;
            }
            posted.await;
        }
    }

    /// Drops a report that the collector will never take.
    pub(crate) fn drop_refused(&self, report: &Queued) {
        if self.spool().forget(report.boot, report.seq) > 0 {
            self.count(Lost { reports: 1, log_lines: report.log_lines });
        }
    }

    fn count(&self, lost: Lost) {
        self.counters.lost_reports.add(lost.reports);
        self.counters.lost_log_lines.add(lost.log_lines);
    }

    /// See [`Spool::forget`].
    pub(crate) fn forget(&self, boot: BootId, seq: u64) -> usize {
        let forgotten = self.spool().forget(boot, seq);
        if forgotten > 0 {
            self.loss_told.store(false, Ordering::Relaxed);
        }
        forgotten
    }

    /// See [`Spool::waits_in_memory`].
    pub(crate) fn waits_in_memory(&self) -> bool {
        self.spool().waits_in_memory()
    }

    /// See [`Spool::size`].
    pub(crate) fn size(&self) -> (u64, u64) {
        self.spool().size()
    }

    /// Writes down to the disk what waits, for the end of the agent.
    pub(crate) fn sync(&self) {
        if let Err(error) = self.spool().sync() {
            tracing::warn!(%error, "cannot sync the spool to the disk; a power cut may lose its end");
        }
    }
}
