//! Tests of the journal over a real store: whoever reads counts everything once, at any time.

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
use crate::model::Step;
use crate::store::MinuteCell;
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Access, NewEnrolment, NodeBootRow, NodeMinuteRow, NodePulse, PipelineRow, SeriesRow as StoredSeries,
};

const BEGIN: i64 = 29_833_333;
const NODES: i64 = 3;
const EVER: StepRange = StepRange { step: Step::Minute, from: 0, to: i64::MAX };
/// All that is reported, in two hours that are over.
const NEAR: StepRange = StepRange { step: Step::Minute, from: BEGIN, to: BEGIN + 70 };
const BOOT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

async fn open(path: &Path) -> Journal {
    let journal = Journal::new(Arc::new(SqliteStore::open(path, Access::Exclusive).unwrap()));
    journal.load().await.unwrap();
    journal
}

/// Three nodes with pipeline 1: series 1, 3, 5, and their components 2, 4, 6.
async fn prepare(journal: &Journal) {
    let environment = journal.store.load_access(None).await.unwrap().unwrap().environments[0].key;
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
        let node = journal.store.enroll_node(enrolment).await.unwrap().key.0;
        assert_eq!(node, number);
        for (id, component) in [(2 * node - 1, ""), (2 * node, "parse")] {
            let kind = "transform".into();
            batch.series.push(StoredSeries { id, node, pipeline: 1, component: component.into(), kind });
        }
    }
    journal.commit(batch).await.unwrap();
}

/// A report of a node: so many events in a minute.
fn report(node: i64, minute: i64, events: i64, seq: i64) -> CommitBatch {
    let mut cell = MinuteCell::new(BEGIN + minute, node);
    let row = cell.pipeline(2 * node - 1);
    (row.events_in, row.samples, row.latency_sum, row.latency_weight) = (events, 1, 1_000.0 * events as f64, 1.0);
    cell.component(2 * node).received_events = events;
    let host = NodeMinuteRow {
        minute: cell.minute,
        node,
        memory_used_bytes: Some(seq),
        samples: 1,
        ..NodeMinuteRow::default()
    };
    cell.set_host(host);
    CommitBatch {
        cells: vec![cell],
        boots: vec![NodeBootRow { node, boot: BOOT.into(), seq, last_seen_at: seq }],
        pulses: vec![(
            node,
            NodePulse { host: Some(format!("{{\"seq\":{seq}}}")), health: None, last_seen_at: Some(seq) },
        )],
        head_seq: seq as u64,
        ..CommitBatch::default()
    }
}

#[derive(Clone, Debug)]
enum Act {
    Report {
        node: i64,
        minute: i64,
        events: i64,
    },
    Seal,
    Fold,
    /// The process ends where it stands, and another one begins.
    Crash,
    /// A slice is written and nobody hears of it.
    FoldUnheard,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..=NODES, 0..70_i64, 1..100_i64).prop_map(|(node, minute, events)| Act::Report { node, minute, events }),
        2 => Just(Act::Seal),
        3 => Just(Act::Fold),
        1 => Just(Act::Crash),
        1 => Just(Act::FoldUnheard),
    ]
}

