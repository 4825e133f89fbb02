//! A token bucket: limits an average rate and a burst.
//!
//! Pure, and as small as two numbers, so that every node and every client can have one. Not the governor
//! crate: its maps have no bound, its time is not the one of our tests, and it cannot grant a part of a
//! request, which a budget of log lines needs.

use std::time::Duration;

/// The refill rate and the size of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub per_second: f64,
    /// The most that may come at once after a quiet time.
    pub burst: f64,
}

impl Rate {
    /// This many a minute, a third of them at once. `None` for 0: no limit.
    pub(crate) fn per_minute(count: u32) -> Option<Self> {
        let count = f64::from(count);
        (count > 0.0).then(|| Rate { per_second: count / 60.0, burst: (count / 3.0).max(1.0) })
    }
}

/// The rest of a bucket at a time in milliseconds, of any clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TokenBucket {
    left: f64,
    at_ms: i64,
}

impl TokenBucket {
    /// A full one.
    pub(crate) fn full(rate: Rate, now_ms: i64) -> Self {
        TokenBucket { left: rate.burst, at_ms: now_ms }
    }

    /// Adds what has come back. A clock that goes back adds nothing.
    fn refill(&mut self, rate: Rate, now_ms: i64) {
        let elapsed = now_ms.saturating_sub(self.at_ms).max(0) as f64 / 1_000.0;
        self.left = (self.left + elapsed * rate.per_second).min(rate.burst);
        self.at_ms = now_ms;
    }

    /// The tokens that are left now.
    pub(crate) fn left(&mut self, rate: Rate, now_ms: i64) -> f64 {
        self.refill(rate, now_ms);
        self.left
    }

    /// Takes what [`Self::left`] has.
    pub(crate) fn take(&mut self, count: f64) {
        self.left -= count;
    }

    /// Takes one, or returns the time until there is one.
    ///
    /// # Errors
    ///
    /// When the bucket is empty.
    pub(crate) fn take_one(&mut self, rate: Rate, now_ms: i64) -> Result<(), Duration> {
        let left = self.left(rate, now_ms);
        if left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - left) / rate.per_second));
        }
        self.take(1.0);
        Ok(())
    }

    /// Whether it is as good as new.
    pub(crate) fn is_full(&mut self, rate: Rate, now_ms: i64) -> bool {
        self.left(rate, now_ms) >= rate.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate::per_minute(60).unwrap();
        let mut bucket = TokenBucket::full(rate, 0);
        let taken = (0..100).filter(|_| bucket.take_one(rate, 0).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(bucket.take_one(rate, 0), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take_one(rate, 1_000), Ok(()));
        assert!(bucket.take_one(rate, 500).is_err(), "a clock that goes back gives nothing");
        assert!(bucket.is_full(rate, 60_000));
        assert_eq!(Rate::per_minute(0), None);
    }
}
