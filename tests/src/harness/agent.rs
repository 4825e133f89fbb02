//! An agent of its own, as one node among several on this host.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::binaries::binary;
use super::collector::TestCollector;
use super::process::Process;
use super::stub_vector::StubVector;

/// Longest time for a graceful end: pipelines have 30 s to stop, then the last report is sent.
const STOP: Duration = Duration::from_secs(120);

const METRICS_LISTEN: &str = "metrics_listen";

/// A `[[pipeline]]` of the agent's configuration.
#[derive(Clone, Debug)]
pub struct AgentPipeline {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// The command; none for a pipeline that is only watched.
    pub command: Option<Vec<String>>,
    /// Where its metrics are.
    pub metrics_url: Option<String>,
    /// More keys with their values.
    pub settings: Vec<(&'static str, Value)>,
}

impl AgentPipeline {
    /// A stub that the agent starts and supervises.
    pub fn supervised(id: &str, stub: &StubVector) -> Self {
        AgentPipeline { command: Some(stub.command()), ..Self::watched(id, stub) }
    }

    /// A stub that the test or another agent runs.
    pub fn watched(id: &str, stub: &StubVector) -> Self {
        let metrics_url = Some(stub.metrics_url());
        AgentPipeline { id: id.to_owned(), name: None, command: None, metrics_url, settings: Vec::new() }
    }

    /// The same with one more key.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.settings.push((key, value.into()));
        self
    }
}

