//! Indexing log lines for searches, in small batches that leave the writer to reports.
//!
//! Searches read what is not indexed yet, so nothing depends on how far this is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::store::Store;
use crate::telemetry::Telemetry;

/// Blocks in one transaction: some 1,000 lines, which keep the writer for 5 to 10 ms.
const BATCH_BLOCKS: u32 = 4;

/// Pause when nothing is left.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

const PACING: Pacing = Pacing {
    first: Duration::ZERO,
    // For reports to be written.
    between: Duration::from_millis(20),
    retry: Duration::from_secs(5),
    max_retry: Duration::from_secs(60),
};

/// Indexes lines, a few blocks at a time.
pub(crate) struct LogIndex {
    pub store: Arc<dyn Store>,
    pub telemetry: Arc<Telemetry>,
}

#[async_trait]
impl Task for LogIndex {
    fn name(&self) -> &'static str {
        "log_index"
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        let indexed = self.store.index_logs(BATCH_BLOCKS).await?;
        self.telemetry.log_blocks_indexed.inc_by(indexed);
        Ok(if indexed == 0 { Activation::IdleFor(ROUND_PAUSE) } else { Activation::MoreToDo })
    }
}
