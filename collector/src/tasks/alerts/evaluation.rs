//! Looks at what has changed, decides, and lets the committer write it.
//!
//! States are checked when they change, minutes when they are over. After a failure everything is loaded and checked
//! again: what was decided twice changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use systole_shared::{AlertState, PipelineStatus, UnixMillis};
use tokio::time::Instant;

use super::super::driver::{Activation, Pacing, Task, TaskError};
use super::{AlertTasks, facts, history, notify};
use crate::alerts::board::ShownAlert;
use crate::alerts::engine::{Alert, Engine, Verdict};
use crate::alerts::group::{GroupState, Pace, plan};
use crate::alerts::mute::{self, Mute};
use crate::alerts::silence::Silence;
use crate::alerts::subject::{About, AlertKey, Properties, Subject};
use crate::alerts::{evaluate, rows};
use crate::clock;
use crate::config::alerts::Rule;
use crate::config::alerts::rule::Condition;
use crate::ingest::committer::AlertWork;
use crate::model::watched::{WatchedNode, WatchedPipeline};
use crate::model::{EnvironmentKey, NodeKey};
use crate::store::AlertBatch;
use crate::telemetry::AlertLabel;

/// The least time between two rounds: many nodes that change in a moment are one.
const SPACING: Duration = Duration::from_millis(200);

/// How often the collector itself is checked, and silences are read again: a command on another host may add one.
const FACTS_EVERY: Duration = Duration::from_secs(5);

/// The longest pause.
const IDLE: Duration = Duration::from_secs(5);

/// Alerts of one transaction: some milliseconds of the committer.
const COMMIT_AT_ONCE: usize = 500;

/// Nodes whose minutes are read under one lock, which reports wait for: below a millisecond.
const NODES_AT_ONCE: usize = 200;

/// Minutes that are made up for after a pause of this task.
const LATE_MINUTES: i64 = 10;

/// Silences that ended are kept for so long; a start removes older ones.
const SILENCES_KEPT_MS: i64 = 30 * 86_400_000;

/// The task.
pub(super) struct Evaluation {
    parts: AlertTasks,
    rules: Vec<Arc<Rule>>,
    state: Option<State>,
    begin_at: Instant,
    started_at: UnixMillis,
    not_before: Instant,
}

struct State {
    engine: Engine,
    groups: BTreeMap<String, GroupState>,
    next_message: i64,
    /// The last minute that was evaluated.
    minute: i64,
    facts_at: Instant,
    refused: u64,
    /// Whether nothing was checked since it was loaded.
    is_fresh: bool,
}

impl Evaluation {
    pub(super) fn new(parts: AlertTasks) -> Self {
        let rules = parts.board.settings.rules.iter().cloned().map(Arc::new).collect();
        let now = Instant::now();
        // A node may report an interval after the grace.
        let begin_at = now + parts.grace + parts.interval;
        let begin_at = if parts.grace.is_zero() { now } else { begin_at };
        Evaluation { parts, rules, state: None, begin_at, started_at: clock::now_ms(), not_before: now }
    }

    async fn load(&self) -> Result<State, TaskError> {
        let AlertTasks { store, board, watched, .. } = &self.parts;
        let names = board.settings.targets.iter().map(|target| target.name.clone()).collect();
        store.retain_targets(names).await?;
        store.expire_silences(clock::now_ms().saturating_sub(SILENCES_KEPT_MS)).await?;
        let snapshot = store.load_alerts().await?;
        let mut engine = Engine::default();
        for row in snapshot.alerts {
            let known = self.rules.iter().find(|rule| rule.name == row.rule);
            let rule = known.cloned().unwrap_or_else(|| Arc::new(rows::removed_rule(&row)));
            let node = row.node.and_then(|key| watched.get(NodeKey(key)));
            if let Some(alert) = rows::read(row, rule, node.as_deref()) {
                engine.restore(alert);
            }
        }
        snapshot.targets.into_iter().for_each(|row| board.set_result(row));
        let now = clock::now_ms();
        let needed = history::needed(self.rules.iter().map(|rule| &**rule));
        if needed > 0 {
            history::load(&self.parts, needed, now.div_euclid(60_000)).await?;
        }
        Ok(State {
            engine,
            groups: snapshot.groups.iter().map(|row| (row.id.clone(), GroupState::read(row))).collect(),
            next_message: snapshot.last_message,
            minute: self.complete_minute(now) - 1,
            facts_at: Instant::now(),
            refused: self.parts.telemetry.reports_rejected(),
            is_fresh: true,
        })
    }

