//! What the agent counts of itself, for the `health` of its reports.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter since the agent's start.
#[derive(Debug, Default)]
pub(crate) struct SelfCounter(AtomicU64);

impl SelfCounter {
    /// Counts `more`.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The count.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All of them; see [`systole_shared::AgentHealth`] for their meaning.
#[derive(Debug, Default)]
pub(crate) struct SelfCounters {
    /// Reports that had to be dropped.
    pub(crate) lost_reports: SelfCounter,
    /// Log lines that had to be dropped.
    pub(crate) lost_log_lines: SelfCounter,
    /// Items that the collector refused, or that were left out because it would.
    pub(crate) refused_items: SelfCounter,
    /// Requests that failed.
    pub(crate) send_errors: SelfCounter,
    /// Scrapes that failed.
    pub(crate) scrape_errors: SelfCounter,
    /// Lines of metrics endpoints that were no samples.
    pub(crate) garbage_metric_lines: SelfCounter,
}
