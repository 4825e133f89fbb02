//! Pages of a replay: lines and other durable events merged by their sequence, the same for every database.

use systole_shared::events::{Event, EventType, LogEntry, LogEntryLine};
use systole_shared::{LogLevel, LogStream, PipelineId};

use super::convert::{LogColumns, kept_events, parse_id};
use super::{EventRow, Oldest, ReplayPage, ReplayQuery, StoreError, StoredEvent};

/// Lines read at once for a replay. More than any one event has, so that at least one whole event
/// comes out.
pub(super) const LINES_PER_PAGE: i64 = 2_048;

/// Makes a page of a replay out of rows of both tables that were read behind the same place. Each is
/// complete up to its own end; what one of them has behind the other's is left to the next page.
pub(super) fn page(
    query: &ReplayQuery,
    changes: Option<Vec<EventRow>>,
    lines: Option<Vec<LogColumns>>,
    oldest: Oldest,
) -> Result<ReplayPage, StoreError> {
    let (changes, changes_end) = match changes {
        Some(rows) => whole_changes(query, rows),
        None => (Vec::new(), query.to),
    };
    let (entries, entries_end) = match lines {
        Some(rows) => whole_entries(query, rows)?,
        None => (Vec::new(), query.to),
    };
    let cursor = changes_end.min(entries_end);
    let mut events: Vec<_> = changes.into_iter().chain(entries).filter(|event| event.seq <= cursor).collect();
    events.sort_by_key(|event| event.seq);
    Ok(ReplayPage { events, cursor, oldest })
}

/// An event of a node has no pipeline, and a deployment before the first report of its pipeline has no key of it.
fn is_wanted_without_key(query: &ReplayQuery, row: &EventRow) -> bool {
    query.pipelines.is_empty()
        || match serde_json::from_str(&row.payload) {
            Ok(Event::Deployment(deployment)) => query.pipelines.iter().any(|id| id == deployment.pipeline_id.as_str()),
            _ => false,
        }
}

/// Status changes and deployments, and up to where they are complete.
fn whole_changes(query: &ReplayQuery, rows: Vec<EventRow>) -> (Vec<StoredEvent>, u64) {
    let complete = rows.len() < query.limit as usize;
    let end = if complete { query.to } else { rows.last().map_or(query.to, |row| row.seq.unsigned_abs()) };
    let rows = rows.into_iter().filter(|row| row.pipeline.is_some() || is_wanted_without_key(query, row)).collect();
    (kept_events(rows), end)
}

/// Lines as the events that they went out with, and up to where they are complete.
fn whole_entries(query: &ReplayQuery, mut rows: Vec<LogColumns>) -> Result<(Vec<StoredEvent>, u64), StoreError> {
    let mut end = query.to;
    if rows.len() as i64 == LINES_PER_PAGE {
        // The last event may continue after the page: leave it to the next page.
        if let Some(last) = rows.last().map(|(row, ..)| row.entry_seq) {
            rows.retain(|(row, ..)| row.entry_seq != last);
        }
        end = rows.last().map_or(query.to, |(row, ..)| row.entry_seq.unsigned_abs());
    }
    let mut events: Vec<StoredEvent> = Vec::new();
    let mut open: Option<(i64, LogEntry)> = None;
    for (row, node, pipeline) in rows {
        if open.as_ref().is_some_and(|(seq, _)| *seq != row.entry_seq) {
            close(&mut open, &mut events)?;
        }
        let entry = match &mut open {
            Some((_, entry)) => entry,
            None => {
                let pipeline_id = PipelineId::parse(&pipeline)
                    .map_err(|fault| StoreError::Corrupt(format!("pipeline id {pipeline:?} {fault}")))?;
                let entry = LogEntry { node_id: parse_id(&node)?, pipeline_id, entries: Vec::new() };
                &mut open.insert((row.entry_seq, entry)).1
            }
        };
        entry.entries.push(LogEntryLine {
            at: row.at,
            stream: LogStream::from_wire(&row.stream),
            level: row.level.as_deref().and_then(LogLevel::parse),
            line: row.line,
        });
    }
    close(&mut open, &mut events)?;
    Ok((events, end))
}

fn close(open: &mut Option<(i64, LogEntry)>, events: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
    if let Some((seq, entry)) = open.take() {
        let payload = serde_json::to_string(&Event::LogEntry(entry))
            .map_err(|error| StoreError::Corrupt(format!("log entry {seq}: {error}")))?;
        events.push(StoredEvent { seq: seq.unsigned_abs(), kind: EventType::LogEntry, payload });
    }
    Ok(())
}
