//! Updates of the agent that a VectorFlow server asks for.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use systole_shared::vectorflow::{PushAction, PushEvent};
use systole_tests::harness::tls::{Authority, TlsFront};
use systole_tests::harness::{SOON, eventually, eventually_true};
use tokio::process::Command;

use crate::upgrade::{Programs, Reply, copy_as_version, copy_program, sha256, sign};
use crate::vectorflow_scene::{QUICK_MS, Scene};

const VERSION: &str = "0.1.9";

/// A server of programs, over http and https.
struct Downloads {
    directory: tempfile::TempDir,
    authority: Authority,
    plain: String,
    front: TlsFront,
    next: PathBuf,
}

impl Downloads {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "authority");
        let next = directory.path().join("next");
        copy_as_version(&next, VERSION);
        let other = directory.path().join("vf-agent");
        std::fs::write(&other, "#!/bin/sh\necho vf-agent 1.2.3\n").unwrap();
        let programs = Programs::default();
        programs.put("/next", Reply::File(next.clone()));
        programs.put("/vf-agent", Reply::File(other));
        let plain = programs.serve().await;
        programs.put("/to-http", Reply::Redirect(format!("{plain}/next")));
        let front = TlsFront::start(&plain, &authority.sign("server"), None).await;
        Downloads { directory, authority, plain, front, next }
    }

    /// An agent with a program of its own. It trusts the server of programs.
    async fn scene(&self, settings: &[(&'static str, Value)]) -> (Scene, PathBuf) {
        let ca = json!(self.authority.certificate.display().to_string());
        let all: Vec<_> = settings.iter().cloned().chain([("ca_file", ca)]).collect();
        let scene = Scene::prepare(&all).await;
        let program = scene.directory.path().join("systole-agent");
        copy_program(&program);
        (scene, program)
    }

    async fn sum(&self, name: &str) -> String {
        sha256(&self.directory.path().join(name)).await
    }
}

/// Lets the next polls name an update.
fn want(scene: &Scene, version: &str, url: &str, checksum: &str, signature: Option<&str>) {
    let mut action = json!({"type": "self_update", "targetVersion": version, "downloadUrl": url, "checksum": checksum});
    if let Some(signature) = signature {
        action["signature"] = json!(signature);
    }
    let pipelines = [scene.version("cma", 1, &[])];
    let config = json!({"pipelines": pipelines, "pollIntervalMs": QUICK_MS, "secretBackend": "BUILTIN",
        "pushUrl": format!("{}/api/agent/push", scene.server.url()), "pendingAction": action});
    scene.server.set_config(config);
    scene.server.push(PushEvent::ConfigChanged { pipeline_id: None, reason: None });
}

fn update_errors(scene: &Scene) -> Vec<String> {
    let heartbeats = scene.server.heartbeats();
    heartbeats.iter().filter_map(|heartbeat| heartbeat["updateError"].as_str().map(str::to_owned)).collect()
}

async fn error_with(scene: &Scene, reason: &str) -> String {
    eventually(reason, SOON, async || update_errors(scene).into_iter().find(|error| error.contains(reason))).await
}

fn runs(scene: &Scene, program: &Path) -> bool {
    std::fs::read(format!("/proc/{}/exe", scene.agent.pid())).unwrap() == std::fs::read(program).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_agent_that_was_meant_replaces_this_one() {
    let downloads = Downloads::start().await;
    let (mut scene, program) = downloads.scene(&[("accept_upgrades", json!(true))]).await;
    scene.agent.run_as(Command::new(&program));
    scene.push_is_open().await;
    let (sum, of_another) = (downloads.sum("next").await, downloads.sum("vf-agent").await);
    let url = |path: &str| format!("{}{path}", downloads.front.url());
    let before = std::fs::read(&program).unwrap();
    for (version, url, sum, reason) in [
        ("0.1.2", format!("{}/next", downloads.plain), &sum, "is not https"),
        ("0.1.3", url("/to-http"), &sum, "is not https"),
        ("0.1.4", url("/next"), &"0".repeat(64), "wrong SHA-256"),
        ("1.2.3", url("/vf-agent"), &of_another, "answers --version with `vf-agent 1.2.3`"),
        ("0.1.5", url("/next"), &sum, "is version 0.1.9, expected 0.1.5"),
    ] {
        want(&scene, version, &url, sum, None);
        let error = error_with(&scene, reason).await;
        assert_eq!(update_errors(&scene).iter().filter(|other| **other == error).count(), 1, "{error}");
        assert!(std::fs::read(&program).unwrap() == before && runs(&scene, &program), "{reason}");
    }
    // The same version again, pushed and polled: it is not tried again at once.
    let errors = update_errors(&scene).len();
    want(&scene, "0.1.5", &url("/next"), &sum, None);
    let polls = scene.server.polls();
    eventually_true("two polls", SOON, async || scene.server.polls() >= polls + 2).await;
    assert_eq!(update_errors(&scene).len(), errors);

    want(&scene, VERSION, &url("/next"), &format!("sha256:{}", sum.to_uppercase()), None);
    eventually_true("the new version reports", SOON, async || scene.server.heartbeat()["agentVersion"] == VERSION)
        .await;
    assert!(runs(&scene, &downloads.next));
    scene.server.wait_for("cma", "RUNNING", SOON).await;
    assert_eq!(scene.lives("cma"), 1, "the pipeline ran on");
    scene.agent.stop().await;
    scene.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_key_the_digest_must_be_signed() {
    let downloads = Downloads::start().await;
    let directory = downloads.directory.path();
    let digest = directory.join("digest");
    let script = "openssl dgst -sha256 -binary \"$0\" > \"$1\"";
    let made = Command::new("sh").args(["-c", script]).args([&downloads.next, &digest]).status().await.unwrap();
    assert!(made.success());
    let (key, of_digest) = sign(directory, &digest, "right").await;
    let (_, of_another) = sign(directory, &digest, "wrong").await;
    let (mut scene, program) = downloads.scene(&[("accept_upgrades", json!(true)), ("update_key", json!(key))]).await;
    scene.agent.run_as(Command::new(&program));
    scene.push_is_open().await;
    let (sum, url) = (downloads.sum("next").await, format!("{}/next", downloads.front.url()));
    // By push there is no signature, as a VectorFlow server sends none.
    scene.server.push(PushEvent::Action(PushAction {
        action: "self_update".into(),
        target_version: Some("0.1.2".into()),
        download_url: Some(url.clone()),
        checksum: Some(sum.clone()),
        pipeline_id: None,
    }));
    error_with(&scene, "has no signature").await;
    scene.agent.stop().await;
    scene.agent.run_as(Command::new(&program));
    want(&scene, "0.1.3", &url, &sum, Some(&of_another));
    error_with(&scene, "wrong signature").await;
    want(&scene, VERSION, &url, &sum, Some(&of_digest));
    eventually_true("the new version reports", SOON, async || scene.server.heartbeat()["agentVersion"] == VERSION)
        .await;
    assert!(runs(&scene, &downloads.next));
}

#[tokio::test]
async fn agent_in_a_container_is_not_replaced() {
    let mut scene = Scene::prepare(&[]).await;
    scene.agent.set_variables(vec![("KUBERNETES_SERVICE_HOST", "10.0.0.1".to_owned())]);
    scene.agent.run();
    scene.push_is_open().await;
    want(&scene, VERSION, "https://127.0.0.1:1/next", &"0".repeat(64), None);
    error_with(&scene, "the agent runs in a container").await;
    assert_eq!(scene.server.heartbeat()["deploymentMode"], "DOCKER");
}
