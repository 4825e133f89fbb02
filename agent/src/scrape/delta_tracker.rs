//! The counters of one pipeline between its process and its reports.
//!
//! Scrapes come when they come (regular ones, probes while a process starts, a last one before it
//! is stopped) and add up here; a report takes what there is. So no scrape has to be in time for a
//! report, and none is lost.

use serde::{Deserialize, Serialize};
use systole_shared::{ComponentReport, PipelineSample, UnixMillis};

use super::deltas::{Baselines, SavedBaselines};
use super::page::{self, Scrape};
use super::stable_hash::StableHasher;
use super::totals::{Deltas, InputCounterChoice, Totals};
use crate::model::mapping::Mapping;

/// The tracker of one pipeline.
#[derive(Debug)]
pub(crate) struct DeltaTracker {
    baselines: Baselines,
    input_counters: InputCounterChoice,
    uptime_seconds: Option<f64>,
    start_time_seconds: Option<f64>,
    answered_at: Option<UnixMillis>,
    /// Last answer to the run before, until the first one to this.
    resumed_at: Option<UnixMillis>,
    had_process: bool,
    /// The process that was counted has ended; the next answer is of another one.
    has_ended: bool,
    pending: Option<Totals>,
    reset: bool,
    error: Option<String>,
    process_number: u64,
    /// See [`DeltaTracker::forgotten`].
    forgotten: usize,
}

/// What a report says of a pipeline's metrics.
#[derive(Debug, Default)]
pub(crate) struct ReportDeltas {
    /// What was counted since the last report, if anything was.
    pub(crate) sample: Option<PipelineSample>,
    /// The components' part of it.
    pub(crate) components: Vec<ComponentReport<'static>>,
    /// Why there is no sample.
    pub(crate) error: Option<String>,
}

/// What is kept of a tracker over the agent's end.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct SavedTracker {
    /// The endpoint and its mapping, as a hash: other ones count other things.
    source: u64,
    /// See [`page::keys_check`].
    keys: u64,
    uptime_seconds: Option<f64>,
    start_time_seconds: Option<f64>,
    answered_at: UnixMillis,
    /// See [`SavedBaselines`].
    totals: Vec<(u64, u64)>,
    /// See [`SavedBaselines`].
    expired: Vec<(u64, u32)>,
    /// Which counters of which sources count the input.
    #[serde(skip_serializing_if = "InputCounterChoice::is_empty")]
    inputs: InputCounterChoice,
}

/// The endpoint and mapping of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceHash {
    now: u64,
    /// As version 0.1 kept it.
    old: u64,
}

impl SourceHash {
    /// Of this endpoint with this mapping.
    pub(crate) fn of(url: &str, mapping: &Mapping) -> Self {
        let hash = |fingerprint: &str| StableHasher::default().text(url).text(fingerprint).finish();
        SourceHash { now: hash(&mapping.fingerprint()), old: hash(&mapping.old_fingerprint()) }
    }

    /// Whether a hash that was kept is of the same.
    fn is(&self, kept: u64) -> bool {
        kept == self.now || kept == self.old
    }
}

/// Start times that differ by less are the same: some engines compute theirs again at each scrape.
const START_TIME_NOISE_SECONDS: f64 = 1.0;

/// How far the clocks of agent and process may differ when a start is compared with an answer.
const CLOCK_NOISE_SECONDS: f64 = 5.0;

/// How exactly the kernel shows the start of a process.
const TICK_MS: i64 = 20;

impl DeltaTracker {
    /// Of a pipeline that is only watched: its process ran before.
    pub(crate) fn of_watched() -> Self {
        DeltaTracker::new(Baselines::of_running_process())
    }

    /// Of a pipeline whose processes the agent starts.
    pub(crate) fn of_supervised() -> Self {
        DeltaTracker::new(Baselines::of_new_process())
    }

    fn new(baselines: Baselines) -> Self {
        DeltaTracker {
            baselines,
            input_counters: InputCounterChoice::default(),
            uptime_seconds: None,
            start_time_seconds: None,
            answered_at: None,
            resumed_at: None,
            had_process: false,
            has_ended: false,
            pending: None,
            reset: false,
            error: None,
            process_number: 0,
            forgotten: 0,
        }
    }

