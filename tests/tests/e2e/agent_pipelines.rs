//! Pipelines of the collector, at the agent: taken, validated, started, rolled back, stopped, restarted.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use systole_shared::action::ActionRequest;
use systole_shared::desired::DesiredPipeline;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::fake_collector::{wanted, with_secret};
use systole_tests::harness::ports::free_address;
use systole_tests::harness::{AgentPipeline, FakeCollector, StubVector, TestAgent, eventually_true};
use tempfile::TempDir;

/// Longest wait for something that happens at once, on a machine that builds and tests.
pub(crate) const SOON: Duration = systole_tests::harness::SOON;

/// What each pipeline of the engine has in addition: its metrics, and its API.
const METRICS: &str = "api:\n  enabled: true\n  address: 127.0.0.1:${SYSTOLE_API_PORT}\nsinks:\n  exporter:\n    \
                       type: prometheus_exporter\n    address: 127.0.0.1:${SYSTOLE_METRICS_PORT}\n";

/// An agent of a node with the engine `vector`, and the collector that it knows.
pub(crate) struct Scene {
    pub(crate) collector: FakeCollector,
    pub(crate) agent: TestAgent,
    pub(crate) directory: TempDir,
}

/// Adds the engine `vector` to the file of an agent, after its pipelines. Its files are in `directory`.
pub(crate) fn add_engine(agent: &TestAgent, directory: &Path) {
    let vector = directory.join("vector");
    std::os::unix::fs::symlink(binary("stub-vector"), &vector).unwrap();
    let metrics = directory.join("metrics.yaml");
    std::fs::write(&metrics, METRICS).unwrap();
    let [vector, metrics] = [vector, metrics].map(|path| path.display().to_string());
    // Tests run at once, each with a range of its own.
    let first = free_address().port();
    let engine = json!({
        "command": [vector, "--config", "{config}", "--config", metrics],
        "validate": [vector, "validate", "--no-environment", "{config}", metrics],
        "port_range": format!("{first}-{}", first + 19),
        "metrics_url": "http://127.0.0.1:{port}/metrics",
        "api_url": "http://127.0.0.1:{api_port}",
    });
    let lines = engine.as_object().unwrap().iter().map(|(key, value)| format!("{key} = {value}\n"));
    let own = std::fs::read_to_string(agent.config_path()).unwrap();
    let text = format!("{own}\n[engine.vector]\n{}", lines.collect::<String>());
    std::fs::write(agent.config_path(), text).unwrap();
}