async fn check(journal: &Journal, sums: &BTreeMap<(i64, i64), i64>, last: &HashMap<i64, i64>, after: &str) {
    for step in Step::ALL {
        let range = StepRange { step, ..EVER };
        let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
        for ((minute, _), events) in sums {
            *expected.entry((BEGIN + minute).div_euclid(step.minutes())).or_default() += events;
        }
        let pipeline = journal.pipeline_minutes(1, None, range).await.unwrap();
        let read: BTreeMap<_, _> = pipeline.iter().map(|view| (view.at, view.events_in)).collect();
        assert_eq!(read, expected, "{step:?} {after}");
        assert_eq!(pipeline.len(), expected.len());
        for view in &pipeline {
            assert_eq!(view.latency_sum, 1_000.0 * view.events_in as f64);
        }
        if step == Step::Minute {
            assert_eq!(journal.pipeline_minutes(1, None, NEAR).await.unwrap(), pipeline, "of hours {after}");
        }
        let component = journal.component_minutes(1, None, range).await.unwrap();
        let read: BTreeMap<_, _> = component.iter().map(|view| (view.at, view.received_events)).collect();
        assert_eq!(read, expected, "{step:?} of the component {after}");
        let samples: i64 = journal.node_minutes(NodeKey(1), range).await.unwrap().iter().map(|span| span.samples).sum();
        let own = journal.pipeline_minutes(1, Some(NodeKey(1)), range).await.unwrap();
        assert_eq!(samples, own.iter().map(|view| view.samples).sum::<i64>(), "{step:?} of the host {after}");
    }
    let nodes = journal.list_nodes(NodeQuery { limit: 10, ..NodeQuery::default() }).await.unwrap();
    for node in nodes {
        assert_eq!(node.last_seen_at, last.get(&node.key.0).copied(), "{after}");
        assert_eq!(node.host, last.get(&node.key.0).map(|seq| format!("{{\"seq\":{seq}}}")), "{after}");
    }
}

#[tokio::test]
async fn everything_counts_once_whatever_is_folded_and_wherever_it_crashes() {
    let mut runner = TestRunner::deterministic();
    let mut hits = 0;
    for _ in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let mut journal = open(&path).await;
        prepare(&journal).await;
        let acts = vec(act(), 50).new_tree(&mut runner).unwrap().current();
        let mut sums = BTreeMap::new();
        let mut last = HashMap::new();
        let mut seq = 0;
        for act in acts {
            match act.clone() {
                Act::Report { node, minute, events } => {
                    seq += 1;
                    journal.commit(report(node, minute, events, seq)).await.unwrap();
                    *sums.entry((minute, node)).or_default() += events;
                    last.insert(node, seq);
                }
                Act::Seal => {
                    journal.seal();
                }
                Act::Fold => {
                    journal.fold().await.unwrap();
                }
                Act::FoldUnheard => {
                    let batch = {
                        let pending = journal.lock();
                        pending.next_slice().map(|slice| rows_of(slice, pending.head_seq))
                    };
                    if let Some(batch) = batch {
                        journal.store.commit(batch).await.unwrap();
                    }
                    // As the committer does when no answer came.
                    journal.load().await.unwrap();
                }
                Act::Crash => {
                    journal.store.close().await;
                    drop(journal);
                    journal = open(&path).await;
                }
            }
            check(&journal, &sums, &last, &format!("after {act:?}")).await;
        }
        while journal.seal() > 0 {
            journal.fold().await.unwrap();
        }
        check(&journal, &sums, &last, "at the end").await;
        hits += journal.hour_counts().hits;
        assert_eq!(journal.usage(), JournalUsage::default(), "nothing is left in the journal");
        let snapshot = journal.load().await.unwrap();
        assert!(snapshot.journal.is_empty());
        let progress: HashMap<_, _> =
            snapshot.nodes.iter().filter_map(|node| Some((node.key.0, node.boots.first()?.1 as i64))).collect();
        assert_eq!(progress, last);
        journal.store.close().await;
    }
    assert!(hits > 100, "{hits} hours came from memory");
}

fn events_in(views: &[PipelineMinuteView]) -> i64 {
    views.iter().map(|view| view.events_in).sum()
}

/// Writes all that waits.
async fn fold_all(journal: &Journal) {
    while journal.seal() > 0 {
        journal.fold().await.unwrap();
    }
}

#[tokio::test]
async fn an_hour_from_memory_is_not_set_beside_rows_that_were_read_after_it_changed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir.path().join("test.db")).await;
    prepare(&journal).await;
    journal.commit(report(1, 0, 10, 1)).await.unwrap();
    fold_all(&journal).await;
    // The first of the two hours.
    journal.pipeline_minutes(1, None, StepRange { to: BEGIN + 1, ..NEAR }).await.unwrap();
    for (minute, is_of_use) in [(69, true), (0, false)] {
        journal.commit(report(1, minute, 1, 2)).await.unwrap();
        let reading = journal.read();
        let found = journal.lock().look_up(1, NEAR, clock::now_ms()).unwrap();
        assert_eq!(found.missing.from, (BEGIN + 60).div_euclid(60) * 60, "only the second is read");
        fold_all(&journal).await;
        let stored = journal.store.pipeline_minutes(1, None, found.missing).await.unwrap();
        let stored = journal.lock().put_together(found, stored);
        assert_eq!(stored.map(|stored| events_in(&stored.rows)), is_of_use.then_some(11));
        drop(reading);
        // What was read of the second hour is known now, and goes for the next round.
        journal.lock().hours.drop_hour((BEGIN + 69).div_euclid(60));
    }
    assert_eq!(events_in(&journal.pipeline_minutes(1, None, NEAR).await.unwrap()), 12);
}