    /// What is to be kept for the next run of the agent; nothing before the first answer. To be
    /// asked right after [`DeltaTracker::take`], so that it belongs to what was taken.
    pub(crate) fn save(&self, source: &SourceHash) -> Option<SavedTracker> {
        let answered_at = self.answered_at?;
        let SavedBaselines { totals, expired } = self.baselines.save();
        Some(SavedTracker {
            source: source.now,
            keys: page::keys_check(),
            uptime_seconds: self.uptime_seconds,
            start_time_seconds: self.start_time_seconds,
            answered_at,
            totals,
            expired,
            inputs: self.input_counters.clone(),
        })
    }

    /// Continues from what was kept, if it is of this endpoint and mapping.
    pub(crate) fn resume(&mut self, saved: &SavedTracker, source: &SourceHash) {
        if source.is(saved.source) && saved.keys == page::keys_check() {
            self.baselines = Baselines::of_known_process(&saved.totals, &saved.expired);
            self.uptime_seconds = saved.uptime_seconds;
            self.start_time_seconds = saved.start_time_seconds;
            self.answered_at = Some(saved.answered_at);
            self.resumed_at = Some(saved.answered_at);
            self.had_process = true;
            self.input_counters = saved.inputs.clone();
        }
    }

    /// The same where the process is known to be the one that was counted.
    pub(crate) fn resume_same_process(&mut self, saved: &SavedTracker, source: &SourceHash) {
        self.resume(saved, source);
        self.resumed_at = None;
    }

    /// Which of the pipeline's processes this counts: a scrape that began in another run is void.
    pub(crate) fn process_number(&self) -> u64 {
        self.process_number
    }

    /// The agent starts a process: all of its counters are at zero.
    pub(crate) fn begin_process(&mut self) {
        self.process_number += 1;
        self.restart_baselines(Baselines::of_new_process());
    }

    /// The agent starts a process, but something else answers at its endpoint already.
    pub(crate) fn begin_process_beside_another(&mut self) {
        self.process_number += 1;
        self.restart_baselines(Baselines::of_running_process());
    }

    /// A process that the agent did not start is known to have begun at `at`. If that is after the
    /// last answer, or after `since` when there was none, all it counts is to be reported.
    pub(crate) fn note_process_start(&mut self, at: UnixMillis, since: UnixMillis) {
        if at > self.answered_at.unwrap_or(since) - TICK_MS {
            self.process_number += 1;
            self.restart_baselines(Baselines::of_new_process());
        }
    }

    /// The process that the agent did not start has ended: the next answer is of another one.
    pub(crate) fn note_process_end(&mut self) {
        self.process_number += 1;
        self.has_ended = true;
    }

    fn restart_baselines(&mut self, baselines: Baselines) {
        self.has_ended = false;
        self.reset |= self.had_process;
        self.had_process = true;
        self.baselines = baselines;
        self.input_counters = InputCounterChoice::default();
        self.uptime_seconds = None;
        self.start_time_seconds = None;
        self.error = None;
        if let Some(pending) = &mut self.pending {
            pending.clear_gauges();
        }
    }

