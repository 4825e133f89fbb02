//! Tests of the time series over a real store: a query counts everything once, at any time.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use systole_shared::Token;

use super::*;
use crate::model::{Resolution, SeriesKey};
use crate::store::MinuteBucket;
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Access, NewEnrolment, NodeBootRow, NodeHeartbeat, NodeMinuteRow, NodeTotalsRow, PipelineRow,
    SeriesRow as StoredSeries,
};

const BEGIN: i64 = 29_833_333;
const NODES: i64 = 3;
const EVER: BucketRange = BucketRange { step: Resolution::Minute, from: 0, to: i64::MAX };
/// All that is reported, in two hours that are over.
const NEAR: BucketRange = BucketRange { step: Resolution::Minute, from: BEGIN, to: BEGIN + 70 };
const BOOT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

async fn open(path: &Path) -> TimeSeries {
    let timeseries = TimeSeries::new(Arc::new(SqliteStore::open(path, Access::Exclusive).unwrap()));
    timeseries.load().await.unwrap();
    timeseries
}

/// Three nodes with pipeline 1: series 1, 3, 5, and their components 2, 4, 6.
async fn prepare(timeseries: &TimeSeries) {
    let environment = timeseries.store.load_access(None).await.unwrap().unwrap().environments[0].key;
    let mut batch = CommitBatch {
        pipelines: vec![PipelineRow {
            id: 1,
            environment: environment.0,
            slug: "orders".into(),
            name: "Orders".into(),
        }],
        ..CommitBatch::default()
    };
    for number in 1..=NODES {
        let secret = format!("node {number}");
        let enrolment = NewEnrolment {
            environment,
            name: secret.clone(),
            machine_id: None,
            os: String::new(),
            agent_version: String::new(),
            labels: BTreeMap::new(),
            hash: Token::new(&secret).hash(),
            hint: String::new(),
            now: 0,
            old_tokens_until: 0,
        };
        let node = timeseries.store.enroll_node(enrolment).await.unwrap().key.0;
        assert_eq!(node, number);
        for (id, component) in [(2 * node - 1, ""), (2 * node, "parse")] {
            let kind = "transform".into();
            batch.series.push(StoredSeries { id, node, pipeline: 1, component: component.into(), kind });
        }
    }
    timeseries.commit(WalRecord::default(), batch).await.unwrap();
}

async fn commit(timeseries: &TimeSeries, (record, batch): (WalRecord, CommitBatch)) -> Result<CommitBatch, StoreError> {
    timeseries.commit(record, batch).await
}

/// A report of a node: so many events in a minute.
fn report(node: i64, minute: i64, events: i64, seq: i64) -> (WalRecord, CommitBatch) {
    let mut bucket = MinuteBucket::new(BEGIN + minute, node);
    let row = bucket.pipeline(SeriesKey(2 * node - 1));
    (row.events_in, row.samples, row.latency_sum, row.latency_weight) = (events, 1, 1_000.0 * events as f64, 1.0);
    bucket.component(SeriesKey(2 * node)).received_events = events;
    let host = NodeMinuteRow {
        minute: bucket.minute,
        node,
        memory_used_bytes: Some(seq),
        samples: 1,
        ..NodeMinuteRow::default()
    };
    bucket.set_host(host);
    let record = WalRecord {
        buckets: vec![bucket],
        boots: vec![NodeBootRow { node, boot: BOOT.into(), seq, last_seen_at: seq }],
        heartbeats: vec![(
            node,
            NodeHeartbeat { host: Some(format!("{{\"seq\":{seq}}}")), health: None, last_seen_at: Some(seq) },
        )],
        forgotten_boots: Vec::new(),
        totals: vec![NodeTotalsRow { node, body: seq.to_le_bytes().into() }],
    };
    (record, CommitBatch { head_seq: seq as u64, ..CommitBatch::default() })
}

#[derive(Clone, Debug)]
enum Act {
    Report {
        node: i64,
        minute: i64,
        events: i64,
    },
    Seal,
    Flush,
    /// The process ends where it stands, and another one begins.
    Crash,
    /// A chunk is written without an answer.
    FlushUnheard,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..=NODES, 0..70_i64, 1..100_i64).prop_map(|(node, minute, events)| Act::Report { node, minute, events }),
        2 => Just(Act::Seal),
        3 => Just(Act::Flush),
        1 => Just(Act::Crash),
        1 => Just(Act::FlushUnheard),
    ]
}

