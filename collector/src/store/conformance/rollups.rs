//! Hours and days against a naive sum over minutes.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// A midnight.
const BEGIN: i64 = MINUTE / 1_440 * 1_440;
const EVER: BucketRange = BucketRange { step: Resolution::Minute, from: 0, to: i64::MAX };
const NEVER: i64 = i64::MAX / 1_440;

/// What happens to the store.
#[derive(Clone, Debug)]
enum Act {
    /// Reports of a node (0 or 1) of minutes after [`BEGIN`], with events.
    Report { node: i64, minutes: Vec<(i64, i64)> },
    /// Sums hours before this one, a few series at a time, a few times.
    RollUp { hours: i64, limit: u32, times: u32 },
}

fn act() -> impl Strategy<Value = Act> {
    let minute = prop_oneof![0..4_320_i64, 55..65_i64, 1_430..1_450_i64];
    prop_oneof![
        (0..2_i64, vec((minute, 1..100_i64), 1..6)).prop_map(|(node, minutes)| Act::Report { node, minutes }),
        (0..80_i64, 1..4_u32, 1..6_u32).prop_map(|(hours, limit, times)| Act::RollUp { hours, limit, times }),
    ]
}

/// A minute's rows as a report makes them.
fn report(node: i64, series: i64, minute: i64, events_in: i64) -> FlushBatch {
    let pipeline = PipelineMinuteRow {
        utilization_sum: events_in as f64 * 0.5,
        utilization_weight: 1.0,
        resets: events_in % 2,
        ..pipeline_minute(minute, series, events_in)
    };
    let component = ComponentMinuteRow {
        minute,
        series: series + 1,
        received_events: events_in,
        sent_bytes: (events_in % 3 == 0).then_some(events_in),
        samples: 1,
        ..ComponentMinuteRow::default()
    };
    let host = NodeMinuteRow {
        minute,
        node,
        memory_used_bytes: Some(events_in),
        net_rx_bytes: Some(minute % 700),
        cpu_seconds_total: Some(minute as f64),
        samples: 1,
        ..NodeMinuteRow::default()
    };
    FlushBatch {
        pipeline_minutes: vec![pipeline],
        component_minutes: vec![component],
        node_minutes: vec![host],
        dirty_hours: vec![(minute / 60, node)],
        dirty_days: vec![(minute / 1_440, node)],
        ..FlushBatch::default()
    }
}

/// Two nodes with series 1 and 2, 3 and 4 of one pipeline.
async fn two_nodes(store: &dyn TimeSeriesStore) -> [i64; 2] {
    let (environment, first) = with_pipeline(store).await;
    let second = store.enroll_node(enrolment(environment, None, "second")).await.unwrap();
    let series = [(3, ""), (4, "in")].map(|(id, component)| SeriesRow {
        id,
        node: second.key.0,
        pipeline: 1,
        component: component.into(),
        kind: "source".into(),
    });
    store.commit(CommitBatch { series: series.into(), ..CommitBatch::default() }).await.unwrap();
    [first.key.0, second.key.0]
}

async fn roll_up_all(store: &dyn TimeSeriesStore) {
    while store.roll_up(NEVER, 3).await.unwrap() > 0 {}
}

/// Events, weight of utilization, and resets of each step.
type Sums = BTreeMap<i64, (i64, i64, i64)>;

fn naive(minutes: &[(i64, i64)], step: Resolution) -> Sums {
    let mut sums = Sums::new();
    for (minute, events) in minutes {
        let sum = sums.entry(minute / step.minutes()).or_default();
        *sum = (sum.0 + events, sum.1 + 1, sum.2 + events % 2);
    }
    sums
}

async fn stored(store: &dyn TimeSeriesStore, node: Option<i64>, step: Resolution) -> Sums {
    let views =
        store.pipeline_minutes(PipelineKey(1), node.map(NodeKey), BucketRange { step, ..EVER }).await.unwrap().rows;
    let sum = |view: &PipelineMinuteView| {
        (view.events_in, (view.events_in as f64 * 0.5 / view.utilization().unwrap()).round() as i64, view.resets)
    };
    views.iter().map(|view| (view.at, sum(view))).collect()
}

