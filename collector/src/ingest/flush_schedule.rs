//! Schedules the flush of the write-ahead log into rows.
//!
//! A moment after a minute's end nearly all reports of it are there and few of the next, so that most
//! rows are written once. The chunks are spread, so that reports hardly notice them.

use std::time::Duration;

use systole_shared::UnixMillis;
use tokio::time::Instant;

/// Time after a minute's end in which its reports are still flushed with it.
const SETTLING_MS: i64 = 300;

/// Pause after a failed flush. Reports continue: the write-ahead log is another table.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);

/// The least time between two flushes.
const LEAST_PAUSE_MS: i64 = 1_000;

/// Longest time for all chunks together.
const SPREAD: Duration = Duration::from_secs(30);

/// The longest pause between two chunks.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The time of the next chunk.
#[derive(Debug)]
pub(super) struct FlushTimer {
    next: Instant,
    pause: Duration,
    is_flushing: bool,
}

impl FlushTimer {
    /// Records left by a crash are flushed soon.
    pub(super) fn new(now: Instant) -> Self {
        FlushTimer { next: now + LONGEST_PAUSE, pause: LONGEST_PAUSE, is_flushing: false }
    }

    /// The time of the next check.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether a new flush begins with the next chunk.
    pub(super) fn is_between_flushes(&self) -> bool {
        !self.is_flushing
    }

    /// A flush of so many chunks begins.
    pub(super) fn begin(&mut self, chunks: usize) {
        self.is_flushing = true;
        self.pause = SPREAD.checked_div(u32::try_from(chunks).unwrap_or(u32::MAX)).unwrap_or(SPREAD).min(LONGEST_PAUSE);
    }

    /// A chunk was written, and there may be more.
    pub(super) fn go_on(&mut self, now: Instant) {
        self.next = now + self.pause;
    }

    /// A chunk could not be written.
    pub(super) fn try_later(&mut self, now: Instant) {
        self.next = now + FAILURE_PAUSE;
    }

    /// Too many records wait: flush now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next = now;
    }

    /// Nothing is left; the next flush begins after this minute.
    pub(super) fn end(&mut self, now: Instant, now_ms: UnixMillis) {
        self.is_flushing = false;
        let wait = (60_000 + SETTLING_MS - now_ms.rem_euclid(60_000)) % 60_000;
        // Never at once again, for it may still be that very moment.
        self.next = now + Duration::from_millis(wait.max(LEAST_PAUSE_MS).unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn flush_starts_shortly_after_each_minute() {
        let now = Instant::now();
        let mut timer = FlushTimer::new(now);
        for (within_minute, wait) in [(0, 1_000), (299, 1_000), (300, 1_000), (305, 59_995), (59_200, 1_100)] {
            timer.end(now, 29_833_333 * 60_000 + within_minute);
            assert_eq!(timer.next() - now, Duration::from_millis(wait), "{within_minute} ms into a minute");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failed_flush_is_retried_later() {
        let now = Instant::now();
        let mut timer = FlushTimer::new(now);
        timer.begin(1);
        timer.try_later(now);
        assert_eq!(timer.next() - now, Duration::from_secs(2));
        assert!(!timer.is_between_flushes(), "it continues where it was");
    }

    #[tokio::test(start_paused = true)]
    async fn flush_chunks_spread_over_30_s_at_most() {
        let now = Instant::now();
        let mut timer = FlushTimer::new(now);
        for (chunks, pause_ms) in [(0, 100), (1, 100), (3_000, 10)] {
            timer.begin(chunks);
            timer.go_on(now);
            assert_eq!(timer.next() - now, Duration::from_millis(pause_ms), "{chunks} slices");
        }
    }
}
