//! How much of the disk each table takes, measured now and then, never while somebody asks for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::telemetry::logging::chain;
use crate::telemetry::{TableLabel, Telemetry};

/// Pause before the first measurement, for a start to be over.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Shortest pause between two measurements.
const PAUSE: Duration = Duration::from_secs(60);

/// A measurement reads every page of the database: this many times as long it is left alone after.
const REST: u32 = 50;

/// Pause after a failure, like on an engine that can not tell.
const FAILURE_PAUSE: Duration = Duration::from_secs(3_600);

/// Measures until it is stopped.
pub(crate) async fn measure_regularly(store: Arc<dyn Store>, telemetry: Arc<Telemetry>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let begin = Instant::now();
        let measured = tokio::select! {
            () = stop.cancelled() => return,
            measured = store.table_sizes() => measured,
        };
        pause = match measured {
            Ok(sizes) => {
                for size in sizes {
                    let bytes = i64::try_from(size.bytes).unwrap_or(i64::MAX);
                    telemetry.database_bytes.get_or_create(&TableLabel { table: size.table }).set(bytes);
                }
                pause_after(begin.elapsed())
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "the size of the tables is unknown, trying again in an hour");
                FAILURE_PAUSE
            }
        };
    }
}

fn pause_after(measurement: Duration) -> Duration {
    PAUSE.max(measurement * REST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn sizes_of_tables_are_measured_and_add_up() {
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
    fn a_large_database_is_measured_seldom() {
        assert_eq!(pause_after(Duration::from_millis(300)), Duration::from_secs(60));
        assert_eq!(pause_after(Duration::from_secs(20)), Duration::from_secs(1_000));
    }
}
