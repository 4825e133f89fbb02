//! Agents of VectorFlow report to this collector: enrolment, totals, lines and states.

use reqwest::Method;
use serde_json::{Value, json};
use systole_tests::harness::database::Database;
use systole_tests::harness::node::{Encoding, to_json};
use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::vf_node::heartbeat;
use systole_tests::harness::{
    Answer, ApiClient, DatabaseKind, NodeClient, SOON, TestCollector, VfNode, VfProcess, eventually_true,
};
use systole_tests::stub::totals::Counts;

on_each_database! {
    totals_become_minutes,
    sums_are_exact_over_sigkills,
}

const PIPELINE: &str = "orders";
const HEARTBEAT: &str = "/api/agent/heartbeat";

/// An error has VectorFlow's form, and says something.
fn assert_error(what: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let body: Value = answer.json();
    assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{what}: {body}");
}

/// The pipeline as it is on its only node.
async fn on_node(viewer: &ApiClient) -> Value {
    viewer.get_json(&format!("/api/v1/pipelines/{PIPELINE}")).await["nodes"][0].clone()
}

#[tokio::test]
async fn host_becomes_a_node_with_a_token_of_both_protocols() {
    let mut collector = TestCollector::start().await;
    let enroll = collector.create_token_with("enroll", None, &["--vectorflow"]).await;
    let client = collector.client();
    let answer = VfNode::try_enroll(&client, enroll.token.reveal(), "plant-7").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let enrolled: Value = answer.json();
    assert_eq!(enrolled["environmentName"], "default");
    let shape = |token: &str, kind: &str| {
        let parts: Vec<_> = token.split('_').collect();
        assert_eq!((parts[0], parts[1], parts[2]), ("vf", kind, "default"), "{token}");
        assert_eq!((parts.len(), parts[3].len(), parts[4].len()), (5, 16, 64), "{token}");
    };
    shape(enroll.token.reveal(), "enroll");
    let token = enrolled["nodeToken"].as_str().unwrap();
    shape(token, "node");

    let nodes = collector.viewer().await.list("/api/v1/nodes").await;
    assert_eq!((&nodes[0]["id"], &nodes[0]["name"]), (&enrolled["nodeId"], &json!("plant-7")));
    assert_eq!(nodes[0]["labels"]["vf.io/hostname"], "plant-7");

    let node = client.with_token(token);
    let beat = |client: &ApiClient| {
        let request = client.request(Method::POST, HEARTBEAT).header("content-type", "application/json");
        request.body(heartbeat(&[]).to_string())
    };
    assert_eq!(Answer::of(beat(&node)).await.status, 200);
    let of_ingress = |slug: &'static str| beat(&node).header("X-VF-Org-Slug", slug);
    assert_eq!(Answer::of(of_ingress("default")).await.status, 200);
    assert_error("another organisation", &Answer::of(of_ingress("acme")).await, 401);
    assert_error("no token", &Answer::of(beat(&client)).await, 401);
    assert_error("an unknown token", &Answer::of(beat(&client.with_token("vf_node_x"))).await, 401);
    assert_error("a reader's token", &Answer::of(beat(&collector.viewer().await)).await, 403);
    assert_error("no enrolment token", &VfNode::try_enroll(&client, "vf_enroll_00", "x").await, 401);
    assert_error("a node's token", &VfNode::try_enroll(&client, token, "x").await, 403);
    assert_error("no name", &VfNode::try_enroll(&client, enroll.token.reveal(), " ").await, 400);
    let refused = collector.try_cli(&["token", "create", "--kind", "viewer", "--vectorflow"]).await;
    assert!(!refused.status.success());
}

#[tokio::test]
async fn systole_agent_takes_a_node_over() {
    let mut collector = TestCollector::start().await;
    let node = VfNode::enroll(&collector, "n1").await;
    let mut process = VfProcess::start(PIPELINE);
    process.count(distinct_counts(2));
    node.heartbeat(&[process.running()]).await;
    // The same token, another protocol.
    let request = |seq: u64| {
        json!({
            "bootId": "01890a5d-ac96-774b-bcce-b302099a8057", "sentAt": systole_tests::clock::now_ms(),
            "reports": [systole_tests::harness::reports::report(
                seq, systole_tests::clock::now_ms(), vec![running(PIPELINE, distinct_counts(3))]
            )],
        })
    };
    let native =
        node.client().request(Method::POST, "/api/v1/agent/reports").header("content-type", "application/json");
    assert_eq!(Answer::of(native.body(request(1).to_string())).await.status, 200);
    // And back: its process is a new one.
    process.restart();
    process.count(distinct_counts(5));
    node.heartbeat(&[process.running()]).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(10));
    assert_eq!(collector.viewer().await.list("/api/v1/nodes").await.len(), 1);
}

