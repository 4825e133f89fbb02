//! Pipelines whose processes another supervisor runs: found by a file, or by their systemd unit.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;
use systole_tests::harness::agent::AgentSetup;
use systole_tests::harness::{AgentPipeline, ApiClient, SOON, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";

/// What the collector says of the pipeline on its node.
async fn state(viewer: &ApiClient) -> Value {
    let item = viewer.get_json(&format!("/api/v1/pipelines/{PIPELINE}")).await;
    item["nodes"][0].clone()
}

/// Waits until it has this status, and a reason with these words.
async fn wait_for(viewer: &ApiClient, status: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    eventually_true(&format!("{status} with `{reason}`"), SOON, async || {
        let known = viewer.get(&format!("/api/v1/pipelines/{PIPELINE}")).await.status == 200;
        last = if known { state(viewer).await } else { Value::Null };
        last["status"] == status && last["reason"].as_str().unwrap_or_default().contains(reason)
    })
    .await;
    last
}

/// Puts text in the place of a file in one step.
fn replace(path: &Path, text: &str) {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, text).expect("the file is written");
    std::fs::rename(unfinished, path).expect("the file takes its place");
}

#[tokio::test]
async fn pid_file_is_followed_over_process_restarts() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    let pid_file = collector.directory().join("orders.pid");
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let pipeline = AgentPipeline::watched(PIPELINE, &stub).with("pid_file", pid_file.display().to_string());
    let _agent = TestAgent::start(&collector, None, &[pipeline]).await;
    wait_for(&viewer, "PENDING", "does not exist").await;

    stub.start().await;
    let first = stub.life();
    replace(&pid_file, &format!("{}\n", first.pid));
    let running = wait_for(&viewer, "RUNNING", "").await;
    assert_eq!((running["pid"].as_u64(), running["restarts"].as_u64()), (Some(first.pid.into()), Some(0)), "{running}");
    let started = running["startedAt"].as_i64().unwrap();
    assert!((started - first.started_at).abs() < 2_000, "{started} is the start, {} it says itself", first.started_at);

    stub.pause_and_let_scrape().await;
    stub.kill().await;
    let crashed = wait_for(&viewer, "CRASHED", "the process is gone").await;
    assert!(crashed["pid"].is_null() && crashed["startedAt"].is_null(), "{crashed}");

    // The same endpoint, another process: it began under the agent's eyes and counts whole.
    stub.start().await;
    let second = stub.life();
    assert_ne!(first.pid, second.pid);
    replace(&pid_file, &second.pid.to_string());
    let again = wait_for(&viewer, "RUNNING", "").await;
    assert_eq!((again["pid"].as_u64(), again["restarts"].as_u64()), (Some(second.pid.into()), Some(1)), "{again}");
    let totals = stub.pause_and_let_scrape().await;
    let expected: u64 = totals.lives.iter().map(|life| life.total.events_in).sum();
    eventually_true("both lives are in the minutes", SOON, async || {
        collector.minute_sums(PIPELINE).await.events_in == expected
    })
    .await;

    stub.signal(Signal::SIGTERM);
    std::fs::remove_file(&pid_file).unwrap();
    wait_for(&viewer, "STOPPED", "the process is gone").await;
}

/// A program called systemctl that prints the content of the file `unit` in its directory.
fn fake_systemctl(directory: &Path) -> (PathBuf, PathBuf) {
    let programs = directory.join("programs");
    std::fs::create_dir(&programs).expect("the folder is made");
    let (program, unit) = (programs.join("systemctl"), programs.join("unit"));
    let script = format!("#!/bin/sh\n[ \"$1\" = show ] || exit 1\nexec /bin/cat {}\n", unit.display());
    std::fs::write(&program, script).expect("the script is written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it can be executed");
    (programs, unit)
}

fn unit(active: &str, sub: &str, pid: u32, more: &str) -> String {
    format!("LoadState=loaded\nActiveState={active}\nSubState={sub}\nMainPID={pid}\n{more}\n")
}

#[tokio::test]
async fn systemd_unit_is_followed() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let (programs, says) = fake_systemctl(collector.directory());
    replace(&says, &unit("inactive", "dead", 0, "Result=success\nExecMainCode=0\nExecMainStatus=0\nNRestarts=0"));
    // No endpoint: only the unit has a state.
    let pipeline = AgentPipeline { metrics_url: None, ..AgentPipeline::watched(PIPELINE, &stub) };
    let setup = AgentSetup { programs: Some(programs), ..AgentSetup::default() };
    let _agent = TestAgent::start_with(&collector, setup, &[pipeline.with("systemd_unit", "orders")]).await;
    wait_for(&viewer, "STOPPED", "it has not run").await;

    stub.start().await;
    let pid = stub.life().pid;
    replace(&says, &unit("active", "running", pid, "Result=success\nNRestarts=0"));
    let running = wait_for(&viewer, "RUNNING", "").await;
    assert_eq!((running["pid"].as_u64(), running["restarts"].as_u64()), (Some(pid.into()), Some(0)), "{running}");
    assert!(running["startedAt"].as_i64().is_some(), "{running}");

    replace(
        &says,
        &unit("activating", "auto-restart", 0, "Result=signal\nExecMainCode=2\nExecMainStatus=9\nNRestarts=0"),
    );
    wait_for(&viewer, "CRASHED", "killed by signal 9 (SIGKILL); systemd starts it again").await;
    stub.kill().await;
    stub.start().await;
    let pid = stub.life().pid;
    replace(&says, &unit("active", "running", pid, "Result=success\nNRestarts=1"));
    let again = wait_for(&viewer, "RUNNING", "").await;
    assert_eq!((again["pid"].as_u64(), again["restarts"].as_u64()), (Some(pid.into()), Some(1)), "{again}");

    replace(&says, &unit("failed", "failed", 0, "Result=exit-code\nExecMainCode=1\nExecMainStatus=78\nNRestarts=1"));
    wait_for(&viewer, "CRASHED", "exit code 78").await;
}

#[tokio::test]
async fn unit_without_systemd_follows_its_endpoint() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let pipeline = AgentPipeline::watched(PIPELINE, &stub).with("systemd_unit", "orders.service");
    let programs = collector.directory().join("no-programs");
    let setup = AgentSetup { programs: Some(programs), ..AgentSetup::default() };
    let _agent = TestAgent::start_with(&collector, setup, &[pipeline]).await;
    wait_for(&viewer, "PENDING", "cannot start systemctl").await;
    stub.start().await;
    wait_for(&viewer, "RUNNING", "cannot start systemctl").await;
}