    /// The last minute of which agents have reported everything.
    fn complete_minute(&self, now: UnixMillis) -> i64 {
        let settle = self.parts.interval.min(Duration::from_secs(30)) + Duration::from_secs(3);
        let settle = i64::try_from(settle.as_millis()).unwrap_or(i64::MAX);
        now.saturating_sub(settle).div_euclid(60_000) - 1
    }

    async fn round(&self, state: &mut State) -> Result<Duration, TaskError> {
        let now = clock::now_ms();
        let mut changed = Vec::new();
        if std::mem::take(&mut state.is_fresh) {
            self.read_silences(now).await?;
            let _ = self.parts.watched.take_changed();
            self.end_orphans(state, now, &mut changed);
            for node in self.parts.watched.all() {
                self.look_at_node(state, node.key, Some(&node), now, &mut changed);
            }
            self.look_at_collector(state, now, &mut changed);
        }
        for (key, node) in self.parts.watched.take_changed() {
            self.look_at_node(state, key, node.as_deref(), now, &mut changed);
        }
        let minute = self.complete_minute(now);
        state.minute = state.minute.max(minute - LATE_MINUTES);
        while state.minute < minute {
            state.minute += 1;
            self.look_at_minute(state, state.minute, &mut changed).await;
        }
        if Instant::now() >= state.facts_at {
            state.facts_at = Instant::now() + FACTS_EVERY;
            self.read_silences(now).await?;
            self.look_at_collector(state, now, &mut changed);
            self.look_again(state, now, &mut changed);
            self.note_outbox(now).await?;
        }
        changed.extend(state.engine.tick(now));
        self.commit(&changed).await?;
        let forgotten: Vec<String> = state.engine.forget_ended(now).iter().map(ToString::to_string).collect();
        if !forgotten.is_empty() {
            let batch = AlertBatch { forgotten, ..AlertBatch::default() };
            self.submit(AlertWork { batch, events: Vec::new() }).await?;
        }
        let (has_messages, next) = self.report(state, now).await?;
        self.publish(state, now);
        if has_messages || !changed.is_empty() {
            self.parts.board.wake_deliveries();
        }
        let due = [state.engine.next_due(), next].into_iter().flatten().min();
        let wait = due
            .map_or(IDLE, |due| Duration::from_millis(u64::try_from(due.saturating_sub(clock::now_ms())).unwrap_or(0)));
        Ok(wait.clamp(SPACING, IDLE))
    }

    /// Alerts of rules that are no longer configured, and of nodes that were removed while the collector was down.
    fn end_orphans(&self, state: &mut State, now: UnixMillis, changed: &mut Vec<Alert>) {
        let active: Vec<Alert> = state.engine.alerts().filter(|alert| alert.state.is_active()).cloned().collect();
        for alert in active {
            let is_configured = self.rules.iter().any(|rule| rule.name == alert.rule.name);
            let is_there = alert.subject.node().is_none_or(|node| self.parts.watched.get(node).is_some());
            let reason = match (is_configured, is_there) {
                (false, _) => "the rule is no longer configured",
                (_, false) => "the node was removed",
                (true, true) => continue,
            };
            let about = alert.about.clone();
            let verdict = Verdict::Gone(reason);
            changed.extend(state.engine.observe(&alert.rule, &alert.subject, || about, verdict, now));
        }
    }

