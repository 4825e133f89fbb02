//! The recent frames, per environment, and the head of the sequence.
//!
//! A subscriber's cursor is a sequence number, so that a place in the rings of one environment, in
//! those of several, and in the database are all the same number. Durable and conflated frames have
//! rings of their own: ten thousand nodes bring twenty thousand conflated events a second, and must not
//! push off the status changes that a client needs after a minute of absence.
//!
//! Durable and conflated frames have separate rings: the metrics of a large fleet would push status
//! changes out within seconds. A subscriber that is too slow for the conflated ring receives the newest
//! frames. One that is too slow for the durable ring is served from the database up to where the ring
//! begins.

use std::collections::HashMap;
use std::iter::Peekable;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use systole_shared::events::FleetTotals;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Subscription;
use super::conflation::ConflationTable;
use super::encode::MAX_WRITE_BYTES;
use super::frame::Frame;
use super::ring::{Ring, RingBounds};
use crate::auth::Scope;
use crate::model::{EnvironmentKey, Payload, PendingEvent};

/// Durable frames of an environment: status changes and log lines of minutes. A slower subscriber is served
/// from the database.
const DURABLE: RingBounds = RingBounds { frames: 32 * 1024, bytes: 64 * 1024 * 1024 };

/// Conflated frames of an environment, for subscribers that want every event. A slower subscriber receives
/// the newest event of each node and pipeline.
const CONFLATED: RingBounds = RingBounds { frames: 8 * 1024, bytes: 16 * 1024 * 1024 };

/// Frames that one look takes at most.
const POLL_FRAMES: usize = 256;

/// Frames that one look passes at most, wanted or not, so that the lock is held for microseconds.
const POLL_SKIPS: usize = 4_096;

/// The frames of an environment for its subscribers.
#[derive(Debug)]
struct Channel {
    durable: Ring,
    conflated: Ring,
    conflation: ConflationTable,
    /// The last totals of the environment: they stay while nothing changes.
    totals: Option<FleetTotals>,
}

#[derive(Debug)]
struct Inner {
    channels: HashMap<EnvironmentKey, Channel>,
    head: u64,
    /// Head at the start of this process, or after a new start of the feed; older events are only in the database.
    start: u64,
}

/// The number of publications, which subscribers wait for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Publications {
    pub all: u64,
    /// Of those, the ones with durable events.
    pub durable: u64,
    /// The number of the newest canary.
    pub canary: u64,
}

/// The rings of all environments.
#[derive(Debug)]
pub(super) struct Hub {
    inner: RwLock<Inner>,
    publications: watch::Sender<Publications>,
}

/// The position of a subscriber: it has polled everything up to here. Conflated events may wait for newer
/// ones while durable ones continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursors {
    pub durable: u64,
    pub conflated: u64,
}

impl Cursors {
    pub(super) fn at(seq: u64) -> Self {
        Cursors { durable: seq, conflated: seq }
    }
}

/// The conflated events that a poll returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflated {
    /// None; their cursor stays.
    Skip,
    /// The newest of each node and pipeline.
    Latest,
    /// Each one, as long as the ring has them.
    All,
}

/// The frames after a subscriber's cursors.
#[derive(Debug)]
pub(super) enum Polled {
    Frames(PolledFrames),
    /// The durable cursor has fallen off the ring; from `floor` on the ring has everything.
    Lagged {
        floor: u64,
    },
}

/// Frames that the subscriber wants, by sequence number.
#[derive(Debug)]
pub(super) struct PolledFrames {
    pub frames: Vec<Arc<Frame>>,
    /// The cursors after these frames.
    pub cursors: Cursors,
    /// Whether there may be more behind.
    pub more: bool,
    /// Whether conflated frames were passed, wanted or not.
    pub passed_conflated: bool,
}

type Frames<'a> = Peekable<Box<dyn Iterator<Item = &'a Arc<Frame>> + 'a>>;

