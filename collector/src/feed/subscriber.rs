//! One stream from its hello to its end: snapshot or replay, then live events.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rand::RngExt;
use systole_shared::events::{Control, EventType, GoodbyeReason, ResetReason};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use super::admission::ConnectionGuard;
use super::encode;
use super::frame::Frame;
use super::hub::{Conflated, Cursors, Polled};
use super::replay::{self, Replay};
use super::snapshot::Snapshot;
use super::worker_notifier::Listener;
use super::{Feed, PING_EVERY, Resume, Subscription};
use crate::auth::Identity;
use crate::clock;
use crate::telemetry::ReasonLabel;

/// The time after which a client reconnects by default, at random in this range, so that clients of a
/// collector that went away do not return in one wave.
const RETRY_MS: std::ops::RangeInclusive<u64> = 2_000..=8_000;

/// The same in a cluster: another collector has the client's events already.
const CLUSTER_RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=3_000;

/// Over how long at most the goodbyes of a shutdown are spread; it waits for 5 s.
const MAX_GOODBYE_SPREAD_MS: u64 = 4_000;

/// The part of it that each open stream adds: a collector with few of them stops at once.
const GOODBYE_SPREAD_MS_PER_STREAM: u64 = 1;

/// A stream that has accepted nothing for so long ends as too slow. A healthy one receives a ping more often.
const SLOW_AFTER: Duration = Duration::from_secs(25);

/// One open stream.
pub(crate) struct Subscriber {
    feed: Arc<Feed>,
    identity: Identity,
    subscription: Subscription,
    stage: Stage,
    cursors: Cursors,
    /// The highest id sent to the client.
    last_sent_id: u64,
    /// Writes that are ready: those of one look, one page of a replay, or one control event.
    ready: VecDeque<Bytes>,
    listener: Listener,
    /// RecentSamples when nothing else wakes; kept, because a new timer for every wait costs more than a check.
    timer: Pin<Box<Sleep>>,
    next_ping: Instant,
    /// Conflated events wait until then.
    next_flush: Instant,
    /// Whether events were published since the last poll of conflated events.
    has_news: bool,
    /// Whether the last look saw everything there was.
    has_looked: bool,
    /// Whether the client waits to hear that it has everything up to now.
    catches_up: bool,
    /// The expiry of the token.
    expires: Option<Instant>,
    /// The time of the goodbye when the collector stops.
    close_at: Option<Instant>,
    /// The time at which the client last accepted data.
    last_polled_at: Instant,
    guard: ConnectionGuard,
}

#[derive(Debug)]
enum Stage {
    Open,
    TakeSnapshot,
    /// The next write of a snapshot.
    Snapshot(Arc<Snapshot>, usize),
    Replay(Box<Replay>),
    Live,
    Closed,
}

impl Subscriber {
    pub(super) fn new(
        feed: Arc<Feed>,
        identity: Identity,
        subscription: Subscription,
        listener: Listener,
        guard: ConnectionGuard,
    ) -> Self {
        let now = Instant::now();
        feed.telemetry.feed_subscribers.inc();
        if subscription.types.contains(&EventType::MetricUpdate) {
            feed.sample_streams.fetch_add(1, Ordering::Relaxed);
        }
        Subscriber {
            listener,
            feed,
            subscription,
            stage: Stage::Open,
            cursors: Cursors::at(0),
            last_sent_id: 0,
            ready: VecDeque::new(),
            timer: Box::pin(sleep_until(now + PING_EVERY)),
            next_ping: now + PING_EVERY,
            next_flush: now,
            has_news: true,
            has_looked: false,
            catches_up: false,
            expires: identity.expires_at.map(|end| {
                now + Duration::from_millis(u64::try_from(end.saturating_sub(clock::now_ms())).unwrap_or(0))
            }),
            identity,
            close_at: None,
            last_polled_at: now,
            guard,
        }
    }