    fn applies(&self, rule: &Rule, node: &WatchedNode, pipeline: Option<&WatchedPipeline>) -> bool {
        if rule.matchers.is_empty() {
            return true;
        }
        let environment = self.parts.auth.environment_by_key(node.environment);
        let properties = Properties {
            rule,
            environment: environment.as_ref().map(|environment| environment.name.as_str()),
            node: Some(&node.name),
            pipeline: pipeline.map(|pipeline| pipeline.id.as_str()),
            labels: &node.labels,
        };
        properties.match_all(&rule.matchers)
    }

    fn look_at_node(
        &self,
        state: &mut State,
        key: NodeKey,
        node: Option<&WatchedNode>,
        now: UnixMillis,
        changed: &mut Vec<Alert>,
    ) {
        for known in state.engine.of_node(key) {
            if let Some(reason) = self.gone(&known, node)
                && let Some(alert) = state.engine.active(&known).cloned()
            {
                let about = alert.about.clone();
                let verdict = Verdict::Gone(reason);
                changed.extend(state.engine.observe(&alert.rule, &alert.subject, || about, verdict, now));
            }
        }
        let Some(node) = node else { return };
        for rule in &self.rules {
            if let Some(verdict) = evaluate::node(&rule.condition, node, self.started_at, now) {
                if self.applies(rule, node, None) {
                    let subject = Subject::Node(node.key);
                    changed.extend(state.engine.observe(rule, &subject, || About::node(node), verdict, now));
                }
                continue;
            }
            if !matches!(rule.condition, Condition::PipelineStatus(_)) {
                continue;
            }
            for pipeline in &node.pipelines {
                let Some(verdict) = evaluate::pipeline(&rule.condition, node, pipeline, now) else { continue };
                if self.applies(rule, node, Some(pipeline)) {
                    let subject = Subject::Pipeline(node.key, pipeline.id.clone());
                    let about = || About::pipeline(node, pipeline);
                    changed.extend(state.engine.observe(rule, &subject, about, verdict, now));
                }
            }
        }
    }