async fn check(timeseries: &TimeSeries, sums: &BTreeMap<(i64, i64), i64>, last: &HashMap<i64, i64>, after: &str) {
    for step in Resolution::ALL {
        let range = BucketRange { step, ..EVER };
        let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
        for ((minute, _), events) in sums {
            *expected.entry((BEGIN + minute).div_euclid(step.minutes())).or_default() += events;
        }
        let pipeline = timeseries.pipeline_minutes(PipelineKey(1), None, range).await.unwrap();
        let read: BTreeMap<_, _> = pipeline.iter().map(|view| (view.at, view.events_in)).collect();
        assert_eq!(read, expected, "{step:?} {after}");
        assert_eq!(pipeline.len(), expected.len());
        for view in &pipeline {
            assert_eq!(view.latency_sum, 1_000.0 * view.events_in as f64);
        }
        if step == Resolution::Minute {
            assert_eq!(
                timeseries.pipeline_minutes(PipelineKey(1), None, NEAR).await.unwrap(),
                pipeline,
                "of hours {after}"
            );
        }
        let component = timeseries.component_minutes(PipelineKey(1), None, range).await.unwrap();
        let read: BTreeMap<_, _> = component.iter().map(|view| (view.at, view.received_events)).collect();
        assert_eq!(read, expected, "{step:?} of the component {after}");
        let samples: i64 =
            timeseries.node_minutes(NodeKey(1), range).await.unwrap().iter().map(|span| span.samples).sum();
        let own = timeseries.pipeline_minutes(PipelineKey(1), Some(NodeKey(1)), range).await.unwrap();
        assert_eq!(samples, own.iter().map(|view| view.samples).sum::<i64>(), "{step:?} of the host {after}");
    }
    let nodes = timeseries.list_nodes(NodeQuery { limit: 10, ..NodeQuery::default() }).await.unwrap();
    for node in nodes {
        assert_eq!(node.last_seen_at, last.get(&node.key.0).copied(), "{after}");
        assert_eq!(node.host, last.get(&node.key.0).map(|seq| format!("{{\"seq\":{seq}}}")), "{after}");
    }
}

/// What is loaded of each node is what it reported last.
async fn check_totals(timeseries: &TimeSeries, last: &HashMap<i64, i64>) {
    for node in timeseries.load().await.unwrap().nodes {
        let expected = last.get(&node.key.0).map(|seq| seq.to_le_bytes().to_vec());
        assert_eq!(node.totals, expected, "node {}", node.key.0);
    }
}

#[tokio::test]
async fn rows_count_once_over_flushes_and_crashes() {
    let mut runner = TestRunner::deterministic();
    let mut hits = 0;
    for _ in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let mut timeseries = open(&path).await;
        prepare(&timeseries).await;
        let acts = vec(act(), 50).new_tree(&mut runner).unwrap().current();
        let mut sums = BTreeMap::new();
        let mut last = HashMap::new();
        let mut seq = 0;
        for act in acts {
            match act.clone() {
                Act::Report { node, minute, events } => {
                    seq += 1;
                    commit(&timeseries, report(node, minute, events, seq)).await.unwrap();
                    *sums.entry((minute, node)).or_default() += events;
                    last.insert(node, seq);
                }
                Act::Seal => {
                    timeseries.seal();
                }
                Act::Flush => {
                    timeseries.flush().await.unwrap();
                }
                Act::FlushUnheard => {
                    let batch = {
                        let memtable = timeseries.lock();
                        memtable.next_chunk().map(|chunk| rows_of(chunk, memtable.head_seq))
                    };
                    if let Some(batch) = batch {
                        timeseries.store.flush(batch).await.unwrap();
                    }
                    // As the committer does when no answer came.
                    check_totals(&timeseries, &last).await;
                }
                Act::Crash => {
                    timeseries.store.close().await;
                    drop(timeseries);
                    timeseries = open(&path).await;
                    check_totals(&timeseries, &last).await;
                }
            }
            check(&timeseries, &sums, &last, &format!("after {act:?}")).await;
        }
        while timeseries.seal() > 0 {
            timeseries.flush().await.unwrap();
        }
        check(&timeseries, &sums, &last, "at the end").await;
        check_totals(&timeseries, &last).await;
        hits += timeseries.hour_counts().hits;
        assert_eq!(timeseries.usage(), TimeSeriesUsage::default(), "nothing is left in the journal");
        let snapshot = timeseries.load().await.unwrap();
        assert!(snapshot.wal.is_empty());
        let progress: HashMap<_, _> =
            snapshot.nodes.iter().filter_map(|node| Some((node.key.0, node.boots.first()?.1 as i64))).collect();
        assert_eq!(progress, last);
        timeseries.store.close().await;
    }
    assert!(hits > 100, "{hits} hours came from memory");
}

