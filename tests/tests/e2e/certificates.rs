//! A collector that serves HTTPS, and the renewal of its certificate.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Datelike, Days};
use nix::sys::signal::{Signal, kill};
use reqwest::{Certificate, Client};
use systole_tests::clock;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::client::http;
use systole_tests::harness::process::{Process, pid};
use systole_tests::harness::tls::Authority;
use systole_tests::harness::{SOON, TestCollector, eventually, eventually_true};
use tempfile::TempDir;
use tokio::process::Command;

/// A collector with a certificate, whose files can change.
pub(super) struct HttpsCollector {
    pub(super) process: Process,
    pub(super) directory: TempDir,
    /// `127.0.0.1:port`.
    pub(super) address: String,
    files: (PathBuf, PathBuf),
}

impl HttpsCollector {
    pub(super) async fn start(sign: impl Fn(&Path) -> (PathBuf, PathBuf)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        let files = sign(directory.path());
        let mut command = Command::new(binary("systole-collector"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir);
        let log = directory.path().join("collector.log");
        let config = directory.path().join("collector.toml");
        let text = format!("tls_cert_file = {:?}\ntls_key_file = {:?}\n", files.0, files.1);
        std::fs::write(&config, text).unwrap();
        let process = Process::start("collector", command.arg("--config").arg(config), &log);
        let address = eventually("the collector listens", SOON, async || {
            std::fs::read_to_string(data_dir.join("listen-address")).ok()
        })
        .await;
        HttpsCollector { process, directory, address, files }
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn replace(&self, (cert, key): &(PathBuf, PathBuf)) {
        std::fs::copy(cert, &self.files.0).unwrap();
        std::fs::copy(key, &self.files.1).unwrap();
    }

    async fn answers(&self, client: &Client) -> bool {
        let answer = client.get(format!("https://{}/healthz", self.address)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn viewer(&self) -> String {
        let mut command = Command::new(binary("systole-collector"));
        command.args(["token", "create", "--kind", "viewer", "--data-dir"]).arg(self.data_dir());
        String::from_utf8(command.output().await.unwrap().stdout).unwrap().trim().to_owned()
    }
}

/// A client that trusts one authority, with a new connection for each request.
fn trusting(authority: &Authority) -> Client {
    // Installs the cryptography.
    http();
    let certificate = Certificate::from_pem(&std::fs::read(&authority.certificate).unwrap()).unwrap();
    Client::builder().tls_certs_only([certificate]).pool_max_idle_per_host(0).build().unwrap()
}

#[tokio::test]
async fn renewed_certificate_is_used_at_sighup_and_streams_stay() {
    let other = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new(other.path(), "first"), Authority::new(other.path(), "second"));
    let collector = HttpsCollector::start(|directory| first.sign(&directory.join("own").display().to_string())).await;
    let (old, new) = (trusting(&first), trusting(&second));
    assert!(collector.answers(&old).await && !collector.answers(&new).await);
    let token = collector.viewer().await;
    let mut stream =
        old.get(format!("https://{}/api/v1/events", collector.address)).bearer_auth(token).send().await.unwrap();
    assert_eq!(stream.headers()["strict-transport-security"], "max-age=31536000");
    assert!(stream.chunk().await.unwrap().is_some());

    collector.replace(&second.sign("renewed"));
    collector.process.signal(Signal::SIGHUP);
    eventually_true("the new certificate is used", SOON, async || collector.answers(&new).await).await;
    assert!(!collector.answers(&trusting(&first)).await);
    let ping = tokio::time::timeout(SOON, stream.chunk()).await.expect("a ping comes").unwrap();
    assert!(ping.is_some(), "the stream continues");
}

#[tokio::test]
async fn renewed_certificate_is_used_without_a_signal() {
    let other = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new(other.path(), "first"), Authority::new(other.path(), "second"));
    let collector = HttpsCollector::start(|directory| first.sign(&directory.join("own").display().to_string())).await;
    let new = trusting(&second);
    collector.replace(&second.sign("renewed"));
    eventually_true("the new certificate is used", SOON, async || collector.answers(&new).await).await;
}

#[tokio::test]
async fn bad_pair_keeps_the_certificate_before() {
    let other = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new(other.path(), "first"), Authority::new(other.path(), "second"));
    let mut collector =
        HttpsCollector::start(|directory| first.sign(&directory.join("own").display().to_string())).await;
    let (old, new) = (trusting(&first), trusting(&second));
    let (renewed, stranger) = (second.sign("renewed"), second.sign("stranger"));
    let token = collector.viewer().await;
    collector.replace(&(renewed.0.clone(), stranger.1));
    collector.process.signal(Signal::SIGHUP);
    eventually_true("the failure is counted", SOON, async || {
        let url = format!("https://{}/metrics", collector.address);
        let metrics = old.get(url).bearer_auth(&token).send().await.unwrap().text().await.unwrap();
        let failures = metrics.lines().find(|line| line.contains("failures") && line.contains("certificate_reload"));
        failures.is_some_and(|line| !line.ends_with(" 0"))
    })
    .await;
    assert!(collector.answers(&old).await, "the old certificate stays");
    assert_eq!(collector.process.exit_status(), None);
    collector.replace(&renewed);
    collector.process.signal(Signal::SIGHUP);
    eventually_true("the repaired pair is used", SOON, async || collector.answers(&new).await).await;
}

#[tokio::test]
async fn sighup_without_certificate_changes_nothing() {
    let mut collector = TestCollector::start().await;
    for _ in 0..3 {
        kill(pid(collector.pid()), Signal::SIGHUP).unwrap();
        let health = collector.client().request(reqwest::Method::GET, "/healthz").send().await.unwrap();
        assert_eq!((health.status().as_u16(), health.headers().get("strict-transport-security")), (200, None));
    }
    collector.stop().await;
}

#[tokio::test]
async fn check_config_checks_certificate_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let good = authority.sign("good");
    let mixed = (good.0.clone(), authority.sign("other").1);
    let expired = authority.sign_until("expired", (2024, 1, 1));
    let now = DateTime::from_timestamp_millis(clock::now_ms()).expect("the clock has a date");
    let day = now.date_naive() + Days::new(5);
    let soon = authority.sign_until("soon", (day.year(), day.month() as u8, day.day() as u8));
    let missing = (directory.path().join("missing.crt"), good.1.clone());
    for (what, files, code, said) in [
        ("good", &good, 0, ""),
        ("soon", &soon, 0, "expires soon"),
        ("expired", &expired, 78, "has expired"),
        ("mixed", &mixed, 78, "do not match"),
        ("missing", &missing, 78, "missing.crt"),
    ] {
        let mut command = Command::new(binary("systole-collector"));
        command.arg("check-config").env("SYSTOLE_TLS_CERT_FILE", &files.0).env("SYSTOLE_TLS_KEY_FILE", &files.1);
        let output = command.output().await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{what}: {error}");
        assert!(if said.is_empty() { error.is_empty() } else { error.contains(said) }, "{what}: {error}");
    }
}