    /// Why an alert about a node is about nothing any more.
    fn gone(&self, key: &AlertKey, node: Option<&WatchedNode>) -> Option<&'static str> {
        let Some(node) = node else { return Some("the node was removed") };
        let rule = self.rules.iter().find(|rule| rule.name == key.rule)?;
        let pipeline = match &key.subject {
            Subject::Pipeline(_, id) => match node.pipeline(id) {
                None => return Some("the node has no such pipeline any more"),
                Some(pipeline) if pipeline.status == PipelineStatus::Stopped && !has_states(rule) => {
                    return Some("the pipeline is stopped");
                }
                found => found,
            },
            _ => None,
        };
        (!self.applies(rule, node, pipeline)).then_some("the rule does not apply to it any more")
    }

    async fn look_at_minute(&self, state: &mut State, minute: i64, changed: &mut Vec<Alert>) {
        let over_minutes = |rule: &&Arc<Rule>| rule.condition.is_over_minutes();
        let rules: Vec<&Arc<Rule>> = self.rules.iter().filter(over_minutes).collect();
        if rules.is_empty() {
            return;
        }
        let now = evaluate::end_of(minute);
        let nodes = self.parts.watched.all();
        for part in nodes.chunks(NODES_AT_ONCE) {
            let mut found = Vec::new();
            let engine = &state.engine;
            self.parts.timeseries.with_windows(|windows| {
                for node in part {
                    for rule in &rules {
                        let mut note =
                            |subject: Subject, about: &dyn Fn() -> About, verdict: Option<Verdict>, pipeline| {
                                let Some(verdict) = verdict else { return };
                                let key = AlertKey { rule: rule.name.clone(), subject };
                                let is_known = engine.active(&key).is_some();
                                let concerns = is_known || matches!(verdict, Verdict::Holds { .. });
                                if concerns && self.applies(rule, node, pipeline) {
                                    found.push(((*rule).clone(), key.subject, about(), verdict));
                                }
                            };
                        if rule.condition.is_of_nodes() {
                            let verdict = evaluate::host(&rule.condition, node, windows, minute);
                            note(Subject::Node(node.key), &|| About::node(node), verdict, None);
                            continue;
                        }
                        for pipeline in &node.pipelines {
                            if pipeline.status == PipelineStatus::Stopped {
                                continue;
                            }
                            let series = windows.get(pipeline.series.0);
                            let subject = Subject::Pipeline(node.key, pipeline.id.clone());
                            let key = AlertKey { rule: rule.name.clone(), subject: subject.clone() };
                            let is_active = engine.active(&key).is_some();
                            let verdict = evaluate::minutes(&rule.condition, node, series, minute, is_active);
                            note(subject, &|| About::pipeline(node, pipeline), verdict, Some(pipeline));
                        }
                    }
                }
            });
            for (rule, subject, about, verdict) in found {
                changed.extend(state.engine.observe(&rule, &subject, || about, verdict, now));
            }
            tokio::task::yield_now().await;
        }
        let before = minute - history::needed(self.rules.iter().map(|rule| &**rule)).max(1) - 60;
        self.parts.timeseries.with_windows(|windows| windows.expire(before));
    }

    fn look_at_collector(&self, state: &mut State, now: UnixMillis, changed: &mut Vec<Alert>) {
        let refused = self.parts.telemetry.reports_rejected();
        let has_refused = refused > state.refused;
        state.refused = refused;
        let facts = facts::gather(&self.parts, has_refused);
        for rule in &self.rules {
            let Condition::Collector(fault) = rule.condition else { continue };
            let (parts, otherwise) = evaluate::collector(fault, &facts, now);
            let is_of_rule = |alert: &&Alert| alert.rule.name == rule.name && alert.state.is_active();
            let active: Vec<Subject> =
                state.engine.alerts().filter(is_of_rule).map(|alert| alert.subject.clone()).collect();
            let failing: Vec<Subject> = parts.iter().map(|(part, _)| Subject::Collector(part.clone())).collect();
            for (part, verdict) in parts {
                let subject = Subject::Collector(part.clone());
                changed.extend(state.engine.observe(rule, &subject, || About::collector(&part), verdict, now));
            }
            for subject in active.into_iter().filter(|subject| !failing.contains(subject)) {
                let about = || About::collector("");
                changed.extend(state.engine.observe(rule, &subject, about, otherwise.clone(), now));
            }
        }
    }

    /// What changes with time alone: reports that were lost a while ago, and maintenance that is over.
    fn look_again(&self, state: &mut State, now: UnixMillis, changed: &mut Vec<Alert>) {
        let is_timed = |alert: &&Alert| alert.state.is_active() && alert.rule.condition == Condition::LostReports;
        let nodes: Vec<NodeKey> =
            state.engine.alerts().filter(is_timed).filter_map(|alert| alert.subject.node()).collect();
        for key in nodes {
            let node = self.parts.watched.get(key);
            self.look_at_node(state, key, node.as_deref(), now, changed);
        }
    }

    async fn commit(&self, changed: &[Alert]) -> Result<(), TaskError> {
        for part in changed.chunks(COMMIT_AT_ONCE) {
            let mut work = AlertWork::default();
            for alert in part {
                let id = self.parts.auth.environment_by_key(alert.about.environment).map(|environment| environment.id);
                work.events.push(rows::event(alert, id));
                match alert.state {
                    AlertState::Cancelled => work.batch.forgotten.push(alert.key().to_string()),
                    _ => work.batch.alerts.push(rows::row(alert)),
                }
                tracing::info!(
                    rule = alert.rule.name,
                    subject = alert.about.name,
                    state = alert.state.as_str(),
                    text = alert.text,
                    "alert"
                );
            }
            // The last state of an alert that changed twice.
            keep_last(&mut work.batch);
            self.submit(work).await?;
        }
        Ok(())
    }

    async fn submit(&self, work: AlertWork) -> Result<(), TaskError> {
        self.parts.committer.commit_alerts(work).await.map_err(|_| TaskError::Committer)
    }

    /// Writes the messages that are due. Returns whether there were any, and when the next is due.
    async fn report(&self, state: &mut State, now: UnixMillis) -> Result<(bool, Option<UnixMillis>), TaskError> {
        let settings = &self.parts.board.settings;
        let pace = Pace {
            group_wait: settings.group_wait,
            update_every: settings.update_every,
            repeat_every: settings.repeat_every,
        };
        let silences = self.parts.board.silences.all();
        let mute = |alert: &Alert| self.mute(alert, &silences, now);
        let (due, next) = plan(state.engine.alerts(), &state.groups, &mute, pace, now);
        let mut has_messages = false;
        for message in due {
            let State { engine, groups, next_message, .. } = state;
            let work = notify::prepare(&self.parts, engine, groups, next_message, &message, now);
            if work.batch.row_count() > 0 {
                has_messages = true;
                self.submit(work).await?;
            }
        }
        Ok((has_messages, next))
    }

    fn mute(&self, alert: &Alert, silences: &[Silence], now: UnixMillis) -> Option<Mute> {
        let node = alert.subject.node().and_then(|key| self.parts.watched.get(key));
        let environment = self.environment(alert.about.environment);
        mute::reason(alert, node.as_deref(), environment.as_deref(), silences, now)
    }

    fn environment(&self, key: EnvironmentKey) -> Option<String> {
        self.parts.auth.environment_by_key(key).map(|environment| environment.name)
    }

    async fn read_silences(&self, now: UnixMillis) -> Result<(), TaskError> {
        let rows = self.parts.store.list_silences(now).await?;
        self.parts.board.silences.set(rows.into_iter().map(Silence::read).collect());
        Ok(())
    }

    async fn note_outbox(&self, now: UnixMillis) -> Result<(), TaskError> {
        let usage = self.parts.store.outbox_usage().await?;
        let telemetry = &self.parts.telemetry;
        telemetry.notifications_waiting.set(usage.iter().map(|usage| usage.messages).sum());
        let oldest = usage.iter().map(|usage| usage.oldest_at).min();
        telemetry.notifications_oldest.set(oldest.map_or(0.0, |at| now.saturating_sub(at).max(0) as f64 / 1_000.0));
        Ok(())
    }

    fn publish(&self, state: &State, now: UnixMillis) {
        let silences = self.parts.board.silences.all();
        let telemetry = &self.parts.telemetry;
        telemetry.alerts.clear();
        let shown = state.engine.alerts().map(|alert| {
            if alert.state == AlertState::Firing {
                let (rule, severity) = (alert.rule.name.clone(), alert.rule.severity.as_str());
                telemetry.alerts.get_or_create(&AlertLabel { rule, severity }).inc();
            }
            let mute = alert.state.is_active().then(|| self.mute(alert, &silences, now)).flatten();
            ShownAlert { alert: alert.clone(), mute }
        });
        self.parts.board.set_alerts(shown.collect());
    }
}

