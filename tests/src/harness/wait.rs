//! Waiting for a state, with an end.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longest wait for what happens at once, on a machine that builds and runs eight tests at once. It is no promise of the
/// programs: a test of a promise measures the time itself, or reads the times that the programs recorded.
pub const SOON: Duration = Duration::from_secs(120);

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
