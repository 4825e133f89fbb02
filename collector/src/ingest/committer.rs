//! The only writer of the hot tables: takes the waiting reports, applies them, commits once, and only then
//! answers, fills the rings and publishes.
//!
//! One task, so that "committed", "acknowledged" and "published" have one order. While a
//! transaction runs, requests gather; the next one takes them all, so that the disk's latency sets
//! the size of a batch and an idle collector answers at once.
//!
//! See docs/adr/0001-acknowledged-means-committed.md for the order, the size and the spacing of batches.

mod administration;
mod alerting;
mod batch;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::{SeqRange, UnixMillis};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::administration::Administered;
pub(crate) use self::administration::{AdministerError, NodeAction};
pub(crate) use self::alerting::AlertWork;
use self::alerting::AlertsCommitted;
use super::commit_log::{CommitLog, Entry};
use super::fleet_totals::TotalsByEnvironment;
use super::flush_schedule::FlushTimer;
use super::state::{IngestState, NodeState};
use super::upkeep;
use crate::auth::Authenticator;
use crate::clock;
use crate::config::{IngestLimits, LogLimits};
use crate::feed::Feed;
use crate::ingest::fleet::Fleet;
use crate::model::NodeKey;
use crate::model::directory::NodeDirectory;
use crate::model::report::{Refusals, Submission};
use crate::model::watched::WatchedStates;
use crate::store::StoreError;
use crate::telemetry::Telemetry;
use crate::telemetry::logging::chain;
use crate::timeseries::TimeSeries;
use crate::timeseries::recent::RecentSamples;

/// Requests that may wait for the committer. At 10,000 reports a second that is a tenth of a second. Later
/// requests are refused with a retry time, which is better than to wait without an end.
const QUEUE_LEN: usize = 1_024;

/// Requests in one transaction. A record of the time series costs the same for one as for many, so that more
/// of them wait for the disk together.
const BATCH_REPORTS: usize = 256;

/// Longest time to collect a batch while requests arrive.
const BATCH_TIME: Duration = Duration::from_millis(20);

/// The least time between the beginnings of two transactions: under load a few more requests share the wait
/// for the disk, which is not noticeable. Without load no request waits.
const BATCH_SPACING: Duration = Duration::from_millis(4);

/// After a failed transaction this many submissions are committed one by one, so that a submission that the
/// database refuses does not fail others. All agents send again, and then only this one fails.
const SINGLY_AFTER_FAILURE: usize = 512;

/// Pause before the next attempt after a failure of the database.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);

/// Pauses between two tries to read a database that has failed. Agents back off for longer.
const READ_AGAIN: BackoffPolicy = BackoffPolicy {
    first: FAILURE_PAUSE,
    longest: Duration::from_secs(2),
    longest_asked: Duration::ZERO,
    jitter: Jitter::None,
};

/// Between two rounds of upkeep, and after the start until the first.
const UPKEEP_PAUSE: Duration = Duration::from_secs(60);
const UPKEEP_AFTER_START: Duration = Duration::from_secs(2);

/// Between two rounds while there is more to remove, for reports to be written.
const REMOVAL_PAUSE: Duration = Duration::from_millis(200);

/// Longest time for flushing the time series at the end.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(7);

/// The dependencies of the committer.
pub(crate) struct CommitterParts {
    pub timeseries: Arc<TimeSeries>,
    pub fleet: Arc<Fleet>,
    pub recent_samples: Arc<RecentSamples>,
    pub feed: Arc<Feed>,
    pub directory: Arc<NodeDirectory>,
    /// States for alerts.
    pub watched: Arc<WatchedStates>,
    pub auth: Arc<Authenticator>,
    pub telemetry: Arc<Telemetry>,
    pub interval_ms: u64,
    pub minutes_retention: Duration,
    pub limits: IngestLimits,
    /// Retention of pipelines that no node reports: the longest retention of data.
    pub unreported_retention: Duration,
    pub log_limits: LogLimits,
    /// Notified when rollouts may have something to do.
    pub rollouts: Arc<Notify>,
    /// Removed nodes and unused pipelines are remembered as long as their events.
    pub events_retention: Duration,
    /// For collectors that follow this one.
    pub commit_log: Arc<CommitLog>,
    /// Cancelled when another collector may lead: nothing that is under way can be committed any more.
    pub fenced: CancellationToken,
}

