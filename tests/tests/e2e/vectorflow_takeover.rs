//! The agent in place of VectorFlow's own: its environment, its data directory, and the way back; and how the agent
//! finds out which kind of server it has.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::json;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::client::http;
use systole_tests::harness::process::Process;
use systole_tests::harness::vectorflow_server::{ENROLL_TOKEN, Fault, NODE_TOKEN};
use systole_tests::harness::{
    AgentSetup, SOON, TestAgent, TestCollector, VectorFlowServer, eventually_true, ports::free_address,
};
use tokio::process::Command;

/// A process with nothing but VectorFlow's environment.
fn agent_of(data_dir: &Path, server: &VectorFlowServer, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary("systole-agent"));
    command.env("VF_URL", format!("{}/", server.url())).env("VF_DATA_DIR", data_dir).env("VF_METRICS_PORT", "0");
    command.envs(more.iter().copied());
    command
}

async fn output_of(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("systole-agent"));
    command.env_clear().envs(variables.iter().copied()).args(arguments);
    command.output().await.expect("the agent runs")
}

fn content_and_mode(path: &Path) -> (String, u32) {
    let mode = std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    (std::fs::read_to_string(path).expect("it can be read"), mode)
}

#[tokio::test]
async fn data_directory_of_the_go_agent_is_taken_over_and_given_back() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let data_dir = directory.path().join("vf-agent");
    for folder in ["pipelines", "certs"] {
        std::fs::create_dir_all(data_dir.join(folder)).unwrap();
    }
    // As an editor or a template may have left it.
    std::fs::write(data_dir.join("node-token"), format!("{NODE_TOKEN}\n")).unwrap();
    std::fs::set_permissions(data_dir.join("node-token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let log = directory.path().join("agent.log");
    let labels = [("VF_NODE_LABELS", "site=lab, broken, empty=,formula=a=b"), ("SYSTOLE_LOG_LEVEL", "debug")];
    let mut agent = Process::start("agent", &mut agent_of(&data_dir, &server, &labels), &log);
    eventually_true("a heartbeat", SOON, async || !server.heartbeats().is_empty()).await;
    let heartbeat = server.heartbeat();
    let labels = &heartbeat["labels"];
    assert_eq!((&labels["site"], &labels["empty"], &labels["formula"]), (&json!("lab"), &json!(""), &json!("a=b")));
    assert_eq!((&labels["vf.io/os"], &labels["broken"]), (&json!("linux"), &json!(null)));
    assert!(heartbeat["agentHealth"]["uptimeSeconds"].is_u64(), "{heartbeat}");
    assert!(heartbeat["hostMetrics"]["memoryTotalBytes"].as_f64() > Some(0.0), "{heartbeat}");
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(agent.wait(SOON).await.code(), Some(0));
    assert!(server.enrolled().is_empty(), "the same node");
    let (token, mode) = content_and_mode(&data_dir.join("node-token"));
    assert_eq!((token.trim(), mode), (NODE_TOKEN, 0o600));
    assert!(server.violations().is_empty(), "{:?}", server.violations());
    // What the Go agent reads is as it was: it knows no more names than these.
    for folder in ["pipelines", "certs"] {
        assert_eq!(std::fs::read_dir(data_dir.join(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[tokio::test]
async fn new_node_leaves_a_token_that_the_go_agent_reads() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let data_dir = directory.path().join("data");
    let mut command = agent_of(&data_dir, &server, &[("VF_TOKEN", ENROLL_TOKEN), ("VF_LOG_LEVEL", "loud")]);
    let _agent = Process::start("agent", &mut command, &directory.path().join("agent.log"));
    eventually_true("a heartbeat", SOON, async || !server.heartbeats().is_empty()).await;
    assert_eq!(server.enrolled().len(), 1);
    assert_eq!(content_and_mode(&data_dir.join("node-token")), (NODE_TOKEN.to_owned(), 0o600));
    let mode = std::fs::metadata(&data_dir).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[tokio::test]
async fn command_line_is_that_of_the_go_agent() {
    for flag in ["-v", "--version"] {
        let output = output_of(&[], &[flag]).await;
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("systole-agent ") && text.lines().count() == 1, "{text}");
    }
    for flag in ["-h", "--help"] {
        assert_eq!(output_of(&[], &[flag]).await.status.code(), Some(0), "{flag}");
    }
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let good = [("VF_URL", "http://127.0.0.1:9"), ("VF_TOKEN", ENROLL_TOKEN), ("VF_DATA_DIR", data_dir)];
    for (name, value) in [
        ("VF_POLL_INTERVAL", "0s"),
        ("VF_POLL_INTERVAL", "-5s"),
        ("VF_POLL_INTERVAL", "soon"),
        ("VF_LOG_FLUSH_INTERVAL", "2"),
        ("VF_METRICS_PORT", "70000"),
        ("VF_UPDATE_PUBLIC_KEY", "key"),
        ("VF_URL", "collector:80"),
        ("VF_TOKEN", ""),
    ] {
        let mut variables: Vec<_> = good.into_iter().filter(|(other, _)| *other != name).collect();
        variables.push((name, value));
        let output = output_of(&variables, &[]).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert_ne!(output.status.code(), Some(0), "{name}={value}");
        assert_eq!(text.lines().count(), 1, "{name}={value}: {text}");
        let named = name == "VF_TOKEN" || text.contains(name);
        assert!(named && !text.contains(ENROLL_TOKEN), "{name}={value}: {text}");
    }
}

/// What the agent keeps of the protocol of its collector.
fn remembered(agent: &TestAgent) -> Option<String> {
    let text = std::fs::read_to_string(agent.data_dir().join("protocol")).ok()?;
    text.split_once(' ').map(|(protocol, _)| protocol.to_owned())
}

#[tokio::test]
async fn agent_finds_out_which_kind_of_server_it_has() {
    let collector = TestCollector::start().await;
    let native = TestAgent::start_with(&collector, AgentSetup::default(), &[]).await;
    eventually_true("a native collector", SOON, async || remembered(&native).as_deref() == Some("native")).await;

    let server = VectorFlowServer::start().await;
    // Nothing of this decides anything.
    server.fail_next(
        "config",
        &[Fault::Page(401), Fault::Status(503), Fault::Page(404), Fault::Busy(0), Fault::Page(200)],
    );
    let settings = [("cloud_labels", json!(false))];
    let mut agent = TestAgent::of(&server.url(), ENROLL_TOKEN, &settings, &[]);
    agent.run();
    eventually_true("a heartbeat", SOON, async || !server.heartbeats().is_empty()).await;
    eventually_true("it is kept", SOON, async || remembered(&agent).as_deref() == Some("vectorflow")).await;
    assert_eq!(server.faults_left(), 0);
    agent.stop().await;

    // The next start does not ask: it sends as soon as the server is there.
    server.fail_next("config", &[Fault::Page(404)]);
    let before = server.heartbeats().len();
    agent.run();
    eventually_true("a heartbeat again", SOON, async || server.heartbeats().len() > before).await;
    assert_eq!(server.enrolled().len(), 1);
}

#[tokio::test]
async fn protocol_of_the_setting_is_spoken_without_a_question() {
    let server = VectorFlowServer::start().await;
    let settings = [("cloud_labels", json!(false)), ("protocol", json!("vectorflow"))];
    let mut agent = TestAgent::of(&server.url(), ENROLL_TOKEN, &settings, &[]);
    agent.run();
    eventually_true("a heartbeat", SOON, async || !server.heartbeats().is_empty()).await;
    assert_eq!(remembered(&agent), None);
}

#[tokio::test]
async fn own_metrics_have_the_names_of_the_go_agent() {
    let (server, directory) = (VectorFlowServer::start().await, tempfile::tempdir().unwrap());
    let port = free_address().port().to_string();
    let variables = [("VF_TOKEN", ENROLL_TOKEN), ("VF_METRICS_PORT", port.as_str())];
    let mut command = agent_of(&directory.path().join("data"), &server, &variables);
    let _agent = Process::start("agent", &mut command, &directory.path().join("agent.log"));
    eventually_true("a heartbeat", SOON, async || !server.heartbeats().is_empty()).await;
    let url = format!("http://127.0.0.1:{port}/metrics");
    let page = http().get(url).send().await.unwrap().text().await.unwrap();
    for (kind, names) in [
        ("counter", &["poll_errors_total", "push_reconnects_total", "heartbeat_errors_total"][..]),
        (
            "gauge",
            &[
                "poll_duration_seconds",
                "push_connected",
                "heartbeat_duration_seconds",
                "pipelines_running",
                "uptime_seconds",
            ][..],
        ),
    ] {
        for name in names {
            assert!(page.contains(&format!("# TYPE vf_agent_{name} {kind}\nvf_agent_{name} ")), "{name}\n{page}");
        }
    }
}
