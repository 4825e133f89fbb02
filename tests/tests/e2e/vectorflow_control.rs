//! Pipelines of a VectorFlow server: started, changed, removed; secrets and files; the push channel and polls.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use systole_shared::vectorflow::{PushAction, PushEvent};
use systole_tests::harness::vectorflow_server::Fault;
use systole_tests::harness::{SOON, eventually_true};
use tokio::time::Instant;

use crate::vectorflow_scene::{
    QUICK_MS, SLOW_MS, Scene, environment_of, mode_of, pipeline, sha256, with_file, with_secrets,
};

/// A push must be as quick as this on a busy machine, and no poll is.
const PUSHED_WITHIN: Duration = Duration::from_secs(60);

fn runs(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn pipeline_is_started_changed_and_removed() {
    let mut scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    let first = scene.version("cma", 1, &["rate=20"]);
    scene.run(std::slice::from_ref(&first)).await;
    let pid = scene.pid("cma").unwrap();
    assert_eq!(scene.server.pipeline("cma")["configChecksum"], first.checksum);
    assert_eq!(scene.names("pipelines"), ["cma.yaml", "cma.yaml.vf-metrics.yaml"]);
    assert_eq!((mode_of(&scene.path("pipelines")), mode_of(&scene.path("pipelines/cma.yaml"))), (0o700, 0o600));
    assert_eq!(mode_of(&scene.path("pipelines/cma.yaml.vf-metrics.yaml")), 0o600);
    assert_eq!(std::fs::read_to_string(scene.path("pipelines/cma.yaml")).unwrap(), first.config_yaml);
    let sidecar = std::fs::read_to_string(scene.path("pipelines/cma.yaml.vf-metrics.yaml")).unwrap();
    for name in ["vf_internal_metrics", "vf_host_metrics", "vf_metrics_exporter", "prometheus_exporter", "api:"] {
        assert!(sidecar.contains(name), "{sidecar}");
    }

    // Only another number.
    let second = scene.version("cma", 2, &["rate=20"]);
    scene.run(&[second]).await;
    assert_eq!((scene.pid("cma"), scene.lives("cma")), (Some(pid), 1));
    // Another configuration.
    let third = scene.version("cma", 3, &["rate=30"]);
    scene.run(std::slice::from_ref(&third)).await;
    let second_pid = scene.pid("cma").unwrap();
    assert!(second_pid != pid && scene.lives("cma") == 2);
    assert_eq!(scene.server.pipeline("cma")["configChecksum"], third.checksum);

    scene.want_now(&[]);
    eventually_true("it ends", SOON, async || !runs(second_pid)).await;
    eventually_true("its files are gone", SOON, async || scene.names("pipelines").is_empty()).await;
    eventually_true("it leaves the heartbeats", SOON, async || scene.server.pipeline("cma").is_null()).await;
    scene.agent.stop().await;
    scene.assert_no_violation();
}

#[tokio::test]
async fn bad_pipeline_costs_only_itself() {
    let scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    let good = scene.version("good", 1, &[]);
    let changed = scene.version("changed", 1, &[]);
    scene.run(&[good.clone(), changed.clone()]).await;
    let pids = ["good", "changed"].map(|id| scene.pid(id));
    let broken = [
        good,
        // A configuration that Vector refuses, of a new pipeline and of one that runs.
        scene.version("invalid", 1, &["invalid"]),
        scene.version("changed", 2, &["invalid"]),
        // A name of a file that leads elsewhere, and a variable that decides what a process runs.
        with_file(scene.version("files", 1, &[]), "..", "x"),
        with_secrets(scene.version("preload", 1, &[]), &[("LD_PRELOAD", "/tmp/x.so")]),
        pipeline("", 1, "sources: {}\n"),
    ];
    scene.want_now(&broken);
    for id in ["invalid", "files", "preload"] {
        let shown = scene.server.wait_for(id, "CRASHED", SOON).await;
        assert!(shown["pid"].is_null(), "{shown}");
    }
    for (id, reason) in
        [("invalid", "unknown variant"), ("changed", "unknown variant"), ("files", "is no name of a file")]
    {
        eventually_true(&format!("{id} says why"), SOON, async || {
            scene.server.lines(id).iter().any(|line| line.contains("systole-agent") && line.contains(reason))
        })
        .await;
    }
    assert_eq!(["good", "changed"].map(|id| scene.pid(id)), pids, "what ran, runs on");
    let shown = scene.server.pipeline("changed");
    assert_eq!((&shown["status"], &shown["configChecksum"]), (&json!("RUNNING"), &json!(changed.checksum)));
    assert!(!scene.path("..").join("x").exists());
    // Each is well again with its next version.
    scene.run(&["good", "invalid", "changed", "files", "preload"].map(|id| scene.version(id, 9, &[]))).await;
    scene.assert_no_violation();
}

#[tokio::test]
async fn secret_is_only_in_the_environment_and_private_files() {
    const SECRET: &str = "hunter2-of-orders";
    let mut scene = Scene::start(&[("log_level", json!("trace"))]).await;
    scene.push_is_open().await;
    let wanted = |version| with_secrets(scene.version("cma", version, &[]), &[("VF_SECRET_DB", SECRET)]);
    scene.run(&[wanted(1)]).await;
    let pid = scene.pid("cma").unwrap();
    assert!(environment_of(pid).contains(&format!("VF_SECRET_DB={SECRET}\n")));
    assert_eq!(scene.server.pipeline("cma")["configChecksum"], wanted(1).checksum);
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&command).contains(SECRET), "{process:?}");
    }
    // Another value is another start, although the configuration is the same.
    let other = with_secrets(scene.version("cma", 2, &[]), &[("VF_SECRET_DB", "another-hunter")]);
    scene.run(&[other]).await;
    assert!(environment_of(scene.pid("cma").unwrap()).contains("VF_SECRET_DB=another-hunter\n"));
    // A validation that quotes it.
    let quoting = pipeline("cma", 3, &scene.config("cma", &["invalid=${VF_SECRET_DB}"]));
    scene.want_now(&[with_secrets(quoting, &[("VF_SECRET_DB", SECRET)])]);
    eventually_true("the agent has seen it", SOON, async || {
        std::fs::read_to_string(scene.path("desired/state.json")).is_ok_and(|state| state.contains(SECRET))
    })
    .await;
    scene.run(&[wanted(4)]).await;
    let found = files_with(scene.agent.data_dir().parent().unwrap(), SECRET);
    assert!(!found.is_empty() && found.iter().all(|path| mode_of(path) == 0o600), "{found:?}");
    assert!(found.iter().all(|path| !path.ends_with("agent.log") && !path.ends_with("cma.yaml")), "{found:?}");
    let sent = json!([scene.server.heartbeats(), scene.server.lines("cma")]).to_string();
    assert!(!sent.contains(SECRET), "it is in nothing that was sent");
    scene.agent.stop().await;
    scene.assert_no_violation();
}

