//! How long to wait after a failure.

use std::time::Duration;

/// The first wait is at most this.
const FIRST: Duration = Duration::from_secs(1);

/// Longest wait that a collector may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// No wait is longer than so many intervals, unless the collector asks for it. An agent reports every
/// interval anyway, so asking every second one is less load than its reports, and it is back soon
/// after the collector is.
const LONGEST_INTERVALS: u32 = 2;

/// Exponential back-off with full jitter: a fleet that lost its collector must not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure. `random` is from 0 to 1; `interval` is that of reports; `asked`
    /// is what Retry-After said.
    pub(crate) fn failed(&mut self, random: f64, interval: Duration, asked: Option<Duration>) -> Duration {
        let longest = interval.saturating_mul(LONGEST_INTERVALS).max(FIRST);
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        let floor = asked.unwrap_or_default().min(LONGEST_ASKED);
        // Jitter goes on top of the floor, or a fleet that was asked to wait would return together.
        floor + ceiling.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[test]
    fn ceiling_doubles_from_one_second_to_two_intervals() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..7).map(|_| backoff.failed(1.0, INTERVAL, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(backoff.failed(1.0, Duration::from_secs(60), None), Duration::from_secs(120));
        assert_eq!(backoff.failed(1.0, Duration::from_millis(100), None), FIRST);
        backoff.succeeded();
        assert_eq!(backoff.failed(0.5, INTERVAL, None), Duration::from_millis(500));
    }

    #[test]
    fn retry_after_is_the_floor_within_reason() {
        let asked = Some(Duration::from_secs(30));
        assert_eq!(Backoff::default().failed(0.0, INTERVAL, asked), Duration::from_secs(30));
        assert_eq!(Backoff::default().failed(1.0, INTERVAL, asked), Duration::from_secs(31));
        assert_eq!(Backoff::default().failed(0.0, INTERVAL, Some(Duration::from_secs(1 << 40))), LONGEST_ASKED);
    }
}
