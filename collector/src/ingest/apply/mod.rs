//! Applies one report. Pure: it takes `now` and changes only the state in its arguments.
//!
//! - `progress` compares the report's number with what its boot has sent. A report from before is acknowledged again;
//!   a report that follows a hole is applied, and the hole becomes a gap of the node.
//! - A report with totals has no number: `totals` makes growth of it, and a repeated one has none.
//! - A merged report that covers an applied one is refused: it cannot be split again.
//! - `agent` keeps what the agent says of itself and of its host.
//! - `pipeline` gives a pipeline its keys, adds its `samples` to their minute, and stores its `log_lines`.
//! - `ledger` counts the reports of a pipeline that came late or never.
//! - `deployments` stores how far the node is with pipelines of the centre. For an agent that does not say it,
//!   `observed_deployments` derives it.
//! - `pipeline_status` and `node_status` derive the states, and `silence` replaces them when the node is not observed.

mod agent;
mod deployments;
mod ledger;
mod log_lines;
mod node_status;
mod observed_deployments;
mod pipeline;
mod pipeline_status;
mod progress;
mod samples;
mod silence;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use systole_shared::limits::{BACKFILL_AFTER_MS, MAX_FUTURE_MS, SKEW_TOLERANCE_MS};
use systole_shared::{BootId, NodeId, RefusalCode, Refused, SeqRange, UnixMillis};

use self::agent::{node_minute, note_agent};
use self::deployments::apply_deployments;
use self::log_lines::{add_lines, drop_excess_lines};
use self::node_status::{add_fleet_status, set_status};
use self::observed_deployments::observe;
use self::pipeline::apply_pipeline;
use self::pipeline_status::retire_absent;
use self::progress::move_progress;
use self::silence::mark_offline;
pub(crate) use self::silence::mark_unreachable;
use super::changes::Changes;
use super::state::{Dimensions, NodeState};
use crate::config::LogLimits;
use crate::model::live::HostReading;
use crate::model::report::{NodeReport, Refusals, ReportedDeployments, ReportedLines, TotalsReport};
use crate::model::{EnvironmentKey, NodeKey, Throughput};

/// The names of a node in changes and events.
type NodeIdentity = (NodeKey, NodeId, EnvironmentKey);

/// The parameters of applying a report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The agent's clock when it sent the request; ours for an agent that does not say.
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

/// Applies one report of a node, of a run of its agent.
pub(crate) fn apply(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    boot: BootId,
    report: NodeReport,
    context: &Context,
    changes: &mut Changes,
    refusals: &mut Refusals,
) -> Outcome {
    let progress = node.progress(boot);
    if progress.is_some_and(|applied| report.seq <= applied) {
        return Outcome::Duplicate;
    }
    let missing = progress
        .filter(|applied| report.covers_from > applied + 1)
        .map(|applied| SeqRange { from: applied + 1, to: report.covers_from - 1 });
    let is_latest_boot = move_progress(node, boot, report.seq, missing, context, changes);
    if missing.is_some() {
        node.lost_reports_at = Some(context.received_at);
        changes.note_live(node.key);
    }

    let correction = context.correction();
    // In whole seconds, so that it is seldom another one.
    let skew = Some(correction / 1_000 * 1_000);
    if node.clock_skew_ms != skew {
        node.clock_skew_ms = skew;
        changes.note_live(node.key);
    }
    let start = report.start.saturating_add(correction);
    let end = report.end.saturating_add(correction);
    let hole = missing.map_or(0, |missing| missing.to - missing.from + 1);
    let overlap = progress.filter(|applied| report.covers_from <= *applied);
    if let Some((code, detail)) = validate(start, end, overlap, context) {
        refusals.push(Refused { seq: report.seq, pipeline_id: None, component_id: None, code, detail });
        node.unassigned_missing = node.unassigned_missing.saturating_add(hole);
        // Its own times are what is wrong with it; that the node lives is true now.
        set_status(node, context.received_at, context, changes);
        return Outcome::Refused { missing };
    }

    let window = ReportWindow::new((start, end), context);
    let covered = counted(report.seq.saturating_sub(report.covers_from).saturating_add(1));
    let hole = counted(hole.saturating_add(std::mem::take(&mut node.unassigned_missing)));
    let missing_reports = ledger::missing_by_hour(hole, start, window.ms() as i64 / covered.max(1), context.oldest);
    let at = ReportWindow { correction, seq: report.seq, is_latest_boot, covered, missing_reports, ..window };
    apply_content(node, dimensions, report, &at, context, changes, refusals);
    Outcome::Applied { missing }
}

