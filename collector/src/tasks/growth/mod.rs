//! Measures the data once an hour, for a forecast of the day on which the disk is full.
//!
//! The sizes are in a file of the data directory, so that a restart does not begin the week again.

mod forecast;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use systole_shared::UnixMillis;

use self::forecast::SPAN_MS;
pub(crate) use self::forecast::{Forecast, SizeSample, forecast};
use super::driver::{Activation, Pacing, Task, TaskError};
use crate::clock;
use crate::store::disk::{directory_of, space_under};
use crate::store::{Store, StoreError, private};
use crate::telemetry::{MAX_DAYS_UNTIL_FULL, Telemetry};

const FILE: &str = "growth.json";

/// Time between two samples; a week has 168 of them.
const PAUSE: Duration = Duration::from_secs(3_600);

/// A sample that is younger is not repeated after a restart.
const LEAST_AGE_MS: i64 = 50 * 60_000;

const PACING: Pacing = Pacing {
    // For a start to be over, and what agents sent late to be written.
    first: Duration::from_secs(300),
    between: PAUSE,
    retry: Duration::from_secs(300),
    max_retry: PAUSE,
};

/// The task.
pub(crate) struct Growth {
    pub store: Arc<dyn Store>,
    pub data_dir: PathBuf,
    /// The file of the database, where it is on this host.
    pub database: Option<PathBuf>,
    pub telemetry: Arc<Telemetry>,
}

#[async_trait]
impl Task for Growth {
    fn name(&self) -> &'static str {
        "growth"
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        let (used_bytes, room_bytes) = measure(&*self.store, self.database.as_deref()).await?;
        let samples = add(read(&self.data_dir), SizeSample { at: clock::now_ms(), used_bytes });
        write(&self.data_dir, &samples).map_err(TaskError::Sizes)?;
        if let Some(Forecast { bytes_per_day, days_until_full }) = forecast(&samples, room_bytes) {
            self.telemetry.growth_bytes_per_day.set(bytes_per_day);
            self.telemetry.seconds_until_full.set(days_until_full.unwrap_or(MAX_DAYS_UNTIL_FULL) * 86_400.0);
        }
        Ok(Activation::IdleFor(PAUSE))
    }
}

/// Bytes of the data, and the room for more where it is known.
///
/// # Errors
///
/// When the database cannot be asked.
pub(crate) async fn measure(store: &dyn Store, database: Option<&Path>) -> Result<(u64, Option<u64>), StoreError> {
    match store.file_size().await? {
        Some(file) => {
            let free = database.and_then(|path| space_under(directory_of(path)).ok()).map(|space| space.free_bytes);
            let used = file.database_bytes.saturating_sub(file.reusable_bytes);
            Ok((used, free.map(|free| free.saturating_add(file.reusable_bytes))))
        }
        // The disk of a server is not seen from here.
        None => Ok((store.table_sizes().await?.iter().map(|table| table.bytes).sum(), None)),
    }
}

/// The samples of the last week; none when the file is missing or damaged.
pub(crate) fn read(data_dir: &Path) -> Vec<SizeSample> {
    let text = std::fs::read(data_dir.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// With a new sample, unless the last one is young. What is not of the last week goes, and what is from the future.
fn add(mut samples: Vec<SizeSample>, new: SizeSample) -> Vec<SizeSample> {
    samples.retain(|sample| is_of_week(sample.at, new.at));
    if samples.last().is_none_or(|last| new.at - last.at >= LEAST_AGE_MS) {
        samples.push(new);
    }
    samples
}

fn is_of_week(at: UnixMillis, now: UnixMillis) -> bool {
    at <= now && now - at <= SPAN_MS
}

fn write(data_dir: &Path, samples: &[SizeSample]) -> io::Result<()> {
    let path = data_dir.join(FILE);
    let unfinished = path.with_extension("tmp");
    private::create_dir(data_dir)?;
    let mut file = private::open(OpenOptions::new().write(true).truncate(true), &unfinished)?;
    file.write_all(&serde_json::to_vec(samples)?)?;
    std::fs::rename(&unfinished, &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;
    use crate::store::sqlite::SqliteStore;

    fn sample(at: UnixMillis) -> SizeSample {
        SizeSample { at, used_bytes: 1 }
    }

    #[test]
    fn samples_of_a_week_stay_an_hour_apart() {
        let hour = 3_600_000;
        assert_eq!(add(vec![], sample(hour)), [sample(hour)]);
        assert_eq!(add(vec![sample(hour)], sample(hour + LEAST_AGE_MS - 1)), [sample(hour)]);
        let week = SPAN_MS + hour;
        assert_eq!(
            add(vec![sample(hour - 1), sample(hour), sample(week + 9)], sample(week)),
            [sample(hour), sample(week)]
        );
    }

    #[tokio::test]
    async fn size_is_measured_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("collector.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, Access::Exclusive).unwrap());
        let telemetry = Arc::new(Telemetry::new());
        let data_dir = dir.path().join("data");
        let mut task = Growth { store, data_dir: data_dir.clone(), database: Some(path), telemetry };
        task.activate().await.unwrap();
        task.activate().await.unwrap();
        assert_eq!(
            task.telemetry.seconds_until_full.get(),
            MAX_DAYS_UNTIL_FULL * 86_400.0,
            "no alert before it is known"
        );
        let samples = read(&data_dir);
        assert!(samples.len() == 1 && samples[0].used_bytes > 4_096, "{samples:?}");
        std::fs::write(data_dir.join(FILE), "{").unwrap();
        assert!(read(&data_dir).is_empty());
    }
}
