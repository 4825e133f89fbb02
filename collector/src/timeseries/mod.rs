//! The time series: how a report is committed in a few microseconds and is a row a minute later.
//!
//! A row of a minute changes with every report of it, twelve times a minute and in sixty places per
//! node. So the committer's transaction does not touch it: it adds one record that has everything the
//! batch added (`wal`), and the sums are kept in memory (`memtable`). Once a minute they become
//! rows, in chunks of a few milliseconds, and the records go. After a crash the records are read
//! again. Queries add what is not in its rows yet (`merge_on_read`), so readers do not notice. Because all
//! changes of minutes pass through here, sums of past hours can be cached (`hour_cache`).
//!
//! The rows alone are up to a minute old. So only this module has the traits that read them: a store and its
//! time series come out of [`over`] together, and from then on the store cannot read minutes past the time
//! series. A test of the layers fails when another module names these traits.

mod follow;
mod hour_cache;
mod memtable;
mod merge_on_read;
pub(crate) mod minute_windows;
pub(crate) mod recent;
mod wal;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::UnixMillis;
use tokio::sync::Notify;

pub(crate) use self::follow::FollowError;
pub(crate) use self::hour_cache::HourCounts;
use self::memtable::{FlushChunk, Memtable, Recovered};
use self::minute_windows::MinuteWindows;
pub(crate) use self::wal::WalRecord;
use crate::clock;
use crate::model::{BucketRange, EnvironmentKey, NodeKey, PipelineKey, Resolution};
use crate::store::{
    CommitBatch, ComponentCounts, ComponentExtremesRow, ComponentMinuteView, Cutoffs, Extremes, FlushBatch,
    HostAggregate, IngestSnapshot, MinuteRows, NodeQuery, NodeView, Persisted, PipelineCounts, PipelineExtremesRow,
    PipelineMinuteView, RemovedNode, RowsOf, StateParts, StateSnapshot, Store, StoreError, StoredNode, TimeSeriesStore,
    WalRow, by_node,
};

/// Rows that may wait for the database, about 250 MB: two minutes of 10,000 nodes with 60 series each.
/// Beyond it reports are not taken, until chunks are written.
const MAX_PENDING_ROWS: usize = 1_500_000;

/// Minutes before the running one that may wait to be rows: a flush begins shortly after the end of a minute. Older ones that
/// wait are of a back-fill.
const FLUSH_LAG_MINUTES: i64 = 3;

/// The size of the time series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeSeriesUsage {
    /// Rows that wait.
    pub rows: usize,
    /// Bytes of records in the database.
    pub bytes: u64,
}

/// The time series over a store. All writing is the committer's.
pub(crate) struct TimeSeries {
    store: Arc<dyn TimeSeriesStore>,
    memtable: Mutex<Memtable>,
    is_full: AtomicBool,
    /// Notified when everything that was sealed is rows.
    flushed: Notify,
    /// Notified when what another process has sealed is sealed here.
    followed: Notify,
}

/// A store without its minutes, and the time series that has them. Nothing is loaded yet.
pub(crate) fn over(store: Arc<impl TimeSeriesStore + 'static>) -> (Arc<dyn Store>, Arc<TimeSeries>) {
    (Arc::clone(&store) as Arc<dyn Store>, Arc::new(TimeSeries::new(store)))
}

