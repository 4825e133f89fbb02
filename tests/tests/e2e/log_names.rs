//! Which files an agent follows: whatever names are in a directory, and never what a link leads to.

use std::ffi::OsStr;
use std::fs::{create_dir_all, write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;
use systole_tests::harness::{AgentPipeline, StubVector, TestAgent, TestCollector};
use tempfile::TempDir;

use crate::log_scene::{PIPELINE, QUICK, append, stored, wait_for, wait_for_look};

/// An agent that follows patterns below a directory of its own.
struct Scene {
    collector: TestCollector,
    agent: TestAgent,
    logs: TempDir,
    _stub: StubVector,
}

impl Scene {
    /// `prepare` makes what is in the directory before the agent sees it.
    async fn start(patterns: &[&str], settings: &[(&'static str, Value)], prepare: impl FnOnce(&Path)) -> Self {
        let mut collector = TestCollector::start_with(&QUICK).await;
        let logs = tempfile::tempdir().expect("a directory");
        prepare(logs.path());
        let patterns: Vec<String> =
            patterns.iter().map(|pattern| logs.path().join(pattern).display().to_string()).collect();
        let mut stub = StubVector::new(collector.directory(), PIPELINE, &[]);
        stub.start().await;
        let mut pipeline = AgentPipeline::watched(PIPELINE, &stub).with("log_files", patterns.as_slice());
        for (key, value) in settings {
            pipeline = pipeline.with(key, value.clone());
        }
        let agent = TestAgent::start(&collector, None, &[pipeline]).await;
        wait_for_look(&mut collector).await;
        Scene { collector, agent, logs, _stub: stub }
    }

    fn path(&self, name: impl AsRef<Path>) -> std::path::PathBuf {
        self.logs.path().join(name)
    }

    /// Appends a line to a file and waits until the collector has it. What was written to any file before
    /// has been seen by then, unless the agent does not follow it.
    async fn say(&mut self, name: &str, line: &str) {
        append(&self.path(name), &format!("{line}\n"));
        wait_for(&mut self.collector, line).await;
    }
}

#[tokio::test]
async fn log_names_that_are_not_utf_8_are_followed_and_end_nothing() {
    let mut scene = Scene::start(&["d/*.log"], &[], |logs| create_dir_all(logs.join("d")).expect("a directory")).await;
    scene.say("d/a.log", "before").await;
    let pid = scene.agent.pid();
    write(scene.path(OsStr::from_bytes(b"d/r\xe9sum\xe9.txt")), "other\n").expect("a file");
    write(scene.path(OsStr::from_bytes(b"d/\xff\xfe")), "other\n").expect("a file");
    let cafe = scene.path(OsStr::from_bytes(b"d/caf\xe9.log"));
    append(&cafe, "coffee\n");
    wait_for(&mut scene.collector, "coffee").await;
    // Also when it is there at the start, and its place is read from the checkpoint.
    scene.agent.kill().await;
    append(&cafe, "more coffee\n");
    scene.agent.run();
    wait_for(&mut scene.collector, "more coffee").await;
    scene.say("d/a.log", "behind").await;
    assert!(scene.agent.is_alive() && scene.agent.pid() != pid);
    assert_eq!(stored(&mut scene.collector).await, ["before", "coffee", "more coffee", "behind"]);
}

/// What must never be sent, each behind a link or under another name of the agent's own file.
fn lay_traps(logs: &Path, agent: &TestAgent) {
    let data_dir = agent.data_dir();
    symlink("/etc/passwd", logs.join("passwd.log")).expect("a link");
    symlink(data_dir.join("node-token"), logs.join("token.log")).expect("a link");
    symlink(agent.config_path(), logs.join("config.log")).expect("a link");
    symlink("/", logs.join("root")).expect("a link");
    symlink(&data_dir, logs.join("data")).expect("a link");
    for (own, name) in [(data_dir.join("node-token"), "hard-token.log"), (agent.config_path(), "hard-config.log")] {
        std::fs::hard_link(own, logs.join(name)).expect("a hard link");
    }
    nix::unistd::mkfifo(&logs.join("pipe.log"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
}

async fn assert_nothing_secret(scene: &mut Scene, said: &[&str]) {
    let found = stored(&mut scene.collector).await;
    assert_eq!(found, said);
}

#[tokio::test]
async fn log_links_and_the_agents_own_files_are_never_sent() {
    let mut scene = Scene::start(&["**/*.log", "*/etc/host*"], &[], |_| {}).await;
    scene.say("a.log", "before").await;
    lay_traps(scene.logs.path(), &scene.agent);
    scene.say("b.log", "between").await;
    scene.agent.kill().await;
    scene.agent.run();
    scene.say("c.log", "behind").await;
    assert_nothing_secret(&mut scene, &["before", "between", "behind"]).await;
}

#[tokio::test]
async fn log_links_are_followed_where_the_configuration_says_so_but_not_to_the_agents_own_files() {
    let settings = [("follow_symlinks", Value::Bool(true))];
    let mut scene = Scene::start(&["logs/**/*.log"], &settings, |logs| {
        create_dir_all(logs.join("logs")).expect("a directory");
        create_dir_all(logs.join("elsewhere")).expect("a directory");
    })
    .await;
    scene.say("logs/a.log", "before").await;
    let logs = scene.path("logs");
    symlink(scene.path("elsewhere"), logs.join("inner")).expect("a link");
    symlink(&logs, scene.path("elsewhere/loop")).expect("a link");
    symlink(scene.agent.config_path(), logs.join("config.log")).expect("a link");
    symlink(scene.agent.data_dir().join("node-token"), logs.join("token.log")).expect("a link");
    symlink(scene.agent.data_dir(), logs.join("data")).expect("a link");
    scene.say("elsewhere/b.log", "through a link").await;
    scene.say("logs/c.log", "behind").await;
    assert_nothing_secret(&mut scene, &["before", "through a link", "behind"]).await;
}