    /// The next write, or the end.
    pub(crate) async fn next_write(&mut self) -> Option<Bytes> {
        self.last_polled_at = Instant::now();
        loop {
            if let Some(write) = self.ready.pop_front() {
                self.feed.telemetry.feed_bytes.inc_by(write.len() as u64);
                return Some(write);
            }
            if matches!(self.stage, Stage::Closed) {
                return None;
            }
            if let Some(reason) = self.reason_to_close() {
                self.goodbye(reason);
                continue;
            }
            // What seldom happens is kept out of the state that every stream carries.
            match &mut self.stage {
                Stage::Open => Box::pin(self.open()).await,
                Stage::TakeSnapshot => Box::pin(self.take_snapshot()).await,
                Stage::Snapshot(..) => self.send_snapshot(),
                Stage::Replay(_) => Box::pin(self.replay()).await,
                Stage::Live if std::mem::take(&mut self.has_looked) => self.wait().await,
                Stage::Live => self.go_on_live().await,
                Stage::Closed => return None,
            }
        }
    }

    fn reason_to_close(&mut self) -> Option<GoodbyeReason> {
        if self.feed.stop.is_cancelled() {
            let now = Instant::now();
            let streams = self.feed.connections.count() as u64;
            let spread = (streams * GOODBYE_SPREAD_MS_PER_STREAM).min(MAX_GOODBYE_SPREAD_MS);
            let wait = || now + Duration::from_millis(rand::rng().random_range(0..=spread));
            if now >= *self.close_at.get_or_insert_with(wait) {
                return Some(GoodbyeReason::Shutdown);
            }
        }
        let is_valid = self.feed.auth.is_valid(&self.identity, clock::now_ms());
        (!is_valid).then_some(GoodbyeReason::Revoked)
    }

    fn push(&mut self, frames: impl IntoIterator<Item = Bytes>) {
        self.ready.extend(encode::join(frames));
    }

    /// Everything up to here was polled and sent.
    fn seek(&mut self, seq: u64) {
        self.last_sent_id = seq;
        self.advance(Cursors::at(seq));
    }

    fn advance(&mut self, cursors: Cursors) {
        self.cursors = cursors;
        self.guard.note_cursor(cursors.durable);
    }

    /// Sends `retry` and `hello`, and selects the start position.
    async fn open(&mut self) {
        if let Resume::After(id) = &self.subscription.resume
            && id.epoch == self.feed.epoch
        {
            self.feed.wait_for_head(id.seq).await;
        }
        let head = self.feed.hub.head();
        let (resumed, reset) = match &self.subscription.resume {
            Resume::Live => (None, None),
            Resume::Unreadable => (None, Some(ResetReason::Epoch)),
            Resume::After(id) if id.epoch != self.feed.epoch => (None, Some(ResetReason::Epoch)),
            Resume::After(id) if self.feed.is_ahead(id.seq).await => (None, Some(ResetReason::Ahead)),
            Resume::After(id) => (Some(id.seq), None),
        };
        let oldest = self.feed.retention_floor.get(&*self.feed.store).await.unwrap_or(head);
        let retry_ms = if self.feed.is_clustered { CLUSTER_RETRY_MS } else { RETRY_MS };
        let retry = format!("retry: {}\n\n", rand::rng().random_range(retry_ms));
        let hello = Control::Hello {
            epoch: self.feed.epoch.to_string(),
            head,
            oldest,
            ping_ms: PING_EVERY.as_millis() as u64,
            server: concat!("systole-collector/", env!("CARGO_PKG_VERSION")).to_owned(),
            resumed: resumed.is_some(),
        };
        let reset_frame = reset.map(|reason| encode::control(&Control::Reset { reason }));
        let greeting = encode::greeting(self.subscription.encoding);
        let mut first = vec![greeting, Bytes::from(retry), encode::control(&hello)];
        first.extend(reset_frame);
        // A client that continues after an id has the state already; any other client may request it.
        if resumed.is_none() && (reset.is_some() || self.subscription.snapshot.is_some()) {
            self.push(first);
            self.stage = Stage::TakeSnapshot;
            return;
        }
        // The client knows from the start where it is, and misses nothing when it is cut off
        // before its first event. With a snapshot it is nowhere before that is complete.
        self.seek(resumed.unwrap_or(head));
        if let Some(seq) = resumed {
            // Conflated events that had to wait when the stream was cut off have no newer id.
            let (scope, every) = (self.subscription.scope, self.subscription.every);
            self.cursors.conflated = self.feed.hub.conflated_from(scope, seq, every);
            self.catches_up = true;
        }
        first.push(encode::cursor(&self.feed.epoch, self.last_sent_id));
        self.push(first);
        self.stage = Stage::Live;
    }

