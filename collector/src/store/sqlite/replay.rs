//! Durable events in order of commit, lines and status changes merged by their sequence.

use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use systole_shared::events::{Event, EventType, LogEntry, LogEntryLine};
use systole_shared::{LogLevel, LogStream, PipelineId};

use super::access::{feed_position, parse_id};
use crate::store::schema::*;
use crate::store::{EventRow, LogRow, ReplayPage, ReplayQuery, StoreError, StoredEvent};

/// Lines read at once. More than any one event has, so that at least one whole event comes out.
const LINES_PER_PAGE: i64 = 2_048;

/// The next events of a replay. Both tables are read up to the same sequence number, so that what
/// the page leaves out of one is not passed over because of the other.
pub(super) fn page(connection: &mut SqliteConnection, query: &ReplayQuery) -> Result<ReplayPage, StoreError> {
    let (changes, changes_end) = match query.types.contains(&EventType::StatusChange) {
        true => status_changes(connection, query)?,
        false => (Vec::new(), query.to),
    };
    let (entries, entries_end) = match query.types.contains(&EventType::LogEntry) {
        true => log_entries(connection, query)?,
        false => (Vec::new(), query.to),
    };
    let cursor = changes_end.min(entries_end);
    let mut events: Vec<_> = changes.into_iter().chain(entries).filter(|event| event.seq <= cursor).collect();
    events.sort_by_key(|event| event.seq);
    let oldest = feed_position(connection)?.oldest;
    Ok(ReplayPage { events, cursor, oldest })
}

fn bounds(query: &ReplayQuery) -> (i64, i64) {
    let signed = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
    (signed(query.after), signed(query.to))
}

/// Status changes, and up to where they are complete.
fn status_changes(
    connection: &mut SqliteConnection,
    query: &ReplayQuery,
) -> Result<(Vec<StoredEvent>, u64), StoreError> {
    let (after, to) = bounds(query);
    let limit = i64::from(query.limit);
    let mut select = events::table
        .select(EventRow::as_select())
        .filter(events::seq.gt(after).and(events::seq.le(to)))
        .order(events::seq)
        .limit(limit)
        .into_boxed::<Sqlite>();
    if let Some(environments) = &query.environments {
        select = select.filter(events::environment.eq_any(environments.iter().map(|key| key.0).collect::<Vec<_>>()));
    }
    if !query.nodes.is_empty() {
        select = select.filter(events::node.eq_any(node_keys(connection, query)?));
    }
    if !query.pipelines.is_empty() {
        select = select.filter(
            events::pipeline.eq_any(pipeline_keys(connection, query)?.into_iter().map(Some).collect::<Vec<_>>()),
        );
    }
    let rows = select.load(connection)?;
    let complete = (rows.len() as i64) < limit;
    let end = if complete { query.to } else { rows.last().map_or(query.to, |row| row.seq.unsigned_abs()) };
    let events = rows
        .into_iter()
        .map(|row| StoredEvent { seq: row.seq.unsigned_abs(), kind: EventType::StatusChange, payload: row.payload })
        .collect();
    Ok((events, end))
}

/// Lines as the events that they went out with, and up to where they are complete.
fn log_entries(connection: &mut SqliteConnection, query: &ReplayQuery) -> Result<(Vec<StoredEvent>, u64), StoreError> {
    let (after, to) = bounds(query);
    let mut select = logs::table
        .inner_join(nodes::table.on(nodes::id.eq(logs::node)))
        .inner_join(pipelines::table.on(pipelines::id.eq(logs::pipeline)))
        .select((LogRow::as_select(), nodes::uuid, pipelines::slug))
        .filter(logs::seq.gt(after).and(logs::entry_seq.le(to)))
        .order(logs::seq)
        .limit(LINES_PER_PAGE)
        .into_boxed::<Sqlite>();
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(environments.iter().map(|key| key.0).collect::<Vec<_>>()));
    }
    if !query.nodes.is_empty() {
        select = select.filter(logs::node.eq_any(node_keys(connection, query)?));
    }
    if !query.pipelines.is_empty() {
        select = select.filter(logs::pipeline.eq_any(pipeline_keys(connection, query)?));
    }
    let mut rows: Vec<(LogRow, String, String)> = select.load(connection)?;
    let mut end = query.to;
    if rows.len() as i64 == LINES_PER_PAGE {
        // The last event may go on behind the page: leave it to the next one.
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

fn node_keys(connection: &mut SqliteConnection, query: &ReplayQuery) -> QueryResult<Vec<i64>> {
    let uuids: Vec<String> = query.nodes.iter().map(ToString::to_string).collect();
    nodes::table.filter(nodes::uuid.eq_any(uuids)).select(nodes::id).load(connection)
}

fn pipeline_keys(connection: &mut SqliteConnection, query: &ReplayQuery) -> QueryResult<Vec<i64>> {
    pipelines::table.filter(pipelines::slug.eq_any(&query.pipelines)).select(pipelines::id).load(connection)
}
