//! The recent frames, one ring per environment, and the head of the sequence.
//!
//! A subscriber's cursor is the sequence number that it has seen last, so that a place in the ring
//! of one environment, in those of several, and in the database are all the same number.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use super::Subscription;
use super::frame::Frame;
use crate::auth::Scope;
use crate::store::EnvironmentKey;

/// Frames that an environment's ring holds: some minutes of a hundred nodes, some seconds of ten
/// thousand. Who falls behind further is served from the database.
const RING_FRAMES: usize = 32 * 1024;

/// Bytes that it holds, for environments with large events.
const RING_BYTES: usize = 32 * 1024 * 1024;

/// Frames that one look takes at most, so that the lock is held for microseconds.
const LOOK_FRAMES: usize = 256;

#[derive(Debug)]
struct Ring {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// Everything behind this sequence number is in the ring.
    floor: u64,
}

#[derive(Debug)]
struct Inner {
    rings: HashMap<EnvironmentKey, Ring>,
    head: u64,
    /// Head at the start of this process; before it there is only the database.
    start: u64,
}

/// The rings of all environments.
#[derive(Debug)]
pub(super) struct Hub {
    inner: RwLock<Inner>,
    head: watch::Sender<u64>,
}

/// What lies behind a cursor.
#[derive(Debug)]
pub(super) enum Look {
    /// Frames that the subscriber wants, and how far it has looked with them.
    Frames { frames: Vec<Arc<Frame>>, cursor: u64 },
    /// The cursor has fallen off the ring.
    Behind,
}

impl Hub {
    pub(super) fn new(head: u64) -> Self {
        let inner = Inner { rings: HashMap::new(), head, start: head };
        Hub { inner: RwLock::new(inner), head: watch::Sender::new(head) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head(&self) -> u64 {
        self.read().head
    }

    /// Changes with every publication.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Adds frames in their order; everything up to `head` is published with them.
    pub(super) fn publish(&self, frames: Vec<Frame>, head: u64) {
        {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            let start = inner.start;
            for frame in frames {
                let ring = inner.rings.entry(frame.environment).or_insert_with(|| Ring {
                    frames: VecDeque::new(),
                    bytes: 0,
                    floor: start,
                });
                ring.push(Arc::new(frame));
            }
            inner.head = inner.head.max(head);
        }
        self.head.send_if_modified(|known| std::mem::replace(known, head) != head);
    }

    /// What the subscriber wants of the frames behind its cursor, in order, with the head that was
    /// true at the same moment.
    pub(super) fn look(&self, subscription: &Subscription, cursor: u64) -> Look {
        let inner = self.read();
        if cursor < inner.start {
            return Look::Behind;
        }
        match subscription.scope {
            Scope::One(environment) => match inner.rings.get(&environment) {
                Some(ring) => look_at(&[ring], subscription, cursor, inner.head),
                None => Look::Frames { frames: Vec::new(), cursor: inner.head },
            },
            Scope::All => {
                let rings: Vec<_> = inner.rings.values().collect();
                look_at(&rings, subscription, cursor, inner.head)
            }
        }
    }
}

impl Ring {
    fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.frames.len() > RING_FRAMES || self.bytes > RING_BYTES {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
            self.floor = oldest.seq;
        }
    }
}

fn look_at(rings: &[&Ring], subscription: &Subscription, cursor: u64, head: u64) -> Look {
    if rings.iter().any(|ring| cursor < ring.floor) {
        return Look::Behind;
    }
    let mut places: Vec<_> = rings
        .iter()
        .map(|ring| ring.frames.range(ring.frames.partition_point(|frame| frame.seq <= cursor)..).peekable())
        .collect();
    let mut frames = Vec::new();
    loop {
        // The ring with the next sequence number; there are few environments.
        let next = places
            .iter_mut()
            .enumerate()
            .filter_map(|(index, place)| place.peek().map(|frame| (frame.seq, index)))
            .min()
            .and_then(|(_, index)| places[index].next());
        let Some(frame) = next else { return Look::Frames { frames, cursor: head } };
        if subscription.wants(frame.kind, frame.node, frame.pipeline.as_ref()) {
            frames.push(Arc::clone(frame));
            if frames.len() == LOOK_FRAMES {
                return Look::Frames { frames, cursor: frame.seq };
            }
        }
    }
}
