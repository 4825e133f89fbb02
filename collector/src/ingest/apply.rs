//! Applies one report. Pure: it takes `now` and changes only the state in its arguments.
//!
//! - A log line has the agent's time, but never one later than the report's arrival: a line from the
//!   future would never expire, and would block the expiry of all lines after it. The status change of
//!   a refused report has the time of its arrival.
//! - A pipeline that a complete report no longer contains becomes STOPPED. A report that lost items to
//!   refusal is not complete.
//! - A duplicate identity is reported when a boot returns after another one had reported, twice within a
//!   minute. Once can be a late request of an agent that has ended. The state ends a minute after the last return.
//! - A merged report that covers an applied one is refused: it cannot be split again.
//! - A node that is UNREACHABLE or OFFLINE has UNKNOWN pipelines: their processes are not observed. They
//!   become what the node's next report says.
//! - A report that says why the agent stops makes the node OFFLINE. Not one that comes late: by then another
//!   agent may run.
//! - Counters are accepted up to 2^63-1, and rows saturate there.
//! - A report without `sample` counts as a gap only with `scrapeError`: a pipeline without metrics has
//!   no gaps.
//! - After a restore the next report of an agent is ahead of the expected number. It is applied, and the
//!   numbers in between are a gap of the node.

use std::net::IpAddr;
use std::sync::Arc;

use systole_shared::events::{
    ComponentSample, Event, EventType, FleetStatus, LogEntry, LogEntryLine, MetricUpdate, StatusChange,
};
use systole_shared::limits::{BACKFILL_AFTER_MS, MAX_FUTURE_MS, SKEW_TOLERANCE_MS};
use systole_shared::{
    BootId, HostMetrics, NodeStatus, PipelineId, PipelineStatus, RefusalCode, Refused, SeqRange, UnixMillis,
};

use super::changes::{Changes, PresenceChange, signed};
use super::limits::describe;
use super::reason::PublishedReason;
use super::samples::{NodeSeries, add_component_sample, add_sample, component_rates, component_series, pipeline_rates};
use super::state::{Dimensions, NodeState, PipelineState};
use crate::config::LogLimits;
use crate::model::report::{NodeReport, Refusals, ReportedLine, ReportedPipeline};
use crate::model::{EnvironmentKey, NodeKey, Payload, PendingSample, PipelineKey};
use crate::store::{LogRow, NodeGapRow, NodeMinuteRow, PipelineRow, PipelineStatusRow, SeriesRow};

/// Lines that go out in one log_entry event at most, and their bytes: an event is to fit into one
/// write of the feed.
const LINES_PER_ENTRY: usize = 100;
const BYTES_PER_ENTRY: usize = 12 * 1024;

/// Two machines with one identity are detected by boots that alternate: this often within
/// [`DUPLICATE_WINDOW_MS`]. Once can be a request of a dead agent that arrived late.
const DUPLICATE_RETURNS: usize = 2;
const DUPLICATE_WINDOW_MS: i64 = 60_000;

/// The parameters of applying a report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub boot: BootId,
    /// The agent's clock when it sent the request.
    pub sent_at: UnixMillis,
    /// Ours when it came.
    pub received_at: UnixMillis,
    /// The address of the request.
    pub address: Option<IpAddr>,
    /// Taken for the interval of a report that has none.
    pub interval_ms: i64,
    /// Reports that ended before are refused.
    pub oldest: UnixMillis,
    /// The remaining log lines of a node.
    pub log_limits: LogLimits,
}

impl Context {
    /// The correction of the agent's times: zero while the clocks agree well enough.
    fn correction(&self) -> i64 {
        let skew = self.received_at.saturating_sub(self.sent_at);
        if skew.abs() > SKEW_TOLERANCE_MS { skew } else { 0 }
    }
}

/// The result of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Applied before, acknowledged again.
    Duplicate,
    /// Applied now. `missing`: reports before it that never came.
    Applied { missing: Option<SeqRange> },
    /// Left out as a whole; it counts as received, and is never to be sent again.
    Refused { missing: Option<SeqRange> },
}

