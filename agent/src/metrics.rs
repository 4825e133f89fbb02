//! What the agent counts of its own work, for the `health` of its reports and for its /metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};

/// A counter since the agent's start.
#[derive(Debug, Default)]
pub(crate) struct AgentCounter(AtomicU64);

impl AgentCounter {
    /// Counts `more`.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The count.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Number and durations of an operation since the agent's start.
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

    /// Number of times.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The sum of their durations.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros.load(Ordering::Relaxed))
    }

    /// The duration of the last one; zero before the first.
    pub(crate) fn last(&self) -> Duration {
        Duration::from_micros(self.last_micros.load(Ordering::Relaxed))
    }
}

/// Something that is so or not.
#[derive(Debug, Default)]
pub(crate) struct AgentFlag(AtomicBool);

impl AgentFlag {
    /// It is so, or not.
    pub(crate) fn set(&self, is_so: bool) {
        self.0.store(is_so, Ordering::Relaxed);
    }

    /// Whether it is so.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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

    /// The text, if there is one.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All of them; see [`systole_shared::AgentHealth`] for their meaning.
#[derive(Debug, Default)]
pub(crate) struct AgentCounters {
    /// Errors of the configuration file, while the last valid one is in force.
    pub(crate) config_error: SelfNote,
    /// Reports that were dropped.
    pub(crate) lost_reports: AgentCounter,
    /// Log lines that were dropped.
    pub(crate) lost_log_lines: AgentCounter,
    /// Items that the collector refused or that were over a limit.
    pub(crate) refused_items: AgentCounter,
    /// Requests that failed.
    pub(crate) send_errors: AgentCounter,
    /// Scrapes that failed.
    pub(crate) scrape_errors: AgentCounter,
    /// Invalid lines of metrics endpoints.
    pub(crate) garbage_metric_lines: AgentCounter,
    /// Number of times that the collector answered again after a failure.
    pub(crate) reconnects: AgentCounter,
    /// Bytes of requests' bodies, as they went over the wire.
    pub(crate) sent_bytes: AgentCounter,
    /// Reports that the collector has committed.
    pub(crate) committed_reports: AgentCounter,
    /// Reports made: the scrapes they waited for, and the reading of the host.
    pub(crate) reports: AgentTimer,
    /// Scrapes that were answered.
    pub(crate) scrapes: AgentTimer,
    /// Requests with reports that the collector answered: the way there, the commit, the way back.
    pub(crate) acks: AgentTimer,
    /// Of these, what a VectorFlow server calls heartbeats; under a Systole collector, each of them.
    pub(crate) heartbeats: AgentTimer,
    /// Heartbeats that failed.
    pub(crate) heartbeat_errors: AgentCounter,
    /// Polls of a VectorFlow server that it answered.
    pub(crate) polls: AgentTimer,
    /// Polls of a VectorFlow server that failed.
    pub(crate) poll_errors: AgentCounter,
    /// How often the push channel of a VectorFlow server was opened again.
    pub(crate) push_reconnects: AgentCounter,
    /// Whether the push channel of a VectorFlow server is open.
    pub(crate) push_connected: AgentFlag,
    /// Why the last update of the agent failed, until a VectorFlow server has received it.
    pub(crate) update_error: SelfNote,
}
