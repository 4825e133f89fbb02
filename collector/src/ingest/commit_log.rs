//! What the committer has done, for collectors that follow it: the same events in the same order, and what their memory
//! needs to answer queries by itself.
//!
//! An entry goes into a bounded queue for each follower, so that none of them delays a report. A follower whose queue is full is
//! cut off; it connects again and loads the database. Without a follower nothing is made.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use systole_shared::NodeStatus;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::committer::{AdministerError, Committed, SubmitError};
use crate::model::directory::NodeEntry;
use crate::model::{NodeKey, PendingEvent, PendingSample};

/// Entries and answers that wait for a follower: some seconds of a busy fleet.
const QUEUE_LEN: usize = 8_192;

/// Bytes of entries that wait for a follower, about.
const QUEUE_BYTES: usize = 128 << 20;

/// A collector that follows, while it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct FollowerId(pub u64);

/// What the committer has done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Entry {
    Commit(Box<CommitEntry>),
    /// The time series was sealed up to this record, when the chunk of this number was the last one written.
    Sealed(i64, u64),
    /// The chunk of this number was written.
    Flushed(u64),
    /// Minutes before this one were removed.
    Expired(i64),
    /// Generations of desired states that are new.
    Generations(Vec<(NodeKey, u64)>),
    /// The leader works, and has nothing new.
    Alive,
    /// The leader has given its role up.
    Resigned,
}

/// A transaction.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CommitEntry {
    /// Highest sequence number after it.
    pub head_seq: u64,
    /// The record of the write-ahead log, packed.
    pub record: Option<(i64, Vec<u8>)>,
    /// Its events, without samples.
    pub events: Vec<PendingEvent>,
    /// Nodes that reported, with their states after it.
    pub heard: Vec<(NodeKey, NodeStatus)>,
    /// Nodes whose state changed without a report.
    pub marked: Vec<(NodeKey, NodeStatus)>,
    /// Nodes that are new, or whose labels or maintenance have changed.
    pub listed: Vec<NodeEntry>,
    /// Nodes that were removed.
    pub removed: Vec<(NodeKey, systole_shared::NodeId)>,
}

/// The samples of a transaction, by the follower that heard the node; `None`: this collector did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    pub events: Vec<(Option<FollowerId>, PendingEvent)>,
    pub recent: Vec<(Option<FollowerId>, PendingSample)>,
}

/// What a follower receives, in this order.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// Samples of the transaction that comes next.
    Samples(Arc<Samples>),
    Entry(Arc<Entry>),
    /// The answers to what it handed in, each under the number of its request.
    Submitted(u64, Result<Committed, SubmitError>),
    Administered(u64, Result<Vec<String>, AdministerError>),
}

/// The committer's entries, for those that follow.
#[derive(Debug, Default)]
pub(crate) struct CommitLog {
    followers: RwLock<Vec<Queue>>,
    has_followers: AtomicBool,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Queue {
    id: FollowerId,
    sender: mpsc::Sender<Delivered>,
    bytes: Arc<AtomicUsize>,
    /// Cancelled with the queue: answers may still come, but no entry.
    _cut: DropGuard,
}

/// The follower's end of its queue. Dropping it ends the following.
#[derive(Debug)]
pub(crate) struct Following {
    log: Arc<CommitLog>,
    pub id: FollowerId,
    receiver: mpsc::Receiver<Delivered>,
    bytes: Arc<AtomicUsize>,
    cut: CancellationToken,
}

impl CommitLog {
    /// Follows from now on. Answers go into the same queue by the sender.
    pub(crate) fn follow(self: &Arc<Self>) -> (Following, mpsc::Sender<Delivered>) {
        let (sender, receiver) = mpsc::channel(QUEUE_LEN);
        let id = FollowerId(self.next.fetch_add(1, Ordering::Relaxed) as u64 + 1);
        let bytes = Arc::new(AtomicUsize::new(0));
        let cut = CancellationToken::new();
        let queue = Queue { id, sender: sender.clone(), bytes: Arc::clone(&bytes), _cut: cut.clone().drop_guard() };
        let mut followers = self.followers.write().unwrap_or_else(PoisonError::into_inner);
        followers.push(queue);
        self.has_followers.store(true, Ordering::Release);
        drop(followers);
        (Following { log: Arc::clone(self), id, receiver, bytes, cut }, sender)
    }

    /// Whether entries are read.
    pub(crate) fn has_followers(&self) -> bool {
        self.has_followers.load(Ordering::Acquire)
    }

