//! Indexing log lines for searches, in small batches that leave the writer to reports.
//!
//! Searches read what is not indexed yet, so nothing depends on how far this is.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::telemetry::Telemetry;

/// Blocks in one transaction: some 1,000 lines, which keep the writer for 5 to 10 ms.
const BATCH_BLOCKS: u32 = 4;

/// Pause between two batches, for reports to be written.
const BATCH_PAUSE: Duration = Duration::from_millis(20);

/// Pause when nothing is left.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// Pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);

/// Indexes lines until it is stopped.
pub(crate) async fn index_regularly(store: Arc<dyn Store>, telemetry: Arc<Telemetry>, stop: CancellationToken) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = match store.index_logs(BATCH_BLOCKS).await {
            Ok(0) => ROUND_PAUSE,
            Ok(indexed) => {
                telemetry.log_blocks_indexed.inc_by(indexed);
                BATCH_PAUSE
            }
            Err(error) => {
                let error = crate::telemetry::logging::chain(&error);
                tracing::error!(error, "log lines could not be indexed, trying again in a minute");
                FAILURE_PAUSE
            }
        };
    }
}