/// The way to the committer, cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    work: mpsc::Sender<Work>,
    timeseries: Arc<TimeSeries>,
}

/// The result of a submission.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Committed {
    /// Highest report of the boot that is committed; 0 when its reports have no numbers.
    pub durable_seq: u64,
    pub refusals: Refusals,
    pub missing: Option<SeqRange>,
}

/// A reason why a submission was not committed. None of it was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// Too much waits already.
    #[error("too many reports are waiting for the database")]
    Busy,
    /// The collector is stopping.
    #[error("the collector is stopping")]
    Stopping,
    /// The node is not in the database any more.
    #[error("this node is no longer known")]
    UnknownNode,
    /// The database failed.
    #[error("cannot write to the database")]
    Store(#[source] Arc<StoreError>),
    /// No collector leads at the moment, or its answer was lost.
    #[error("no collector leads at the moment")]
    NoLeader,
    /// The collector that leads could not write.
    #[error("the collector that leads cannot write to the database: {0}")]
    Leader(String),
}

enum Work {
    Submission(Submission, oneshot::Sender<Result<Committed, SubmitError>>),
    MarkUnreachable(NodeKey),
    Administer(NodeKey, NodeAction, Administered),
    Alerts(AlertWork, AlertsCommitted),
    /// Answered when everything before is done.
    Barrier(oneshot::Sender<()>),
}

impl Committer {
    /// Starts the task with the state that was loaded. At `stop` it takes nothing new, finishes what
    /// waits, and ends.
    pub(crate) fn start(
        state: IngestState,
        parts: CommitterParts,
        stop: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (work, receiver) = mpsc::channel(QUEUE_LEN);
        let now = Instant::now();
        let flush_timer = FlushTimer::new(now);
        let task = CommitterTask {
            fleet_totals: TotalsByEnvironment::of(&state, now),
            state,
            parts,
            stop,
            flush_timer,
            newly_listed: Vec::new(),
            upkeep_at: now + UPKEEP_AFTER_START,
            last_batch: now,
            retry_singly: 0,
            failures_in_row: 0,
        };
        let timeseries = Arc::clone(&task.parts.timeseries);
        let task = tokio::spawn(task.run(receiver));
        (Committer { work, timeseries }, task)
    }

    /// Commits a submission. Never waits for a place in the queue.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Committed, SubmitError> {
        if self.timeseries.is_full() {
            return Err(SubmitError::Busy);
        }
        let (answer, receiver) = oneshot::channel();
        self.work.try_send(Work::Submission(submission, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Busy,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Stopping,
        })?;
        receiver.await.map_err(|_| SubmitError::Stopping)?
    }

    /// Asks the committer to check a node that seems silent. False when the committer has ended.
    pub(crate) async fn mark_unreachable(&self, node: NodeKey) -> bool {
        self.work.send(Work::MarkUnreachable(node)).await.is_ok()
    }

    /// Waits until everything that was handed in before is done. False when it failed, or when the
    /// committer has ended.
    pub(crate) async fn barrier(&self) -> bool {
        let (done, receiver) = oneshot::channel();
        self.work.send(Work::Barrier(done)).await.is_ok() && receiver.await.is_ok()
    }

    /// Requests that wait.
    pub(crate) fn queue_len(&self) -> usize {
        self.work.max_capacity() - self.work.capacity()
    }
}

type Answer = oneshot::Sender<Result<Committed, SubmitError>>;

struct CommitterTask {
    state: IngestState,
    /// As committed.
    fleet_totals: TotalsByEnvironment,
    parts: CommitterParts,
    stop: CancellationToken,
    flush_timer: FlushTimer,
    /// Nodes that were read from the database since the last transaction.
    newly_listed: Vec<NodeKey>,
    /// When places are freed and pipelines removed again.
    upkeep_at: Instant,
    /// The start of the last transaction.
    last_batch: Instant,
    /// Submissions that are still to be committed one by one.
    retry_singly: usize,
    /// Transactions that failed since the last one that did not.
    failures_in_row: usize,
}

