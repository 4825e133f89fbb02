//! Least time between two batches of events, over all taps of the node: a collector bounds the requests of a node.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When the next batch may go out.
#[derive(Debug, Default)]
pub(super) struct SharedGap(Mutex<Option<Instant>>);

impl SharedGap {
    /// Whether a batch may go out now; the next one may `gap` later.
    pub(super) fn try_take(&self, now: Instant, gap: Duration) -> bool {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = next.is_none_or(|next| now >= next);
        if is_free {
            *next = Some(now + gap);
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_all_taps_share_the_gap() {
        let (gap, begin) = (SharedGap::default(), Instant::now());
        let take = |ms| gap.try_take(begin + Duration::from_millis(ms), Duration::from_millis(500));
        assert_eq!([0, 100, 499, 500, 600, 1_100].map(take), [true, false, false, true, false, true]);
    }
}
