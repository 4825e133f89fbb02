//! The pipelines of this node: their processes, states, lines and counters.
//!
//! A [`Pipeline`] is the place where a pipeline's supervisor, its output readers and its scrapes
//! leave what they know, and where the heartbeat takes it from. None of them waits for another: every
//! lock is held for a few instructions, and never across an await, but for the one that keeps two
//! scrapes of one endpoint apart.

mod endpoint;
pub(crate) mod manager;
mod port;
pub(crate) mod process;
mod restart;
mod revision;
pub(crate) mod revisions;
pub(crate) mod rollout;
pub(crate) mod set;
mod state;
pub(crate) mod supervisor;
mod text;
mod validate;
pub(crate) mod vector_version;
pub(crate) mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::{LogStream, PipelineId, PipelineStatus};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;
use crate::logs::budget::LogBuffer;
use crate::logs::registry::LogOwner;
use crate::logs::{Line, PipelineLogs};
use crate::metrics::AgentCounters;
use crate::model::pipeline::PipelineConfig;
use crate::scrape::delta_tracker::{DeltaTracker, ReportDeltas, SavedTracker, SourceHash};
use crate::scrape::fetch::Scraper;

use self::revision::Revision;
use self::state::PendingStates;
use self::watch::ProcessTracker;
pub(crate) use state::PipelineState;

/// One pipeline as all parts of the agent share it.
pub(crate) struct Pipeline {
    id: PipelineId,
    running: Mutex<Running>,
    state: Mutex<PendingStates>,
    logs: Arc<PipelineLogs>,
    tracker: Mutex<DeltaTracker>,
    /// What is known of a pipeline that somebody else runs.
    watch: Mutex<ProcessTracker>,
    /// Held for the length of a scrape: answers that overtake each other would look like resets.
    scraping: tokio::sync::Mutex<()>,
    changed: Arc<Notify>,
    counters: Arc<AgentCounters>,
}

/// What a pipeline runs now, and whether it should run something else.
struct Running {
    config: Arc<PipelineConfig>,
    checksum: Option<String>,
    /// Why the wanted configuration does not run.
    refusal: Option<String>,
    /// It was taken out of the configuration.
    is_leaving: bool,
    /// Nothing of it lives any more.
    is_gone: bool,
}