#[tokio::test]
async fn rows_that_were_read_before_a_change_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir.path().join("test.db")).await;
    prepare(&journal).await;
    journal.commit(report(1, 0, 10, 1)).await.unwrap();
    let reading = journal.read();
    let found = journal.lock().look_up(1, NEAR, clock::now_ms()).unwrap();
    let stored = journal.store.pipeline_minutes(1, None, found.missing).await.unwrap();
    fold_all(&journal).await;
    assert_eq!(events_in(&journal.lock().put_together(found, stored).unwrap().rows), 0);
    drop(reading);
    assert_eq!(events_in(&journal.pipeline_minutes(1, None, NEAR).await.unwrap()), 10);
}

#[tokio::test]
async fn expired_minutes_do_not_come_out_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let journal = open(&path).await;
    prepare(&journal).await;
    for minute in [0, 69] {
        journal.commit(report(1, minute, 10, minute + 1)).await.unwrap();
    }
    fold_all(&journal).await;
    for hits in [0, 2] {
        assert_eq!(events_in(&journal.pipeline_minutes(1, None, NEAR).await.unwrap()), 20);
        assert_eq!(journal.hour_counts(), HourCounts { hits, misses: 2 });
    }
    while journal.store.roll_up(clock::now_ms() / Step::Hour.ms(), 1_000).await.unwrap() > 0 {}
    let expire =
        async |minutes_before| journal.expire(Cutoffs { minutes_before, ..Cutoffs::default() }, 100).await.unwrap();
    let second_hour = (BEGIN + 60).div_euclid(60) * 60;
    assert!(expire(second_hour).await > 0);
    assert_eq!(events_in(&journal.pipeline_minutes(1, None, NEAR).await.unwrap()), 10);
    // Nor are they kept by somebody who read them before they went.
    journal.lock().hours.drop_hour(second_hour / 60);
    let reading = journal.read();
    let found = journal.lock().look_up(1, NEAR, clock::now_ms()).unwrap();
    let stored = journal.store.pipeline_minutes(1, None, found.missing).await.unwrap();
    assert!(expire(second_hour + 60).await > 0);
    assert_eq!(events_in(&journal.lock().put_together(found, stored).unwrap().rows), 10);
    drop(reading);
    assert_eq!(events_in(&journal.pipeline_minutes(1, None, NEAR).await.unwrap()), 0);
}

#[tokio::test]
async fn what_becomes_rows_while_somebody_reads_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir.path().join("test.db")).await;
    prepare(&journal).await;
    journal.commit(report(1, 0, 10, 1)).await.unwrap();
    // Read before the slice was written, added to after it.
    let reading = journal.read();
    let stored = journal.store.pipeline_minutes(1, None, EVER).await.unwrap();
    journal.seal();
    while journal.fold().await.unwrap().is_some() {}
    let sum = |views: Vec<PipelineMinuteView>| views.iter().map(|view| view.events_in).sum::<i64>();
    assert_eq!(sum(merge_on_read::pipeline_minutes(stored, EVER, &journal.lock())), 10);
    // And read after it was written.
    let stored = journal.store.pipeline_minutes(1, None, EVER).await.unwrap();
    assert_eq!(sum(merge_on_read::pipeline_minutes(stored, EVER, &journal.lock())), 10);
    drop(reading);
    assert_eq!(journal.lock().cells_above(0).count(), 0, "nobody needs it any more");
}

