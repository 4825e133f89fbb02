//! Log lines of requests with a wrong token: one per address and minute.
//!
//! An agent with a revoked token tries every few seconds, and an attacker as fast as the network allows.
//! Neither may fill the log, and each must be seen.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between two lines of an address.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Addresses to remember: 64 KB. All others share one line.
const MAX_ADDRESSES: usize = 1_024;

/// Requests that were refused, by address; `None` is all those that are too many to remember.
#[derive(Debug, Default)]
pub(crate) struct RefusedLog {
    seen: Mutex<HashMap<Option<IpAddr>, Refused>>,
}

#[derive(Debug)]
struct Refused {
    logged_at: Instant,
    /// Requests after the line.
    more: u64,
}

impl RefusedLog {
    /// Logs a request that was refused with 401, unless its address had a line within the last minute.
    pub(crate) fn note(&self, address: Option<IpAddr>, path: &str) {
        if let Some(more) = self.due(address, Instant::now()) {
            let address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
            tracing::warn!(%address, path, refused_since_last_line = more, "request refused: its token is missing, unknown, revoked or expired");
        }
    }

    /// Whether there is a line for this request, and how many had none since the one before.
    fn due(&self, address: Option<IpAddr>, now: Instant) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = address;
        if !seen.contains_key(&key) && seen.len() >= MAX_ADDRESSES {
            seen.retain(|_, refused| now < refused.logged_at + LINE_EVERY);
            if seen.len() >= MAX_ADDRESSES {
                key = None;
            }
        }
        let Some(refused) = seen.get_mut(&key) else {
            seen.insert(key, Refused { logged_at: now, more: 0 });
            return Some(0);
        };
        if now < refused.logged_at + LINE_EVERY {
            refused.more += 1;
            return None;
        }
        refused.logged_at = now;
        Some(std::mem::take(&mut refused.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn address_has_one_line_a_minute() {
        let log = RefusedLog::default();
        let start = Instant::now();
        assert_eq!(log.due(address(1), start), Some(0));
        assert_eq!(log.due(address(2), start), Some(0), "each address has its own");
        for second in 1..60 {
            assert_eq!(log.due(address(1), start + Duration::from_secs(second)), None);
        }
        assert_eq!(log.due(address(1), start + Duration::from_secs(60)), Some(59));
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_cost_bounded_memory_and_lines() {
        let log = RefusedLog::default();
        let now = Instant::now();
        let lines = (0..100_000).filter(|number| log.due(address(*number), now).is_some()).count();
        assert_eq!(lines, MAX_ADDRESSES + 1);
        assert_eq!(log.seen.lock().unwrap().len(), MAX_ADDRESSES + 1);
        assert_eq!(log.due(address(200_000), now + LINE_EVERY), Some(0), "places come back");
    }
}
