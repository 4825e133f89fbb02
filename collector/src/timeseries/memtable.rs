//! The in-memory state of the write-ahead log that is not in rows yet.
//!
//! `active` takes what is committed. To become rows it is sealed: cut into chunks, which are written
//! one transaction each under growing numbers. The database knows the number of the last chunk that
//! it has (`meta.folds`), so that a query that has read rows at one number adds the chunks above it and
//! `active`, and counts everything once. A chunk that is written is kept until the last reader that may
//! have begun before it is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use foldhash::HashMap;

use super::hour_cache::HourCache;
use super::wal::WalRecord;
use crate::store::MinuteBucket;
use crate::store::{FlushMark, NodeBootRow, NodeHeartbeat, NodeTotalsRow};

/// Rows of one chunk: about ten milliseconds of the writer.
const CHUNK_ROWS: usize = 2_000;

/// Hosts and boots of one chunk; they lie apart, which makes them dearer than minutes.
const CHUNK_NODES: usize = 500;

/// Records that are removed in one transaction.
const CHUNK_RECORDS: i64 = 100;

/// Rows that wait, not yet sealed.
#[derive(Debug, Default)]
pub(super) struct ActiveRows {
    pub buckets: HashMap<(i64, i64), MinuteBucket>,
    /// By node and boot; `None`: forgotten.
    pub boots: HashMap<(i64, String), Option<NodeBootRow>>,
    pub heartbeats: HashMap<i64, NodeHeartbeat>,
    pub totals: HashMap<i64, NodeTotalsRow>,
    pub rows: usize,
}

/// The part of the write-ahead log that one transaction flushes.
#[derive(Debug, Default)]
pub(super) struct FlushChunk {
    pub number: u64,
    /// By minute and node.
    pub buckets: Vec<MinuteBucket>,
    pub boots: Vec<NodeBootRow>,
    pub forgotten_boots: Vec<(i64, String)>,
    pub heartbeats: Vec<(i64, NodeHeartbeat)>,
    pub totals: Vec<NodeTotalsRow>,
    /// Records up to this one are removed.
    pub trim_to: Option<i64>,
    pub mark: FlushMark,
}

impl FlushChunk {
    fn row_count(&self) -> usize {
        self.buckets.iter().map(MinuteBucket::row_count).sum()
    }

    /// The same without the rows of a node.
    fn without(&self, node: i64) -> Self {
        FlushChunk {
            number: self.number,
            buckets: self.buckets.iter().filter(|bucket| bucket.node != node).cloned().collect(),
            boots: self.boots.iter().filter(|row| row.node != node).cloned().collect(),
            forgotten_boots: self.forgotten_boots.iter().filter(|(owner, _)| *owner != node).cloned().collect(),
            heartbeats: self.heartbeats.iter().filter(|(owner, _)| *owner != node).cloned().collect(),
            totals: self.totals.iter().filter(|row| row.node != node).cloned().collect(),
            trim_to: self.trim_to,
            mark: self.mark,
        }
    }

    /// The hours that its buckets lie in, some perhaps twice.
    fn hours(&self) -> Vec<i64> {
        let mut hours: Vec<_> = self.buckets.iter().map(|bucket| bucket.minute.div_euclid(60)).collect();
        hours.dedup();
        hours
    }
}

#[derive(Debug, Default)]
pub(super) struct Memtable {
    pub active: ActiveRows,
    /// By number. Those up to `written` are kept for readers only.
    chunks: VecDeque<Arc<FlushChunk>>,
    /// Number of the chunk that was written last.
    written: u64,
    /// How many readers may have begun when this number was the last.
    readers: BTreeMap<u64, usize>,
    /// The record that was written last.
    last_record: i64,
    /// Every record up to this one was sealed at some time.
    sealed_through: i64,
    /// Numbers and bytes of the records that are in the write-ahead log.
    records: VecDeque<(i64, u64)>,
    /// Bytes of all of them.
    bytes: u64,
    /// Rows in chunks that are not written.
    sealed_rows: usize,
    /// Highest sequence number of the feed that is committed.
    pub head_seq: u64,
    /// The sums of the rows up to `written`.
    pub hours: HourCache,
}

