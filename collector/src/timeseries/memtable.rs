//! What is in the journal and not in its rows yet, in memory.
//!
//! `active` takes what is committed. To become rows it is sealed: cut into slices, which are written
//! one transaction each under growing numbers. The database knows the number of the last slice that
//! it has (`meta.folds`), so that whoever has read rows at one number adds the slices above it and
//! `active`, and counts everything once. A slice that is written is kept until the last reader that
//! may have begun before it is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use foldhash::HashMap;

use super::hour_cache::Hours;
use super::wal::Record;
use crate::store::MinuteCell;
use crate::store::{FoldMark, NodeBootRow, NodePulse};

/// Rows of one slice: about ten milliseconds of the writer.
const SLICE_ROWS: usize = 2_000;

/// Hosts and boots of one slice; they lie apart, which makes them dearer than minutes.
const SLICE_NODES: usize = 500;

/// Records that are removed in one transaction.
const SLICE_RECORDS: i64 = 100;

/// Rows that wait, not yet sealed.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub cells: HashMap<(i64, i64), MinuteCell>,
    /// By node and boot; `None`: forgotten.
    pub boots: HashMap<(i64, String), Option<NodeBootRow>>,
    pub pulses: HashMap<i64, NodePulse>,
    pub rows: usize,
}

/// What one transaction makes rows of.
#[derive(Debug, Default)]
pub(super) struct Slice {
    pub number: u64,
    /// By minute and node.
    pub cells: Vec<MinuteCell>,
    pub boots: Vec<NodeBootRow>,
    pub forgotten_boots: Vec<(i64, String)>,
    pub pulses: Vec<(i64, NodePulse)>,
    /// Records up to this one are removed.
    pub trim_to: Option<i64>,
    pub mark: FoldMark,
}

impl Slice {
    fn row_count(&self) -> usize {
        self.cells.iter().map(MinuteCell::row_count).sum()
    }

    /// The hours that its cells lie in, some perhaps twice.
    fn hours(&self) -> Vec<i64> {
        let mut hours: Vec<_> = self.cells.iter().map(|cell| cell.minute.div_euclid(60)).collect();
        hours.dedup();
        hours
    }
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    pub active: Waiting,
    /// By number. Those up to `written` are kept for readers only.
    slices: VecDeque<Arc<Slice>>,
    /// Number of the slice that was written last.
    written: u64,
    /// How many readers may have begun when this number was the last.
    readers: BTreeMap<u64, usize>,
    /// Record that was written last.
    last_record: i64,
    /// Numbers and bytes of the records that are in the journal.
    records: VecDeque<(i64, u64)>,
    /// Bytes of all of them.
    bytes: u64,
    /// Rows in slices that are not written.
    sealed_rows: usize,
    /// Highest sequence number of the feed that is committed.
    pub head_seq: u64,
    /// What the rows say up to `written`.
    pub hours: Hours,
}

impl Waiting {
    pub(super) fn add(&mut self, record: Record) {
        for cell in record.cells {
            match self.cells.entry((cell.minute, cell.node)) {
                std::collections::hash_map::Entry::Occupied(mut known) => {
                    let before = known.get().row_count();
                    known.get_mut().add(cell);
                    self.rows += known.get().row_count() - before;
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    self.rows += cell.row_count();
                    free.insert(cell);
                }
            }
        }
        for (node, boot) in record.forgotten_boots {
            self.boots.insert((node, boot), None);
        }
        for boot in record.boots {
            self.boots.insert((boot.node, boot.boot.clone()), Some(boot));
        }
        for (node, pulse) in record.pulses {
            self.pulses.entry(node).or_default().renew(pulse);
        }
    }