/// Applies one report of a node.
pub(crate) fn apply(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    report: NodeReport,
    context: &Context,
    changes: &mut Changes,
    refusals: &mut Refusals,
) -> Outcome {
    let progress = node.progress(context.boot);
    if progress.is_some_and(|applied| report.seq <= applied) {
        return Outcome::Duplicate;
    }
    let missing = progress
        .filter(|applied| report.covers_from > applied + 1)
        .map(|applied| SeqRange { from: applied + 1, to: report.covers_from - 1 });
    let is_latest_boot = move_progress(node, report.seq, missing, context, changes);

    let correction = context.correction();
    let start = report.start.saturating_add(correction);
    let end = report.end.saturating_add(correction);
    let overlap = progress.filter(|applied| report.covers_from <= *applied);
    if let Some((code, detail)) = validate(start, end, overlap, context) {
        refusals.push(Refused { seq: report.seq, pipeline_id: None, component_id: None, code, detail });
        // Its own times are what is wrong with it; that the node lives is true now.
        set_status(node, context.received_at, context, changes);
        return Outcome::Refused { missing };
    }

    let at = ReportWindow {
        end,
        seconds: if end > start { end.saturating_sub(start) as f64 } else { context.interval_ms as f64 } / 1_000.0,
        minute: end.div_euclid(60_000),
        correction,
        latest_line: end.max(context.received_at),
        received_at: context.received_at,
        is_news: context.received_at.saturating_sub(end) <= BACKFILL_AFTER_MS,
        seq: report.seq,
    };
    let bucket = changes.bucket(at.minute, node.key);
    if let Some(host) = report.host.as_ref() {
        bucket.set_host(node_minute(host, at.minute, node.key.0));
    }
    note_agent(node, &report, context, changes);
    node.reports += 1;
    node.last_seen = context.received_at;
    for mut pipeline in report.pipelines {
        drop_excess_lines(node, report.seq, &mut pipeline, context, changes, refusals);
        apply_pipeline(node, dimensions, pipeline, &at, changes, refusals);
    }
    if report.complete {
        retire_absent(node, dimensions, &at, changes);
    }
    match report.stopping {
        // An older one was overtaken: an agent that says this late has another one after it.
        Some(reason) if is_latest_boot && at.is_news => {
            changes.heartbeat(node.key).last_seen_at = Some(context.received_at);
            silence(node, dimensions, &Silence::offline(&reason, end), changes);
        }
        _ => set_status(node, end, context, changes),
    }
    if at.is_news {
        add_fleet_status(node, end, changes);
    }
    Outcome::Applied { missing }
}

/// The node did not report for three intervals.
pub(crate) fn mark_unreachable(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    reason: &str,
    now: UnixMillis,
    changes: &mut Changes,
) {
    // The watchdog looks every second, and a batch may have waited longer than that.
    if node.status.is_silent() && !node.has_stale_pipelines() {
        return;
    }
    let silent = if node.status == NodeStatus::Offline {
        Silence::offline(reason, now)
    } else {
        Silence { status: NodeStatus::Unreachable, reason, pipelines: "node unreachable", at: now }
    };
    silence(node, dimensions, &silent, changes);
    add_fleet_status(node, now, changes);
}

/// The reason why a node is silent.
struct Silence<'a> {
    status: NodeStatus,
    reason: &'a str,
    /// The reason of its pipelines' state.
    pipelines: &'static str,
    at: UnixMillis,
}

impl<'a> Silence<'a> {
    fn offline(reason: &'a str, at: UnixMillis) -> Self {
        Silence { status: NodeStatus::Offline, reason, pipelines: "node offline", at }
    }
}

/// The state of the node and its pipelines becomes unknown. What they reported last (version, process id)
/// stays in their rows.
fn silence(node: &mut NodeState, dimensions: &mut Dimensions, silence: &Silence<'_>, changes: &mut Changes) {
    change_node_status(node, silence.status, silence.reason, silence.at, changes);
    let identity = (node.key, node.id, node.environment);
    for (id, pipeline) in &mut node.pipelines {
        let is_known = pipeline.status != PipelineStatus::Unknown || pipeline.row.status_text.is_some();
        if !pipeline.is_present() || (!is_known && pipeline.row.reason == silence.pipelines) {
            continue;
        }
        let event = Event::StatusChange(StatusChange {
            node_id: identity.1,
            pipeline_id: Some(id.clone()),
            pipeline_name: dimensions.pipeline(identity.2, id).map(|known| known.name.clone()),
            from_status: pipeline.status.as_str().to_owned(),
            to_status: PipelineStatus::Unknown.as_str().to_owned(),
            reason: silence.pipelines.to_owned(),
            timestamp: silence.at,
        });
        let key = PipelineKey(pipeline.row.pipeline);
        changes.add_event(silence.at, identity, Some((key, id)), EventType::StatusChange, &event);
        pipeline.status = PipelineStatus::Unknown;
        pipeline.reason.publish(silence.pipelines);
        pipeline.row.status = PipelineStatus::Unknown.as_str().to_owned();
        pipeline.row.status_text = None;
        pipeline.row.reason = silence.pipelines.to_owned();
        pipeline.row.since = silence.at;
        changes.set_status(pipeline.row.clone());
    }
}