/// Why a watched pipeline is not scraped when its process is gone, and no other one is known yet.
const ENDED: &str = "the process has ended";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipeline {
    /// A pipeline that nothing is known of yet. `changed` is told of every change of its state.
    pub(crate) fn new(
        config: PipelineConfig,
        logs: Arc<PipelineLogs>,
        changed: Arc<Notify>,
        counters: Arc<AgentCounters>,
    ) -> Self {
        let tracker = if config.is_supervised() { DeltaTracker::of_supervised() } else { DeltaTracker::of_watched() };
        Pipeline {
            id: config.id.clone(),
            running: Mutex::new(Running {
                config: Arc::new(config),
                checksum: None,
                refusal: None,
                is_leaving: false,
                is_gone: false,
            }),
            state: Mutex::new(PendingStates::new()),
            logs,
            tracker: Mutex::new(tracker),
            watch: Mutex::default(),
            scraping: tokio::sync::Mutex::new(()),
            changed,
            counters,
        }
    }

    /// Unique in the environment, and the same for the pipeline's whole life.
    pub(crate) fn id(&self) -> &PipelineId {
        &self.id
    }

    /// What the configuration says of what runs now.
    pub(crate) fn config(&self) -> Arc<PipelineConfig> {
        lock(&self.running).config.clone()
    }

    /// SHA-256 of the configuration file that the process has.
    pub(crate) fn config_checksum(&self) -> Option<String> {
        lock(&self.running).checksum.clone()
    }

    /// A revision is about to be run.
    fn run_as(&self, revision: &Revision) {
        let mut running = lock(&self.running);
        running.config = revision.config.clone();
        running.checksum.clone_from(&revision.checksum);
    }

    /// Takes what a new definition says beyond the process: the process stays.
    pub(crate) fn adopt(&self, config: Arc<PipelineConfig>) {
        let source = self.metrics_source();
        lock(&self.running).config = config;
        if self.metrics_source() != source {
            self.with_tracker(DeltaTracker::change_source);
        }
    }

    /// Why the wanted configuration does not run, when it does not.
    pub(crate) fn refusal(&self) -> Option<String> {
        lock(&self.running).refusal.clone()
    }

    /// Whether it runs, and runs what is wanted.
    fn is_as_wanted(&self) -> bool {
        self.refusal().is_none() && self.state().status.is_running()
    }

    /// What is wanted is not run; what runs, runs on.
    fn refuse(&self, reason: String) {
        tracing::warn!(pipeline = %self.id, reason, "the wanted configuration is not used");
        lock(&self.running).refusal = Some(reason);
        self.update_refusal();
    }

    /// What is wanted is about to be run.
    fn accept(&self) {
        lock(&self.running).refusal = None;
    }

    /// What runs is what is wanted.
    fn accept_running(&self) {
        if lock(&self.running).refusal.take().is_some() {
            self.update_refusal();
        }
    }

    fn update_refusal(&self) {
        if self.state().status.is_running() {
            self.mark_running();
        }
    }

    /// The process is ready. It is DEGRADED as long as another configuration than its own is wanted: the
    /// reason then says which process goes on.
    fn mark_running(&self) {
        let refusal = self.refusal();
        self.change(|state| {
            state.status = if refusal.is_some() { PipelineStatus::Degraded } else { PipelineStatus::Running };
            state.reason = refusal.map(|refusal| match (state.pid, state.started_at.and_then(clock::rfc3339)) {
                (Some(pid), Some(since)) => format!("{refusal}; process {pid} goes on, running since {since}"),
                _ => refusal,
            });
        });
    }

    /// The pipeline is taken out of the configuration.
    pub(crate) fn leave(&self) {
        lock(&self.running).is_leaving = true;
    }

    /// Whether it was taken out, and nothing of it lives any more.
    fn is_gone(&self) -> bool {
        lock(&self.running).is_gone
    }

    /// Nothing of the pipeline lives any more.
    pub(crate) fn mark_stopped(&self) {
        let is_leaving = lock(&self.running).is_leaving;
        self.change(|state| {
            state.status = PipelineStatus::Stopped;
            let reason = if is_leaving { "removed from the configuration" } else { "the agent stops" };
            state.reason = Some(reason.to_owned());
            state.pid = None;
            state.started_at = None;
        });
        lock(&self.running).is_gone = is_leaving;
    }

    /// Whether reports need not show the pipeline any more: it is gone, and everything was told.
    pub(crate) fn is_over(&self) -> bool {
        self.is_gone()
            && !self.has_unreported_states()
            && self.with_logs(|logs| logs.first().is_none())
            && self.with_tracker(|tracker| !tracker.has_pending())
    }

    /// The state now.
    pub(crate) fn state(&self) -> PipelineState {
        lock(&self.state).current().clone()
    }

    /// The state that the next report shows.
    pub(crate) fn take_next_state(&self) -> PipelineState {
        lock(&self.state).take_next()
    }

    /// Whether states wait that no report has shown.
    pub(crate) fn has_unreported_states(&self) -> bool {
        lock(&self.state).has_unreported()
    }

    /// Goes to a new state and tells the heartbeat.
    pub(crate) fn change(&self, change: impl FnOnce(&mut PipelineState)) {
        let is_new = lock(&self.state).change(change);
        if is_new {
            self.log_state();
            self.changed.notify_one();
        }
    }

    fn log_state(&self) {
        let PipelineState { status, reason, pid, .. } = self.state();
        let (id, reason) = (&self.id, reason.as_deref());
        if status.degrades_node() {
            tracing::warn!(pipeline = %id, %status, reason, "pipeline is in trouble");
        } else {
            tracing::info!(pipeline = %id, %status, reason, pid, "pipeline changed its state");
        }
    }

    /// Its lines, and where they come from.
    pub(crate) fn logs(&self) -> &Arc<PipelineLogs> {
        &self.logs
    }

    /// Adds a line of the agent's own to what the process writes to its standard error.
    fn add_line(&self, text: String) {
        let line = Line { at: clock::unix_millis(), stream: LogStream::Stderr, text, level: None };
        self.with_logs(|logs| logs.push(line, Instant::now()));
    }

    /// Works on the waiting lines.
    pub(crate) fn with_logs<T>(&self, work: impl FnOnce(&mut LogBuffer) -> T) -> T {
        self.logs.with_buffer(work)
    }

    /// What was counted since the last call.
    pub(crate) fn take_deltas(&self) -> ReportDeltas {
        self.with_tracker(DeltaTracker::take)
    }

    /// What is to be kept of the counters; nothing of a process that ends with the agent.
    pub(crate) fn save_tracker(&self) -> Option<SavedTracker> {
        let source = self.watched_source()?;
        self.with_tracker(|tracker| tracker.save(&source))
    }

    /// Goes on from what an earlier life of the agent kept.
    pub(crate) fn resume_tracker(&self, saved: &SavedTracker) {
        if let Some(source) = self.watched_source() {
            self.with_tracker(|tracker| tracker.resume(saved, &source));
        }
    }

    /// The endpoint and mapping of a watched pipeline.
    fn watched_source(&self) -> Option<SourceHash> {
        self.metrics_source().filter(|_| !self.config().is_supervised())
    }

    /// The endpoint and mapping.
    fn metrics_source(&self) -> Option<SourceHash> {
        let config = self.config();
        let metrics = config.metrics.as_ref()?;
        Some(SourceHash::of(metrics.url.as_str(), &metrics.mapping))
    }

    /// Whether a scrape makes sense now: the pipeline has an endpoint, and a process may answer there.
    pub(crate) fn is_scraped(&self) -> bool {
        // While a process starts, its supervisor asks.
        let config = self.config();
        config.metrics.is_some() && (!config.is_supervised() || self.state().status.is_running())
    }

    /// Whether a scrape is under way.
    pub(crate) fn is_being_scraped(&self) -> bool {
        self.scraping.try_lock().is_err()
    }

    /// Scrapes once, unless a scrape is under way already.
    pub(crate) async fn scrape_if_idle(&self, scraper: &Scraper) {
        if let Ok(_gate) = self.scraping.try_lock() {
            let _ = self.scrape_now(scraper).await;
        }
    }

    /// Scrapes once, after the scrape that is under way, if any.
    pub(crate) async fn scrape(&self, scraper: &Scraper) -> Result<(), String> {
        let _gate = self.scraping.lock().await;
        self.scrape_now(scraper).await
    }

    async fn scrape_now(&self, scraper: &Scraper) -> Result<(), String> {
        let config = self.config();
        let Some(endpoint) = &config.metrics else { return Ok(()) };
        let is_watched = !config.is_supervised();
        if is_watched && !self.may_be_scraped() {
            self.with_tracker(|tracker| tracker.fail(ENDED.to_owned()));
            return Err(ENDED.to_owned());
        }
        let process_number = self.with_tracker(|tracker| tracker.process_number());
        let is_starting = self.state().status == PipelineStatus::Starting;
        let begin = Instant::now();
        let result = scraper.scrape(endpoint).await;
        // What a process said before its end counts, but not against its successor.
        if self.with_tracker(|tracker| tracker.process_number()) != process_number {
            return Err("the process was replaced".to_owned());
        }
        match result {
            Ok(scrape) => {
                self.counters.scrapes.observe(begin.elapsed());
                self.counters.garbage_metric_lines.add(scrape.garbage_lines);
                let (before, forgotten) = self.with_tracker(|tracker| {
                    let before = tracker.forgotten();
                    tracker.record(&scrape, clock::unix_millis());
                    (before, tracker.forgotten())
                });
                // Once, and not at each scrape of a page whose labels always differ.
                if forgotten > 0 && before == 0 {
                    tracing::warn!(pipeline = %self.id, forgotten,
                        "series come and go at the metrics endpoint; those that were forgotten count whole if they return");
                }
                if is_watched {
                    self.record_scrape(None);
                }
                Ok(())
            }
            Err(error) => {
                if !is_starting {
                    self.counters.scrape_errors.add(1);
                }
                self.with_tracker(|tracker| tracker.fail(error.to_string()));
                if is_watched {
                    self.record_scrape(Some(error.to_string()));
                }
                Err(error.to_string())
            }
        }
    }

    /// There is no process that could be scraped.
    fn record_missing_process(&self, reason: &str) {
        if self.config().metrics.is_some() {
            self.with_tracker(|tracker| tracker.fail(reason.to_owned()));
        }
    }

    /// Works on the counters.
    pub(crate) fn with_tracker<T>(&self, work: impl FnOnce(&mut DeltaTracker) -> T) -> T {
        work(&mut lock(&self.tracker))
    }
}

impl LogOwner for Pipeline {
    fn logs(&self) -> &Arc<PipelineLogs> {
        &self.logs
    }

    fn config(&self) -> Arc<PipelineConfig> {
        Pipeline::config(self)
    }
}
