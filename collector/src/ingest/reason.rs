//! The last published reason of a state, and the rate limit of events for new reasons.
//!
//! A state that stays the same with a new reason is worth an event: a second refused configuration has
//! another error than the first. But an agent may put a counter or a duration into the text, and then each
//! report has a new reason. So each subject has [`BURST`] such events, and one more each minute. The row
//! always has the last reason. A withheld reason is published with a later report, unless it has changed
//! again by then.

use systole_shared::UnixMillis;

/// Events in a row for new reasons alone: an operator may try a few configurations in a row and sees each result.
const BURST: u8 = 5;

/// Time after which there is one more: a reason that changes with each report costs no more than that.
const REFILL_MS: i64 = 60_000;

/// The last published reason, and the events left.
#[derive(Clone, Debug)]
pub(crate) struct PublishedReason {
    text: String,
    left: u8,
    /// The time of the last refill, by the collector's clock.
    refilled_at: UnixMillis,
}

impl PublishedReason {
    /// A reason that subscribers know.
    pub(crate) fn new(text: &str) -> Self {
        PublishedReason { text: text.to_owned(), left: BURST, refilled_at: 0 }
    }

    /// A change of state was published, with its reason. This is never held back.
    pub(crate) fn publish(&mut self, text: &str) {
        text.clone_into(&mut self.text);
    }

    /// Publishes a new reason of the same state, unless there were too many. Returns whether it is an event.
    pub(crate) fn try_publish(&mut self, text: &str, now: UnixMillis) -> bool {
        if self.text == text {
            return false;
        }
        self.refill(now);
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.publish(text);
        true
    }

    fn refill(&mut self, now: UnixMillis) {
        if self.left == BURST || now < self.refilled_at {
            // Full, or the clock went back: the time begins again.
            self.refilled_at = now;
            return;
        }
        let refills = (now - self.refilled_at) / REFILL_MS;
        self.refilled_at += refills * REFILL_MS;
        self.left = u8::try_from(refills.saturating_add(i64::from(self.left))).unwrap_or(BURST).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_that_always_changes_is_published_once_a_minute_after_a_burst() {
        let mut reason = PublishedReason::new("0 errors");
        let published = |reason: &mut PublishedReason, from: i64, to: i64| {
            (from..to).filter(|second| reason.try_publish(&format!("{second} errors"), second * 1_000)).count()
        };
        assert_eq!(published(&mut reason, 1, 60), usize::from(BURST));
        assert_eq!(published(&mut reason, 61, 661), 10, "one a minute");
    }

    #[test]
    fn reason_that_was_held_back_is_published_later() {
        let mut reason = PublishedReason::new("");
        for text in ["a", "b", "c", "d", "e"] {
            assert!(reason.try_publish(text, 1_000));
        }
        assert!(!reason.try_publish("f", 2_000));
        assert!(!reason.try_publish("f", 60_000));
        assert!(reason.try_publish("f", 61_001));
        assert_eq!(reason.text, "f");
    }

    #[test]
    fn clock_that_went_back_does_not_end_the_events() {
        let mut reason = PublishedReason::new("");
        for number in 0..10 {
            reason.try_publish(&number.to_string(), 1_000_000);
        }
        assert!(!reason.try_publish("x", 500_000));
        assert!(reason.try_publish("x", 560_001));
    }
}