/// The minute and the interval that a report counts for.
pub(super) struct ReportWindow {
    /// Its end by the collector's clock.
    pub end: UnixMillis,
    pub seconds: f64,
    /// Unix minute of the end.
    pub minute: i64,
    pub correction: i64,
    /// No line was read later: one from the future would never expire, and block all lines after it.
    pub latest_line: UnixMillis,
    /// The time of its arrival, by the collector's clock.
    pub received_at: UnixMillis,
    /// Whether it is shown as it comes; a back-fill is not.
    pub is_news: bool,
    /// Its number.
    pub seq: u64,
}

impl ReportWindow {
    /// Its length in whole milliseconds.
    pub(super) fn ms(&self) -> f64 {
        (self.seconds * 1_000.0).round()
    }
}

/// A reason to refuse a whole report.
fn validate(
    start: UnixMillis,
    end: UnixMillis,
    overlap: Option<u64>,
    context: &Context,
) -> Option<(RefusalCode, String)> {
    if end < start {
        Some((RefusalCode::InvalidInterval, "end is before start".to_owned()))
    } else if end > context.received_at.saturating_add(MAX_FUTURE_MS) {
        Some((
            RefusalCode::InFuture,
            format!("ends {} s in the future", end.saturating_sub(context.received_at) / 1_000),
        ))
    } else if end < context.oldest {
        Some((RefusalCode::TooOld, format!("ended {} s ago", context.received_at.saturating_sub(end) / 1_000)))
    } else {
        // Part of a merged report was applied before: it cannot be split any more, and applying it again
        // would count it twice.
        overlap.map(|applied| (RefusalCode::InvalidInterval, format!("covers reports up to {applied}, applied before")))
    }
}

/// Returns whether the boot is the one that reported last.
fn move_progress(
    node: &mut NodeState,
    seq: u64,
    missing: Option<SeqRange>,
    context: &Context,
    changes: &mut Changes,
) -> bool {
    if let Some(missing) = missing {
        changes.add_gap(NodeGapRow {
            node: node.key.0,
            boot: context.boot.to_string(),
            from_seq: signed(missing.from),
            to_seq: signed(missing.to),
            recorded_at: context.received_at,
        });
    }
    let is_latest = node.boots.last().is_none_or(|(boot, _)| *boot == context.boot);
    let is_return = !is_latest && node.progress(context.boot).is_some();
    if is_return {
        node.boot_returns.push(context.received_at);
    }
    node.boot_returns.retain(|at| context.received_at.saturating_sub(*at) <= DUPLICATE_WINDOW_MS);
    if let Some(forgotten) = node.advance(context.boot, seq) {
        changes.forget_boot(node.key, forgotten);
    }
    changes.advance(node.key, context.boot, seq, context.received_at);
    !is_return
}

fn note_agent(node: &mut NodeState, report: &NodeReport, context: &Context, changes: &mut Changes) {
    let heartbeat = changes.heartbeat(node.key);
    heartbeat.last_seen_at = Some(context.received_at);
    // Structs of numbers and strings: they always serialise.
    if let Some(health) = &report.health {
        heartbeat.health = serde_json::to_string(health).ok();
    }
    if let Some(host) = &report.host {
        heartbeat.host = serde_json::to_string(host).ok();
    }
    if context.address.is_some() && node.address != context.address {
        changes.node(node.key).last_address = context.address.map(|address| address.to_string());
        node.address = context.address;
    }
    if let Some(agent) = &report.agent
        && node.agent.as_ref() != Some(agent)
    {
        let change = changes.node(node.key);
        change.name = agent.name.clone();
        if let Some(name) = &agent.name {
            node.name.clone_from(name);
        }
        change.agent_version = agent.version.clone();
        change.vector_version = agent.vector_version.clone();
        change.deployment_mode = agent.deployment_mode.clone();
        change.running_as = agent.running_as.clone();
        change.labels = serde_json::to_string(&agent.labels).ok();
        node.agent = Some(agent.clone());
    }
}

