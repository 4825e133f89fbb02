//! Caches the sums of past hours over nodes, so that no query sums them again.
//!
//! A day of a pipeline by minute is a look-up per minute and node, and all but the last hour of it
//! hardly ever changes. What is kept here is always what the rows say at the number of the chunk that
//! was written last: it lies under the lock of [`Memtable`], which drops the hours that a chunk touches
//! as it is noted as written, and takes only what was read at that very number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use systole_shared::UnixMillis;

use super::memtable::Memtable;
use crate::model::{BucketRange, PipelineKey, Resolution};
use crate::store::{Persisted, PipelineMinuteView};

/// Memory of what is kept: 8,000 full hours, which are the last two days of 160 pipelines.
const BUDGET_BYTES: usize = 64 << 20;

/// Memory of an hour besides its rows, roughly.
const ENTRY_BYTES: usize = 256;

/// Since the end of an hour that counts as over: agents report every few seconds, and what they
/// reported is rows after a minute.
const SETTLING_MS: i64 = 5 * 60_000;

/// Hours of the longest range that is looked up, eight days. Longer ones are mostly open, and cut to
/// what there are rows of only by the store.
const MAX_HOURS: i64 = 200;

type Rows = Arc<[PipelineMinuteView]>;

/// The hours by their number and pipeline.
#[derive(Debug)]
pub(super) struct HourCache {
    entries: BTreeMap<i64, HashMap<PipelineKey, Entry>>,
    /// Hours and pipelines in the order of their last use.
    uses: BTreeMap<u64, (i64, PipelineKey)>,
    last_use: u64,
    bytes: usize,
    budget: usize,
    /// How often rows have changed without a chunk.
    changes: u64,
    pub counts: HourCounts,
}

/// Hits and misses of queries, in past hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HourCounts {
    /// Taken from memory.
    pub hits: u64,
    /// Read from rows.
    pub misses: u64,
}

#[derive(Debug)]
struct Entry {
    rows: Rows,
    used: u64,
}

/// The cached part of a range, and the part to read from rows.
#[derive(Debug)]
pub(super) struct LookUp {
    pipeline: PipelineKey,
    range: BucketRange,
    /// From the first to the last hour that is missing; may be empty.
    pub missing: BucketRange,
    /// The first hour that is not over.
    open: i64,
    /// Those outside of `missing`.
    known: Vec<(i64, Rows)>,
    written: u64,
    changes: u64,
}

impl Default for HourCache {
    fn default() -> Self {
        HourCache {
            entries: BTreeMap::new(),
            uses: BTreeMap::new(),
            last_use: 0,
            bytes: 0,
            budget: BUDGET_BYTES,
            changes: 0,
            counts: HourCounts::default(),
        }
    }
}

fn size(rows: &Rows) -> usize {
    ENTRY_BYTES + size_of_val::<[PipelineMinuteView]>(rows)
}

impl HourCache {
    fn get(&mut self, hour: i64, pipeline: PipelineKey) -> Option<Rows> {
        let entry = self.entries.get_mut(&hour)?.get_mut(&pipeline)?;
        self.uses.remove(&entry.used);
        self.last_use += 1;
        entry.used = self.last_use;
        self.uses.insert(entry.used, (hour, pipeline));
        Some(Arc::clone(&entry.rows))
    }

    fn insert(&mut self, hour: i64, pipeline: PipelineKey, rows: Rows) {
        self.remove(hour, pipeline);
        self.last_use += 1;
        self.bytes += size(&rows);
        self.uses.insert(self.last_use, (hour, pipeline));
        self.entries.entry(hour).or_default().insert(pipeline, Entry { rows, used: self.last_use });
        while self.bytes > self.budget
            && let Some((_, (hour, pipeline))) = self.uses.first_key_value()
        {
            self.remove(*hour, *pipeline);
        }
    }

    fn remove(&mut self, hour: i64, pipeline: PipelineKey) {
        let Some(pipelines) = self.entries.get_mut(&hour) else { return };
        if let Some(entry) = pipelines.remove(&pipeline) {
            self.bytes -= size(&entry.rows);
            self.uses.remove(&entry.used);
        }
        if pipelines.is_empty() {
            self.entries.remove(&hour);
        }
    }

    /// The rows of an hour have changed by a chunk.
    pub(super) fn drop_hour(&mut self, hour: i64) {
        for entry in self.entries.remove(&hour).into_iter().flat_map(HashMap::into_values) {
            self.bytes -= size(&entry.rows);
            self.uses.remove(&entry.used);
        }
    }

    /// Rows of minutes before this one are expired, or may be.
    pub(super) fn drop_before(&mut self, minute: i64) {
        self.changes += 1;
        let end = minute.div_euclid(60) + i64::from(minute.rem_euclid(60) > 0);
        let expired: Vec<_> = self.entries.range(..end).map(|(hour, _)| *hour).collect();
        for hour in expired {
            self.drop_hour(hour);
        }
    }

    /// The content of the rows is unknown.
    pub(super) fn clear(&mut self) {
        self.changes += 1;
        self.entries.clear();
        self.uses.clear();
        self.bytes = 0;
    }
}