impl Hub {
    pub(super) fn new(head: u64) -> Self {
        let inner = Inner { channels: HashMap::new(), head, start: head };
        Hub { inner: RwLock::new(inner), publications: watch::Sender::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head(&self) -> u64 {
        self.read().head
    }

    /// Changes with every publication.
    pub(super) fn watch(&self) -> watch::Receiver<Publications> {
        self.publications.subscribe()
    }

    /// Adds events in their order; everything up to `head` is published with them.
    pub(super) fn publish(&self, events: Vec<PendingEvent>, head: u64) {
        let now = Instant::now();
        let frames: Vec<_> = events.into_iter().map(|event| Arc::new(Frame::new(event, now))).collect();
        let has_durable = frames.iter().any(|frame| frame.kind.is_durable());
        let is_news = {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            let start = inner.start;
            for frame in frames {
                let channel = inner.channels.entry(frame.environment).or_insert_with(|| Channel::new(start));
                channel.push(frame);
            }
            for channel in inner.channels.values_mut() {
                channel.conflation.expire(now);
            }
            let known = inner.head;
            inner.head = known.max(head);
            inner.head > known
        };
        if is_news {
            self.publications.send_modify(|publications| {
                publications.all += 1;
                publications.durable += u64::from(has_durable);
            });
        }
    }

    /// Continues after `head`. The events up to `head` were committed without publication, so they are only
    /// in the database.
    pub(super) fn skip_to(&self, head: u64) {
        {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            if head <= inner.head {
                return;
            }
            *inner = Inner { channels: HashMap::new(), head, start: head };
        }
        self.publications.send_modify(|publications| {
            publications.all += 1;
            publications.durable += 1;
        });
    }

    /// A publication without an event, by the same way. Returns its number.
    pub(super) fn publish_canary(&self) -> u64 {
        drop(self.inner.write().unwrap_or_else(PoisonError::into_inner));
        let mut canary = 0;
        self.publications.send_modify(|publications| {
            publications.canary += 1;
            canary = publications.canary;
        });
        canary
    }

    /// The last totals of environments, as far as they were published.
    pub(super) fn totals(&self, scope: Scope) -> Vec<FleetTotals> {
        self.read().channels_of(scope).filter_map(|channel| channel.totals.clone()).collect()
    }

    /// The lowest number from which conflated events may be missing at a subscriber with the last id `seq`.
    /// It waited for `every` between two flushes. A flush has them in their order: when its last id is that
    /// of a conflated event, it has them all.
    pub(super) fn conflated_from(&self, scope: Scope, seq: u64, every: Duration) -> u64 {
        let inner = self.read();
        let waited_since = |channel: &Channel| {
            let last = channel.conflated.last_up_to(seq).filter(|last| last.seq < seq)?;
            Some(channel.conflated.seq_before(last.published.checked_sub(every)?))
        };
        if every.is_zero() { seq } else { inner.channels_of(scope).filter_map(waited_since).fold(seq, u64::min) }
    }

    /// Returns the number of durable frames in the rings after a sequence number, and when the first of
    /// them was published. Conflated ones do not count: many a subscriber passes them seldom, on purpose.
    pub(super) fn durable_behind(&self, seq: u64) -> (usize, Option<Instant>) {
        let inner = self.read();
        let behind = || inner.channels.values().map(|channel| channel.durable.behind(seq));
        let first = behind().filter_map(|mut frames| frames.next().map(|frame| frame.published)).min();
        (behind().map(Iterator::count).sum(), first)
    }

    /// Returns the frames after the cursors that the subscriber wants, in order, with the head that was
    /// true at the same moment.
    pub(super) fn poll(&self, subscription: &Subscription, cursors: Cursors, conflated: Conflated) -> Polled {
        let inner = self.read();
        let channels = || inner.channels_of(subscription.scope);
        if subscription.wants_durable() {
            let floor = channels().map(|channel| channel.durable.floor()).fold(inner.start, u64::max);
            if cursors.durable < floor {
                return Polled::Lagged { floor };
            }
        }
        let mut sources: Vec<Frames<'_>> = Vec::new();
        for channel in channels() {
            if subscription.wants_durable() {
                sources.push(frames(channel.durable.behind(cursors.durable)));
            }
            if subscription.wants_conflated() && conflated != Conflated::Skip {
                sources.push(channel.conflated_behind(cursors.conflated, conflated));
            }
        }
        sources.retain_mut(|source| source.peek().is_some());
        poll_sources(sources, subscription, cursors, conflated, inner.head)
    }
}

impl Inner {
    fn channels_of(&self, scope: Scope) -> impl Iterator<Item = &Channel> {
        let (one, all) = match scope {
            Scope::One(environment) => (self.channels.get(&environment), None),
            Scope::All => (None, Some(self.channels.values())),
        };
        one.into_iter().chain(all.into_iter().flatten())
    }
}

impl Channel {
    fn new(start: u64) -> Self {
        Channel {
            durable: Ring::new(DURABLE, start),
            conflated: Ring::new(CONFLATED, start),
            conflation: ConflationTable::default(),
            totals: None,
        }
    }

    fn push(&mut self, frame: Arc<Frame>) {
        if frame.kind.is_durable() {
            self.durable.push(frame);
        } else {
            if let Payload::Totals(totals) = frame.payload() {
                self.totals = Some(totals.clone());
            }
            self.conflation.put(Arc::clone(&frame));
            self.conflated.push(frame);
        }
    }

    fn conflated_behind(&self, seq: u64, which: Conflated) -> Frames<'_> {
        if which == Conflated::All && seq >= self.conflated.floor() {
            frames(self.conflated.behind(seq))
        } else {
            frames(self.conflation.behind(seq))
        }
    }
}

fn frames<'a>(frames: impl Iterator<Item = &'a Arc<Frame>> + 'a) -> Frames<'a> {
    (Box::new(frames) as Box<dyn Iterator<Item = _>>).peekable()
}

/// Merges what the sources have, until it is as much as one look takes.
fn poll_sources(
    mut sources: Vec<Frames<'_>>,
    subscription: &Subscription,
    cursors: Cursors,
    conflated: Conflated,
    head: u64,
) -> Polled {
    let moved_to = |seq: u64| Cursors {
        durable: cursors.durable.max(seq),
        conflated: if conflated == Conflated::Skip { cursors.conflated } else { cursors.conflated.max(seq) },
    };
    let mut found = PolledFrames { frames: Vec::new(), cursors, more: false, passed_conflated: false };
    let mut bytes = 0;
    for _ in 0..POLL_SKIPS {
        // The source with the next sequence number; there are few environments.
        let next = sources
            .iter_mut()
            .enumerate()
            .filter_map(|(index, source)| source.peek().map(|frame| (frame.seq, index)))
            .min();
        let Some(frame) = next.and_then(|(_, index)| sources[index].next()) else {
            found.cursors = moved_to(head);
            return Polled::Frames(found);
        };
        found.passed_conflated |= !frame.kind.is_durable();
        found.cursors = moved_to(frame.seq);
        if subscription.wants(frame.kind, frame.node, frame.pipeline.as_ref()) {
            found.frames.push(Arc::clone(frame));
            bytes += frame.wire_size();
            if found.frames.len() == POLL_FRAMES || bytes >= MAX_WRITE_BYTES {
                break;
            }
        }
    }
    found.more = true;
    Polled::Frames(found)
}

#[cfg(test)]
#[path = "hub_tests.rs"]
pub(super) mod tests;