fn node_minute(host: &HostMetrics, minute: i64, node: i64) -> NodeMinuteRow {
    let bytes = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    NodeMinuteRow {
        minute,
        node,
        memory_total_bytes: bytes(host.memory_total_bytes),
        memory_used_bytes: bytes(host.memory_used_bytes),
        memory_free_bytes: bytes(host.memory_free_bytes),
        cpu_seconds_total: finite(host.cpu_seconds_total),
        cpu_seconds_idle: finite(host.cpu_seconds_idle),
        load_avg_1: finite(host.load_avg_1),
        load_avg_5: finite(host.load_avg_5),
        load_avg_15: finite(host.load_avg_15),
        fs_total_bytes: bytes(host.fs_total_bytes),
        fs_used_bytes: bytes(host.fs_used_bytes),
        fs_free_bytes: bytes(host.fs_free_bytes),
        disk_read_bytes: bytes(host.disk_read_bytes),
        disk_written_bytes: bytes(host.disk_written_bytes),
        net_rx_bytes: bytes(host.net_rx_bytes),
        net_tx_bytes: bytes(host.net_tx_bytes),
        samples: 1,
    }
}

fn apply_pipeline(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    facts: ReportedPipeline,
    at: &ReportWindow,
    changes: &mut Changes,
    refusals: &mut Refusals,
) {
    if let Err(code) = register(node, dimensions, &facts, at, changes) {
        refusals.push_with(|| Refused {
            seq: at.seq,
            pipeline_id: Some(facts.id.to_string()),
            component_id: None,
            code,
            detail: describe(code, &dimensions.limits),
        });
        return;
    }
    let identity = (node.key, node.id, node.environment);
    let Some(pipeline) = node.pipelines.get_mut(&facts.id) else { return };
    pipeline.last_report = node.reports;
    let key = PipelineKey(pipeline.row.pipeline);

    add_logs(identity, (key, &facts.id), &facts.logs, at, changes);
    update_status(identity, pipeline, &facts, dimensions, at, changes);

    if facts.sample.is_some() || facts.scrape_error.is_some() || facts.logs_dropped > 0 {
        let row = changes.bucket(at.minute, node.key).pipeline(pipeline.series);
        row.logs_dropped = row.logs_dropped.saturating_add(facts.logs_dropped);
        match &facts.sample {
            Some(sample) => add_sample(row, sample, at),
            None => row.gaps += i64::from(facts.scrape_error.is_some()),
        }
    }
    let Some(sample) = &facts.sample else { return };
    let mut known = NodeSeries { key: node.key, known: &mut node.known_series, new: &mut node.new_series };
    let series: Vec<_> = facts
        .components
        .iter()
        .map(|component| component_series(&mut known, pipeline, component, at.received_at, dimensions, changes))
        .collect();
    let bucket = changes.bucket(at.minute, node.key);
    for (component, series) in facts.components.iter().zip(series) {
        if let Some(series) = series {
            add_component_sample(bucket.component(series), component, at);
        }
    }
    let components = facts.components.into_iter().map(|component| ComponentSample {
        sample: component_rates(&component, at),
        kind: component.kind,
        component_id: component.id,
    });
    let update = Arc::new(MetricUpdate {
        node_id: node.id,
        pipeline_id: facts.id,
        timestamp: at.end,
        sample: pipeline_rates(sample, at),
        components: components.collect(),
    });
    if at.is_news {
        let payload = Payload::Metrics(Arc::clone(&update));
        changes.add_news((node.id, node.environment), Some(&update.pipeline_id), EventType::MetricUpdate, payload);
    }
    changes.samples.push(PendingSample { node: node.key, update });
}

