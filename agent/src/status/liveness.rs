//! The heartbeat's sign of life, for /readyz and systemd.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Intervals without a report after which the heartbeat does not count as alive.
const MISSED_INTERVALS: u32 = 3;

/// A shorter interval is judged like this one: a report may wait for scrapes longer than that.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Time of the last report.
#[derive(Debug)]
pub(crate) struct Liveness(watch::Sender<Option<Instant>>);

impl Liveness {
    /// Before the first report.
    pub(crate) fn new() -> Self {
        Liveness(watch::Sender::new(None))
    }

    /// A report was made.
    pub(crate) fn record_report(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Tells of every report.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Instant>> {
        self.0.subscribe()
    }

    /// The age of the last report, if there is one.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.0.borrow().map(|at| at.elapsed())
    }

    /// Whether reports are made, one every `interval`.
    pub(crate) fn is_alive(&self, interval: Duration) -> bool {
        self.age().is_some_and(|age| age <= interval.max(LEAST_INTERVAL) * MISSED_INTERVALS)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn liveness_ends_after_three_missed_intervals() {
        let (liveness, interval) = (Liveness::new(), Duration::from_secs(5));
        assert!(!liveness.is_alive(interval), "before the first report");
        liveness.record_report();
        advance(interval * 3).await;
        assert!(liveness.is_alive(interval));
        advance(Duration::from_millis(1)).await;
        assert!(!liveness.is_alive(interval));
        liveness.record_report();
        advance(Duration::from_secs(2)).await;
        assert!(liveness.is_alive(Duration::from_millis(100)));
    }
}
