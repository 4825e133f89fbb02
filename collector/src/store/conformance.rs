//! The contract of every store. Each test is a function over the trait; the macro at the end runs all
//! of them on a store of their own.

mod administration;
mod alerts;
mod control;
mod rollups;
mod search;

use std::collections::BTreeMap;
use std::sync::Arc;

use systole_shared::events::EventType;
use systole_shared::{Token, TokenId, TokenKind};
use uuid::Uuid;

use self::administration::*;
use self::alerts::*;
use self::control::*;
use self::rollups::*;
use self::search::*;

use super::*;
use crate::model::Resolution;

const NOW: UnixMillis = 1_790_000_000_000;
const MINUTE: i64 = NOW / 60_000;

async fn default_environment(store: &dyn TimeSeriesStore) -> EnvironmentKey {
    store.load_access(None).await.unwrap().unwrap().environments[0].key
}

fn enrolment(environment: EnvironmentKey, machine_id: Option<&str>, secret: &str) -> NewEnrolment {
    NewEnrolment {
        environment,
        name: "web-1".into(),
        machine_id: machine_id.map(str::to_owned),
        os: "linux/amd64".into(),
        agent_version: "0.1.0".into(),
        labels: BTreeMap::new(),
        hash: Token::new(secret).hash(),
        hint: String::new(),
        now: NOW,
        old_tokens_until: NOW + 3_600_000,
    }
}

fn token(kind: TokenKind, secret: &str, parent: Option<TokenId>) -> NewToken {
    NewToken {
        kind,
        environment: None,
        parent,
        label: TokenLabel::default(),
        hash: Token::new(secret).hash(),
        hint: String::new(),
        created_at: NOW,
        expires_at: None,
    }
}

fn pipeline_minute(minute: i64, series: i64, events_in: i64) -> PipelineMinuteRow {
    PipelineMinuteRow { minute, series, events_in, samples: 1, ..PipelineMinuteRow::default() }
}

fn log(seq: i64, entry_seq: i64, node: i64, at: UnixMillis) -> LogRow {
    LogRow {
        seq,
        entry_seq,
        at,
        node,
        pipeline: 1,
        stream: "stdout".into(),
        level: Some("WARN".into()),
        line: format!("line {seq}"),
    }
}