/// Makes sure that the pipeline has keys on this node, unless that is over a limit.
fn register(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    facts: &ReportedPipeline,
    at: &ReportWindow,
    changes: &mut Changes,
) -> Result<(), RefusalCode> {
    let is_new = !node.pipelines.contains_key(&facts.id);
    if is_new && !node.has_room(&dimensions.limits, at.received_at) {
        dimensions.over_limit.node_pipelines += 1;
        return Err(RefusalCode::NodePipelineLimit);
    }
    let key = match dimensions.pipeline(node.environment, &facts.id) {
        Some(known) => {
            if let Some(name) = facts.name.as_ref().filter(|name| **name != known.name) {
                known.name.clone_from(name);
                changes.pipeline_names.insert(known.key, name.clone());
            }
            known.key
        }
        None => {
            if !dimensions.has_room(node.environment, at.received_at) {
                dimensions.over_limit.environment_pipelines += 1;
                return Err(RefusalCode::EnvironmentPipelineLimit);
            }
            dimensions.count_new_pipeline(node.environment, at.received_at);
            let name = facts.name.clone().unwrap_or_else(|| facts.id.to_string());
            let id = dimensions.add_pipeline(node.environment, &facts.id, &name);
            changes.pipelines.push(PipelineRow {
                id: id.0,
                environment: node.environment.0,
                slug: facts.id.to_string(),
                name,
            });
            id
        }
    };
    if is_new {
        node.new_pipelines.add(at.received_at);
        let series = dimensions.next_series();
        changes.series.push(SeriesRow {
            id: series.0,
            node: node.key.0,
            pipeline: key.0,
            component: String::new(),
            kind: "pipeline".to_owned(),
        });
        let row = PipelineStatusRow {
            node: node.key.0,
            pipeline: key.0,
            status: PipelineStatus::Unknown.as_str().to_owned(),
            status_text: None,
            reason: String::new(),
            since: at.end,
            version: None,
            pid: None,
            started_at: None,
            restarts: 0,
            config_checksum: None,
            scrape_error: None,
            present: 0,
            reported_at: at.end,
        };
        let state = PipelineState {
            series,
            status: PipelineStatus::Unknown,
            row,
            reason: PublishedReason::new(""),
            components: Default::default(),
            last_report: 0,
        };
        node.pipelines.insert(facts.id.clone(), state);
    }
    Ok(())
}

/// Leaves out the lines that are above the budget of the node.
fn drop_excess_lines(
    node: &mut NodeState,
    seq: u64,
    pipeline: &mut ReportedPipeline,
    context: &Context,
    changes: &mut Changes,
    refusals: &mut Refusals,
) {
    let admitted = node.log_budget.admit(&pipeline.logs, context.log_limits, context.received_at);
    let dropped = pipeline.logs.len() - admitted;
    if dropped == 0 {
        return;
    }
    pipeline.logs.truncate(admitted);
    pipeline.logs_dropped = pipeline.logs_dropped.saturating_add(i64::try_from(dropped).unwrap_or(i64::MAX));
    changes.log_lines_dropped += dropped as u64;
    refusals.push(Refused {
        seq,
        pipeline_id: Some(pipeline.id.to_string()),
        component_id: None,
        code: RefusalCode::TooManyLogLines,
        detail: format!("{dropped} lines above the budget of the node were dropped"),
    });
}

type NodeIdentity = (NodeKey, systole_shared::NodeId, EnvironmentKey);

fn add_logs(
    identity: NodeIdentity,
    (key, id): (PipelineKey, &PipelineId),
    logs: &[ReportedLine],
    at: &ReportWindow,
    changes: &mut Changes,
) {
    let mut rest = logs;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |log: &&ReportedLine| {
            bytes += log.line.len();
            bytes <= BYTES_PER_ENTRY
        };
        let count = rest.iter().take(LINES_PER_ENTRY).take_while(fits).count().max(1);
        let (lines, behind) = rest.split_at(count);
        rest = behind;
        let seqs: Vec<u64> = lines.iter().map(|_| changes.next_seq()).collect();
        let entry_seq = changes.head_seq();
        let mut entries = Vec::with_capacity(lines.len());
        for (log, seq) in lines.iter().zip(seqs) {
            let line_at = log.at.saturating_add(at.correction).min(at.latest_line);
            changes.logs.push(LogRow {
                seq: signed(seq),
                entry_seq: signed(entry_seq),
                at: line_at,
                node: identity.0.0,
                pipeline: key.0,
                stream: log.stream.as_str().to_owned(),
                level: log.level.map(|level| level.as_str().to_owned()),
                line: log.line.clone(),
            });
            entries.push(LogEntryLine { at: line_at, stream: log.stream, level: log.level, line: log.line.clone() });
        }
        let event = Event::LogEntry(LogEntry { node_id: identity.1, pipeline_id: id.clone(), entries });
        changes.add_event_at(entry_seq, at.end, identity, Some((key, id)), EventType::LogEntry, &event);
    }
}