impl Scene {
    /// An agent that accepts pipelines, with more keys of its file.
    pub(crate) async fn with(settings: &[(&'static str, Value)], own: &[AgentPipeline]) -> Self {
        let collector = FakeCollector::start().await;
        let directory = tempfile::Builder::new().prefix("systole-engine-").tempdir().unwrap();
        let mut all = vec![("accept_pipelines", json!(true))];
        for (key, value) in settings {
            all.retain(|(other, _)| other != key);
            all.push((*key, value.clone()));
        }
        let agent = TestAgent::of(&collector.url(), "systole_enroll_test", &all, own);
        add_engine(&agent, directory.path());
        let mut scene = Scene { collector, agent, directory };
        scene.agent.run();
        scene
    }

    pub(crate) async fn new() -> Self {
        Self::with(&[], &[]).await
    }

    fn totals(&self, id: &str) -> PathBuf {
        self.directory.path().join(format!("{id}-totals.json"))
    }

    /// A configuration of a stub, with more of its flags.
    pub(crate) fn config(&self, id: &str, flags: &[&str]) -> String {
        let flags: String = flags.iter().map(|flag| format!("# stub: {flag}\n")).collect();
        format!("# stub: totals={}\n{flags}sources:\n  demo_in:\n    type: demo_logs\n", self.totals(id).display())
    }

    /// A version of a pipeline whose stub has these flags.
    pub(crate) fn version(&self, id: &str, version: i64, flags: &[&str]) -> DesiredPipeline {
        wanted(id, version, &self.config(id, flags))
    }

    /// The pid of a pipeline's process, as the newest report has it.
    pub(crate) fn pid(&self, id: &str) -> Option<u64> {
        self.collector.pipeline(id)["pid"].as_u64()
    }

    /// Wants one version, and waits until it is healthy.
    pub(crate) async fn run(&self, version: DesiredPipeline) {
        let (id, number) = (version.id.clone(), version.version);
        self.collector.want(&[version]);
        self.collector.wait_for(id.as_str(), number, "healthy", SOON).await;
    }
}

/// The environment of a process.
fn environment_of(pid: u64) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/environ")).unwrap()).replace('\0', "\n")
}

/// The files below a directory that contain a text, with their modes.
fn files_with(directory: &Path, text: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).is_ok_and(|content| String::from_utf8_lossy(&content).contains(text)) {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            found.push((path.file_name().unwrap().to_string_lossy().into_owned(), mode));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn agent_without_consent_refuses_every_pipeline() {
    let scene = Scene::with(&[("accept_pipelines", json!(false))], &[]).await;
    let version = with_secret(scene.version("orders", 1, &[]), "DB_PASSWORD", "hunter2-of-orders");
    scene.collector.want(&[version]);
    let refused = scene.collector.wait_for("orders", 1, "rejected", SOON).await;
    assert_eq!(refused["reason"], "this agent does not accept pipelines (accept_pipelines = false)");
    assert!(refused["runningVersion"].is_null() && scene.collector.pipeline("orders").is_null(), "{refused}");
    assert!(scene.collector.report()["agent"]["engines"].is_null(), "it says nothing of engines");
    assert!(files_with(&scene.agent.data_dir(), "hunter2-of-orders").is_empty());
}

#[tokio::test]
async fn version_of_the_collector_runs_and_is_replaced() {
    let scene = Scene::new().await;
    scene.run(scene.version("orders", 1, &[])).await;
    let pipeline = scene.collector.pipeline("orders");
    assert_eq!((&pipeline["status"], &pipeline["version"]), (&json!("RUNNING"), &json!(1)), "{pipeline}");
    assert_eq!(pipeline["configChecksum"], json!(scene.version("orders", 1, &[]).checksum));
    assert_eq!(scene.collector.report()["agent"]["engines"], json!(["vector"]));
    let first = scene.pid("orders").unwrap();
    // The same content under another number, as a rollback makes it, touches no process.
    let same = |version| DesiredPipeline { version, ..scene.version("orders", 1, &[]) };
    for number in [2, 3] {
        scene.run(same(number)).await;
        assert_eq!(scene.pid("orders"), Some(first));
    }
    scene.run(scene.version("orders", 4, &["rate=5"])).await;
    scene.run(same(5)).await;
    assert_eq!(scene.collector.deployment("orders")["runningVersion"], 5);
    let last = DesiredPipeline { log_level: Some("debug".into()), ..scene.version("orders", 6, &["rate=10"]) };
    scene.run(last).await;
    let second = scene.pid("orders").unwrap();
    assert_ne!(second, first);
    let environment = environment_of(second);
    assert!(environment.contains("VECTOR_LOG=debug\n"), "{environment}");
    let copies = scene.agent.data_dir().join("desired/pipelines");
    assert_eq!(copies.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn refused_version_leaves_the_process_alone() {
    let scene = Scene::new().await;
    scene.run(scene.version("orders", 1, &[])).await;
    let pid = scene.pid("orders").unwrap();
    scene.collector.want(&[scene.version("orders", 2, &["invalid=nope"])]);
    let refused = scene.collector.wait_for("orders", 2, "rejected", SOON).await;
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.starts_with("configuration version 2 is not used: vector refuses it"), "{reason}");
    assert!(reason.contains("unknown variant `nope`") && !reason.contains("/desired/"), "{reason}");
    assert_eq!((refused["runningVersion"].as_i64(), scene.pid("orders")), (Some(1), Some(pid)));
    let broken = DesiredPipeline { config: "# other".into(), ..scene.version("orders", 3, &[]) };
    scene.collector.want(&[broken]);
    let refused = scene.collector.wait_for("orders", 3, "rejected", SOON).await;
    assert!(refused["reason"].as_str().unwrap().contains("checksum"), "{refused}");
    let other = DesiredPipeline { engine: "otelcol".into(), ..scene.version("orders", 4, &[]) };
    scene.collector.want(&[other]);
    let refused = scene.collector.wait_for("orders", 4, "rejected", SOON).await;
    assert_eq!(refused["reason"], "this node has no engine \"otelcol\"; its engines: vector");
    assert_eq!((refused["runningVersion"].as_i64(), scene.pid("orders")), (Some(1), Some(pid)));
}

#[tokio::test]
async fn crashing_version_is_rolled_back_with_its_reason() {
    let mut scene = Scene::new().await;
    scene.run(scene.version("orders", 1, &[])).await;
    let bad = scene.version("orders", 2, &["crash-after-ms=600"]);
    let bad = DesiredPipeline { healthy_for_ms: 20_000, ..bad };
    scene.collector.want(&[bad]);
    let back = scene.collector.wait_for("orders", 2, "rolled_back", SOON).await;
    let reason = back["reason"].as_str().unwrap();
    assert!(reason.starts_with("configuration version 2 did not stay up for 20 s (exit code 1"), "{reason}");
    assert!(reason.ends_with("back on version 1"), "{reason}");
    eventually_true("version 1 runs again", SOON, async || {
        scene.collector.deployment("orders")["runningVersion"] == 1
            && scene.collector.pipeline("orders")["version"] == 1
    })
    .await;
    // A restart of the agent tries it once more, and comes back to the same.
    scene.agent.stop().await;
    scene.agent.run();
    eventually_true("version 2 is rolled back again", SOON, async || {
        let deployment = scene.collector.deployment("orders");
        deployment["phase"] == "rolled_back" && deployment["runningVersion"] == 1
    })
    .await;
    // The next version takes over.
    scene.run(scene.version("orders", 3, &["rate=5"])).await;
    assert_eq!(scene.collector.deployment("orders")["runningVersion"], 3);
}

#[tokio::test]
async fn first_version_that_crashes_has_failed() {
    let scene = Scene::new().await;
    scene
        .collector
        .want(&[DesiredPipeline { healthy_for_ms: 20_000, ..scene.version("orders", 1, &["crash-after-ms=300"]) }]);
    let failed = scene.collector.wait_for("orders", 1, "rolled_back", SOON).await;
    assert!(failed["reason"].as_str().unwrap().starts_with("exit code 1"), "{failed}");
}

#[tokio::test]
async fn agent_starts_from_its_disk_without_a_collector() {
    let Scene { collector, mut agent, directory } = Scene::new().await;
    let scene_totals = directory.path().join("orders-totals.json");
    let config = format!("# stub: totals={}\nsources:\n  in:\n    type: demo_logs\n", scene_totals.display());
    collector.want(&[with_secret(wanted("orders", 1, &config), "DB_PASSWORD", "hunter2-of-orders")]);
    collector.wait_for("orders", 1, "healthy", SOON).await;
    agent.stop().await;
    let away = collector.report()["pipelines"][0]["pid"].clone();
    assert!(away.is_null(), "it has stopped: {away}");
    // The stand-in serves on, but this agent asks where nothing answers.
    let text = std::fs::read_to_string(agent.config_path()).unwrap();
    std::fs::write(agent.config_path(), text.replace(&collector.url(), &format!("http://{}", free_address()))).unwrap();
    agent.run();
    let lives = async || {
        let totals = systole_tests::stub::totals::Totals::read(&scene_totals).ok().flatten();
        totals.is_some_and(|totals| totals.lives.len() == 2)
    };
    eventually_true("the pipeline runs again", SOON, lives).await;
}

#[tokio::test]
async fn secret_is_only_in_the_environment_and_private_files() {
    const SECRET: &str = "hunter2-of-orders";
    let scene = Scene::with(&[("log_level", json!("trace"))], &[]).await;
    scene.run(with_secret(scene.version("orders", 1, &[]), "DB_PASSWORD", SECRET)).await;
    let pid = scene.pid("orders").unwrap();
    assert!(environment_of(pid).contains(&format!("DB_PASSWORD={SECRET}\n")));
    // A validation that quotes it.
    let quoting = scene.version("orders", 2, &["invalid=${DB_PASSWORD}"]);
    scene.collector.want(&[with_secret(quoting, "DB_PASSWORD", SECRET)]);
    let refused = scene.collector.wait_for("orders", 2, "rejected", SOON).await;
    assert!(refused["reason"].as_str().unwrap().contains("unknown variant `[secret]`"), "{refused}");
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&command).contains(SECRET), "{process:?}");
    }
    let with_it = files_with(scene.agent.data_dir().parent().unwrap(), SECRET);
    assert!(with_it.iter().all(|(name, mode)| *mode == 0o600 && name != "agent.log"), "{with_it:?}");
    assert!(with_it.iter().any(|(name, _)| name == "state.json"), "{with_it:?}");
    assert!(!scene.collector.received().contains(SECRET), "it is in no report");
    // It goes with the pipeline.
    scene.collector.want(&[]);
    eventually_true("the end is reported", SOON, async || !scene.collector.removed().is_empty()).await;
    eventually_true("no file has it", SOON, async || files_with(&scene.agent.data_dir(), SECRET).is_empty()).await;
}

