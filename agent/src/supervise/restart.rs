//! When a process that ended by itself is started again.

use std::time::Duration;

/// A life of this length clears the count of crashes.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The longest wait before a start.
const LONGEST_WAIT_SECONDS: u64 = 60;

/// Crashes in a row that are answered with a start; the next one is a crash loop.
const CRASHES_ANSWERED: u32 = 10;

/// Counts the crashes of a pipeline in a row.
#[derive(Debug, Default)]
pub(crate) struct RestartPolicy {
    crashes: u32,
}

/// What to do about a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it again after this time.
    StartAfter(Duration),
    /// It will not stay up: wait for a change or a person.
    GiveUp,
}

impl RestartPolicy {
    /// Judges the end of a process that lived for `life`.
    pub(crate) fn ended(&mut self, life: Duration) -> Verdict {
        if life >= STABLE_AFTER {
            self.crashes = 0;
        }
        self.crashes += 1;
        if self.crashes > CRASHES_ANSWERED {
            return Verdict::GiveUp;
        }
        let wait = 1_u64 << (self.crashes - 1);
        Verdict::StartAfter(Duration::from_secs(wait.min(LONGEST_WAIT_SECONDS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_minute_and_the_eleventh_crash_is_a_loop() {
        let mut policy = RestartPolicy::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] {
            assert_eq!(policy.ended(Duration::from_secs(5)), Verdict::StartAfter(Duration::from_secs(seconds)));
        }
        assert_eq!(policy.ended(Duration::from_secs(5)), Verdict::GiveUp);
    }

    #[test]
    fn a_minute_of_life_clears_the_count() {
        let mut policy = RestartPolicy::default();
        for _ in 0..10 {
            policy.ended(Duration::ZERO);
        }
        assert_eq!(policy.ended(Duration::from_secs(60)), Verdict::StartAfter(Duration::from_secs(1)));
    }
}
