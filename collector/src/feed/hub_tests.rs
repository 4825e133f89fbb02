use std::collections::BTreeMap;

use proptest::prelude::*;
use systole_shared::events::EventType;
use systole_shared::{NodeId, PipelineId};
use uuid::Uuid;

use super::*;
use crate::feed::{Encoding, Resume};
use crate::model::Payload;

pub(in crate::feed) fn event(seq: u64, environment: i64, node: u128, kind: EventType) -> PendingEvent {
    let has_pipeline = matches!(kind, EventType::MetricUpdate | EventType::LogEntry);
    PendingEvent {
        seq,
        environment: EnvironmentKey(environment),
        node: (kind != EventType::FleetTotals).then(|| NodeId(Uuid::from_u128(node))),
        pipeline: has_pipeline.then(|| PipelineId::parse("p").unwrap()),
        kind,
        payload: Payload::Text(String::new()),
    }
}

/// The frame of a node's state.
pub(in crate::feed) fn frame_of(seq: u64, node: u128, published: Instant) -> Frame {
    Frame::new(event(seq, 1, node, EventType::FleetStatus), published)
}

fn subscription(scope: Scope, types: &[EventType]) -> Subscription {
    Subscription {
        types: types.iter().copied().collect(),
        nodes: Vec::new(),
        labels: None,
        pipelines: Vec::new(),
        scope,
        every: Duration::ZERO,
        snapshot: None,
        resume: Resume::Live,
        encoding: Encoding::Native,
    }
}

/// Everything behind the cursors, look by look.
fn read(hub: &Hub, subscription: &Subscription, cursors: &mut Cursors, conflated: Conflated) -> Vec<u64> {
    let mut seqs = Vec::new();
    loop {
        match hub.poll(subscription, *cursors, conflated) {
            Polled::Lagged { .. } => panic!("nothing fell off"),
            Polled::Frames(found) => {
                assert!(found.cursors.durable >= cursors.durable && found.cursors.conflated >= cursors.conflated);
                seqs.extend(found.frames.iter().map(|frame| frame.seq));
                *cursors = found.cursors;
                if !found.more {
                    return seqs;
                }
            }
        }
    }
}

fn read_all(hub: &Hub, subscription: &Subscription, cursor: u64) -> Vec<u64> {
    read(hub, subscription, &mut Cursors::at(cursor), Conflated::All)
}

/// What happens at a hub.
#[derive(Clone, Debug)]
struct Given {
    environment: i64,
    node: u128,
    kind: EventType,
}

fn given() -> impl Strategy<Value = Given> {
    (0_i64..4, 0_u128..5, prop::sample::select(EventType::ALL.to_vec())).prop_map(|(environment, node, kind)| Given {
        environment,
        // An environment has one subject of totals.
        node: if kind == EventType::FleetTotals { 0 } else { node },
        kind,
    })
}

fn publish(hub: &Hub, first: u64, given: &[Given]) {
    let events: Vec<_> = (first..).zip(given).map(|(seq, it)| event(seq, it.environment, it.node, it.kind)).collect();
    hub.publish(events, first + given.len() as u64 - 1);
}

proptest! {
    #[test]
    fn subscriber_receives_permitted_events_once_in_order(
        events in prop::collection::vec(given(), 1..1_200),
        scope in prop::option::of(0_i64..4),
        wanted in prop::collection::btree_set(0..EventType::ALL.len(), 1..4),
        cursor in 0_u64..1_300,
    ) {
        let hub = Hub::new(0);
        for (index, batch) in events.chunks(7).enumerate() {
            publish(&hub, index as u64 * 7 + 1, batch);
        }
        let types: Vec<_> = wanted.iter().map(|index| EventType::ALL[*index]).collect();
        let seen_by = scope.map_or(Scope::All, |key| Scope::One(EnvironmentKey(key)));
        let cursor = cursor.min(events.len() as u64);
        let seen = read_all(&hub, &subscription(seen_by, &types), cursor);
        let expected: Vec<u64> = (1..)
            .zip(&events)
            .filter(|(seq, it)| {
                *seq > cursor && scope.is_none_or(|own| own == it.environment) && types.contains(&it.kind)
            })
            .map(|(seq, _)| seq)
            .collect();
        prop_assert_eq!(seen, expected);
    }

    /// Between two flushes durable events come and the others wait; a flush has the newest of each
    /// that came since the last one, however the looks before have moved.
    #[test]
    fn conflation_keeps_durable_events_and_the_latest_others(
        rounds in prop::collection::vec((prop::collection::vec(given(), 1..40), any::<bool>()), 1..20),
    ) {
        let hub = Hub::new(0);
        let all = subscription(Scope::All, &EventType::ALL);
        let mut cursors = Cursors::at(0);
        let mut next = 1;
        // The newest of each subject that waits, by its number.
        let mut waiting: BTreeMap<(i64, u128, EventType), u64> = BTreeMap::new();
        for (events, flushes) in rounds {
            publish(&hub, next, &events);
            let mut expected = Vec::new();
            for (seq, it) in (next..).zip(&events) {
                if it.kind.is_durable() {
                    expected.push(seq);
                } else {
                    waiting.insert((it.environment, it.node, it.kind), seq);
                }
            }
            next += events.len() as u64;
            let conflated = if flushes { Conflated::Latest } else { Conflated::Skip };
            if flushes {
                expected.extend(std::mem::take(&mut waiting).into_values());
                expected.sort_unstable();
            }
            prop_assert_eq!(read(&hub, &all, &mut cursors, conflated), expected);
        }
    }
}