impl TimeSeries {
    /// The time series of a store that only this module and tests use.
    pub(crate) fn new(store: Arc<dyn TimeSeriesStore>) -> Self {
        let (memtable, is_full) = (Mutex::default(), AtomicBool::new(false));
        TimeSeries { store, memtable, is_full, flushed: Notify::new(), followed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Memtable> {
        self.memtable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the committer's state before its first report, and after a failed transaction.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or a record of the write-ahead log is damaged.
    pub(crate) async fn load(&self) -> Result<IngestSnapshot, StoreError> {
        self.load_sealed(0).await
    }

    /// The same with the records up to `sealed_to` sealed, as in the process that leads.
    async fn load_sealed(&self, sealed_to: i64) -> Result<IngestSnapshot, StoreError> {
        let mut snapshot = self.store.load_ingest().await?;
        let mut settings = by_node(self.store.load_settings(None).await?);
        for node in &mut snapshot.nodes {
            settings.remove(&node.key).into_iter().for_each(|settings| node.set(settings));
        }
        // A removed series may still have rows.
        let removed = self.store.load_removed().await?;
        snapshot.last_series.0 = snapshot.last_series.0.max(removed.last_series);
        let known: HashSet<i64> = snapshot.nodes.iter().map(|node| node.key.0).collect();
        let records = std::mem::take(&mut snapshot.wal)
            .into_iter()
            .map(|row| {
                let mut record = WalRecord::unpack(&row.body)?;
                // Its node may have been removed since.
                record.retain_nodes(|node| known.contains(&node));
                Ok((row.id, row.body.len() as u64, record))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let mut memtable = self.lock();
        memtable.load(Recovered { mark: snapshot.mark, sealed_to, head_seq: snapshot.position.head, records });
        self.note_fill(&memtable);
        merge_on_read::add_boots(&mut snapshot.nodes, &memtable)?;
        merge_on_read::add_totals(&mut snapshot.nodes, &memtable);
        Ok(snapshot)
    }

    /// The committer's part of a node that was just enrolled: nothing of it is in the log yet.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn load_node(&self, node: NodeKey) -> Result<Option<StoredNode>, StoreError> {
        let Some(mut stored) = self.store.load_node(node).await? else { return Ok(None) };
        let settings = self.store.load_settings(Some(node)).await?;
        settings.into_iter().for_each(|settings| stored.set(settings));
        Ok(Some(stored))
    }

    /// Nodes that were removed, whose events may still be kept.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn load_removed(&self) -> Result<Vec<RemovedNode>, StoreError> {
        Ok(self.store.load_removed().await?.nodes)
    }

    /// Forgets nodes that were removed before a time, and removes the pipelines that no node has since. Returns these.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn forget_removed(&self, before: UnixMillis) -> Result<Vec<PipelineKey>, StoreError> {
        self.store.forget_removed(before).await
    }

    /// Writes rows without the log, each as its own upsert: what `ingest-bench` compares the log with.
    ///
    /// # Errors
    ///
    /// When the store cannot write. Nothing is written then.
    pub(crate) async fn upsert(&self, batch: CommitBatch, rows: FlushBatch) -> Result<(), StoreError> {
        self.store.commit(batch).await?;
        self.store.flush(rows).await
    }

    /// Writes a record and the rows that belong to it in one transaction.
    ///
    /// # Errors
    ///
    /// When the store cannot write. Whether the transaction is in the database is then unknown.
    pub(crate) async fn commit(
        &self,
        mut record: WalRecord,
        mut batch: CommitBatch,
    ) -> Result<CommitBatch, StoreError> {
        let mut bytes = 0;
        if !record.is_empty() {
            let row = WalRow { id: self.lock().next_record(), body: record.pack()? };
            bytes = row.body.len() as u64;
            batch.wal = Some(row);
        }
        let batch = self.store.commit(batch).await?;
        let mut memtable = self.lock();
        memtable.head_seq = batch.head_seq;
        if let Some(row) = &batch.wal {
            for bucket in &mut record.buckets {
                memtable.windows.add_committed(bucket);
                bucket.buffer_fills = Vec::new();
            }
            memtable.note_record(row.id, bytes, record);
        }
        for removal in &batch.removals {
            memtable.forget_node(removal.node.0);
        }
        self.note_fill(&memtable);
        Ok(batch)
    }

    /// Makes everything that waits now ready to be written, unless something is already. Returns the
    /// number of chunks.
    pub(crate) fn seal(&self) -> usize {
        let mut memtable = self.lock();
        memtable.seal();
        memtable.chunks_left()
    }

    /// Writes the next chunk of what is sealed, in one transaction. Returns its number of rows; `None`
    /// when nothing is left.
    ///
    /// # Errors
    ///
    /// When the store cannot write. The chunk stays in memory.
    pub(crate) async fn flush(&self) -> Result<Option<usize>, StoreError> {
        let (chunk, head_seq) = {
            let memtable = self.lock();
            let Some(chunk) = memtable.next_chunk() else { return Ok(None) };
            (Arc::clone(chunk), memtable.head_seq)
        };
        let batch = rows_of(&chunk, head_seq);
        let rows = batch.row_count();
        self.store.flush(batch).await?;
        let mut memtable = self.lock();
        memtable.note_written(&chunk);
        self.note_fill(&memtable);
        if memtable.is_idle() {
            self.flushed.notify_one();
        }
        Ok(Some(rows))
    }

    /// Waits for the end of a flush. Wakes one waiter, also for a flush that ended before the wait.
    pub(crate) async fn flushed(&self) {
        self.flushed.notified().await;
    }

    /// Whether so much waits that it has to be written first.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    fn note_fill(&self, memtable: &Memtable) {
        self.is_full.store(memtable.rows() > MAX_PENDING_ROWS, Ordering::Relaxed);
    }

    /// The last record of what is sealed and not written whole; 0 when everything is written.
    pub(crate) fn sealed_to(&self) -> i64 {
        self.lock().sealed_to()
    }

    /// Where the flush is: the last chunk in the database.
    pub(crate) fn written(&self) -> u64 {
        self.lock().written()
    }

    /// Returns the size of the unflushed data.
    pub(crate) fn usage(&self) -> TimeSeriesUsage {
        let memtable = self.lock();
        TimeSeriesUsage { rows: memtable.rows(), bytes: memtable.bytes() }
    }

    /// Returns the hits and misses of the hour cache.
    pub(crate) fn hour_counts(&self) -> HourCounts {
        self.lock().hours.counts
    }

    /// Removes pipelines of nodes with their series; returns those that no node has any more.
    ///
    /// # Errors
    ///
    /// When the database fails. Nothing is removed then.
    pub(crate) async fn remove_pipelines(
        &self,
        gone: Vec<(NodeKey, PipelineKey)>,
    ) -> Result<Vec<PipelineKey>, StoreError> {
        self.store.remove_pipelines(gone).await
    }

    /// Removes up to `limit` rows of each table that are expired. Returns how many.
    ///
    /// # Errors
    ///
    /// When the store cannot write.
    pub(crate) async fn expire(&self, cutoffs: Cutoffs, limit: u32) -> Result<u64, StoreError> {
        let removed = self.store.expire(cutoffs, limit).await;
        // After a failed transaction it is unknown whether it was committed.
        if !matches!(removed, Ok(0)) {
            self.lock().hours.drop_before(cutoffs.minutes_before);
        }
        removed
    }

    /// Nodes, by name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn list_nodes(&self, query: NodeQuery) -> Result<Vec<NodeView>, StoreError> {
        let _reading = self.read();
        let mut nodes = self.store.list_nodes(query).await?;
        merge_on_read::add_heartbeats(&mut nodes, &self.lock());
        Ok(nodes)
    }

