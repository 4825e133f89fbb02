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
const RING_BYTES: usize = 64 * 1024 * 1024;

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
    /// Head at the start of this process, or where it had to begin anew; before it there is only the
    /// database.
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
    /// Frames that the subscriber wants, how far it has looked with them, and whether there may be
    /// more behind.
    Frames { frames: Vec<Arc<Frame>>, cursor: u64, more: bool },
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

    /// Goes on behind `head`, whose events were committed without having been published: up to there
    /// only the database has everything.
    pub(super) fn skip_to(&self, head: u64) {
        {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            if head <= inner.head {
                return;
            }
            *inner = Inner { rings: HashMap::new(), head, start: head };
        }
        self.head.send_replace(head);
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
                None => Look::Frames { frames: Vec::new(), cursor: inner.head, more: false },
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
        self.bytes += frame.size();
        self.frames.push_back(frame);
        while self.frames.len() > RING_FRAMES || self.bytes > RING_BYTES {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.size();
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
        let Some(frame) = next else { return Look::Frames { frames, cursor: head, more: false } };
        if subscription.wants(frame.kind, frame.node, frame.pipeline.as_ref()) {
            frames.push(Arc::clone(frame));
            if frames.len() == LOOK_FRAMES {
                return Look::Frames { frames, cursor: frame.seq, more: true };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use systole_shared::NodeId;
    use systole_shared::events::EventType;
    use uuid::Uuid;

    use super::*;
    use crate::feed::Resume;
    use crate::ingest::changes::{Payload, PendingEvent};

    fn frame(seq: u64, environment: i64, kind: EventType) -> Frame {
        let node = NodeId(Uuid::from_u128(u128::from(seq % 3)));
        let payload = Payload::Text(String::new());
        let environment = EnvironmentKey(environment);
        PendingEvent { seq, environment, node, pipeline: None, kind, payload }.into()
    }

    fn subscription(scope: Scope, types: &[EventType]) -> Subscription {
        Subscription {
            types: types.iter().copied().collect(),
            nodes: Vec::new(),
            pipelines: Vec::new(),
            scope,
            every: Duration::ZERO,
            snapshot: false,
            resume: Resume::Live,
        }
    }

    /// Everything behind a cursor, look by look.
    fn read_all(hub: &Hub, subscription: &Subscription, mut cursor: u64) -> Vec<u64> {
        let mut seqs = Vec::new();
        loop {
            match hub.look(subscription, cursor) {
                Look::Behind => panic!("nothing fell off"),
                Look::Frames { frames, cursor: next, more } => {
                    seqs.extend(frames.iter().map(|frame| frame.seq));
                    cursor = next;
                    if !more {
                        return seqs;
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_subscriber_sees_what_it_may_and_wants_once_and_in_order(
            events in prop::collection::vec((0_i64..4, 0_usize..4), 0..1_200),
            scope in prop::option::of(0_i64..4),
            wanted in prop::collection::btree_set(0_usize..4, 1..4),
            cursor in 0_u64..1_300,
        ) {
            let hub = Hub::new(0);
            let head = events.len() as u64;
            for (index, batch) in events.chunks(7).enumerate() {
                let first = index as u64 * 7 + 1;
                let frames: Vec<_> =
                    (first..).zip(batch).map(|(seq, (env, kind))| frame(seq, *env, EventType::ALL[*kind])).collect();
                let published = first + frames.len() as u64 - 1;
                hub.publish(frames, published);
            }
            let types: Vec<_> = wanted.iter().map(|index| EventType::ALL[*index]).collect();
            let seen_by = scope.map_or(Scope::All, |key| Scope::One(EnvironmentKey(key)));
            let cursor = cursor.min(head);
            let seen = read_all(&hub, &subscription(seen_by, &types), cursor);
            let expected: Vec<u64> = (1..)
                .zip(&events)
                .filter(|(seq, (env, kind))| {
                    *seq > cursor && scope.is_none_or(|own| own == *env) && wanted.contains(kind)
                })
                .map(|(seq, _)| seq)
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn who_falls_off_the_ring_of_its_environment_is_told_so() {
        let hub = Hub::new(0);
        let seqs = 1..=RING_FRAMES as u64 + 10;
        hub.publish(seqs.clone().map(|seq| frame(seq, 1, EventType::LogEntry)).collect(), *seqs.end());
        hub.publish(vec![frame(seqs.end() + 1, 2, EventType::LogEntry)], seqs.end() + 1);
        let one = subscription(Scope::One(EnvironmentKey(1)), &EventType::ALL);
        assert!(matches!(hub.look(&one, 9), Look::Behind));
        assert!(matches!(hub.look(&one, 10), Look::Frames { .. }));
        let two = subscription(Scope::One(EnvironmentKey(2)), &EventType::ALL);
        assert_eq!(read_all(&hub, &two, 0), [seqs.end() + 1], "a loud neighbour pushes nobody off");
        assert!(matches!(hub.look(&subscription(Scope::All, &EventType::ALL), 9), Look::Behind));
    }

    #[test]
    fn what_was_committed_unpublished_is_only_in_the_database() {
        let hub = Hub::new(0);
        hub.publish(vec![frame(1, 1, EventType::LogEntry)], 1);
        hub.skip_to(1);
        let all = subscription(Scope::All, &EventType::ALL);
        assert_eq!(read_all(&hub, &all, 0), [1], "nothing is missing here");
        hub.skip_to(5);
        for scope in [Scope::All, Scope::One(EnvironmentKey(1))] {
            assert!(matches!(hub.look(&subscription(scope, &EventType::ALL), 4), Look::Behind));
        }
        hub.publish(vec![frame(6, 1, EventType::LogEntry)], 6);
        assert_eq!(read_all(&hub, &all, 5), [6]);
    }

    #[test]
    fn what_was_before_the_start_is_only_in_the_database() {
        let hub = Hub::new(100);
        let all = subscription(Scope::All, &EventType::ALL);
        assert!(matches!(hub.look(&all, 99), Look::Behind));
        assert!(matches!(hub.look(&all, 100), Look::Frames { cursor: 100, .. }));
    }
}