async fn totals_become_minutes(database: DatabaseKind) {
    let mut collector = TestCollector::start_on_with(database, &["--interval", "60s"]).await;
    let node = VfNode::enroll(&collector, "n1").await;
    let viewer = collector.viewer().await;
    let mut process = VfProcess::start(PIPELINE);
    process.count(distinct_counts(1));
    let first = process.running();
    node.heartbeat(std::slice::from_ref(&first)).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1), "it started while the node was watched");
    // The answer was lost, and the agent sends it again.
    node.heartbeat(&[first]).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
    process.count(distinct_counts(2));
    node.heartbeat(&[process.failed_scrape()]).await;
    let state = on_node(&viewer).await;
    assert!(state["scrapeError"].is_string(), "{state}");
    process.count(distinct_counts(3));
    node.heartbeat(&[process.running()]).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(6), "nothing is lost, and nothing is doubled");

    process.drop_idle_sink();
    node.heartbeat(&[process.running()]).await;
    process.count(distinct_counts(4));
    node.heartbeat(&[process.running()]).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(10));

    let state = on_node(&viewer).await;
    assert_eq!(
        (&state["status"], &state["version"], &state["scrapeError"]),
        (&json!("RUNNING"), &json!(1), &Value::Null)
    );
    node.heartbeat(&[process.ended("CRASHED")]).await;
    let state = on_node(&viewer).await;
    assert_eq!((&state["status"], &state["reason"]), (&json!("CRASHED"), &json!("ERROR vector: out of memory")));
    assert_eq!(viewer.list("/api/v1/nodes").await[0]["status"], "DEGRADED");
    node.heartbeat(&[process.ended("CRASH_LOOP")]).await;
    assert_eq!(on_node(&viewer).await["status"], "CRASH_LOOP");
    node.heartbeat(&[process.ended("HIBERNATING")]).await;
    let state = on_node(&viewer).await;
    assert_eq!((&state["status"], &state["statusText"]), (&json!("UNKNOWN"), &json!("HIBERNATING")));

    // Above the old totals at once.
    process.restart();
    process.count(distinct_counts(20));
    node.heartbeat(&[process.running()]).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(30));
    assert_eq!(on_node(&viewer).await["restarts"], 1);
    node.heartbeat(&[]).await;
    let changes = viewer.list(&format!("/api/v1/status-changes?pipeline={PIPELINE}")).await;
    assert_eq!(changes.last().unwrap()["toStatus"], "STOPPED", "{changes:?}");

    let nodes = viewer.list("/api/v1/nodes").await;
    assert_eq!((&nodes[0]["agentVersion"], &nodes[0]["labels"]["site"]), (&json!("1.9.2"), &json!("lab")));
    let mut rows = collector.stop_and_open_database().await;
    assert_eq!(rows.minute_sums(PIPELINE), distinct_counts(30));
    let components = rows.component_sums(PIPELINE);
    assert_eq!(components["in"].received_bytes, distinct_counts(30).bytes_in);
    assert_eq!((components["out"].sent_events, components["out"].errors), (distinct_counts(30).events_out, 90));
    assert_eq!(rows.rows("logs"), 0, "recentLogs are only reasons");
    assert_eq!(rows.rows("node_totals"), 1);
}

async fn sums_are_exact_over_sigkills(database: DatabaseKind) {
    let mut collector = TestCollector::start_on_with(database, &["--interval", "60s"]).await;
    let mut nodes = Vec::new();
    for name in ["n1", "n2", "n3"] {
        nodes.push((VfNode::enroll(&collector, name).await, VfProcess::start(PIPELINE)));
    }
    let mut counted = 0;
    for round in 1..=9_u64 {
        for (node, process) in &mut nodes {
            counted += round;
            process.count(distinct_counts(round));
            node.heartbeat_until_accepted(&[process.running()]).await;
        }
        // The answer to one is lost with the collector, also while it writes.
        let (node, process) = &mut nodes[usize::try_from(round).unwrap() % 3];
        counted += round;
        process.count(distinct_counts(round));
        let lost = [process.running()];
        let again = node.clone();
        let sent = tokio::spawn(async move { again.heartbeat_until_accepted(&lost).await });
        collector.kill().await;
        collector.run().await;
        sent.await.unwrap();
        match round % 3 {
            0 => process.restart(),
            1 => process.drop_idle_sink(),
            _ => process.wait(5),
        }
        node.heartbeat_until_accepted(&[process.running()]).await;
        assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(counted), "round {round}");
    }
    let mut rows = collector.stop_and_open_database().await;
    assert_eq!(rows.minute_sums(PIPELINE), distinct_counts(counted));
    assert_eq!(rows.component_sums(PIPELINE)["out"].sent_bytes, distinct_counts(counted).bytes_out);
    assert_eq!(rows.rows("node_totals"), 3);
}