    /// Followers at the moment.
    pub(crate) fn count(&self) -> usize {
        self.followers.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Hands out an entry.
    pub(crate) fn publish(&self, entry: Entry) {
        if self.has_followers() {
            let bytes = entry.size();
            let entry = Arc::new(entry);
            self.hand_out(bytes, || Delivered::Entry(Arc::clone(&entry)));
        }
    }

    /// Hands out samples, then the transaction that they belong to.
    pub(crate) fn publish_commit(&self, samples: Samples, entry: CommitEntry) {
        if !samples.events.is_empty() || !samples.recent.is_empty() {
            let samples = Arc::new(samples);
            self.hand_out(0, || Delivered::Samples(Arc::clone(&samples)));
        }
        self.publish(Entry::Commit(Box::new(entry)));
    }

    /// Ends the following of all: what comes next does not continue what they have.
    pub(crate) fn cut_off(&self) {
        self.followers.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.has_followers.store(false, Ordering::Release);
    }

    fn hand_out(&self, bytes: usize, item: impl Fn() -> Delivered) {
        let mut is_behind = false;
        {
            let followers = self.followers.read().unwrap_or_else(PoisonError::into_inner);
            for queue in followers.iter() {
                let waiting = queue.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
                is_behind |= waiting > QUEUE_BYTES || queue.sender.try_send(item()).is_err();
            }
        }
        if is_behind {
            self.drop_those_behind();
        }
    }

    fn drop_those_behind(&self) {
        let mut followers = self.followers.write().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|queue| {
            let is_kept = queue.bytes.load(Ordering::Relaxed) <= QUEUE_BYTES && queue.sender.capacity() > 0;
            if !is_kept && !queue.sender.is_closed() {
                tracing::warn!(
                    follower = queue.id.0,
                    "a collector that follows is too slow; it has to load the database again"
                );
            }
            is_kept && !queue.sender.is_closed()
        });
        self.has_followers.store(!followers.is_empty(), Ordering::Release);
    }
}

impl Following {
    /// Takes what waits, at least one item; false when the following has ended and nothing waits.
    pub(crate) async fn take(&mut self, items: &mut Vec<Delivered>, limit: usize) -> bool {
        let count = tokio::select! {
            biased;
            count = self.receiver.recv_many(items, limit) => count,
            () = self.cut.cancelled() => 0,
        };
        let taken: usize = items[items.len() - count..].iter().map(Delivered::size).sum();
        self.bytes.fetch_sub(taken, Ordering::Relaxed);
        count > 0
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followers = self.log.followers.write().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|queue| queue.id != self.id);
        self.log.has_followers.store(!followers.is_empty(), Ordering::Release);
    }
}

impl Delivered {
    fn size(&self) -> usize {
        match self {
            Delivered::Entry(entry) => entry.size(),
            Delivered::Samples(_) | Delivered::Submitted(..) | Delivered::Administered(..) => 0,
        }
    }
}

impl Entry {
    /// About how many bytes it takes.
    fn size(&self) -> usize {
        /// What an event takes beside its text.
        const EVENT_BYTES: usize = 128;
        match self {
            Entry::Commit(commit) => {
                let events: usize = commit.events.iter().map(|event| EVENT_BYTES + event.payload.size()).sum();
                commit.record.as_ref().map_or(0, |(_, body)| body.len()) + events
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(head_seq: u64, bytes: usize) -> CommitEntry {
        CommitEntry { head_seq, record: Some((1, vec![0; bytes])), ..CommitEntry::default() }
    }

    async fn heads(following: &mut Following) -> Option<Vec<u64>> {
        let mut items = Vec::new();
        let is_open = following.take(&mut items, 100).await;
        let head = |item: &Delivered| match item {
            Delivered::Entry(entry) => match &**entry {
                Entry::Commit(commit) => commit.head_seq,
                _ => 0,
            },
            _ => 0,
        };
        is_open.then(|| items.iter().map(head).collect())
    }

    #[tokio::test]
    async fn followers_receive_what_comes_after_they_joined() {
        let log = Arc::new(CommitLog::default());
        log.publish(Entry::Commit(Box::new(commit(1, 0))));
        let (mut early, _) = log.follow();
        log.publish(Entry::Commit(Box::new(commit(2, 0))));
        let (mut late, _) = log.follow();
        log.publish_commit(Samples::default(), commit(3, 0));
        assert_eq!(heads(&mut early).await, Some(vec![2, 3]));
        assert_eq!(heads(&mut late).await, Some(vec![3]));
        drop(early);
        assert_eq!((log.has_followers(), log.count()), (true, 1));
        drop(late);
        assert!(!log.has_followers());
    }

    #[tokio::test]
    async fn follower_that_is_too_slow_is_cut_off_alone() {
        let log = Arc::new(CommitLog::default());
        // Its connection still holds a sender for answers.
        let (mut slow, _sender) = log.follow();
        let (mut quick, _) = log.follow();
        let big = QUEUE_BYTES / 2 + 1;
        log.publish(Entry::Commit(Box::new(commit(1, big))));
        assert_eq!(heads(&mut quick).await, Some(vec![1]));
        log.publish(Entry::Commit(Box::new(commit(2, big))));
        assert_eq!(heads(&mut quick).await, Some(vec![2]));
        assert_eq!(log.count(), 1, "only the quick one is left");
        assert_eq!(heads(&mut slow).await, Some(vec![1]), "what was in its queue");
        assert_eq!(heads(&mut slow).await, None);
    }
}