/// Applies totals of a node. They have no number: applied again, they have not grown.
pub(crate) fn apply_totals(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    totals: TotalsReport,
    context: &Context,
    changes: &mut Changes,
    refusals: &mut Refusals,
) {
    let watched_since = node.enrolled_at.max(node.last_seen);
    let report = node.totals.advance(totals, watched_since, context.received_at);
    changes.set_totals(node.key, node.totals.pack());
    let at = ReportWindow::new((report.start, report.end), context);
    apply_content(node, dimensions, report, &at, context, changes, refusals);
}

/// Applies lines of a node that came without a report. They say nothing of states.
pub(crate) fn apply_lines(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    reported: Vec<ReportedLines>,
    context: &Context,
    changes: &mut Changes,
    refusals: &mut Refusals,
) {
    let at = ReportWindow::new((context.received_at, context.received_at), context);
    for lines in reported {
        add_lines(node, dimensions, lines, &at, context, changes, refusals);
    }
}

/// What every report changes, whatever makes it count once.
fn apply_content(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    report: NodeReport,
    at: &ReportWindow,
    context: &Context,
    changes: &mut Changes,
    refusals: &mut Refusals,
) {
    let bucket = changes.bucket(at.minute, node.key);
    if let Some(host) = report.host.as_ref() {
        bucket.set_host(node_minute(host, at.minute, node.key.0));
    }
    note_agent(node, &report, context, changes);
    node.reports += 1;
    node.last_seen = context.received_at;
    let (deployments, deployments_complete) = match report.deployments {
        ReportedDeployments::Stated { items, complete } => (items, complete),
        ReportedDeployments::Observed(given) => (observe(&given, &report.pipelines, &node.deployments, at), true),
    };
    if at.is_news {
        node.throughput = Throughput::of(&report.pipelines, at.seconds);
        if let Some(host) = &report.host {
            node.host = Some(HostReading::next(node.host.as_ref(), host));
        }
    }
    for mut pipeline in report.pipelines {
        let dropped = drop_excess_lines(node, report.seq, &pipeline.id, &mut pipeline.logs, context, changes, refusals);
        pipeline.logs_dropped = pipeline.logs_dropped.saturating_add(dropped);
        apply_pipeline(node, dimensions, pipeline, at, changes, refusals);
    }
    if report.complete {
        retire_absent(node, dimensions, at, changes);
    }
    // What an older run of the agent says of them was overtaken.
    if at.is_latest_boot {
        apply_deployments(node, dimensions, deployments, deployments_complete, at, changes);
    }
    match report.stopping {
        // An older one was overtaken: an agent that says this late has another one after it.
        Some(reason) if at.is_latest_boot && at.is_news => {
            changes.heartbeat(node.key).last_seen_at = Some(context.received_at);
            mark_offline(node, dimensions, &reason, at.end, changes);
        }
        _ => set_status(node, at.end, context, changes),
    }
    if at.is_news {
        add_fleet_status(node, at.end, changes);
    }
}

/// The minute and the interval that a report counts for.
struct ReportWindow {
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
    /// Its number; 0 when it has none.
    pub seq: u64,
    /// Whether it is of the run of the agent that reported last.
    pub is_latest_boot: bool,
    /// Reports that it stands for: one, unless it was merged.
    pub covered: i64,
    /// Whether it came late.
    pub is_late: bool,
    /// Reports before it that never came, by minute.
    pub missing_reports: Vec<(i64, i64)>,
}

impl ReportWindow {
    /// Of a report without a number, from and to times by the collector's clock.
    fn new((start, end): (UnixMillis, UnixMillis), context: &Context) -> Self {
        let ms = if end > start { end.saturating_sub(start) } else { context.interval_ms };
        ReportWindow {
            end,
            seconds: ms as f64 / 1_000.0,
            minute: end.div_euclid(60_000),
            correction: 0,
            latest_line: end.max(context.received_at),
            received_at: context.received_at,
            is_news: context.received_at.saturating_sub(end) <= BACKFILL_AFTER_MS,
            seq: 0,
            is_latest_boot: true,
            covered: 1,
            is_late: ledger::is_late(end, context.received_at),
            missing_reports: Vec::new(),
        }
    }

    /// Its length in whole milliseconds.
    fn ms(&self) -> f64 {
        (self.seconds * 1_000.0).round()
    }
}

/// A number of reports as rows have it.
fn counted(reports: u64) -> i64 {
    i64::try_from(reports).unwrap_or(i64::MAX)
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
