//! Planted faults, each found with its remedy.

use std::path::PathBuf;

use systole_shared::Verdict;
use systole_tests::harness::tls::{Authority, TlsFront};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// A host with an enrolled agent that does not run.
struct Host {
    dir: TempDir,
    config: String,
}

impl Host {
    fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { config: format!("url = \"{url}\"\nmetrics_listen = \"off\"\n"), dir };
        node_token::write(&host.data_dir(), &systole_shared::Token::new("systole_node_x")).unwrap();
        host
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    async fn examine(&self) -> Vec<Finding> {
        let file = self.dir.path().join("agent.toml");
        std::fs::write(&file, &self.config).unwrap();
        let data_dir = Some(self.data_dir().display().to_string());
        let overrides = Overrides { config: Some(file), data_dir, ..Overrides::default() };
        examine(&overrides, &|_| None, &self.dir.path().join("agent.env")).await
    }

    /// The finding of a check, which is not in order.
    async fn fault(&self, check: &str) -> String {
        let findings = self.examine().await;
        let fault = findings.iter().find(|finding| finding.check == check && finding.verdict != Verdict::Ok);
        fault.unwrap_or_else(|| panic!("no fault of {check}: {findings:#?}")).to_string()
    }
}

/// A collector of a few answers, which says that the time is `date`.
struct Stub {
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn stub(date: String, version: &'static str, token_status: &'static str) -> Stub {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let Ok(read) = stream.read(&mut request).await else { continue };
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let (status, body) = if request.starts_with("GET /healthz") {
                ("200 OK", "ok\n".to_owned())
            } else if request.starts_with("GET /api/v1/openapi.json") {
                ("200 OK", format!("{{\"info\":{{\"version\":\"{version}\"}}}}"))
            } else {
                (token_status, "{}".to_owned())
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ndate: {date}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Stub { url, server }
}

fn now() -> String {
    let time = chrono::DateTime::from_timestamp_millis(crate::clock::unix_millis()).unwrap();
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[tokio::test]
async fn good_host_has_no_problem() {
    let collector = stub(now(), env!("CARGO_PKG_VERSION"), "200 OK").await;
    let findings = Host::new(&collector.url).examine().await;
    assert!(!has_problem(&findings), "{findings:#?}");
    for check in ["data_dir", "configuration", "disk", "port", "clock", "version", "token"] {
        assert!(findings.iter().any(|finding| finding.check == check && finding.verdict == Verdict::Ok), "{check}");
    }
}

#[tokio::test]
async fn invalid_setting_is_found() {
    let mut host = Host::new("http://127.0.0.1:1");
    host.config.push_str("no_such_key = 1\n");
    assert!(host.fault("configuration").await.contains("check-config"));
}

#[tokio::test]
async fn service_variables_count_as_settings() {
    let mut host = Host::new("");
    host.config = "metrics_listen = \"off\"\n".to_owned();
    assert!(host.fault("configuration").await.contains("url"));
    std::fs::write(host.dir.path().join("agent.env"), "SYSTOLE_URL=http://no-such-host.invalid\n").unwrap();
    assert!(host.fault("dns").await.contains("no-such-host.invalid"));
}

#[tokio::test]
async fn unknown_name_and_closed_port_are_found() {
    let dns = Host::new("http://no-such-host.invalid").fault("dns").await;
    assert!(dns.contains("/etc/resolv.conf"), "{dns}");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let port = Host::new(&format!("http://{closed}")).fault("port").await;
    assert!(port.contains("start the collector"), "{port}");
}

#[tokio::test]
async fn wrong_clock_newer_agent_and_refused_token_are_found() {
    let collector = stub("Mon, 01 Jan 2024 00:00:00 GMT".to_owned(), "0.0.9", "401 Unauthorized").await;
    let host = Host::new(&collector.url);
    assert!(host.fault("clock").await.contains("timedatectl"));
    assert!(host.fault("version").await.contains("upgrade the collector first"));
    assert!(host.fault("token").await.contains("enrolment token"));
}

#[tokio::test]
async fn certificates_are_checked_with_their_chain() {
    let collector = stub(now(), env!("CARGO_PKG_VERSION"), "200 OK").await;
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let front = TlsFront::start(&collector.url, &authority.sign("collector"), None).await;
    let mut host = Host::new(&front.url());
    let unknown = host.fault("tls").await;
    assert!(unknown.contains("ca_file"), "{unknown}");
    let trusted = format!("ca_file = \"{}\"\n", authority.certificate.display());
    host.config.push_str(&trusted);
    let findings = host.examine().await;
    assert!(!has_problem(&findings), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding.check == "tls" && finding.message.contains("valid until")));

    let expired = TlsFront::start(&collector.url, &authority.sign_until("old", (2020, 1, 1)), None).await;
    let mut host = Host::new(&expired.url());
    host.config.push_str(&trusted);
    let expired = host.fault("tls").await;
    assert!(expired.contains("renew the certificate"), "{expired}");
}

#[tokio::test]
async fn taken_port_and_missing_program_are_found() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut host = Host::new("http://127.0.0.1:1");
    let address = taken.local_addr().unwrap();
    host.config = host.config.replace("\"off\"", &format!("\"{address}\""));
    host.config.push_str("[[pipeline]]\nid = \"orders\"\ncommand = [\"/no/such/vector\"]\n");
    assert!(host.fault("metrics_port").await.contains("set metrics_listen"));
    assert!(host.fault("command").await.contains("install it"));
    assert!(host.fault("agent").await.contains("systemctl start"));
}

#[test]
fn findings_are_printed_as_lines_or_json() {
    let findings = [Finding::ok("a", "b"), Finding::problem("c", "d", "e")];
    let mut text = Vec::new();
    assert!(!print(&findings, false, &mut text).unwrap());
    assert_eq!(String::from_utf8(text).unwrap().lines().count(), 2);
    let mut json = Vec::new();
    assert!(print(&findings[..1], true, &mut json).unwrap());
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["findings"][0]["check"], "a");
}