#[tokio::test]
async fn process_that_ran_elsewhere_begins_to_count_here() {
    let mut collector = TestCollector::start().await;
    let node = VfNode::enroll(&collector, "n1").await;
    let mut process = VfProcess::start(PIPELINE);
    process.wait(86_400);
    process.count(distinct_counts(1_000));
    node.heartbeat(&[process.running()]).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, Counts::default());
    process.count(distinct_counts(1));
    node.heartbeat(&[process.running()]).await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
}

#[tokio::test]
async fn lines_are_stored_and_are_no_sign_of_life() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let node = VfNode::enroll(&collector, "n1").await;
    let viewer = collector.viewer().await;
    let many: Vec<String> = (0..2_000).map(|number| format!("line {number}")).collect();
    let batches = json!([
        {"pipelineId": PIPELINE, "lines": ["2026-11-30T10:00:00.1Z ERROR vector: no room", "{\"level\":\"warn\",\"msg\":\"x\"}"]},
        {"pipelineId": "other", "lines": many},
    ]);
    let answer = node.logs(&batches).await;
    assert_eq!((answer.status, answer.json::<Value>()), (200, json!({"ok": true})));
    let lines = viewer.list(&format!("/api/v1/logs?pipeline={PIPELINE}")).await;
    let levels: Vec<_> = lines.iter().map(|line| (&line["level"], &line["nodeId"])).collect();
    assert_eq!(levels, [(&json!("ERROR"), &json!(node.id)), (&json!("WARN"), &json!(node.id))]);
    assert_eq!(Database::open(&collector.database()).rows("logs"), 2_002);
    // One that cannot be read costs itself.
    let answer =
        node.logs(&json!([{"pipelineId": "", "lines": ["x"]}, 7, {"pipelineId": PIPELINE, "lines": ["y", 7]}])).await;
    let refused: Value = answer.json();
    assert_eq!((answer.status, &refused["ok"], &refused["refusedCount"]), (200, &json!(true), &json!(3)), "{refused}");
    assert_eq!(Database::open(&collector.database()).rows("logs"), 2_003);
    // Lines continue, heartbeats do not.
    node.heartbeat(&[VfProcess::start(PIPELINE).running()]).await;
    eventually_true("the node is unreachable", SOON, async || {
        assert_eq!(node.logs(&json!([{"pipelineId": PIPELINE, "lines": ["z"]}])).await.status, 200);
        viewer.list("/api/v1/nodes").await[0]["status"] == "UNREACHABLE"
    })
    .await;
    node.heartbeat(&[VfProcess::start(PIPELINE).running()]).await;
    assert_eq!(viewer.list("/api/v1/nodes").await[0]["status"], "HEALTHY");
}

/// A heartbeat of a good pipeline and a victim, to be changed.
fn good_and_victim(good: &mut VfProcess, victim: &mut VfProcess) -> Value {
    good.count(distinct_counts(1));
    heartbeat(&[good.running(), victim.running()])
}

