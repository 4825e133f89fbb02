//! Keeps the database from filling its disk.
//!
//! SQLite in the middle of a transaction on a full disk only fails; and then nothing can be removed
//! either, because that is written first, too. So room is kept: first the oldest log lines go before
//! their time, then reports are refused, which the agents keep. Everything comes back by itself.
//!
//! One node's flood does not take the lines of the others: as long as a node has more than its share of all
//! lines, its oldest lines go, however young they are.
//!
//! A low disk is one with little room: free on the disk, or reusable in the file. Logs are removed down to
//! the last hour, in the batches of expiry; minutes, hours and events never. Refusal is a flag that
//! the routes read after the body. Nodes that were refused are excused like those of a failing
//! database. On PostgreSQL the disk is only shown.

mod level;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use indicatif::HumanBytes;
use systole_shared::UnixMillis;

use self::level::Bounds;
pub(crate) use self::level::{Level, Room};
use crate::clock;
use crate::config::{LowDisk, Retention};
use crate::model::NodeKey;
use crate::store::disk::DiskSpace;
use crate::store::{Cutoffs, LogUsage, Store, StoreError};
use crate::tasks::driver::{Activation, Pacing, Task, TaskError};
use crate::tasks::retention;
use crate::telemetry::{PartLabel, Telemetry};
use crate::timeseries::TimeSeries;

/// Pause between two looks at a disk with room.
const PAUSE: Duration = Duration::from_secs(5);

/// Pause between two looks at a disk that is low.
const LOW_PAUSE: Duration = Duration::from_secs(1);

/// Pause between two batches of lines that go, for reports to be written.
const CUT_PAUSE: Duration = Duration::from_millis(100);

/// Rows of each table that go in one transaction.
const CUT_ROWS: u32 = 1_000;

/// Younger lines stay, however low the disk is: an operator needs them to find the reason.
/// No shorter retention can be configured either.
const LEAST_KEPT_MS: i64 = 3_600_000;

/// How long a measurement of what lines take is good for.
const USAGE_AGE_MS: i64 = 30_000;

/// Slices of the lines that are searched for those of one node at once.
const SLICES: usize = 8;

/// Measures the disk; tests return other values.
pub(crate) type MeasureDisk = Box<dyn Fn() -> std::io::Result<DiskSpace> + Send + Sync>;

/// Whether there is room for reports. Costs one load of a flag.
#[derive(Debug, Default)]
pub(crate) struct DiskState {
    is_full: AtomicBool,
}

impl DiskState {
    /// Whether nothing more is to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
}

/// The state of a disk at the first measurement.
pub(crate) fn judge(settings: LowDisk, room: Room, disk_bytes: u64) -> Level {
    Level::Enough.next(room, Bounds::new(settings, disk_bytes))
}

/// Looks at the disk, and acts.
pub(crate) struct DiskGuard {
    store: Arc<dyn Store>,
    timeseries: Arc<TimeSeries>,
    measure: MeasureDisk,
    settings: LowDisk,
    retention: Retention,
    telemetry: Arc<Telemetry>,
    state: Arc<DiskState>,
    level: Level,
    usage: Option<MeasuredUsage>,
}

/// What lines take, while some are removed.
struct MeasuredUsage {
    at: UnixMillis,
    usage: LogUsage,
    /// The worst node, and the position to continue the search for its lines.
    evicted: Option<(NodeKey, i64)>,
}

