//! Keeps the node below a VectorFlow server's limit of requests per minute, and spreads them: a node that spends its
//! minute at once is silent for the rest of it, and counts as lost.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Part of a minute's requests that may go out at once; the others come at an even pace.
const BURST_SHARE: u32 = 7;

/// Gives permits: a few at once, the others at an even pace (the generic cell rate algorithm).
#[derive(Debug)]
pub(in crate::uplink) struct Pace {
    every: Duration,
    /// How far ahead of the even pace requests may be.
    tolerance: Duration,
    /// When the next request is due at the even pace.
    due: Mutex<Instant>,
}

impl Pace {
    /// Below `limit` requests in every minute, whenever it begins.
    pub(in crate::uplink) fn below(limit: u32) -> Self {
        let burst = (limit / BURST_SHARE).max(1);
        // One is left for what the server's clock sees otherwise.
        let every = Duration::from_secs(60) / limit.saturating_sub(burst + 1).max(1);
        Pace { every, tolerance: every * (burst - 1), due: Mutex::new(Instant::now()) }
    }

    /// Waits until a request may go out.
    pub(in crate::uplink) async fn turn(&self) {
        while let Some(wait) = self.take(Instant::now()) {
            sleep(wait).await;
        }
    }

    /// Takes a permit, or says how long there will be none.
    fn take(&self, now: Instant) -> Option<Duration> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let early = due.saturating_duration_since(now);
        if early > self.tolerance {
            return Some(early - self.tolerance);
        }
        *due = (*due).max(now) + self.every;
        None
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::vectorflow::rates;
    use tokio::time::advance;

    use super::*;

    /// When permits come to one that asks for them as fast as it can, in milliseconds.
    async fn greedy(pace: &Pace, times: usize) -> Vec<u128> {
        let begin = Instant::now();
        let mut given = Vec::new();
        for _ in 0..times {
            pace.turn().await;
            given.push(begin.elapsed().as_millis());
        }
        given
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_requests_than_the_limit() {
        for limit in [1, 10, rates::HEARTBEAT, rates::LOGS, rates::TAP_EVENTS] {
            let pace = Pace::below(limit);
            advance(Duration::from_secs(300)).await;
            let given = greedy(&pace, 5 * limit as usize).await;
            for (index, begin) in given.iter().enumerate() {
                let within = given[index..].iter().take_while(|at| **at < begin + 60_000).count();
                assert!(within <= limit.max(2) as usize, "{limit}: {within} from {begin} ms on");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_the_usual_interval_do_not_wait() {
        let pace = Pace::below(rates::HEARTBEAT);
        for _ in 0..100 {
            advance(Duration::from_secs(5)).await;
            let before = Instant::now();
            pace.turn().await;
            assert_eq!(before.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn greedy_node_is_never_silent_for_an_interval() {
        let pace = Pace::below(rates::HEARTBEAT);
        let given = greedy(&pace, 100).await;
        assert!(given.windows(2).all(|pair| pair[1] - pair[0] < 5_000), "{given:?}");
    }
}
