//! Waiting for a state, with an end.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often the state is polled.
const PERIOD: Duration = Duration::from_millis(50);

/// Polls until there is a value; panics with `what` after the time-out.
pub async fn eventually<T>(what: &str, timeout: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < timeout, "not within {timeout:?}: {what}");
        sleep(PERIOD).await;
    }
}

/// [`eventually`] for a condition.
pub async fn eventually_true(what: &str, timeout: Duration, mut look: impl AsyncFnMut() -> bool) {
    eventually(what, timeout, async || look().await.then_some(())).await;
}
