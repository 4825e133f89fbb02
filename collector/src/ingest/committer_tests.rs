//! Tests of the committer over a database with injected failures.

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use systole_shared::{BootId, NodeStatus, PipelineId, PipelineStatus, Token, TokenKind};
use uuid::Uuid;

use super::*;
use crate::auth::Authenticator;
use crate::config::StreamLimits;
use crate::feed::FeedParts;
use crate::model::report::{
    Content, NodeReport, PipelineDeltas, ReportedDeployments, ReportedPipeline, TotalsOfPipeline, TotalsReport,
};
use crate::model::{BucketRange, PipelineKey, Resolution};
use crate::store::Access;
use crate::store::sqlite::SqliteStore;
use crate::store::{EnrolledNode, NewEnrolment, StepKind, StepTable, Store};
use crate::timeseries;

struct Bench {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    timeseries: Arc<TimeSeries>,
    fleet: Arc<Fleet>,
    feed: Arc<Feed>,
    committer: Committer,
    task: tokio::task::JoinHandle<()>,
}

/// Longest wait for something that happens at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, timeseries) =
            timeseries::over(Arc::new(SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap()));
        let auth = Arc::new(Authenticator::load(&*store, crate::config::RequestLimits::NONE).await.unwrap());
        let telemetry = Arc::new(Telemetry::new());
        let recent_samples = Arc::new(RecentSamples::new(1 << 20));
        let snapshot = timeseries.load().await.unwrap();
        let feed_parts = FeedParts {
            store: Arc::clone(&store),
            timeseries: Arc::clone(&timeseries),
            recent_samples: Arc::clone(&recent_samples),
            auth: Arc::clone(&auth),
            telemetry: Arc::clone(&telemetry),
            limits: StreamLimits { streams: 1, streams_per_token: 1, new_per_second: 1 },
            stop: CancellationToken::new(),
            is_clustered: false,
        };
        let feed = Arc::new(Feed::new(&snapshot.position, feed_parts));
        let interval = Duration::from_secs(5);
        let fleet = Arc::new(Fleet::new(std::iter::empty(), interval, Duration::ZERO, Instant::now()));
        let parts = CommitterParts {
            timeseries: Arc::clone(&timeseries),
            fleet: Arc::clone(&fleet),
            recent_samples,
            feed: Arc::clone(&feed),
            watched: Arc::default(),
            directory: Arc::default(),
            auth,
            telemetry,
            interval_ms: 5_000,
            minutes_retention: Duration::from_secs(86_400),
            limits: IngestLimits::default(),
            unreported_retention: Duration::from_secs(86_400),
            log_limits: LogLimits::NONE,
            rollouts: Arc::default(),
            events_retention: Duration::from_secs(86_400),
            commit_log: Arc::default(),
            fenced: CancellationToken::new(),
        };
        let state = IngestState::load(snapshot, IngestLimits::default());
        let (committer, task) = Committer::start(state, parts, CancellationToken::new());
        Bench { dir, store, timeseries, fleet, feed, committer, task }
    }

    async fn enroll(&self, machine_id: &str) -> EnrolledNode {
        let environment = self.store.load_access(None).await.unwrap().unwrap().environments[0].key;
        let enrolment = NewEnrolment {
            environment,
            name: machine_id.into(),
            machine_id: Some(machine_id.into()),
            os: String::new(),
            agent_version: String::new(),
            labels: Default::default(),
            hash: Token::new(machine_id).hash(),
            hint: TokenKind::Node.to_string(),
            now: clock::now_ms(),
            old_tokens_until: clock::now_ms(),
        };
        let node = self.store.enroll_node(enrolment).await.unwrap();
        self.fleet.enrolled(node.key, Instant::now());
        node
    }

    /// SQL from beside, as if the disk had done it.
    fn interfere(&self, sql: &str) {
        let url = self.dir.path().join("test.db").display().to_string();
        let mut connection = SqliteConnection::establish(&url).unwrap();
        connection.batch_execute(&format!("PRAGMA busy_timeout = 10000; {sql}")).unwrap();
    }

    /// From now on every transaction with samples fails.
    fn fail(&self) {
        self.interfere("CREATE TRIGGER fail BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'disk full'); END;");
    }

    async fn submit(&self, node: NodeKey, seq: u64) -> Result<Committed, SubmitError> {
        self.committer.submit(submission(node, seq)).await
    }

    /// Waits until so many events are published.
    async fn published(&self, head: u64) {
        let published = async {
            while self.feed.head() < head {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, published).await.expect("events are published");
    }

    /// Events in of the pipeline over all minutes.
    async fn stored_events(&self) -> i64 {
        let range = BucketRange { step: Resolution::Minute, from: 0, to: i64::MAX };
        self.timeseries
            .pipeline_minutes(PipelineKey(1), None, range)
            .await
            .unwrap()
            .iter()
            .map(|minute| minute.events_in)
            .sum()
    }
}