/// The lowest and the highest count of a minute in each step.
fn naive_ends(minutes: &[(i64, i64)], step: Resolution) -> BTreeMap<i64, (i64, i64)> {
    let mut ends: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (minute, (events, ..)) in naive(minutes, Resolution::Minute) {
        let own = ends.entry(minute / step.minutes()).or_insert((events, events));
        *own = (own.0.min(events), own.1.max(events));
    }
    ends
}

async fn stored_ends(
    store: &dyn TimeSeriesStore,
    node: Option<i64>,
    step: Resolution,
    minutes_before: i64,
) -> BTreeMap<i64, (i64, i64)> {
    let (range, node) = (BucketRange { step, ..EVER }, node.map(NodeKey));
    let rows = store.pipeline_extremes(PipelineKey(1), node, range, minutes_before).await.unwrap();
    let ends = PipelineExtremesRow::extremes(&rows).into_iter();
    let ends: BTreeMap<_, _> = ends.map(|((at, _), ends)| (at, (ends.min.events_in, ends.max.events_in))).collect();
    let rows = store.component_extremes(PipelineKey(1), node, range, minutes_before).await.unwrap();
    let of_component = ComponentExtremesRow::extremes(&rows).into_iter();
    let of_component: BTreeMap<_, _> =
        of_component.map(|((at, _), ends)| (at, (ends.min.received_events, ends.max.received_events))).collect();
    assert_eq!(ends, of_component, "both count the same");
    ends
}

pub(super) async fn extremes_are_those_of_minutes(store: Arc<dyn TimeSeriesStore>) {
    let nodes = two_nodes(&*store).await;
    let mut runner = TestRunner::deterministic();
    let acts = vec(act(), 40).new_tree(&mut runner).unwrap().current();
    let mut reported = [Vec::new(), Vec::new()];
    for act in acts {
        match act.clone() {
            Act::Report { node, minutes } => {
                for (minute, events) in minutes {
                    let index = node as usize;
                    store.flush(report(nodes[index], 1 + 2 * node, BEGIN + minute, events)).await.unwrap();
                    reported[index].push((BEGIN + minute, events));
                }
            }
            Act::RollUp { hours, limit, times } => {
                for _ in 0..times {
                    store.roll_up(BEGIN / 60 + hours, limit).await.unwrap();
                }
            }
        }
        for step in [Resolution::Hour, Resolution::Day] {
            for index in [0, 1] {
                let ends = stored_ends(&*store, Some(nodes[index]), step, i64::MAX).await;
                assert_eq!(ends, naive_ends(&reported[index], step), "{step:?} after {act:?}");
            }
            let mut added = naive_ends(&reported[0], step);
            for (at, ends) in naive_ends(&reported[1], step) {
                let sum = added.entry(at).or_default();
                *sum = (sum.0 + ends.0, sum.1 + ends.1);
            }
            assert_eq!(stored_ends(&*store, None, step, i64::MAX).await, added, "{step:?} after {act:?}");
        }
    }
}

pub(super) async fn minutes_that_are_not_complete_have_no_extremes(store: Arc<dyn TimeSeriesStore>) {
    let [node, _] = two_nodes(&*store).await;
    for (minute, events) in [(0, 50), (1, 70), (2, 3)] {
        store.flush(report(node, 1, BEGIN + minute, events)).await.unwrap();
    }
    // Lines that were dropped are no sample.
    let dropped = PipelineMinuteRow { logs_dropped: 1, samples: 0, ..pipeline_minute(BEGIN + 1, 1, 0) };
    let empty = PipelineMinuteRow { minute: BEGIN - 60, ..dropped.clone() };
    store.flush(FlushBatch { pipeline_minutes: vec![empty, dropped], ..FlushBatch::default() }).await.unwrap();
    let rows = async |before| {
        let range = BucketRange { step: Resolution::Hour, ..EVER };
        let rows = store.pipeline_extremes(PipelineKey(1), None, range, before).await.unwrap();
        let ends = PipelineExtremesRow::extremes(&rows).into_iter();
        ends.map(|((at, _), ends)| (at, ends.min.events_in, ends.max.events_in)).collect::<Vec<_>>()
    };
    assert_eq!(rows(BEGIN + 2).await, [(BEGIN / 60, 50, 70)]);
    assert_eq!(rows(BEGIN + 3).await, [(BEGIN / 60, 3, 70)]);
    assert_eq!(rows(BEGIN).await, []);
}

