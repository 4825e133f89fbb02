//! Tests of a stream that continues after an id, over a real store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::{EventId, Token, TokenKind};
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticator, Scope};
use crate::config::StreamLimits;
use crate::feed::{Encoding, Feed, FeedParts, Resume, Subscription, WorkerNotifier};
use crate::store::Access;
use crate::store::sqlite::SqliteStore;
use crate::store::{AccessStore, CommitBatch, Cutoffs, EventRow, LogRow, NewEnrolment, NewToken, PipelineRow, Store};
use crate::telemetry::Telemetry;
use crate::timeseries::recent::RecentSamples;
use crate::timeseries::{self, TimeSeries, WalRecord};

use systole_shared::events::EventType;

const OLD: i64 = 1_000;
const RECENT: i64 = 2_000;

/// A store with a line and a change of state, old ones and recent ones: 1 and 2, 3 and 4.
async fn store_with_events(dir: &tempfile::TempDir) -> (Arc<dyn Store>, Arc<TimeSeries>) {
    let store = SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap();
    let environment = store.load_access(None).await.unwrap().unwrap().environments[0].key;
    let node = store
        .enroll_node(NewEnrolment {
            environment,
            name: "n".into(),
            machine_id: None,
            os: String::new(),
            agent_version: String::new(),
            labels: Default::default(),
            hash: Token::new("node").hash(),
            hint: String::new(),
            now: OLD,
            old_tokens_until: OLD,
        })
        .await
        .unwrap();
    let log = |seq, at| LogRow {
        seq,
        entry_seq: seq,
        at,
        node: node.key.0,
        pipeline: 1,
        stream: "stdout".into(),
        level: None,
        line: format!("line {seq}"),
    };
    let change = |seq, at| EventRow {
        seq,
        at,
        environment: environment.0,
        node: node.key.0,
        pipeline: None,
        kind: "status_change".into(),
        payload: "{}".into(),
    };
    let batch = CommitBatch {
        pipelines: vec![PipelineRow { id: 1, environment: environment.0, slug: "p".into(), name: "p".into() }],
        logs: vec![log(1, OLD), log(3, RECENT)],
        events: vec![change(2, OLD), change(4, RECENT)],
        head_seq: 4,
        ..CommitBatch::default()
    };
    let (store, timeseries) = timeseries::over(Arc::new(store));
    timeseries.commit(WalRecord::default(), batch).await.unwrap();
    (store, timeseries)
}

/// The events that a subscriber with the id 0 receives, up to the event 4.
async fn resume((store, timeseries): (Arc<dyn Store>, Arc<TimeSeries>)) -> String {
    let hash = Token::new("viewer").hash();
    let viewer = NewToken {
        kind: TokenKind::Viewer,
        environment: None,
        parent: None,
        label: crate::store::TokenLabel::default(),
        hash,
        hint: String::new(),
        created_at: OLD,
        expires_at: None,
    };
    store.create_token(viewer).await.unwrap();
    let position = store.feed_position().await.unwrap();
    let auth = Arc::new(Authenticator::load(&*store, crate::config::RequestLimits::NONE).await.unwrap());
    let identity = auth
        .identify(&*store, &Token::new("viewer"), std::net::IpAddr::from([127, 0, 0, 1]).into(), OLD)
        .await
        .unwrap()
        .unwrap();
    let recent_samples = Arc::new(RecentSamples::new(1 << 20));
    let telemetry = Arc::new(Telemetry::new());
    let limits = StreamLimits { streams: 1, streams_per_token: 1, new_per_second: 1 };
    let parts = FeedParts {
        store,
        timeseries,
        recent_samples,
        auth,
        telemetry,
        limits,
        stop: CancellationToken::new(),
        is_clustered: false,
    };
    let notifier = WorkerNotifier::new(Arc::new(Feed::new(&position, parts)));
    let subscription = Subscription {
        types: BTreeSet::from([EventType::LogEntry, EventType::StatusChange]),
        labels: None,
        nodes: Vec::new(),
        pipelines: Vec::new(),
        scope: Scope::All,
        every: Duration::ZERO,
        snapshot: None,
        resume: Resume::After(EventId { epoch: position.epoch, seq: 0 }),
        encoding: Encoding::Native,
    };
    let mut subscriber = notifier.subscribe(identity, subscription).unwrap();
    let mut text = String::new();
    while !text.contains("-4\nevent") {
        let write = tokio::time::timeout(Duration::from_secs(10), subscriber.next_write()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&write).unwrap());
    }
    text
}

/// The event names and, of events with an id, the number.
fn outline(text: &str) -> Vec<String> {
    let blocks = text.split("\n\n").filter(|block| block.contains("event: "));
    blocks
        .map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let seq = field("id: ").and_then(|id| id.rsplit('-').next()).unwrap_or("");
            format!("{}{seq}", field("event: ").unwrap())
        })
        .collect()
}

#[tokio::test]
async fn replay_reports_expired_types_and_sends_kept_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (store, timeseries) = store_with_events(&dir).await;
    let cutoffs =
        Cutoffs { minutes_before: 0, logs_before: RECENT, events_before: 0, tokens_before: 0, ..Cutoffs::default() };
    assert_eq!(timeseries.expire(cutoffs, 100).await.unwrap(), 1);
    let text = resume((store, timeseries)).await;
    assert_eq!(outline(&text), ["hello", "gap", "status_change2", "log_entry3", "status_change4"]);
    assert!(text.contains(r#""from":1,"to":1,"types":["log_entry"],"reason":"retention""#), "{text}");
}

#[tokio::test]
async fn replay_sends_kept_events_in_order_without_gap() {
    let dir = tempfile::tempdir().unwrap();
    let text = resume(store_with_events(&dir).await).await;
    assert_eq!(outline(&text), ["hello", "log_entry1", "status_change2", "log_entry3", "status_change4"]);
}