impl Memtable {
    /// Returns the cached part of a pipeline's minutes; `None` where the cache is not used. The caller reads.
    pub(super) fn look_up(&mut self, pipeline: PipelineKey, range: BucketRange, now: UnixMillis) -> Option<LookUp> {
        let length = range.to.checked_sub(range.from)?;
        if range.step != Resolution::Minute || !(1..=MAX_HOURS * 60).contains(&length) {
            return None;
        }
        let open = (now - SETTLING_MS).div_euclid(Resolution::Hour.ms());
        let hours = range.from.div_euclid(60)..(range.to - 1).div_euclid(60) + 1;
        let mut known = Vec::new();
        let mut missing = None;
        for hour in hours {
            match if hour < open { self.hours.get(hour, pipeline) } else { None } {
                Some(rows) => known.push((hour, rows)),
                None => missing = Some((missing.map_or(hour, |(first, _)| first), hour)),
            }
        }
        let missing = match missing {
            None => BucketRange { to: range.from, ..range },
            Some((first, last)) => {
                known.retain(|(hour, _)| *hour < first || *hour > last);
                // Hours that are over are read as a whole, to be kept.
                BucketRange {
                    from: if first < open { first * 60 } else { range.from.max(first * 60) },
                    to: if last < open { (last + 1) * 60 } else { range.to },
                    ..range
                }
            }
        };
        let (written, changes) = (self.written(), self.hours.changes);
        Some(LookUp { pipeline, range, missing, open, known, written, changes })
    }

    /// Puts together what was known and what was read, and keeps the latter; `None` when what was
    /// known had changed before the other was read.
    pub(super) fn merge(
        &mut self,
        found: LookUp,
        read: Persisted<PipelineMinuteView>,
    ) -> Option<Persisted<PipelineMinuteView>> {
        let LookUp { pipeline, range, missing, open, known, written, changes } = found;
        if !self.is_unchanged_between(written, read.flushes, |hour| known.iter().any(|(of, _)| *of == hour)) {
            return None;
        }
        let over = missing.from.div_euclid(60)..missing.to.div_euclid(60).min(open);
        self.hours.counts.hits += known.len() as u64;
        self.hours.counts.misses += over.clone().count() as u64;
        if self.written() == read.flushes && self.hours.changes == changes {
            for hour in over {
                let rows = read.rows.iter().filter(|row| row.at.div_euclid(60) == hour).cloned().collect();
                self.hours.insert(hour, pipeline, rows);
            }
        }
        let known = known.iter().flat_map(|(_, rows)| rows.iter().cloned());
        let rows = known.chain(read.rows).filter(|row| (range.from..range.to).contains(&row.at)).collect();
        Some(Persisted { rows, ..read })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPELINE: PipelineKey = PipelineKey(7);

    fn rows(hour: i64) -> Rows {
        (0..60).map(|minute| PipelineMinuteView::empty(hour * 60 + minute)).collect()
    }

    #[test]
    fn hour_cache_evicts_least_recently_used_hours() {
        let mut hours = HourCache { budget: 3 * size(&rows(0)), ..HourCache::default() };
        for hour in 0..3 {
            hours.insert(hour, PIPELINE, rows(hour));
        }
        assert!(hours.get(0, PIPELINE).is_some());
        hours.insert(3, PIPELINE, rows(3));
        assert!(hours.get(1, PIPELINE).is_none(), "it was not used for longest");
        assert!([0, 2, 3].iter().all(|hour| hours.get(*hour, PIPELINE).is_some()));
        hours.insert(3, PIPELINE, rows(3));
        assert_eq!((hours.bytes, hours.uses.len()), (hours.budget, 3));
        hours.drop_hour(3);
        hours.drop_before(2 * 60 + 1);
        assert_eq!((hours.bytes, hours.uses.len(), hours.entries.len()), (0, 0, 0));
    }

    #[test]
    fn hour_cache_holds_finished_whole_hours() {
        let mut memtable = Memtable::default();
        // Five minutes after the end of hour 10.
        let now = 11 * Resolution::Hour.ms() + SETTLING_MS;
        let range = BucketRange { step: Resolution::Minute, from: 9 * 60 + 30, to: 11 * 60 + 5 };
        let early = memtable.look_up(PIPELINE, range, now - 1).unwrap();
        assert_eq!((early.open, early.missing.from, early.missing.to), (10, 9 * 60, range.to));
        let found = memtable.look_up(PIPELINE, range, now).unwrap();
        let all = (9..12).flat_map(|hour| rows(hour).to_vec()).filter(|row| row.at < range.to).collect();
        let stored = memtable.merge(found, Persisted { rows: all, flushes: 0, series: Vec::new() }).unwrap();
        assert_eq!((stored.rows.len(), stored.rows[0].at), (95, range.from));
        assert_eq!(memtable.hours.entries.keys().copied().collect::<Vec<_>>(), [9, 10]);
        let found = memtable.look_up(PIPELINE, range, now).unwrap();
        assert_eq!((found.missing.from, found.missing.to), (11 * 60, range.to));
        let latest = rows(11).iter().take(5).cloned().collect();
        let again = memtable.merge(found, Persisted { rows: latest, flushes: 0, series: Vec::new() }).unwrap();
        assert_eq!(again.rows, stored.rows);
        assert_eq!(memtable.hours.counts, HourCounts { hits: 2, misses: 2 });
        assert!(
            memtable.look_up(PIPELINE, BucketRange { to: i64::MAX, ..range }, now).is_none(),
            "these hours are not counted"
        );
    }
}
