//! An agent of its own, as one node among several on this host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::Command;

use super::binaries::binary;
use super::collector::TestCollector;
use super::process::Process;
use super::stub_vector::StubVector;

/// Longest time for a graceful end: pipelines stop, the last report goes out.
const STOP: Duration = Duration::from_secs(50);

/// A `[[pipeline]]` of the agent's configuration.
#[derive(Clone, Debug)]
pub struct AgentPipeline {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// What to run; none for a pipeline that is only watched.
    pub command: Option<Vec<String>>,
    /// Where its metrics are.
    pub metrics_url: Option<String>,
}

impl AgentPipeline {
    /// A stub that the agent starts and supervises.
    pub fn supervised(id: &str, stub: &StubVector) -> Self {
        AgentPipeline { command: Some(stub.command()), ..Self::watched(id, stub) }
    }

    /// A stub that somebody else runs.
    pub fn watched(id: &str, stub: &StubVector) -> Self {
        AgentPipeline { id: id.to_owned(), name: None, command: None, metrics_url: Some(stub.metrics_url()) }
    }
}

/// The agent's configuration file. A JSON string, or list of them, is one in TOML as well.
fn config(
    collector: &TestCollector,
    token: &str,
    data_dir: &Path,
    machine_id: &str,
    pipelines: &[AgentPipeline],
) -> String {
    let mut lines = vec![
        line("url", &collector.url()),
        line("token", token),
        line("data_dir", data_dir),
        line("machine_id", machine_id),
    ];
    for pipeline in pipelines {
        lines.push("[[pipeline]]".to_owned());
        lines.push(line("id", &pipeline.id));
        lines.extend(pipeline.name.as_ref().map(|name| line("name", name)));
        lines.extend(pipeline.command.as_ref().map(|command| line("command", command)));
        lines.extend(pipeline.metrics_url.as_ref().map(|url| line("metrics_url", url)));
    }
    lines.join("\n")
}

fn line(key: &str, value: &(impl Serialize + ?Sized)) -> String {
    format!("{key} = {}", serde_json::to_string(value).expect("text is JSON"))
}

/// A running agent with its own data.
#[derive(Debug)]
pub struct TestAgent {
    process: Option<Process>,
    directory: TempDir,
}

impl TestAgent {
    /// Writes a configuration and starts the agent, as a node of the environment (`default` when
    /// there is none).
    pub async fn start(collector: &TestCollector, environment: Option<&str>, pipelines: &[AgentPipeline]) -> Self {
        let token = collector.create_token("enroll", environment).await;
        let directory = tempfile::Builder::new().prefix("systole-agent-").tempdir().expect("a directory");
        let machine_id = uuid::Uuid::new_v4().simple().to_string();
        let data_dir = directory.path().join("data");
        let text = config(collector, token.token.reveal(), &data_dir, &machine_id, pipelines);
        let mut agent = TestAgent { process: None, directory };
        std::fs::write(agent.config_path(), text).expect("the configuration is written");
        agent.run();
        agent
    }

    fn config_path(&self) -> PathBuf {
        self.directory.path().join("agent.toml")
    }

    /// Starts the process again with the same data.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "the agent runs already");
        let mut command = Command::new(binary("systole-agent"));
        command.arg("--config").arg(self.config_path());
        let log = self.directory.path().join("agent.log");
        self.process = Some(Process::start("agent", &mut command, &log));
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.process.take().expect("the agent runs").kill().await;
    }

    /// SIGTERM; asserts that it ends in time and with 0.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("the agent runs");
        process.signal(Signal::SIGTERM);
        let status = process.wait(STOP).await;
        assert_eq!(status.code(), Some(0), "the agent stopped with {status}\n{}", process.output());
    }

    /// Whether the process lives.
    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.exit_status().is_none())
    }
}
