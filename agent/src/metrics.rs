//! What the agent counts of itself, for the `health` of its reports and for whoever asks it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};

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

/// How often something was done since the agent's start, and how long that took.
#[derive(Debug, Default)]
pub(crate) struct AgentTimer {
    count: AtomicU64,
    sum_micros: AtomicU64,
    last_micros: AtomicU64,
}

impl AgentTimer {
    /// It was done once more, and took this long.
    pub(crate) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
        self.last_micros.store(micros, Ordering::Relaxed);
    }

    /// How often.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long all of them took.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros.load(Ordering::Relaxed))
    }

    /// How long the last one took; zero before the first.
    pub(crate) fn last(&self) -> Duration {
        Duration::from_micros(self.last_micros.load(Ordering::Relaxed))
    }
}

/// Something in words, while it is so.
#[derive(Debug, Default)]
pub(crate) struct SelfNote(Mutex<Option<String>>);

impl SelfNote {
    /// It is so, or not any more.
    pub(crate) fn set(&self, text: Option<&str>) {
        let text = text.map(|text| cut(text, MAX_SHORT_TEXT_BYTES).into_owned());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// What is so.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All of them; see [`systole_shared::AgentHealth`] for their meaning.
#[derive(Debug, Default)]
pub(crate) struct AgentCounters {
    /// What is wrong with the configuration file, while the last valid one is in force.
    pub(crate) config_error: SelfNote,
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
    /// How often the collector answered again after it had not.
    pub(crate) reconnects: SelfCounter,
    /// Bytes of requests' bodies, as they went over the wire.
    pub(crate) sent_bytes: SelfCounter,
    /// Reports that the collector has committed.
    pub(crate) committed_reports: SelfCounter,
    /// Reports made: the scrapes they waited for, and the reading of the host.
    pub(crate) reports: AgentTimer,
    /// Scrapes that gave an answer.
    pub(crate) scrapes: AgentTimer,
    /// Requests with reports that the collector answered: the way there, the commit, the way back.
    pub(crate) acks: AgentTimer,
}
