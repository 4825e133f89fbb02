//! What a rule would have done: the same `evaluate` and `engine` over what is stored.
//!
//! States come from status changes, minutes from the time series. It knows the nodes and labels of now, and neither silences
//! nor maintenance of then: it says what would have fired, not what would have been reported. What no table has (clocks,
//! reports that agents dropped, the collector itself) has no preview.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::events::{Event, StatusChange};
use systole_shared::{AlertState, NodeId, NodeStatus, PipelineId, PipelineStatus, UnixMillis};
use tokio::time::Instant;

use super::engine::{Alert, Engine, Verdict};
use super::evaluate;
use super::subject::{About, AlertKey, Subject};
use crate::config::alerts::Rule;
use crate::config::alerts::rule::Condition;
use crate::model::watched::{WatchedNode, WatchedPipeline};
use crate::model::{NodeKey, PipelineKey, SeriesKey};
use crate::store::{EventQuery, MinuteRows, Store, StoreError, StoredEvent};
use crate::timeseries::TimeSeries;
use crate::timeseries::minute_windows::{MinuteWindows, WHOLE_MINUTES};

/// Minutes that are read at once.
const MINUTES_AT_ONCE: i64 = 60;

/// Status changes that are read at once.
const CHANGES_AT_ONCE: i64 = 1_000;

/// The longest time of a preview. What it has by then is returned, and where it ended.
const LONGEST: Duration = Duration::from_secs(20);

/// The reason with which a node says that it no longer has a pipeline.
const NO_LONGER_CONFIGURED: &str = "no longer configured on the node";

/// The last state of what was removed.
const REMOVED: &str = "REMOVED";

