//! The life of one stream: hello, snapshot or replay, then live until somebody closes it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt;
use systole_shared::events::{Control, GoodbyeReason, ResetReason};
use systole_shared::{NodeId, PipelineId};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::frame::{self, Frame};
use super::hub::Look;
use super::limits::ConnectionGuard;
use super::replay::{self, Replay};
use super::{Feed, PING_EVERY, Resume, Subscription, snapshot};
use crate::auth::Identity;
use crate::clock;
use crate::telemetry::ReasonLabel;

/// When a client without orders comes back, at random in this range, so that clients of a collector
/// that went away do not return in one wave.
const RETRY_MS: std::ops::RangeInclusive<u64> = 2_000..=8_000;

/// Over how long the goodbyes of a shutdown are spread.
const GOODBYE_SPREAD_MS: u64 = 1_500;

/// One open stream.
pub(crate) struct Subscriber {
    feed: Arc<Feed>,
    identity: Identity,
    subscription: Subscription,
    stage: Stage,
    /// Everything up to here was looked at.
    cursor: u64,
    /// The highest id that the client was told.
    told: u64,
    /// Writes that are ready.
    ready: VecDeque<Bytes>,
    head: watch::Receiver<u64>,
    access: watch::Receiver<u64>,
    next_ping: Instant,
    next_flush: Instant,
    /// When the token ends.
    expires: Option<Instant>,
    _guard: ConnectionGuard,
}

#[derive(Debug)]
enum Stage {
    Open,
    Snapshot,
    Replay(Replay),
    Live,
    Closed,
}

impl Subscriber {
    pub(super) fn new(feed: Arc<Feed>, identity: Identity, subscription: Subscription, guard: ConnectionGuard) -> Self {
        let now = Instant::now();
        feed.telemetry.feed_subscribers.inc();
        Subscriber {
            head: feed.hub.watch(),
            access: feed.auth.watch(),
            feed,
            subscription,
            stage: Stage::Open,
            cursor: 0,
            told: 0,
            ready: VecDeque::new(),
            next_ping: now + PING_EVERY,
            next_flush: now,
            expires: identity.expires_at.map(|end| {
                now + Duration::from_millis(u64::try_from(end.saturating_sub(clock::now_ms())).unwrap_or(0))
            }),
            identity,
            _guard: guard,
        }
    }

    /// The next write, or the end.
    pub(crate) async fn next_write(&mut self) -> Option<Bytes> {
        loop {
            if let Some(write) = self.ready.pop_front() {
                self.feed.telemetry.feed_bytes.inc_by(write.len() as u64);
                return Some(write);
            }
            if self.feed.stop.is_cancelled() && !matches!(self.stage, Stage::Closed) {
                let spread = Duration::from_millis(rand::rng().random_range(0..=GOODBYE_SPREAD_MS));
                tokio::time::sleep(spread).await;
                self.goodbye(GoodbyeReason::Shutdown);
                continue;
            }
            if !self.feed.auth.is_valid(&self.identity, clock::now_ms()) && !matches!(self.stage, Stage::Closed) {
                self.goodbye(GoodbyeReason::Revoked);
                continue;
            }
            match &mut self.stage {
                Stage::Open => self.open().await,
                Stage::Snapshot => self.take_snapshot().await,
                Stage::Replay(_) => self.replay().await,
                Stage::Live => self.go_on_live().await,
                Stage::Closed => return None,
            }
        }
    }

    fn push(&mut self, frames: impl IntoIterator<Item = Bytes>) {
        self.ready.extend(frame::join(frames));
    }

    /// `retry`, `hello`, and the decision where to go on.
    async fn open(&mut self) {
        let head = self.feed.hub.head();
        let (resumed, reset) = match &self.subscription.resume {
            Resume::Live => (false, None),
            Resume::Unreadable => (false, Some(ResetReason::Epoch)),
            Resume::After(id) if id.epoch != self.feed.epoch => (false, Some(ResetReason::Epoch)),
            Resume::After(id) if id.seq > head => (false, Some(ResetReason::Ahead)),
            Resume::After(id) => {
                self.cursor = id.seq;
                (true, None)
            }
        };
        if !resumed {
            self.cursor = head;
        }
        self.told = self.cursor;
        let oldest = match self.feed.store.feed_position().await {
            Ok(position) => position.oldest.of_all(),
            Err(_) => head,
        };
        let retry = format!("retry: {}\n\n", rand::rng().random_range(RETRY_MS));
        let hello = Control::Hello {
            epoch: self.feed.epoch.to_string(),
            head,
            oldest,
            ping_ms: PING_EVERY.as_millis() as u64,
            server: concat!("systole-collector/", env!("CARGO_PKG_VERSION")).to_owned(),
            resumed,
        };
        self.push([Bytes::from(retry), frame::control(&hello)]);
        if let Some(reason) = reset {
            self.push([frame::control(&Control::Reset { reason })]);
        }
        // Who goes on from an id has the state already; everybody else may want it.
        if reset.is_some() || (self.subscription.snapshot && !resumed) {
            self.stage = Stage::Snapshot;
        } else {
            // The client knows from the start where it is, and misses nothing when it is cut off
            // before its first event. With a snapshot it is nowhere before that is complete.
            self.push([frame::cursor(&self.feed.epoch, self.cursor)]);
            self.stage = Stage::Live;
        }
    }

