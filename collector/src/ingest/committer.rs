//! The only writer of the hot tables: takes the waiting reports, applies them, commits once, and only then
//! answers, fills the rings and publishes.
//!
//! One task, so that "committed", "acknowledged" and "published" have one order. While a
//! transaction runs, requests gather; the next one takes them all, so that the disk's latency sets
//! the size of a batch and an idle collector answers at once.
//!
//! See docs/adr/0001-acknowledged-means-committed.md for the order, the size and the spacing of batches.

mod administration;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::{NodeStatus, SeqRange, UnixMillis};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::administration::Administered;
pub(crate) use self::administration::{AdministerError, NodeAction};
use super::apply::{self, Context, Outcome};
use super::changes::Changes;
use super::flush_schedule::FlushTimer;
use super::presence_log;
use super::state::{IngestState, NodeState};
use super::upkeep;
use crate::clock;
use crate::config::{IngestLimits, LogLimits};
use crate::feed::Feed;
use crate::ingest::fleet::Fleet;
use crate::model::NodeKey;
use crate::model::directory::NodeDirectory;
use crate::model::report::{Refusals, Submission};
use crate::store::StoreError;
use crate::telemetry::logging::chain;
use crate::telemetry::{LimitLabel, Telemetry, TypeLabel};
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
}

/// The way to the committer, cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    work: mpsc::Sender<Work>,
    timeseries: Arc<TimeSeries>,
}

/// The result of a submission.
#[derive(Debug)]
pub(crate) struct Committed {
    /// Highest report of the boot that is committed.
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
}

