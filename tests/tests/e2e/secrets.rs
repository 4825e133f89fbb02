//! Secrets: where their values are not, and when they can still be read.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_tests::harness::control::definition;
use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::{ApiClient, DatabaseKind, Feed, NodeClient, TestCollector};

on_each_database! {
    value_of_a_secret_is_nowhere_in_plain,
    secret_in_use_is_not_removed,
    killed_rotation_keeps_every_secret_readable,
}

const SOON: Duration = systole_tests::harness::SOON;

async fn admin(collector: &TestCollector) -> ApiClient {
    collector.client().with_token(collector.create_token("admin", None).await.token.reveal())
}

fn using(secret: &str, config: &str) -> Value {
    let mut definition = definition(config);
    definition["secrets"] = json!({"DB_PASSWORD": secret});
    definition
}

/// The files under a directory that contain a text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

async fn value_of_a_secret_is_nowhere_in_plain(database: DatabaseKind) {
    const VALUES: [&str; 2] = ["first-v4lue-of-the-secret", "second-v4lue-of-the-secret"];
    let collector = TestCollector::start_on_with(database, &["--log-level", "trace"]).await;
    let admin = admin(&collector).await;
    let mut feed = Feed::open(&admin, "").await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut answers = vec![admin.set_secret("prod/db", VALUES[0]).await.to_string()];
    answers.push(admin.apply("orders", "", &using("prod/db", "a: 1\n")).await.to_string());
    let changed = admin.set_secret("prod/db", VALUES[1]).await;
    assert_eq!((&changed["revision"], &changed["versions"][0]["pipelineId"]), (&json!(2), &json!("orders")));
    assert_eq!(changed["versions"][0]["version"], 2);
    answers.push(changed.to_string());
    // What the caller gets wrong must not come back either.
    for body in [json!({"value": [VALUES[0]]}), json!({"valu": VALUES[0]}), json!(VALUES[0])] {
        let answer = admin.send(Method::PUT, "/api/v1/secrets/x", &body).await;
        assert_eq!(answer.status, 400);
        answers.push(String::from_utf8(answer.body).unwrap());
    }
    node.report(vec![running("orders", distinct_counts(1))]).await;
    for path in ["definition", "versions", "versions/1", "versions/2", "diff", "diff?from=0&to=2", "graph"] {
        answers.push(admin.get_json(&format!("/api/v1/pipelines/orders/{path}")).await.to_string());
    }
    answers.push(admin.get_json("/api/v1/secrets").await.to_string());
    assert!(answers.iter().any(|answer| answer.contains("# value 2")), "the diff shows that the value has changed");
    feed.wait_for("the report", SOON, |event| event.is_change(Some("orders"), "RUNNING")).await;
    answers.extend(feed.events().iter().map(|event| format!("{event:?}")));
    let backup = collector.directory().join("backup.db");
    collector.cli(&["backup", &backup.display().to_string()]).await;
    assert!(!files_with(collector.directory(), "\"DB_PASSWORD\"").is_empty(), "the files are searched");
    let dump = match collector.database() {
        systole_tests::harness::database::Place::Server(server) => {
            server.sql("SELECT string_agg(s::text, ' ') FROM secrets s")
                + &server.sql("SELECT string_agg(v::text, ' ') FROM definition_versions v")
        }
        systole_tests::harness::database::Place::File(_) => String::new(),
    };
    answers.push(dump);
    for value in VALUES {
        assert_eq!(files_with(collector.directory(), value), [""; 0]);
        assert_eq!(answers.iter().find(|answer| answer.contains(value)), None);
    }
}

async fn secret_in_use_is_not_removed(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    admin.set_secret("prod/db", "x").await;
    admin.apply("orders", "", &using("prod/db", "a: 1\n")).await;
    let list = admin.list("/api/v1/secrets").await;
    assert_eq!((&list[0]["name"], &list[0]["usedBy"]), (&json!("prod/db"), &json!(["orders"])));
    let remove = async || admin.send_empty(Method::DELETE, "/api/v1/secrets/prod%2Fdb").await;
    let used = remove().await.problem(409);
    assert!(used["detail"].as_str().unwrap().contains("orders"), "{used}");
    assert_eq!(admin.send_empty(Method::DELETE, "/api/v1/pipelines/orders/definition").await.status, 204);
    assert_eq!(remove().await.status, 204);
    assert_eq!(remove().await.status, 404);
}

/// Kills the collector at different moments of a change of keys.
async fn killed_rotation_keeps_every_secret_readable(database: DatabaseKind) {
    const SECRETS: usize = 20;
    let mut collector = TestCollector::start_on(database).await;
    let client = admin(&collector).await;
    for number in 0..SECRETS {
        client.set_secret(&format!("s{number}"), &format!("value {number}")).await;
    }
    for delay_ms in [0, 2, 5, 10, 20, 40] {
        let rotating = client.reconnected();
        let rotate = tokio::spawn(async move {
            let request = rotating.request(Method::POST, "/api/v1/secret-key/rotate");
            systole_tests::harness::Answer::try_of(request).await.is_ok()
        });
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        collector.kill().await;
        let _ = rotate.await;
        collector.run().await;
        // A start opens every value, and says when it cannot.
        let log = std::fs::read_to_string(collector.directory().join("collector.log")).unwrap();
        assert!(!log.contains("the secrets cannot be used"), "after {delay_ms} ms: {log}");
        let key = std::fs::read_to_string(collector.data_dir().join("secret.key")).unwrap();
        assert_eq!(key.lines().filter(|line| !line.starts_with('#')).count(), 1, "one key is left");
        let set = collector.client().with_token(client.token().unwrap()).set_secret("s0", "again").await;
        assert!(set["revision"].is_i64());
    }
    let rotated: Value = client.reconnected().send_empty(Method::POST, "/api/v1/secret-key/rotate").await.json();
    assert_eq!(rotated["values"], SECRETS);
}

