//! The audit of actions, and the kinds of tokens that may do them.

use reqwest::Method;
use serde_json::{Value, json};
use systole_tests::harness::{Answer, ApiClient, DatabaseKind, Feed, NodeClient, TestCollector};

on_each_database! {
    actions_are_listed_newest_first_with_their_token,
    kinds_of_tokens_reach_their_own_routes,
    admin_of_one_environment_stays_in_it,
    session_has_the_role_of_its_token_and_its_own_origin,
}

async fn client(collector: &TestCollector, kind: &str, environment: Option<&str>, name: &str) -> ApiClient {
    let token = collector.create_token_with(kind, environment, &["--name", name]).await;
    collector.client().with_token(token.token.reveal())
}

async fn send(client: &ApiClient, method: Method, path: &str, body: &Value) -> Answer {
    let request = client.request(method, path).header("content-type", "application/json").body(body.to_string());
    Answer::of(request).await
}

fn path_of(node: &NodeClient) -> String {
    format!("/api/v1/nodes/{}", node.id)
}

async fn actions_are_listed_newest_first_with_their_token(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let admin = client(&collector, "admin", None, "alice").await;
    for name in ["one", "two", "three"] {
        assert_eq!(send(&admin, Method::PATCH, &path_of(&node), &json!({"name": name})).await.status, 200);
    }
    let refused = json!({"labels": (0..80).map(|n| (format!("l{n}"), json!("v"))).collect::<serde_json::Map<_, _>>()});
    send(&admin, Method::PATCH, &path_of(&node), &refused).await.problem(400);
    let renames = admin.list("/api/v1/audit?action=node.rename&limit=1").await;
    let results: Vec<_> = renames.iter().map(|entry| entry["result"].as_str().unwrap().to_owned()).collect();
    assert_eq!(results, ["renamed from two to three", "renamed from one to two", "renamed from n1 to one"]);
    let newest = &renames[0];
    assert_eq!((&newest["actor"], &newest["environmentName"]), (&json!("alice"), &json!("default")));
    assert!(newest["subject"].as_str().unwrap().contains(&node.id.to_string()));
    let token = newest["tokenId"].as_str().unwrap();
    let of_token = admin.list(&format!("/api/v1/audit?token={token}&from=-1h")).await;
    assert_eq!(of_token.len(), 4, "{of_token:?}");
    assert!(of_token[0]["result"].as_str().unwrap().contains("at most 64 labels"), "also what was refused");
    assert!(admin.list("/api/v1/audit?to=-1h").await.is_empty());
    let made = admin.list("/api/v1/audit?action=token.create").await;
    assert!(made.iter().any(|entry| entry["actor"] == "command line" && entry["tokenId"].is_null()), "{made:?}");
    let csv = admin.get("/api/v1/audit?format=csv").await;
    assert!(
        String::from_utf8(csv.body).unwrap().starts_with("id,at,environmentName,tokenId,actor,action,subject,result")
    );
    let shown = collector.cli(&["audit", "--since", "1h", "--action", "node.rename"]).await;
    let order: Vec<_> = ["to one", "to two", "to three"].iter().map(|text| shown.find(text).unwrap()).collect();
    assert!(order.is_sorted(), "{shown}");
}

