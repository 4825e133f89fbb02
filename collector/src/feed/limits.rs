//! How many streams there may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::TokenId;

/// Streams in all; each costs a socket and some kilobytes.
const MAX_STREAMS: usize = 20_000;

/// Streams of one token: a dashboard's tabs and its reconnects that are not noticed yet.
const MAX_STREAMS_PER_TOKEN: usize = 50;

/// One stream too many.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many open streams, in all or of this token")]
pub(crate) struct Overloaded;

/// Open streams by token.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_token: Mutex<HashMap<TokenId, usize>>,
}

/// One open stream; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    connections: Arc<Connections>,
    token: TokenId,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<TokenId, usize>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more stream of a token.
    pub(crate) fn enter(self: &Arc<Self>, token: TokenId) -> Result<ConnectionGuard, Overloaded> {
        let mut by_token = self.lock();
        let all: usize = by_token.values().sum();
        let own = by_token.get(&token).copied().unwrap_or(0);
        if all >= MAX_STREAMS || own >= MAX_STREAMS_PER_TOKEN {
            return Err(Overloaded);
        }
        by_token.insert(token, own + 1);
        Ok(ConnectionGuard { connections: Arc::clone(self), token })
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut by_token = self.connections.lock();
        if let Some(own) = by_token.get_mut(&self.token) {
            *own -= 1;
            if *own == 0 {
                by_token.remove(&self.token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_fifty_streams_and_a_closed_one_makes_room() {
        let connections = Arc::new(Connections::default());
        let token = TokenId(uuid::Uuid::now_v7());
        let mut open: Vec<_> = (0..MAX_STREAMS_PER_TOKEN).map(|_| connections.enter(token).unwrap()).collect();
        assert!(connections.enter(token).is_err());
        assert!(connections.enter(TokenId(uuid::Uuid::now_v7())).is_ok(), "another token is not concerned");
        open.pop();
        assert!(connections.enter(token).is_ok());
        drop(open);
        assert!(connections.lock().is_empty(), "nothing stays of closed streams");
    }
}
