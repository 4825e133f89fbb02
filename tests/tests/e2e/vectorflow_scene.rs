//! A node under the stand-in for a VectorFlow server, and what that server wants of it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use systole_shared::vectorflow::{CertFile, ConfigPipeline, PushEvent};
use systole_tests::harness::binaries::binary;
use systole_tests::harness::ports::free_address;
use systole_tests::harness::vectorflow_server::ENROLL_TOKEN;
use systole_tests::harness::{SOON, TestAgent, VectorFlowServer, eventually_true};
use systole_tests::stub::totals::Totals;
use tempfile::TempDir;

/// How often a node asks and reports where a test waits for that: the server takes 30 requests in a minute.
pub(crate) const QUICK_MS: u64 = 2_000;

/// Longer than a test: what arrives, arrives by the push channel.
pub(crate) const SLOW_MS: u64 = 200_000;

/// An agent that runs the server's pipelines with the stub of Vector.
pub(crate) struct Scene {
    pub(crate) server: VectorFlowServer,
    pub(crate) agent: TestAgent,
    pub(crate) directory: TempDir,
}

impl Scene {
    /// Not started. More keys of its file, and variables of its environment.
    pub(crate) async fn prepare(settings: &[(&'static str, Value)]) -> Self {
        let server = VectorFlowServer::start().await;
        let directory = tempfile::Builder::new().prefix("systole-vectorflow-").tempdir().unwrap();
        let mut all = vec![
            ("protocol", json!("vectorflow")),
            ("cloud_labels", json!(false)),
            ("poll_interval", json!("1s")),
            ("accept_pipelines", json!(true)),
        ];
        all.extend(settings.iter().cloned());
        let agent = TestAgent::of(&server.url(), ENROLL_TOKEN, &all, &[]);
        add_engine(&agent, directory.path());
        let scene = Scene { server, agent, directory };
        scene.want(&[], QUICK_MS);
        scene
    }

    /// The same, running.
    pub(crate) async fn start(settings: &[(&'static str, Value)]) -> Self {
        let mut scene = Self::prepare(settings).await;
        scene.agent.run();
        scene
    }

    /// Wants these pipelines and no others. The agent learns it when it asks.
    pub(crate) fn want(&self, pipelines: &[ConfigPipeline], interval_ms: u64) {
        self.server.set_config(json!({
            "pipelines": pipelines,
            "pollIntervalMs": interval_ms,
            "secretBackend": "BUILTIN",
            "pushUrl": format!("{}/api/agent/push", self.server.url()),
        }));
    }

    /// The same, and says so on the push channel.
    pub(crate) fn want_now(&self, pipelines: &[ConfigPipeline]) {
        self.want(pipelines, QUICK_MS);
        self.server.push(PushEvent::ConfigChanged { pipeline_id: None, reason: None });
    }

    /// Waits until the agent holds its push channel.
    pub(crate) async fn push_is_open(&self) {
        eventually_true("the push channel is open", SOON, async || self.server.push_opened() > 0).await;
    }

    /// Where the stub of a pipeline counts.
    pub(crate) fn totals(&self, id: &str) -> PathBuf {
        self.directory.path().join(format!("{id}-totals.json"))
    }

    /// How many processes a pipeline has had.
    pub(crate) fn lives(&self, id: &str) -> usize {
        Totals::read(&self.totals(id)).ok().flatten().map_or(0, |totals| totals.lives.len())
    }

    /// The configuration of a stub, with more of its flags.
    pub(crate) fn config(&self, id: &str, flags: &[&str]) -> String {
        let flags: String = flags.iter().map(|flag| format!("# stub: {flag}\n")).collect();
        format!("# stub: totals={}\n{flags}sources:\n  demo_in:\n    type: demo_logs\n", self.totals(id).display())
    }

    /// A version of a pipeline whose stub has these flags.
    pub(crate) fn version(&self, id: &str, version: i64, flags: &[&str]) -> ConfigPipeline {
        pipeline(id, version, &self.config(id, flags))
    }

    /// Wants pipelines, and waits until each of them runs in its version.
    pub(crate) async fn run(&self, pipelines: &[ConfigPipeline]) {
        self.want_now(pipelines);
        for wanted in pipelines {
            let id = wanted.pipeline_id.as_str();
            eventually_true(&format!("{id} runs in version {}", wanted.version), SOON, async || {
                let found = self.server.pipeline(id);
                found["status"] == "RUNNING" && found["version"] == wanted.version
            })
            .await;
        }
    }

    /// The process of a pipeline, as the newest heartbeat has it.
    pub(crate) fn pid(&self, id: &str) -> Option<u64> {
        self.server.pipeline(id)["pid"].as_u64()
    }

    /// A path in the agent's data directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.agent.data_dir().join(name)
    }

    /// The names in a folder of the agent's data directory, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Panics if the agent has broken a rule of the server.
    pub(crate) fn assert_no_violation(&self) {
        assert!(self.server.violations().is_empty(), "{:?}", self.server.violations());
    }
}

/// Adds the engine `vector` to the file of an agent, with ports of its own: tests run at once.
pub(crate) fn add_engine(agent: &TestAgent, directory: &Path) {
    let vector = directory.join("vector");
    std::os::unix::fs::symlink(binary("stub-vector"), &vector).unwrap();
    let vector = vector.display().to_string();
    let first = free_address().port();
    let sidecar = "{config}.vf-metrics.yaml";
    let engine = json!({
        "command": [vector, "--config", "{config}", "--config", sidecar],
        "validate": [vector, "validate", "--no-environment", "{config}", sidecar],
        "port_range": format!("{first}-{}", first + 19),
        "metrics_url": "http://127.0.0.1:{port}/metrics",
        "api_url": "http://127.0.0.1:{api_port}",
    });
    let lines = engine.as_object().unwrap().iter().map(|(key, value)| format!("{key} = {value}\n"));
    let own = std::fs::read_to_string(agent.config_path()).unwrap();
    let text = format!("{own}\n[engine.vector]\n{}", lines.collect::<String>());
    std::fs::write(agent.config_path(), text).unwrap();
}

/// A pipeline with this configuration.
pub(crate) fn pipeline(id: &str, version: i64, config: &str) -> ConfigPipeline {
    ConfigPipeline {
        pipeline_id: id.to_owned(),
        pipeline_name: format!("The {id}"),
        version,
        config_yaml: config.to_owned(),
        checksum: sha256(config),
        log_level: None,
        secrets: None,
        cert_files: None,
    }
}

/// The same with secrets, which are a part of the checksum.
pub(crate) fn with_secrets(wanted: ConfigPipeline, secrets: &[(&str, &str)]) -> ConfigPipeline {
    let secrets: BTreeMap<String, String> =
        secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let checksum = sha256(&format!("{}{}", wanted.config_yaml, serde_json::to_string(&secrets).unwrap()));
    ConfigPipeline { secrets: Some(secrets), checksum, ..wanted }
}

/// The same with a file, which is no part of the checksum.
pub(crate) fn with_file(mut wanted: ConfigPipeline, filename: &str, content: &str) -> ConfigPipeline {
    let file = CertFile { name: filename.to_owned(), filename: filename.to_owned(), data: STANDARD.encode(content) };
    wanted.cert_files.get_or_insert_default().push(file);
    wanted
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The environment of a process.
pub(crate) fn environment_of(pid: u64) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/environ")).unwrap()).replace('\0', "\n")
}

/// The permissions of a file.
pub(crate) fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}
