//! Names of tokens, and log lines of the collector about nodes and tokens.

use serde_json::Value;
use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::{DatabaseKind, NodeClient, SOON, TestCollector, eventually_true};

on_each_database! {
    tokens_have_names_and_nodes_and_commands_take_a_prefix,
}

async fn tokens(collector: &TestCollector) -> Vec<Value> {
    let list: Value = serde_json::from_str(&collector.cli(&["token", "list", "--all", "--json"]).await).unwrap();
    list["items"].as_array().unwrap().clone()
}

async fn tokens_have_names_and_nodes_and_commands_take_a_prefix(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let named = collector.create_token_with("viewer", None, &["--name", "grafana", "--note", "for the wall"]).await;
    let other = collector.create_token("viewer", None).await;
    let node = NodeClient::enroll(&collector, None, "web-1").await;
    let all = tokens(&collector).await;
    let item = |id: &str| all.iter().find(|token| token["id"] == id).unwrap();
    assert_eq!((&item(&named.id)["name"], &item(&named.id)["note"]), (&"grafana".into(), &"for the wall".into()));
    assert_eq!(item(&other.id)["name"], Value::Null);
    let of_node = all.iter().find(|token| token["kind"] == "node").unwrap();
    assert_eq!((&of_node["nodeId"], &of_node["nodeName"]), (&node.id.to_string().into(), &"web-1".into()));
    let table = collector.cli(&["token", "list", "--all"]).await;
    assert!(table.contains("grafana") && table.contains("web-1"), "{table}");
    assert!(
        !collector.try_cli(&["token", "create", "--kind", "viewer", "--name", "two\nlines"]).await.status.success()
    );

    let is_revoked = async |id: &str| {
        let all = tokens(&collector).await;
        !all.iter().find(|token| token["id"] == id).unwrap()["revokedAt"].is_null()
    };
    // Ids begin with their time: those of one day have the first characters in common.
    let ambiguous = collector.try_cli(&["token", "revoke", &named.id[..3]]).await;
    let error = String::from_utf8(ambiguous.stderr).unwrap();
    assert!(!ambiguous.status.success() && error.contains(&named.id) && error.contains(&other.id), "{error}");
    let unknown = collector.try_cli(&["token", "revoke", "ffff"]).await;
    assert!(!unknown.status.success());
    assert!(!is_revoked(&named.id).await && !is_revoked(&other.id).await);
    let shared = named.id.bytes().zip(other.id.bytes()).take_while(|(one, two)| one == two).count();
    collector.cli(&["token", "revoke", &named.id[..named.id.len().min(shared.max(24) + 4)]]).await;
    assert!(is_revoked(&named.id).await && !is_revoked(&other.id).await);
}

/// Lines of the collector's log that have this text in a field, each with its level.
fn lines_with(collector: &TestCollector, text: &str) -> Vec<(String, String)> {
    let log = std::fs::read_to_string(collector.directory().join("collector.log")).unwrap();
    let level = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        entry["level"].as_str().unwrap_or_default().to_owned()
    };
    log.lines().filter(|line| line.contains(text)).map(|line| (level(line), line.to_owned())).collect()
}

/// Those with this level.
fn log_lines(collector: &TestCollector, level: &str, text: &str) -> Vec<String> {
    let lines = lines_with(collector, text).into_iter();
    lines.filter(|line| line.0 == level).map(|(_, line)| line).collect()
}

#[tokio::test]
async fn log_has_one_line_for_a_silent_node_and_one_for_its_return() {
    let mut collector = TestCollector::start_with(&["--interval", "1s", "--log-format", "json"]).await;
    let mut feed = collector.feed("types=status_change").await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running("orders", distinct_counts(1))]).await;
    feed.wait_for("UNREACHABLE", SOON, |event| event.is_change(None, "UNREACHABLE")).await;
    let id = node.id.to_string();
    eventually_true("a line", SOON, async || log_lines(&collector, "WARN", &id).len() == 1).await;
    let before = log_lines(&collector, "INFO", &id).len();
    node.report(vec![running("orders", distinct_counts(1))]).await;
    node.report(vec![running("orders", distinct_counts(1))]).await;
    eventually_true("a line", SOON, async || log_lines(&collector, "INFO", &id).len() > before).await;
    // It is silent again from here on: what counts are the lines up to the one of its return.
    let lines = lines_with(&collector, &id);
    let is = |line: &&(String, String), level: &str| line.0 == level;
    let back = lines.iter().enumerate().filter(|(_, line)| is(line, "INFO")).map(|(at, _)| at).nth(before);
    let warnings = lines[..back.expect("it was there")].iter().filter(|line| is(line, "WARN")).count();
    assert_eq!(warnings, 1, "{lines:?}");
}

#[tokio::test]
async fn log_has_lines_for_refused_requests_and_for_tokens() {
    let collector = TestCollector::start_with(&["--log-format", "json"]).await;
    let wrong = collector.client().with_token("systole_viewer_nonsense");
    for _ in 0..20 {
        assert_eq!(wrong.get("/api/v1/nodes").await.status, 401);
        NodeClient::try_enroll(&collector.client(), "systole_enroll_nonsense", "n1").await.problem(401);
    }
    assert_eq!(log_lines(&collector, "WARN", "127.0.0.1").len(), 1, "40 requests of one address");
    let token = collector.create_token_with("viewer", None, &["--name", "grafana"]).await;
    eventually_true("made", SOON, async || log_lines(&collector, "INFO", &token.id).len() == 1).await;
    collector.revoke_token(&token.id).await;
    eventually_true("revoked", SOON, async || log_lines(&collector, "INFO", &token.id).len() == 2).await;
    assert!(log_lines(&collector, "INFO", &token.id).iter().all(|line| line.contains("grafana")));
}
