//! Admission to the feed: VectorFlow's dashboards, pages of other origins, HTTP/2, and limits on the number
//! of streams.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use systole_shared::sse::{Decoder, Item};
use systole_tests::clock;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::tls::Authority;
use systole_tests::harness::{ApiClient, NodeClient, SOON, TestCollector, eventually};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A file of settings.
fn settings(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("collector.toml");
    std::fs::write(&path, text).expect("the file is written");
    path
}

async fn collector_with(text: &str) -> (tempfile::TempDir, TestCollector) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = settings(directory.path(), text);
    let collector = TestCollector::start_with(&["--config", path.to_str().expect("a path in UTF-8")]).await;
    (directory, collector)
}

/// What a response streams until there is enough of it.
async fn read_until(response: &mut reqwest::Response, enough: impl Fn(&[Item]) -> bool) -> Vec<Item> {
    let mut decoder = Decoder::default();
    let mut items = Vec::new();
    while !enough(&items) {
        let chunk =
            timeout(SOON, response.chunk()).await.expect("in time").expect("no error").expect("the stream continues");
        items.extend(decoder.push(&chunk).expect("events are bounded"));
    }
    items
}

#[tokio::test]
async fn vectorflow_dashboard_reads_components_and_lines() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let viewer = collector.viewer().await;
    let mut response = viewer.request(Method::GET, "/api/sse?every=0").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let report = with_lines(running("orders", distinct_counts(1)), clock::now_ms(), ["one".into(), "two".into()]);
    node.report(vec![report]).await;
    let is = |item: &&Item, wanted: &str| matches!(item, Item::Event { kind, .. } if kind == wanted);
    let items = read_until(&mut response, |items| {
        items.iter().filter(|item| is(item, "metric_update")).count() == 2
            && items.iter().any(|item| is(&item, "log_entry"))
    })
    .await;
    let data = |wanted: &str| -> Vec<serde_json::Value> {
        let events = items.iter().filter(|item| is(item, wanted));
        events
            .map(|item| match item {
                Item::Event { data, .. } => serde_json::from_str(data).unwrap(),
                _ => unreachable!("only events are of a type"),
            })
            .collect()
    };
    let lines = &data("log_entry")[0];
    assert_eq!(lines["lines"], serde_json::json!(["one", "two"]));
    assert_eq!((&lines["type"], &lines["pipelineId"]), (&"log_entry".into(), &"orders".into()));
    let metrics = data("metric_update");
    assert!(metrics.iter().all(|metric| metric["nodeId"] == node.id.to_string() && metric["componentId"].is_string()));
    assert_ne!(metrics[0]["componentId"], metrics[1]["componentId"]);
    assert!(metrics.iter().all(|metric| metric["sample"]["receivedEventsRate"].is_number()), "{metrics:?}");
    // The stream continues after an id, also with lines that are replayed from the database.
    collector.kill().await;
    collector.run().await;
    let request = viewer.request(Method::GET, "/api/sse?types=log_entry");
    let hello = items.iter().find_map(|item| match item {
        Item::Event { kind, data, .. } if kind == "hello" => serde_json::from_str::<serde_json::Value>(data).ok(),
        _ => None,
    });
    let id = format!("{}-0", hello.unwrap()["epoch"].as_str().unwrap());
    let mut response = request.header("last-event-id", id).send().await.unwrap();
    let items = read_until(&mut response, |items| items.iter().any(|item| is(&item, "log_entry"))).await;
    assert!(format!("{items:?}").contains(r#"\"lines\":[\"one\",\"two\"]"#), "{items:?}");
}

#[tokio::test]
async fn refusal_has_vectorflows_form() {
    let collector = TestCollector::start().await;
    let answer = collector.client().get("/api/sse").await;
    assert_eq!(answer.status, 401);
    let body: serde_json::Value = answer.json();
    assert!(body["error"].is_string() && body.as_object().unwrap().len() == 1, "{body}");
}

#[tokio::test]
async fn cors_allows_configured_origins_only() {
    let (_directory, mut collector) =
        collector_with("cors_origins = 'https://one.example, http://two.example:81'").await;
    let viewer = collector.viewer().await;
    let allowed = async |origin: &str| {
        let response = viewer.request(Method::GET, "/api/v1/nodes").header("origin", origin).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "every origin receives a response");
        response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(allowed("https://one.example").await.as_deref(), Some("https://one.example"));
    assert_eq!(allowed("http://two.example:81").await.as_deref(), Some("http://two.example:81"));
    assert_eq!(allowed("https://evil.example").await, None);
    let asked = collector.client().request(Method::OPTIONS, "/api/v1/events");
    let asked = asked
        .header("origin", "https://one.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization,last-event-id,x-systole-client");
    let response = asked.send().await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    let headers = response.headers()["access-control-allow-headers"].to_str().unwrap().to_lowercase();
    assert!(["authorization", "last-event-id", "x-systole-client"].iter().all(|name| headers.contains(name)));
}

#[tokio::test]
async fn cors_allows_no_origin_by_default() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    let request = viewer.request(Method::GET, "/api/v1/nodes").header("origin", "https://one.example");
    let response = request.send().await.unwrap();
    assert!(!response.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn new_streams_beyond_the_rate_are_answered_503() {
    let (_directory, mut collector) = collector_with("max_new_streams_per_second = 1").await;
    let viewer = collector.viewer().await;
    // The second may end between any two of them.
    let opened = open_at_once(&viewer, 6).await;
    let refused: Vec<_> = opened.iter().filter(|answer| answer.0 == 503).collect();
    assert!(!refused.is_empty(), "{opened:?}");
    assert!(refused.iter().all(|answer| answer.1.is_some_and(|seconds| (1..=3).contains(&seconds))), "{opened:?}");
    let admin = collector.create_token("admin", None).await;
    let metrics = collector.client().with_token(admin.token.reveal()).get("/metrics").await;
    let text = String::from_utf8(metrics.body).unwrap();
    let line = format!("systole_feed_refused_total{{reason=\"rate\"}} {}", refused.len());
    assert!(text.contains(&line), "no {line}");
    eventually("there is room in the next second", SOON, async || {
        (open_at_once(&viewer, 1).await[0].0 == 200).then_some(())
    })
    .await;
}

/// Status and Retry-After of streams that are opened at once.
async fn open_at_once(viewer: &ApiClient, count: usize) -> Vec<(u16, Option<u64>)> {
    let open = (0..count).map(|_| {
        let request = viewer.request(Method::GET, "/api/v1/events").header("x-systole-client", "test");
        tokio::spawn(async move {
            let response = request.send().await.expect("an answer");
            let retry = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            (response.status().as_u16(), retry)
        })
    });
    let mut answers = Vec::new();
    for answer in open.collect::<Vec<_>>() {
        answers.push(answer.await.expect("no panic"));
    }
    answers
}

/// A collector with a certificate, and its address.
async fn serve_tls(directory: &Path, authority: &Authority) -> (Child, String) {
    let (cert, key) = authority.sign("collector");
    let text = format!("tls_cert_file = {:?}\ntls_key_file = {:?}\n", cert.display(), key.display());
    let mut command = Command::new(binary("systole-collector"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(settings(directory, &text));
    let data_dir = directory.join("data");
    let child = command.arg("--data-dir").arg(&data_dir).kill_on_drop(true).spawn().expect("it starts");
    let address = eventually("the collector listens", SOON, async || {
        std::fs::read_to_string(data_dir.join("listen-address")).ok().map(|text| text.trim().to_owned())
    })
    .await;
    (child, address)
}

async fn create_viewer(directory: &Path) -> String {
    let mut command = Command::new(binary("systole-collector"));
    command.args(["token", "create", "--kind", "viewer", "--json", "--data-dir"]).arg(directory.join("data"));
    let output = command.output().await.expect("it starts");
    let token: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    token["token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn streams_share_one_http2_connection() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let (_collector, address) = serve_tls(directory.path(), &authority).await;
    let token = create_viewer(directory.path()).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(&address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (client, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut open = Vec::new();
    for _ in 0..8 {
        let request = http::Request::get(format!("https://{address}/api/v1/events?types=log_entry"))
            .header("authorization", format!("Bearer {token}"))
            .body(())
            .unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let response = timeout(SOON, response).await.unwrap().unwrap();
        assert_eq!(response.status().as_u16(), 200);
        let mut body = response.into_body();
        let mut text = String::new();
        while !text.contains("event: hello") {
            let chunk = timeout(SOON, body.data()).await.unwrap().expect("the stream continues").unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        open.push(body);
    }
}

#[tokio::test]
async fn unusable_certificate_is_an_error_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let ((cert, _), (_, other_key)) = (authority.sign("one"), authority.sign("two"));
    let text = format!("tls_cert_file = {:?}\ntls_key_file = {:?}\n", cert.display(), other_key.display());
    let mut command = Command::new(binary("systole-collector"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(settings(directory.path(), &text));
    let output = command.arg("--data-dir").arg(directory.path().join("data")).output().await.unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("one.crt") && message.contains("two.key"), "{message}");
}
