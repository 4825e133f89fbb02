//! What each kind of token permits, and how soon a change takes effect.

use std::time::Duration;

use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::{Answer, ApiClient, DatabaseKind, Feed, NodeClient, SOON, TestCollector, eventually_true};

on_each_database! {
    token_changes_take_effect_within_2_s,
    expired_token_is_unknown_and_its_stream_ends,
    revoked_enrolment_token_creates_no_node,
    routes_need_a_token_except_health_checks,
    node_cannot_read_and_viewer_cannot_report,
    machine_keeps_its_node_and_its_older_token,
    tokens_survive_a_restart_and_lists_hide_secrets,
}

/// What the command line changes counts within this time.
const TAKES_EFFECT: Duration = Duration::from_secs(2);
/// Room for a request on a busy machine.
const ROOM: Duration = Duration::from_secs(8);

/// Routes that read.
const READS: [&str; 6] =
    ["/api/v1/nodes", "/api/v1/pipelines", "/api/v1/logs", "/api/v1/status-changes", "/api/v1/events", "/metrics"];

async fn becomes(client: &ApiClient, path: &str, status: u16) {
    eventually_true(&format!("{path} answers {status}"), TAKES_EFFECT + ROOM, async || {
        client.get(path).await.status == status
    })
    .await;
}

async fn token_changes_take_effect_within_2_s(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let token = collector.create_token("viewer", None).await;
    assert_eq!((token.kind.as_str(), &token.environment, &token.expires_at), ("viewer", &None, &None));
    let viewer = collector.client().with_token(token.token.reveal());
    becomes(&viewer, "/api/v1/nodes", 200).await;
    let mut feed = Feed::open(&viewer, "").await;
    feed.wait_for("hello", SOON, |event| event.kind == "hello").await;

    collector.revoke_token(&token.id).await;
    becomes(&viewer, "/api/v1/nodes", 401).await;
    let goodbye = feed.wait_for("goodbye", TAKES_EFFECT + ROOM, |event| event.kind == "goodbye").await;
    assert_eq!(goodbye.data["reason"], "revoked");
    feed.wait_for_end(SOON).await;
    Feed::refusal(&viewer, "").await.problem(401);
}

async fn expired_token_is_unknown_and_its_stream_ends(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let token = collector.create_token_with("viewer", None, &["--expires", "15s"]).await;
    assert!(token.expires_at.is_some());
    let viewer = collector.client().with_token(token.token.reveal());
    becomes(&viewer, "/api/v1/nodes", 200).await;
    let mut feed = Feed::open(&viewer, "").await;
    eventually_true("the token has expired", SOON, async || viewer.get("/api/v1/nodes").await.status == 401).await;
    feed.wait_for("goodbye", SOON, |event| event.kind == "goodbye").await;
    feed.wait_for_end(SOON).await;
}

async fn revoked_enrolment_token_creates_no_node(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let token = collector.create_token("enroll", None).await;
    NodeClient::enroll_with(&collector.client(), token.token.reveal(), "n1").await;
    collector.revoke_token(&token.id).await;
    let client = collector.client();
    // Each try is another host: one that enrols twice waits until it is known whether both are alive.
    let mut tries = 0;
    eventually_true("enrolment is refused", TAKES_EFFECT + ROOM, async || {
        tries += 1;
        NodeClient::try_enroll(&client, token.token.reveal(), &format!("n2-{tries}")).await.status == 401
    })
    .await;
    NodeClient::try_enroll(&client, token.token.reveal(), "n3").await.problem(401);
    NodeClient::try_enroll(&client, "systole_enroll_nonsense", "n4").await.problem(401);
    let viewer = collector.create_token("viewer", None).await;
    let answer = NodeClient::try_enroll(&client, viewer.token.reveal(), "n5").await;
    assert!(matches!(answer.status, 401 | 403), "a viewer's token does not enrol: {answer:?}");
}

async fn routes_need_a_token_except_health_checks(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let anonymous = collector.client();
    let unknown = anonymous.with_token(&format!("systole_viewer_{}", "0".repeat(64)));
    let node = "00000000-0000-7000-8000-000000000000";
    let mut routes: Vec<String> = READS.iter().map(|&route| route.to_owned()).collect();
    routes.push(format!("/api/v1/nodes/{node}"));
    routes.push(format!("/api/v1/nodes/{node}/minutes?from=0&to=1"));
    routes.push("/api/v1/pipelines/orders".to_owned());
    routes.push("/api/v1/pipelines/orders/minutes?from=0&to=1".to_owned());
    routes.push(format!("/api/v1/samples?node={node}&pipeline=orders"));
    for route in &routes {
        for client in [&anonymous, &unknown] {
            let answer = client.get(route).await;
            assert_eq!(answer.status, 401, "{route}: {answer:?}");
            if route.starts_with("/api/v1/") {
                answer.problem(401);
            }
        }
    }
    for route in ["/healthz", "/readyz"] {
        assert_eq!(anonymous.get(route).await.status, 200, "{route}");
    }
}

async fn node_cannot_read_and_viewer_cannot_report(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let enroll = collector.create_token("enroll", None).await;
    let enroll = collector.client().with_token(enroll.token.reveal());
    becomes(&enroll, "/api/v1/nodes", 403).await;
    for route in READS {
        for client in [node.client(), &enroll] {
            let answer = client.get(route).await;
            assert_eq!(answer.status, 403, "{route}: {answer:?}");
        }
    }
    let request = systole_tests::harness::node::to_json(&node.next_request(vec![running("p", distinct_counts(1))]));
    let post = |client: &ApiClient| {
        let request = client.request(reqwest::Method::POST, "/api/v1/agent/reports").body(request.clone());
        Answer::of(request.header("content-type", "application/json"))
    };
    post(&collector.client()).await.problem(401);
    post(&enroll).await.problem(403);
    post(&collector.viewer().await).await.problem(403);
    assert_eq!(post(node.client()).await.status, 200);
}

async fn machine_keeps_its_node_and_its_older_token(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    collector.create_environment("other").await;
    let mut first = NodeClient::enroll(&collector, None, "host").await;
    first.report(vec![running("p", distinct_counts(1))]).await;
    let mut second = NodeClient::enroll(&collector, None, "host").await;
    assert_eq!(second.id, first.id);
    second.report(vec![running("p", distinct_counts(2))]).await;
    first.report(vec![running("p", distinct_counts(4))]).await;
    let elsewhere = NodeClient::enroll(&collector, Some("other"), "host").await;
    assert_ne!(elsewhere.id, first.id);
    assert_eq!(collector.minute_sums("p").await, distinct_counts(7));
    let viewer = collector.viewer().await;
    assert_eq!(viewer.list("/api/v1/nodes?environment=default").await.len(), 1);
}

async fn tokens_survive_a_restart_and_lists_hide_secrets(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let token = collector.create_token("viewer", Some("default")).await;
    assert_eq!(token.environment.as_deref(), Some("default"));
    collector.stop().await;
    // The command line works on the database of a stopped collector, too.
    let late = collector.create_token("admin", None).await;
    let list = collector.cli(&["token", "list"]).await;
    for token in [&token, &late] {
        assert!(list.contains(&token.id), "{list}");
        assert!(!list.contains(token.token.reveal()), "{list}");
    }
    collector.run().await;
    for token in [&token, &late] {
        let client = collector.client().with_token(token.token.reveal());
        assert_eq!(client.get("/api/v1/nodes").await.status, 200);
    }
}
