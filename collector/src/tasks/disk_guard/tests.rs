//! Tests of the guard over a real store and a simulated disk.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::model::{BucketRange, NodeKey, Resolution};
use crate::store::sqlite::SqliteStore;
use crate::store::{Access, CommitBatch, FlushBatch, LogQuery, LogRow, NewEnrolment, NodeMinuteRow, TimeSeriesStore};

const NOW: i64 = 1_790_000_000_000;
const HOUR: i64 = 3_600_000;
const DISK: u64 = 100 << 30;
const DAY: Duration = Duration::from_secs(86_400);

struct Rig {
    guard: DiskGuard,
    free: Arc<AtomicU64>,
    store: Arc<dyn TimeSeriesStore>,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn new(settings: LowDisk) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn TimeSeriesStore> =
            Arc::new(SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap());
        let free = Arc::new(AtomicU64::new(DISK / 2));
        let told = Arc::clone(&free);
        let measure: MeasureDisk = Box::new(move || match told.load(Ordering::Relaxed) {
            u64::MAX => Err(std::io::Error::other("no such disk")),
            free_bytes => Ok(DiskSpace { free_bytes, total_bytes: DISK }),
        });
        let retention = Retention { minutes: DAY, hours: DAY, days: DAY, logs: 3 * DAY, events: DAY, audit: DAY };
        let timeseries = Arc::new(TimeSeries::new(store.clone()));
        let guard = DiskGuard::new(store.clone(), timeseries, measure, settings, retention, Arc::new(Telemetry::new()));
        Rig { guard, free, store, _dir: dir }
    }

    fn auto() -> Self {
        Self::new(LowDisk { warn_bytes: None, stop_bytes: None })
    }

    async fn with_free(&mut self, bytes: u64) -> Option<Activation> {
        self.free.store(bytes, Ordering::Relaxed);
        self.guard.activate_at(NOW).await.ok()
    }

    /// Writes a line of some KB for each of these ages in hours, oldest first.
    async fn write_lines(&self, ages_h: impl Iterator<Item = i64> + Send) {
        self.write_lines_of("n1", 0, ages_h).await;
    }

    /// The same of a node, with numbers behind `after`.
    async fn write_lines_of(&self, name: &str, after: i64, ages_h: impl Iterator<Item = i64> + Send) {
        let environment = self.store.load_access(None).await.unwrap().unwrap().environments[0].key;
        let enrolment = NewEnrolment {
            environment,
            name: name.into(),
            machine_id: None,
            os: String::new(),
            agent_version: String::new(),
            labels: Default::default(),
            hash: systole_shared::Token::new(name).hash(),
            hint: String::new(),
            now: NOW,
            old_tokens_until: NOW,
        };
        let node = self.store.enroll_node(enrolment).await.unwrap().key.0;
        let pipeline =
            || crate::store::PipelineRow { id: 1, environment: environment.0, slug: "p".into(), name: "p".into() };
        let pipelines = (after == 0).then(pipeline).into_iter().collect();
        let line = |(seq, age_h): (i64, i64)| LogRow {
            seq,
            entry_seq: seq,
            at: NOW - age_h * HOUR,
            node,
            pipeline: 1,
            stream: "stdout".into(),
            level: None,
            line: "x".repeat(5_000),
        };
        let logs: Vec<_> = (after + 1..).zip(ages_h).map(line).collect();
        let head_seq = (after as u64) + logs.len() as u64;
        self.store.commit(CommitBatch { pipelines, logs, head_seq, ..CommitBatch::default() }).await.unwrap();
    }

    async fn lines(&self) -> Vec<i64> {
        let query = LogQuery { limit: 10_000, ..LogQuery::default() };
        self.store.list_logs(query).await.unwrap().into_iter().map(|line| (NOW - line.at) / HOUR).collect()
    }
}

