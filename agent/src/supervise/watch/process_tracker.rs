//! What is known of a watched pipeline, and the state that it makes: its process and its metrics
//! endpoint each show half of it, and sometimes they disagree.
//!
//! Processes are identified by id and start time, so an id that is used again is noticed. A pid file
//! that names a dead process is a crash; one that is removed together with the process is an orderly end. A
//! process that began after the last answer counts from zero, even when its counters are above those
//! of its predecessor. An answer while the process is known to be gone is ignored.

use systole_shared::{PipelineStatus, UnixMillis};

use super::process::Process;
use crate::clock;
use crate::model::pipeline::{PipelineConfig, ProcessConfig};
use crate::supervise::{Pipeline, lock};

/// Failed scrapes in a row after which a pipeline is not RUNNING any more: one may be a hiccup.
const FAILURES_SHOWN: u32 = 2;

/// How long a process may take until its endpoint answers, before it is shown as DEGRADED.
const READY_TIMEOUT_MS: i64 = 60_000;

/// The result of a check of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Observation {
    /// It runs.
    Running {
        /// Which one; `None` if that cannot be known.
        process: Option<Process>,
        /// How often its own supervisor says that it started it again.
        started_again: u64,
    },
    /// It is being started.
    Starting {
        /// How far it is.
        reason: String,
    },
    /// There was one.
    Ended {
        /// In order, or not.
        status: PipelineStatus,
        /// How.
        reason: String,
    },
    /// There is none, and no earlier one is known.
    Absent {
        /// Where one was searched.
        reason: String,
    },
    /// It cannot be known.
    Unknown {
        /// Why.
        reason: String,
    },
    /// Nothing new is known, and nothing contradicts what was known.
    Unchanged,
}

impl Observation {
    /// A process that runs, and that is known by its file only.
    pub(super) fn running(process: Process) -> Self {
        Observation::Running { process: Some(process), started_again: 0 }
    }
}

/// What the endpoint does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Answer {
    /// It was not asked since the process began.
    #[default]
    NotAsked,
    /// It answers.
    Good,
    /// It does not.
    Failed { in_a_row: u32, error: String },
}

/// The known state of a watched pipeline.
#[derive(Debug, Default)]
pub(in crate::supervise) struct ProcessTracker {
    /// What was checked; another one begins a new page.
    of: Option<ProcessConfig>,
    /// When the first check was made.
    since: UnixMillis,
    observation: Option<Observation>,
    /// The process that was seen last, even if it is gone.
    last: Option<Process>,
    started_at: Option<UnixMillis>,
    started_again: u64,
    answer: Answer,
    /// Whether the endpoint ever answered; for a process that is known, since it began.
    has_answered: bool,
}

/// What the state becomes.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    status: PipelineStatus,
    reason: Option<String>,
    pid: Option<u32>,
    started_at: Option<UnixMillis>,
}

/// What a check makes known beyond the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Transition {
    /// Another process than before.
    is_another: bool,
    /// How often it was started again, as far as is known.
    restarts: u64,
    /// The process that was there has ended.
    has_ended: bool,
    /// Its own supervisor says that the one before ended by itself.
    is_after_crash: bool,
}

impl ProcessTracker {
    /// Forgets everything when another process is to be watched.
    fn open(&mut self, config: &PipelineConfig, now: UnixMillis) {
        if self.of != config.process {
            *self = ProcessTracker { of: config.process.clone(), since: now, ..ProcessTracker::default() };
        }
    }

    /// The process that is known and not known to be gone.
    fn process(&self) -> Option<Process> {
        match &self.observation {
            Some(Observation::Running { process, .. }) => *process,
            _ => None,
        }
    }

    fn update(&mut self, observation: Observation, now: UnixMillis) -> Transition {
        let mut transition = Transition::default();
        match &observation {
            Observation::Unchanged => return transition,
            Observation::Running { process, started_again } => {
                if let Some(process) = process.filter(|process| !self.last.is_some_and(|last| last.is_same(*process))) {
                    transition.is_another = true;
                    if self.last.is_some() {
                        let restarts = started_again.saturating_sub(self.started_again);
                        transition.restarts = restarts.max(1);
                        transition.is_after_crash =
                            restarts > 0 && matches!(self.observation, Some(Observation::Running { .. }));
                    }
                    self.last = Some(process);
                    self.started_at = process.started_at(now);
                    self.answer = Answer::NotAsked;
                    self.has_answered = false;
                }
                self.started_again = *started_again;
            }
            Observation::Ended { .. } if self.process().is_some() => {
                transition.has_ended = true;
                self.answer = Answer::NotAsked;
                self.has_answered = false;
            }
            _ => {}
        }
        self.observation = Some(observation);
        transition
    }

    fn record_answer(&mut self, error: Option<String>) {
        self.answer = match (error, &self.answer) {
            (None, _) => {
                self.has_answered = true;
                Answer::Good
            }
            (Some(error), Answer::Failed { in_a_row, .. }) => {
                Answer::Failed { in_a_row: in_a_row.saturating_add(1), error }
            }
            (Some(error), _) => Answer::Failed { in_a_row: 1, error },
        };
    }