impl ActiveRows {
    pub(super) fn add(&mut self, record: WalRecord) {
        for bucket in record.buckets {
            match self.buckets.entry((bucket.minute, bucket.node)) {
                std::collections::hash_map::Entry::Occupied(mut known) => {
                    let before = known.get().row_count();
                    known.get_mut().add(bucket);
                    self.rows += known.get().row_count() - before;
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    self.rows += bucket.row_count();
                    free.insert(bucket);
                }
            }
        }
        for (node, boot) in record.forgotten_boots {
            self.boots.insert((node, boot), None);
        }
        for boot in record.boots {
            self.boots.insert((boot.node, boot.boot.clone()), Some(boot));
        }
        for (node, heartbeat) in record.heartbeats {
            self.heartbeats.entry(node).or_default().renew(heartbeat);
        }
        self.totals.extend(record.totals.into_iter().map(|row| (row.node, row)));
    }

    fn forget_node(&mut self, node: i64) {
        let rows = &mut self.rows;
        self.buckets.retain(|(_, owner), bucket| {
            let is_kept = *owner != node;
            *rows -= if is_kept { 0 } else { bucket.row_count() };
            is_kept
        });
        self.boots.retain(|(owner, _), _| *owner != node);
        self.heartbeats.remove(&node);
        self.totals.remove(&node);
    }

    /// Cuts it into chunks behind `number`, of records up to `to`. Buckets up to `after` are rows already.
    /// The order depends on nothing but what is in it, so that it is the same after a restart.
    fn cut(self, number: u64, to: i64, after: (i64, i64)) -> Vec<FlushChunk> {
        let mut buckets: Vec<_> =
            self.buckets.into_values().filter(|bucket| (bucket.minute, bucket.node) > after).collect();
        buckets.sort_unstable_by_key(|bucket| (bucket.minute, bucket.node));
        let mut chunks: Vec<FlushChunk> = Vec::new();
        let mut rows = CHUNK_ROWS;
        let mut done = after;
        for bucket in buckets {
            if rows >= CHUNK_ROWS {
                chunks.push(FlushChunk::default());
                rows = 0;
            }
            // A bucket without rows still marks its hour.
            rows += bucket.row_count().max(1);
            done = (bucket.minute, bucket.node);
            if let Some(chunk) = chunks.last_mut() {
                chunk.buckets.push(bucket);
                chunk.mark = FlushMark { minute: done.0, node: done.1, ..FlushMark::default() };
            }
        }
        let mut nodes: BTreeMap<i64, FlushChunk> = BTreeMap::new();
        for ((node, boot), row) in self.boots {
            let chunk = nodes.entry(node).or_default();
            match row {
                Some(row) => chunk.boots.push(row),
                None => chunk.forgotten_boots.push((node, boot)),
            }
        }
        for (node, heartbeat) in self.heartbeats {
            nodes.entry(node).or_default().heartbeats.push((node, heartbeat));
        }
        for (node, row) in self.totals {
            nodes.entry(node).or_default().totals.push(row);
        }
        let mut count = CHUNK_NODES;
        for (_, part) in nodes {
            if count == CHUNK_NODES {
                chunks.push(FlushChunk {
                    mark: FlushMark { minute: done.0, node: done.1, ..FlushMark::default() },
                    ..FlushChunk::default()
                });
                count = 0;
            }
            count += 1;
            if let Some(chunk) = chunks.last_mut() {
                chunk.boots.extend(part.boots);
                chunk.forgotten_boots.extend(part.forgotten_boots);
                chunk.heartbeats.extend(part.heartbeats);
                chunk.totals.extend(part.totals);
            }
        }
        for (index, chunk) in chunks.iter_mut().enumerate() {
            chunk.number = number + 1 + index as u64;
            // In the order of their key for the database; a node has few.
            chunk.boots.sort_unstable_by(|a, b| (a.node, &a.boot).cmp(&(b.node, &b.boot)));
            chunk.mark = FlushMark { number: chunk.number, to, ..chunk.mark };
        }
        chunks
    }
}

/// The records that were found in the write-ahead log.
pub(super) struct Recovered {
    pub mark: FlushMark,
    /// Records up to this one are sealed by the process that leads, perhaps without a chunk in the database yet; 0: not
    /// known of any.
    pub sealed_to: i64,
    pub head_seq: u64,
    /// Numbers and bytes of records, the oldest first.
    pub records: Vec<(i64, u64, WalRecord)>,
}