fn change(seq: i64, environment: EnvironmentKey, node: i64) -> EventRow {
    let payload = format!(r#"{{"seq":{seq}}}"#);
    EventRow { seq, at: NOW, environment: environment.0, node, pipeline: None, kind: "status_change".into(), payload }
}

/// A node with one pipeline "orders" (key 1) and its series 1 and component series 2.
async fn with_pipeline(store: &dyn TimeSeriesStore) -> (EnvironmentKey, EnrolledNode) {
    let environment = default_environment(store).await;
    let node = store.enroll_node(enrolment(environment, None, "node")).await.unwrap();
    let batch = CommitBatch {
        pipelines: vec![PipelineRow {
            id: 1,
            environment: environment.0,
            slug: "orders".into(),
            name: "Orders".into(),
        }],
        series: [(1, ""), (2, "in")]
            .map(|(id, component)| SeriesRow {
                id,
                node: node.key.0,
                pipeline: 1,
                component: component.into(),
                kind: "source".into(),
            })
            .into(),
        head_seq: 0,
        ..CommitBatch::default()
    };
    store.commit(batch).await.unwrap();
    (environment, node)
}

const ALL_MINUTES: BucketRange = BucketRange { step: Resolution::Minute, from: i64::MIN, to: i64::MAX };

async fn minutes_add_up_by_key(store: Arc<dyn TimeSeriesStore>) {
    with_pipeline(&*store).await;
    // More rows than one statement takes, and a second batch that adds to some of them.
    let rows = |count| (0..count).map(|offset| pipeline_minute(MINUTE + offset, 1, 10)).collect::<Vec<_>>();
    for count in [237, 12] {
        let batch = FlushBatch { pipeline_minutes: rows(count), ..FlushBatch::default() };
        store.flush(batch).await.unwrap();
    }
    let minutes = store.pipeline_minutes(PipelineKey(1), None, ALL_MINUTES).await.unwrap().rows;
    assert_eq!(minutes.len(), 237);
    assert_eq!((minutes[11].events_in, minutes[11].samples), (20, 2));
    assert_eq!((minutes[12].events_in, minutes[12].samples), (10, 1));
    let some = store
        .pipeline_minutes(PipelineKey(1), None, BucketRange { from: MINUTE + 3, to: MINUTE + 5, ..ALL_MINUTES })
        .await
        .unwrap()
        .rows;
    assert_eq!(some.iter().map(|view| view.at - MINUTE).collect::<Vec<_>>(), [3, 4]);
    // A caller that has the rows asks for their number only.
    let nothing = BucketRange { from: MINUTE + 3, to: MINUTE + 3, ..ALL_MINUTES };
    let stored = store.pipeline_minutes(PipelineKey(1), None, nothing).await.unwrap();
    assert_eq!((stored.rows.len(), stored.series.len()), (0, 1));
}

async fn counters_saturate(store: Arc<dyn TimeSeriesStore>) {
    let (environment, _) = with_pipeline(&*store).await;
    let other = store.enroll_node(enrolment(environment, None, "other")).await.unwrap();
    let series = SeriesRow { id: 3, node: other.key.0, pipeline: 1, component: String::new(), kind: "pipeline".into() };
    let batch = CommitBatch { series: vec![series], ..CommitBatch::default() };
    store.commit(batch).await.unwrap();
    for series in [1, 1, 3] {
        let batch =
            FlushBatch { pipeline_minutes: vec![pipeline_minute(MINUTE, series, i64::MAX)], ..Default::default() };
        store.flush(batch).await.unwrap();
    }
    let minutes = store.pipeline_minutes(PipelineKey(1), None, ALL_MINUTES).await.unwrap().rows;
    assert_eq!(minutes[0].events_in, i64::MAX);
}

async fn means_are_weighted_and_null_without_weight(store: Arc<dyn TimeSeriesStore>) {
    with_pipeline(&*store).await;
    let row = |minute, sum, weight| PipelineMinuteRow {
        utilization_sum: sum,
        utilization_weight: weight,
        ..pipeline_minute(minute, 1, 0)
    };
    for row in [row(MINUTE, 1.0, 10.0), row(MINUTE, 8.0, 10.0), row(MINUTE + 1, 0.0, 0.0)] {
        store.flush(FlushBatch { pipeline_minutes: vec![row], ..Default::default() }).await.unwrap();
    }
    let minutes = store.pipeline_minutes(PipelineKey(1), None, ALL_MINUTES).await.unwrap().rows;
    assert_eq!((minutes[0].utilization(), minutes[1].utilization()), (Some(0.45), None));
}

async fn uncounted_bytes_are_null_and_not_zero(store: Arc<dyn TimeSeriesStore>) {
    with_pipeline(&*store).await;
    let row = |received_bytes, received_events| ComponentMinuteRow {
        minute: MINUTE,
        series: 2,
        received_bytes,
        received_events,
        ..ComponentMinuteRow::default()
    };
    let commit = async |row| {
        store.flush(FlushBatch { component_minutes: vec![row], ..Default::default() }).await.unwrap();
        let minutes = store.component_minutes(PipelineKey(1), None, ALL_MINUTES).await.unwrap().rows;
        (minutes[0].received_events, minutes[0].received_bytes, minutes[0].sent_bytes)
    };
    assert_eq!(commit(row(None, 1)).await, (1, None, None));
    assert_eq!(commit(row(Some(10), 1)).await, (2, Some(10), None));
    assert_eq!(commit(row(None, 1)).await, (3, Some(10), None));
    assert_eq!(commit(row(Some(5), i64::MAX)).await, (i64::MAX, Some(15), None));
}

async fn failed_batch_writes_nothing(store: Arc<dyn TimeSeriesStore>) {
    let (environment, node) = with_pipeline(&*store).await;
    let bad = CommitBatch {
        pipeline_names: vec![(1, "Renamed".into())],
        logs: vec![log(6, 6, node.key.0, NOW)],
        events: vec![change(7, environment, node.key.0), change(7, environment, node.key.0)],
        head_seq: 7,
        ..CommitBatch::default()
    };
    assert!(store.commit(bad).await.is_err());
    assert!(store.list_logs(LogQuery { limit: 1, ..LogQuery::default() }).await.unwrap().is_empty());
    let pipelines = store.list_pipelines(PipelineQuery { limit: 1, ..PipelineQuery::default() }).await.unwrap();
    assert_eq!(pipelines[0].name, "Orders");
    assert_eq!(store.feed_position().await.unwrap().head, 0);
}

async fn committed_state_is_loaded_again(store: Arc<dyn TimeSeriesStore>) {
    let (_, node) = with_pipeline(&*store).await;
    let boots = ["01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"];
    let boot = |index: usize, seq, last_seen_at| NodeBootRow {
        node: node.key.0,
        boot: boots[index].into(),
        seq,
        last_seen_at,
    };
    let change = NodeChange { status: Some("HEALTHY".into()), ..NodeChange::default() };
    let heartbeat = |health: Option<&str>| NodeHeartbeat { health: health.map(Into::into), ..NodeHeartbeat::default() };
    let nodes = vec![(node.key.0, change)];
    store.commit(CommitBatch { nodes, head_seq: 40, ..CommitBatch::default() }).await.unwrap();
    let batch = FlushBatch {
        boots: vec![boot(0, 5, NOW), boot(1, 9, NOW - 1)],
        heartbeats: vec![(node.key.0, heartbeat(Some("{}"))), (node.key.0, heartbeat(None))],
        totals: [&b"\0old"[..], b"\0new"].map(|body| NodeTotalsRow { node: node.key.0, body: body.to_vec() }).into(),
        head_seq: 41,
        ..FlushBatch::default()
    };
    store.flush(batch).await.unwrap();
    let snapshot = store.load_ingest().await.unwrap();
    assert_eq!((snapshot.position.head, snapshot.last_series), (41, SeriesKey(2)));
    let loaded = &snapshot.nodes[0];
    assert_eq!(loaded.status.as_str(), "HEALTHY");
    let seqs: Vec<_> = loaded.boots.iter().map(|(boot, seq)| (boot.to_string(), *seq)).collect();
    assert_eq!(seqs, [(boots[1].to_owned(), 9), (boots[0].to_owned(), 5)], "least recently seen first");
    let view = store.list_nodes(NodeQuery { limit: 1, ..NodeQuery::default() }).await.unwrap().remove(0);
    assert_eq!(view.health.as_deref(), Some("{}"), "a pulse without health leaves it as it is");
    let one = store.load_node(node.key).await.unwrap().unwrap();
    assert_eq!((one.boots, one.series), (loaded.boots.clone(), loaded.series.clone()));
    assert_eq!(loaded.totals.as_deref(), Some(&b"\0new"[..]));
    assert_eq!(one.totals, loaded.totals);
    assert!(store.load_node(NodeKey(99)).await.unwrap().is_none());
    let forget = FlushBatch { forgotten_boots: vec![(node.key.0, boots[0].into())], ..FlushBatch::default() };
    store.flush(forget).await.unwrap();
    assert_eq!(store.load_node(node.key).await.unwrap().unwrap().boots.len(), 1);
}

async fn machine_keeps_its_node(store: Arc<dyn TimeSeriesStore>) {
    let environment = default_environment(&*store).await;
    let first = store.enroll_node(enrolment(environment, Some("m"), "first")).await.unwrap();
    let again = store.enroll_node(enrolment(environment, Some("m"), "again")).await.unwrap();
    assert_eq!(first.id, again.id);
    assert_eq!(again.old_tokens[0].expires_at, Some(NOW + 3_600_000), "the old token ends in an hour");
    let other = store.create_environment("other".into(), NOW).await.unwrap();
    let elsewhere = store.enroll_node(enrolment(other.key, Some("m"), "elsewhere")).await.unwrap();
    assert_ne!(first.id, elsewhere.id, "another environment is another fleet");
    let unnamed = [("u1", None), ("u2", None)].map(|(secret, id)| enrolment(environment, id, secret));
    let [one, two] = unnamed;
    assert_ne!(store.enroll_node(one).await.unwrap().id, store.enroll_node(two).await.unwrap().id);
}

async fn twins_have_the_machine_id_of_their_original(store: Arc<dyn TimeSeriesStore>) {
    let environment = default_environment(&*store).await;
    let of_machine = async || store.nodes_of_machine(environment, "m".to_owned()).await.unwrap();
    assert_eq!(of_machine().await, []);
    let first = store.enroll_node_as(enrolment(environment, Some("m"), "1"), EnrolAs::New).await.unwrap();
    let taken = store.enroll_node_as(enrolment(environment, Some("m"), "2"), EnrolAs::New).await;
    assert!(matches!(taken, Err(StoreError::Exists(_))), "another host was quicker");
    let twin = enrolment(environment, Some("m"), "3");
    let twin = store.enroll_node_as(twin, EnrolAs::TwinOf(first.key)).await.unwrap();
    assert_eq!(of_machine().await.iter().map(|node| node.key).collect::<Vec<_>>(), [first.key, twin.key]);
    let again = NewEnrolment { name: "web-2".into(), ..enrolment(environment, Some("m"), "4") };
    let again = store.enroll_node_as(again, EnrolAs::Known(twin.key)).await.unwrap();
    assert_eq!((again.id, again.old_tokens.len()), (twin.id, 1));
    assert_eq!(of_machine().await[1].name, "web-2");
}

async fn token_change_is_a_new_version(store: Arc<dyn TimeSeriesStore>) {
    let version = store.load_access(None).await.unwrap().unwrap().version;
    assert!(store.load_access(Some(version)).await.unwrap().is_none());
    let viewer = store.create_token(token(TokenKind::Viewer, "viewer", None)).await.unwrap();
    store.create_token(token(TokenKind::Session, "session", Some(viewer.id))).await.unwrap();
    let changed = store.load_access(Some(version)).await.unwrap().unwrap();
    assert_eq!(changed.tokens.len(), 2);
    assert!(store.revoke_token(viewer.id, NOW).await.unwrap());
    let revoked = store.load_access(Some(changed.version)).await.unwrap().unwrap();
    assert!(revoked.tokens.is_empty(), "a token takes its sessions along");
    assert!(store.revoke_token(viewer.id, NOW + 1).await.unwrap());
    let late = store.create_token(token(TokenKind::Session, "late", Some(viewer.id))).await;
    assert!(matches!(late, Err(StoreError::Revoked)), "a session that outlives its token: {late:?}");
    let listed = store.list_tokens(vec![TokenKind::Viewer]).await.unwrap();
    assert_eq!(listed[0].revoked_at, Some(NOW), "the first time stays");
    assert!(!store.revoke_token(TokenId(Uuid::now_v7()), NOW).await.unwrap());
    let twice = store.create_environment("default".into(), NOW).await;
    assert!(matches!(twice, Err(StoreError::Exists(_))));
}

async fn replay_all(store: &dyn TimeSeriesStore, query: ReplayQuery) -> Vec<(u64, EventType)> {
    let mut events = Vec::new();
    let mut after = query.after;
    while after < query.to {
        let page = store.replay_page(ReplayQuery { after, ..query.clone() }).await.unwrap();
        assert!(page.cursor > after, "a page moves on");
        events.extend(page.events.iter().map(|event| (event.seq, event.kind)));
        after = page.cursor;
    }
    events
}

async fn replay_merges_lines_and_changes_in_whole_events(store: Arc<dyn TimeSeriesStore>) {
    let (environment, node) = with_pipeline(&*store).await;
    let stranger = store.create_environment("other".into(), NOW).await.unwrap();
    let foreign = store.enroll_node(enrolment(stranger.key, None, "foreign")).await.unwrap();
    // Events of 1 to 100 lines, a change behind each, the same again for a foreign node.
    let (mut logs, mut events, mut expected, mut seq) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..120_i64 {
        for (owner, scope) in [(node.key.0, environment), (foreign.key.0, stranger.key)] {
            let lines = round % 100 + 1;
            logs.extend((1..=lines).map(|line| log(seq + line, seq + lines, owner, NOW)));
            seq += lines;
            let entry = (seq as u64, EventType::LogEntry);
            seq += 1;
            events.push(change(seq, scope, owner));
            if scope == environment {
                expected.extend([entry, (seq as u64, EventType::StatusChange)]);
            }
        }
    }
    let head_seq = seq as u64;
    store.commit(CommitBatch { logs, events, head_seq, ..CommitBatch::default() }).await.unwrap();
    let query = ReplayQuery {
        environments: Some(vec![environment]),
        among: None,
        types: vec![EventType::StatusChange, EventType::LogEntry],
        nodes: Vec::new(),
        pipelines: Vec::new(),
        after: 0,
        to: head_seq,
        limit: 7,
    };
    assert_eq!(replay_all(&*store, query.clone()).await, expected);
    let from = expected[77].0;
    let rest: Vec<_> = expected.iter().copied().filter(|(seq, _)| *seq > from).collect();
    assert_eq!(replay_all(&*store, ReplayQuery { after: from, ..query.clone() }).await, rest);
    let only_changes = ReplayQuery { types: vec![EventType::StatusChange], ..query.clone() };
    assert_eq!(replay_all(&*store, only_changes).await.len(), 120);
    let only_foreign = ReplayQuery { nodes: vec![foreign.id], ..query.clone() };
    assert!(replay_all(&*store, only_foreign).await.is_empty(), "a filter does not widen the scope");
    let of_pipeline = ReplayQuery { pipelines: vec!["orders".into()], ..query };
    assert_eq!(replay_all(&*store, of_pipeline).await.len(), 120, "changes of nodes are left out");
}

async fn logs_are_filtered_by_every_parameter(store: Arc<dyn TimeSeriesStore>) {
    let (environment, node) = with_pipeline(&*store).await;
    let mut logs: Vec<_> = (1..=5).map(|seq| log(seq, seq, node.key.0, NOW + seq)).collect();
    logs[1].level = Some("ERROR".into());
    logs[2].level = None;
    logs[3].line = "100% of a_b".into();
    store.commit(CommitBatch { logs, head_seq: 5, ..CommitBatch::default() }).await.unwrap();
    let base = LogQuery { environments: Some(vec![environment]), limit: 100, ..LogQuery::default() };
    let find = async |query: LogQuery| -> Vec<i64> {
        store.list_logs(query).await.unwrap().into_iter().map(|line| line.seq).collect()
    };
    assert_eq!(find(base.clone()).await, [1, 2, 3, 4, 5]);
    let errors = LogQuery { min_level: Some(systole_shared::LogLevel::Error), ..base.clone() };
    assert_eq!(find(errors).await, [2]);
    for (text, found) in [("100%", vec![4]), ("a_b", vec![4]), ("a%b", vec![]), ("LINE 5", vec![5])] {
        assert_eq!(find(LogQuery { text: Some(text.into()), ..base.clone() }).await, found, "{text}");
    }
    let range = LogQuery { from: Some(NOW + 2), to: Some(NOW + 4), ..base.clone() };
    assert_eq!(find(range).await, [2, 3]);
    assert_eq!(find(LogQuery { after: Some(3), limit: 1, ..base.clone() }).await, [4]);
    let newest = LogQuery { order: ListOrder::NewestFirst, ..base.clone() };
    assert_eq!(find(LogQuery { limit: 2, ..newest.clone() }).await, [5, 4]);
    assert_eq!(find(LogQuery { after: Some(4), ..newest.clone() }).await, [3, 2, 1]);
    assert_eq!(find(LogQuery { text: Some("line".into()), ..newest }).await, [5, 3, 2, 1]);
    assert!(find(LogQuery { environments: Some(vec![EnvironmentKey(99)]), ..base }).await.is_empty());
}

async fn expiry_removes_old_rows_and_moves_the_retention_floor(store: Arc<dyn TimeSeriesStore>) {
    let (environment, node) = with_pipeline(&*store).await;
    let old = NOW - 10;
    // An event of lines 1 to 3, a change 4, a line 5 that is to be kept.
    let logs = vec![
        log(1, 3, node.key.0, old),
        log(2, 3, node.key.0, old),
        log(3, 3, node.key.0, old),
        log(5, 5, node.key.0, NOW),
    ];
    let batch = CommitBatch {
        logs,
        events: vec![EventRow { at: old, ..change(4, environment, node.key.0) }],
        head_seq: 5,
        ..CommitBatch::default()
    };
    store.commit(batch).await.unwrap();
    let pipeline_minutes = vec![pipeline_minute(MINUTE - 1, 1, 1), pipeline_minute(MINUTE, 1, 2)];
    store.flush(FlushBatch { pipeline_minutes, head_seq: 5, ..FlushBatch::default() }).await.unwrap();
    assert_eq!(store.feed_position().await.unwrap().oldest, Oldest { log: 1, event: 1 });
    let cutoffs = Cutoffs {
        minutes_before: MINUTE,
        logs_before: NOW,
        events_before: NOW,
        tokens_before: NOW,
        ..Cutoffs::default()
    };
    // A batch never cuts an event in two, however small it is.
    assert_eq!(store.expire(cutoffs, 2).await.unwrap(), 5);
    assert_eq!(store.expire(cutoffs, 2).await.unwrap(), 0);
    assert_eq!(store.feed_position().await.unwrap().oldest, Oldest { log: 4, event: 5 });
    let kept = store.list_logs(LogQuery { limit: 10, ..LogQuery::default() }).await.unwrap();
    assert_eq!(kept.iter().map(|line| line.seq).collect::<Vec<_>>(), [5]);
    assert_eq!(store.pipeline_minutes(PipelineKey(1), None, ALL_MINUTES).await.unwrap().rows.len(), 1);
}

async fn replay_page_names_the_retention_floor(store: Arc<dyn TimeSeriesStore>) {
    let (environment, node) = with_pipeline(&*store).await;
    let events = (1..=9).map(|seq| EventRow { at: NOW + seq, ..change(seq, environment, node.key.0) }).collect();
    store.commit(CommitBatch { events, head_seq: 9, ..CommitBatch::default() }).await.unwrap();
    let query = ReplayQuery {
        environments: None,
        among: None,
        types: vec![EventType::StatusChange],
        nodes: Vec::new(),
        pipelines: Vec::new(),
        after: 0,
        to: 9,
        limit: 2,
    };
    let first = store.replay_page(query.clone()).await.unwrap();
    assert_eq!((first.cursor, first.oldest), (2, Oldest { log: 1, event: 1 }));
    let cutoffs =
        Cutoffs { minutes_before: 0, logs_before: 0, events_before: NOW + 6, tokens_before: 0, ..Cutoffs::default() };
    store.expire(cutoffs, 100).await.unwrap();
    let second = store.replay_page(ReplayQuery { after: first.cursor, ..query }).await.unwrap();
    assert_eq!(second.oldest, Oldest { log: 1, event: 6 }, "3 to 5 went between two pages");
}

async fn expired_sessions_are_removed_and_other_tokens_stay(store: Arc<dyn TimeSeriesStore>) {
    let environment = default_environment(&*store).await;
    let ended = |token: NewToken| NewToken { expires_at: Some(NOW - 1), ..token };
    let viewer = store.create_token(ended(token(TokenKind::Viewer, "viewer", None))).await.unwrap();
    store.create_token(ended(token(TokenKind::Session, "ended", Some(viewer.id)))).await.unwrap();
    store.create_token(token(TokenKind::Session, "alive", Some(viewer.id))).await.unwrap();
    for (secret, old_tokens_until) in [("first", NOW), ("again", NOW - 1)] {
        let enrolment = NewEnrolment { old_tokens_until, ..enrolment(environment, Some("m"), secret) };
        store.enroll_node(enrolment).await.unwrap();
    }
    let cutoffs =
        Cutoffs { minutes_before: 0, logs_before: 0, events_before: 0, tokens_before: NOW, ..Cutoffs::default() };
    assert_eq!(store.expire(cutoffs, 100).await.unwrap(), 2);
    let kinds = vec![TokenKind::Viewer, TokenKind::Session, TokenKind::Node];
    let left: Vec<_> = store.list_tokens(kinds).await.unwrap().into_iter().map(|token| token.kind).collect();
    assert_eq!(left.len(), 3);
    assert!([TokenKind::Viewer, TokenKind::Session, TokenKind::Node].iter().all(|kind| left.contains(kind)));
}

async fn snapshot_names_its_sequence_number(store: Arc<dyn TimeSeriesStore>) {
    let (environment, _) = with_pipeline(&*store).await;
    store.commit(CommitBatch { head_seq: 17, ..CommitBatch::default() }).await.unwrap();
    let snapshot = store.snapshot(Some(vec![environment]), StateParts::All).await.unwrap();
    assert_eq!((snapshot.watermark, snapshot.nodes.len()), (17, 1));
    assert!(store.snapshot(Some(vec![EnvironmentKey(99)]), StateParts::All).await.unwrap().nodes.is_empty());
}

async fn gaps_expire_with_their_minutes(store: Arc<dyn TimeSeriesStore>) {
    let (_, node) = with_pipeline(&*store).await;
    let gap = |from_seq, recorded_at| NodeGapRow {
        node: node.key.0,
        boot: "01890a5d-ac96-774b-bcce-b302099a8057".into(),
        from_seq,
        to_seq: from_seq,
        recorded_at,
    };
    let gaps = vec![gap(1, MINUTE * 60_000 - 1), gap(2, MINUTE * 60_000)];
    store.commit(CommitBatch { gaps, ..CommitBatch::default() }).await.unwrap();
    let cutoffs =
        Cutoffs { minutes_before: MINUTE, logs_before: 0, events_before: 0, tokens_before: 0, ..Cutoffs::default() };
    assert_eq!(store.expire(cutoffs, 100).await.unwrap(), 1);
    let kept: Vec<_> = store.node_gaps(node.key).await.unwrap().iter().map(|gap| gap.from_seq).collect();
    assert_eq!(kept, [2]);
}

macro_rules! suite {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            use crate::store::Access;
use crate::store::sqlite::SqliteStore;

            $(
                #[tokio::test]
                async fn $test() {
                    let dir = tempfile::tempdir().unwrap();
                    let store = SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap();
                    super::$test(std::sync::Arc::new(store)).await;
                }
            )+
        }

        mod on_postgres {
            use crate::store::Access;
            use crate::store::postgres::PostgresStore;
            use systole_tests::harness::TestPostgres;

            $(
                #[tokio::test]
                async fn $test() {
                    let server = TestPostgres::start();
                    let url = server.url().parse().unwrap();
                    let store = PostgresStore::open(&url, Access::Exclusive).await.unwrap();
                    super::$test(std::sync::Arc::new(store)).await;
                }
            )+
        }
    };
}

