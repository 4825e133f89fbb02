//! How long to wait before the stream is opened again.

use std::time::Duration;

/// The first wait is at most this.
const FIRST: Duration = Duration::from_secs(1);

/// No wait is longer, unless the collector asks for it.
const LONGEST: Duration = Duration::from_secs(30);

/// Longest wait that a collector may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// A stream that lived this long was a good one.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// Exponential, with half of it at random: who lost a collector together does not return together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A stream has ended after so long.
    pub(super) fn ended_after(&mut self, life: Duration) {
        if life >= GOOD_LIFE {
            self.failures = 0;
        }
    }

    /// The next wait. `random` is from 0 to 1; `asked` is what the collector said.
    pub(super) fn next(&mut self, random: f64, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(5)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let own = ceiling.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        own.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_begin_anew_after_a_good_life() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..7).map(|_| backoff.next(1.0, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        backoff.ended_after(Duration::from_secs(59));
        assert_eq!(backoff.next(0.0, None), Duration::from_secs(15));
        backoff.ended_after(Duration::from_secs(60));
        assert_eq!(backoff.next(0.0, None), Duration::from_millis(500));
    }

    #[test]
    fn what_the_collector_asks_for_is_the_least_within_reason() {
        assert_eq!(Backoff::default().next(0.0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(Backoff::default().next(1.0, Some(Duration::from_millis(7))), Duration::from_secs(1));
        assert_eq!(Backoff::default().next(1.0, Some(Duration::MAX)), LONGEST_ASKED);
    }
}
