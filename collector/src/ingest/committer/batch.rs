//! One transaction of the committer: apply the work of a batch, write it, and only then answer, fill the rings and
//! publish. When the transaction fails, everything that waits for it gets the error.

use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::HashMap;
use systole_shared::events::EventType;
use systole_shared::{NodeId, NodeStatus, SeqRange};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::administration::Administered;
use super::alerting::{self, AlertsCommitted};
use super::{
    AdministerError, Answer, Committed, CommitterTask, FAILURE_PAUSE, SINGLY_AFTER_FAILURE, SubmitError, Work,
    is_final, oldest,
};
use crate::clock;
use crate::ingest::apply::{self, Context, Outcome};
use crate::ingest::changes::Changes;
use crate::ingest::commit_log::{CommitEntry, FollowerId, Samples};
use crate::ingest::presence_log;
use crate::ingest::state::NodeState;
use crate::model::report::{Content, Submission};
use crate::model::{NodeKey, PendingEvent, PipelineKey};
use crate::store::{StoreError, WalRow};
use crate::telemetry::logging::chain;
use crate::telemetry::{LimitLabel, TypeLabel};

/// The requests that wait for the transaction. A caller of `barrier` sees a failure as the drop of its sender.
#[derive(Default)]
struct Waiting {
    submissions: Vec<Applied>,
    administered: Vec<(Administered, Vec<String>)>,
    alerts: Vec<AlertsCommitted>,
    barriers: Vec<oneshot::Sender<()>>,
}

/// A submission that is applied and not committed yet.
struct Applied {
    node: NodeKey,
    heard_by: Option<FollowerId>,
    /// Whether it shows that the node reports: lines alone do not.
    is_report: bool,
    answer: Answer,
    committed: Committed,
}

/// The content of a batch, counted once it is committed.
#[derive(Default)]
struct Counts {
    applied: u64,
    duplicate: u64,
    refused: u64,
    missing: u64,
    items_refused: u64,
    silent: Vec<(NodeKey, NodeStatus)>,
    /// Nodes of which something is new, some perhaps twice.
    changed: Vec<NodeKey>,
}

impl Counts {
    /// Counts a report, and returns the reports before it that never came.
    fn note(&mut self, outcome: Outcome) -> Option<SeqRange> {
        let missing = match outcome {
            Outcome::Duplicate => {
                self.duplicate += 1;
                None
            }
            Outcome::Applied { missing } => {
                self.applied += 1;
                missing
            }
            Outcome::Refused { missing } => {
                self.refused += 1;
                missing
            }
        };
        self.missing += missing.map_or(0, |missing| missing.to - missing.from + 1);
        missing
    }
}