fn update_status(
    identity: NodeIdentity,
    pipeline: &mut PipelineState,
    facts: &ReportedPipeline,
    dimensions: &mut Dimensions,
    at: &ReportWindow,
    changes: &mut Changes,
) {
    let changed =
        pipeline.status != facts.status || pipeline.row.status_text != facts.status_text || !pipeline.is_present();
    let has_new_reason = !changed && pipeline.reason.try_publish(&facts.reason, at.received_at);
    // Most reports change nothing here; then nothing is written.
    if !changed && !has_new_reason && is_as_before(&pipeline.row, facts, at) {
        return;
    }
    let row = PipelineStatusRow {
        node: pipeline.row.node,
        pipeline: pipeline.row.pipeline,
        status: facts.status.as_str().to_owned(),
        status_text: facts.status_text.clone(),
        reason: facts.reason.clone(),
        since: if changed { at.end } else { pipeline.row.since },
        version: facts.version,
        pid: facts.pid.map(i64::from),
        started_at: started_at(facts, at),
        restarts: restarts(facts),
        config_checksum: facts.config_checksum.clone(),
        scrape_error: facts.scrape_error.clone(),
        present: 1,
        reported_at: at.end,
    };
    if changed || has_new_reason {
        let reason = match &facts.status_text {
            Some(text) => format!("reported as {text:?}. {}", facts.reason).trim_end().to_owned(),
            None => facts.reason.clone(),
        };
        let event = Event::StatusChange(StatusChange {
            node_id: identity.1,
            pipeline_id: Some(facts.id.clone()),
            pipeline_name: dimensions.pipeline(identity.2, &facts.id).map(|known| known.name.clone()),
            from_status: pipeline.status.as_str().to_owned(),
            to_status: facts.status.as_str().to_owned(),
            reason,
            timestamp: at.end,
        });
        let key = PipelineKey(pipeline.row.pipeline);
        changes.add_event(at.end, identity, Some((key, &facts.id)), EventType::StatusChange, &event);
        pipeline.status = facts.status;
        pipeline.reason.publish(&facts.reason);
    }
    changes.set_status(row.clone());
    pipeline.row = row;
}

/// Whether a report says of a pipeline in an unchanged state what was written of it.
fn is_as_before(row: &PipelineStatusRow, facts: &ReportedPipeline, at: &ReportWindow) -> bool {
    row.reason == facts.reason
        && row.version == facts.version
        && row.pid == facts.pid.map(i64::from)
        && row.started_at == started_at(facts, at)
        && row.restarts == restarts(facts)
        && row.config_checksum == facts.config_checksum
        && row.scrape_error == facts.scrape_error
}

fn started_at(facts: &ReportedPipeline, at: &ReportWindow) -> Option<UnixMillis> {
    facts.started_at.map(|started| started.saturating_add(at.correction))
}

fn restarts(facts: &ReportedPipeline) -> i64 {
    i64::try_from(facts.restarts).unwrap_or(i64::MAX)
}

