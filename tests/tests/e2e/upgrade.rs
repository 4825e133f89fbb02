//! The agent becomes another version of itself, and its pipelines do not notice.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use systole_shared::desired::AgentUpdate;
use systole_tests::harness::agent::AgentSetup;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::fake_collector::FakeCollector;
use systole_tests::harness::process::pid;
use systole_tests::harness::tls::{Authority, TlsFront};
use systole_tests::harness::truth::{Shown, assert_lines};
use systole_tests::harness::{AgentPipeline, StubVector, TestAgent, TestCollector, eventually, eventually_true};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::sleep;

/// A start, a connection and a report.
const SOON: Duration = systole_tests::harness::SOON;
/// A report every second, for a quick test.
const QUICK: [&str; 2] = ["--interval", "1s"];
/// How long a version on trial has, in seconds.
const TRIAL: u64 = 10;

/// A node with a program of its own, which upgrades replace.
struct Scene {
    collector: TestCollector,
    agent: TestAgent,
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl Scene {
    async fn start(settings: Vec<(&'static str, Value)>, pipelines: impl Fn(&Path) -> Vec<AgentPipeline>) -> Scene {
        let collector = TestCollector::start_with(&QUICK).await;
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("systole-agent");
        copy_program(&program);
        let usual = [("accept_upgrades", Value::from(true)), ("upgrade_timeout", TRIAL.into())];
        let settings = usual
            .into_iter()
            .filter(|(key, _)| !settings.iter().any(|(other, _)| other == key))
            .chain(settings.clone());
        let setup = AgentSetup { settings: settings.collect(), ..AgentSetup::default() };
        let pipelines = pipelines(collector.directory());
        let mut agent = TestAgent::prepare(&collector, setup, &pipelines).await;
        agent.run_as(Command::new(&program));
        let scene = Scene { collector, agent, directory, program };
        scene.wait_for("the agent is connected", |status| status["collector"]["state"] == "connected").await;
        scene
    }

    /// Another program of the same version: it differs in a byte after its end.
    fn another(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        copy_program(&path);
        std::fs::File::options().append(true).open(&path).unwrap().write_all(name.as_bytes()).unwrap();
        path
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn run(&self, command: &[&str]) -> Output {
        let mut program = Command::new(binary("systole-agent"));
        program.args(command).arg("--data-dir").arg(self.agent.data_dir());
        program.output().await.expect("the program starts")
    }

    async fn upgrade(&self, source: &str, options: &[&str]) -> Output {
        self.run(&[&["upgrade", source], options].concat()).await
    }

    async fn status(&self) -> Option<Value> {
        serde_json::from_slice(&self.run(&["status", "--json"]).await.stdout).ok()
    }

    async fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SOON, async || self.status().await.filter(|status| is_so(status))).await
    }

    /// What the process runs now.
    fn running(&self) -> Vec<u8> {
        std::fs::read(format!("/proc/{}/exe", self.agent.pid())).unwrap()
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(&self.program).unwrap()
    }
}

/// The agent without its symbols, where that can be had: it is read several times.
pub(crate) fn copy_program(to: &Path) {
    let stripped = std::process::Command::new("strip").arg("-o").arg(to).arg(binary("systole-agent")).status();
    if !stripped.is_ok_and(|status| status.success()) {
        std::fs::copy(binary("systole-agent"), to).unwrap();
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn pids(status: &Value) -> Vec<u64> {
    status["pipelines"].as_array().unwrap().iter().map(|pipeline| pipeline["pid"].as_u64().unwrap_or(0)).collect()
}

fn all_run(status: &Value) -> bool {
    status["pipelines"].as_array().is_some_and(|all| all.iter().all(|pipeline| pipeline["status"] == "RUNNING"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_run_on_over_three_upgrades_and_a_failed_one() {
    const PIPELINES: usize = 10;
    let names: Vec<String> = (0..PIPELINES).map(|number| format!("orders-{number}")).collect();
    let stubs = Mutex::new(Vec::new());
    let mut scene = Scene::start(Vec::new(), |directory| {
        let pipeline = |name: &String| {
            let stub = StubVector::new(directory, name, &["--log-rate", "10", "--rate", "200", "--tick-ms", "100"]);
            let pipeline = AgentPipeline::supervised(name, &stub);
            stubs.lock().unwrap().push(stub);
            pipeline
        };
        names.iter().map(pipeline).collect()
    })
    .await;
    let stubs = stubs.into_inner().unwrap();
    let before = scene.wait_for("all pipelines run", all_run).await;
    let agent = scene.agent.pid();

    for number in 1..=3 {
        let next = scene.another(&format!("version-{number}"));
        let output = scene.upgrade(next.to_str().unwrap(), &[]).await;
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("upgraded: systole-agent 0.1.0"), "{}", text(&output));
        let status = scene.wait_for("all pipelines run", all_run).await;
        assert_eq!((scene.agent.pid(), pids(&status)), (agent, pids(&before)), "upgrade {number}");
        assert!(scene.running() == std::fs::read(&next).unwrap(), "upgrade {number}: the process runs the new program");
        assert!(status["pipelines"].as_array().unwrap().iter().all(|pipeline| pipeline["restarts"] == 0), "{status}");
    }

    // The collector does not answer the new version, as it answered the one before.
    let good = scene.content();
    let bad = scene.another("not-healthy");
    let collector = pid(scene.collector.pid());
    kill(collector, Signal::SIGSTOP).unwrap();
    let output = scene.upgrade(bad.to_str().unwrap(), &[]).await;
    kill(collector, Signal::SIGCONT).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("was not healthy: the collector accepted no report within 10 s"),
        "{}",
        text(&output)
    );
    assert!(scene.content() == good && scene.running() == good, "the version before is back");
    let status = scene.wait_for("all pipelines run", all_run).await;
    assert_eq!((scene.agent.pid(), pids(&status)), (agent, pids(&before)));

    // What was written and counted is stored to the last line and event.
    for stub in &stubs {
        stub.pause_and_let_scrape().await;
    }
    scene.agent.stop().await;
    let viewer = scene.collector.viewer().await;
    for (name, stub) in names.iter().zip(&stubs) {
        let totals = stub.totals();
        assert_eq!(totals.lives.len(), 1, "{name} was never restarted");
        let shown = Shown::by(stub);
        let mut lines = Vec::new();
        eventually_true("every line and event is stored", SOON, async || {
            lines = viewer.list_if_known(&format!("/api/v1/logs?pipeline={name}&q=line%3D&limit=1000")).await;
            lines.len() as u64 >= totals.lives[0].log_lines && scene.collector.minute_sums(name).await == shown.total()
        })
        .await;
        lines.sort_by_key(|line| line["seq"].as_i64());
        assert_lines(name, &totals, &lines);
        let changes = viewer.list(&format!("/api/v1/status-changes?pipeline={name}")).await;
        let starts = changes.iter().filter(|change| change["toStatus"] == "STARTING").count();
        // The first start is over before the first report when the machine is slow.
        assert!(starts <= 1, "no upgrade is a change of state: {changes:?}");
    }
}

#[tokio::test]
async fn pipeline_that_ends_after_an_upgrade_is_restarted_by_the_new_version() {
    let stub = Mutex::new(None);
    let scene = Scene::start(Vec::new(), |directory| {
        let new = StubVector::new(directory, "orders", &[]);
        let pipeline = AgentPipeline::supervised("orders", &new);
        *stub.lock().unwrap() = Some(new);
        vec![pipeline]
    })
    .await;
    let stub = stub.into_inner().unwrap().unwrap();
    scene.wait_for("the pipeline runs", all_run).await;
    let next = scene.another("next");
    let output = scene.upgrade(next.to_str().unwrap(), &[]).await;
    assert!(output.status.success(), "{}", text(&output));
    let first = stub.life();
    stub.control("crash?lines=3").await;
    let status = scene.wait_for("restarted", |status| all_run(status) && status["pipelines"][0]["restarts"] == 1).await;
    assert_ne!(status["pipelines"][0]["pid"].as_u64(), Some(first.pid.into()), "{status}");
    assert_eq!(stub.totals().lives.len(), 2);
    let zombie = std::fs::read_to_string(format!("/proc/{}/stat", first.pid));
    assert!(zombie.is_err(), "the ended process was waited for: {zombie:?}");
}

#[tokio::test]
async fn version_that_crashes_on_trial_gives_way_to_the_one_before() {
    let mut scene = Scene::start(Vec::new(), |_| Vec::new()).await;
    let good = scene.content();
    let bad = scene.another("crashes");
    let (data_dir, collector) = (scene.agent.data_dir(), pid(scene.collector.pid()));
    kill(collector, Signal::SIGSTOP).unwrap();
    let upgrade = async {
        let _ = scene.upgrade(bad.to_str().unwrap(), &[]).await;
    };
    let on_trial = async {
        eventually_true("the new version is on trial", SOON, async || {
            let marker: Value = std::fs::read(data_dir.join("upgrade.json"))
                .ok()
                .and_then(|json| serde_json::from_slice(&json).ok())
                .unwrap_or_default();
            marker["phase"] == "trial" && marker["starts"] == 1
        })
        .await;
    };
    tokio::select! {
        () = upgrade => panic!("the upgrade was over before it was on trial"),
        () = on_trial => {}
    }
    assert!(scene.running() != good);
    scene.agent.kill().await;
    kill(collector, Signal::SIGCONT).unwrap();
    // As the service manager does.
    scene.agent.run_as(Command::new(&scene.program));
    scene.wait_for("the version before runs", |status| status["collector"]["state"] == "connected").await;
    assert!(scene.running() == good && scene.content() == good);
    let again = scene.upgrade(scene.another("next").to_str().unwrap(), &[]).await;
    assert!(again.status.success(), "{}", text(&again));
}

/// Answers of a server of programs, by path.
#[derive(Clone, Default)]
pub(crate) struct Programs(Arc<Mutex<BTreeMap<String, Reply>>>);

#[derive(Clone)]
pub(crate) enum Reply {
    File(PathBuf),
    Redirect(String),
}

impl Programs {
    pub(crate) fn put(&self, path: &str, reply: Reply) {
        self.0.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Serves over http; a [`TlsFront`] makes it https.
    pub(crate) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let programs = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let programs = programs.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
                            return;
                        }
                    }
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let reply = programs.0.lock().unwrap().get(&path).cloned();
                    let (head, body) = match reply {
                        Some(Reply::File(file)) => {
                            let body = std::fs::read(file).unwrap();
                            (format!("200 OK\r\ncontent-length: {}", body.len()), body)
                        }
                        Some(Reply::Redirect(to)) => {
                            (format!("302 Found\r\ncontent-length: 0\r\nlocation: {to}"), Vec::new())
                        }
                        None => ("404 Not Found\r\ncontent-length: 0".to_owned(), Vec::new()),
                    };
                    let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&body).await;
                    let _ = stream.flush().await;
                    sleep(Duration::from_millis(100)).await;
                });
            }
        });
        url
    }
}

