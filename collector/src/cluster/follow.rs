//! Follows the leader: takes over what it has committed, in its order, and hands in what this collector hears.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use reqwest::{Body, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::link::{Link, QUEUE_LEN};
use super::peers::PeerError;
use super::pinned;
use super::role::Follower;
use super::wire::{FORMAT, FromLeader, Reader, SampleFrame, Welcome, WireError};
use super::{Cluster, Route};
use crate::ingest::commit_log::{CommitEntry, Entry};
use crate::store::{LeaderRow, StoreError};
use crate::telemetry::logging::chain;
use crate::timeseries::FollowError;

/// How long connecting to the leader may take, and its first frame.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A leader that says nothing for so long has lost its database or is gone. It says something twice a second.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(3);

/// Where a follower reads entries, and hands in submissions.
pub(crate) const ENTRIES_PATH: &str = "/api/v1/cluster/entries";
pub(crate) const SUBMISSIONS_PATH: &str = "/api/v1/cluster/submissions";

/// How a following ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowEnd {
    /// This collector stops.
    #[error("this collector stops")]
    Stopped,
    /// The leader has given its role up.
    #[error("the leader has given its role up")]
    Resigned,
    /// Something is missing: the database has to be loaded again.
    #[error("what the leader sends does not continue what is here")]
    Resync(#[source] FollowError),
    #[error("cannot reach the leader at {url} (its advertise_url)")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// The leader has refused this collector.
    #[error("the leader at {url} refuses this collector: {detail}")]
    Refused { url: String, detail: String },
    #[error("the connection to the leader has ended")]
    Ended,
    #[error("the leader has been silent for {} s", SILENT_AFTER.as_secs())]
    Silent,
    #[error("what the leader sends cannot be read")]
    Wire(#[from] WireError),
    #[error("cannot prepare a connection to the leader")]
    Client(#[from] PeerError),
    #[error("cannot load the database")]
    Store(#[from] StoreError),
    #[error("this node leads the term {0}, which is over")]
    OldTerm(u64),
}

impl Follower {
    /// Follows a leader until the connection ends, in whichever way.
    pub(super) async fn follow(&self, leader: &LeaderRow, url: &str, stop: &CancellationToken) -> FollowEnd {
        let result = tokio::select! {
            () = stop.cancelled() => return FollowEnd::Stopped,
            result = self.run(leader, url) => result,
        };
        result.err().unwrap_or(FollowEnd::Ended)
    }

    async fn run(&self, leader: &LeaderRow, url: &str) -> Result<(), FollowEnd> {
        let secret = self.cluster.secret.as_deref().unwrap_or_default();
        let client = pinned::client(leader.certificate.as_deref(), CONNECT_TIMEOUT)?;
        let unreachable = |source| FollowEnd::Unreachable { url: url.to_owned(), source };
        let request = client.get(format!("{url}{ENTRIES_PATH}?format={FORMAT}")).bearer_auth(secret);
        let Ok(answer) = timeout(CONNECT_TIMEOUT, request.send()).await else { return Err(FollowEnd::Silent) };
        let answer = answer.map_err(unreachable)?;
        if answer.status() != StatusCode::OK {
            let detail = match answer.status() {
                StatusCode::UNAUTHORIZED => {
                    "its secret is another one: it is a collector of another database".to_owned()
                }
                _ => timeout(CONNECT_TIMEOUT, answer.text()).await.ok().and_then(Result::ok).unwrap_or_default(),
            };
            return Err(FollowEnd::Refused { url: url.to_owned(), detail });
        }
        let mut entries = Box::pin(answer.bytes_stream());
        let mut reader = Reader::default();
        let welcome = first_frame(&mut entries, &mut reader).await?;
        if welcome.term < self.cluster.term() {
            return Err(FollowEnd::OldTerm(welcome.term));
        }
        // What comes meanwhile waits at the leader.
        self.load(welcome.sealed_to).await?;
        let (link, messages) = Link::new();
        let connection = Connection { cluster: Arc::clone(&self.cluster), link: Arc::clone(&link) };
        let submissions = client
            .post(format!("{url}{SUBMISSIONS_PATH}?follower={}", welcome.follower))
            .bearer_auth(secret)
            .body(Body::wrap_stream(bodies(messages, link.ended.clone())));
        let ended = link.ended.clone();
        // It ends with the link: its body does.
        tokio::spawn(async move {
            let answer = submissions.send().await;
            if let Ok(refused) = &answer
                && !refused.status().is_success()
                && !ended.is_cancelled()
            {
                tracing::warn!(
                    status = refused.status().as_u16(),
                    "the leader takes no more reports from this collector"
                );
            }
            ended.cancel();
        });
        self.cluster.set_term(welcome.term);
        self.cluster.note_heard();
        self.cluster.set_route(Route::Leader(Arc::clone(&link)));
        tracing::info!(leader = welcome.leader, url, term = welcome.term, "following the leader");
        let result = self.take_entries(&link, entries, reader).await;
        drop(connection);
        result
    }

    /// Loads the state of the database, as it is under a leader.
    pub(super) async fn load(&self, sealed_to: i64) -> Result<(), StoreError> {
        let snapshot = self.timeseries.load_behind_leader(sealed_to).await?;
        let head = snapshot.position.head;
        self.state.take_over(snapshot).await?;
        self.delivery.update(&self.store.desired_generations().await?);
        // Events up to here are in the database; conflated ones come again.
        self.feed.skip_to(head);
        Ok(())
    }

    async fn take_entries(
        &self,
        link: &Arc<Link>,
        mut entries: impl Stream<Item = reqwest::Result<Bytes>> + Unpin,
        mut reader: Reader,
    ) -> Result<(), FollowEnd> {
        let mut samples = SampleFrame::default();
        let mut wants_samples = false;
        let mut last = Instant::now();
        loop {
            while let Some(frame) = reader.next_from_leader()? {
                match frame {
                    FromLeader::Welcome(_) => {}
                    FromLeader::Samples(frame) => samples = frame,
                    FromLeader::Entry(Entry::Resigned) => return Err(FollowEnd::Resigned),
                    FromLeader::Entry(entry) => {
                        self.apply(entry, &mut samples).map_err(FollowEnd::Resync)?;
                    }
                    FromLeader::Submitted(request, result) => link.submitted(request, result),
                    FromLeader::Administered(request, result) => link.administered(request, result),
                }
            }
            let is_wanted = self.feed.wants_samples();
            if is_wanted != wants_samples && link.want_samples(is_wanted) {
                wants_samples = is_wanted;
            }
            tokio::select! {
                bytes = entries.next() => match bytes {
                    Some(Ok(bytes)) => {
                        reader.push(&bytes);
                        last = Instant::now();
                        self.cluster.note_heard();
                    }
                    Some(Err(_)) | None => return Err(FollowEnd::Ended),
                },
                () = tokio::time::sleep_until(last + SILENT_AFTER) => return Err(FollowEnd::Silent),
                () = link.ended.cancelled() => return Err(FollowEnd::Ended),
                // The leader runs rollouts.
                () = self.rollouts.notified() => self.cluster.wake_rollouts(),
            }
        }
    }

    fn apply(&self, entry: Entry, samples: &mut SampleFrame) -> Result<(), FollowError> {
        match entry {
            Entry::Commit(commit) => self.apply_commit(*commit, std::mem::take(samples))?,
            Entry::Sealed(to, written) => self.timeseries.follow_seal(to, written)?,
            Entry::Flushed(number) => self.timeseries.follow_flush(number)?,
            Entry::Expired(minutes_before) => self.timeseries.follow_expiry(minutes_before),
            Entry::Generations(generations) => self.delivery.update(&generations),
            Entry::Alive | Entry::Resigned => {}
        }
        Ok(())
    }

    /// First what queries read, then what is published: a subscriber that asks finds what it has received.
    fn apply_commit(&self, commit: CommitEntry, samples: SampleFrame) -> Result<(), FollowError> {
        let record = commit.record.as_ref().map(|(id, body)| (*id, body.as_slice()));
        self.timeseries.follow_commit(record, commit.head_seq, commit.removed.iter().map(|(key, _)| *key))?;
        let now = Instant::now();
        commit.listed.into_iter().for_each(|entry| self.directory.put(entry));
        self.directory.put_pipelines(commit.pipelines.into_iter());
        self.directory.put_live(commit.live.into_iter());
        for (node, status) in commit.heard {
            self.fleet.record_report(node, status, now);
        }
        for (node, status) in commit.marked {
            self.fleet.set_status(node, status);
        }
        for (key, id) in commit.removed {
            self.fleet.remove(key);
            self.recent_samples.remove_node(key);
            self.directory.mark_removed(id);
            self.delivery.forget(key);
        }
        self.recent_samples.push(samples.recent);
        let published = self.feed.head();
        let mut events = commit.events;
        events.extend(samples.events);
        // What the database had at the start comes again.
        events.retain(|event| event.seq > published);
        events.sort_unstable_by_key(|event| event.seq);
        self.feed.publish(events, commit.head_seq);
        Ok(())
    }
}

/// Takes the link out of use when the following ends.
struct Connection {
    cluster: Arc<Cluster>,
    link: Arc<Link>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.ended.cancel();
        self.cluster.forget(&self.link);
    }
}

async fn first_frame(
    entries: &mut (impl Stream<Item = reqwest::Result<Bytes>> + Unpin),
    reader: &mut Reader,
) -> Result<Welcome, FollowEnd> {
    let first = async {
        loop {
            match reader.next_from_leader()? {
                Some(FromLeader::Welcome(welcome)) => return Ok(welcome),
                Some(_) => return Err(FollowEnd::Ended),
                None => {}
            }
            match entries.next().await {
                Some(Ok(bytes)) => reader.push(&bytes),
                Some(Err(_)) | None => return Err(FollowEnd::Ended),
            }
        }
    };
    timeout(CONNECT_TIMEOUT, first).await.unwrap_or(Err(FollowEnd::Silent))
}

/// What waits, as one piece of the body; the body ends with the link.
fn bodies(
    messages: mpsc::Receiver<Bytes>,
    ended: CancellationToken,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    stream::unfold((messages, ended), |(mut messages, ended)| async move {
        let mut waiting = Vec::new();
        let count = tokio::select! {
            () = ended.cancelled() => 0,
            count = messages.recv_many(&mut waiting, QUEUE_LEN) => count,
        };
        let body = match count {
            0 => return None,
            1 => waiting.remove(0),
            _ => waiting.concat().into(),
        };
        Some((Ok(body), (messages, ended)))
    })
}

/// Logs how a following ended, unless that is in order.
pub(super) fn log_end(end: &FollowEnd) {
    match end {
        FollowEnd::Stopped | FollowEnd::Resigned => tracing::info!("{end}"),
        FollowEnd::Refused { .. } => tracing::error!(error = %chain(end), "cannot follow the leader"),
        end => tracing::warn!(error = %chain(end), "does not follow the leader any more"),
    }
}