    /// The state of nodes and pipelines at one point of the sequence.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn snapshot(
        &self,
        environments: Option<Vec<EnvironmentKey>>,
        parts: StateParts,
    ) -> Result<StateSnapshot, StoreError> {
        let _reading = self.read();
        let mut snapshot = self.store.snapshot(environments, parts).await?;
        merge_on_read::add_heartbeats(&mut snapshot.nodes, &self.lock());
        Ok(snapshot)
    }

    /// One node's host by minute, hour or day.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the query takes too long.
    pub(crate) async fn node_minutes(
        &self,
        node: NodeKey,
        range: BucketRange,
    ) -> Result<Vec<HostAggregate>, StoreError> {
        let _reading = self.read();
        let stored = self.store.node_minutes(node, range).await?;
        self.catch_up(stored.flushes).await?;
        Ok(merge_on_read::node_minutes(stored, node, range, &self.lock()))
    }

    /// A pipeline by minute, hour or day, summed over nodes unless one is named.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the query takes too long.
    pub(crate) async fn pipeline_minutes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<Vec<PipelineMinuteView>, StoreError> {
        let _reading = self.read();
        let kept = if node.is_none() { self.read_hours(pipeline, range).await? } else { None };
        let stored = match kept {
            Some(stored) => stored,
            None => self.store.pipeline_minutes(pipeline, node, range).await?,
        };
        self.catch_up(stored.flushes).await?;
        Ok(merge_on_read::pipeline_minutes(stored, range, &self.lock()))
    }

    /// Reads only the rows of hours that are not in memory. `None` when that is of no use. A
    /// [`Reading`] must have begun.
    async fn read_hours(
        &self,
        pipeline: PipelineKey,
        range: BucketRange,
    ) -> Result<Option<Persisted<PipelineMinuteView>>, StoreError> {
        let Some(found) = self.lock().look_up(pipeline, range, clock::now_ms()) else { return Ok(None) };
        let stored = self.store.pipeline_minutes(pipeline, None, found.missing).await?;
        self.catch_up(stored.flushes).await?;
        Ok(self.lock().merge(found, stored))
    }

    /// A pipeline's components by minute, hour or day, summed over nodes unless one is named.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the query takes too long.
    pub(crate) async fn component_minutes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<Vec<ComponentMinuteView>, StoreError> {
        let _reading = self.read();
        let stored = self.store.component_minutes(pipeline, node, range).await?;
        self.catch_up(stored.flushes).await?;
        Ok(merge_on_read::component_minutes(stored, range, &self.lock()))
    }

    /// Extremes of a pipeline's minutes by hour or day, added up over nodes unless one is named. They are those of rows:
    /// up to a minute behind its sums, and without the minutes that are not complete.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the query takes too long.
    pub(crate) async fn pipeline_extremes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<BTreeMap<(i64, String), Extremes<PipelineCounts>>, StoreError> {
        let complete = self.complete_before(clock::now_ms());
        let rows = self.store.pipeline_extremes(pipeline, node, range, complete).await?;
        Ok(PipelineExtremesRow::extremes(&rows))
    }

    /// The same of its components.
    ///
    /// # Errors
    ///
    /// As [`Self::pipeline_extremes`].
    pub(crate) async fn component_extremes(
        &self,
        pipeline: PipelineKey,
        node: Option<NodeKey>,
        range: BucketRange,
    ) -> Result<BTreeMap<(i64, String), Extremes<ComponentCounts>>, StoreError> {
        let complete = self.complete_before(clock::now_ms());
        let rows = self.store.component_extremes(pipeline, node, range, complete).await?;
        Ok(ComponentExtremesRow::extremes(&rows))
    }

    /// How many nodes have a pipeline.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn pipeline_nodes(&self, pipeline: PipelineKey) -> Result<i64, StoreError> {
        self.store.pipeline_nodes(pipeline).await
    }

    /// The first minute whose rows are not complete: the running one, or one before it that is not flushed.
    fn complete_before(&self, now: UnixMillis) -> i64 {
        let memtable = self.lock();
        let running = now.div_euclid(Resolution::Minute.ms());
        let waiting = (1..=FLUSH_LAG_MINUTES).take_while(|back| memtable.has_minute(running - back));
        running - waiting.last().unwrap_or(0)
    }

    /// Also keeps the last minutes of hosts in memory.
    pub(crate) fn keep_hosts(&self) {
        self.lock().windows.keep_hosts();
    }

    /// Reads the last minutes in memory. Reports wait meanwhile, so it must be short.
    pub(crate) fn with_windows<T>(&self, read: impl FnOnce(&mut MinuteWindows) -> T) -> T {
        read(&mut self.lock().windows)
    }

    /// Fills minutes in memory from the database, after a start. What is committed meanwhile counts once.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn load_windows(&self, from: i64, to: i64) -> Result<(), StoreError> {
        let _reading = self.read();
        let stored = self.store.minute_rows(from, to, RowsOf::Pipelines).await?;
        let mut memtable = self.lock();
        let memtable = &mut *memtable;
        let mut windows = std::mem::take(&mut memtable.windows);
        (from..to).for_each(|minute| windows.clear(minute));
        merge_on_read::fill_windows(&mut windows, stored, (from, to), memtable);
        memtable.windows = windows;
        Ok(())
    }

    /// Minutes of all pipelines on nodes, with their hosts and buffers: those from `from` to before `to`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the query takes too long.
    pub(crate) async fn all_minutes(&self, from: i64, to: i64) -> Result<MinuteRows, StoreError> {
        let _reading = self.read();
        let stored = self.store.minute_rows(from, to, RowsOf::Everything).await?;
        Ok(merge_on_read::all_minutes(stored, (from, to), &self.lock()))
    }

    fn read(&self) -> Reading<'_> {
        Reading { timeseries: self, number: self.lock().begin_reading() }
    }
}