    /// The state that all of it makes; `None` leaves it as it is.
    fn judge(&self, now: UnixMillis) -> Option<Verdict> {
        let without_process = |status, reason| Some(Verdict { status, reason, pid: None, started_at: None });
        match &self.observation {
            Some(Observation::Running { process, .. }) => {
                let (status, reason) = self.judge_running(now);
                let pid = process.map(|process| process.pid);
                Some(Verdict { status, reason, pid, started_at: self.started_at.filter(|_| pid.is_some()) })
            }
            Some(Observation::Starting { reason }) => without_process(PipelineStatus::Starting, Some(reason.clone())),
            Some(Observation::Ended { reason, .. } | Observation::Absent { reason }) if self.answer == Answer::Good => {
                let reason = format!("the metrics endpoint answers, but {reason}");
                without_process(PipelineStatus::Degraded, Some(reason))
            }
            Some(Observation::Ended { status, reason }) => without_process(*status, Some(reason.clone())),
            Some(Observation::Absent { reason }) => without_process(PipelineStatus::Pending, Some(reason.clone())),
            Some(Observation::Unknown { reason }) => {
                let (status, why) = self.judge_endpoint().unwrap_or((PipelineStatus::Pending, None));
                let reason = why.map_or_else(|| reason.clone(), |why| format!("{why}; {reason}"));
                without_process(status, Some(reason))
            }
            Some(Observation::Unchanged) | None => {
                let (status, reason) = self.judge_endpoint()?;
                without_process(status, reason)
            }
        }
    }

    fn judge_running(&self, now: UnixMillis) -> (PipelineStatus, Option<String>) {
        let Answer::Failed { in_a_row, error } = &self.answer else { return (PipelineStatus::Running, None) };
        let is_young = self.started_at.is_some_and(|started| now - started < READY_TIMEOUT_MS);
        if !self.has_answered && is_young {
            return (PipelineStatus::Starting, Some(format!("the metrics cannot be read yet: {error}")));
        }
        if *in_a_row < FAILURES_SHOWN {
            return (PipelineStatus::Running, None);
        }
        let reason = format!("the process runs, but its metrics cannot be read: {error}");
        (PipelineStatus::Degraded, Some(reason))
    }

    /// Of the endpoint alone.
    fn judge_endpoint(&self) -> Option<(PipelineStatus, Option<String>)> {
        match &self.answer {
            Answer::NotAsked => None,
            Answer::Good => Some((PipelineStatus::Running, None)),
            Answer::Failed { in_a_row, .. } if self.has_answered && *in_a_row < FAILURES_SHOWN => {
                Some((PipelineStatus::Running, None))
            }
            Answer::Failed { error, .. } => {
                let status = if self.has_answered { PipelineStatus::Degraded } else { PipelineStatus::Pending };
                Some((status, Some(format!("the metrics cannot be read: {error}"))))
            }
        }
    }
}

impl Pipeline {
    /// The process that is known of a watched pipeline, and not known to be gone.
    pub(in crate::supervise) fn watched_process(&self) -> Option<Process> {
        lock(&self.watch).process()
    }

    /// Takes what a check at the process found. `config` is the one that was searched.
    pub(super) fn observe(&self, config: &PipelineConfig, observation: Observation) {
        let now = clock::unix_millis();
        let (transition, started_at, since) = {
            let mut watched = lock(&self.watch);
            watched.open(config, now);
            (watched.update(observation, now), watched.started_at, watched.since)
        };
        if transition.has_ended {
            self.counting.with_tracker(|tracker| tracker.note_process_end());
        }
        if transition.is_another
            && let Some(started_at) = started_at
        {
            self.counting.with_tracker(|tracker| tracker.note_process_start(started_at, since));
        }
        if transition.is_after_crash {
            self.show(Verdict {
                status: PipelineStatus::Crashed,
                reason: Some("the process ended by itself, and was started again".to_owned()),
                pid: None,
                started_at: None,
            });
        }
        if transition.restarts > 0 {
            self.runtime.change(|state| state.restarts += transition.restarts);
        }
        self.judge(now);
    }

    /// Takes what a scrape of a watched pipeline came to.
    pub(in crate::supervise) fn record_scrape(&self, error: Option<String>) {
        let now = clock::unix_millis();
        let mut watched = lock(&self.watch);
        watched.open(&self.config(), now);
        watched.record_answer(error);
        drop(watched);
        self.judge(now);
    }

    fn judge(&self, now: UnixMillis) {
        let verdict = lock(&self.watch).judge(now);
        if let Some(verdict) = verdict {
            self.show(verdict);
        }
    }

    fn show(&self, verdict: Verdict) {
        // The end of a removed pipeline is reported already.
        if self.runtime.is_gone() {
            return;
        }
        self.runtime.change(|state| {
            state.status = verdict.status;
            state.reason = verdict.reason;
            state.pid = verdict.pid;
            state.started_at = verdict.started_at;
        });
    }
}

#[cfg(test)]
#[path = "process_tracker_tests.rs"]
mod tests;
