//! Summing minutes into hours, and hours into days, in small batches that leave the writer to reports.
//!
//! What is to be summed is marked by the transactions that change it. So this has no state of its
//! own: after a pause it goes on with what is marked, and late reports mark their hours again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::model::Resolution;
use crate::store::{Store, StoreError};
use crate::telemetry::Telemetry;
use crate::timeseries::TimeSeries;

/// Series in one transaction: with their 60 minutes that is some 10 ms.
const BATCH_SERIES: u32 = 200;

/// Pause between two batches of one round, for reports to be written.
const BATCH_PAUSE: Duration = Duration::from_millis(50);

/// Pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(60);

/// How long after its end an hour is summed: the last reports of it are on their way.
const SETTLING: Duration = Duration::from_secs(120);

/// Sums until it is stopped; the first time at once, for there may have been a pause.
pub(crate) async fn roll_up_regularly(
    store: Arc<dyn Store>,
    timeseries: Arc<TimeSeries>,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            // What became rows may be of hours that are over.
            () = timeseries.flushed() => {}
        }
        pause = match activate(&*store, clock::now_ms()).await {
            Ok(0) => ROUND_PAUSE,
            Ok(summed) => {
                telemetry.series_rolled_up.inc_by(summed);
                BATCH_PAUSE
            }
            Err(error) => {
                let error = crate::telemetry::logging::chain(&error);
                tracing::error!(error, "hours could not be summed, trying again in a minute");
                ROUND_PAUSE
            }
        };
    }
}

/// Sums one batch of what is due.
async fn activate(store: &dyn Store, now: i64) -> Result<u64, StoreError> {
    let settled = now.saturating_sub(i64::try_from(SETTLING.as_millis()).unwrap_or(i64::MAX));
    store.roll_up(settled.div_euclid(Resolution::Hour.ms()), BATCH_SERIES).await
}