impl CommitterTask {
    async fn run(mut self, mut receiver: mpsc::Receiver<Work>) {
        loop {
            let first = tokio::select! {
                biased;
                // No new work from here on; waiting work is still received. Checked first: under load there
                // is always work.
                () = self.parts.fenced.cancelled() => return,
                () = self.stop.cancelled(), if !receiver.is_closed() => {
                    receiver.close();
                    continue;
                }
                () = tokio::time::sleep_until(self.flush_timer.next()) => {
                    if self.flush().await .is_break() {
                        return;
                    }
                    continue;
                }
                () = tokio::time::sleep_until(self.upkeep_at) => {
                    if self.upkeep().await.is_break() {
                        return;
                    }
                    continue;
                }
                work = receiver.recv() => work,
                // While reports come, their transactions publish the totals. After a failure one of these has to
                // succeed first: a transaction without them says nothing about theirs.
                () = sleep_until_some(self.fleet_totals.due_at()), if self.failures_in_row == 0 => {
                    if self.commit_batch(Vec::new()).await.is_break() {
                        return;
                    }
                    continue;
                }
            };
            let Some(first) = first else { return self.flush_all().await };
            let batch = if self.retry_singly > 0 { vec![first] } else { self.gather(first, &mut receiver).await };
            self.retry_singly = self.retry_singly.saturating_sub(1);
            if self.commit_batch(batch).await.is_break() {
                return;
            }
        }
    }

    /// Collects the waiting work, and the work that arrives before the next transaction may begin.
    async fn gather(&mut self, first: Work, receiver: &mut mpsc::Receiver<Work>) -> Vec<Work> {
        let begin = Instant::now();
        let until = self.last_batch + BATCH_SPACING;
        let mut reports = first.reports();
        let mut batch = vec![first];
        while reports < BATCH_REPORTS && begin.elapsed() < BATCH_TIME {
            let work = match receiver.try_recv() {
                Ok(work) => work,
                Err(_) if begin >= until => break,
                Err(_) => match tokio::time::timeout_at(until, receiver.recv()).await {
                    Ok(Some(work)) => work,
                    Ok(None) | Err(_) => break,
                },
            };
            reports += work.reports();
            batch.push(work);
        }
        self.last_batch = Instant::now();
        batch
    }

    /// Writes a chunk of the time series; the first of a flush also says how many there are.
    async fn flush(&mut self) -> ControlFlow<()> {
        let timeseries = Arc::clone(&self.parts.timeseries);
        if self.flush_timer.is_between_flushes() {
            self.flush_timer.begin(timeseries.seal());
            self.parts.commit_log.publish(Entry::Sealed(timeseries.sealed_to(), timeseries.written()));
        }
        let begin = Instant::now();
        let flushed = tokio::select! {
            flushed = timeseries.flush() => flushed,
            () = self.parts.fenced.cancelled() => return ControlFlow::Break(()),
        };
        match flushed {
            Ok(Some(rows)) => {
                self.parts.commit_log.publish(Entry::Flushed(timeseries.written()));
                self.parts.telemetry.flush_seconds.observe(begin.elapsed().as_secs_f64());
                self.parts.telemetry.rows_written.inc_by(rows as u64);
                if timeseries.is_full() {
                    // Reports are refused until there is room.
                    self.flush_timer.hurry(Instant::now());
                } else {
                    self.flush_timer.go_on(Instant::now());
                }
                ControlFlow::Continue(())
            }
            Ok(None) => {
                self.flush_timer.end(Instant::now(), clock::now_ms());
                ControlFlow::Continue(())
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot flush the write-ahead log, retrying");
                self.flush_timer.try_later(Instant::now());
                if is_final(&error) { ControlFlow::Break(()) } else { self.reload().await }
            }
        }
    }