    /// Takes a scrape that was answered at `now`.
    pub(crate) fn record(&mut self, scrape: &Scrape, now: UnixMillis) {
        if self.has_ended || self.is_another_process(scrape, now) {
            self.restart_baselines(Baselines::of_new_process());
        }
        self.resumed_at = None;
        // An exporter that lost its engine answers, too. Taken as a reading, everything would have
        // vanished, and would count whole when it returns.
        if scrape.components.is_empty() && !self.baselines.is_empty() {
            return self.fail("the answer contains none of the metrics that it had before".to_owned());
        }
        self.error = None;
        self.uptime_seconds = scrape.uptime_seconds.or(self.uptime_seconds);
        self.start_time_seconds = scrape.start_time_seconds.or(self.start_time_seconds);
        self.answered_at = Some(now);
        self.had_process = true;

        let counts = self.baselines.counts() || self.pending.is_some();
        let mut round = self.baselines.begin(scrape.captured_at);
        let mut totals = self.pending.take().unwrap_or_default();
        totals.clear_gauges();
        for component in &scrape.components {
            let mut deltas = Deltas::default();
            let ranks = component.ranks(|series| round.knows(series));
            for counter in &component.counters {
                // Those that do not count now need a baseline for when they do.
                let at = counter.at.filter(|_| scrape.captured_at.is_some());
                let delta = round.delta(counter.series, counter.total, at);
                if counter.rank != ranks.of(counter.field) {
                    continue;
                }
                let sum = deltas.slot(counter.field);
                *sum = Some(sum.unwrap_or(0).saturating_add(delta));
            }
            totals.add(component, deltas, &mut self.input_counters);
        }
        self.forgotten = round.end();
        self.input_counters.end_scrape();
        self.pending = counts.then_some(totals);
    }

    fn is_another_process(&self, scrape: &Scrape, now: UnixMillis) -> bool {
        // Between two scrapes a process cannot grow older than it was and be another one. Between two
        // runs of the agent it can, so then its age must have grown with the clock.
        #[expect(clippy::cast_precision_loss, reason = "a span of time, compared with seconds of tolerance")]
        let away = self
            .resumed_at
            .map_or(0.0, |at| (now.saturating_sub(at).max(0) as f64 / 1_000.0 - CLOCK_NOISE_SECONDS).max(0.0));
        let younger = match (self.uptime_seconds, scrape.uptime_seconds) {
            (Some(before), Some(now)) => now < before + away,
            _ => false,
        };
        // Some engines reckon their start from the wall clock at each scrape. When that clock is set,
        // the start moves, too, but to a time at which the process answered already.
        #[expect(clippy::cast_precision_loss, reason = "a time, compared with seconds of tolerance")]
        let answered = self.answered_at.map_or(f64::NEG_INFINITY, |at| at as f64 / 1_000.0 - CLOCK_NOISE_SECONDS);
        let started_again = match (self.start_time_seconds, scrape.start_time_seconds) {
            (Some(before), Some(now)) => now - before > START_TIME_NOISE_SECONDS && now > answered,
            _ => false,
        };
        younger || started_again
    }

    /// What is scraped from here on is another endpoint or has another meaning: the process has
    /// counted before, so the first answer counts nothing.
    pub(crate) fn change_source(&mut self) {
        self.process_number += 1;
        self.baselines = Baselines::of_running_process();
        self.input_counters = InputCounterChoice::default();
        self.uptime_seconds = None;
        self.start_time_seconds = None;
    }

    /// Whether something was counted that no report has taken.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Notes that a scrape failed. The baselines stay, so the next one covers this interval, too.
    pub(crate) fn fail(&mut self, reason: String) {
        self.error = Some(reason);
    }

    /// How many series that the last page did not have were forgotten before their time: they count
    /// whole if they return.
    pub(crate) fn forgotten(&self) -> usize {
        self.forgotten
    }

    /// When the endpoint answered last, if it has.
    pub(crate) fn answered_at(&self) -> Option<UnixMillis> {
        self.answered_at
    }

    /// Why the last scrape gave nothing, if it gave nothing.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.clone()
    }

    /// Gives what was counted since the last call.
    pub(crate) fn take(&mut self) -> ReportDeltas {
        let Some(totals) = self.pending.take() else {
            return ReportDeltas { error: self.error.clone(), ..ReportDeltas::default() };
        };
        let sample = totals.sample(std::mem::take(&mut self.reset));
        ReportDeltas { sample: Some(sample), components: totals.into_components(), error: None }
    }
}

#[cfg(test)]
#[path = "delta_tracker_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "delta_tracker_model_tests.rs"]
mod model_tests;

#[cfg(test)]
impl SourceHash {
    /// One of many.
    pub(crate) fn for_tests(number: u64) -> Self {
        SourceHash { now: number, old: number }
    }
}