#[tokio::test]
async fn own_file_wins_over_the_collector() {
    let directory = tempfile::tempdir().unwrap();
    let stub = StubVector::new(directory.path(), "orders", &[]);
    let scene = Scene::with(&[], &[AgentPipeline::supervised("orders", &stub)]).await;
    scene.collector.want(&[scene.version("orders", 1, &[]), scene.version("bills", 1, &[])]);
    scene.collector.wait_for("bills", 1, "healthy", SOON).await;
    let refused = scene.collector.wait_for("orders", 1, "rejected", SOON).await;
    assert!(refused["reason"].as_str().unwrap().contains("own file"), "{refused}");
    assert!(refused["runningVersion"].is_null());
    stub.wait_for("the own one runs", |totals| (totals.lives.len() == 1).then_some(())).await;
    assert_eq!(scene.collector.pipeline("orders")["version"], Value::Null);
}

#[tokio::test]
async fn pipeline_is_paused_resumed_and_removed() {
    let scene = Scene::new().await;
    let version = scene.version("orders", 1, &[]);
    scene.run(version.clone()).await;
    let first = scene.pid("orders").unwrap();
    scene.collector.want(&[DesiredPipeline { paused: true, ..version.clone() }]);
    let paused = scene.collector.wait_for("orders", 1, "paused", SOON).await;
    assert!(paused["runningVersion"].is_null(), "{paused}");
    let pipeline = scene.collector.pipeline("orders");
    assert_eq!((&pipeline["status"], &pipeline["reason"]), (&json!("STOPPED"), &json!("paused by an operator")));
    assert!(!Path::new(&format!("/proc/{first}")).exists());
    scene.run(version).await;
    let second = scene.pid("orders").unwrap();
    scene.collector.want(&[]);
    eventually_true("the end is reported", SOON, async || scene.collector.removed() == [("orders".to_owned(), 1)])
        .await;
    eventually_true("the process has ended", SOON, async || !Path::new(&format!("/proc/{second}")).exists()).await;
    eventually_true("its files are gone", SOON, async || {
        let copies = std::fs::read_dir(scene.agent.data_dir().join("desired/pipelines"));
        copies.is_ok_and(|mut copies| copies.next().is_none())
    })
    .await;
    assert_eq!(scene.collector.removed().len(), 1, "it is said once");
}

