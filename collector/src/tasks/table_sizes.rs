//! Measures the size of each table periodically, never during a request.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::store::Store;
use crate::telemetry::{TableLabel, Telemetry};

/// Shortest pause between two measurements.
const PAUSE: Duration = Duration::from_secs(60);

/// A measurement reads every page of the database: this many times as long it is left alone after.
const REST: u32 = 50;

const PACING: Pacing = Pacing {
    // For a start to be over.
    first: Duration::from_secs(5),
    between: PAUSE,
    // An engine that cannot measure its tables does not learn it soon.
    retry: Duration::from_secs(3_600),
    max_retry: Duration::from_secs(3_600),
};

/// Measures all tables at once.
pub(crate) struct TableSizes {
    pub store: Arc<dyn Store>,
    pub telemetry: Arc<Telemetry>,
    /// A measurement may take longer than a stop.
    pub stop: CancellationToken,
}

#[async_trait]
impl Task for TableSizes {
    fn name(&self) -> &'static str {
        "table_sizes"
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        let begin = Instant::now();
        let sizes = tokio::select! {
            () = self.stop.cancelled() => return Ok(Activation::IdleFor(PAUSE)),
            sizes = self.store.table_sizes() => sizes?,
        };
        for size in sizes {
            let bytes = i64::try_from(size.bytes).unwrap_or(i64::MAX);
            self.telemetry.database_bytes.get_or_create(&TableLabel { table: size.table }).set(bytes);
        }
        Ok(Activation::IdleFor(pause_after(begin.elapsed())))
    }
}

fn pause_after(measurement: Duration) -> Duration {
    PAUSE.max(measurement * REST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Access, MaintenanceStore};

    #[tokio::test]
    async fn table_sizes_are_measured_and_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let store = SqliteStore::open(&path, Access::Exclusive).unwrap();
        let sizes = store.table_sizes().await.unwrap();
        let file = store.file_size().await.unwrap().unwrap();
        let all: u64 = sizes.iter().map(|size| size.bytes).sum();
        assert!(sizes.iter().any(|size| size.table == "pipeline_minutes" && size.bytes >= 4_096));
        assert_eq!(all + file.reusable_bytes, file.database_bytes, "{sizes:?}");
    }

    #[test]
    fn large_database_is_measured_rarely() {
        assert_eq!(pause_after(Duration::from_millis(300)), Duration::from_secs(60));
        assert_eq!(pause_after(Duration::from_secs(20)), Duration::from_secs(1_000));
    }
}