/// What would have fired.
#[derive(Debug, Default)]
pub(crate) struct Preview {
    /// In the order in which they would have fired.
    pub fired: Vec<Alert>,
    /// The end of what was read.
    pub to: UnixMillis,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreviewError {
    #[error("a rule of kind {0} has no preview: what it looks at is not stored")]
    NotStored(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the past is.
pub(crate) struct Past<'a> {
    pub store: &'a dyn Store,
    pub timeseries: &'a TimeSeries,
    /// Nodes that the rule applies to, as they are now.
    pub nodes: Vec<Arc<WatchedNode>>,
    /// Whether the rule applies to a pipeline of one of them.
    pub applies: &'a (dyn Fn(&WatchedNode, &WatchedPipeline) -> bool + Sync),
    pub from: UnixMillis,
    pub to: UnixMillis,
}

/// Alerts by their keys, and those that fired.
struct Run {
    engine: Engine,
    rule: Arc<Rule>,
    fired: Vec<Alert>,
    /// Of each alert that fires, its place in `fired`.
    open: HashMap<AlertKey, usize>,
}

impl Run {
    fn new(rule: &Rule) -> Self {
        Run { engine: Engine::default(), rule: Arc::new(rule.clone()), fired: Vec::new(), open: HashMap::new() }
    }

    fn tick(&mut self, now: UnixMillis) {
        for alert in self.engine.tick(now) {
            self.note(alert);
        }
    }

    fn observe(&mut self, subject: &Subject, about: impl FnOnce() -> About, verdict: Verdict, now: UnixMillis) {
        let rule = Arc::clone(&self.rule);
        if let Some(alert) = self.engine.observe(&rule, subject, about, verdict, now) {
            self.note(alert);
        }
    }

    fn note(&mut self, alert: Alert) {
        let key = alert.key();
        match alert.state {
            AlertState::Firing => {
                self.open.insert(key, self.fired.len());
                self.fired.push(alert);
            }
            AlertState::Resolved => {
                if let Some(index) = self.open.remove(&key) {
                    self.fired[index] = alert;
                }
            }
            AlertState::Pending | AlertState::Cancelled => {}
        }
    }
}

/// Runs a rule over the past.
///
/// # Errors
///
/// When the rule looks at what is not stored, or the store cannot be read.
pub(crate) async fn run(rule: &Rule, past: Past<'_>) -> Result<Preview, PreviewError> {
    match &rule.condition {
        Condition::NodeStatus(_) | Condition::PipelineStatus(_) | Condition::DuplicateIdentity => {
            states(rule, past).await
        }
        Condition::Rate { .. } | Condition::Gap { .. } | Condition::Host { .. } => minutes(rule, past).await,
        Condition::LostReports | Condition::ClockSkew { .. } | Condition::Collector(_) => {
            Err(PreviewError::NotStored(rule.condition.kind()))
        }
    }
}

/// The state of a node or pipeline at a time.
#[derive(Clone, Debug)]
struct Known {
    status: String,
    reason: String,
    since: UnixMillis,
}

type StateKey = (NodeId, Option<PipelineId>);

async fn states(rule: &Rule, past: Past<'_>) -> Result<Preview, PreviewError> {
    let begin = Instant::now();
    let nodes: HashMap<NodeId, &Arc<WatchedNode>> = past.nodes.iter().map(|node| (node.id, node)).collect();
    let mut changes = Vec::new();
    let (mut after, mut to) = (None, past.to);
    loop {
        let page = past.store.list_events(query(&past, after)).await?;
        after = page.last().map(|event| i64::try_from(event.seq).unwrap_or(i64::MAX));
        let is_last = (page.len() as i64) < CHANGES_AT_ONCE;
        changes.extend(page.iter().filter_map(change).filter(|change| nodes.contains_key(&change.node_id)));
        if is_last {
            break;
        }
        if begin.elapsed() > LONGEST {
            to = changes.last().map_or(past.from, |change: &StatusChange| change.timestamp);
            break;
        }
    }
    changes.sort_by_key(|change| change.timestamp);
    let mut known: HashMap<StateKey, Known> = HashMap::new();
    for node in &past.nodes {
        let state = |status: &str, reason: &str, since| Known { status: status.into(), reason: reason.into(), since };
        known.insert((node.id, None), state(node.status.as_str(), &node.reason, node.since));
        for pipeline in &node.pipelines {
            let state = state(pipeline.status.as_str(), &pipeline.reason, pipeline.since);
            known.insert((node.id, Some(pipeline.id.clone())), state);
        }
    }
    // What has changed since had another state at the beginning.
    for change in changes.iter().rev() {
        let key = (change.node_id, change.pipeline_id.clone());
        let before = Known { status: change.from_status.clone(), reason: String::new(), since: past.from };
        known.insert(key, before);
    }
    let mut run = Run::new(rule);
    let mut keys: Vec<_> = known.keys().cloned().collect();
    keys.sort();
    for key in keys {
        observe_state(&mut run, &past, nodes[&key.0], &key, &known, past.from);
    }
    for change in &changes {
        run.tick(change.timestamp);
        let key = (change.node_id, change.pipeline_id.clone());
        // A new reason of the same state does not begin it again.
        let since = match known.get(&key) {
            Some(before) if before.status == change.to_status => before.since,
            _ => change.timestamp,
        };
        let state = Known { status: change.to_status.clone(), reason: change.reason.clone(), since };
        known.insert(key.clone(), state);
        observe_state(&mut run, &past, nodes[&key.0], &key, &known, change.timestamp);
    }
    run.tick(to);
    Ok(Preview { fired: run.fired, to })
}

fn query(past: &Past<'_>, after: Option<i64>) -> EventQuery {
    EventQuery { from: Some(past.from), to: Some(past.to), after, limit: CHANGES_AT_ONCE, ..EventQuery::default() }
}

fn change(event: &StoredEvent) -> Option<StatusChange> {
    match serde_json::from_str(&event.payload) {
        Ok(Event::StatusChange(change)) => Some(change),
        _ => None,
    }
}

fn observe_state(
    run: &mut Run,
    past: &Past<'_>,
    node: &WatchedNode,
    key: &StateKey,
    known: &HashMap<StateKey, Known>,
    now: UnixMillis,
) {
    let Some(state) = known.get(key) else { return };
    let rule = Arc::clone(&run.rule);
    let is_gone = state.status == REMOVED || state.reason == NO_LONGER_CONFIGURED;
    let gone = || Verdict::Gone("it was removed");
    match &key.1 {
        None => {
            let then = WatchedNode {
                status: NodeStatus::from_wire(&state.status).unwrap_or(NodeStatus::Unknown),
                reason: state.reason.clone(),
                since: state.since,
                maintenance_until: None,
                ..node.clone()
            };
            let Some(verdict) = evaluate::node(&rule.condition, &then, past.from, now) else { return };
            let verdict = if is_gone { gone() } else { verdict };
            run.observe(&Subject::Node(node.key), || About::node(node), verdict, now);
        }
        Some(id) => {
            let pipeline = node.pipeline(id).cloned().unwrap_or_else(|| WatchedPipeline {
                id: id.clone(),
                key: PipelineKey(0),
                series: SeriesKey(0),
                status: PipelineStatus::Unknown,
                reason: String::new(),
                since: 0,
            });
            let then = WatchedPipeline {
                status: PipelineStatus::from_wire(&state.status),
                reason: state.reason.clone(),
                since: state.since,
                ..pipeline
            };
            let calm = WatchedNode { maintenance_until: None, ..node.clone() };
            let Some(verdict) = evaluate::pipeline(&rule.condition, &calm, &then, now) else { return };
            if !(past.applies)(node, &then) {
                return;
            }
            let verdict = if is_gone { gone() } else { verdict };
            let subject = Subject::Pipeline(node.key, id.clone());
            run.observe(&subject, || About::pipeline(node, &then), verdict, now);
        }
    }
}

async fn minutes(rule: &Rule, past: Past<'_>) -> Result<Preview, PreviewError> {
    let begin = Instant::now();
    let mut run = Run::new(rule);
    let mut windows = MinuteWindows::default();
    windows.keep_hosts();
    let calm: Vec<WatchedNode> =
        past.nodes.iter().map(|node| WatchedNode { maintenance_until: None, ..(**node).clone() }).collect();
    let looks_back = match &rule.condition {
        Condition::Gap { after } => i64::try_from((after.as_secs() + rule.hold.as_secs()) / 60).unwrap_or(0) + 2,
        _ => WHOLE_MINUTES,
    };
    let (first, end) = (past.from.div_euclid(60_000), past.to.div_euclid(60_000));
    let mut minute = first - looks_back;
    while minute < end {
        let until = (minute + MINUTES_AT_ONCE).min(end);
        let rows = past.timeseries.all_minutes(minute, until).await?;
        let mut rows = ByMinute::new(rows);
        for at in minute..until {
            rows.fill(&mut windows, at);
            if at >= first {
                run.tick(evaluate::end_of(at));
                look_at_minute(&mut run, &past, &calm, &windows, at);
            }
        }
        minute = until;
        tokio::task::yield_now().await;
        if begin.elapsed() > LONGEST {
            break;
        }
    }
    let to = if minute < end { minute.saturating_mul(60_000) } else { past.to };
    run.tick(to);
    Ok(Preview { fired: run.fired, to })
}

fn look_at_minute(run: &mut Run, past: &Past<'_>, nodes: &[WatchedNode], windows: &MinuteWindows, minute: i64) {
    let rule = Arc::clone(&run.rule);
    let now = evaluate::end_of(minute);
    for node in nodes {
        if let Some(verdict) = evaluate::host(&rule.condition, node, windows, minute) {
            run.observe(&Subject::Node(node.key), || About::node(node), verdict, now);
            continue;
        }
        for pipeline in node.pipelines.iter().filter(|pipeline| (past.applies)(node, pipeline)) {
            let subject = Subject::Pipeline(node.key, pipeline.id.clone());
            let key = AlertKey { rule: rule.name.clone(), subject: subject.clone() };
            let is_active = run.engine.active(&key).is_some();
            let series = windows.get(pipeline.series.0);
            if let Some(verdict) = evaluate::minutes(&rule.condition, node, series, minute, is_active) {
                run.observe(&subject, || About::pipeline(node, pipeline), verdict, now);
            }
        }
    }
}

/// Rows that are handed on minute by minute.
struct ByMinute {
    rows: MinuteRows,
    next: (usize, usize, usize),
}

impl ByMinute {
    fn new(mut rows: MinuteRows) -> Self {
        rows.pipelines.sort_by_key(|row| row.minute);
        rows.hosts.sort_by_key(|row| row.minute);
        rows.fills.sort_by_key(|row| row.minute);
        ByMinute { rows, next: (0, 0, 0) }
    }

    fn fill(&mut self, windows: &mut MinuteWindows, minute: i64) {
        let (pipelines, hosts, fills) = &mut self.next;
        while let Some(row) = self.rows.pipelines.get(*pipelines).filter(|row| row.minute <= minute) {
            windows.add_row(row.minute, row);
            *pipelines += 1;
        }
        while let Some(row) = self.rows.hosts.get(*hosts).filter(|row| row.minute <= minute) {
            windows.set_host(row.clone());
            *hosts += 1;
        }
        while let Some(row) = self.rows.fills.get(*fills).filter(|row| row.minute <= minute) {
            windows.set_fill(row.minute, row.series, row.fill as f32);
            *fills += 1;
        }
    }
}

/// Nodes of these keys only, if any are named.
pub(crate) fn among(nodes: Vec<Arc<WatchedNode>>, is_wanted: impl Fn(&WatchedNode) -> bool) -> Vec<Arc<WatchedNode>> {
    let mut wanted: Vec<_> = nodes.into_iter().filter(|node| is_wanted(node)).collect();
    wanted.sort_by_key(|node| (node.name.clone(), NodeKey(node.key.0)));
    wanted
}
