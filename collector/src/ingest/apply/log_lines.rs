//! Log lines of a report: within the budget of the node, numbered, stored and published.
//!
//! A log line has the agent's time, but never one later than the report's arrival: a line from the
//! future would never expire, and would block the expiry of all lines after it.

use systole_shared::events::{Event, EventType, LogEntry, LogEntryLine};
use systole_shared::{PipelineId, RefusalCode, Refused};

use super::{Context, NodeIdentity, ReportWindow};
use crate::ingest::changes::{Changes, signed};
use crate::ingest::state::NodeState;
use crate::model::PipelineKey;
use crate::model::report::{Refusals, ReportedLine, ReportedPipeline};
use crate::store::LogRow;

/// Lines that go out in one log_entry event at most, and their bytes: an event is to fit into one
/// write of the feed.
const LINES_PER_ENTRY: usize = 100;
const BYTES_PER_ENTRY: usize = 12 * 1024;

/// Leaves out the lines that are above the budget of the node.
pub(super) fn drop_excess_lines(
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