    /// Cuts it into slices behind `number`, of records up to `to`. Cells up to `after` are rows already.
    /// The order depends on nothing but what is in it, so that it is the same after a restart.
    fn cut(self, number: u64, to: i64, after: (i64, i64)) -> Vec<Slice> {
        let mut cells: Vec<_> = self.cells.into_values().filter(|cell| (cell.minute, cell.node) > after).collect();
        cells.sort_unstable_by_key(|cell| (cell.minute, cell.node));
        let mut slices: Vec<Slice> = Vec::new();
        let mut rows = SLICE_ROWS;
        let mut done = after;
        for cell in cells {
            if rows >= SLICE_ROWS {
                slices.push(Slice::default());
                rows = 0;
            }
            // A cell without rows still marks its hour.
            rows += cell.row_count().max(1);
            done = (cell.minute, cell.node);
            if let Some(slice) = slices.last_mut() {
                slice.cells.push(cell);
                slice.mark = FoldMark { minute: done.0, node: done.1, ..FoldMark::default() };
            }
        }
        let mut nodes: BTreeMap<i64, Slice> = BTreeMap::new();
        for ((node, boot), row) in self.boots {
            let slice = nodes.entry(node).or_default();
            match row {
                Some(row) => slice.boots.push(row),
                None => slice.forgotten_boots.push((node, boot)),
            }
        }
        for (node, pulse) in self.pulses {
            nodes.entry(node).or_default().pulses.push((node, pulse));
        }
        let mut count = SLICE_NODES;
        for (_, part) in nodes {
            if count == SLICE_NODES {
                slices.push(Slice {
                    mark: FoldMark { minute: done.0, node: done.1, ..FoldMark::default() },
                    ..Slice::default()
                });
                count = 0;
            }
            count += 1;
            if let Some(slice) = slices.last_mut() {
                slice.boots.extend(part.boots);
                slice.forgotten_boots.extend(part.forgotten_boots);
                slice.pulses.extend(part.pulses);
            }
        }
        for (index, slice) in slices.iter_mut().enumerate() {
            slice.number = number + 1 + index as u64;
            // In the order of their key for the database; a node has few.
            slice.boots.sort_unstable_by(|a, b| (a.node, &a.boot).cmp(&(b.node, &b.boot)));
            slice.mark = FoldMark { number: slice.number, to, ..slice.mark };
        }
        slices
    }
}

/// The records that were found in the journal.
pub(super) struct Found {
    pub mark: FoldMark,
    pub head_seq: u64,
    /// Numbers and bytes of records, the oldest first.
    pub records: Vec<(i64, u64, Record)>,
}

impl Pending {
    /// Begins anew with what the database has.
    pub(super) fn load(&mut self, found: Found) {
        let mark = found.mark;
        self.hours.clear();
        let mut sealed = Waiting::default();
        let mut active = Waiting::default();
        self.records = found.records.iter().map(|(id, bytes, _)| (*id, *bytes)).collect();
        self.bytes = self.records.iter().map(|(_, bytes)| bytes).sum();
        // Behind everything that a slice may still remove.
        self.last_record = self.records.back().map_or(0, |(id, _)| *id).max(mark.to);
        self.head_seq = found.head_seq;
        for (id, _, record) in found.records {
            if id <= mark.to { &mut sealed } else { &mut active }.add(record);
        }
        // What was written, perhaps without an answer, may still be needed by readers.
        self.slices.retain(|slice| slice.number <= mark.number);
        self.sealed_rows = 0;
        self.written = mark.number;
        self.active = active;
        if mark.to > 0 {
            self.queue(sealed.cut(mark.number, mark.to, (mark.minute, mark.node)), mark.to);
        }
        self.forget_written();
    }

    /// The number of the next record.
    pub(super) fn next_record(&self) -> i64 {
        self.last_record + 1
    }

    /// A record is in the database.
    pub(super) fn note_record(&mut self, id: i64, bytes: u64, record: Record) {
        self.last_record = id;
        self.records.push_back((id, bytes));
        self.bytes += bytes;
        self.active.add(record);
    }

    /// Whether nothing is sealed, and something could be.
    pub(super) fn is_idle(&self) -> bool {
        self.next_slice().is_none()
    }

    /// Cuts what waits into slices, unless earlier ones are still to be written.
    pub(super) fn seal(&mut self) {
        if !self.is_idle() || self.records.is_empty() {
            return;
        }
        let active = std::mem::take(&mut self.active);
        self.queue(active.cut(self.written, self.last_record, (i64::MIN, i64::MIN)), self.last_record);
    }

