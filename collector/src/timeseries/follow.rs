//! The time series of a collector that does not lead: it takes over what the leader commits, seals and flushes, and so
//! answers queries of the running minute by itself.
//!
//! Chunks depend on nothing but the records in them. So a process that seals at the same record as the leader has the
//! same chunks under the same numbers, and only has to learn which of them are written. Rows that are read may be of a
//! chunk that is not sealed here yet: the query waits for it, else its events would count twice.

use tokio::time::Duration;

use super::{TimeSeries, WalRecord};
use crate::model::NodeKey;
use crate::store::{IngestSnapshot, StoreError};

/// Longest wait for what the leader has flushed. It comes within milliseconds; after a cut the database is read again.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// A reason why an entry does not continue what is here: everything has to be loaded again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// Records are missing before this one.
    #[error("record {found} follows record {last}")]
    Record { last: i64, found: i64 },
    /// The leader has sealed at a record that is not the last one here.
    #[error("the leader has sealed up to record {to}, the last one here is {last}")]
    Seal { last: i64, to: i64 },
    /// Another chunk is the next one.
    #[error("chunk {0} is not the next one")]
    Chunk(u64),
    /// The record cannot be read.
    #[error("a record cannot be read")]
    Unreadable(#[source] StoreError),
}

impl TimeSeries {
    /// Loads the state of the database under a leader that has sealed the records up to `sealed_to`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or a record of the write-ahead log is damaged.
    pub(crate) async fn load_behind_leader(&self, sealed_to: i64) -> Result<IngestSnapshot, StoreError> {
        let snapshot = self.load_sealed(sealed_to).await;
        self.followed.notify_waiters();
        snapshot
    }

    /// Takes over what the leader has committed: the record of the write-ahead log, packed, and nodes that were removed.
    /// What is known already is skipped.
    ///
    /// # Errors
    ///
    /// When records before it are missing, or it cannot be read.
    pub(crate) fn follow_commit(
        &self,
        record: Option<(i64, &[u8])>,
        head_seq: u64,
        removed: impl Iterator<Item = NodeKey>,
    ) -> Result<(), FollowError> {
        let unpacked = match record {
            Some((id, body)) if id > self.lock().last_record() => {
                Some((id, body.len() as u64, WalRecord::unpack(body).map_err(FollowError::Unreadable)?))
            }
            _ => None,
        };
        let mut memtable = self.lock();
        if let Some((id, bytes, record)) = unpacked {
            let last = memtable.last_record();
            if id != last + 1 {
                return Err(FollowError::Record { last, found: id });
            }
            memtable.note_record(id, bytes, record);
        }
        memtable.head_seq = memtable.head_seq.max(head_seq);
        removed.for_each(|node| memtable.forget_node(node.0));
        self.note_fill(&memtable);
        Ok(())
    }

    /// Seals at the same record as the leader, when it has written everything before and `written` was the last chunk.
    ///
    /// # Errors
    ///
    /// When that is not the last record here.
    pub(crate) fn follow_seal(&self, to: i64, written: u64) -> Result<(), FollowError> {
        let mut memtable = self.lock();
        if to > memtable.sealed_through() {
            let last = memtable.last_record();
            if last != to {
                return Err(FollowError::Seal { last, to });
            }
            memtable.skip_to(written);
            memtable.seal();
        }
        drop(memtable);
        self.followed.notify_waiters();
        Ok(())
    }

    /// The leader has written a chunk.
    ///
    /// # Errors
    ///
    /// When another chunk is the next one here.
    pub(crate) fn follow_flush(&self, number: u64) -> Result<(), FollowError> {
        let mut memtable = self.lock();
        if number <= memtable.written() {
            return Ok(());
        }
        let next = memtable.next_chunk().filter(|chunk| chunk.number == number).cloned();
        let next = next.ok_or(FollowError::Chunk(number))?;
        memtable.note_written(&next);
        self.note_fill(&memtable);
        Ok(())
    }

    /// The leader has removed expired rows: sums that are kept of them go, too.
    pub(crate) fn follow_expiry(&self, minutes_before: i64) {
        self.lock().hours.drop_before(minutes_before);
    }

    /// Waits until the chunk up to which rows were read is known here. At the leader it always is.
    pub(super) async fn catch_up(&self, flushes: u64) -> Result<(), StoreError> {
        let known = async {
            loop {
                let followed = self.followed.notified();
                if self.lock().knows_chunk(flushes) {
                    return;
                }
                followed.await;
            }
        };
        tokio::time::timeout(CATCH_UP_TIMEOUT, known).await.map_err(|_| StoreError::TimedOut)
    }
}