    /// Makes places of components free, and removes pipelines that were not reported for the retention.
    async fn upkeep(&mut self) -> ControlFlow<()> {
        self.upkeep_at = Instant::now() + UPKEEP_PAUSE;
        let now = clock::now_ms();
        upkeep::free_places(&mut self.state, now);
        match self.parts.timeseries.forget_removed(oldest(now, self.parts.events_retention)).await {
            Ok(unused) => unused.into_iter().for_each(|key| {
                self.state.dimensions.forget_pipeline(key);
                self.parts.directory.forget_pipeline(key);
            }),
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot forget removed nodes");
                return if is_final(&error) { ControlFlow::Break(()) } else { self.reload().await };
            }
        }
        let gone = upkeep::unreported(&self.state, oldest(now, self.parts.unreported_retention));
        if gone.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.parts.timeseries.remove_pipelines(gone.clone()).await {
            Ok(unused) => {
                upkeep::forget(&mut self.state, &gone, &unused);
                unused.iter().for_each(|key| self.parts.directory.forget_pipeline(*key));
                self.note_live(gone.iter().map(|(node, _)| *node));
                self.parts.telemetry.pipelines_removed.inc_by(gone.len() as u64);
                if gone.len() == upkeep::REMOVED_AT_ONCE {
                    self.upkeep_at = Instant::now() + REMOVAL_PAUSE;
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot remove unreported pipelines");
                if is_final(&error) { ControlFlow::Break(()) } else { self.reload().await }
            }
        }
    }

    /// Leaves rows only, if time suffices; what is left is read from the time series at the next start.
    async fn flush_all(&mut self) {
        // Another collector continues with the log as it is.
        if self.parts.commit_log.has_followers() {
            return;
        }
        let flushed = tokio::time::timeout(LAST_FLUSH_TIMEOUT, async {
            while self.parts.timeseries.seal() > 0 {
                if let Err(error) = self.parts.timeseries.flush().await {
                    tracing::warn!(error = %chain(&error), "the write-ahead log will be flushed at the next start");
                    return;
                }
            }
        });
        if flushed.await.is_err() {
            tracing::info!("the rest of the write-ahead log will be flushed at the next start");
        }
    }

    /// Brings the state back to what is committed. Until the database can be read again there is
    /// nothing to apply reports to, so this waits.
    async fn reload(&mut self) -> ControlFlow<()> {
        let mut backoff = Backoff::new(READ_AGAIN);
        self.parts.commit_log.cut_off();
        loop {
            let loaded = tokio::select! {
                loaded = self.parts.timeseries.load() => loaded,
                () = self.parts.fenced.cancelled() => return ControlFlow::Break(()),
            };
            match loaded {
                Ok(snapshot) => {
                    self.state = IngestState::load(snapshot, self.parts.limits);
                    self.fleet_totals = TotalsByEnvironment::of(&self.state, Instant::now());
                    // What was committed without an answer is in it. Removed nodes are in it already.
                    self.state.nodes.values().for_each(|node| self.parts.directory.put(node.entry()));
                    self.parts.directory.put_pipelines(self.state.dimensions.entries());
                    self.note_live(self.state.nodes.keys().copied());
                    self.parts.watched.load(self.state.nodes.values().map(NodeState::watched));
                    // A commit can fail after it has reached the disk: then its reports are
                    // duplicates from now on, and its events are still to be handed out.
                    self.parts.feed.skip_to(self.state.head_seq);
                    return ControlFlow::Continue(());
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "cannot read the database");
                    if is_final(&error) {
                        return ControlFlow::Break(());
                    }
                    self.failures_in_row += 1;
                    tokio::select! {
                        // Nothing that waits can be committed any more.
                        () = self.stop.cancelled() => return ControlFlow::Break(()),
                        () = self.parts.fenced.cancelled() => return ControlFlow::Break(()),
                        () = tokio::time::sleep(backoff.next(0.0, None)) => {}
                    }
                }
            }
        }
    }
}

/// A store that is closed, whose writer has died, or that another collector has taken over, does not
/// come back in this process.
fn is_final(error: &StoreError) -> bool {
    matches!(error, StoreError::Closed | StoreError::Superseded)
}

impl Work {
    fn reports(&self) -> usize {
        match self {
            Work::Submission(submission, _) => submission.content.len(),
            Work::MarkUnreachable(_) | Work::Administer(..) | Work::Alerts(..) => 1,
            Work::Barrier(_) => 0,
        }
    }
}

/// Waits until a moment, or for ever without one.
async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Reports that ended before are refused: their minutes are expired.
fn oldest(now: UnixMillis, retention: Duration) -> UnixMillis {
    now.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
