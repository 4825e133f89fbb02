//! Keeps log lines within `retention_logs_bytes`: of more the oldest are removed, whatever their age.
//!
//! The bound is about: what lines take is measured in samples, and the file of a database does not shrink.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Cutoffs, Store, StoreError};
use crate::telemetry::Telemetry;
use crate::telemetry::logging::chain;

/// Pause between two measurements, each of some 100 ms. At the highest rate that nodes may send, a fleet of
/// a hundred goes a gigabyte above the bound in that time.
const PAUSE: Duration = Duration::from_secs(15);

/// Rows that go in one transaction.
const BATCH_ROWS: u64 = 1_000;

/// Pause between two batches, for reports to be written.
const BATCH_PAUSE: Duration = Duration::from_millis(50);

/// Measures and removes until it is stopped.
pub(crate) async fn bound_regularly(
    store: Arc<dyn Store>,
    kept_bytes: u64,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
) {
    let bound = async {
        loop {
            if let Err(error) = remove_excess(&*store, kept_bytes, &telemetry).await {
                tracing::warn!(error = chain(&error), "log lines above retention_logs_bytes could not be removed");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = bound => {}
    }
}

async fn remove_excess(store: &dyn Store, kept_bytes: u64, telemetry: &Telemetry) -> Result<(), StoreError> {
    let usage = store.log_usage().await?;
    telemetry.log_bytes.set(i64::try_from(usage.bytes).unwrap_or(i64::MAX));
    let mut excess = usage.lines_above(kept_bytes);
    // Nothing but lines.
    let oldest = Cutoffs { logs_before: i64::MAX, ..Cutoffs::default() };
    while excess > 0 {
        let batch = excess.min(BATCH_ROWS);
        let removed = store.expire(oldest, u32::try_from(batch).unwrap_or(u32::MAX)).await?;
        telemetry.rows_expired.inc_by(removed);
        if removed == 0 {
            break;
        }
        excess = excess.saturating_sub(removed);
        tokio::time::sleep(BATCH_PAUSE).await;
    }
    Ok(())
}
