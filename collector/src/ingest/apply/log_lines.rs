//! Log lines of a report: within the budget of the node, numbered, stored and published.
//!
//! A log line has the agent's time, but never one later than the report's arrival: a line from the
//! future would never expire, and would block the expiry of all lines after it.

use systole_shared::events::{Event, EventType, LogEntry, LogEntryLine};
use systole_shared::{PipelineId, RefusalCode, Refused};

use super::pipeline::register;
use super::{Context, NodeIdentity, ReportWindow};
use crate::ingest::changes::{Changes, signed};
use crate::ingest::state::{Dimensions, NodeState};
use crate::model::PipelineKey;
use crate::model::report::{Refusals, ReportedLine, ReportedLines};
use crate::store::LogRow;

/// Lines that go out in one log_entry event at most, and their bytes: an event is to fit into one
/// write of the feed.
const LINES_PER_ENTRY: usize = 100;
const BYTES_PER_ENTRY: usize = 12 * 1024;

/// How old the last sign of a pipeline may be that has nothing but lines. No retention is that short.
const RENEW_AFTER_MS: i64 = 3_600_000;

/// Adds lines that came without a report.
pub(super) fn add_lines(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    reported: ReportedLines,
    at: &ReportWindow,
    context: &Context,
    changes: &mut Changes,
    refusals: &mut Refusals,
) {
    let ReportedLines { pipeline: id, mut lines, dropped } = reported;
    if lines.is_empty() && dropped == 0 {
        return;
    }
    if !register(node, dimensions, (&id, None), at, changes, refusals) {
        return;
    }
    let excess = drop_excess_lines(node, at.seq, &id, &mut lines, context, changes, refusals);
    let dropped = dropped.saturating_add(excess);
    let Some(pipeline) = node.pipelines.get_mut(&id) else { return };
    // A pipeline that no report has is forgotten after a time, and not while there are lines of it.
    if !pipeline.is_present() && at.end.saturating_sub(pipeline.row.reported_at) >= RENEW_AFTER_MS {
        pipeline.row.reported_at = at.end;
        changes.set_status(pipeline.row.clone());
    }
    if dropped > 0 {
        let row = changes.bucket(at.minute, node.key).pipeline(pipeline.series);
        row.logs_dropped = row.logs_dropped.saturating_add(dropped);
    }
    let key = PipelineKey(pipeline.row.pipeline);
    add_logs((node.key, node.id, node.environment), (key, &id), &lines, at, changes);
}

/// Leaves out the lines that are above the budget of the node. Returns how many.
pub(super) fn drop_excess_lines(
    node: &mut NodeState,
    seq: u64,
    pipeline: &PipelineId,
    lines: &mut Vec<ReportedLine>,
    context: &Context,
    changes: &mut Changes,
    refusals: &mut Refusals,
) -> i64 {
    let admitted = node.log_budget.admit(lines, context.log_limits, context.received_at);
    let dropped = lines.len() - admitted;
    if dropped == 0 {
        return 0;
    }
    lines.truncate(admitted);
    changes.log_lines_dropped += dropped as u64;
    refusals.push(Refused {
        seq,
        pipeline_id: Some(pipeline.to_string()),
        component_id: None,
        code: RefusalCode::TooManyLogLines,
        detail: format!("{dropped} lines above the budget of the node were dropped"),
    });
    i64::try_from(dropped).unwrap_or(i64::MAX)
}

pub(super) fn add_logs(
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
        changes.add_event_at(entry_seq, at.end, identity, Some((Some(key), id)), EventType::LogEntry, &event);
    }
}