/// Differences of an agent from the usual one.
#[derive(Clone, Debug, Default)]
pub struct AgentSetup<'a> {
    /// The environment of its node; none is `default`.
    pub environment: Option<&'a str>,
    /// Where it finds the collector, such as through a proxy; none is the collector itself.
    pub url: Option<String>,
    /// More keys of its configuration with their values.
    pub settings: Vec<(&'static str, Value)>,
    /// The folder in which the agent finds programs; none is the test's own `PATH`.
    pub programs: Option<PathBuf>,
    /// Variables of its environment.
    pub variables: Vec<(&'static str, String)>,
}

/// The keys of the agent's configuration file that stand before its pipelines. A JSON string, or list
/// of them, is one in TOML as well.
fn head(url: &str, token: &str, settings: &[(&'static str, Value)], data_dir: &Path) -> String {
    let mut lines = vec![line("token", token), line("data_dir", data_dir)];
    if !settings.iter().any(|(key, _)| *key == "urls") {
        lines.push(line("url", url));
    }
    // Agents of one test run on one host.
    if !settings.iter().any(|(key, _)| *key == "machine_id") {
        lines.push(line("machine_id", &uuid::Uuid::new_v4().simple().to_string()));
    }
    lines.extend(settings.iter().map(|(key, value)| line(key, value)));
    // Agents of tests that run at once would fight for the usual port.
    if !settings.iter().any(|(key, _)| *key == METRICS_LISTEN) {
        lines.push(line(METRICS_LISTEN, "off"));
    }
    lines.join("\n")
}

fn pipeline_lines(pipeline: &AgentPipeline) -> Vec<String> {
    let mut lines = vec!["[[pipeline]]".to_owned(), line("id", &pipeline.id)];
    lines.extend(pipeline.name.as_ref().map(|name| line("name", name)));
    lines.extend(pipeline.command.as_ref().map(|command| line("command", command)));
    lines.extend(pipeline.metrics_url.as_ref().map(|url| line("metrics_url", url)));
    lines.extend(pipeline.settings.iter().map(|(key, value)| line(key, value)));
    lines
}

fn line(key: &str, value: &(impl Serialize + ?Sized)) -> String {
    format!("{key} = {}", serde_json::to_string(value).expect("text is JSON"))
}

/// Options of unshare(1) for a process with disks of its own.
const IN_NAMESPACES: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// Options of unshare(1) for a process that is the first one of its own.
const AS_FIRST_PROCESS: [&str; 6] =
    ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"];

/// Whether this machine lets a process be the first one of its own.
pub async fn can_be_first_process() -> bool {
    let status = Command::new("unshare").args(AS_FIRST_PROCESS).arg("true").kill_on_drop(true).status().await;
    status.is_ok_and(|status| status.success())
}

/// Options of unshare(1) for a process that sees no processes of others, and the shell's part of that.
const AMONG_HIDDEN: [&str; 6] = ["--mount", "--pid", "--fork", "--kill-child=SIGKILL", "sh", "-c"];
const HIDE: &str =
    "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";

/// Whether this machine lets a process be one of another user, from which those of the first are hidden.
pub async fn can_hide_processes() -> bool {
    let status =
        Command::new("unshare").args(AMONG_HIDDEN).args([HIDE, "sh", "true"]).kill_on_drop(true).status().await;
    status.is_ok_and(|status| status.success())
}

/// Whether this machine lets a process have disks of its own.
pub async fn can_mount() -> bool {
    let status = Command::new("unshare").args(IN_NAMESPACES).arg("true").kill_on_drop(true).status().await;
    status.is_ok_and(|status| status.success())
}

/// A program to be run with a directory on a disk of its own, of so many bytes, which goes with the process.
/// Works where [`can_mount`] says so.
pub fn on_disk_of(bytes: u64, directory: &Path, program: &str) -> Command {
    std::fs::create_dir_all(directory).expect("a directory");
    let mount = format!(r#"mount -t tmpfs -o size={bytes} none "$0" && exec "$@""#);
    let mut command = Command::new("unshare");
    command.args(IN_NAMESPACES).args(["sh", "-c", &mount]).arg(directory).arg(binary(program));
    command
}

/// A process that does nothing but keep a disk of its own, of so many bytes, for those that are run
/// [`beside`] it. The disk is there when the directory has the file `.mounted`.
pub(super) fn keeper_of_disk(bytes: u64, directory: &Path) -> Command {
    std::fs::create_dir_all(directory).expect("a directory");
    let mount = format!(r#"mount -t tmpfs -o size={bytes} none "$0" && touch "$0/.mounted" && exec sleep infinity"#);
    let mut command = Command::new("unshare");
    command.args(IN_NAMESPACES).args(["sh", "-c", &mount]).arg(directory);
    command
}

/// A program to be run where a process sees disks of its own. SQLite looks through links like those of
/// [`seen_by`], and would find the disk of all other processes.
pub(super) fn beside(pid: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--user", "--mount", "--preserve-credentials", "--"]);
    command.arg(binary(program));
    command
}

/// A path as a process with disks of its own sees it.
pub(super) fn seen_by(pid: u32, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    root.join(path.strip_prefix("/").expect("an absolute path"))
}

/// A running agent with its own data.
#[derive(Debug)]
pub struct TestAgent {
    process: Option<Process>,
    directory: TempDir,
    /// The configuration without its pipelines.
    head: String,
    programs: Option<PathBuf>,
    variables: Vec<(&'static str, String)>,
}

impl TestAgent {
    /// Writes a configuration and starts the agent, as a node of the environment (`default` when
    /// there is none).
    pub async fn start(collector: &TestCollector, environment: Option<&str>, pipelines: &[AgentPipeline]) -> Self {
        Self::start_with(collector, AgentSetup { environment, ..AgentSetup::default() }, pipelines).await
    }

    /// The same with settings of its own.
    pub async fn start_with(collector: &TestCollector, setup: AgentSetup<'_>, pipelines: &[AgentPipeline]) -> Self {
        let mut agent = Self::prepare(collector, setup, pipelines).await;
        agent.run();
        agent
    }

    /// Only writes the configuration.
    pub async fn prepare(collector: &TestCollector, setup: AgentSetup<'_>, pipelines: &[AgentPipeline]) -> Self {
        let token = collector.create_token("enroll", setup.environment).await;
        let url = setup.url.unwrap_or_else(|| collector.url());
        let agent = Self::of(&url, token.token.reveal(), &setup.settings, pipelines);
        TestAgent { programs: setup.programs, variables: setup.variables, ..agent }
    }

    /// Only writes the configuration, for whatever collector there is.
    pub fn of(url: &str, token: &str, settings: &[(&'static str, Value)], pipelines: &[AgentPipeline]) -> Self {
        let directory = tempfile::Builder::new().prefix("systole-agent-").tempdir().expect("a directory");
        let head = head(url, token, settings, &directory.path().join("data"));
        let agent = TestAgent { process: None, directory, head, programs: None, variables: Vec::new() };
        agent.write_config(pipelines);
        agent
    }

    /// Puts another configuration, with these pipelines, in the place of the present one, in one step.
    pub fn write_config(&self, pipelines: &[AgentPipeline]) {
        let lines = pipelines.iter().flat_map(pipeline_lines);
        let text = std::iter::once(self.head.clone()).chain(lines).collect::<Vec<_>>().join("\n");
        let unfinished = self.config_path().with_extension("unfinished");
        std::fs::write(&unfinished, text).expect("the configuration is written");
        std::fs::rename(unfinished, self.config_path()).expect("the configuration takes its place");
    }

    /// Variables of the environment of its next process.
    pub fn set_variables(&mut self, variables: Vec<(&'static str, String)>) {
        self.variables = variables;
    }

    /// The configuration's file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("agent.toml")
    }

    /// Where the data are.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.running().pid()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.running().signal(signal);
    }

    /// Waits for its end.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let status = self.process.as_mut().expect("the agent runs").wait(limit).await;
        self.process = None;
        status
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the agent runs")
    }

    /// Starts the process again with the same data.
    pub fn run(&mut self) {
        self.run_as(Command::new(binary("systole-agent")));
    }

    /// The same as the first process of a container, to which the kernel gives all orphans. Works where
    /// [`can_be_first_process`] says so. [`Self::pid`] is then that of its parent.
    pub fn run_as_first_process(&mut self) {
        let mut command = Command::new("unshare");
        command.args(AS_FIRST_PROCESS).arg(binary("systole-agent"));
        self.run_as(command);
    }

    /// The same as another user on a host with `hidepid`, on which the first user has a process that the
    /// agent cannot see and whose id is in `pid_file`. Works where [`can_hide_processes`] says so.
    pub fn run_among_hidden(&mut self, pid_file: &Path) {
        for path in [self.directory.path().to_owned(), self.config_path()] {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).expect("the user owns its files");
        }
        let hidden = format!(r#"sleep 1000 & echo $! > "$0"; {HIDE}"#);
        let mut command = Command::new("unshare");
        command.args(AMONG_HIDDEN).arg(hidden).arg(pid_file).arg(binary("systole-agent"));
        self.run_as(command);
    }

    /// The same with a data directory on a disk of its own, of so many bytes. Only [`Self::seen_by_agent`]
    /// gives access to that disk, and it is removed with the process. Works where [`can_mount`] says so.
    pub fn run_on_disk_of(&mut self, bytes: u64) {
        self.run_as(on_disk_of(bytes, &self.data_dir(), "systole-agent"));
    }

    /// Starts the process through this command, which ends in the agent itself and gets its arguments.
    pub fn run_as(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "the agent runs already");
        command.arg("--config").arg(self.config_path()).envs(self.variables.iter().cloned());
        if let Some(programs) = &self.programs {
            command.env("PATH", programs);
        }
        let log = self.directory.path().join("agent.log");
        self.process = Some(Process::start("agent", &mut command, &log));
    }

    /// A path as the agent sees it.
    pub fn seen_by_agent(&self, path: &Path) -> PathBuf {
        seen_by(self.pid(), path)
    }

    /// A second process with the same configuration, and so with the same data.
    pub fn run_twin(&self) -> Process {
        let mut command = Command::new(binary("systole-agent"));
        command.arg("--config").arg(self.config_path());
        Process::start("second agent", &mut command, &self.directory.path().join("second-agent.log"))
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