/// A read of rows: chunks flushed meanwhile are kept until it is known whether the read included them.
struct Reading<'a> {
    timeseries: &'a TimeSeries,
    number: u64,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.timeseries.lock().end_reading(self.number);
    }
}

/// The transaction of a chunk. It also marks the hours and days to sum again.
fn rows_of(chunk: &FlushChunk, head_seq: u64) -> FlushBatch {
    let mut batch = FlushBatch {
        boots: chunk.boots.clone(),
        forgotten_boots: chunk.forgotten_boots.clone(),
        heartbeats: chunk.heartbeats.clone(),
        totals: chunk.totals.clone(),
        wal_trim: chunk.trim_to,
        mark: Some(chunk.mark),
        head_seq,
        ..FlushBatch::default()
    };
    let mut hours = BTreeSet::new();
    let mut days = BTreeSet::new();
    for bucket in &chunk.buckets {
        hours.insert((bucket.minute.div_euclid(60), bucket.node));
        days.insert((bucket.minute.div_euclid(1_440), bucket.node));
        batch.pipeline_minutes.extend_from_slice(&bucket.pipelines);
        batch.component_minutes.extend_from_slice(&bucket.components);
        batch.node_minutes.extend(bucket.host.clone());
    }
    // In the order of the keys, so that the database touches each page once.
    batch.pipeline_minutes.sort_unstable_by_key(|row| (row.minute, row.series));
    batch.component_minutes.sort_unstable_by_key(|row| (row.minute, row.series));
    batch.dirty_hours = hours.into_iter().collect();
    batch.dirty_days = days.into_iter().collect();
    batch
}

#[cfg(test)]
mod tests;