    async fn take_snapshot(&mut self) {
        match snapshot::take(&self.feed, &self.subscription).await {
            Ok((frames, watermark)) => {
                self.push(frames);
                self.cursor = watermark;
                self.told = watermark;
                self.stage = Stage::Live;
            }
            Err(error) => {
                let error = crate::logging::chain(&error);
                tracing::error!(error, "a snapshot could not be read, the stream is closed");
                self.goodbye(GoodbyeReason::Overloaded);
            }
        }
    }

    /// Reads on from the database; while the others have their turn, pings keep the stream alive.
    async fn replay(&mut self) {
        let feed = Arc::clone(&self.feed);
        let permit = tokio::select! {
            permit = feed.replays.acquire() => permit,
            // The caller sees what of these it is.
            _ = self.access.changed() => return,
            () = feed.stop.cancelled() => return,
            () = tokio::time::sleep_until(self.next_ping) => return self.ping(),
        };
        let Stage::Replay(replay) = &mut self.stage else { return };
        let step = replay::step(&feed, &self.subscription, self.cursor, replay).await;
        let finished = step.cursor >= replay.to;
        drop(permit);
        self.feed.telemetry.feed_deliveries.inc_by(step.events as u64);
        self.cursor = step.cursor;
        self.told = step.told.unwrap_or(self.told);
        self.push(step.frames);
        if finished {
            self.stage = Stage::Live;
        }
        if Instant::now() >= self.next_ping {
            self.ping();
        }
    }

    /// Readies what the rings have, or waits for something to happen.
    async fn go_on_live(&mut self) {
        if Instant::now() >= self.next_ping {
            return self.ping();
        }
        let head = *self.head.borrow_and_update();
        let mut flush_at = None;
        match self.feed.hub.look(&self.subscription, self.cursor) {
            Look::Behind => {
                self.feed.telemetry.feed_replays.inc();
                self.stage = Stage::Replay(Replay::new(head.max(self.feed.hub.head())));
                return;
            }
            // Never back: a snapshot's watermark may be ahead of what is published.
            Look::Frames { frames, cursor, .. } if frames.is_empty() => self.cursor = self.cursor.max(cursor),
            Look::Frames { frames, cursor, more } => {
                // Durable events go at once and take along what waits; the others may wait for
                // newer ones of their kind, unless more of them wait than one look takes.
                let now = Instant::now();
                if more || now >= self.next_flush || frames.iter().any(|frame| frame.kind.is_durable()) {
                    self.cursor = cursor;
                    self.next_flush = if more { now } else { now + self.subscription.every };
                    return self.deliver(frames);
                }
                flush_at = Some(self.next_flush);
            }
        }
        let wake_at = [flush_at, self.expires].into_iter().flatten().fold(self.next_ping, Instant::min);
        tokio::select! {
            _ = self.head.changed() => {}
            _ = self.access.changed() => {}
            () = self.feed.stop.cancelled() => {}
            () = tokio::time::sleep_until(wake_at) => {}
        }
    }

    fn deliver(&mut self, frames: Vec<Arc<Frame>>) {
        let frames = if self.subscription.every.is_zero() { frames } else { conflate(frames) };
        self.feed.telemetry.feed_deliveries.inc_by(frames.len() as u64);
        self.told = frames.last().map_or(self.told, |frame| frame.seq);
        let epoch = Arc::clone(&self.feed.epoch);
        self.push(frames.iter().map(|frame| frame.bytes(&epoch)));
    }

    /// A ping, and the cursor of a stream whose filter has let nothing through for a while.
    fn ping(&mut self) {
        self.next_ping = Instant::now() + PING_EVERY;
        let ping = frame::control(&Control::Ping { now: clock::now_ms() });
        let cursor = (self.cursor > self.told && matches!(self.stage, Stage::Live))
            .then(|| frame::cursor(&self.feed.epoch, self.cursor));
        self.told = self.told.max(if cursor.is_some() { self.cursor } else { 0 });
        self.push([ping].into_iter().chain(cursor));
    }

    fn goodbye(&mut self, reason: GoodbyeReason) {
        let label = match reason {
            GoodbyeReason::Shutdown => "shutdown",
            GoodbyeReason::Revoked => "revoked",
            GoodbyeReason::Overloaded => "overloaded",
            GoodbyeReason::Slow => "slow",
        };
        self.feed.telemetry.feed_closes.get_or_create(&ReasonLabel { reason: label }).inc();
        let retry_ms = rand::rng().random_range(RETRY_MS);
        self.push([frame::control(&Control::Goodbye { reason, retry_ms })]);
        self.stage = Stage::Closed;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.feed.telemetry.feed_subscribers.dec();
    }
}

/// Leaves out conflated events that a newer one of the same node or pipeline replaces.
fn conflate(frames: Vec<Arc<Frame>>) -> Vec<Arc<Frame>> {
    let mut seen: HashSet<(NodeId, Option<PipelineId>)> = HashSet::new();
    let mut kept: Vec<_> = frames
        .into_iter()
        .rev()
        .filter(|frame| frame.kind.is_durable() || seen.insert((frame.node, frame.pipeline.clone())))
        .collect();
    kept.reverse();
    kept
}