fn events_in(views: &[PipelineMinuteView]) -> i64 {
    views.iter().map(|view| view.events_in).sum()
}

/// Writes all that waits.
async fn flush_all(timeseries: &TimeSeries) {
    while timeseries.seal() > 0 {
        timeseries.flush().await.unwrap();
    }
}

#[tokio::test]
async fn cached_hour_is_not_mixed_with_newer_rows() {
    let dir = tempfile::tempdir().unwrap();
    let timeseries = open(&dir.path().join("test.db")).await;
    prepare(&timeseries).await;
    commit(&timeseries, report(1, 0, 10, 1)).await.unwrap();
    flush_all(&timeseries).await;
    // The first of the two hours.
    timeseries.pipeline_minutes(PipelineKey(1), None, BucketRange { to: BEGIN + 1, ..NEAR }).await.unwrap();
    for (minute, is_of_use) in [(69, true), (0, false)] {
        commit(&timeseries, report(1, minute, 1, 2)).await.unwrap();
        let reading = timeseries.read();
        let found = timeseries.lock().look_up(PipelineKey(1), NEAR, clock::now_ms()).unwrap();
        assert_eq!(found.missing.from, (BEGIN + 60).div_euclid(60) * 60, "only the second is read");
        flush_all(&timeseries).await;
        let stored = timeseries.store.pipeline_minutes(PipelineKey(1), None, found.missing).await.unwrap();
        let stored = timeseries.lock().merge(found, stored);
        assert_eq!(stored.map(|stored| events_in(&stored.rows)), is_of_use.then_some(11));
        drop(reading);
        // What was read of the second hour is known now, and goes for the next round.
        timeseries.lock().hours.drop_hour((BEGIN + 69).div_euclid(60));
    }
    assert_eq!(events_in(&timeseries.pipeline_minutes(PipelineKey(1), None, NEAR).await.unwrap()), 12);
}

#[tokio::test]
async fn rows_read_before_a_change_are_not_cached() {
    let dir = tempfile::tempdir().unwrap();
    let timeseries = open(&dir.path().join("test.db")).await;
    prepare(&timeseries).await;
    commit(&timeseries, report(1, 0, 10, 1)).await.unwrap();
    let reading = timeseries.read();
    let found = timeseries.lock().look_up(PipelineKey(1), NEAR, clock::now_ms()).unwrap();
    let stored = timeseries.store.pipeline_minutes(PipelineKey(1), None, found.missing).await.unwrap();
    flush_all(&timeseries).await;
    assert_eq!(events_in(&timeseries.lock().merge(found, stored).unwrap().rows), 0);
    drop(reading);
    assert_eq!(events_in(&timeseries.pipeline_minutes(PipelineKey(1), None, NEAR).await.unwrap()), 10);
}

#[tokio::test]
async fn expired_minutes_are_not_read_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let timeseries = open(&path).await;
    prepare(&timeseries).await;
    for minute in [0, 69] {
        commit(&timeseries, report(1, minute, 10, minute + 1)).await.unwrap();
    }
    flush_all(&timeseries).await;
    for hits in [0, 2] {
        assert_eq!(events_in(&timeseries.pipeline_minutes(PipelineKey(1), None, NEAR).await.unwrap()), 20);
        assert_eq!(timeseries.hour_counts(), HourCounts { hits, misses: 2 });
    }
    while timeseries.store.roll_up(clock::now_ms() / Resolution::Hour.ms(), 1_000).await.unwrap() > 0 {}
    let expire =
        async |minutes_before| timeseries.expire(Cutoffs { minutes_before, ..Cutoffs::default() }, 100).await.unwrap();
    let second_hour = (BEGIN + 60).div_euclid(60) * 60;
    assert!(expire(second_hour).await > 0);
    assert_eq!(events_in(&timeseries.pipeline_minutes(PipelineKey(1), None, NEAR).await.unwrap()), 10);
    // Nor does a query that read them before their removal keep them.
    timeseries.lock().hours.drop_hour(second_hour / 60);
    let reading = timeseries.read();
    let found = timeseries.lock().look_up(PipelineKey(1), NEAR, clock::now_ms()).unwrap();
    let stored = timeseries.store.pipeline_minutes(PipelineKey(1), None, found.missing).await.unwrap();
    assert!(expire(second_hour + 60).await > 0);
    assert_eq!(events_in(&timeseries.lock().merge(found, stored).unwrap().rows), 10);
    drop(reading);
    assert_eq!(events_in(&timeseries.pipeline_minutes(PipelineKey(1), None, NEAR).await.unwrap()), 0);
}

