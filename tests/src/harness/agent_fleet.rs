//! Real agents that take pipelines of the centre, as many nodes on this host.
//!
//! Each has an engine that is the stub. A configuration names a file of totals, which each version has for itself
//! ([`config`]), so the files say which version ran where, and when, without a question to the programs under test.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use systole_shared::UnixMillis;
use tempfile::TempDir;

use super::agent::TestAgent;
use super::binaries::binary;
use super::collector::TestCollector;
use super::ports::free_ports;
use crate::stub::totals::{Life, Totals};

/// The engine's variable with the directory of an agent's totals.
const DIRECTORY: &str = "FLEET_DIR";

/// Flags of each stub. Hundreds of them run at once, so they do little.
const QUIET: [&str; 6] = ["--tick-ms", "1000", "--rate", "1", "--log-rate", "0"];

/// A configuration of the stub with more of its flags. `name` is the version's, and that of its file of totals.
#[must_use]
pub fn config(name: &str, flags: &[&str]) -> String {
    let flags: String = flags.iter().map(|flag| format!("# stub: {flag}\n")).collect();
    format!("# stub: totals=${{{DIRECTORY}}}/{name}.json\n{flags}sources:\n  demo_in:\n    type: demo_logs\n")
}

/// An agent of the fleet.
#[derive(Debug)]
pub struct FleetAgent {
    /// The node's name.
    pub name: String,
    /// Whether it has the label `canary=true`.
    pub is_canary: bool,
    /// The process.
    pub agent: TestAgent,
    directory: PathBuf,
}

/// Agents and their directories.
#[derive(Debug)]
pub struct AgentFleet {
    /// The canaries are the first ones.
    pub agents: Vec<FleetAgent>,
    _directory: TempDir,
}

impl AgentFleet {
    /// Starts so many agents, of which the first `canaries` have the label.
    pub async fn start(collector: &TestCollector, agents: usize, canaries: usize, push: bool) -> Self {
        let directory = tempfile::Builder::new().prefix("systole-fleet-").tempdir().expect("a directory");
        // The agent knows how to validate a program of this name.
        let vector = directory.path().join("vector");
        std::os::unix::fs::symlink(binary("stub-vector"), &vector).expect("a link");
        let token = collector.create_token("enroll", None).await;
        let start = |number: usize| {
            let own = directory.path().join(number.to_string());
            std::fs::create_dir(&own).expect("a directory");
            let name = format!("edge-{number:03}");
            let settings = [("name", json!(name)), ("accept_pipelines", json!(true)), ("push", json!(push))];
            let agent = TestAgent::of(&collector.url(), token.token.reveal(), &settings, &[]);
            let mut agent = FleetAgent { name, is_canary: number < canaries, agent, directory: own };
            agent.add_tables(&vector);
            agent.agent.run();
            agent
        };
        AgentFleet { agents: (0..agents).map(start).collect(), _directory: directory }
    }
}

impl FleetAgent {
    fn add_tables(&self, vector: &Path) {
        let [first, last] = free_ports();
        let mut command = vec![vector.display().to_string(), "--metrics-address".into(), "127.0.0.1:{port}".into()];
        command.extend(QUIET.map(str::to_owned));
        command.extend(["--config".to_owned(), "{config}".to_owned()]);
        let keys = [
            ("command", json!(command)),
            ("port_range", json!(format!("{first}-{last}"))),
            ("metrics_url", json!("http://127.0.0.1:{port}/metrics")),
        ];
        let keys: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let labels = if self.is_canary { "canary = \"true\"\n" } else { "" };
        let path = self.agent.config_path();
        let own = std::fs::read_to_string(&path).expect("the configuration is there");
        let text = format!(
            "{own}\n[labels]\n{labels}[engine.vector]\n{keys}[engine.vector.env]\n{DIRECTORY} = {}\n",
            json!(self.directory)
        );
        std::fs::write(path, text).expect("the configuration is written");
    }

    /// Every process that ran a version, oldest first.
    #[must_use]
    pub fn lives(&self, version: &str) -> Vec<Life> {
        let totals = Totals::read(&self.directory.join(format!("{version}.json"))).expect("totals");
        totals.map(|totals| totals.lives).unwrap_or_default()
    }

    /// The process that runs a version now.
    #[must_use]
    pub fn pid_of(&self, version: &str) -> Option<u32> {
        let last = self.lives(version).pop()?;
        is_alive(last.pid).then_some(last.pid)
    }

    /// When the newest process of a version started.
    #[must_use]
    pub fn started_at(&self, version: &str) -> Option<UnixMillis> {
        Some(self.lives(version).pop()?.started_at)
    }

    /// The generation of the desired state that the agent has on disk.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        let text = std::fs::read(self.agent.data_dir().join("desired/state.json")).ok()?;
        serde_json::from_slice::<Value>(&text).ok()?["desired"]["generation"].as_u64()
    }
}

/// Whether a process runs: one that has ended and still has an entry does not.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().split_whitespace().next();
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}