fn pipeline(events_in: i64) -> ReportedPipeline {
    ReportedPipeline {
        id: PipelineId::parse("orders").unwrap(),
        name: None,
        version: None,
        status: PipelineStatus::Running,
        status_text: None,
        reason: String::new(),
        pid: None,
        started_at: None,
        restarts: 0,
        config_checksum: None,
        sample: Some(PipelineDeltas { events_in, ..PipelineDeltas::default() }),
        scrape_error: None,
        components: Vec::new(),
        logs: Vec::new(),
        logs_dropped: 0,
        topology: None,
    }
}

/// Report `seq` of a node's only boot, with ten events.
fn submission(node: NodeKey, seq: u64) -> Submission {
    let now = clock::now_ms();
    let report = NodeReport {
        seq,
        start: now - 5_000,
        end: now,
        covers_from: seq,
        agent: None,
        stopping: None,
        health: None,
        host: None,
        pipelines: vec![pipeline(10)],
        complete: true,
        deployments: ReportedDeployments::Stated { items: Vec::new(), complete: true },
    };
    Submission {
        node,
        received_at: now,
        address: None,
        content: Content::Growth { boot: BootId(Uuid::from_u128(1)), sent_at: now, reports: vec![report] },
        refusals: Refusals::default(),
        heard_by: None,
    }
}

#[tokio::test]
async fn failed_transaction_acknowledges_nothing() {
    let bench = Bench::start().await;
    let node = bench.enroll("one").await.key;
    assert_eq!(bench.submit(node, 1).await.unwrap().durable_seq, 1);
    // Two changes of state, rates and the node's state; the first totals follow at once, and no others before they change.
    bench.published(5).await;
    let head = bench.feed.head();
    bench.fail();
    for _ in 0..2 {
        // The second time is no duplicate: the first was never written.
        assert!(matches!(bench.submit(node, 2).await, Err(SubmitError::Store(_))));
    }
    assert_eq!(bench.feed.head(), head, "nothing is published that was not committed");
    bench.interfere("DROP TRIGGER fail;");
    for _ in 0..2 {
        assert_eq!(bench.submit(node, 2).await.unwrap().durable_seq, 2);
    }
    assert_eq!(bench.stored_events().await, 20);
    let is_published = async {
        // Totals may be on their way.
        while bench.feed.head() != bench.store.feed_position().await.unwrap().head {}
    };
    tokio::time::timeout(PATIENCE, is_published).await.expect("everything that was committed is published");
}

/// Events of a process as it has counted them since its start.
fn totals(node: NodeKey, events_in: i64) -> Submission {
    let totals = TotalsOfPipeline { pipeline: pipeline(events_in), uptime_seconds: Some(1), components_complete: true };
    let report = TotalsReport {
        agent: None,
        health: None,
        host: None,
        pipelines: vec![totals],
        complete: true,
        deployments: ReportedDeployments::UNKNOWN,
    };
    Submission { content: Content::Totals(Box::new(report)), ..submission(node, 1) }
}

