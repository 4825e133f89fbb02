//! Copies between databases of both kinds.

use std::sync::Arc;

use systole_shared::{Token, TokenKind};
use systole_tests::harness::TestPostgres;
use tempfile::TempDir;

use super::*;
use crate::model::RolloutKey;
use crate::store::postgres::{PostgresSide, PostgresStore};
use crate::store::sqlite::{SqliteSide, SqliteStore};
use crate::store::{
    Access, AccessStore, Author, CommitBatch, CreatedVersion, DefinitionStore, EventRow, FlushBatch, LogRow,
    NewEnrolment, NewSecret, NewToken, NewVersion, PipelineMinuteRow, PipelineRow, SealedSecret, TimeSeriesStore,
    VersionOutcome,
};

/// More lines than a page has.
const LINES: i64 = 2 * PAGE_ROWS as i64 + 17;

fn file(dir: &TempDir, name: &str) -> SqliteSide {
    SqliteSide::open(&dir.path().join(name)).unwrap()
}

async fn server(server: &TestPostgres) -> PostgresSide {
    PostgresSide::open(&server.url().parse().unwrap()).await.unwrap()
}

/// A little of everything, with values that are easily spoilt on the way.
async fn fill(store: Arc<dyn TimeSeriesStore>) {
    let environment = store.create_environment("other".into(), 1).await.unwrap().key;
    let token = |kind, parent, secret: &str| NewToken {
        kind,
        environment: None,
        parent,
        label: crate::store::TokenLabel::default(),
        hash: Token::new(secret).hash(),
        hint: "…".into(),
        created_at: 1,
        expires_at: None,
    };
    let viewer = store.create_token(token(TokenKind::Viewer, None, "viewer")).await.unwrap();
    store.create_token(token(TokenKind::Session, Some(viewer.id), "session")).await.unwrap();
    let enrolment = NewEnrolment {
        environment,
        name: "näme 'quoted\"".into(),
        machine_id: None,
        os: String::new(),
        agent_version: String::new(),
        labels: Default::default(),
        hash: Token::new("node").hash(),
        hint: String::new(),
        now: 1,
        old_tokens_until: 1,
    };
    let node = store.enroll_node(enrolment).await.unwrap().key.0;
    let minute = |minute, events_in, utilization_sum| PipelineMinuteRow {
        minute,
        series: 1,
        events_in,
        utilization_sum,
        ..PipelineMinuteRow::default()
    };
    let line = |seq: i64| LogRow {
        seq,
        entry_seq: seq,
        at: i64::MAX - seq,
        node,
        pipeline: 1,
        stream: "stdout".into(),
        level: (seq % 2 == 0).then(|| "WARN".into()),
        line: format!("{seq} \\ | € \n"),
    };
    let event = EventRow {
        seq: LINES + 1,
        at: -1,
        environment: environment.0,
        node,
        pipeline: None,
        kind: "status_change".into(),
        payload: "{}".into(),
    };
    let batch = CommitBatch {
        pipelines: vec![PipelineRow { id: 1, environment: environment.0, slug: "p".into(), name: "P".into() }],
        logs: (1..=LINES).map(line).collect(),
        events: vec![event],
        head_seq: LINES as u64 + 1,
        ..CommitBatch::default()
    };
    let head_seq = batch.head_seq;
    store.commit(batch).await.unwrap();
    let secret = NewSecret {
        value: SealedSecret {
            environment,
            name: "prod/db".into(),
            revision: 1,
            key_id: "k".into(),
            sealed: vec![0, 255, 1],
        },
        author: author(),
        now: 1,
    };
    store.put_secret(secret).await.unwrap();
    store.create_version(new_version(environment, "orders")).await.unwrap();
    let pipeline_minutes = vec![minute(1, i64::MAX, 0.1 + 0.2), minute(2, i64::MAX, 1e-300), minute(3, 0, 1e300)];
    store.flush(FlushBatch { pipeline_minutes, head_seq, ..FlushBatch::default() }).await.unwrap();
    store.close().await;
}

fn author() -> Author {
    Author { name: "ci".into(), id: None }
}

