//! A browser's session: a cookie that may read what its token may read, for as long as that.

use serde_json::json;
use systole_tests::harness::{ApiClient, DatabaseKind, NodeClient, SOON, TestCollector, eventually_true};

on_each_database! {
    session_reads_until_it_ends,
    session_ends_with_its_token_and_keeps_its_environment,
    session_needs_a_reading_token,
}

/// Sends a token and returns the `Set-Cookie` header.
async fn log_in(client: &ApiClient, token: &str) -> String {
    let request = client.request(reqwest::Method::POST, "/api/v1/session").header("content-type", "application/json");
    let response = request.body(json!({"token": token}).to_string()).send().await.expect("an answer");
    assert!(response.status().is_success(), "{response:?}");
    response.headers()["set-cookie"].to_str().expect("a cookie is text").to_owned()
}

async fn status_with(client: &ApiClient, method: reqwest::Method, path: &str, cookie: &str) -> u16 {
    let pair = cookie.split(';').next().expect("a cookie has a name").to_owned();
    let response = client.request(method, path).header("cookie", pair).timeout(SOON).send().await;
    response.expect("an answer").status().as_u16()
}

async fn session_reads_until_it_ends(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let token = collector.create_token("viewer", None).await;
    let client = collector.client();
    let cookie = log_in(&client, token.token.reveal()).await;
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(token.token.reveal()), "the cookie is not the token");
    let reads = async |path| status_with(&client, reqwest::Method::GET, path, &cookie).await;
    assert_eq!((reads("/api/v1/nodes").await, reads("/api/v1/events").await), (200, 200));
    let ended = status_with(&client, reqwest::Method::DELETE, "/api/v1/session", &cookie).await;
    assert!((200..300).contains(&ended), "{ended}");
    assert_eq!(reads("/api/v1/nodes").await, 401);
    let viewer = client.with_token(token.token.reveal());
    assert_eq!(viewer.get("/api/v1/nodes").await.status, 200, "the token itself lives on");
}

async fn session_ends_with_its_token_and_keeps_its_environment(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    collector.create_environment("red").await;
    NodeClient::enroll(&collector, Some("red"), "red-host").await;
    NodeClient::enroll(&collector, None, "other-host").await;
    let token = collector.create_token("viewer", Some("red")).await;
    let client = collector.client();
    let cookie = log_in(&client, token.token.reveal()).await;
    let pair = cookie.split(';').next().unwrap().to_owned();
    let nodes = client.request(reqwest::Method::GET, "/api/v1/nodes").header("cookie", pair).send().await.unwrap();
    let nodes = String::from_utf8(nodes.bytes().await.unwrap().to_vec()).unwrap();
    assert!(nodes.contains("red-host") && !nodes.contains("other-host"), "{nodes}");
    collector.revoke_token(&token.id).await;
    eventually_true("the session is over", SOON, async || {
        status_with(&client, reqwest::Method::GET, "/api/v1/nodes", &cookie).await == 401
    })
    .await;
}

async fn session_needs_a_reading_token(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let client = collector.client();
    let enroll = collector.create_token("enroll", None).await;
    for token in [enroll.token.reveal(), "nonsense", ""] {
        let request =
            client.request(reqwest::Method::POST, "/api/v1/session").header("content-type", "application/json");
        let answer = systole_tests::harness::Answer::of(request.body(json!({"token": token}).to_string())).await;
        assert!(matches!(answer.status, 400 | 401 | 403), "{answer:?}");
        answer.problem(answer.status);
    }
}