#[tokio::test]
async fn flush_during_a_read_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let timeseries = open(&dir.path().join("test.db")).await;
    prepare(&timeseries).await;
    commit(&timeseries, report(1, 0, 10, 1)).await.unwrap();
    // Read before the chunk was written, added to after it.
    let reading = timeseries.read();
    let stored = timeseries.store.pipeline_minutes(PipelineKey(1), None, EVER).await.unwrap();
    timeseries.seal();
    while timeseries.flush().await.unwrap().is_some() {}
    let sum = |views: Vec<PipelineMinuteView>| views.iter().map(|view| view.events_in).sum::<i64>();
    assert_eq!(sum(merge_on_read::pipeline_minutes(stored, EVER, &timeseries.lock())), 10);
    // And read after it was written.
    let stored = timeseries.store.pipeline_minutes(PipelineKey(1), None, EVER).await.unwrap();
    assert_eq!(sum(merge_on_read::pipeline_minutes(stored, EVER, &timeseries.lock())), 10);
    drop(reading);
    assert_eq!(timeseries.lock().buckets_above(0).count(), 0, "no reader needs it any more");
}

#[tokio::test]
async fn progress_is_in_the_wal_once_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let timeseries = open(&path).await;
    prepare(&timeseries).await;
    let boot = |name: &str, seq, last_seen_at| NodeBootRow { node: 1, boot: name.into(), seq, last_seen_at };
    let other = "01890a5d-ac96-774b-bcce-b302099a8058";
    for (boots, forgotten) in [
        (vec![boot(BOOT, 4, 40)], vec![]),
        (vec![boot(other, 1, 50)], vec![]),
        (vec![boot(BOOT, 5, 60)], vec![(1, other.to_owned())]),
    ] {
        let record = WalRecord { boots, forgotten_boots: forgotten, ..WalRecord::default() };
        timeseries.commit(record, CommitBatch::default()).await.unwrap();
    }
    drop(timeseries);
    let boots = async |timeseries: &TimeSeries| {
        let nodes = timeseries.load().await.unwrap().nodes;
        let node = nodes.into_iter().find(|node| node.key == NodeKey(1)).unwrap();
        node.boots.into_iter().map(|(boot, seq)| (boot.to_string(), seq)).collect::<Vec<_>>()
    };
    let timeseries = open(&path).await;
    assert_eq!(boots(&timeseries).await, [(BOOT.to_owned(), 5)]);
    let record = WalRecord { boots: vec![boot(other, 2, 70)], ..WalRecord::default() };
    timeseries.commit(record, CommitBatch::default()).await.unwrap();
    let both = [(BOOT.to_owned(), 5), (other.to_owned(), 2)];
    assert_eq!(boots(&timeseries).await, both, "the one that was seen last at the end");
    while timeseries.seal() > 0 {
        timeseries.flush().await.unwrap();
    }
    assert_eq!(boots(&timeseries).await, both);
}

#[tokio::test]
async fn large_flush_has_several_chunks_and_removes_all_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let timeseries = open(&path).await;
    prepare(&timeseries).await;
    for minute in 0..3_000 {
        commit(&timeseries, report(1 + minute % NODES, minute, 1, minute + 1)).await.unwrap();
    }
    assert!(timeseries.usage().rows == 9_000 && timeseries.usage().bytes > 3_000, "{:?}", timeseries.usage());
    assert!(timeseries.seal() > 4);
    let mut chunks = Vec::new();
    while let Some(rows) = timeseries.flush().await.unwrap() {
        chunks.push(rows);
    }
    assert!(chunks.iter().all(|rows| *rows < 3_000), "{chunks:?}");
    let minutes = timeseries.store.pipeline_minutes(PipelineKey(1), None, EVER).await.unwrap();
    assert_eq!((minutes.rows.len(), minutes.flushes), (3_000, chunks.len() as u64));
    assert_eq!(timeseries.usage(), TimeSeriesUsage::default());
    let mut connection = SqliteConnection::establish(&path.display().to_string()).unwrap();
    // Nothing may be left: this fails when there is a record.
    connection
        .batch_execute("CREATE TABLE t (n INTEGER CHECK (n = 0)); INSERT INTO t SELECT count(*) FROM journal")
        .unwrap();
}