suite! {
    minutes_add_up_by_key,
    counters_saturate,
    means_are_weighted_and_null_without_weight,
    uncounted_bytes_are_null_and_not_zero,
    failed_batch_writes_nothing,
    committed_state_is_loaded_again,
    machine_keeps_its_node,
    twins_have_the_machine_id_of_their_original,
    token_change_is_a_new_version,
    replay_merges_lines_and_changes_in_whole_events,
    logs_are_filtered_by_every_parameter,
    expiry_removes_old_rows_and_moves_the_retention_floor,
    replay_page_names_the_retention_floor,
    expired_sessions_are_removed_and_other_tokens_stay,
    snapshot_names_its_sequence_number,
    gaps_expire_with_their_minutes,
    hours_and_days_equal_the_sum_of_minutes,
    history_is_equal_before_and_after_rollup,
    hours_outlive_their_minutes,
    hour_sums_saturate,
    extremes_are_those_of_minutes,
    minutes_that_are_not_complete_have_no_extremes,
    host_extremes_are_those_of_minutes,
    search_results_are_independent_of_the_index,
    expired_lines_leave_the_index,
    evicted_lines_of_a_node_leave_those_of_others,
    actions_are_listed_newest_first_and_expire,
    settings_win_and_names_sort_as_they_are_shown,
    removed_node_leaves_its_events_only,
    twin_inherits_the_machine_id,
    lists_take_many_nodes,
    version_replaces_exactly_the_one_before,
    new_value_of_a_secret_renews_the_pipelines_that_use_it,
    buffers_and_components_of_a_pipeline_are_read,
    alerts_and_messages_are_written_together,
    messages_wait_until_they_are_finished,
    silences_last_until_they_end,
    minutes_of_all_pipelines_come_with_hosts_and_buffers,
}