#[tokio::test]
async fn totals_of_a_failed_transaction_count_with_the_next() {
    let bench = Bench::start().await;
    let node = bench.enroll("one").await.key;
    bench.committer.submit(totals(node, 10)).await.unwrap();
    bench.fail();
    for events_in in [15, 18] {
        assert!(matches!(bench.committer.submit(totals(node, events_in)).await, Err(SubmitError::Store(_))));
    }
    bench.interfere("DROP TRIGGER fail;");
    for _ in 0..2 {
        bench.committer.submit(totals(node, 20)).await.unwrap();
    }
    assert_eq!(bench.stored_events().await, 20);
}

#[tokio::test]
async fn nodes_are_not_silent_while_commits_fail() {
    let bench = Bench::start().await;
    let (one, two) = (bench.enroll("one").await.key, bench.enroll("two").await.key);
    bench.submit(one, 1).await.unwrap();
    bench.fleet.record_report(two, NodeStatus::Healthy, Instant::now());
    // A node that was heard now is silent in three intervals.
    let silent = Instant::now() + Duration::from_millis(15_050);
    bench.fail();
    assert!(bench.submit(one, 2).await.is_err());
    assert_eq!(bench.fleet.overdue(silent), [two], "one failure may be the fault of one submission");
    assert!(bench.submit(one, 2).await.is_err());
    assert_eq!(bench.fleet.overdue(silent), []);
}

#[tokio::test]
async fn removed_node_leaves_no_minutes_and_takes_no_reports() {
    let bench = Bench::start().await;
    let (kept, gone) = (bench.enroll("kept").await, bench.enroll("gone").await);
    bench.submit(kept.key, 1).await.unwrap();
    bench.submit(gone.key, 1).await.unwrap();
    // In one batch: a report, the removal, and a report that came after it.
    let (before, removed, after) = tokio::join!(
        bench.submit(gone.key, 2),
        bench.committer.administer(gone.key, NodeAction::Remove),
        bench.submit(gone.key, 3),
    );
    before.unwrap();
    assert_eq!(removed.unwrap(), ["removed"]);
    assert!(matches!(after.unwrap_err(), SubmitError::UnknownNode));
    assert!(matches!(bench.submit(gone.key, 4).await.unwrap_err(), SubmitError::UnknownNode));
    assert_eq!(bench.stored_events().await, 10, "of the other node");
    let again = bench.committer.administer(gone.key, NodeAction::Remove).await.unwrap_err();
    assert!(matches!(again, AdministerError::UnknownNode));
    // The log still has its records, as after a crash.
    bench.timeseries.load().await.unwrap();
    while bench.timeseries.seal() > 0 {
        bench.timeseries.flush().await.unwrap();
    }
    assert_eq!(bench.stored_events().await, 10);
    let left = bench.store.leftovers(10).await.unwrap();
    assert_eq!(left.nodes, [gone.key]);
    let own = StepTable { kind: StepKind::Node, step: Resolution::Minute };
    assert_eq!(bench.store.step_ends(own).await.unwrap(), None, "no report had a host");
}

#[tokio::test]
async fn barrier_waits_for_the_commit() {
    let bench = Bench::start().await;
    let node = bench.enroll("one").await.key;
    // Both are in the queue before the committer looks: one batch.
    let (submitted, head) = tokio::join!(bench.submit(node, 1), async {
        assert!(bench.committer.barrier().await);
        bench.store.feed_position().await.unwrap().head
    });
    submitted.unwrap();
    assert!(head > 0);
}

#[tokio::test]
async fn committer_ends_without_its_store() {
    let bench = Bench::start().await;
    let node = bench.enroll("one").await.key;
    bench.submit(node, 1).await.unwrap();
    bench.store.close().await;
    assert!(bench.submit(node, 2).await.is_err());
    tokio::time::timeout(Duration::from_secs(10), bench.task).await.expect("it ends").unwrap();
}