    async fn take_snapshot(&mut self) {
        match self.feed.snapshots.take(&self.feed, &self.subscription).await {
            Ok(snapshot) => self.stage = Stage::Snapshot(snapshot, 0),
            Err(error) => {
                let error = crate::telemetry::logging::chain(&error);
                tracing::error!(error, "cannot create a snapshot, closing the stream");
                self.goodbye(GoodbyeReason::Overloaded);
            }
        }
    }

    fn send_snapshot(&mut self) {
        let Stage::Snapshot(snapshot, next) = &mut self.stage else { return };
        if let Some(write) = snapshot.writes.get(*next) {
            self.ready.push_back(write.clone());
            *next += 1;
        } else {
            let watermark = snapshot.watermark;
            self.seek(watermark);
            self.stage = Stage::Live;
        }
    }

    /// Reads on from the database; while the others have their turn, pings keep the stream alive.
    async fn replay(&mut self) {
        let feed = Arc::clone(&self.feed);
        let wake_at = self.next_time();
        // Watched first, so that what changes from here on is noticed.
        let mut access = feed.auth.watch();
        if let Some(reason) = self.reason_to_close() {
            return self.goodbye(reason);
        }
        let permit = tokio::select! {
            permit = feed.replays.acquire() => permit,
            // The caller sees what of these it is.
            _ = access.changed() => return,
            () = feed.stop.cancelled(), if self.close_at.is_none() => return,
            () = sleep_until(wake_at) => return self.ping_if_due(),
        };
        let Stage::Replay(replay) = &mut self.stage else { return };
        let step = replay::step(&feed, &self.subscription, self.cursors.durable, replay).await;
        let finished = step.cursor >= replay.to;
        drop(permit);
        self.feed.telemetry.feed_deliveries.inc_by(step.events as u64);
        self.advance(Cursors { durable: step.cursor, ..self.cursors });
        self.last_sent_id = step.last_sent_id.unwrap_or(self.last_sent_id);
        self.push(step.frames);
        if finished {
            self.stage = Stage::Live;
        }
        self.ping_if_due();
    }

    /// Readies what the rings have, or waits for something to happen.
    async fn go_on_live(&mut self) {
        self.ping_if_due();
        let now = Instant::now();
        let conflated = match self.subscription.every {
            Duration::ZERO => Conflated::All,
            _ if now >= self.next_flush => Conflated::Latest,
            _ => Conflated::Skip,
        };
        self.listener.durable.mark_unchanged();
        if conflated != Conflated::Skip {
            self.listener.all.mark_unchanged();
            self.has_news = false;
        }
        match self.feed.hub.poll(&self.subscription, self.cursors, conflated) {
            Polled::Lagged { floor } => {
                self.feed.telemetry.feed_replays.inc();
                // A client without any event yet reconnects; the others were too slow.
                let resumed = self.subscription.resume != Resume::Live;
                self.subscription.resume = Resume::Live;
                let replay = if resumed { Replay::of_resumed(floor) } else { Replay::of_slow(floor) };
                self.stage = Stage::Replay(Box::new(replay));
            }
            Polled::Frames(found) => {
                self.subscription.resume = Resume::Live;
                self.advance(found.cursors);
                if found.passed_conflated && !found.more {
                    self.next_flush = now + self.subscription.every;
                }
                if !found.frames.is_empty() {
                    self.has_looked = !found.more && !self.catches_up;
                    self.deliver(&found.frames);
                } else if found.more {
                    tokio::task::yield_now().await;
                } else if std::mem::take(&mut self.catches_up) && self.cursors.durable > self.last_sent_id {
                    // Nothing of what it missed was for this client, which only waits to hear it.
                    self.last_sent_id = self.cursors.durable;
                    let cursor = encode::cursor(&self.feed.epoch, self.last_sent_id);
                    self.push([cursor]);
                } else {
                    self.has_looked = true;
                }
            }
        }
    }

