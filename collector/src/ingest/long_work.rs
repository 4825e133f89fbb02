//! Long bodies are opened and read beside the threads that serve requests, a bounded number at a time, and
//! one of a node at a time: a node that sends many of them waits for itself, and not the others for it.
//!
//! A node whose body was mostly refused waits longer before its next long one, in proportion to what it
//! cost. Short bodies take a millisecond and are read where they arrive.
//!
//! What belongs to a turn moves into the work: a client that closes its connection does not end its turn
//! before the work ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::model::NodeKey;

/// Long bodies of one node that may wait. An agent sends one request at a time; a few more come from
/// requests that it has given up.
const MAX_WAITING_PER_NODE: usize = 4;

/// How many times as long as a mostly refused body took its node waits: such a node has a tenth of one
/// thread.
const PENALTY_FACTOR: u32 = 9;

/// A node waits for this time at most, so that one slow moment of the machine is not a minute for it.
const MAX_PENALTY: Duration = Duration::from_secs(5);

/// Nodes that are remembered before those that owe nothing are removed.
const REMEMBERED_NODES: usize = 1_024;

/// A reason why long work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LongWorkError {
    /// The node has as many requests waiting as it may.
    #[error("{MAX_WAITING_PER_NODE} long bodies of this node are already waiting; send one at a time")]
    TooMany,
    /// The collector is stopping.
    #[error("the collector is stopping")]
    Stopping,
}

/// Whether a body was worth its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Useful,
    /// Mostly refused.
    Useless,
}

/// Turns of nodes, and threads for all.
pub(crate) struct LongWork {
    threads: Arc<Semaphore>,
    nodes: Mutex<HashMap<NodeKey, Arc<NodeTurn>>>,
}

#[derive(Debug)]
struct NodeTurn {
    /// Requests of the node that wait or are being read.
    entered: AtomicUsize,
    /// Held by the one that is being read; when the node may be read again.
    next: Arc<tokio::sync::Mutex<Instant>>,
}

/// A request that has entered.
struct Entered(Arc<NodeTurn>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.entered.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LongWork {
    /// With half of the processors, so that the other half serves requests and writes.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads((processors / 2).max(1))
    }

    fn with_threads(threads: usize) -> Self {
        LongWork { threads: Arc::new(Semaphore::new(threads)), nodes: Mutex::default() }
    }

    /// Does work of a node in its turn.
    ///
    /// # Errors
    ///
    /// When too much of the node waits, or the collector is stopping.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        node: NodeKey,
        work: impl FnOnce() -> (T, Verdict) + Send + 'static,
    ) -> Result<T, LongWorkError> {
        let entered = self.enter(node)?;
        let mut next = Arc::clone(&entered.0.next).lock_owned().await;
        tokio::time::sleep_until(*next).await;
        let thread = Arc::clone(&self.threads).acquire_owned().await.expect("this semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let begin = Instant::now();
            let (value, verdict) = work();
            let end = Instant::now();
            if verdict == Verdict::Useless {
                *next = end + ((end - begin) * PENALTY_FACTOR).min(MAX_PENALTY);
            }
            drop((next, thread, entered));
            value
        });
        done.await.map_err(|_| LongWorkError::Stopping)
    }

    fn enter(&self, node: NodeKey) -> Result<Entered, LongWorkError> {
        let mut nodes = self.lock();
        if nodes.len() >= REMEMBERED_NODES {
            let now = Instant::now();
            nodes.retain(|_, turn| !turn.is_idle(now));
        }
        let turn = nodes.entry(node).or_insert_with(|| {
            let next = Arc::new(tokio::sync::Mutex::new(Instant::now()));
            Arc::new(NodeTurn { entered: AtomicUsize::new(0), next })
        });
        // One is being read, the others wait.
        if turn.entered.load(Ordering::Relaxed) > MAX_WAITING_PER_NODE {
            return Err(LongWorkError::TooMany);
        }
        turn.entered.fetch_add(1, Ordering::Relaxed);
        Ok(Entered(Arc::clone(turn)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeKey, Arc<NodeTurn>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeTurn {
    fn is_idle(&self, now: Instant) -> bool {
        self.entered.load(Ordering::Relaxed) == 0 && self.next.try_lock().is_ok_and(|next| *next <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const ATTACKER: NodeKey = NodeKey(1);
    const GOOD: NodeKey = NodeKey(2);

    #[tokio::test]
    async fn a_node_waits_for_itself_and_others_do_not() {
        let work = Arc::new(LongWork::with_threads(2));
        let (release, held) = mpsc::sync_channel::<()>(MAX_WAITING_PER_NODE + 1);
        let held = Arc::new(Mutex::new(held));
        let mut attacks = Vec::new();
        for _ in 0..=MAX_WAITING_PER_NODE {
            let (work, held) = (Arc::clone(&work), Arc::clone(&held));
            attacks.push(tokio::spawn(async move {
                let wait = move || (held.lock().unwrap().recv().unwrap(), Verdict::Useful);
                work.run(ATTACKER, wait).await
            }));
        }
        while work.lock().get(&ATTACKER).is_none_or(|turn| turn.entered.load(Ordering::Relaxed) <= MAX_WAITING_PER_NODE)
        {
            tokio::task::yield_now().await;
        }
        assert_eq!(work.run(ATTACKER, || ((), Verdict::Useful)).await, Err(LongWorkError::TooMany));
        assert_eq!(work.run(GOOD, || (7, Verdict::Useful)).await, Ok(7), "the second thread is not the attacker's");
        for _ in 0..=MAX_WAITING_PER_NODE {
            release.send(()).unwrap();
        }
        for attack in attacks {
            attack.await.unwrap().unwrap();
        }
        assert!(work.lock()[&ATTACKER].is_idle(Instant::now()));
    }

    #[tokio::test]
    async fn a_node_that_sends_useless_bodies_waits_in_proportion() {
        let work = LongWork::with_threads(1);
        work.run(ATTACKER, || (std::hint::black_box(vec![0_u8; 1 << 20]), Verdict::Useless)).await.unwrap();
        let next = *work.lock()[&ATTACKER].next.try_lock().unwrap();
        assert!(next <= Instant::now() + MAX_PENALTY);
        work.run(GOOD, || ((), Verdict::Useful)).await.unwrap();
        let good = *work.lock()[&GOOD].next.try_lock().unwrap();
        assert!(good <= Instant::now(), "a good node does not wait");
    }
}
