//! What the system and other programs write about processes is bytes, and one bad name among many is
//! one pipeline's trouble.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;
use systole_tests::harness::agent::can_hide_processes;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::process::Process;
use systole_tests::harness::{AgentPipeline, AgentSetup, ApiClient, SOON, TestAgent, TestCollector, eventually_true};
use tokio::process::Command;

async fn wait_for(viewer: &ApiClient, id: &str, status: &str, words: &str) -> Value {
    let mut last = Value::Null;
    eventually_true(&format!("{id}: {status} with `{words}`"), SOON, async || {
        let answer = viewer.get(&format!("/api/v1/pipelines/{id}")).await;
        last = if answer.status == 200 { answer.json::<Value>()["nodes"][0].clone() } else { Value::Null };
        last["status"] == status && last["reason"].as_str().unwrap_or_default().contains(words)
    })
    .await;
    last
}

fn watched(id: &str, key: &'static str, value: &str) -> AgentPipeline {
    AgentPipeline { id: id.to_owned(), name: None, command: None, metrics_url: None, settings: Vec::new() }
        .with(key, value)
}

#[tokio::test]
async fn process_with_a_torn_name_and_a_pid_file_of_any_text_runs() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let viewer = collector.viewer().await;
    // The kernel cuts names after 15 bytes, here within the last letter.
    let program = collector.directory().join("fourteen-bytes\u{e9}");
    symlink("/bin/sleep", &program).unwrap();
    let mut command = Command::new(&program);
    let process = Process::start("torn", command.arg("1000"), &collector.directory().join("torn.log"));
    let pid_file = collector.directory().join("torn.pid");
    let text = [format!("{}\n", process.pid()).as_bytes(), b"/srv/r\xe9sum\xe9\n5432\n"].concat();
    std::fs::write(&pid_file, text).unwrap();
    let pipeline = watched("torn", "pid_file", &pid_file.display().to_string());
    let _agent = TestAgent::start(&collector, None, &[pipeline]).await;
    assert_eq!(wait_for(&viewer, "torn", "RUNNING", "").await["pid"], process.pid());
    let name = std::fs::read(format!("/proc/{}/comm", process.pid())).unwrap();
    assert!(std::str::from_utf8(&name).is_err(), "the name is torn: {:?}", std::ffi::OsStr::from_bytes(&name));
}

#[tokio::test]
async fn process_that_is_hidden_from_the_agent_runs() {
    if !can_hide_processes().await {
        return;
    }
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let viewer = collector.viewer().await;
    let pids = tempfile::tempdir().unwrap();
    std::fs::set_permissions(pids.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let pid_file = pids.path().join("hidden.pid");
    let pipeline = watched("hidden", "pid_file", &pid_file.display().to_string());
    let mut agent = TestAgent::prepare(&collector, AgentSetup::default(), &[pipeline]).await;
    agent.run_among_hidden(&pid_file);
    let state = wait_for(&viewer, "hidden", "RUNNING", "").await;
    assert_eq!(state["pid"].to_string(), std::fs::read_to_string(&pid_file).unwrap().trim());
    assert!(state["startedAt"].is_null(), "it cannot be known: {state}");
}

/// Answers for every unit but `bad.service`, for which it fails as systemctl does: without any answer.
const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$1" = show ] || exit 1
while [ "$1" != -- ]; do shift; done
shift
for unit; do
    [ "$unit" != bad.service ] || { echo "Unit name bad.service is neither a valid invocation ID nor unit name." >&2; exit 1; }
done
for unit; do
    printf 'LoadState=loaded\nActiveState=inactive\nSubState=dead\nMainPID=0\nResult=success\nExecMainCode=0\n\n'
done
"#;

#[tokio::test]
async fn unit_that_systemctl_refuses_leaves_the_others_their_answers() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let viewer = collector.viewer().await;
    let programs = collector.directory().join("programs");
    std::fs::create_dir(&programs).unwrap();
    std::fs::write(programs.join("systemctl"), SYSTEMCTL).unwrap();
    std::fs::set_permissions(programs.join("systemctl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let setup = AgentSetup { programs: Some(programs), ..AgentSetup::default() };
    let units = ["good", "bad", "other"].map(|unit| watched(unit, "systemd_unit", unit));
    let _agent = TestAgent::start_with(&collector, setup, &units).await;
    for unit in ["good", "other"] {
        wait_for(&viewer, unit, "STOPPED", "it has not run").await;
    }
    wait_for(&viewer, "bad", "PENDING", "Unit name bad.service is neither").await;
}

#[tokio::test]
async fn unit_names_that_systemd_refuses_are_mistakes() {
    for (unit, code) in [("vector@", 78), ("vector@.service", 78), ("a/b", 78), ("vector@eu", 0), ("vector", 0)] {
        let agent = TestAgent::of("http://c:1", "t", &[], &[watched("unit", "systemd_unit", unit)]);
        let mut command = Command::new(binary("systole-agent"));
        let output = command.arg("check-config").arg("--config").arg(agent.config_path()).output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{unit}: {stderr}");
        assert_eq!(stderr.contains("systemd_unit"), code != 0, "{unit}");
    }
}
