//! Limits the concurrent queries of one token, so that one viewer cannot block the database for the others.
//!
//! The others of that token wait in their order. Sessions count with the token that opened them, or each
//! new session would be a new share. A query ends and gives its place back when its client has gone: the
//! server drops the request of a closed connection, and a search ends between two slices.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::TokenId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::QueryLimits;
use crate::telemetry::Telemetry;

/// Queries of one token that run or wait. A dashboard sends some twenty at once; more of them would wait
/// longer than a client does.
const MAX_PER_TOKEN: usize = 100;

/// A token has too many queries at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_PER_TOKEN} queries of this token are already running or waiting")]
pub(crate) struct TooManyQueries;

/// The queries of every token.
#[derive(Debug)]
pub(crate) struct QueryShares {
    /// `None`: no limit.
    per_token: Option<usize>,
    /// Only tokens with queries: their number is bounded by the connections.
    shares: Mutex<HashMap<TokenId, Share>>,
    telemetry: Arc<Telemetry>,
}

#[derive(Debug)]
struct Share {
    turns: Arc<Semaphore>,
    /// That run or wait.
    queries: usize,
}

/// A query that runs; dropping it lets the next one of its token run.
#[derive(Debug)]
pub(crate) struct QueryPermit {
    _turn: Option<OwnedSemaphorePermit>,
    _running: Running,
    _place: Place,
}

/// A place among the queries of a token.
#[derive(Debug)]
struct Place {
    shares: Arc<QueryShares>,
    token: TokenId,
}

/// Counts as running.
#[derive(Debug)]
struct Running(Arc<Telemetry>);

impl QueryShares {
    pub(crate) fn new(limits: QueryLimits, telemetry: Arc<Telemetry>) -> Self {
        let per_token = (limits.per_token > 0).then_some(limits.per_token as usize);
        QueryShares { per_token, shares: Mutex::default(), telemetry }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenId, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a query of this token may run.
    ///
    /// # Errors
    ///
    /// When too many of them wait already.
    pub(crate) async fn enter(self: &Arc<Self>, token: TokenId) -> Result<QueryPermit, TooManyQueries> {
        let turns = {
            let mut shares = self.lock();
            let turns = self.per_token.unwrap_or(Semaphore::MAX_PERMITS);
            let share =
                shares.entry(token).or_insert_with(|| Share { turns: Arc::new(Semaphore::new(turns)), queries: 0 });
            if self.per_token.is_some() && share.queries >= MAX_PER_TOKEN {
                self.telemetry.queries_refused.inc();
                return Err(TooManyQueries);
            }
            share.queries += 1;
            Arc::clone(&share.turns)
        };
        let place = Place { shares: Arc::clone(self), token };
        // It is never closed.
        let turn = turns.acquire_owned().await.ok();
        self.telemetry.queries_running.inc();
        Ok(QueryPermit { _turn: turn, _running: Running(Arc::clone(&self.telemetry)), _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get_mut(&self.token) {
            share.queries -= 1;
            if share.queries == 0 {
                shares.remove(&self.token);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.queries_running.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn shares(per_token: u32) -> Arc<QueryShares> {
        Arc::new(QueryShares::new(QueryLimits { per_token }, Arc::new(Telemetry::new())))
    }

    fn token() -> TokenId {
        TokenId(uuid::Uuid::now_v7())
    }

    #[tokio::test]
    async fn queries_of_one_token_wait_and_those_of_another_run() {
        let (shares, one) = (shares(2), token());
        let first = shares.enter(one).await.unwrap();
        let _second = shares.enter(one).await.unwrap();
        let mut third = Box::pin(shares.enter(one));
        assert!((&mut third).now_or_never().is_none());
        let _other = shares.enter(token()).now_or_never().expect("another token does not wait").unwrap();
        assert_eq!(shares.telemetry.queries_running.get(), 3);
        drop(first);
        drop(third.await.unwrap());
        assert_eq!(shares.telemetry.queries_running.get(), 2);
    }

    #[tokio::test]
    async fn waiting_queries_are_bounded_and_leave_nothing() {
        let (shares, one) = (shares(1), token());
        let running = shares.enter(one).await.unwrap();
        let mut waiting: Vec<_> = (1..MAX_PER_TOKEN).map(|_| Box::pin(shares.enter(one))).collect();
        assert!(waiting.iter_mut().all(|query| query.now_or_never().is_none()));
        assert_eq!(shares.enter(one).await.unwrap_err(), TooManyQueries);
        assert_eq!(shares.telemetry.queries_refused.get(), 1);
        drop((waiting, running));
        assert!(shares.lock().is_empty());
        assert_eq!(shares.telemetry.queries_running.get(), 0);
    }

    #[tokio::test]
    async fn queries_without_a_limit_all_run() {
        let (shares, one) = (shares(0), token());
        let mut all = Vec::new();
        for _ in 0..2 * MAX_PER_TOKEN {
            all.push(shares.enter(one).await.unwrap());
        }
        drop(all);
        assert!(shares.lock().is_empty());
    }
}