impl Memtable {
    /// Starts again with the state of the database.
    pub(super) fn load(&mut self, found: Recovered) {
        let mark = found.mark;
        let sealed_to = found.sealed_to.max(mark.to);
        self.hours.clear();
        let mut sealed = ActiveRows::default();
        let mut active = ActiveRows::default();
        self.records = found.records.iter().map(|(id, bytes, _)| (*id, *bytes)).collect();
        self.bytes = self.records.iter().map(|(_, bytes)| bytes).sum();
        // Behind everything that a chunk may still remove.
        self.last_record = self.records.back().map_or(0, |(id, _)| *id).max(sealed_to);
        let first_record = self.records.front().map_or(self.last_record + 1, |(id, _)| *id);
        self.sealed_through = sealed_to.max(first_record - 1);
        self.head_seq = found.head_seq;
        for (id, _, record) in found.records {
            if id <= sealed_to { &mut sealed } else { &mut active }.add(record);
        }
        // What was written, perhaps without an answer, may still be needed by readers.
        self.chunks.retain(|chunk| chunk.number <= mark.number);
        self.sealed_rows = 0;
        self.written = mark.number;
        self.active = active;
        if mark.to > 0 {
            self.queue(sealed.cut(mark.number, mark.to, (mark.minute, mark.node)), mark.to);
        } else if first_record <= sealed_to {
            self.queue(sealed.cut(mark.number, sealed_to, (i64::MIN, i64::MIN)), sealed_to);
        }
        self.forget_written();
    }

