//! How long the uplink waits after a failure.

use std::time::Duration;

use systole_shared::backoff::{self, BackoffPolicy, Jitter};

/// The first wait is at most this.
const FIRST: Duration = Duration::from_secs(1);

/// No wait is longer than so many intervals, unless the collector asks for it. An agent reports every
/// interval anyway, so a try every second interval is less load than its reports, and the agent is
/// back soon after the collector is.
const LONGEST_INTERVALS: u32 = 2;

/// Full jitter: a fleet that lost its collector must not come back at once.
const POLICY: BackoffPolicy = BackoffPolicy {
    first: FIRST,
    longest: FIRST,
    // A collector that asks for more is wrong rather than busy.
    longest_asked: Duration::from_secs(600),
    jitter: Jitter::Full,
};

/// Exponential back-off up to two intervals.
#[derive(Debug)]
pub(crate) struct Backoff(backoff::Backoff);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(backoff::Backoff::new(POLICY))
    }
}

impl Backoff {
    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }

    /// The wait after one more failure. `random` is from 0 to 1; `interval` is that of reports; `asked`
    /// is what Retry-After said.
    pub(crate) fn next_wait(&mut self, random: f64, interval: Duration, asked: Option<Duration>) -> Duration {
        self.0.set_longest(interval.saturating_mul(LONGEST_INTERVALS).max(FIRST));
        self.0.next(random, asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[test]
    fn ceiling_doubles_from_one_second_to_two_intervals() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..7).map(|_| backoff.next_wait(1.0, INTERVAL, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(backoff.next_wait(1.0, Duration::from_secs(60), None), Duration::from_secs(120));
        assert_eq!(backoff.next_wait(1.0, Duration::from_millis(100), None), FIRST);
        backoff.reset();
        assert_eq!(backoff.next_wait(0.5, INTERVAL, None), Duration::from_millis(500));
    }

    #[test]
    fn retry_after_is_the_floor_within_reason() {
        let wait = |random, asked| Backoff::default().next_wait(random, INTERVAL, Some(Duration::from_secs(asked)));
        assert_eq!([wait(0.0, 30).as_secs(), wait(1.0, 30).as_secs(), wait(0.0, 1 << 40).as_secs()], [30, 31, 600]);
    }
}