    fn queue(&mut self, slices: Vec<Slice>, to: i64) {
        let mut number = self.written;
        for slice in slices {
            number = slice.number;
            self.sealed_rows += slice.row_count();
            self.slices.push_back(Arc::new(slice));
        }
        // Then the records go; their cells are all behind the last mark.
        let mut from = self.records.front().map_or(1, |(id, _)| *id);
        while from <= to {
            let end = (from + SLICE_RECORDS - 1).min(to);
            number += 1;
            let whole = FoldMark { number, to: if end == to { 0 } else { to }, minute: i64::MAX, node: i64::MAX };
            self.slices.push_back(Arc::new(Slice { number, trim_to: Some(end), mark: whole, ..Slice::default() }));
            from = end + 1;
        }
    }

    /// The slice that is to be written next.
    pub(super) fn next_slice(&self) -> Option<&Arc<Slice>> {
        self.slices.iter().find(|slice| slice.number > self.written)
    }

    /// Slices that are still to be written.
    pub(super) fn slices_left(&self) -> usize {
        self.slices.iter().rev().take_while(|slice| slice.number > self.written).count()
    }

    /// Rows that wait, sealed or not.
    pub(super) fn rows(&self) -> usize {
        self.active.rows + self.sealed_rows
    }

    /// Bytes of the records in the journal.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A slice is in the database.
    pub(super) fn note_written(&mut self, slice: &Slice) {
        self.written = slice.number;
        for hour in slice.hours() {
            self.hours.drop_hour(hour);
        }
        self.sealed_rows -= slice.row_count();
        if let Some(end) = slice.trim_to {
            while let Some((_, bytes)) = self.records.pop_front_if(|(id, _)| *id <= end) {
                self.bytes -= bytes;
            }
        }
        self.forget_written();
    }

    /// Number of the slice that was written last.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether it is certain that the slices behind `number` up to `folds` changed none of these hours.
    /// For readers that began before: others' slices are not kept.
    pub(super) fn leave_alone(&self, number: u64, folds: u64, hours: impl Fn(i64) -> bool) -> bool {
        let behind = || self.slices.iter().filter(|slice| slice.number > number && slice.number <= folds);
        folds.checked_sub(number) == Some(behind().count() as u64)
            && !behind().any(|slice| slice.hours().into_iter().any(&hours))
    }

    /// A reader begins; what gives its number has to be handed to [`Pending::end_reading`].
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
        while self.slices.front().is_some_and(|slice| slice.number <= needed) {
            self.slices.pop_front();
        }
    }

    /// The cells that are no rows yet for whoever has read rows at `folds`, the oldest first.
    pub(super) fn cells_above(&self, folds: u64) -> impl Iterator<Item = &MinuteCell> {
        let sealed = self.slices.iter().filter(move |slice| slice.number > folds).flat_map(|slice| &slice.cells);
        sealed.chain(self.active.cells.values())
    }

    /// What is known of nodes, the oldest first.
    pub(super) fn pulses(&self) -> impl Iterator<Item = (i64, &NodePulse)> {
        let sealed = self.slices.iter().flat_map(|slice| &slice.pulses).map(|(node, pulse)| (*node, pulse));
        sealed.chain(self.active.pulses.iter().map(|(node, pulse)| (*node, pulse)))
    }

    /// What is known of boots, the oldest first: nodes, boots, and their rows unless they are forgotten.
    pub(super) fn boots(&self) -> Vec<(i64, &str, Option<&NodeBootRow>)> {
        let mut boots = Vec::new();
        for slice in &self.slices {
            boots.extend(slice.forgotten_boots.iter().map(|(node, boot)| (*node, boot.as_str(), None)));
            boots.extend(slice.boots.iter().map(|row| (row.node, row.boot.as_str(), Some(row))));
        }
        let sealed = boots.len();
        boots.extend(self.active.boots.iter().map(|((node, boot), row)| (*node, boot.as_str(), row.as_ref())));
        boots[sealed..].sort_unstable_by_key(|(.., row)| row.map(|row| row.last_seen_at));
        boots
    }
}