#[tokio::test]
async fn missing_key_file_is_reported_and_reports_are_still_accepted() {
    let mut collector = TestCollector::start().await;
    let client = admin(&collector).await;
    client.set_secret("prod/db", "x").await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    collector.stop().await;
    let key = collector.data_dir().join("secret.key");
    let away = collector.directory().join("away.key");
    std::fs::rename(&key, &away).unwrap();
    collector.run().await;
    let log = std::fs::read_to_string(collector.directory().join("collector.log")).unwrap();
    assert!(log.contains("the secrets cannot be used") && log.contains("secret.key"), "{log}");
    let client = client.reconnected();
    let refused = client.try_set_secret("other", "y").await.problem(503);
    assert!(refused["detail"].as_str().unwrap().contains("put the file of this database back"), "{refused}");
    assert!(!key.exists(), "no other key is made");
    assert_eq!(client.list("/api/v1/secrets").await.len(), 1);
    node.report(vec![running("orders", distinct_counts(1))]).await;
    std::fs::rename(&away, &key).unwrap();
    client.set_secret("other", "y").await;
}

fn text(output: &Output) -> (Option<i32>, String) {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code(), String::from_utf8(both).unwrap())
}

#[tokio::test]
async fn commands_change_pipelines_and_secrets() {
    let collector = TestCollector::start().await;
    let directory = collector.directory().join("pipelines");
    std::fs::create_dir(&directory).unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    let shown = directory.display().to_string();
    write("value", "hunter2-is-the-value\n");
    write(
        "orders.toml",
        "id = \"orders\"\nselector = \"*\"\nengine = \"vector\"\nconfig_file = \"orders.yaml\"\n\
        secrets = { DB = \"prod/db\" }\n",
    );
    write("orders.yaml", "sources: {}\n");
    write("broken.toml", "id = \"broken\"\nselector = \"*\"\nengin = \"vector\"\nconfig = \"\"\"\na: 1\n\"\"\"\n");
    let apply = async |options: &[&str]| {
        let args: Vec<_> = ["apply", "-f", &shown].into_iter().chain(options.iter().copied()).collect();
        text(&collector.try_cli(&args).await)
    };
    let (code, output) = apply(&[]).await;
    assert!(
        code == Some(1) && output.contains("broken.toml:3:1: engin: unknown key, did you mean engine?"),
        "{output}"
    );
    std::fs::remove_file(directory.join("broken.toml")).unwrap();
    let (code, output) = apply(&[]).await;
    assert!(code == Some(1) && output.contains("secret set prod/db"), "{output}");
    let value = directory.join("value").display().to_string();
    let set = collector.cli(&["secret", "set", "prod/db", "--file", &value]).await;
    assert!(set.contains("prod/db: value 1 is set") && !set.contains("hunter2"), "{set}");
    let (code, output) = apply(&["--dry-run"]).await;
    assert!(code == Some(0) && output.contains("orders: would be new") && output.contains("+sources: {}"), "{output}");
    let (code, output) = apply(&["--note", "first"]).await;
    assert!(code == Some(0) && output.contains("orders: version 1, rollout "), "{output}");
    let (code, output) = apply(&[]).await;
    assert_eq!((code, output.as_str()), (Some(0), "orders: unchanged, version 1\n"));
    write("orders.yaml", "sources: {}\nsinks: {}\n");
    assert_eq!(apply(&[]).await.0, Some(0));
    let history = collector.cli(&["history", "orders"]).await;
    assert!(history.contains("first") && history.contains("command line"), "{history}");
    assert!(collector.cli(&["diff", "orders", "1", "2"]).await.contains("\n+sinks: {}\n"));
    assert!(collector.cli(&["rollback", "orders"]).await.contains("orders: version 3, rollout "));
    assert!(collector.cli(&["pause", "orders"]).await.contains("is paused"));
    assert!(collector.cli(&["resume", "orders"]).await.contains("is not paused"));
    let list = collector.cli(&["secret", "list"]).await;
    assert!(list.contains("prod/db") && list.contains("orders") && !list.contains("hunter2"), "{list}");
    let (code, output) = text(&collector.try_cli(&["secret", "remove", "prod/db"]).await);
    assert!(code == Some(1) && output.contains("pipelines use the secret prod/db: orders"), "{output}");
    assert!(collector.cli(&["secret", "rotate-key"]).await.starts_with("1 values"));
    assert!(collector.cli(&["remove", "orders"]).await.contains("orders is removed"));
    let tokens: Value = serde_json::from_str(&collector.cli(&["token", "list", "--json"]).await).unwrap();
    assert_eq!(tokens["items"], json!([]), "commands leave no token");
}
