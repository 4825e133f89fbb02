//! Summing minutes into hours, and hours into days, in small batches that leave the writer to reports.
//!
//! The transactions that change minutes mark the hours to sum. So this task has no state: after a pause it
//! continues with the marked hours, and late reports mark their hours again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::clock;
use crate::model::Resolution;
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::timeseries::TimeSeries;

/// Series in one transaction: with their 60 minutes that is some 10 ms.
const BATCH_SERIES: u32 = 200;

/// Pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(60);

/// How long after its end an hour is summed: the last reports of it are on their way.
const SETTLING: Duration = Duration::from_secs(120);

const PACING: Pacing = Pacing {
    // At once, because the collector may have been stopped for long.
    first: Duration::ZERO,
    // For reports to be written.
    between: Duration::from_millis(50),
    retry: Duration::from_secs(5),
    max_retry: ROUND_PAUSE,
};

/// Sums what is due, a batch at a time.
pub(crate) struct Rollup {
    pub store: Arc<dyn Store>,
    pub timeseries: Arc<TimeSeries>,
    pub telemetry: Arc<Telemetry>,
}

#[async_trait]
impl Task for Rollup {
    fn name(&self) -> &'static str {
        "rollup"
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        let settled = clock::now_ms().saturating_sub(i64::try_from(SETTLING.as_millis()).unwrap_or(i64::MAX));
        let summed = self.store.roll_up(settled.div_euclid(Resolution::Hour.ms()), BATCH_SERIES).await?;
        self.telemetry.series_rolled_up.inc_by(summed);
        Ok(if summed == 0 { Activation::IdleFor(ROUND_PAUSE) } else { Activation::MoreToDo })
    }

    /// New rows may be of hours that are over.
    async fn woken(&self) {
        self.timeseries.flushed().await;
    }
}