/// The files below a directory that contain a text.
fn files_with(directory: &Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).is_ok_and(|content| String::from_utf8_lossy(&content).contains(text)) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn other_files_and_another_log_level_mean_another_start() {
    let scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    let with = |version, content| with_file(scene.version("cma", version, &[]), "a/b/../ca.pem", content);
    let first = with(1, "one");
    scene.run(std::slice::from_ref(&first)).await;
    let content = || std::fs::read_to_string(scene.path("certs/ca.pem")).unwrap();
    assert_eq!((content().as_str(), mode_of(&scene.path("certs"))), ("one", 0o700));
    assert_eq!((mode_of(&scene.path("certs/ca.pem")), scene.names("certs")), (0o600, vec!["ca.pem".to_owned()]));
    // The same version and checksum: only the file has changed, and then only the level.
    let second = with(1, "two");
    assert_eq!(first.checksum, second.checksum);
    scene.want_now(std::slice::from_ref(&second));
    eventually_true("a process with the other file", SOON, async || scene.lives("cma") == 2).await;
    assert_eq!(content(), "two");
    let mut loud = second;
    loud.log_level = Some("debug".to_owned());
    scene.want_now(&[loud]);
    eventually_true("a process with the other level", SOON, async || {
        let pid = scene.pid("cma").filter(|_| scene.lives("cma") == 3);
        pid.is_some_and(|pid| runs(pid) && environment_of(pid).contains("VECTOR_LOG=debug\n"))
    })
    .await;
    // The file goes with its last pipeline.
    scene.want_now(&[]);
    eventually_true("the file is gone", SOON, async || scene.names("certs").is_empty()).await;
    scene.assert_no_violation();
}

#[tokio::test]
async fn maintenance_stops_pipelines_and_keeps_the_push_channel() {
    let scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    let wanted = scene.version("cma", 1, &[]);
    scene.run(std::slice::from_ref(&wanted)).await;
    let (pid, opened) = (scene.pid("cma").unwrap(), scene.server.push_opened());
    scene.server.set_config(json!({"pipelines": [], "pollIntervalMs": SLOW_MS, "secretBackend": "BUILTIN"}));
    scene.server.push(PushEvent::ConfigChanged { pipeline_id: None, reason: Some("maintenance".into()) });
    eventually_true("it is stopped", SOON, async || !runs(pid)).await;
    let begin = Instant::now();
    scene.want_now(&[wanted]);
    eventually_true("it runs again", SOON, async || scene.lives("cma") == 2).await;
    assert!(begin.elapsed() < PUSHED_WITHIN, "by the channel: {:?}", begin.elapsed());
    assert_eq!(scene.server.push_opened(), opened);
    scene.assert_no_violation();
}