    /// A node was removed: nothing of it becomes a row any more, and no sum that is kept has it.
    pub(super) fn forget_node(&mut self, node: i64) {
        self.hours.clear();
        self.active.forget_node(node);
        let written = self.written;
        let mut sealed_rows = 0;
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.number > written) {
            *chunk = Arc::new(chunk.without(node));
            sealed_rows += chunk.row_count();
        }
        self.sealed_rows = sealed_rows;
    }

    /// The number of the next record.
    pub(super) fn next_record(&self) -> i64 {
        self.last_record + 1
    }

    /// A record is in the database.
    pub(super) fn note_record(&mut self, id: i64, bytes: u64, record: WalRecord) {
        self.last_record = id;
        self.records.push_back((id, bytes));
        self.bytes += bytes;
        self.active.add(record);
    }

    /// Whether nothing is sealed, and something could be.
    pub(super) fn is_idle(&self) -> bool {
        self.next_chunk().is_none()
    }

    /// Everything that is sealed is in the database, and the chunk of this number was the last one. A process that has loaded the
    /// database in the middle of a flush may have cut the part of nodes in another way.
    pub(super) fn skip_to(&mut self, written: u64) {
        while let Some(chunk) = self.next_chunk().cloned() {
            self.note_written(&chunk);
        }
        self.written = written;
        self.forget_written();
    }

    /// Cuts what waits into chunks, unless earlier ones are still to be written.
    pub(super) fn seal(&mut self) {
        if !self.is_idle() || self.records.is_empty() {
            return;
        }
        let active = std::mem::take(&mut self.active);
        self.queue(active.cut(self.written, self.last_record, (i64::MIN, i64::MIN)), self.last_record);
    }

    /// The last record of what is sealed and not written whole; 0 when everything is written.
    pub(super) fn sealed_to(&self) -> i64 {
        let waiting = self.chunks.iter().filter(|chunk| chunk.number > self.written);
        waiting.map(|chunk| chunk.mark.to.max(chunk.trim_to.unwrap_or(0))).max().unwrap_or(0)
    }

    fn queue(&mut self, chunks: Vec<FlushChunk>, to: i64) {
        self.sealed_through = self.sealed_through.max(to);
        let mut number = self.written;
        for chunk in chunks {
            number = chunk.number;
            self.sealed_rows += chunk.row_count();
            self.chunks.push_back(Arc::new(chunk));
        }
        // Then the records are removed; their buckets are all after the last mark.
        let mut from = self.records.front().map_or(1, |(id, _)| *id);
        while from <= to {
            let end = (from + CHUNK_RECORDS - 1).min(to);
            number += 1;
            let whole = FlushMark { number, to: if end == to { 0 } else { to }, minute: i64::MAX, node: i64::MAX };
            self.chunks.push_back(Arc::new(FlushChunk {
                number,
                trim_to: Some(end),
                mark: whole,
                ..FlushChunk::default()
            }));
            from = end + 1;
        }
    }

    /// The chunk that is to be written next.
    pub(super) fn next_chunk(&self) -> Option<&Arc<FlushChunk>> {
        self.chunks.iter().find(|chunk| chunk.number > self.written)
    }

    /// Chunks that are still to be written.
    pub(super) fn chunks_left(&self) -> usize {
        self.chunks.iter().rev().take_while(|chunk| chunk.number > self.written).count()
    }

    /// Rows that wait, sealed or not.
    pub(super) fn rows(&self) -> usize {
        self.active.rows + self.sealed_rows
    }

    /// Bytes of the records in the write-ahead log.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A chunk is in the database.
    pub(super) fn note_written(&mut self, chunk: &FlushChunk) {
        self.written = chunk.number;
        for hour in chunk.hours() {
            self.hours.drop_hour(hour);
        }
        self.sealed_rows -= chunk.row_count();
        if let Some(end) = chunk.trim_to {
            while let Some((_, bytes)) = self.records.pop_front_if(|(id, _)| *id <= end) {
                self.bytes -= bytes;
            }
        }
        self.forget_written();
    }

    /// The record that was committed last.
    pub(super) fn last_record(&self) -> i64 {
        self.last_record
    }

    /// Every record up to this one was sealed at some time.
    pub(super) fn sealed_through(&self) -> i64 {
        self.sealed_through
    }

    /// Whether the chunk of this number was sealed here.
    pub(super) fn knows_chunk(&self, number: u64) -> bool {
        number <= self.written || self.chunks.back().is_some_and(|chunk| chunk.number >= number)
    }

    /// Number of the chunk that was written last.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether it is certain that the chunks behind `number` up to `flushes` changed none of these hours.
    /// For readers that began before: others' chunks are not kept.
    pub(super) fn is_unchanged_between(&self, number: u64, flushes: u64, hours: impl Fn(i64) -> bool) -> bool {
        let behind = || self.chunks.iter().filter(|chunk| chunk.number > number && chunk.number <= flushes);
        flushes.checked_sub(number) == Some(behind().count() as u64)
            && !behind().any(|chunk| chunk.hours().into_iter().any(&hours))
    }

    /// A reader begins; what gives its number has to be handed to [`Memtable::end_reading`].
    pub(super) fn begin_reading(&mut self) -> u64 {
        *self.readers.entry(self.written).or_default() += 1;
        self.written
    }

    pub(super) fn end_reading(&mut self, number: u64) {
        if let Some(count) = self.readers.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.readers.remove(&number);
            }
        }
        self.forget_written();
    }

    fn forget_written(&mut self) {
        let needed = self.readers.keys().next().map_or(self.written, |oldest| self.written.min(*oldest));
        while self.chunks.front().is_some_and(|chunk| chunk.number <= needed) {
            self.chunks.pop_front();
        }
    }

    /// The buckets that were not rows yet for a query that has read rows at `flushes`, the oldest first.
    pub(super) fn buckets_above(&self, flushes: u64) -> impl Iterator<Item = &MinuteBucket> {
        let sealed = self.chunks.iter().filter(move |chunk| chunk.number > flushes).flat_map(|chunk| &chunk.buckets);
        sealed.chain(self.active.buckets.values())
    }

    /// The nodes, the oldest first.
    pub(super) fn heartbeats(&self) -> impl Iterator<Item = (i64, &NodeHeartbeat)> {
        let sealed = self.chunks.iter().flat_map(|chunk| &chunk.heartbeats).map(|(node, heartbeat)| (*node, heartbeat));
        sealed.chain(self.active.heartbeats.iter().map(|(node, heartbeat)| (*node, heartbeat)))
    }

    /// The totals, the oldest first.
    pub(super) fn totals(&self) -> impl Iterator<Item = &NodeTotalsRow> {
        self.chunks.iter().flat_map(|chunk| &chunk.totals).chain(self.active.totals.values())
    }

    /// The boots, the oldest first: nodes, boots, and their rows unless they are removed.
    pub(super) fn boots(&self) -> Vec<(i64, &str, Option<&NodeBootRow>)> {
        let mut boots = Vec::new();
        for chunk in &self.chunks {
            boots.extend(chunk.forgotten_boots.iter().map(|(node, boot)| (*node, boot.as_str(), None)));
            boots.extend(chunk.boots.iter().map(|row| (row.node, row.boot.as_str(), Some(row))));
        }
        let sealed = boots.len();
        boots.extend(self.active.boots.iter().map(|((node, boot), row)| (*node, boot.as_str(), row.as_ref())));
        boots[sealed..].sort_unstable_by_key(|(.., row)| row.map(|row| row.last_seen_at));
        boots
    }
}
