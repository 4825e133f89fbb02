//! The agent for its operators: its status, its own metrics, systemd.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;
use systole_tests::harness::agent::AgentSetup;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::client::{Answer, http};
use systole_tests::harness::ports::free_address;
use systole_tests::harness::process::Process;
use systole_tests::harness::{AgentPipeline, SOON, StubVector, TestAgent, TestCollector, eventually, eventually_true};
use systole_tests::metrics_lint;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const PIPELINE: &str = "orders";

async fn ask(data_dir: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(binary("systole-agent"));
    command.env_clear().arg("status").args(flags).arg("--data-dir").arg(data_dir);
    command.output().await.expect("the program starts")
}

/// What a running agent says, or nothing when none answers.
async fn status(data_dir: &Path) -> Option<Value> {
    let output = ask(data_dir, &["--json"]).await;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("the status is JSON"))
}

async fn status_when(agent: &TestAgent, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, async || status(&agent.data_dir()).await.filter(|status| is_so(status))).await
}

fn listen_on(address: impl Into<Value>) -> AgentSetup<'static> {
    AgentSetup { settings: vec![("metrics_listen", address.into())], ..AgentSetup::default() }
}

async fn get(address: &str, page: &str) -> Option<Answer> {
    Answer::try_of(http().get(format!("http://{address}{page}"))).await.ok()
}

/// A command that prints its arguments and then waits.
fn talker(script: &str) -> AgentPipeline {
    let command = ["sh", "-c", &format!("{script}; exec sleep 1000")].map(str::to_owned).to_vec();
    AgentPipeline {
        id: PIPELINE.to_owned(),
        name: None,
        command: Some(command),
        metrics_url: None,
        settings: Vec::new(),
    }
}

