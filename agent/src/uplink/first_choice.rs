//! The slow way back to the first choice of the addresses, after it has failed.
//!
//! Not with the next request: a collector that starts again would receive all of its nodes in one moment, and one
//! that fails every minute would be tried every minute.

use std::time::Duration;

use tokio::time::sleep;

use super::addresses::Addresses;

/// Between leaving the first choice and asking whether it is ready, and between two such questions. Each node draws a
/// time between them, so that the nodes of a collector come back over four minutes.
const RETURN_AFTER: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));

/// Brings the node back to its first choice each time that another address is in use. `is_ready` asks the first choice,
/// `random` is from 0 to 1. Never ends.
pub(super) async fn keep_to_first_choice<F, R>(addresses: &Addresses, random: fn() -> f64, is_ready: F)
where
    F: Fn() -> R,
    R: Future<Output = bool>,
{
    let mut in_use = addresses.watch();
    loop {
        // The sender lives as long as the addresses.
        let _ = in_use.wait_for(|address| *address != 0).await;
        sleep(RETURN_AFTER.0 + (RETURN_AFTER.1 - RETURN_AFTER.0).mul_f64(random())).await;
        if *in_use.borrow_and_update() != 0 && is_ready().await {
            addresses.prefer_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{Instant, advance};

    use super::*;

    /// Where the next request begins, `after` that time.
    async fn next_after(addresses: &Addresses, after: u64) -> Option<usize> {
        advance(Duration::from_secs(after)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        addresses.next(&mut addresses.begin())
    }

    #[tokio::test(start_paused = true)]
    async fn node_returns_when_the_first_choice_is_ready_and_not_before_its_time() {
        let urls = ["http://a:1", "http://b:1"].map(|url| url.parse().unwrap()).to_vec();
        let addresses = Arc::new(Addresses::new(urls, "node"));
        let (asked, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let (kept, questions) = (addresses.clone(), asked.clone());
        // Ready at the second question.
        let task = tokio::spawn(async move {
            keep_to_first_choice(&kept, || 0.5, || async { questions.fetch_add(1, Ordering::Relaxed) > 0 }).await;
        });
        assert_eq!(next_after(&addresses, 1_000).await, Some(0));
        assert_eq!(asked.load(Ordering::Relaxed), 0, "the first choice is in use");
        let mut round = addresses.begin();
        addresses.failed(0, false, &mut round);
        addresses.answered(1);
        assert_eq!(next_after(&addresses, 0).await, Some(1));
        assert_eq!((next_after(&addresses, 179).await, asked.load(Ordering::Relaxed)), (Some(1), 0));
        assert_eq!((next_after(&addresses, 2).await, asked.load(Ordering::Relaxed)), (Some(1), 1));
        assert_eq!((next_after(&addresses, 181).await, asked.load(Ordering::Relaxed)), (Some(0), 2));
        addresses.answered(0);
        next_after(&addresses, 10_000).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert!(begun.elapsed() > Duration::from_secs(11_000));
        task.abort();
    }
}