pub(crate) async fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap().to_owned()
}

/// Signs a file as docs/upgrading.md says: key, public key in base64, signature in base64.
pub(crate) async fn sign(directory: &Path, file: &Path, name: &str) -> (String, String) {
    let key = directory.join(format!("{name}.key"));
    let shell = async |script: &str| {
        let output = Command::new("sh").args(["-c", script]).arg(&key).arg(file).output().await.unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    shell("openssl genpkey -algorithm ed25519 -out \"$0\"").await;
    let public = shell("openssl pkey -in \"$0\" -pubout -outform DER | base64 -w0").await;
    let signature = shell("openssl pkeyutl -sign -rawin -inkey \"$0\" -in \"$1\" | base64 -w0").await;
    (public, signature)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_program_that_was_meant_changes_anything() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let next = directory.path().join("next");
    copy_program(&next);
    std::fs::File::options().append(true).open(&next).unwrap().write_all(b"next").unwrap();
    let (key, signature) = sign(directory.path(), &next, "right").await;
    let (_, of_another_key) = sign(directory.path(), &next, "wrong").await;
    let settings =
        vec![("update_key", Value::from(key)), ("ca_file", authority.certificate.display().to_string().into())];
    let scene = Scene::start(settings, |_| Vec::new()).await;

    let programs = Programs::default();
    let plain = programs.serve().await;
    let front = TlsFront::start(&plain, &authority.sign("server"), None).await;
    let broken = scene.script("broken", "#!/bin/sh\nexit 3\n");
    programs.put("/next", Reply::File(next.clone()));
    programs.put("/broken", Reply::File(broken.clone()));
    programs.put("/to-http", Reply::Redirect(format!("{plain}/next")));
    programs.put("/to-https", Reply::Redirect(format!("{}/next", front.url())));
    let (sum, sum_of_broken) = (sha256(&next).await, sha256(&broken).await);
    let (_, signature_of_broken) = sign(directory.path(), &broken, "broken").await;
    let url = |path: &str| format!("{}{path}", front.url());

    let before = scene.content();
    for (source, sum, signature, version, reason) in [
        (url("/next"), &"0".repeat(64), Some(&signature), None, "wrong SHA-256"),
        (url("/next"), &sum, Some(&of_another_key), None, "wrong signature"),
        (url("/next"), &sum, None, None, "has no signature"),
        (url("/to-http"), &sum, Some(&signature), None, "is not https"),
        (format!("{plain}/next"), &sum, Some(&signature), None, "is not https"),
        (url("/nowhere"), &sum, Some(&signature), None, "answered 404"),
        (url("/broken"), &sum_of_broken, Some(&signature_of_broken), None, "wrong signature"),
        (url("/next"), &sum, Some(&signature), Some("9.9.9"), "is version 0.1.0, expected 9.9.9"),
    ] {
        let mut options = vec!["--sha256", sum];
        options.extend(signature.iter().flat_map(|signature| ["--signature", signature.as_str()]));
        options.extend(version.iter().flat_map(|version| ["--version", *version]));
        let output = scene.upgrade(&source, &options).await;
        assert_eq!(output.status.code(), Some(1), "{source}: {}", text(&output));
        assert!(text(&output).contains(reason), "{source}: {reason}: {}", text(&output));
        assert!(scene.content() == before && scene.running() == before, "{reason}: nothing has changed");
        assert!(!scene.program.with_extension("new").exists() && !scene.program.with_extension("previous").exists());
    }
    let output =
        scene.upgrade(&url("/to-https"), &["--sha256", &sum, "--signature", &signature, "--version", "0.1.0"]).await;
    assert!(output.status.success(), "{}", text(&output));
    assert!(scene.running() == std::fs::read(&next).unwrap());
}

/// A copy of the agent that says it is another version: the text of its version is replaced wherever it is.
pub(crate) fn copy_as_version(to: &Path, version: &str) {
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(own.len(), version.len(), "the text has the same place");
    copy_program(to);
    let mut program = std::fs::read(to).unwrap();
    let mut at = 0;
    while let Some(found) = program[at..].windows(own.len()).position(|window| window == own.as_bytes()) {
        at += found;
        program[at..at + own.len()].copy_from_slice(version.as_bytes());
    }
    std::fs::write(to, program).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_that_the_collector_wants_is_fetched_and_run() {
    const VERSION: &str = "0.1.9";
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let (program, next) = (directory.path().join("systole-agent"), directory.path().join("next"));
    copy_program(&program);
    copy_as_version(&next, VERSION);
    let programs = Programs::default();
    programs.put("/next", Reply::File(next.clone()));
    let front = TlsFront::start(&programs.serve().await, &authority.sign("server"), None).await;
    let update = |version: &str, sum: &str| AgentUpdate {
        version: version.to_owned(),
        url: format!("{}/next", front.url()),
        sha256: sum.to_owned(),
        signature: None,
    };
    let sum = sha256(&next).await;

    let collector = FakeCollector::start().await;
    let stub = StubVector::new(directory.path(), "orders", &[]);
    let ca = authority.certificate.display().to_string();
    for (accept, version, sum, reason) in [
        (false, VERSION, sum.clone(), "accept_upgrades"),
        (true, VERSION, "0".repeat(64), "wrong SHA-256"),
        (true, "0.1.8", sum.clone(), "is version 0.1.9, expected 0.1.8"),
    ] {
        let settings = [("accept_upgrades", accept.into()), ("ca_file", ca.clone().into())];
        let mut agent = TestAgent::of(&collector.url(), "systole_enroll_test", &settings, &[]);
        agent.run_as(Command::new(&program));
        collector.want_agent(update(version, &sum));
        let refused = eventually(reason, SOON, async || {
            let deployment = collector.deployment("agent");
            deployment["reason"].as_str().unwrap_or_default().contains(reason).then_some(deployment)
        })
        .await;
        assert_eq!(refused["phase"], "rejected", "{refused}");
        agent.stop().await;
    }

    let settings = [("accept_upgrades", true.into()), ("ca_file", ca.into())];
    let pipeline = AgentPipeline::supervised("orders", &stub);
    let mut agent = TestAgent::of(&collector.url(), "systole_enroll_test", &settings, &[pipeline]);
    agent.run_as(Command::new(&program));
    collector.want_agent(update(VERSION, &sum));
    eventually_true("the agent reports the new version", SOON, async || {
        collector.report()["agent"]["version"] == VERSION
    })
    .await;
    stub.wait_for("the pipeline lives", |totals| totals.current()?.address).await;
    assert_eq!(stub.totals().lives.len(), 1, "it was started once");
    assert!(std::fs::read(format!("/proc/{}/exe", agent.pid())).unwrap() == std::fs::read(&next).unwrap());
    agent.stop().await;
}

#[tokio::test]
async fn upgrade_is_refused_with_a_reason() {
    let scene = Scene::start(vec![("accept_upgrades", false.into())], |_| Vec::new()).await;
    let next = scene.another("next");
    let refused = scene.upgrade(next.to_str().unwrap(), &[]).await;
    assert!(text(&refused).contains("accept_upgrades is false"), "{}", text(&refused));

    let scene = Scene::start(Vec::new(), |_| Vec::new()).await;
    let before = scene.content();
    for (script, reason) in [
        ("#!/bin/sh\nexit 3\n", "does not answer --version"),
        ("#!/bin/sh\necho vector 0.58.0\n", "expected `systole-agent VERSION`"),
    ] {
        let broken = scene.script("broken", script);
        let output = scene.upgrade(broken.to_str().unwrap(), &[]).await;
        assert!(!output.status.success() && text(&output).contains(reason), "{reason}: {}", text(&output));
        assert!(scene.content() == before && scene.running() == before, "{reason}");
    }
    let output = scene.upgrade("/nowhere/agent", &[]).await;
    assert!(text(&output).contains("cannot read /nowhere/agent"), "{}", text(&output));
    let output = scene.upgrade("https://127.0.0.1:1/agent", &[]).await;
    assert!(text(&output).contains("needs --sha256"), "{}", text(&output));
    let nobody = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("systole-agent"));
    let output = command.args(["upgrade", "x", "--data-dir"]).arg(nobody.path()).output().await.unwrap();
    assert!(text(&output).contains("no agent runs with data_dir"), "{}", text(&output));
}
