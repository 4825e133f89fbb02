//! The oldest stored events, for every `hello`.

use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use crate::store::Store;

/// Highest age of the cached value: five thousand clients that reconnect at once cause one query.
const FRESH: Duration = Duration::from_secs(1);

/// The last result from the database.
#[derive(Debug, Default)]
pub(super) struct RetentionFloor(Mutex<Option<(Instant, u64)>>);

impl RetentionFloor {
    /// Lowest sequence number from which on everything is kept; `None` when it cannot be read.
    pub(super) async fn get(&self, store: &dyn Store) -> Option<u64> {
        let mut known = self.0.lock().await;
        if let Some((read_at, oldest)) = *known
            && read_at.elapsed() < FRESH
        {
            return Some(oldest);
        }
        let oldest = store.feed_position().await.ok()?.oldest.of_all();
        *known = Some((Instant::now(), oldest));
        Some(oldest)
    }
}
