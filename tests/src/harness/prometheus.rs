//! A real Prometheus that scrapes a collector, and its checks.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::client::{Answer, ApiClient};
use super::ports::free_address;
use super::process::Process;
use super::wait::{SOON, eventually};

/// A running Prometheus with a separate directory and port.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    _directory: TempDir,
    client: ApiClient,
}

impl Prometheus {
    /// Starts one that scrapes `/metrics?fleet=1` each second with this token, as job `systole`, and has these rules.
    pub async fn start(collector: SocketAddr, token: &str, rules: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("systole-prometheus-").tempdir().expect("a directory");
        let address = free_address();
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nscrape_configs:\n- job_name: systole\n  \
             params: {{ fleet: [\"1\"] }}\n  authorization: {{ credentials: {token:?} }}\n  \
             static_configs: [{{ targets: [\"{collector}\"] }}]\nrule_files: [{:?}]\n",
            rules.display().to_string()
        );
        std::fs::write(&config, text).expect("a file");
        let mut command = Command::new(program("prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let mut process = Process::start("prometheus", &mut command, &directory.path().join("prometheus.log"));
        let client = ApiClient::new(&format!("http://{address}"));
        eventually("Prometheus is ready", SOON, async || {
            let ended = process.exit_status();
            assert!(ended.is_none(), "Prometheus ended at its start: {ended:?}");
            let answer = Answer::try_of(client.request(reqwest::Method::GET, "/-/ready")).await;
            (answer.ok()?.status == 200).then_some(())
        })
        .await;
        Prometheus { _process: process, _directory: directory, client }
    }

    /// The series that a query gives.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.client.get(&format!("/api/v1/query?query={encoded}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let mut answer: Value = answer.json();
        match answer["data"]["result"].take() {
            Value::Array(series) => series,
            other => panic!("{query}: {other}"),
        }
    }
}

/// Runs `promtool` with arguments and input; returns what it says.
///
/// # Errors
///
/// What it says when it is not content.
pub async fn promtool(args: &[&str], input: &str) -> Result<String, String> {
    use tokio::io::AsyncWriteExt;
    let mut command = Command::new(program("promtool"));
    let pipe = std::process::Stdio::piped;
    command.args(args).stdin(pipe()).stdout(pipe()).stderr(pipe()).kill_on_drop(true);
    let mut child = command.spawn().expect("promtool starts");
    let mut stdin = child.stdin.take().expect("it has an input");
    stdin.write_all(input.as_bytes()).await.expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("promtool ends");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: install the package prometheus, or run `make setup-test`"))
}
