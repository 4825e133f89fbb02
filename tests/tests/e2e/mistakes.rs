//! Addresses, paths, directories and tokens that are mixed up: the answer says what is wrong.

use std::path::Path;

use systole_tests::harness::TestCollector;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::tls::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::certificates::HttpsCollector;

async fn https_collector() -> HttpsCollector {
    HttpsCollector::start(|directory| Authority::new(directory, "authority").sign("own")).await
}

/// Runs a command that must fail, and returns what it prints.
async fn refusal(args: &[&str]) -> String {
    let mut command = Command::new(binary("systole-collector"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("SYSTOLE_")) {
        command.env_remove(key);
    }
    let output = command.args(args).kill_on_drop(true).output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}");
    error
}

#[tokio::test]
async fn plain_http_on_the_https_port_is_answered_with_https() {
    let collector = https_collector().await;
    for request in ["GET /api/v1/nodes?x=1 HTTP/1.1\r\nHost: c:1\r\n\r\n", "POST / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(&collector.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
        let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["status"], 400);
        assert!(body["detail"].as_str().unwrap().contains("https://"), "{body}");
    }
}

#[tokio::test]
async fn tail_names_the_scheme_that_the_port_speaks() {
    let plain = TestCollector::start().await;
    let address = plain.address();
    let said = refusal(&["tail", "--token", "x", "--url", &format!("https://{address}")]).await;
    assert!(said.contains(&format!("http://{address}")), "{said}");
    let secure = https_collector().await;
    let said = refusal(&["tail", "--token", "x", "--url", &format!("http://{}", secure.address)]).await;
    assert!(said.contains("https://"), "{said}");
}

#[tokio::test]
async fn unknown_path_is_answered_with_the_nearest_one() {
    let collector = TestCollector::start().await;
    for (path, meant) in [
        ("/api/events", "/api/v1/events"),
        ("/nodes", "/api/v1/nodes"),
        ("/api/v1/log", "/api/v1/logs"),
        ("/health", "/healthz"),
        ("/somewhere/else", "/docs"),
    ] {
        let problem = collector.client().get(path).await.problem(404);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("the path {path} does not exist")), "{detail}");
        assert!(detail.split([' ', ';']).any(|word| word == meant), "{path}: {detail}");
    }
    let said = refusal(&["tail", "--token", "x", "--url", &format!("{}/somewhere", collector.url())]).await;
    assert!(said.contains("/somewhere/api/v1/events does not exist"), "{said}");
}

#[tokio::test]
async fn token_of_another_database_is_explained() {
    let (one, other) = (TestCollector::start().await, TestCollector::start().await);
    let foreign = one.create_token("viewer", None).await;
    let detail = async |token: &str| {
        let problem = other.client().with_token(token).get("/api/v1/nodes").await.problem(401);
        problem["detail"].as_str().unwrap().to_owned()
    };
    let said = detail(foreign.token.reveal()).await;
    assert!(said.contains("another database") && said.contains("revoked"), "{said}");
    let own = other.create_token("viewer", None).await;
    other.revoke_token(&own.id).await;
    systole_tests::harness::eventually_true("it is revoked", systole_tests::harness::SOON, async || {
        other.client().with_token(own.token.reveal()).get("/api/v1/nodes").await.status == 401
    })
    .await;
    // A guess does not learn whether there was such a token.
    assert_eq!((detail("nonsense").await, detail(own.token.reveal()).await), (said.clone(), said));
}

#[tokio::test]
async fn commands_name_a_missing_database_and_make_none() {
    let collector = TestCollector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong");
    let file = directory.path().join("backup.db").display().to_string();
    let wrong_dir = wrong.display().to_string();
    for command in [
        vec!["token", "create", "--kind", "viewer"],
        vec!["token", "list"],
        vec!["environment", "list"],
        vec!["backup", &file],
    ] {
        let said = refusal(&[&command[..], &["--data-dir", &wrong_dir]].concat()).await;
        assert!(said.contains(&format!("there is no database {wrong_dir}/collector.db")), "{said}");
        // Other tests have collectors, too; this one runs at any rate.
        assert!(said.contains("a collector of this host runs with --data-dir "), "{said}");
        assert!(!wrong.exists() && !Path::new(&file).exists(), "{command:?}");
    }
    let said = refusal(&["tail", "--data-dir", &wrong_dir]).await;
    assert!(
        said.contains(&format!("no collector is running on {wrong_dir}")) && said.contains("runs with --data-dir"),
        "{said}"
    );
    drop(collector);
}
