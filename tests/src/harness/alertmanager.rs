//! A real Alertmanager, where one is installed.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::client::ApiClient;
use super::ports::free_address;
use super::process::Process;
use super::wait::{SOON, eventually};

/// A running Alertmanager with a separate directory and port.
#[derive(Debug)]
pub struct Alertmanager {
    _process: Process,
    _directory: TempDir,
    address: SocketAddr,
}

impl Alertmanager {
    /// Starts one that notifies no one.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("systole-alertmanager-").tempdir().expect("a directory");
        let address = free_address();
        let config = directory.path().join("alertmanager.yml");
        std::fs::write(&config, "route: { receiver: none }\nreceivers: [{ name: none }]\n").expect("a file");
        let mut command = Command::new(program());
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.path={}", directory.path().display()));
        command.arg(format!("--web.listen-address={address}")).arg("--cluster.listen-address=");
        let mut process = Process::start("alertmanager", &mut command, &directory.path().join("alertmanager.log"));
        let client = ApiClient::new(&format!("http://{address}"));
        eventually("Alertmanager is ready", SOON, async || {
            let ended = process.exit_status();
            assert!(ended.is_none(), "Alertmanager ended at its start: {ended:?}");
            let answer = super::client::Answer::try_of(client.request(reqwest::Method::GET, "/-/ready")).await;
            (answer.ok()?.status == 200).then_some(())
        })
        .await;
        Alertmanager { _process: process, _directory: directory, address }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The alerts that it knows.
    pub async fn alerts(&self) -> Vec<Value> {
        let client = ApiClient::new(&format!("http://{}", self.address));
        match client.get_json("/api/v2/alerts").await {
            Value::Array(alerts) => alerts,
            other => panic!("Alertmanager answers {other}"),
        }
    }
}

/// By the name that Debian gives it, or its own.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["prometheus-alertmanager", "alertmanager"];
    let found = std::env::split_paths(&path).flat_map(|directory| names.map(|name| directory.join(name)));
    let program = found.into_iter().find(|program| program.is_file());
    program.expect("Alertmanager is missing: install prometheus-alertmanager, or run `make setup-test`")
}
