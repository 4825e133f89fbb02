//! Limits of the number of streams, and their lag.
//!
//! The retry times that a refused client receives are random: 1 to 3 s when too many come at once, 10 to
//! 20 s when all places are taken. Equal times would bring all of them back together. The goodbyes of a
//! shutdown are spread over 1 ms per stream, at most 4 s, and events continue until then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use systole_shared::TokenId;
use tokio::time::Instant;

use crate::config::StreamLimits;

/// Over how long new streams are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The cursor of a stream that is nowhere yet.
const NOWHERE: u64 = u64::MAX;

/// One stream too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overloaded {
    #[error("there are too many open streams")]
    All,
    #[error("this token has too many open streams")]
    Token,
    #[error("too many streams are opened at a time")]
    Rate,
}

impl Overloaded {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Overloaded::All => "all",
            Overloaded::Token => "token",
            Overloaded::Rate => "rate",
        }
    }

    /// The wait before the next attempt, in milliseconds: short after too many new streams at a time,
    /// longer when all streams are in use.
    pub(crate) fn retry_ms(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Overloaded::Rate => 1_000..=3_000,
            Overloaded::All | Overloaded::Token => 10_000..=20_000,
        }
    }
}

/// Open streams.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: StreamLimits,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    by_token: HashMap<TokenId, usize>,
    cursors: HashMap<u64, Arc<AtomicU64>>,
    next_number: u64,
    window_began: Instant,
    window_count: u32,
}

/// One open stream; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    connections: Arc<Connections>,
    token: TokenId,
    number: u64,
    cursor: Arc<AtomicU64>,
}

impl ConnectionGuard {
    /// Records the position of the stream.
    pub(super) fn note_cursor(&self, seq: u64) {
        self.cursor.store(seq, Ordering::Relaxed);
    }
}

impl Connections {
    pub(crate) fn new(limits: StreamLimits, now: Instant) -> Self {
        let open = Open {
            by_token: HashMap::new(),
            cursors: HashMap::new(),
            next_number: 0,
            window_began: now,
            window_count: 0,
        };
        Connections { limits, open: Mutex::new(open) }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more stream of a token.
    ///
    /// # Errors
    ///
    /// When there are too many streams.
    pub(crate) fn admit(self: &Arc<Self>, token: TokenId, now: Instant) -> Result<ConnectionGuard, Overloaded> {
        let mut open = self.lock();
        let own = open.by_token.get(&token).copied().unwrap_or(0);
        if open.cursors.len() >= self.limits.streams {
            return Err(Overloaded::All);
        }
        if own >= self.limits.streams_per_token {
            return Err(Overloaded::Token);
        }
        if now >= open.window_began + WINDOW {
            open.window_began = now;
            open.window_count = 0;
        }
        if open.window_count >= self.limits.new_per_second {
            return Err(Overloaded::Rate);
        }
        open.window_count += 1;
        open.by_token.insert(token, own + 1);
        let number = open.next_number;
        open.next_number += 1;
        let cursor = Arc::new(AtomicU64::new(NOWHERE));
        open.cursors.insert(number, Arc::clone(&cursor));
        Ok(ConnectionGuard { connections: Arc::clone(self), token, number, cursor })
    }

    /// Open streams.
    pub(crate) fn count(&self) -> usize {
        self.lock().cursors.len()
    }

    /// The position of the slowest stream.
    pub(crate) fn slowest(&self) -> Option<u64> {
        let open = self.lock();
        open.cursors.values().map(|cursor| cursor.load(Ordering::Relaxed)).filter(|seq| *seq != NOWHERE).min()
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.cursors.remove(&self.number);
        if let Some(own) = open.by_token.get_mut(&self.token) {
            *own -= 1;
            if *own == 0 {
                open.by_token.remove(&self.token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StreamLimits = StreamLimits { streams: 100, streams_per_token: 50, new_per_second: 80 };

    fn token() -> TokenId {
        TokenId(uuid::Uuid::now_v7())
    }

    #[test]
    fn token_streams_are_bounded_until_one_closes() {
        let now = Instant::now();
        let connections = Arc::new(Connections::new(LIMITS, now));
        let one = token();
        let mut open: Vec<_> = (0..50).map(|_| connections.admit(one, now).unwrap()).collect();
        assert_eq!(connections.admit(one, now).unwrap_err(), Overloaded::Token);
        assert!(connections.admit(token(), now).is_ok(), "another token is not concerned");
        open.pop();
        open.push(connections.admit(one, now).unwrap());
        drop(open);
        assert!(connections.lock().by_token.is_empty(), "nothing stays of closed streams");
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn new_streams_are_bounded_by_rate_and_total() {
        let now = Instant::now();
        let connections = Arc::new(Connections::new(LIMITS, now));
        let mut open: Vec<_> = (0..80).map(|_| connections.admit(token(), now).unwrap()).collect();
        assert_eq!(connections.admit(token(), now).unwrap_err(), Overloaded::Rate);
        let later = now + WINDOW;
        open.extend((0..20).map(|_| connections.admit(token(), later).unwrap()));
        assert_eq!(connections.admit(token(), later).unwrap_err(), Overloaded::All);
    }

    #[test]
    fn slowest_subscriber_has_the_lowest_position() {
        let now = Instant::now();
        let connections = Arc::new(Connections::new(LIMITS, now));
        let guards: Vec<_> = (0..3).map(|_| connections.admit(token(), now).unwrap()).collect();
        assert_eq!(connections.slowest(), None, "no stream has a position yet");
        guards[0].note_cursor(7);
        guards[2].note_cursor(5);
        assert_eq!(connections.slowest(), Some(5));
    }
}