fn has_states(rule: &Rule) -> bool {
    matches!(rule.condition, Condition::PipelineStatus(_))
}

/// An alert that changed twice in a round has two rows: only the last counts.
fn keep_last(batch: &mut AlertBatch) {
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for (index, row) in batch.alerts.iter().enumerate() {
        last.insert(row.id.clone(), index);
    }
    let mut index = 0;
    batch.alerts.retain(|row| {
        index += 1;
        last.get(&row.id) == Some(&(index - 1))
    });
    let forgotten = &batch.forgotten;
    batch.alerts.retain(|row| !forgotten.contains(&row.id));
}

#[async_trait]
impl Task for Evaluation {
    fn name(&self) -> &'static str {
        "alerts"
    }

    fn pacing(&self) -> Pacing {
        Pacing {
            first: Duration::ZERO,
            between: Duration::ZERO,
            retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(30),
        }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        let wait = self.begin_at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Ok(Activation::IdleFor(wait));
        }
        tokio::time::sleep_until(self.not_before).await;
        self.not_before = Instant::now() + SPACING;
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.load().await?,
        };
        // What failed may have been written: everything is loaded again.
        let pause = self.round(&mut state).await?;
        self.state = Some(state);
        Ok(Activation::IdleFor(pause))
    }

    async fn woken(&self) {
        tokio::select! {
            () = self.parts.watched.changed() => {}
            () = self.parts.board.woken() => {}
        }
    }
}
