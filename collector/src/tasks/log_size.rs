//! Keeps log lines within `retention_logs_bytes`: of more the oldest are removed, whatever their age.
//!
//! The bound is about: what lines take is measured in samples, and the file of a database does not shrink.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::store::{Cutoffs, Store};
use crate::telemetry::Telemetry;
use crate::timeseries::TimeSeries;

/// Pause between two measurements, each of some 100 ms. At the highest rate that nodes may send, a fleet of
/// a hundred goes half a gigabyte above the bound in that time.
const PAUSE: Duration = Duration::from_secs(15);

/// Rows that go in one transaction.
const BATCH_ROWS: u64 = 1_000;

const PACING: Pacing = Pacing {
    first: PAUSE,
    // For reports to be written.
    between: Duration::from_millis(50),
    retry: PAUSE,
    max_retry: Duration::from_secs(60),
};

/// The task.
pub(crate) struct LogSize {
    store: Arc<dyn Store>,
    timeseries: Arc<TimeSeries>,
    kept_bytes: u64,
    telemetry: Arc<Telemetry>,
    /// Lines that are to go before lines are measured again.
    excess: u64,
}

impl LogSize {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        timeseries: Arc<TimeSeries>,
        kept_bytes: u64,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        LogSize { store, timeseries, kept_bytes, telemetry, excess: 0 }
    }
}

#[async_trait]
impl Task for LogSize {
    fn name(&self) -> &'static str {
        "log_size"
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        if self.excess == 0 {
            let usage = self.store.log_usage().await?;
            self.telemetry.log_bytes.set(i64::try_from(usage.bytes).unwrap_or(i64::MAX));
            self.excess = usage.lines_above(self.kept_bytes);
        }
        if self.excess == 0 {
            return Ok(Activation::IdleFor(PAUSE));
        }
        let batch = u32::try_from(self.excess.min(BATCH_ROWS)).unwrap_or(u32::MAX);
        // Nothing but lines.
        let oldest = Cutoffs { logs_before: i64::MAX, ..Cutoffs::default() };
        let removed = self.timeseries.expire(oldest, batch).await?;
        self.telemetry.rows_expired.inc_by(removed);
        self.excess = if removed == 0 { 0 } else { self.excess.saturating_sub(removed) };
        Ok(if self.excess == 0 { Activation::IdleFor(PAUSE) } else { Activation::MoreToDo })
    }
}