impl CommitterTask {
    pub(super) async fn commit_batch(&mut self, batch: Vec<Work>) -> ControlFlow<()> {
        let mut changes = Changes::new(self.state.head_seq);
        let mut waiting = Waiting::default();
        let mut counts = Counts::default();
        for work in batch {
            self.apply_work(work, &mut changes, &mut waiting, &mut counts).await;
        }
        self.add_fleet_totals(&mut changes);
        let Err(error) = self.write(&mut changes, &counts, &waiting).await else {
            self.failures_in_row = 0;
            self.exchange_shares(&counts, &changes);
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
        alerting::refuse(waiting.alerts, &error);
        for (answer, _) in waiting.administered {
            let _ = answer.send(Err(AdministerError::Store(Arc::clone(&error))));
        }
        next
    }

    async fn apply_work(&mut self, work: Work, changes: &mut Changes, waiting: &mut Waiting, counts: &mut Counts) {
        match work {
            Work::Submission(submission, answer) => {
                let (node, heard_by) = (submission.node, submission.heard_by.map(FollowerId));
                let is_report = !matches!(submission.content, Content::Lines(_));
                match self.apply_submission(submission, changes, counts).await {
                    Ok(committed) => waiting.submissions.push(Applied { node, heard_by, is_report, answer, committed }),
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
            Work::Alerts(work, answer) => {
                alerting::apply(work, changes);
                waiting.alerts.push(answer);
            }
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
                    counts.changed.push(key);
                }
            }
        }
    }

    /// Makes sure that a node is in the state: one that was just enrolled is not yet.
    pub(super) async fn ensure_node(&mut self, key: NodeKey) -> Result<(), SubmitError> {
        if !self.state.nodes.contains_key(&key) {
            let stored =
                self.parts.timeseries.load_node(key).await.map_err(|error| SubmitError::Store(Arc::new(error)))?;
            let stored = stored.ok_or(SubmitError::UnknownNode)?;
            let node = NodeState::load(stored, &self.state.dimensions);
            // It is committed already, by its enrolment.
            self.parts.directory.put(node.entry());
            self.state.nodes.insert(key, node);
            self.newly_listed.push(key);
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
        let mut context = Context {
            sent_at: submission.received_at,
            received_at: submission.received_at,
            address: submission.address,
            interval_ms: i64::try_from(self.parts.interval_ms).unwrap_or(i64::MAX),
            oldest: oldest(submission.received_at, self.parts.minutes_retention),
            log_limits: self.parts.log_limits,
        };
        let dimensions = &mut self.state.dimensions;
        let refusals = &mut submission.refusals;
        let mut committed = Committed::default();
        match submission.content {
            Content::Growth { boot, sent_at, reports } => {
                context.sent_at = sent_at;
                let last = reports.len().saturating_sub(1);
                for (index, mut report) in reports.into_iter().enumerate() {
                    if index < last {
                        // The node is OFFLINE after the last one; before it, states would change twice.
                        report.stopping = None;
                    }
                    let outcome = apply::apply(node, dimensions, boot, report, &context, changes, refusals);
                    committed.missing = committed.missing.or(counts.note(outcome));
                }
                committed.durable_seq = node.progress(boot).unwrap_or(0);
            }
            Content::Totals(totals) => {
                apply::apply_totals(node, dimensions, *totals, &context, changes, refusals);
                counts.note(Outcome::Applied { missing: None });
            }
            Content::Lines(lines) => apply::apply_lines(node, dimensions, lines, &context, changes, refusals),
        }
        committed.refusals = submission.refusals;
        counts.changed.push(submission.node);
        counts.items_refused += committed.refusals.count;
        Ok(committed)
    }

    /// Writes the changes, then fills the rings and publishes.
    async fn write(&mut self, changes: &mut Changes, counts: &Counts, waiting: &Waiting) -> Result<(), StoreError> {
        let concerns_rollouts = changes.concerns_rollouts();
        let (record, batch) = changes.take_batch();
        let new = batch.pipelines.iter().map(|row| row.id);
        let named: Vec<_> = new.chain(batch.pipeline_names.iter().map(|(key, _)| *key)).map(PipelineKey).collect();
        let (rows, lines) = (record.row_count() + batch.row_count(), batch.logs.len());
        let telemetry = &self.parts.telemetry;
        let mut logged = None;
        // Events without rows take numbers, too.
        if rows > 0 || changes.head_seq() > self.state.head_seq {
            let begin = Instant::now();
            let committed = tokio::select! {
                committed = self.parts.timeseries.commit(record, batch) => committed,
                // Whether it is in the database is for the next leader to see.
                () = self.parts.fenced.cancelled() => Err(StoreError::Superseded),
            };
            match committed {
                Ok(batch) => logged = batch.wal,
                Err(error) => {
                    telemetry.commit_failures.inc();
                    return Err(error);
                }
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
        telemetry.events_reported.inc_by(changes.events_in);
        for event in &changes.events {
            telemetry.events_published.get_or_create(&TypeLabel { r#type: event.kind.as_str() }).inc();
        }
        for (node, status) in &counts.silent {
            self.parts.fleet.set_status(*node, *status);
        }
        presence_log::write(&std::mem::take(&mut changes.presences));
        if self.parts.commit_log.has_followers() {
            self.hand_to_followers(changes, counts, waiting, &named, logged);
        }
        self.newly_listed.clear();
        self.parts.recent_samples.push(std::mem::take(&mut changes.samples));
        if !named.is_empty() {
            let entries = named.into_iter().filter_map(|key| self.state.dimensions.entry(key));
            self.parts.directory.put_pipelines(entries);
        }
        self.note_live(counts.changed.iter().copied());
        self.note_administered(changes);
        self.note_watched(changes);
        self.parts.feed.publish(std::mem::take(&mut changes.events), changes.head_seq());
        Ok(())
    }

    /// Alerts look at states as they are committed.
    fn note_watched(&self, changes: &mut Changes) {
        let nodes = changes.take_live().into_iter().filter_map(|key| self.state.nodes.get(&key));
        let nodes: Vec<_> = nodes.map(NodeState::watched).collect();
        if !nodes.is_empty() || !changes.removed.is_empty() {
            self.parts.watched.update(nodes, changes.removed.keys().copied());
        }
    }

    /// Hands the transaction to the collectors that follow.
    fn hand_to_followers(
        &self,
        changes: &Changes,
        counts: &Counts,
        waiting: &Waiting,
        named: &[PipelineKey],
        logged: Option<WalRow>,
    ) {
        let heard_by: HashMap<NodeKey, FollowerId> =
            waiting.submissions.iter().filter_map(|one| Some((one.node, one.heard_by?))).collect();
        let ids: HashMap<NodeId, FollowerId> =
            heard_by.iter().filter_map(|(key, follower)| Some((self.state.nodes.get(key)?.id, *follower))).collect();
        let status = |node: NodeKey| Some((node, self.state.nodes.get(&node)?.status));
        let is_sample = |event: &&PendingEvent| event.kind == EventType::MetricUpdate;
        let hears = |event: &PendingEvent| event.node.and_then(|node| ids.get(&node)).copied();
        let entry = |key: &NodeKey| self.state.nodes.get(key).map(NodeState::entry);
        let live = |key: &NodeKey| self.state.nodes.get(key).map(|node| (node.id, node.live()));
        let listed = changes.listed_anew.iter().chain(&self.newly_listed);
        let commit = CommitEntry {
            head_seq: changes.head_seq(),
            record: logged.map(|row| (row.id, row.body)),
            events: changes.events.iter().filter(|event| !is_sample(event)).cloned().collect(),
            heard: waiting.submissions.iter().filter(|one| one.is_report).filter_map(|one| status(one.node)).collect(),
            marked: counts.silent.clone(),
            listed: listed.filter_map(entry).collect(),
            live: counts.changed.iter().filter_map(live).collect(),
            pipelines: named.iter().filter_map(|key| self.state.dimensions.entry(*key)).collect(),
            removed: changes.removed.iter().map(|(key, id)| (*key, *id)).collect(),
        };
        let recent = changes.samples.iter();
        let samples = Samples {
            recent: recent.map(|sample| (heard_by.get(&sample.node).copied(), sample.clone())).collect(),
            events: changes.events.iter().filter(is_sample).map(|event| (hears(event), event.clone())).collect(),
        };
        self.parts.commit_log.publish_commit(samples, commit);
    }

    /// The events of environments whose totals are due. They count what is committed, without this batch.
    fn add_fleet_totals(&mut self, changes: &mut Changes) {
        let now = clock::now_ms();
        for key in self.fleet_totals.take_due(Instant::now()) {
            if let Some(environment) = self.parts.auth.environment_by_key(key) {
                changes.add_totals(key, self.fleet_totals.event(key, environment.id, now));
            }
        }
    }

    /// The last values of nodes, for lists.
    pub(super) fn note_live(&self, nodes: impl Iterator<Item = NodeKey>) {
        let nodes = nodes.filter_map(|key| self.state.nodes.get(&key));
        self.parts.directory.put_live(nodes.map(|node| (node.id, node.live())));
    }

    /// The totals of what the batch has changed.
    fn exchange_shares(&mut self, counts: &Counts, changes: &Changes) {
        for node in counts.changed.iter().filter_map(|key| self.state.nodes.get(key)) {
            self.fleet_totals.put(node);
        }
        changes.removed.keys().for_each(|key| self.fleet_totals.remove(*key));
    }

    fn answer(&self, waiting: Waiting) {
        let now = Instant::now();
        for submission in waiting.submissions {
            if let Some(node) = self.state.nodes.get(&submission.node).filter(|_| submission.is_report) {
                self.parts.fleet.record_report(submission.node, node.status, now);
            }
            // An agent that has disconnected meanwhile sends again, and its report is acknowledged as a duplicate.
            let _ = submission.answer.send(Ok(submission.committed));
        }
        for (answer, changed) in waiting.administered {
            let _ = answer.send(Ok(changed));
        }
        for answer in waiting.alerts {
            let _ = answer.send(Ok(()));
        }
        for done in waiting.barriers {
            let _ = done.send(());
        }
    }
}