#[tokio::test]
async fn guard_refuses_reports_below_the_stop_bound() {
    let mut rig = Rig::auto();
    let state = rig.guard.state();
    assert_eq!(rig.with_free(1 << 30).await, Some(Activation::IdleFor(PAUSE)));
    assert!(!state.is_full());
    assert_eq!(
        rig.with_free((1 << 30) - (100 << 20)).await,
        Some(Activation::IdleFor(LOW_PAUSE)),
        "it looks more often"
    );
    assert!(!state.is_full() && rig.guard.telemetry.disk_low.get() == 1);
    rig.with_free(200 << 20).await;
    assert!(state.is_full() && rig.guard.telemetry.disk_full.get() == 1);
    assert_eq!(rig.with_free(u64::MAX).await, None);
    assert!(state.is_full(), "an unknown size changes nothing");
    rig.with_free(300 << 20).await;
    assert!(!state.is_full());
    assert_eq!(rig.with_free(2 << 30).await, Some(Activation::IdleFor(PAUSE)));
    assert!(rig.guard.telemetry.disk_low.get() == 0 && rig.guard.telemetry.disk_full.get() == 0);
}

#[tokio::test]
async fn guard_removes_oldest_lines_until_the_file_has_room() {
    let mut rig = Rig::auto();
    // 3,000 lines of two pages each: 24 MB.
    rig.write_lines((0..3_000).map(|line| 60 - line / 100)).await;
    rig.with_free(DISK / 2).await;
    assert_eq!(rig.lines().await.len(), 3_000, "with room nothing is touched");
    // 9/8 of the bound are wanted, and some 8 MB of them are in the first thousand lines.
    let enough = (1 << 30) + (1 << 27);
    assert_eq!(rig.with_free((1 << 30) - 1).await, Some(Activation::MoreToDo));
    assert_eq!(rig.with_free(enough - (4 << 20)).await, Some(Activation::IdleFor(PAUSE)), "what went is room");
    let lines = rig.lines().await;
    assert_eq!((lines.len(), lines[0]), (2_000, 50), "the oldest went, and no more than needed");
    assert_eq!(rig.guard.telemetry.rows_evicted.get(), 1_000);
}

#[tokio::test]
async fn guard_keeps_the_last_hour() {
    let never = LowDisk { warn_bytes: Some(0), stop_bytes: None };
    for (settings, expected) in
        [(LowDisk { warn_bytes: None, stop_bytes: None }, vec![1, 0]), (never, vec![9, 2, 1, 0])]
    {
        let mut rig = Rig::new(settings);
        rig.write_lines([9, 2, 1, 0].into_iter()).await;
        for _ in 0..3 {
            rig.with_free(200 << 20).await;
        }
        assert_eq!(rig.lines().await, expected);
    }
}

#[tokio::test]
async fn flood_of_one_node_gives_way_before_older_lines_of_another() {
    let mut rig = Rig::auto();
    rig.write_lines_of("quiet", 0, [9, 2, 1, 0].into_iter()).await;
    rig.write_lines_of("flood", 4, std::iter::repeat_n(0, 2_500)).await;
    for expected in [1_504, 504, 16] {
        rig.with_free(200 << 20).await;
        assert_eq!(rig.lines().await.len(), expected);
    }
    assert_eq!(rig.lines().await[..4], [9, 2, 1, 0], "the quiet node has all its lines");
    rig.with_free(200 << 20).await;
    assert_eq!(rig.lines().await[0], 1, "then the oldest of all");
}

#[tokio::test]
async fn guard_leaves_expired_minutes_to_retention() {
    let mut rig = Rig::auto();
    rig.write_lines([0].into_iter()).await;
    let minute = NOW / 60_000 - 3 * 1_440;
    let node_minutes = vec![NodeMinuteRow { minute, node: 1, samples: 1, ..NodeMinuteRow::default() }];
    rig.store.flush(FlushBatch { node_minutes, head_seq: 1, ..FlushBatch::default() }).await.unwrap();
    rig.with_free(200 << 20).await;
    let range = BucketRange { step: Resolution::Minute, from: minute, to: minute + 1 };
    assert_eq!(rig.store.node_minutes(NodeKey(1), range).await.unwrap().rows.len(), 1);
}