fn new_version(environment: crate::model::EnvironmentKey, slug: &str) -> NewVersion {
    NewVersion {
        environment,
        slug: slug.into(),
        replaces: None,
        checksum: String::new(),
        body: r#"{"definition":{},"secretRevisions":{"prod/db":1}}"#.into(),
        secret_revisions: vec![("prod/db".into(), 1)],
        policy: "{}".into(),
        author: author(),
        note: String::new(),
        now: 1,
    }
}

async fn filled_file(dir: &TempDir, name: &str) -> SqliteSide {
    fill(Arc::new(SqliteStore::open(&dir.path().join(name), Access::Exclusive).unwrap())).await;
    file(dir, name)
}

/// Every value of every table.
async fn everything(side: &mut dyn Side) -> Vec<Row> {
    let mut rows = side.query((format!("SELECT {META} FROM meta"), Vec::new())).await.unwrap();
    for (name, key) in TABLES {
        let columns = side.columns(name).await.unwrap();
        let mut names: Vec<_> = columns.into_iter().map(|(name, _)| name).collect();
        names.sort();
        let sql = format!("SELECT {} FROM {name} ORDER BY {}", names.join(", "), key.join(", "));
        rows.extend(side.query((sql, Vec::new())).await.unwrap());
    }
    rows
}

#[tokio::test]
async fn transfer_round_trips_through_postgres() {
    let (dir, postgres) = (tempfile::tempdir().unwrap(), TestPostgres::start());
    let mut source = filled_file(&dir, "source.db").await;
    let mut between = server(&postgres).await;
    let mut back = file(&dir, "back.db");
    let mut last = Progress::default();
    let rows = copy(&mut source, &mut between, Epoch::Kept, |progress| last = progress).await.unwrap();
    assert_eq!(last, Progress { copied: rows, total: rows });
    assert_eq!(copy(&mut between, &mut back, Epoch::Kept, |_| {}).await.unwrap(), rows);
    let all = everything(&mut source).await;
    assert_eq!(all.len() as u64, rows + 1);
    assert!(all == everything(&mut between).await && all == everything(&mut back).await);
    // The next key is free.
    drop(between);
    let store = PostgresStore::open(&postgres.url().parse().unwrap(), Access::Exclusive).await.unwrap();
    let third = store.create_environment("third".into(), 1).await.unwrap();
    let version = NewVersion { secret_revisions: vec![], ..new_version(third.key, "orders") };
    let made = store.create_version(version).await.unwrap();
    assert!(
        matches!(made, VersionOutcome::Created(CreatedVersion { version: 1, rollout: RolloutKey(2), .. })),
        "{made:?}"
    );
}

#[tokio::test]
async fn transfer_copies_every_table() {
    let (dir, postgres) = (tempfile::tempdir().unwrap(), TestPostgres::start());
    let listed = |rows: Vec<Row>| {
        let mut names: Vec<_> = rows.iter().map(|row| row[0].as_text().to_owned()).collect();
        // The index of log lines is built again from them, and collectors that serve write their own rows.
        let is_copied = |name: &str| {
            !["meta", "collectors"].contains(&name) && !name.starts_with("__") && !name.starts_with("log_search")
        };
        names.retain(|name| is_copied(name));
        names.sort();
        names
    };
    let mut expected = TABLES.map(|(name, _)| name.to_owned()).to_vec();
    expected.sort();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    assert_eq!(listed(file(&dir, "new.db").query((sql.into(), Vec::new())).await.unwrap()), expected);
    let sql = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
    assert_eq!(listed(server(&postgres).await.query((sql.into(), Vec::new())).await.unwrap()), expected);
}

/// A target that fails at a given write, before or after it was done.
struct Failing<S> {
    side: S,
    writes_left: u32,
}

#[async_trait]
impl<S: Side> Side for Failing<S> {
    async fn query(&mut self, query: Bound) -> Result<Vec<Row>, StoreError> {
        self.side.query(query).await
    }

    async fn write(&mut self, steps: Vec<TransferStep<'_>>) -> Result<(), StoreError> {
        if self.writes_left == 0 {
            return Err(StoreError::Closed);
        }
        self.writes_left -= 1;
        self.side.write(steps).await
    }