#[tokio::test]
async fn change_without_a_push_stream_comes_with_a_report() {
    let scene = Scene::with(&[("push", json!(false))], &[]).await;
    scene.collector.set_push(false);
    scene.run(scene.version("orders", 1, &[])).await;
    let pid = scene.pid("orders").unwrap();
    let restart = scene.collector.act("orders", ActionRequest::Restart);
    assert_eq!(scene.collector.last_output(restart, SOON).await.error, None);
    eventually_true("another process", SOON, async || scene.pid("orders").is_some_and(|other| other != pid)).await;
    assert_eq!(scene.collector.push_asked(), 0);
    assert!(scene.collector.fetches() <= 2, "once for the change: {}", scene.collector.fetches());
}

#[tokio::test]
async fn collector_without_push_streams_is_asked_once() {
    let scene = Scene::new().await;
    scene.collector.set_push(false);
    scene.run(scene.version("orders", 1, &[])).await;
    let asked = scene.collector.push_asked();
    scene.run(scene.version("orders", 2, &["rate=5"])).await;
    assert!(asked <= 2 && scene.collector.push_asked() == asked, "{asked}");
}

#[tokio::test]
async fn process_runs_as_the_user_of_its_engine() {
    if !nix_is_root() {
        return;
    }
    let mut scene = Scene::new().await;
    eventually_true("the agent reports", SOON, async || !scene.collector.report().is_null()).await;
    scene.agent.stop().await;
    // The user must reach the program, its configuration, and the totals.
    for directory in [scene.directory.path(), scene.agent.data_dir().parent().unwrap()] {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let text = std::fs::read_to_string(scene.agent.config_path()).unwrap();
    let text = format!("{text}run_as = \"nobody\"\n"); // words: allow
    std::fs::write(scene.agent.config_path(), text).unwrap();
    scene.agent.run();
    let version = wanted("orders", 1, "sources:\n  in:\n    type: demo_logs\n");
    scene.run(with_secret(version, "DB_PASSWORD", "hunter2-of-orders")).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", scene.pid("orders").unwrap())).unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(uid.split_whitespace().skip(1).all(|uid| uid == "65534"), "{uid}");
    let copy = scene.agent.data_dir().join("desired/pipelines/orders.yaml");
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let secrets = files_with(&scene.agent.data_dir(), "hunter2-of-orders");
    assert!(secrets.iter().all(|(_, mode)| *mode == 0o600), "{secrets:?}");
}

fn nix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