pub(super) async fn host_extremes_are_those_of_minutes(store: Arc<dyn TimeSeriesStore>) {
    let [node, _] = two_nodes(&*store).await;
    // A peak in the first minute of an hour: it is compared with the last minute of the hour before.
    let received = |minute: i64| minute * 600 + if minute >= 60 { 60_000 } else { 0 };
    for minute in 0..125 {
        let host = NodeMinuteRow {
            minute: BEGIN + minute,
            node,
            memory_used_bytes: Some(1_000 + minute),
            load_avg_1: Some(minute as f64),
            cpu_seconds_total: Some(minute as f64 * 60.0),
            cpu_seconds_idle: Some(minute as f64 * 30.0 - if minute >= 60 { 30.0 } else { 0.0 }),
            net_rx_bytes: Some(received(minute)),
            samples: 1,
            ..NodeMinuteRow::default()
        };
        let batch = FlushBatch { node_minutes: vec![host], ..report(node, 1, BEGIN + minute, 1) };
        store.flush(batch).await.unwrap();
    }
    let read = async |step| {
        let rows = store.node_minutes(NodeKey(node), BucketRange { step, ..EVER }).await.unwrap().rows;
        let spans = merge_host_aggregates(rows).into_iter();
        let ends = spans.map(|span| {
            let memory = (span.memory_used_bytes_min.unwrap(), span.memory_used_bytes_max.unwrap());
            let load = (span.load_avg_1_min.unwrap(), span.load_avg_1_max.unwrap());
            let cpu = (span.cpu_utilization_min.unwrap(), span.cpu_utilization_max.unwrap());
            (memory, load, cpu, (span.net_rx_bytes_min.unwrap(), span.net_rx_bytes_max.unwrap()))
        });
        ends.collect::<Vec<_>>()
    };
    let hours = [
        ((1_000, 1_059), (0.0, 59.0), (0.5, 0.5), (600, 600)),
        ((1_060, 1_119), (60.0, 119.0), (0.5, 1.0), (600, 60_600)),
        ((1_120, 1_124), (120.0, 124.0), (0.5, 0.5), (600, 600)),
    ];
    let days = [((1_000, 1_124), (0.0, 124.0), (0.5, 1.0), (600, 60_600))];
    assert_eq!((read(Resolution::Hour).await, read(Resolution::Day).await), (hours.to_vec(), days.to_vec()));
    store.roll_up(BEGIN / 60 + 1, 1_000).await.unwrap();
    assert_eq!((read(Resolution::Hour).await, read(Resolution::Day).await), (hours.to_vec(), days.to_vec()));
    roll_up_all(&*store).await;
    assert_eq!((read(Resolution::Hour).await, read(Resolution::Day).await), (hours.to_vec(), days.to_vec()));
}

pub(super) async fn hours_and_days_equal_the_sum_of_minutes(store: Arc<dyn TimeSeriesStore>) {
    let nodes = two_nodes(&*store).await;
    let mut runner = TestRunner::deterministic();
    let acts = vec(act(), 60).new_tree(&mut runner).unwrap().current();
    let mut reported = [Vec::new(), Vec::new()];
    for act in acts {
        match act.clone() {
            Act::Report { node, minutes } => {
                for (minute, events) in minutes {
                    let index = node as usize;
                    let batch = report(nodes[index], 1 + 2 * node, BEGIN + minute, events);
                    store.flush(batch).await.unwrap();
                    reported[index].push((BEGIN + minute, events));
                }
            }
            Act::RollUp { hours, limit, times } => {
                for _ in 0..times {
                    store.roll_up(BEGIN / 60 + hours, limit).await.unwrap();
                }
            }
        }
        for step in Resolution::ALL {
            assert_eq!(stored(&*store, None, step).await, naive(&reported.concat(), step), "{step:?} after {act:?}");
        }
        assert_eq!(stored(&*store, Some(nodes[1]), Resolution::Day).await, naive(&reported[1], Resolution::Day));
    }
    roll_up_all(&*store).await;
    for step in Resolution::ALL {
        assert_eq!(stored(&*store, None, step).await, naive(&reported.concat(), step), "{step:?} at the end");
    }
}

