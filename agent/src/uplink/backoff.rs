//! How long to wait after a failure.

use std::time::Duration;

/// The first wait is at most this.
const FIRST: Duration = Duration::from_secs(1);

/// No wait is longer, unless the collector asks for it.
const LONGEST: Duration = Duration::from_secs(60);

/// Longest wait that a collector may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

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

    /// The wait after one more failure. `random` is from 0 to 1; `asked` is what Retry-After said.
    pub(crate) fn failed(&mut self, random: f64, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let floor = asked.unwrap_or_default().min(LONGEST_ASKED);
        // Jitter goes on top of the floor, or a fleet that was asked to wait would return together.
        floor + ceiling.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_from_one_second_to_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| backoff.failed(1.0, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.succeeded();
        assert_eq!(backoff.failed(0.5, None), Duration::from_millis(500));
    }

    #[test]
    fn retry_after_is_the_floor_within_reason() {
        let asked = Some(Duration::from_secs(30));
        assert_eq!(Backoff::default().failed(0.0, asked), Duration::from_secs(30));
        assert_eq!(Backoff::default().failed(1.0, asked), Duration::from_secs(31));
        assert_eq!(Backoff::default().failed(0.0, Some(Duration::from_secs(1 << 40))), LONGEST_ASKED);
    }
}
