//! `make demo`: its output works when pasted, and it removes everything at the end.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::process::Process;
use systole_tests::harness::{ApiClient, Feed, SOON, eventually, eventually_true};
use tokio::process::Command;

/// The text between two others.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

#[tokio::test]
async fn demo_prints_a_working_curl_line_and_ends_with_ctrl_c() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("demo.log");
    let mut command = Command::new(binary("systole-collector"));
    // Its temporary directories are inside ours, so that the test checks no other ones.
    command.args(["demo", "--listen", "127.0.0.1:0"]).env("TMPDIR", directory.path());
    let mut demo = Process::start("demo", &mut command, &log);
    let (token, url) = eventually("the line to paste", SOON, async || {
        let text = demo.output();
        let token = between(&text, "Authorization: Bearer ", "'")?.to_owned();
        Some((token, between(&text, "' '", "'")?.to_owned()))
    })
    .await;
    let (base, query) = url.split_once("/api/v1/events").expect("the line is for the feed");
    let client = ApiClient::new(base).with_token(&token);
    let mut feed = Feed::open(&client, query.trim_start_matches('?')).await;
    for kind in ["hello", "fleet_status", "metric_update", "log_entry"] {
        feed.wait_for(kind, SOON, |event| event.kind == kind).await;
    }
    let pipeline = |id: &'static str| {
        move |event: &systole_tests::harness::FeedEvent| {
            let busy = event.data["sample"]["receivedEventsRate"].as_f64() > Some(0.0);
            event.kind == "metric_update" && event.data["pipelineId"] == id && busy
        }
    };
    feed.wait_for("events of the demo pipeline", SOON, pipeline("demo")).await;
    feed.wait_for("reports of the collector itself", SOON, pipeline("collector")).await;

    assert!(demo.output().contains(&format!("{base}/#token={token}")), "a link to the dashboard");
    life_appears(&client, &mut feed).await;

    let processes = processes_with(directory.path());
    assert!(processes.len() >= 2, "an agent and a pipeline: {processes:?}");
    demo.signal(Signal::SIGINT);
    assert_eq!(demo.wait(SOON).await.code(), Some(0));
    feed.wait_for_end(SOON).await;
    feed.assert_ids_grow();
    eventually_true("every process is gone", SOON, async || processes_with(directory.path()).is_empty()).await;
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [log], "only this test's own log is left");
}

/// The simulated nodes are marked, have a past, and things happen to them.
async fn life_appears(client: &ApiClient, feed: &mut Feed) {
    let nodes = eventually("three simulated nodes", SOON, async || {
        let nodes: Value = client.get("/api/v1/nodes?label=demo%3Asimulated").await.json();
        (nodes["items"].as_array()?.len() == 3).then_some(nodes)
    })
    .await;
    let items = nodes["items"].as_array().unwrap();
    let names: Vec<&str> = items.iter().filter_map(|node| node["name"].as_str()).collect();
    assert!(names.contains(&"edge-oslo-1") && names.contains(&"edge-bergen-1"), "{names:?}");
    let id = |name: &str| items.iter().find(|node| node["name"] == name).unwrap()["id"].as_str().unwrap().to_owned();
    let minutes = async |node: &str| {
        let path = format!("/api/v1/pipelines/orders/minutes?from=-59m&node={}", id(node));
        let minutes: Value = client.get(&path).await.json();
        minutes["items"].as_array().map_or(0, Vec::len)
    };
    eventually_true("an hour of history", SOON, async || minutes("edge-oslo-1").await >= 55).await;
    eventually_true("an hour with a hole", SOON, async || (40..55).contains(&minutes("cloud-frankfurt-1").await)).await;
    eventually_true("a graph", SOON, async || {
        let graph: Value = client.get("/api/v1/pipelines/clickstream/graph").await.json();
        graph["edges"].as_array().is_some_and(|edges| edges.len() == 4)
    })
    .await;
    feed.wait_for("a crash", SOON, |event| event.is_change(Some("clickstream"), "CRASHED")).await;
    feed.wait_for("a node that is away", SOON, |event| event.is_change(None, "UNREACHABLE")).await;
    let is_healthy = |event: &systole_tests::harness::FeedEvent| {
        event.kind == "deployment" && event.data["pipelineId"] == "orders" && event.data["phase"] == "healthy"
    };
    feed.wait_for("a rollout that proceeds", SOON, is_healthy).await;
    eventually_true("lines of several levels", SOON, async || {
        let lines: Value = client.get("/api/v1/logs?pipeline=clickstream&level=error").await.json();
        lines["items"].as_array().is_some_and(|lines| !lines.is_empty())
    })
    .await;
}

/// Command lines of all processes that name this directory.
fn processes_with(directory: &Path) -> Vec<String> {
    let name = directory.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let commands = commands.map(|command| String::from_utf8_lossy(&command).replace('\0', " "));
    commands.filter(|command| command.contains(&name)).collect()
}
