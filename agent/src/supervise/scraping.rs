//! Scrapes of one pipeline, and what was counted by them.

use std::sync::{Arc, Mutex};

use systole_shared::PipelineStatus;
use tokio::time::Instant;

use super::{Pipeline, lock};
use crate::clock;
use crate::metrics::AgentCounters;
use crate::scrape::delta_tracker::{DeltaTracker, ReportDeltas, SavedTracker, SourceHash};
use crate::scrape::fetch::Scraper;

/// Why a watched pipeline is not scraped when its process is gone, and no other one is known yet.
const ENDED: &str = "the process has ended";

/// What scrapes of a pipeline have counted.
pub(crate) struct Counting {
    tracker: Mutex<DeltaTracker>,
    /// Held for the length of a scrape: answers that overtake each other would count as resets.
    gate: tokio::sync::Mutex<()>,
    counters: Arc<AgentCounters>,
}

impl Counting {
    /// Nothing is counted yet.
    pub(super) fn new(tracker: DeltaTracker, counters: Arc<AgentCounters>) -> Self {
        Counting { tracker: Mutex::new(tracker), gate: tokio::sync::Mutex::new(()), counters }
    }

    /// Whether a scrape is under way.
    pub(crate) fn is_being_scraped(&self) -> bool {
        self.gate.try_lock().is_err()
    }

    /// What was counted since the last call.
    pub(crate) fn take_deltas(&self) -> ReportDeltas {
        self.with_tracker(DeltaTracker::take)
    }

    /// Works on the counters.
    pub(crate) fn with_tracker<T>(&self, work: impl FnOnce(&mut DeltaTracker) -> T) -> T {
        work(&mut lock(&self.tracker))
    }
}

impl Pipeline {
    /// Whether a scrape makes sense now: the pipeline has an endpoint, and a process may answer there.
    pub(crate) fn is_scraped(&self) -> bool {
        // While a process starts, its supervisor asks.
        let config = self.config();
        config.metrics.is_some() && (!config.is_supervised() || self.runtime.state().status.is_running())
    }

    /// Scrapes once, unless a scrape is under way already.
    pub(crate) async fn scrape_if_idle(&self, scraper: &Scraper) {
        if let Ok(_gate) = self.counting.gate.try_lock() {
            let _ = self.scrape_now(scraper).await;
        }
    }

    /// Scrapes once, after the scrape that is under way, if any.
    pub(crate) async fn scrape(&self, scraper: &Scraper) -> Result<(), String> {
        let _gate = self.counting.gate.lock().await;
        self.scrape_now(scraper).await
    }

    async fn scrape_now(&self, scraper: &Scraper) -> Result<(), String> {
        let config = self.config();
        let Some(endpoint) = &config.metrics else { return Ok(()) };
        let is_watched = !config.is_supervised();
        if is_watched && !self.may_be_scraped() {
            self.counting.with_tracker(|tracker| tracker.fail(ENDED.to_owned()));
            return Err(ENDED.to_owned());
        }
        let process_number = self.counting.with_tracker(|tracker| tracker.process_number());
        let is_starting = self.runtime.state().status == PipelineStatus::Starting;
        let begin = Instant::now();
        let result = scraper.scrape(endpoint).await;
        // What a process said before its end counts, but not against its successor.
        if self.counting.with_tracker(|tracker| tracker.process_number()) != process_number {
            return Err("the process was replaced".to_owned());
        }
        match result {
            Ok(mut scrape) => {
                if let (Some(topology), false) = (self.topology(), endpoint.count_internal) {
                    scrape.mark_internal(&topology);
                }
                self.counting.counters.scrapes.observe(begin.elapsed());
                self.counting.counters.garbage_metric_lines.add(scrape.garbage_lines);
                let (before, forgotten) = self.counting.with_tracker(|tracker| {
                    let before = tracker.forgotten();
                    tracker.record(&scrape, clock::unix_millis());
                    (before, tracker.forgotten())
                });
                // Once, and not at each scrape of a page whose labels always differ.
                if forgotten > 0 && before == 0 {
                    tracing::warn!(pipeline = %self.id, forgotten,
                        "too many series come and go at the metrics endpoint; forgotten ones count from zero if they return");
                }
                if is_watched {
                    self.record_scrape(None);
                }
                Ok(())
            }
            Err(error) => {
                if !is_starting {
                    self.counting.counters.scrape_errors.add(1);
                }
                self.counting.with_tracker(|tracker| tracker.fail(error.to_string()));
                if is_watched {
                    self.record_scrape(Some(error.to_string()));
                }
                Err(error.to_string())
            }
        }
    }

    /// There is no process that could be scraped.
    pub(super) fn record_missing_process(&self, reason: &str) {
        if self.config().metrics.is_some() {
            self.counting.with_tracker(|tracker| tracker.fail(reason.to_owned()));
        }
    }

    /// What is to be kept of the counters; nothing of a process that ends with the agent.
    pub(crate) fn save_tracker(&self) -> Option<SavedTracker> {
        let source = self.watched_source()?;
        self.counting.with_tracker(|tracker| tracker.save(&source))
    }

    /// Continues from what an earlier run of the agent kept.
    pub(crate) fn resume_tracker(&self, saved: &SavedTracker) {
        if let Some(source) = self.watched_source() {
            self.counting.with_tracker(|tracker| tracker.resume(saved, &source));
        }
    }

    /// What another program of this process continues from. To be asked right after the counters were
    /// taken for a report.
    pub(crate) fn tracker_to_hand_over(&self) -> Option<SavedTracker> {
        let source = self.metrics_source()?;
        self.counting.with_tracker(|tracker| tracker.save(&source))
    }

    /// Continues from what an earlier program of this process kept; the pipeline's process is the same.
    pub(super) fn adopt_tracker(&self, saved: &SavedTracker) {
        if let Some(source) = self.metrics_source() {
            self.counting.with_tracker(|tracker| tracker.resume_same_process(saved, &source));
        }
    }

    /// The endpoint and mapping of a watched pipeline.
    fn watched_source(&self) -> Option<SourceHash> {
        self.metrics_source().filter(|_| !self.config().is_supervised())
    }

    /// The endpoint and mapping.
    pub(super) fn metrics_source(&self) -> Option<SourceHash> {
        let config = self.config();
        let metrics = config.metrics.as_ref()?;
        Some(SourceHash::of(metrics.url.as_str(), &metrics.mapping))
    }
}
