//! When a process that ended by itself is started again.

use std::time::Duration;

use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};

/// A run of this length clears the count of crashes.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The waits before a start. Without jitter: pipelines of one node have nothing in common that restarts could overload.
const WAITS: BackoffPolicy = BackoffPolicy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
    longest_asked: Duration::ZERO,
    jitter: Jitter::None,
};

/// Crashes in a row that are answered with a start; the next one is a crash loop.
const CRASHES_ANSWERED: u32 = 10;

/// Counts the crashes of a pipeline in a row.
#[derive(Debug)]
pub(crate) struct RestartPolicy {
    crashes: u32,
    backoff: Backoff,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { crashes: 0, backoff: Backoff::new(WAITS) }
    }
}

/// The answer to a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it again after this time.
    StartAfter(Duration),
    /// It will not stay up: wait for a change or an operator.
    GiveUp,
}

impl RestartPolicy {
    /// Decides what follows the end of a process that ran for `life`.
    pub(crate) fn ended(&mut self, life: Duration) -> Verdict {
        if life >= STABLE_AFTER {
            *self = Self::default();
        }
        self.crashes += 1;
        if self.crashes > CRASHES_ANSWERED {
            return Verdict::GiveUp;
        }
        Verdict::StartAfter(self.backoff.next(0.0, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_60_s_and_the_11th_crash_is_a_loop() {
        let mut policy = RestartPolicy::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] {
            assert_eq!(policy.ended(Duration::from_secs(5)), Verdict::StartAfter(Duration::from_secs(seconds)));
        }
        assert_eq!(policy.ended(Duration::from_secs(5)), Verdict::GiveUp);
    }

    #[test]
    fn stable_minute_clears_the_crash_count() {
        let mut policy = RestartPolicy::default();
        for _ in 0..10 {
            policy.ended(Duration::ZERO);
        }
        assert_eq!(policy.ended(Duration::from_secs(60)), Verdict::StartAfter(Duration::from_secs(1)));
    }
}