    /// Waits for a change after the last poll, or for the next due time.
    async fn wait(&mut self) {
        let wants_conflated = self.subscription.wants_conflated();
        let waits_for_flush = wants_conflated && self.has_news && Instant::now() < self.next_flush;
        let wake_at = if waits_for_flush { self.next_time().min(self.next_flush) } else { self.next_time() };
        if self.timer.deadline() != wake_at {
            self.timer.as_mut().reset(wake_at);
        }
        let hears_all = wants_conflated && !waits_for_flush;
        let heard = if hears_all { &mut self.listener.all } else { &mut self.listener.durable };
        let was_heard = tokio::select! {
            biased;
            changed = heard.changed() => changed.is_ok(),
            () = self.timer.as_mut() => false,
        };
        self.has_news |= was_heard && hears_all;
    }

    /// The next time at which something is due.
    fn next_time(&self) -> Instant {
        [self.expires, self.close_at].into_iter().flatten().fold(self.next_ping, Instant::min)
    }

    /// Conflated events may come behind durable ones with higher ids; then they have none, for the
    /// client must not go back.
    fn deliver(&mut self, frames: &[Arc<Frame>]) {
        self.feed.telemetry.feed_deliveries.inc_by(frames.len() as u64);
        let epoch = Arc::clone(&self.feed.epoch);
        let (encoding, mut last_sent_id) = (self.subscription.encoding, self.last_sent_id);
        let bytes = frames.iter().map(|frame| {
            let has_id = frame.seq > last_sent_id;
            last_sent_id = last_sent_id.max(frame.seq);
            encode::live(encoding, &epoch, frame, has_id)
        });
        self.ready.extend(encode::join(bytes));
        self.last_sent_id = last_sent_id;
    }

    /// A ping, and the cursor of a stream whose filter has let nothing through for a while.
    fn ping_if_due(&mut self) {
        if Instant::now() < self.next_ping {
            return;
        }
        self.next_ping = Instant::now() + PING_EVERY;
        let ping = encode::ping(self.subscription.encoding, clock::now_ms());
        let moved = self.cursors.durable > self.last_sent_id && matches!(self.stage, Stage::Live);
        if moved {
            self.last_sent_id = self.cursors.durable;
        }
        let cursor = moved.then(|| encode::cursor(&self.feed.epoch, self.last_sent_id));
        self.push([ping].into_iter().chain(cursor));
    }

    fn goodbye(&mut self, reason: GoodbyeReason) {
        self.count_close(match reason {
            GoodbyeReason::Shutdown => "shutdown",
            GoodbyeReason::Revoked => "revoked",
            GoodbyeReason::Overloaded => "overloaded",
            GoodbyeReason::Slow => "slow",
        });
        let retry_ms = rand::rng().random_range(RETRY_MS);
        self.push([encode::control(&Control::Goodbye { reason, retry_ms })]);
        self.stage = Stage::Closed;
    }

    fn count_close(&self, reason: &'static str) {
        self.feed.telemetry.feed_streams_closed.get_or_create(&ReasonLabel { reason }).inc();
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.feed.telemetry.feed_subscribers.dec();
        if self.subscription.types.contains(&EventType::MetricUpdate) {
            self.feed.sample_streams.fetch_sub(1, Ordering::Relaxed);
        }
        if !matches!(self.stage, Stage::Closed) {
            // A client that takes nothing has its connection cut by the kernel (see `server`).
            self.count_close(if self.last_polled_at.elapsed() >= SLOW_AFTER { "slow" } else { "client" });
        }
    }
}