async fn kinds_of_tokens_reach_their_own_routes(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let reads = ["/api/v1/nodes", "/api/v1/pipelines", "/api/v1/logs", "/api/v1/status-changes"];
    // Kind, reads, metrics, administers.
    for (kind, can_read, can_scrape, can_administer) in [
        ("viewer", true, true, false),
        ("operator", true, true, false),
        ("admin", true, true, true),
        ("scrape", false, true, false),
        ("enroll", false, false, false),
    ] {
        let client = client(&collector, kind, None, kind).await;
        let status = |is_allowed: bool| if is_allowed { 200 } else { 403 };
        for path in reads {
            assert_eq!(client.get(path).await.status, status(can_read), "{kind} {path}");
        }
        assert_eq!(client.get(&path_of(&node)).await.status, status(can_read), "{kind}");
        if can_read {
            Feed::open(&client, "").await;
        } else {
            Feed::refusal(&client, "").await.problem(403);
        }
        assert_eq!(client.get("/metrics").await.status, status(can_scrape), "{kind} /metrics");
        assert_eq!(client.get("/api/v1/audit").await.status, status(can_administer), "{kind} audit");
        let renamed = send(&client, Method::PATCH, &path_of(&node), &json!({"name": kind})).await;
        assert_eq!(renamed.status, status(can_administer), "{kind}: {renamed:?}");
        if !can_administer {
            send(&client, Method::DELETE, &path_of(&node), &Value::Null).await.problem(403);
        }
        let session =
            send(&collector.client(), Method::POST, "/api/v1/session", &json!({"token": client.token()})).await;
        assert_eq!(session.status, if can_read { 204 } else { 403 }, "{kind} session");
    }
    let of_node = [Method::PATCH, Method::DELETE];
    for method in of_node {
        send(node.client(), method, &path_of(&node), &json!({"name": "x"})).await.problem(403);
    }
    collector.create_environment("red").await;
    let narrow = collector.try_cli(&["token", "create", "--kind", "scrape", "--environment", "red"]).await;
    assert!(!narrow.status.success(), "it could read nothing");
}

async fn admin_of_one_environment_stays_in_it(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    for name in ["red", "blue"] {
        collector.create_environment(name).await;
    }
    let red = NodeClient::enroll(&collector, Some("red"), "red-host").await;
    let blue = NodeClient::enroll(&collector, Some("blue"), "blue-host").await;
    let admin = client(&collector, "admin", Some("red"), "of-red").await;
    let everywhere = client(&collector, "admin", None, "of-all").await;
    let rename = json!({"name": "renamed"});
    send(&admin, Method::PATCH, &path_of(&blue), &rename).await.problem(404);
    send(&admin, Method::DELETE, &path_of(&blue), &Value::Null).await.problem(404);
    send(&admin, Method::DELETE, &format!("{}?environment=blue", path_of(&blue)), &Value::Null).await.problem(403);
    assert_eq!(send(&everywhere, Method::PATCH, &path_of(&blue), &rename).await.status, 200);
    assert_eq!(send(&admin, Method::PATCH, &path_of(&red), &rename).await.status, 200);
    let seen = admin.get("/api/v1/audit").await;
    let text = String::from_utf8(seen.body).unwrap();
    assert!(text.contains(&red.id.to_string()) && !text.contains(&blue.id.to_string()), "{text}");
    assert!(!text.contains("of-all"), "tokens of all environments are not its own: {text}");
    admin.get("/api/v1/audit?environment=blue").await.problem(403);
}

async fn session_has_the_role_of_its_token_and_its_own_origin(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let rename = async |kind: &str, origin: Option<&str>| {
        let token = collector.create_token(kind, None).await;
        let opened = collector.client().request(Method::POST, "/api/v1/session");
        let opened = opened.header("content-type", "application/json");
        let opened = opened.body(json!({"token": token.token.reveal()}).to_string()).send().await.unwrap();
        let cookie = opened.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let request = collector.client().request(Method::PATCH, &path_of(&node)).header("cookie", cookie);
        let request = request.header("content-type", "application/json").body(json!({"name": kind}).to_string());
        let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
        Answer::of(request).await
    };
    let own = collector.url();
    assert_eq!(rename("admin", Some(&own)).await.status, 200);
    assert_eq!(rename("admin", None).await.status, 200, "a program");
    rename("admin", Some("https://evil.example")).await.problem(403);
    rename("admin", Some("null")).await.problem(403);
    rename("viewer", Some(&own)).await.problem(403);
    rename("operator", Some(&own)).await.problem(403);
}