#[tokio::test]
async fn progress_is_in_the_journal_as_soon_as_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let journal = open(&path).await;
    prepare(&journal).await;
    let boot = |name: &str, seq, last_seen_at| NodeBootRow { node: 1, boot: name.into(), seq, last_seen_at };
    let other = "01890a5d-ac96-774b-bcce-b302099a8058";
    for (boots, forgotten) in [
        (vec![boot(BOOT, 4, 40)], vec![]),
        (vec![boot(other, 1, 50)], vec![]),
        (vec![boot(BOOT, 5, 60)], vec![(1, other.to_owned())]),
    ] {
        let batch = CommitBatch { boots, forgotten_boots: forgotten, ..CommitBatch::default() };
        journal.commit(batch).await.unwrap();
    }
    drop(journal);
    let boots = async |journal: &Journal| {
        let nodes = journal.load().await.unwrap().nodes;
        let node = nodes.into_iter().find(|node| node.key == NodeKey(1)).unwrap();
        node.boots.into_iter().map(|(boot, seq)| (boot.to_string(), seq)).collect::<Vec<_>>()
    };
    let journal = open(&path).await;
    assert_eq!(boots(&journal).await, [(BOOT.to_owned(), 5)]);
    let batch = CommitBatch { boots: vec![boot(other, 2, 70)], ..CommitBatch::default() };
    journal.commit(batch).await.unwrap();
    let both = [(BOOT.to_owned(), 5), (other.to_owned(), 2)];
    assert_eq!(boots(&journal).await, both, "the one that was seen last at the end");
    while journal.seal() > 0 {
        journal.fold().await.unwrap();
    }
    assert_eq!(boots(&journal).await, both);
}

#[tokio::test]
async fn large_numbers_of_rows_become_several_slices_and_every_record_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let journal = open(&path).await;
    prepare(&journal).await;
    for minute in 0..3_000 {
        journal.commit(report(1 + minute % NODES, minute, 1, minute + 1)).await.unwrap();
    }
    assert!(journal.usage().rows == 9_000 && journal.usage().bytes > 3_000, "{:?}", journal.usage());
    assert!(journal.seal() > 4);
    let mut slices = Vec::new();
    while let Some(rows) = journal.fold().await.unwrap() {
        slices.push(rows);
    }
    assert!(slices.iter().all(|rows| *rows < 3_000), "{slices:?}");
    let minutes = journal.store.pipeline_minutes(1, None, EVER).await.unwrap();
    assert_eq!((minutes.rows.len(), minutes.folds), (3_000, slices.len() as u64));
    assert_eq!(journal.usage(), JournalUsage::default());
    let mut connection = SqliteConnection::establish(&path.display().to_string()).unwrap();
    // Nothing may be left: this fails when there is a record.
    connection
        .batch_execute("CREATE TABLE t (n INTEGER CHECK (n = 0)); INSERT INTO t SELECT count(*) FROM journal")
        .unwrap();
}

#[tokio::test]
async fn rows_that_cannot_be_written_stay_in_the_journal_and_keep_no_report_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let journal = open(&path).await;
    prepare(&journal).await;
    journal.commit(report(1, 0, 10, 1)).await.unwrap();
    let mut beside = SqliteConnection::establish(&path.display().to_string()).unwrap();
    beside
        .batch_execute("CREATE TRIGGER t BEFORE INSERT ON pipeline_minutes BEGIN SELECT RAISE(ABORT, 'no rows'); END;")
        .unwrap();
    let sum = async || {
        let views = journal.pipeline_minutes(1, None, EVER).await.unwrap();
        views.iter().map(|view| view.events_in).sum::<i64>()
    };
    for seq in 2..=3 {
        journal.seal();
        assert!(journal.fold().await.is_err());
        // As the committer does after a failure.
        journal.load().await.unwrap();
        journal.commit(report(1, 0, 10, seq)).await.unwrap();
        assert_eq!(sum().await, 10 * seq);
    }
    beside.batch_execute("DROP TRIGGER t;").unwrap();
    while journal.seal() > 0 {
        journal.fold().await.unwrap();
    }
    assert_eq!((sum().await, journal.usage()), (30, JournalUsage::default()));
}
