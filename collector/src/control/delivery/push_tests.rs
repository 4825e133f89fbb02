use systole_shared::PipelineId;
use systole_shared::TokenKind;
use systole_shared::action::ActionRequest;
use uuid::Uuid;

use super::*;
use crate::config::RequestLimits;
use crate::store::sqlite::SqliteStore;
use crate::store::{Access, AccessStore, NewToken, TokenLabel};

const NODE: NodeKey = NodeKey(1);

struct Bench {
    delivery: Arc<Delivery>,
    auth: Arc<Authenticator>,
    store: SqliteStore,
    identity: Identity,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("test.db"), Access::Exclusive).unwrap();
        let token = crate::auth::new_token(TokenKind::Viewer);
        let new = NewToken {
            kind: TokenKind::Viewer,
            environment: None,
            parent: None,
            label: TokenLabel::default(),
            hash: token.hash(),
            hint: String::new(),
            created_at: 0,
            expires_at: None,
        };
        store.create_token(new).await.unwrap();
        let auth = Arc::new(Authenticator::load(&store, RequestLimits::NONE).await.unwrap());
        let address = std::net::IpAddr::from([127, 0, 0, 1]).into();
        let identity = auth.identify(&store, &token, address, 0).await.unwrap().unwrap();
        Bench { delivery: Delivery::new(vec![(NODE, 7)]), auth, store, identity, _directory: directory }
    }

    fn open(&self) -> PushStream {
        self.open_as(Encoding::Native)
    }

    fn open_as(&self, encoding: Encoding) -> PushStream {
        PushStream::open(Arc::clone(&self.delivery), Arc::clone(&self.auth), self.identity, NODE, encoding)
    }
}

async fn next(stream: &mut PushStream) -> PushMessage {
    let write = stream.next_write().await.expect("the stream is open");
    let text = std::str::from_utf8(&write).unwrap();
    let (_, data) = text.split_once("data: ").unwrap();
    serde_json::from_str(data.trim()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn stream_reports_the_newest_generation_and_pings() {
    let bench = Bench::start().await;
    let mut stream = bench.open();
    assert_eq!(next(&mut stream).await, PushMessage::Hello { generation: 7, ping_ms: 20_000 });
    bench.delivery.update(&[(NODE, 8)]);
    bench.delivery.update(&[(NODE, 9), (NodeKey(2), 1)]);
    assert_eq!(next(&mut stream).await, PushMessage::Desired { generation: 9 });
    bench.delivery.update(&[(NODE, 9)]);
    assert!(matches!(next(&mut stream).await, PushMessage::Ping { .. }), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn newest_stream_of_a_node_replaces_the_one_before() {
    let bench = Bench::start().await;
    let (mut first, mut second) = (bench.open(), bench.open());
    next(&mut first).await;
    next(&mut second).await;
    assert!(matches!(next(&mut first).await, PushMessage::Goodbye { retry_ms: 10_000.. }));
    assert!(first.next_write().await.is_none());
    drop(first);
    let action = AgentAction {
        action_id: Uuid::nil(),
        pipeline_id: PipelineId::parse("orders").unwrap(),
        request: ActionRequest::Restart,
    };
    assert!(bench.delivery.push.send(NODE, action.clone()), "the second one is not removed with the first");
    assert_eq!(next(&mut second).await, PushMessage::Action(action.clone()));
    drop(second);
    assert_eq!(bench.delivery.push.count(), 0);
    assert!(!bench.delivery.push.send(NODE, action));
}

#[tokio::test(start_paused = true)]
async fn stream_ends_with_its_token_its_node_and_the_collector() {
    let bench = Bench::start().await;
    let mut stream = bench.open();
    next(&mut stream).await;
    bench.delivery.push.stop();
    assert!(matches!(next(&mut stream).await, PushMessage::Goodbye { retry_ms: ..=5_000 }));

    let bench = Bench::start().await;
    let mut stream = bench.open();
    next(&mut stream).await;
    bench.delivery.forget(NODE);
    assert!(matches!(next(&mut stream).await, PushMessage::Goodbye { .. }));

    let bench = Bench::start().await;
    let mut stream = bench.open();
    next(&mut stream).await;
    bench.store.revoke_token(bench.identity.token, 1).await.unwrap();
    bench.auth.refresh(&bench.store).await.unwrap();
    assert!(matches!(next(&mut stream).await, PushMessage::Goodbye { .. }));
}

const VECTORFLOW: Encoding = Encoding::VectorFlow { report_every_ms: 5_000 };

async fn next_text(stream: &mut PushStream) -> String {
    String::from_utf8(stream.next_write().await.expect("the stream is open").to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn stream_for_vectorflow_has_its_comments_and_events() {
    let bench = Bench::start().await;
    bench.delivery.set_given(NODE, 7, Vec::new());
    let mut stream = bench.open_as(VECTORFLOW);
    let hello = next_text(&mut stream).await;
    let interval = "event: poll_interval\ndata: {\"type\":\"poll_interval\",\"intervalMs\":5000}\n\n";
    assert_eq!(hello, format!(": connected\n\n{interval}"));
    bench.delivery.update(&[(NODE, 8)]);
    let changed = "event: config_changed\ndata: {\"type\":\"config_changed\",\"reason\":\"generation 8\"}\n\n";
    assert_eq!(next_text(&mut stream).await, changed);
    let begin = Instant::now();
    assert_eq!(next_text(&mut stream).await, ": keepalive\n\n");
    assert!(begin.elapsed() <= Duration::from_secs(30), "{:?}", begin.elapsed());
    bench.delivery.leave_out_once(NODE, PipelineId::parse("orders").unwrap());
    assert_eq!(next_text(&mut stream).await, changed);
    bench.delivery.push.stop();
    assert_eq!(stream.next_write().await, None, "it has no goodbye");
}

#[tokio::test(start_paused = true)]
async fn agent_that_missed_a_change_polls_at_once() {
    let bench = Bench::start().await;
    for given in [None, Some(6)] {
        if let Some(generation) = given {
            bench.delivery.set_given(NODE, generation, Vec::new());
        }
        let mut stream = bench.open_as(VECTORFLOW);
        next_text(&mut stream).await;
        assert!(next_text(&mut stream).await.starts_with("event: config_changed\n"), "{given:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_open_together_have_their_first_pings_at_different_times() {
    let bench = Bench::start().await;
    let mut pings = Vec::new();
    for _ in 0..20 {
        // The newest stream of a node replaces the one before, so one after the other is open.
        let mut stream = bench.open();
        let opened_at = Instant::now();
        next(&mut stream).await;
        assert!(matches!(next(&mut stream).await, PushMessage::Ping { .. }));
        pings.push(opened_at.elapsed());
    }
    assert!(pings.iter().all(|after| *after <= PING_EVERY + Duration::from_millis(1)), "{pings:?}");
    let (first, last) = (pings.iter().min().unwrap(), pings.iter().max().unwrap());
    assert!(*last > *first + PING_EVERY / 4, "{pings:?}");
}