#[tokio::test]
async fn status_shows_agent_pipelines_and_collector() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    let running = status_when(&agent, "everything is up", |status| {
        status["pipelines"][0]["status"] == "RUNNING" && status["collector"]["state"] == "connected"
    })
    .await;
    assert_eq!(running["agent"]["pid"], agent.pid());
    assert_eq!(running["agent"]["ready"], true);
    assert_eq!(running["pipelines"][0]["pid"], stub.life().pid);
    assert!(running["pipelines"][0]["lastScrapedAt"].as_i64() > Some(0), "{running}");
    let nodes = collector.viewer().await.list("/api/v1/nodes").await;
    assert_eq!(running["node"]["nodeId"], nodes[0]["id"]);
    assert_eq!(running["node"]["environmentName"], "default");
    let table = ask(&agent.data_dir(), &[]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    for expected in [PIPELINE, "RUNNING", "connected", &stub.life().pid.to_string()] {
        assert!(table.contains(expected), "{expected} is not in\n{table}");
    }

    collector.kill().await;
    let away = status_when(&agent, "the collector is away", |status| status["collector"]["state"] == "away").await;
    assert!(away["health"]["lastSendError"].as_str().is_some_and(|error| error.contains("cannot be reached")));
    status_when(&agent, "reports wait", |status| status["health"]["spoolReports"].as_u64() > Some(1)).await;
    collector.run().await;
    let back = status_when(&agent, "the collector is back", |status| {
        status["collector"]["state"] == "connected" && status["health"]["spoolReports"] == 0
    })
    .await;
    assert_eq!(back["health"]["reconnects"], 1);
    let viewer = collector.viewer().await;
    let id = back["node"]["nodeId"].as_str().unwrap();
    eventually_true("the collector knows of it", SOON, async || {
        let health = viewer.get_json(&format!("/api/v1/nodes/{id}")).await["health"].take();
        health["reconnects"] == 1 && health["clockSkewMs"].is_i64() && health["lastSendError"].is_string()
    })
    .await;

    agent.kill().await;
    let gone = ask(&agent.data_dir(), &[]).await;
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no agent runs"), "{gone:?}");
    agent.run();
    let again = status_when(&agent, "the next agent answers on the socket that was left", |_| true).await;
    assert_eq!(again["node"], back["node"], "known without enrolling again");
    agent.stop().await;
    assert!(!agent.data_dir().join("agent.sock").exists());
    assert_eq!(ask(&agent.data_dir(), &["--json"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn agent_serves_metrics_and_is_ready_without_a_collector() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    let pipelines = [AgentPipeline::supervised(PIPELINE, &stub)];
    let agent = TestAgent::start_with(&collector, listen_on("127.0.0.1:0"), &pipelines).await;
    let status = status_when(&agent, "the pipeline runs", |status| {
        status["pipelines"][0]["status"] == "RUNNING" && status["collector"]["state"] == "connected"
    })
    .await;
    let address = status["agent"]["metricsAddress"].as_str().expect("metrics are served").to_owned();
    let metrics = get(&address, "/metrics").await.unwrap();
    assert_eq!((metrics.status, metrics.content_type.split(';').next()), (200, Some("text/plain")));
    let text = String::from_utf8(metrics.body).unwrap();
    assert_eq!(metrics_lint::faults(&text), [""; 0]);
    for line in [
        "vf_agent_push_connected 1",
        "vf_agent_pipelines_running 1",
        "systole_agent_connected 1",
        "systole_agent_ready 1",
        "systole_agent_pipelines{status=\"RUNNING\"} 1",
        "systole_agent_pipelines{status=\"CRASHED\"} 0",
        "systole_agent_pipeline_up{pipeline=\"orders\"} 1",
        "systole_agent_lost_reports_total 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().unwrap()
    };
    for positive in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "systole_agent_report_duration_seconds_count",
        "systole_agent_scrape_duration_seconds_count",
        "systole_agent_ack_duration_seconds_sum",
        "systole_agent_reports_committed_total",
        "systole_agent_sent_bytes_total",
    ] {
        assert!(value(positive) > 0.0, "{positive} is 0");
    }
    assert_eq!(get(&address, "/healthz").await.unwrap().status, 200);
    assert_eq!(get(&address, "/nothing").await.unwrap().status, 404);

    collector.kill().await;
    status_when(&agent, "the collector is away", |status| status["collector"]["state"] == "away").await;
    let ready = get(&address, "/readyz").await.unwrap();
    assert_eq!(ready.status, 200);
    assert!(String::from_utf8_lossy(&ready.body).contains("collector: not reachable"), "{ready:?}");

    // Connections that use up the port leave the socket's free.
    let mut hoarded = Vec::new();
    for _ in 0..12 {
        hoarded.push(TcpStream::connect(&address).await.unwrap());
    }
    assert!(self::status(&agent.data_dir()).await.is_some());
    eventually_true("the hoarder is thrown out", SOON, async || {
        get(&address, "/healthz").await.is_some_and(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn metrics_port_in_use_is_opened_once_free() {
    let mut collector = TestCollector::start().await;
    let address = free_address();
    let taken = TcpListener::bind(address).await.unwrap();
    let agent = TestAgent::start_with(&collector, listen_on(address.to_string()), &[talker("echo hello")]).await;
    let status = status_when(&agent, "the pipeline runs", |status| status["pipelines"][0]["status"] == "RUNNING").await;
    assert_eq!(status["agent"]["metricsAddress"], Value::Null);
    let viewer = collector.viewer().await;
    eventually_true("reports arrive", SOON, async || viewer.list("/api/v1/logs?q=hello").await.len() == 1).await;
    drop(taken);
    status_when(&agent, "the port is taken over", |status| status["agent"]["metricsAddress"] == address.to_string())
        .await;
    assert_eq!(get(&address.to_string(), "/healthz").await.unwrap().status, 200);
}

#[tokio::test]
async fn systemd_receives_start_state_heartbeat_and_end() {
    let mut collector = TestCollector::start().await;
    let agent = TestAgent::prepare(&collector, AgentSetup::default(), &[talker("env; ulimit -Sn")]).await;
    let path = agent.data_dir().with_file_name("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut heard: Vec<String> = Vec::new();
    let mut hear = || {
        let mut buffer = [0; 1024];
        while let Ok(length) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        heard.clone()
    };
    // A shell, to start it with another limit than this test has.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 512; exec \"$0\" --config \"$1\""]).arg(binary("systole-agent"));
    command.arg(agent.config_path()).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut process = Process::start("agent", &mut command, &path.with_extension("log"));

    let said = |heard: &[String], what: &str| heard.iter().position(|line| line.contains(what));
    eventually_true("READY, and the state after it", SOON, async || {
        let heard = hear();
        let state = said(&heard, "STATUS=1 of 1 pipelines running; connected");
        said(&heard, "READY=1").is_some_and(|ready| state > Some(ready))
    })
    .await;
    let fed = |heard: &[String]| heard.iter().filter(|line| *line == "WATCHDOG=1").count();
    let before = fed(&hear());
    eventually_true("the watchdog is fed", SOON, async || fed(&hear()) >= before + 4).await;
    collector.kill().await;
    eventually_true("the collector's absence is reported", SOON, async || said(&hear(), "is not reachable").is_some())
        .await;
    collector.run().await;

    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(SOON).await.code(), Some(0), "{}", process.output());
    assert!(said(&hear(), "STOPPING=1").is_some());

    let viewer = collector.viewer().await;
    let lines = viewer.list("/api/v1/logs?limit=1000").await;
    let lines: Vec<&str> = lines.iter().filter_map(|item| item["line"].as_str()).collect();
    assert!(lines.contains(&"512"), "the child has the limit that the agent was started with: {lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("PATH=")), "{lines:?}");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert!(!lines.iter().any(|line| line.starts_with(name)), "{name} is the agent's alone: {lines:?}");
    }
}

#[tokio::test]
async fn version_names_the_build_and_completions_print() {
    let run = async |program: &str, args: &[&str]| {
        let output = Command::new(binary(program)).args(args).output().await.expect("the program starts");
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let version = run("systole-agent", &["--version"]).await;
    let build: Value = serde_json::from_str(&run("systole-agent", &["--version", "--json"]).await).unwrap();
    assert_eq!(version, format!("systole-agent {}\n", build["version"].as_str().unwrap()));
    assert!(build["rustc"].as_str().is_some_and(|rustc| rustc.starts_with("rustc ")), "{build}");
    assert!(build["target"].as_str().is_some_and(|target| target.contains('-')), "{build}");
    for program in ["systole-agent", "systole-collector"] {
        for shell in ["bash", "zsh", "fish"] {
            let script = run(program, &["completions", shell]).await;
            assert!(script.contains("check-config"), "{program} {shell}");
        }
    }
}

#[tokio::test]
async fn invalid_metrics_address_is_a_configuration_error() {
    let output = Command::new(binary("systole-agent"))
        .args(["check-config", "--url", "http://c:1", "--token", "t", "--metrics-listen", "9090"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--metrics-listen"), "{output:?}");
}