#[tokio::test]
async fn failed_flush_keeps_rows_and_blocks_no_report() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let timeseries = open(&path).await;
    prepare(&timeseries).await;
    commit(&timeseries, report(1, 0, 10, 1)).await.unwrap();
    let mut beside = SqliteConnection::establish(&path.display().to_string()).unwrap();
    beside
        .batch_execute("CREATE TRIGGER t BEFORE INSERT ON pipeline_minutes BEGIN SELECT RAISE(ABORT, 'no rows'); END;")
        .unwrap();
    let sum = async || {
        let views = timeseries.pipeline_minutes(PipelineKey(1), None, EVER).await.unwrap();
        views.iter().map(|view| view.events_in).sum::<i64>()
    };
    for seq in 2..=3 {
        timeseries.seal();
        assert!(timeseries.flush().await.is_err());
        // As the committer does after a failure.
        timeseries.load().await.unwrap();
        commit(&timeseries, report(1, 0, 10, seq)).await.unwrap();
        assert_eq!(sum().await, 10 * seq);
    }
    beside.batch_execute("DROP TRIGGER t;").unwrap();
    while timeseries.seal() > 0 {
        timeseries.flush().await.unwrap();
    }
    assert_eq!((sum().await, timeseries.usage()), (30, TimeSeriesUsage::default()));
}

/// A process that follows has the same answers as the one that leads, whenever it joined.
#[test]
fn follower_answers_as_the_leader_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::deterministic();
    for round in 0..20 {
        let acts = vec(act(), 10..80).new_tree(&mut runner).unwrap().current();
        runtime.block_on(follow_through(&acts, round));
    }
}

/// What the leader says of a step, and whether the follower takes it over.
async fn follow_through(acts: &[Act], round: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("collector.db");
    let store = Arc::new(SqliteStore::open(&path, Access::Exclusive).unwrap());
    let leader = TimeSeries::new(Arc::clone(&store) as Arc<dyn TimeSeriesStore>);
    leader.load().await.unwrap();
    prepare(&leader).await;
    let follower = TimeSeries::new(store);
    // In some rounds it joins in the middle.
    let joins_at = (round * 7) % acts.len();
    for (index, act) in acts.iter().enumerate() {
        if index == joins_at {
            follower.load_behind_leader(leader.sealed_to()).await.unwrap();
        }
        let follows = index >= joins_at;
        match act {
            Act::Report { node, minute, events } => {
                let (record, batch) = report(*node, *minute, *events, index as i64 + 1);
                let batch = leader.commit(record, batch).await.unwrap();
                let logged = batch.wal.as_ref().map(|row| (row.id, row.body.as_slice()));
                if follows {
                    follower.follow_commit(logged, batch.head_seq, std::iter::empty()).unwrap();
                    // What comes twice is skipped.
                    follower.follow_commit(logged, batch.head_seq, std::iter::empty()).unwrap();
                }
            }
            Act::Seal => {
                leader.seal();
                if follows {
                    follower.follow_seal(leader.sealed_to(), leader.written()).unwrap();
                }
            }
            Act::Flush | Act::FlushUnheard | Act::Crash => {
                leader.flush().await.unwrap();
                if follows {
                    follower.follow_flush(leader.written()).unwrap();
                }
            }
        }
        if follows {
            for range in [EVER, NEAR] {
                let of = |timeseries: &TimeSeries| timeseries.usage().rows;
                assert_eq!(of(&follower), of(&leader), "after {index} of {acts:?}");
                let read = follower.pipeline_minutes(PipelineKey(1), None, range).await.unwrap();
                let expected = leader.pipeline_minutes(PipelineKey(1), None, range).await.unwrap();
                assert_eq!(read, expected, "after {index} of {acts:?}");
            }
        }
    }
}

#[tokio::test]
async fn follower_notices_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&dir.path().join("collector.db"), Access::Exclusive).unwrap());
    let leader = TimeSeries::new(Arc::clone(&store) as Arc<dyn TimeSeriesStore>);
    leader.load().await.unwrap();
    prepare(&leader).await;
    let follower = TimeSeries::new(store);
    follower.load_behind_leader(0).await.unwrap();
    commit(&leader, report(1, 0, 10, 1)).await.unwrap();
    let batch = commit(&leader, report(1, 0, 10, 2)).await.unwrap();
    let row = batch.wal.unwrap();
    let missed = follower.follow_commit(Some((row.id, &row.body)), 2, std::iter::empty());
    assert!(matches!(missed, Err(FollowError::Record { .. })));
    leader.seal();
    assert!(matches!(follower.follow_seal(leader.sealed_to(), leader.written()), Err(FollowError::Seal { .. })));
    leader.flush().await.unwrap();
    assert!(matches!(follower.follow_flush(leader.written()), Err(FollowError::Chunk(_))));
    follower.load_behind_leader(leader.sealed_to()).await.unwrap();
    let read = follower.pipeline_minutes(PipelineKey(1), None, EVER).await.unwrap();
    assert_eq!(read.iter().map(|view| view.events_in).collect::<Vec<_>>(), [20]);
}
