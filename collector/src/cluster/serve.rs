//! The leader's side of a connection: entries and answers go out, submissions come in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use systole_shared::events::MetricUpdate;
use tokio::sync::mpsc;

use super::wire::{FORMAT, Reader, SampleFrame, ToLeader, Welcome, WireError, Writer};
use super::{Cluster, Route};
use crate::ingest::commit_log::{Delivered, FollowerId, Following, Samples};
use crate::ingest::committer::Committer;
use crate::model::PendingSample;
use crate::model::report::Submission;
use crate::timeseries::TimeSeries;

/// Entries that go into one write.
const WRITE_ITEMS: usize = 256;

/// Bytes of a write, about.
const WRITE_BYTES: usize = 256 << 10;

/// A follower that is connected.
#[derive(Debug)]
pub(crate) struct Session {
    answers: mpsc::Sender<Delivered>,
    /// Whether it wants samples of nodes that others hear.
    wants_samples: AtomicBool,
}

/// Why a collector cannot follow this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedFollower {
    /// It has to ask the database for the leader.
    #[error("this collector does not lead")]
    NotLeader,
    #[error("this collector speaks form {FORMAT} of the protocol between collectors, not {0}; upgrade the older one")]
    Format(u32),
}

/// A reason why the connection of a follower ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowerError {
    #[error("no collector follows under this number")]
    UnknownFollower,
    #[error("a message of a collector that follows cannot be read")]
    Wire(#[from] WireError),
    #[error("the connection of a collector that follows has ended")]
    Connection,
}

/// Everything a stream of entries holds.
struct Entries {
    cluster: Arc<Cluster>,
    following: Following,
    session: Arc<Session>,
    writer: Writer,
    items: Vec<Delivered>,
    left: VecDeque<Delivered>,
}

/// Lets a collector follow: its first frame is the welcome, then come the entries from now on.
///
/// # Errors
///
/// When this collector does not lead, or speaks another form.
pub(crate) fn follow(
    cluster: &Arc<Cluster>,
    timeseries: &TimeSeries,
    format: u32,
) -> Result<impl Stream<Item = Bytes> + use<>, RefusedFollower> {
    if format != FORMAT {
        return Err(RefusedFollower::Format(format));
    }
    if !matches!(&*cluster.route.borrow(), Route::Local(_)) {
        return Err(RefusedFollower::NotLeader);
    }
    let (following, answers) = cluster.commit_log.follow();
    let session = Arc::new(Session { answers, wants_samples: AtomicBool::new(false) });
    cluster.sessions().insert(following.id.0, Arc::clone(&session));
    let mut writer = Writer::default();
    writer.welcome(&Welcome {
        format: FORMAT,
        leader: cluster.id.clone(),
        term: cluster.term(),
        follower: following.id.0,
        // After the following has begun: a seal in between comes as an entry, too.
        sealed_to: timeseries.sealed_to(),
    });
    let entries =
        Entries { cluster: Arc::clone(cluster), following, session, writer, items: Vec::new(), left: VecDeque::new() };
    Ok(stream::unfold(entries, |mut entries| async { entries.next_write().await.map(|write| (write, entries)) }))
}

impl Entries {
    async fn next_write(&mut self) -> Option<Bytes> {
        while self.writer.len() == 0 {
            if self.left.is_empty() {
                if !self.following.take(&mut self.items, WRITE_ITEMS).await {
                    return None;
                }
                self.left.extend(self.items.drain(..));
            }
            while self.writer.len() < WRITE_BYTES
                && let Some(item) = self.left.pop_front()
            {
                self.encode(item);
            }
        }
        Some(self.writer.take())
    }

    fn encode(&mut self, item: Delivered) {
        match item {
            Delivered::Samples(samples) => {
                let wants_all = self.session.wants_samples.load(Ordering::Relaxed);
                let frame = samples_of(&samples, self.following.id, wants_all);
                if !frame.events.is_empty() || !frame.recent.is_empty() {
                    self.writer.samples(&frame);
                }
            }
            Delivered::Entry(entry) => self.writer.entry(&entry),
            Delivered::Submitted(request, result) => self.writer.submitted(request, result),
            Delivered::Administered(request, result) => self.writer.administered(request, result),
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.cluster.sessions().remove(&self.following.id.0);
    }
}

/// The samples that a follower gets: whole ones of nodes that it hears, of others without their components. Events of others
/// only if it wants them.
fn samples_of(samples: &Samples, follower: FollowerId, wants_all: bool) -> SampleFrame {
    let is_own = |heard_by: &Option<FollowerId>| *heard_by == Some(follower);
    let events = samples.events.iter().filter(|(heard_by, _)| wants_all || is_own(heard_by));
    let recent = samples.recent.iter().map(|(heard_by, sample)| match is_own(heard_by) {
        true => sample.clone(),
        false => PendingSample { node: sample.node, update: Arc::new(without_components(&sample.update)) },
    });
    SampleFrame { events: events.map(|(_, event)| event.clone()).collect(), recent: recent.collect() }
}

fn without_components(update: &MetricUpdate) -> MetricUpdate {
    MetricUpdate { pipeline_id: update.pipeline_id.clone(), components: Vec::new(), ..*update }
}

/// Takes what a follower hands in, until its connection ends.
///
/// # Errors
///
/// When the connection breaks or a message cannot be read.
pub(crate) async fn take_submissions<E>(
    cluster: &Cluster,
    follower: u64,
    wake_rollouts: &tokio::sync::Notify,
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<(), FollowerError> {
    let session = cluster.sessions().get(&follower).cloned().ok_or(FollowerError::UnknownFollower)?;
    let Route::Local(committer) = cluster.route.borrow().clone() else { return Err(FollowerError::UnknownFollower) };
    let mut reader = Reader::default();
    while let Some(bytes) = body.next().await {
        reader.push(&bytes.map_err(|_| FollowerError::Connection)?);
        while let Some(message) = reader.next_to_leader()? {
            match message {
                ToLeader::Submit(request, submission) => submit(&committer, &session, follower, request, submission),
                ToLeader::Administer(request, node, action) => {
                    let (committer, session) = (committer.clone(), Arc::clone(&session));
                    tokio::spawn(async move {
                        let result = committer.administer(node, action).await;
                        let _ = session.answers.send(Delivered::Administered(request, result)).await;
                    });
                }
                ToLeader::WakeRollouts => wake_rollouts.notify_one(),
                ToLeader::WantSamples(wanted) => session.wants_samples.store(wanted, Ordering::Relaxed),
            }
        }
    }
    Ok(())
}

fn submit(committer: &Committer, session: &Arc<Session>, follower: u64, request: u64, mut submission: Submission) {
    submission.heard_by = Some(follower);
    let (committer, session) = (committer.clone(), Arc::clone(session));
    // Ends with the committer's answer; the follower has a bound for what it hands in at once.
    tokio::spawn(async move {
        let result = committer.submit(submission).await;
        // After the entry of its transaction, which the committer has queued before it answered.
        let _ = session.answers.send(Delivered::Submitted(request, result)).await;
    });
}