/// Pipelines that the node no longer has count as stopped.
fn retire_absent(node: &mut NodeState, dimensions: &mut Dimensions, at: &ReportWindow, changes: &mut Changes) {
    let identity = (node.key, node.id, node.environment);
    for (id, pipeline) in &mut node.pipelines {
        if !pipeline.is_present() || pipeline.last_report == node.reports {
            continue;
        }
        let reason = "no longer configured on the node";
        if pipeline.status != PipelineStatus::Stopped {
            let event = Event::StatusChange(StatusChange {
                node_id: identity.1,
                pipeline_id: Some(id.clone()),
                pipeline_name: dimensions.pipeline(identity.2, id).map(|known| known.name.clone()),
                from_status: pipeline.status.as_str().to_owned(),
                to_status: PipelineStatus::Stopped.as_str().to_owned(),
                reason: reason.to_owned(),
                timestamp: at.end,
            });
            let key = PipelineKey(pipeline.row.pipeline);
            changes.add_event(at.end, identity, Some((key, id)), EventType::StatusChange, &event);
        }
        dimensions.places.give_back(identity.0, pipeline.take_places());
        pipeline.status = PipelineStatus::Stopped;
        pipeline.reason.publish(reason);
        pipeline.row.status = PipelineStatus::Stopped.as_str().to_owned();
        pipeline.row.reason = reason.to_owned();
        pipeline.row.since = at.end;
        pipeline.row.present = 0;
        pipeline.row.pid = None;
        pipeline.row.reported_at = at.end;
        changes.set_status(pipeline.row.clone());
    }
}

/// The node's own state after a report.
fn set_status(node: &mut NodeState, at: UnixMillis, context: &Context, changes: &mut Changes) {
    changes.heartbeat(node.key).last_seen_at = Some(context.received_at);
    let unwell = node
        .pipelines
        .iter()
        .filter(|(_, pipeline)| pipeline.is_present() && pipeline.status.degrades_node())
        .min_by_key(|(id, _)| *id);
    let (status, reason) = if node.boot_returns.len() >= DUPLICATE_RETURNS {
        (NodeStatus::Degraded, "duplicate identity".to_owned())
    } else if let Some((id, pipeline)) = unwell {
        (NodeStatus::Degraded, format!("pipeline {id} is {}", pipeline.status))
    } else {
        let reason = match node.status {
            NodeStatus::Unknown | NodeStatus::Unrecognized => "first report",
            NodeStatus::Unreachable | NodeStatus::Offline => "reports again",
            NodeStatus::Healthy | NodeStatus::Degraded => "every pipeline is well",
        };
        (NodeStatus::Healthy, reason.to_owned())
    };
    // HEALTHY has no reason that a person needs to know of.
    if status == NodeStatus::Degraded && node.status == status {
        change_node_reason(node, &reason, at, context, changes);
    }
    change_node_status(node, status, &reason, at, changes);
}

/// A new reason of the same state.
fn change_node_reason(node: &mut NodeState, reason: &str, at: UnixMillis, context: &Context, changes: &mut Changes) {
    if node.reason.try_publish(reason, context.received_at) {
        add_node_event(node, node.status, reason, at, changes);
    }
    if node.status_reason != reason {
        changes.node(node.key).status_reason = Some(reason.to_owned());
        reason.clone_into(&mut node.status_reason);
    }
}

fn change_node_status(node: &mut NodeState, to: NodeStatus, reason: &str, at: UnixMillis, changes: &mut Changes) {
    if node.status == to {
        return;
    }
    add_node_event(node, to, reason, at, changes);
    if node.status.is_silent() || to.is_silent() {
        changes.presences.push(PresenceChange {
            node: node.id,
            name: node.name.clone(),
            from: node.status,
            to,
            reason: reason.to_owned(),
        });
    }
    let change = changes.node(node.key);
    change.status = Some(to.as_str().to_owned());
    change.status_reason = Some(reason.to_owned());
    change.status_since = Some(at);
    node.status = to;
    reason.clone_into(&mut node.status_reason);
    node.reason.publish(reason);
}

fn add_node_event(node: &NodeState, to: NodeStatus, reason: &str, at: UnixMillis, changes: &mut Changes) {
    let event = Event::StatusChange(StatusChange {
        node_id: node.id,
        pipeline_id: None,
        pipeline_name: None,
        from_status: node.status.as_str().to_owned(),
        to_status: to.as_str().to_owned(),
        reason: reason.to_owned(),
        timestamp: at,
    });
    changes.add_event(at, (node.key, node.id, node.environment), None, EventType::StatusChange, &event);
}

fn add_fleet_status(node: &NodeState, at: UnixMillis, changes: &mut Changes) {
    let status = FleetStatus {
        node_id: node.id,
        status: node.status,
        timestamp: at,
        pipelines_running: node.pipelines_running(),
    };
    changes.add_news((node.id, node.environment), None, EventType::FleetStatus, Payload::Fleet(status));
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
