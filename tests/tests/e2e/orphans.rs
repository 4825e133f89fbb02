//! An agent that is the first process of a container reaps what the kernel makes its children.

use serde_json::json;
use systole_tests::harness::agent::can_be_first_process;
use systole_tests::harness::{AgentPipeline, AgentSetup, SOON, TestAgent, TestCollector, eventually, eventually_true};

/// State and parent of every process that can be seen: `/proc/PID/stat` with the id before it.
fn processes() -> Vec<(u32, String, u32)> {
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let process = |pid| {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        Some((pid, fields.next()?.to_owned(), fields.next()?.parse().ok()?))
    };
    pids.filter_map(process).collect()
}

fn shell(id: &str, script: &str) -> AgentPipeline {
    let command = Some(vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()]);
    AgentPipeline { id: id.to_owned(), name: None, command, metrics_url: None, settings: vec![("validate", json!([]))] }
}

#[tokio::test]
async fn orphans_are_reaped_while_own_children_keep_their_exit_codes() {
    if !can_be_first_process().await {
        return;
    }
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let ended = collector.directory().join("ended");
    // Each leaves its session and loses its parent, as a daemon does.
    let orphan = format!("(setsid sh -c 'sleep 0.2; echo x >> {}' &)", ended.display());
    let leaves = shell("leaves", &format!("for i in 1 2 3 4 5 6 7 8; do {orphan}; done; exec sleep 1000"));
    let crashes = shell("crashes", "exit 7");
    let mut agent = TestAgent::prepare(&collector, AgentSetup::default(), &[leaves, crashes]).await;
    agent.run_as_first_process();
    let first = eventually("the first process", SOON, async || {
        processes().into_iter().find(|(_, _, parent)| *parent == agent.pid()).map(|(pid, ..)| pid)
    })
    .await;
    eventually_true("all orphans have ended", SOON, async || {
        std::fs::read_to_string(&ended).is_ok_and(|lines| lines.lines().count() == 8)
    })
    .await;
    let zombies = || processes().into_iter().filter(|(_, state, parent)| state == "Z" && *parent == first).count();
    eventually_true("no zombie is left", SOON, async || zombies() == 0).await;
    let viewer = collector.viewer().await;
    eventually_true("the exit code is known after some restarts", SOON, async || {
        let known = viewer.get("/api/v1/pipelines/crashes").await;
        let node = &known.json::<serde_json::Value>()["nodes"][0];
        node["reason"] == "exit code 7" && node["restarts"].as_u64() >= Some(2)
    })
    .await;
}
