//! Removing what is older than its retention, in small batches that leave the writer to reports.
//!
//! Tokens of nodes and sessions are removed when they have ended. Tokens that people made stay in the
//! list.
//!
//! Minutes expire by whole hours and hours by whole days, never before they are summed
//! (docs/adr/0007-rollups-by-dirty-marks.md). Older sums stay as they are, even if a late report or a
//! longer retention brings some of their minutes back.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Retention;
use crate::model::Resolution;
use crate::store::Cutoffs;
use crate::telemetry::Telemetry;
use crate::timeseries::TimeSeries;

/// Rows of each table that go in one transaction.
const BATCH_ROWS: u32 = 1_000;

/// Pause between two batches of one round, for reports to be written.
const BATCH_PAUSE: Duration = Duration::from_millis(100);

/// Pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(60);

/// Expires rows until it is stopped.
pub(crate) async fn expire_regularly(
    timeseries: Arc<TimeSeries>,
    retention: Retention,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
) {
    let mut pause = ROUND_PAUSE;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = match timeseries.expire(cutoffs(retention, clock::now_ms()), BATCH_ROWS).await {
            Ok(0) => ROUND_PAUSE,
            Ok(removed) => {
                telemetry.rows_expired.inc_by(removed);
                BATCH_PAUSE
            }
            Err(error) => {
                let error = crate::telemetry::logging::chain(&error);
                tracing::error!(error, "expired rows could not be removed, trying again in a minute");
                ROUND_PAUSE
            }
        };
    }
}

/// What is expired now.
pub(crate) fn cutoffs(retention: Retention, now: i64) -> Cutoffs {
    let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    Cutoffs {
        // Whole hours and days, so that the sums of what is left are whole.
        minutes_before: before(retention.minutes).div_euclid(Resolution::Hour.ms()) * 60,
        hours_before: before(retention.hours).div_euclid(Resolution::Day.ms()) * 24,
        days_before: before(retention.days).div_euclid(Resolution::Day.ms()),
        logs_before: before(retention.logs),
        events_before: before(retention.events),
        tokens_before: now,
    }
}