    async fn columns(&mut self, table: &str) -> Result<Vec<(String, Kind)>, StoreError> {
        self.side.columns(table).await
    }

    async fn adopt_keys(&mut self) -> Result<(), StoreError> {
        self.side.adopt_keys().await
    }
}

#[tokio::test]
async fn interrupted_transfer_continues_and_is_not_served() {
    let (dir, postgres) = (tempfile::tempdir().unwrap(), TestPostgres::start());
    let mut source = filled_file(&dir, "source.db").await;
    let mut runs = 0;
    let mut side = loop {
        // One more page each time, and then the end.
        let mut target = Failing { side: server(&postgres).await, writes_left: 1 };
        runs += 1;
        match copy(&mut source, &mut target, Epoch::Kept, |_| {}).await {
            Ok(_) => break target.side,
            // Cut off by the test, and by nothing else.
            Err(TransferError::Store(_, StoreError::Closed)) => {}
            Err(error) => panic!("after {runs} pages: {error:?}"),
        }
        drop(target);
        let served = PostgresStore::open(&postgres.url().parse().unwrap(), Access::Exclusive).await;
        assert!(matches!(served, Err(StoreError::Incomplete(_))), "after {runs} pages");
    };
    assert!(runs > 8, "{runs} writes");
    assert!(everything(&mut source).await == everything(&mut side).await);
    drop(side);
    PostgresStore::open(&postgres.url().parse().unwrap(), Access::Exclusive).await.unwrap();

    let name = dir.path().join("cut.db");
    let mut target = Failing { side: file(&dir, "cut.db"), writes_left: 3 };
    copy(&mut source, &mut target, Epoch::Kept, |_| {}).await.unwrap_err();
    drop(target);
    assert!(matches!(SqliteStore::open(&name, Access::Shared), Err(StoreError::Incomplete(_))));
    copy(&mut source, &mut file(&dir, "cut.db"), Epoch::Kept, |_| {}).await.unwrap();
    SqliteStore::open(&name, Access::Shared).unwrap();
}

#[tokio::test]
async fn transfer_refuses_a_target_with_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = filled_file(&dir, "source.db").await;
    let mut other = filled_file(&dir, "other.db").await;
    let before = everything(&mut other).await;
    assert!(matches!(copy(&mut source, &mut other, Epoch::Kept, |_| {}).await, Err(TransferError::NotEmpty)));
    // Nor is one into which something else is being copied.
    let mut cut = Failing { side: file(&dir, "cut.db"), writes_left: 1 };
    copy(&mut other, &mut cut, Epoch::Kept, |_| {}).await.unwrap_err();
    assert!(matches!(copy(&mut source, &mut cut.side, Epoch::Kept, |_| {}).await, Err(TransferError::NotEmpty)));
    assert!(everything(&mut other).await == before);
}

#[tokio::test]
async fn transfer_reports_differing_table_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = filled_file(&dir, "source.db").await;
    let mut target = file(&dir, "target.db");
    let rows = copy(&mut source, &mut target, Epoch::Kept, |_| {}).await.unwrap();
    assert_eq!(
        copy(&mut source, &mut target, Epoch::Kept, |_| {}).await.unwrap(),
        rows,
        "a second time it is only compared"
    );
    for (change, told) in [
        ("UPDATE pipeline_minutes SET events_in = events_in - 1 WHERE minute = 1", "pipeline_minutes.events_in"),
        ("UPDATE pipeline_minutes SET utilization_sum = 1e299 WHERE minute = 3", "pipeline_minutes.utilization_sum"),
        ("UPDATE logs SET level = NULL WHERE seq = 2", "logs.level"),
        ("DELETE FROM logs WHERE seq = 3", "logs has 4017 rows in the source, 4016 in the target"),
    ] {
        target.write(vec![TransferStep::Run((change.to_owned(), Vec::new()))]).await.unwrap();
        let Err(error) = copy(&mut source, &mut target, Epoch::Kept, |_| {}).await else { panic!("{change}") };
        assert!(error.to_string().contains(told), "{change}: {error}");
    }
}
