//! A follower's connection to the leader: what it hands in, and the answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::HashMap;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::wire::{AdministerFailure, SubmitFailure, ToLeader, message};
use crate::ingest::committer::{AdministerError, Committed, NodeAction, SubmitError};
use crate::model::NodeKey;
use crate::model::report::Submission;

/// Messages that wait for the connection: as many requests as wait for a committer.
pub(super) const QUEUE_LEN: usize = 1_024;

/// Requests whose answers are awaited.
#[derive(Debug)]
enum Pending {
    Submission(oneshot::Sender<Result<Committed, SubmitError>>),
    Administration(oneshot::Sender<Result<Vec<String>, AdministerError>>),
}

/// The way to a leader in another process.
#[derive(Debug)]
pub(crate) struct Link {
    messages: mpsc::Sender<Bytes>,
    pending: Mutex<HashMap<u64, Pending>>,
    next: AtomicU64,
    /// Cancelled when the connection has ended: what was handed in may or may not be committed.
    pub(super) ended: CancellationToken,
}

impl Link {
    /// A link, and the messages to send over the connection.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (messages, receiver) = mpsc::channel(QUEUE_LEN);
        let (pending, next, ended) = (Mutex::default(), AtomicU64::new(0), CancellationToken::new());
        (Arc::new(Link { messages, pending, next, ended }), receiver)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a submission to the leader.
    pub(super) async fn submit(&self, submission: &Submission) -> Result<Committed, SubmitError> {
        let (answer, receiver) = oneshot::channel();
        let request = self.expect(Pending::Submission(answer));
        let _forget = Forget(self, request);
        match self.messages.try_send(message(&ToLeader::Submit(request, submission))) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(SubmitError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(SubmitError::NoLeader),
        }
        tokio::select! {
            answer = receiver => answer.unwrap_or(Err(SubmitError::NoLeader)),
            () = self.ended.cancelled() => Err(SubmitError::NoLeader),
        }
    }

    /// The same for what an administrator does.
    pub(super) async fn administer(&self, node: NodeKey, action: NodeAction) -> Result<Vec<String>, AdministerError> {
        let (answer, receiver) = oneshot::channel();
        let request = self.expect(Pending::Administration(answer));
        let _forget = Forget(self, request);
        let sent = self.messages.send(message(&ToLeader::Administer(request, node, action))).await;
        sent.map_err(|_| AdministerError::NoLeader)?;
        tokio::select! {
            answer = receiver => answer.unwrap_or(Err(AdministerError::NoLeader)),
            () = self.ended.cancelled() => Err(AdministerError::NoLeader),
        }
    }

    /// Rollouts may have something to do. The leader also looks by itself, so that one that is lost costs seconds.
    pub(super) fn wake_rollouts(&self) {
        let _ = self.messages.try_send(message(&ToLeader::WakeRollouts));
    }

    /// Says whether samples of all nodes are wanted. False when that could not be sent.
    pub(super) fn want_samples(&self, wanted: bool) -> bool {
        self.messages.try_send(message(&ToLeader::WantSamples(wanted))).is_ok()
    }

    /// Whether the connection is there.
    pub(super) fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Requests whose answers are awaited.
    pub(super) fn waiting(&self) -> usize {
        self.pending().len()
    }

    /// Takes the answer to a submission.
    pub(super) fn submitted(&self, request: u64, result: Result<Committed, SubmitFailure>) {
        // An agent that has gone does not wait for it any more.
        if let Some(Pending::Submission(answer)) = self.pending().remove(&request) {
            let _ = answer.send(result.map_err(SubmitError::from));
        }
    }

    /// The same for what an administrator does.
    pub(super) fn administered(&self, request: u64, result: Result<Vec<String>, AdministerFailure>) {
        if let Some(Pending::Administration(answer)) = self.pending().remove(&request) {
            let _ = answer.send(result.map_err(AdministerError::from));
        }
    }

    fn expect(&self, pending: Pending) -> u64 {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        self.pending().insert(request, pending);
        request
    }
}

/// Forgets a request when nothing waits for its answer any more.
struct Forget<'a>(&'a Link, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.pending().remove(&self.1);
    }
}
