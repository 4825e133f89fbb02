//! Exponential waits between two tries, with jitter.
//!
//! One calculation for the agent, `tail` and the tests. It has no clock and no randomness: the caller passes
//! the random number and sleeps. So a test asserts exact waits, and it can set every wait to zero.

use std::time::Duration;

/// Doublings after which a wait grows no more: 2^16 times the first wait is above every longest wait in use.
const MAX_DOUBLINGS: u32 = 16;

/// Which part of a wait is random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// None. A wait that the peer asks for is the least.
    None,
    /// The upper half. A wait that the peer asks for is the least.
    Half,
    /// All of it, added to the wait that the peer asks for. Clients with the same requested wait do not
    /// return together.
    Full,
}

/// The lengths of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The longest first wait.
    pub first: Duration,
    /// The longest wait that is not asked for.
    pub longest: Duration,
    /// The longest wait that the peer may ask for, such as by `Retry-After`.
    pub longest_asked: Duration,
    /// Which part is random.
    pub jitter: Jitter,
}

impl BackoffPolicy {
    /// No wait at all, for tests.
    pub const IMMEDIATE: BackoffPolicy = BackoffPolicy {
        first: Duration::ZERO,
        longest: Duration::ZERO,
        longest_asked: Duration::ZERO,
        jitter: Jitter::None,
    };
}

/// Counts failures in a row.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    /// Starts without a failure.
    pub const fn new(policy: BackoffPolicy) -> Self {
        Backoff { policy, failures: 0 }
    }

    /// Starts again from the first wait, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Sets another longest wait, for one that depends on what the peer says meanwhile.
    pub fn set_longest(&mut self, longest: Duration) {
        self.policy.longest = longest;
    }

    /// The wait after one more failure. `random` is from 0 to 1; `asked` is the wait that the peer asks for.
    pub fn next(&mut self, random: f64, asked: Option<Duration>) -> Duration {
        let BackoffPolicy { first, longest, longest_asked, jitter } = self.policy;
        let most = first.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS)).min(longest);
        self.failures = self.failures.saturating_add(1);
        let asked = asked.unwrap_or_default().min(longest_asked);
        let random = random.clamp(0.0, 1.0);
        match jitter {
            Jitter::None => most.max(asked),
            Jitter::Half => most.mul_f64(0.5 + random / 2.0).max(asked),
            Jitter::Full => asked + most.mul_f64(random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BackoffPolicy = BackoffPolicy {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
        longest_asked: Duration::from_secs(300),
        jitter: Jitter::None,
    };

    fn backoff(jitter: Jitter) -> Backoff {
        Backoff::new(BackoffPolicy { jitter, ..POLICY })
    }

    #[test]
    fn waits_double_up_to_the_longest_and_restart_after_a_reset() {
        let mut backoff = backoff(Jitter::None);
        let waits: Vec<u64> = (0..40).map(|_| backoff.next(0.0, None).as_secs()).collect();
        assert_eq!(waits[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert!(waits[7..].iter().all(|wait| *wait == 30));
        backoff.reset();
        assert_eq!(backoff.next(0.0, None), Duration::from_secs(1));
    }

    #[test]
    fn jitter_covers_its_part_of_the_wait() {
        let first = |jitter, random| backoff(jitter).next(random, None).as_millis();
        assert_eq!([0.0, 0.5, 1.0].map(|random| first(Jitter::None, random)), [1_000, 1_000, 1_000]);
        assert_eq!([0.0, 0.5, 1.0].map(|random| first(Jitter::Half, random)), [500, 750, 1_000]);
        assert_eq!([0.0, 0.5, 1.0].map(|random| first(Jitter::Full, random)), [0, 500, 1_000]);
        assert_eq!([-1.0, 2.0].map(|random| first(Jitter::Full, random)), [0, 1_000], "out of range");
    }

    #[test]
    fn asked_wait_is_the_least_up_to_its_bound() {
        let next = |jitter, random, asked| backoff(jitter).next(random, Some(Duration::from_secs(asked))).as_secs();
        assert_eq!([next(Jitter::None, 0.0, 7), next(Jitter::Half, 1.0, 7)], [7, 7]);
        assert_eq!([next(Jitter::Full, 0.0, 7), next(Jitter::Full, 1.0, 7)], [7, 8], "jitter is added");
        assert_eq!([next(Jitter::Half, 1.0, 0), next(Jitter::Half, 0.0, u64::MAX)], [1, 300]);
    }

    #[test]
    fn immediate_policy_never_waits() {
        let mut backoff = Backoff::new(BackoffPolicy::IMMEDIATE);
        assert!((0..20).all(|_| backoff.next(1.0, Some(Duration::from_secs(9))).is_zero()));
    }
}