#[tokio::test]
async fn change_comes_by_push_at_once_and_else_with_a_poll() {
    let mut scene = Scene::prepare(&[]).await;
    scene.want(&[], SLOW_MS);
    scene.agent.run();
    scene.push_is_open().await;
    let begin = Instant::now();
    scene.want(&[scene.version("cma", 1, &[])], SLOW_MS);
    scene.server.push(PushEvent::ConfigChanged { pipeline_id: Some("cma".into()), reason: Some("deploy".into()) });
    eventually_true("it runs", SOON, async || scene.lives("cma") == 1).await;
    assert!(begin.elapsed() < PUSHED_WITHIN, "{:?}", begin.elapsed());
    let polls = scene.server.polls();
    // The server takes less than that.
    for _ in 0..20 {
        scene.server.push(PushEvent::ConfigChanged { pipeline_id: None, reason: None });
    }
    scene.server.push(PushEvent::PollInterval { interval_ms: 2_500 });
    scene.want(&[scene.version("cmb", 1, &[])], QUICK_MS);
    eventually_true("the poll brings it", SOON, async || scene.lives("cmb") == 1).await;
    assert!(scene.server.polls() > polls, "{polls}");
    scene.assert_no_violation();
}

#[tokio::test]
async fn failing_server_changes_nothing_on_the_node() {
    let scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    scene.run(&[scene.version("cma", 1, &[])]).await;
    let pid = scene.pid("cma").unwrap();
    scene.server.fail_next("config", &[Fault::Status(503), Fault::Busy(1), Fault::Status(500), Fault::Page(200)]);
    eventually_true("the polls failed", SOON, async || scene.server.faults_left() == 0).await;
    assert!(runs(pid) && scene.lives("cma") == 1);
    // A node that was deleted: its token is refused, and its pipelines run on.
    scene.server.set_token("vf_node_default_0_0");
    scene.server.set_enrollment(403);
    scene.server.fail_next("enroll", &[Fault::Status(403), Fault::Status(401)]);
    eventually_true("it has tried to enrol", SOON, async || scene.server.faults_left() == 0).await;
    assert!(runs(pid) && scene.lives("cma") == 1);
    assert_eq!(std::fs::read_to_string(scene.path("pipelines/cma.yaml")).unwrap(), scene.config("cma", &[]));
}

#[tokio::test]
async fn restart_by_push_starts_the_process_again() {
    let scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    scene.run(&[scene.version("cma", 1, &[])]).await;
    let restart = |pipeline: Option<&str>| {
        let pipeline_id = pipeline.map(str::to_owned);
        PushEvent::Action(PushAction { action: "restart".into(), pipeline_id, ..PushAction::default() })
    };
    scene.server.push(restart(None));
    scene.server.push(PushEvent::TapStop { request_id: "unknown".into() });
    scene.server.push(restart(Some("unknown")));
    scene.server.push(restart(Some("cma")));
    eventually_true("another process", SOON, async || scene.lives("cma") == 2).await;
    scene.assert_no_violation();
}

#[tokio::test]
async fn checksum_of_another_formula_is_no_reason_not_to_run() {
    let scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    let mut wanted = scene.version("cma", 1, &[]);
    wanted.checksum = sha256("something else");
    scene.run(std::slice::from_ref(&wanted)).await;
    assert_eq!(scene.server.pipeline("cma")["configChecksum"], wanted.checksum, "the server compares its own");
}

#[tokio::test]
async fn secrets_of_an_unresolved_back_end_are_a_clear_refusal() {
    let scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    let needs = pipeline("needs", 1, &format!("{}password: SECRET[db]\n", scene.config("needs", &[])));
    let free = scene.version("free", 1, &[]);
    let config: Value = json!({
        "pipelines": [needs, free], "pollIntervalMs": QUICK_MS, "secretBackend": "AWS_SM",
        "secretBackendConfig": {"region": "eu-central-1"},
    });
    scene.server.set_config(config);
    scene.server.push(PushEvent::ConfigChanged { pipeline_id: None, reason: None });
    scene.server.wait_for("needs", "CRASHED", SOON).await;
    scene.server.wait_for("free", "RUNNING", SOON).await;
    assert_eq!(scene.lives("needs"), 0);
}