pub(super) async fn history_is_equal_before_and_after_rollup(store: Arc<dyn TimeSeriesStore>) {
    let nodes = two_nodes(&*store).await;
    for minute in (0..3_000).step_by(7) {
        for (index, node) in nodes.into_iter().enumerate() {
            let batch = report(node, 1 + 2 * index as i64, BEGIN + minute, minute % 11);
            store.flush(batch).await.unwrap();
        }
    }
    let read = async || {
        let mut all = (Vec::new(), Vec::new());
        for step in Resolution::ALL {
            let range = BucketRange { step, ..EVER };
            all.0.extend(store.component_minutes(PipelineKey(1), None, range).await.unwrap().rows);
            all.1.extend(merge_host_aggregates(store.node_minutes(NodeKey(nodes[0]), range).await.unwrap().rows));
        }
        all
    };
    let before = read().await;
    assert_eq!(before.1.iter().filter(|span| span.samples > 1).count(), 53, "hours and days");
    assert!(before.1.last().unwrap().resets > 0 && before.0.iter().any(|view| view.sent_bytes.is_none()));
    store.roll_up(BEGIN / 60 + 30, 1_000).await.unwrap();
    assert_eq!(read().await, before, "in the middle");
    roll_up_all(&*store).await;
    assert_eq!(read().await, before, "at the end");
}

pub(super) async fn hours_outlive_their_minutes(store: Arc<dyn TimeSeriesStore>) {
    let [node, _] = two_nodes(&*store).await;
    let minutes: Vec<_> = (0..300).map(|minute| (BEGIN + minute, minute + 1)).collect();
    for (minute, events) in &minutes {
        store.flush(report(node, 1, *minute, *events)).await.unwrap();
    }
    let cutoffs = Cutoffs { minutes_before: BEGIN + 180, ..Cutoffs::default() };
    assert_eq!(store.expire(cutoffs, 1_000).await.unwrap(), 0, "what is not summed yet is needed");
    store.roll_up(BEGIN / 60 + 2, 1_000).await.unwrap();
    assert_eq!(store.expire(cutoffs, 1_000).await.unwrap(), 360, "two hours of three kinds");
    roll_up_all(&*store).await;
    assert_eq!(store.expire(cutoffs, 1_000).await.unwrap(), 180);
    let hours = naive(&minutes, Resolution::Hour);
    assert_eq!(stored(&*store, None, Resolution::Hour).await, hours);
    // One that is too late does not cost an hour what is known of it.
    store.flush(report(node, 1, BEGIN + 170, 7)).await.unwrap();
    assert_eq!(stored(&*store, None, Resolution::Hour).await, hours);
    roll_up_all(&*store).await;
    assert_eq!(stored(&*store, None, Resolution::Hour).await, hours);
    assert_eq!(stored(&*store, None, Resolution::Day).await, naive(&minutes, Resolution::Day));
    // Nor does a day lose what its hours were.
    let day = BEGIN / 1_440;
    let cutoffs = Cutoffs { hours_before: (day + 1) * 24, ..cutoffs };
    assert_eq!(store.expire(cutoffs, 1_000).await.unwrap(), 18, "the late minute too");
    assert!(stored(&*store, None, Resolution::Hour).await.is_empty());
    store.flush(report(node, 1, BEGIN + 310, 7)).await.unwrap();
    roll_up_all(&*store).await;
    assert_eq!(stored(&*store, None, Resolution::Day).await, naive(&minutes, Resolution::Day));
    let cutoffs = Cutoffs { days_before: day + 1, ..cutoffs };
    assert_eq!(store.expire(cutoffs, 1_000).await.unwrap(), 6, "the day, and an hour of it");
    assert!(stored(&*store, None, Resolution::Day).await.is_empty());
}

pub(super) async fn hour_sums_saturate(store: Arc<dyn TimeSeriesStore>) {
    let [node, _] = two_nodes(&*store).await;
    for minute in 0..2 {
        store.flush(report(node, 1, BEGIN + minute, i64::MAX)).await.unwrap();
    }
    roll_up_all(&*store).await;
    let days =
        store.pipeline_minutes(PipelineKey(1), None, BucketRange { step: Resolution::Day, ..EVER }).await.unwrap().rows;
    assert_eq!(days[0].events_in, i64::MAX);
}