impl DiskGuard {
    /// A guard that has not looked yet.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        timeseries: Arc<TimeSeries>,
        measure: MeasureDisk,
        settings: LowDisk,
        retention: Retention,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let state = Arc::default();
        DiskGuard {
            store,
            timeseries,
            measure,
            settings,
            retention,
            telemetry,
            state,
            level: Level::Enough,
            usage: None,
        }
    }

    /// The flag for the handlers of reports.
    pub(crate) fn state(&self) -> Arc<DiskState> {
        Arc::clone(&self.state)
    }

    /// One measurement, and at most one batch of lines.
    async fn activate_at(&mut self, now: UnixMillis) -> Result<Activation, TaskError> {
        if !self.measure().await? || self.level == Level::Enough {
            return Ok(Activation::IdleFor(PAUSE));
        }
        // With a bound of 0 the logs are not to be touched.
        if self.settings.warn_bytes == Some(0) {
            return Ok(Activation::IdleFor(LOW_PAUSE));
        }
        if let Some(removed) = self.evict_worst(now).await? {
            self.telemetry.rows_evicted.inc_by(removed);
            return Ok(Activation::MoreToDo);
        }
        // The minutes have their own task.
        let cutoffs =
            Cutoffs { logs_before: now - LEAST_KEPT_MS, minutes_before: 0, ..retention::cutoffs(self.retention, now) };
        let removed = self.timeseries.expire(cutoffs, CUT_ROWS).await?;
        self.telemetry.rows_evicted.inc_by(removed);
        Ok(if removed == 0 { Activation::IdleFor(LOW_PAUSE) } else { Activation::MoreToDo })
    }

    /// Removes some lines of the node that has more than its share. Returns how many; `None` when there is no
    /// such node.
    async fn evict_worst(&mut self, now: UnixMillis) -> Result<Option<u64>, StoreError> {
        let fresh = self.usage.take().filter(|measured| (0..USAGE_AGE_MS).contains(&(now - measured.at)));
        let mut measured = match fresh {
            Some(measured) => measured,
            None => MeasuredUsage { at: now, usage: self.store.log_usage().await?, evicted: None },
        };
        let Some((node, excess)) = measured.usage.above_share() else {
            self.usage = Some(measured);
            return Ok(None);
        };
        let mut next = measured.evicted.filter(|(key, _)| *key == node).map_or(0, |(_, next)| next);
        let limit = u32::try_from(excess).unwrap_or(CUT_ROWS).min(CUT_ROWS);
        for _ in 0..SLICES {
            let evicted = self.store.evict_logs(node, next, limit).await?;
            measured.usage.removed(node, evicted.removed);
            // At the end: measured again.
            let Some(go_on) = evicted.next else { return Ok((evicted.removed > 0).then_some(evicted.removed)) };
            next = go_on;
            if evicted.removed > 0 {
                measured.evicted = Some((node, next));
                self.usage = Some(measured);
                return Ok(Some(evicted.removed));
            }
        }
        measured.evicted = Some((node, next));
        self.usage = Some(measured);
        Ok(Some(0))
    }

    /// Brings the level up to date. False where there is nothing on this disk to guard.
    pub(crate) async fn measure(&mut self) -> Result<bool, TaskError> {
        let space = (self.measure)().map_err(TaskError::Disk)?;
        let file = self.store.file_size().await?;
        self.telemetry.disk_free_bytes.set(signed(space.free_bytes));
        // A database elsewhere has a disk of its own, and this one nothing to lose.
        let Some(file) = file else { return Ok(false) };
        let used_bytes = file.file_bytes.saturating_sub(file.reusable_bytes);
        for (part, bytes) in [("used", used_bytes), ("reusable", file.reusable_bytes), ("wal", file.wal_bytes)] {
            self.telemetry.database_file_bytes.get_or_create(&PartLabel { part }).set(signed(bytes));
        }
        let room = Room { free_bytes: space.free_bytes, reusable_bytes: file.reusable_bytes };
        let level = self.level.next(room, Bounds::new(self.settings, space.total_bytes));
        if level != self.level {
            log_level(level, room);
            self.level = level;
        }
        self.telemetry.disk_low.set(i64::from(level >= Level::Low));
        self.telemetry.disk_full.set(i64::from(level == Level::Full));
        self.state.is_full.store(level == Level::Full, Ordering::Relaxed);
        Ok(true)
    }
}

#[async_trait]
impl Task for DiskGuard {
    fn name(&self) -> &'static str {
        "disk_guard"
    }

    fn pacing(&self) -> Pacing {
        Pacing { first: Duration::ZERO, between: CUT_PAUSE, retry: PAUSE, max_retry: PAUSE }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        self.activate_at(clock::now_ms()).await
    }
}

fn log_level(level: Level, room: Room) {
    let (free, reusable) = (HumanBytes(room.free_bytes), HumanBytes(room.reusable_bytes));
    match level {
        Level::Enough => {
            tracing::info!(%free, %reusable, "the database's disk has room again");
        }
        Level::Low => {
            tracing::warn!(%free, %reusable, "the database's disk is low: the oldest log lines are removed early");
        }
        Level::Full => {
            tracing::error!(%free, %reusable, "the database's disk is almost full: reports are refused");
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