enum Work {
    Submission(Submission, oneshot::Sender<Result<Committed, SubmitError>>),
    MarkUnreachable(NodeKey),
    Administer(NodeKey, NodeAction, Administered),
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
            state,
            parts,
            stop,
            flush_timer,
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

/// The requests that wait for the transaction. A caller of `barrier` sees a failure as the drop of its sender.
#[derive(Default)]
struct Waiting {
    submissions: Vec<Applied>,
    administered: Vec<(Administered, Vec<String>)>,
    barriers: Vec<oneshot::Sender<()>>,
}

/// A submission that is applied and not committed yet.
struct Applied {
    node: NodeKey,
    answer: Answer,
    committed: Committed,
}

struct CommitterTask {
    state: IngestState,
    parts: CommitterParts,
    stop: CancellationToken,
    flush_timer: FlushTimer,
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
        }
        let begin = Instant::now();
        match timeseries.flush().await {
            Ok(Some(rows)) => {
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
            Ok(unused) => unused.into_iter().for_each(|key| self.state.dimensions.forget_pipeline(key)),
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

    async fn commit_batch(&mut self, batch: Vec<Work>) -> ControlFlow<()> {
        let mut changes = Changes::new(self.state.head_seq);
        let mut waiting = Waiting::default();
        let mut counts = Counts::default();
        for work in batch {
            self.apply_work(work, &mut changes, &mut waiting, &mut counts).await;
        }
        let Err(error) = self.write(&mut changes, &counts).await else {
            self.failures_in_row = 0;
            self.answer(waiting);
            if self.parts.timeseries.is_full() {
                self.flush_timer.hurry(Instant::now());
            }
            return ControlFlow::Continue(());
        };
        tracing::error!(error = %chain(&error), "a transaction failed and was rolled back");
        self.retry_singly = SINGLY_AFTER_FAILURE;
        let next = if is_final(&error) { ControlFlow::Break(()) } else { self.reload().await };
        tokio::time::sleep(FAILURE_PAUSE).await;
        // Agents that have to retry are not silent. One failure can be a submission that the database
        // refuses; after the second in a row the database itself has failed.
        let now = Instant::now();
        waiting.submissions.iter().for_each(|submission| self.parts.fleet.excuse(submission.node, now));
        self.failures_in_row += 1;
        if self.failures_in_row > 1 {
            self.parts.fleet.excuse_all(now);
        }
        let error = Arc::new(error);
        for submission in waiting.submissions {
            let _ = submission.answer.send(Err(SubmitError::Store(Arc::clone(&error))));
        }
        for (answer, _) in waiting.administered {
            let _ = answer.send(Err(AdministerError::Store(Arc::clone(&error))));
        }
        next
    }

    async fn apply_work(&mut self, work: Work, changes: &mut Changes, waiting: &mut Waiting, counts: &mut Counts) {
        match work {
            Work::Submission(submission, answer) => {
                let node = submission.node;
                match self.apply_submission(submission, changes, counts).await {
                    Ok(committed) => waiting.submissions.push(Applied { node, answer, committed }),
                    Err(error) => {
                        let _ = answer.send(Err(error));
                    }
                }
            }
            Work::Barrier(done) => waiting.barriers.push(done),
            Work::Administer(key, action, answer) => match self.administer(key, &action, changes).await {
                Ok(changed) => waiting.administered.push((answer, changed)),
                Err(error) => {
                    let _ = answer.send(Err(error));
                }
            },
            Work::MarkUnreachable(key) => {
                // A report may have come while this waited.
                if changes.removed.contains_key(&key)
                    || !self.parts.fleet.is_overdue(key, Instant::now())
                    || self.ensure_node(key).await.is_err()
                {
                    return;
                }
                if let Some(node) = self.state.nodes.get_mut(&key) {
                    let reason = format!("no report for {} s", self.parts.fleet.silence().as_secs());
                    apply::mark_unreachable(node, &mut self.state.dimensions, &reason, clock::now_ms(), changes);
                    counts.silent.push((key, node.status));
                }
            }
        }
    }

    /// Makes sure that a node is in the state: one that was just enrolled is not yet.
    async fn ensure_node(&mut self, key: NodeKey) -> Result<(), SubmitError> {
        if !self.state.nodes.contains_key(&key) {
            let stored =
                self.parts.timeseries.load_node(key).await.map_err(|error| SubmitError::Store(Arc::new(error)))?;
            let stored = stored.ok_or(SubmitError::UnknownNode)?;
            let node = NodeState::load(stored, &self.state.dimensions);
            // It is committed already, by its enrolment.
            self.parts.directory.put(node.entry());
            self.state.nodes.insert(key, node);
        }
        Ok(())
    }

    async fn apply_submission(
        &mut self,
        mut submission: Submission,
        changes: &mut Changes,
        counts: &mut Counts,
    ) -> Result<Committed, SubmitError> {
        // Its row is still there until the batch is committed.
        if changes.removed.contains_key(&submission.node) {
            return Err(SubmitError::UnknownNode);
        }
        self.ensure_node(submission.node).await?;
        let node = self.state.nodes.get_mut(&submission.node).ok_or(SubmitError::UnknownNode)?;
        let context = Context {
            boot: submission.boot,
            sent_at: submission.sent_at,
            received_at: submission.received_at,
            address: submission.address,
            interval_ms: i64::try_from(self.parts.interval_ms).unwrap_or(i64::MAX),
            oldest: oldest(submission.received_at, self.parts.minutes_retention),
            log_limits: self.parts.log_limits,
        };
        let mut first_missing = None;
        let last = submission.reports.len().saturating_sub(1);
        for (index, mut report) in submission.reports.into_iter().enumerate() {
            if index < last {
                // The node is OFFLINE after the last one; before it, states would change twice.
                report.stopping = None;
            }
            let events_in = report
                .pipelines
                .iter()
                .filter_map(|pipeline| pipeline.sample)
                .fold(0_u64, |sum, sample| sum.saturating_add(sample.events_in.unsigned_abs()));
            let dimensions = &mut self.state.dimensions;
            match apply::apply(node, dimensions, report, &context, changes, &mut submission.refusals) {
                Outcome::Duplicate => counts.duplicate += 1,
                Outcome::Applied { missing } => {
                    counts.applied += 1;
                    counts.events_in = counts.events_in.saturating_add(events_in);
                    first_missing = first_missing.or(missing);
                    counts.missing += missing.map_or(0, |missing| missing.to - missing.from + 1);
                }
                Outcome::Refused { missing } => {
                    counts.refused += 1;
                    first_missing = first_missing.or(missing);
                    counts.missing += missing.map_or(0, |missing| missing.to - missing.from + 1);
                }
            }
        }
        counts.items_refused += submission.refusals.count;
        Ok(Committed {
            durable_seq: node.progress(submission.boot).unwrap_or(0),
            refusals: submission.refusals,
            missing: first_missing,
        })
    }

    /// Writes the changes, then fills the rings and publishes.
    async fn write(&mut self, changes: &mut Changes, counts: &Counts) -> Result<(), StoreError> {
        let concerns_rollouts = changes.concerns_rollouts();
        let (record, batch) = changes.take_batch();
        let (rows, lines) = (record.row_count() + batch.row_count(), batch.logs.len());
        let telemetry = &self.parts.telemetry;
        if rows > 0 {
            let begin = Instant::now();
            if let Err(error) = self.parts.timeseries.commit(record, batch).await {
                telemetry.commit_failures.inc();
                return Err(error);
            }
            telemetry.commit_seconds.observe(begin.elapsed().as_secs_f64());
            telemetry.commits.inc();
        }
        if concerns_rollouts {
            self.parts.rollouts.notify_one();
        }
        self.state.head_seq = changes.head_seq();
        telemetry.rows_written.inc_by(rows as u64);
        telemetry.log_lines.inc_by(lines as u64);
        telemetry.log_lines_dropped.inc_by(changes.log_lines_dropped);
        telemetry.reports_applied.inc_by(counts.applied);
        telemetry.reports_duplicate.inc_by(counts.duplicate);
        telemetry.reports_refused.inc_by(counts.refused);
        telemetry.reports_missing.inc_by(counts.missing);
        telemetry.items_refused.inc_by(counts.items_refused);
        let over_limit = std::mem::take(&mut self.state.dimensions.over_limit);
        for (limit, count) in
            [("node_pipelines", over_limit.node_pipelines), ("environment_pipelines", over_limit.environment_pipelines)]
        {
            telemetry.pipelines_refused.get_or_create(&LimitLabel { limit }).inc_by(count);
        }
        telemetry.components_without_history.inc_by(over_limit.components);
        telemetry.component_histories.set(i64::try_from(self.state.dimensions.places.taken()).unwrap_or(i64::MAX));
        telemetry.events_reported.inc_by(counts.events_in);
        for event in &changes.events {
            telemetry.events_published.get_or_create(&TypeLabel { r#type: event.kind.as_str() }).inc();
        }
        for (node, status) in &counts.silent {
            self.parts.fleet.set_status(*node, *status);
        }
        presence_log::write(&std::mem::take(&mut changes.presences));
        self.parts.recent_samples.push(std::mem::take(&mut changes.samples));
        self.note_administered(changes);
        self.parts.feed.publish(std::mem::take(&mut changes.events), changes.head_seq());
        Ok(())
    }

    fn answer(&self, waiting: Waiting) {
        let now = Instant::now();
        for submission in waiting.submissions {
            if let Some(node) = self.state.nodes.get(&submission.node) {
                self.parts.fleet.record_report(submission.node, node.status, now);
            }
            // An agent that has disconnected meanwhile sends again, and its report is acknowledged as a duplicate.
            let _ = submission.answer.send(Ok(submission.committed));
        }
        for (answer, changed) in waiting.administered {
            let _ = answer.send(Ok(changed));
        }
        for done in waiting.barriers {
            let _ = done.send(());
        }
    }

    /// Brings the state back to what is committed. Until the database can be read again there is
    /// nothing to apply reports to, so this waits.
    async fn reload(&mut self) -> ControlFlow<()> {
        let mut backoff = Backoff::new(READ_AGAIN);
        loop {
            match self.parts.timeseries.load().await {
                Ok(snapshot) => {
                    self.state = IngestState::load(snapshot, self.parts.limits);
                    // What was committed without an answer is in it. Removed nodes are in it already.
                    self.state.nodes.values().for_each(|node| self.parts.directory.put(node.entry()));
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

/// The content of a batch, counted once it is committed.
#[derive(Default)]
struct Counts {
    applied: u64,
    duplicate: u64,
    refused: u64,
    missing: u64,
    items_refused: u64,
    events_in: u64,
    silent: Vec<(NodeKey, NodeStatus)>,
}

impl Work {
    fn reports(&self) -> usize {
        match self {
            Work::Submission(submission, _) => submission.reports.len().max(1),
            Work::MarkUnreachable(_) | Work::Administer(..) => 1,
            Work::Barrier(_) => 0,
        }
    }
}

/// Reports that ended before are refused: their minutes are expired.
fn oldest(now: UnixMillis, retention: Duration) -> UnixMillis {
    now.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