/// A node has one environment; the same number in two of them is two nodes.
#[test]
fn lagged_subscriber_is_reported() {
    let hub = Hub::new(0);
    let seqs = 1..=DURABLE.frames as u64 + 10;
    hub.publish(seqs.clone().map(|seq| event(seq, 1, 1, EventType::LogEntry)).collect(), *seqs.end());
    let last = seqs.end() + 1;
    hub.publish(vec![event(last, 2, 2, EventType::LogEntry)], last);
    let one = subscription(Scope::One(EnvironmentKey(1)), &EventType::ALL);
    let poll = |subscription: &Subscription, at| hub.poll(subscription, Cursors::at(at), Conflated::All);
    assert!(matches!(poll(&one, 9), Polled::Lagged { floor: 10 }));
    assert!(matches!(poll(&one, 10), Polled::Frames(_)));
    let two = subscription(Scope::One(EnvironmentKey(2)), &EventType::ALL);
    assert_eq!(read_all(&hub, &two, 0), [last], "a loud environment does not push off the frames of another");
    assert!(matches!(poll(&subscription(Scope::All, &EventType::ALL), 9), Polled::Lagged { floor: 10 }));
}

#[test]
fn metrics_evict_no_status_change() {
    let hub = Hub::new(0);
    hub.publish(vec![event(1, 1, 1, EventType::StatusChange)], 1);
    let seqs = 2..=CONFLATED.frames as u64 + 100;
    hub.publish(seqs.clone().map(|seq| event(seq, 1, 1, EventType::MetricUpdate)).collect(), *seqs.end());
    let all = subscription(Scope::All, &EventType::ALL);
    assert_eq!(read_all(&hub, &all, 0), [1, *seqs.end()]);
    let waits = Cursors { durable: *seqs.end(), conflated: 0 };
    let each = read(&hub, &all, &mut waits.clone(), Conflated::Latest);
    assert_eq!(each, [*seqs.end()], "however long it has waited");
}

#[test]
fn conflated_only_subscriber_never_replays() {
    let hub = Hub::new(100);
    let metrics = subscription(Scope::All, &[EventType::MetricUpdate]);
    assert!(matches!(hub.poll(&metrics, Cursors::at(5), Conflated::All), Polled::Frames(_)));
}

#[test]
fn unpublished_commit_is_replayed_from_the_database() {
    let hub = Hub::new(0);
    hub.publish(vec![event(1, 1, 1, EventType::LogEntry)], 1);
    hub.skip_to(1);
    let all = subscription(Scope::All, &EventType::ALL);
    assert_eq!(read_all(&hub, &all, 0), [1], "nothing is missing here");
    hub.skip_to(5);
    for scope in [Scope::All, Scope::One(EnvironmentKey(1))] {
        let look = hub.poll(&subscription(scope, &EventType::ALL), Cursors::at(4), Conflated::All);
        assert!(matches!(look, Polled::Lagged { floor: 5 }));
    }
    hub.publish(vec![event(6, 1, 1, EventType::LogEntry)], 6);
    assert_eq!(read_all(&hub, &all, 5), [6]);
}

#[test]
fn events_before_the_start_are_replayed_from_the_database() {
    let hub = Hub::new(100);
    let all = subscription(Scope::All, &EventType::ALL);
    assert!(matches!(hub.poll(&all, Cursors::at(99), Conflated::All), Polled::Lagged { floor: 100 }));
    let Polled::Frames(found) = hub.poll(&all, Cursors::at(100), Conflated::All) else { panic!("nothing is missing") };
    assert_eq!(found.cursors, Cursors::at(100));
}

#[tokio::test(start_paused = true)]
async fn conflated_event_survives_a_reconnect() {
    let hub = Hub::new(0);
    let every = Duration::from_secs(10);
    hub.publish(vec![event(1, 1, 1, EventType::FleetStatus)], 1);
    tokio::time::advance(every * 2).await;
    hub.publish(vec![event(2, 1, 2, EventType::FleetStatus)], 2);
    tokio::time::advance(every / 2).await;
    hub.publish(vec![event(3, 1, 3, EventType::FleetStatus), event(4, 1, 1, EventType::LogEntry)], 4);
    assert_eq!(hub.conflated_from(Scope::All, 4, every), 1, "2 and 3 may not have been sent when 4 was");
    assert_eq!(hub.conflated_from(Scope::All, 4, Duration::ZERO), 4, "nothing waits");
    assert_eq!(hub.conflated_from(Scope::All, 3, every), 3, "a subscriber receives 2 before 3");
    assert_eq!(hub.conflated_from(Scope::One(EnvironmentKey(9)), 4, every), 4);
}

#[test]
fn lag_counts_durable_events_only() {
    let hub = Hub::new(0);
    hub.publish(vec![event(1, 1, 1, EventType::LogEntry), event(2, 1, 1, EventType::FleetStatus)], 2);
    hub.publish(vec![event(3, 2, 2, EventType::StatusChange)], 3);
    assert_eq!(hub.durable_behind(0).0, 2);
    assert!(hub.durable_behind(2).1.is_some());
    assert_eq!(hub.durable_behind(1).0, 1, "in whichever environment");
    hub.publish((4..900).map(|seq| event(seq, 1, 1, EventType::MetricUpdate)).collect(), 899);
    assert_eq!(hub.durable_behind(3), (0, None), "metrics do not count as lag");
}