#[tokio::test]
async fn bad_item_costs_itself_alone() {
    let mut collector = TestCollector::start_with(&["--interval", "60s"]).await;
    let node = VfNode::enroll(&collector, "n1").await;
    let (mut good, mut victim) = (VfProcess::start("good"), VfProcess::start("victim"));
    victim.count(distinct_counts(1));
    node.heartbeat(&[good.running(), victim.running()]).await;
    let mut taken = 0;
    for (field, value) in [
        ("/pipelines/1", json!(7)),
        ("/pipelines/1/pipelineId", json!("")),
        ("/pipelines/1/pipelineId", json!("x".repeat(300))),
        ("/pipelines/1/pipelineId", json!("vic\ntim")),
        ("/pipelines/1/pipelineId", json!("good")),
        ("/pipelines/1/pipelineId", json!({})),
        ("/pipelines/1/status", json!(null)),
        ("/pipelines/1/version", json!("one")),
        ("/pipelines/1/pid", json!(-1)),
        ("/pipelines/1/uptimeSeconds", json!("long")),
        ("/pipelines/1/eventsIn", json!(-1)),
        ("/pipelines/1/eventsOut", json!(1.5)),
        ("/pipelines/1/bytesIn", json!(u64::MAX)),
        ("/pipelines/1/componentMetrics", json!("none")),
        ("/pipelines/1/componentMetrics/0", json!(null)),
        ("/pipelines/1/componentMetrics/0/componentId", json!("")),
        ("/pipelines/1/componentMetrics/0/receivedEvents", json!(-5)),
        ("/pipelines/1/componentMetrics/1/sentBytes", json!("many")),
        ("/pipelines/1/recentLogs", json!([1])),
        ("/hostMetrics", json!("none")),
        ("/hostMetrics/loadAvg1", json!("high")),
        ("/agentVersion", json!(7)),
        ("/labels", json!([1])),
        ("/agentHealth/uptimeSeconds", json!(-1)),
    ] {
        let mut body = good_and_victim(&mut good, &mut victim);
        *body.pointer_mut(field).unwrap_or_else(|| panic!("{field}")) = value.clone();
        let answer = node.post(HEARTBEAT, &body).await;
        assert_eq!(answer.status, 200, "{field} = {value}: {answer:?}");
        let told: Value = answer.json();
        assert_eq!((&told["ok"], &told["refusedCount"]), (&json!(true), &json!(1)), "{field} = {value}: {told}");
        assert!(told["refused"][0]["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{told}");
        taken += 1;
        assert_eq!(collector.minute_sums("good").await, distinct_counts(taken), "{field} = {value}");
        assert_eq!(collector.minute_sums("victim").await, distinct_counts(1), "{field} = {value}");
        let status = collector.viewer().await.get_json("/api/v1/pipelines/victim").await["nodes"][0]["status"].clone();
        assert_eq!(status, "RUNNING", "{field} = {value}: what was refused has not stopped");
    }
    victim.count(distinct_counts(1));
    node.heartbeat(&[good.running(), victim.running()]).await;
    assert_eq!(collector.minute_sums("victim").await, distinct_counts(2), "its totals are still known");
}

#[tokio::test]
async fn unreadable_body_is_refused_whole() {
    let mut collector = TestCollector::start_with(&["--interval", "60s"]).await;
    let node = VfNode::enroll(&collector, "n1").await;
    let mut process = VfProcess::start(PIPELINE);
    process.count(distinct_counts(1));
    node.heartbeat(&[process.running()]).await;
    let before = Database::open(&collector.database()).footprint();
    let body = heartbeat(&[process.running()]).to_string();
    let deep = b"[".repeat(100_000);
    let padded = [b" ".repeat(9 * 1024 * 1024), body.clone().into_bytes()].concat();
    for (what, body, status) in [
        ("nothing", Vec::new(), 400),
        ("no JSON", b"hello".to_vec(), 400),
        ("cut off", body.as_bytes()[..body.len() / 2].to_vec(), 400),
        ("something behind it", format!("{body}x").into_bytes(), 400),
        ("another top level", b"[]".to_vec(), 400),
        ("no pipelines", b"{}".to_vec(), 400),
        ("too deep", deep.clone(), 400),
        ("pipelines of the wrong type", br#"{"pipelines":"many"}"#.to_vec(), 400),
    ] {
        assert_error(what, &node.post_bytes(HEARTBEAT, body).await, status);
    }
    for (what, body) in [("no array", b"{}".to_vec()), ("cut off", b"[{".to_vec()), ("too deep", deep)] {
        assert_error(what, &node.post_bytes("/api/agent/logs", body).await, 400);
    }
    let packed = |body: &[u8], encoding: &'static str| {
        let request = node.client().request(Method::POST, HEARTBEAT).header("content-encoding", encoding);
        request.body(body.to_vec())
    };
    let zstd = Encoding::Zstd.pack(body.as_bytes());
    assert_error("torn zstd", &Answer::of(packed(&zstd[..zstd.len() / 2], "zstd")).await, 400);
    assert_error("an unknown encoding", &Answer::of(packed(body.as_bytes(), "br")).await, 415);
    assert_error("9 MiB", &Answer::of(packed(&Encoding::Gzip.pack(&padded), "gzip")).await, 413);
    assert_eq!(Database::open(&collector.database()).footprint(), before, "nothing was written");
    let gzip = Encoding::Gzip.pack(&to_json(&heartbeat(&[process.running()])));
    assert_eq!(Answer::of(packed(&gzip, "gzip")).await.status, 200);
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
    assert!(collector.is_alive());
}

#[tokio::test]
async fn dashboard_stream_begins_as_vectorflows() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    let mut response = viewer.request(Method::GET, "/api/sse").send().await.unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b": connected\n\n"), "{first:?}");
    // Both of one fleet are in it.
    let native = NodeClient::enroll(&collector, None, "native").await;
    let node = VfNode::enroll(&collector, "n1").await;
    assert_ne!(native.id.to_string(), node.id);
    let mut process = VfProcess::start(PIPELINE);
    process.count(distinct_counts(1));
    node.heartbeat(&[process.running()]).await;
    let mut text = String::new();
    while !(text.contains("event: metric_update")
        && text.contains("event: fleet_status")
        && text.contains("event: status_change"))
    {
        let chunk = tokio::time::timeout(SOON, response.chunk()).await.expect("in time").unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(text.contains(&node.id), "{text}");
}
