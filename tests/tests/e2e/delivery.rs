//! How nodes receive what they should run, and what operators ask of them at once.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::sse::{Decoder, Item};
use systole_tests::harness::{Answer, ApiClient, DatabaseKind, TestCollector, eventually};
use tokio::time::Instant;

use crate::rollout_scene::{Edge, SOON, admin, apply, operator, post, start};

on_each_database! {
    desired_state_is_fetched_once_per_generation,
    pause_and_removal_reach_the_node,
    change_reaches_a_push_stream_within_two_seconds,
    agent_without_a_push_stream_learns_of_a_change_from_its_report,
    newest_push_stream_replaces_the_one_before,
    restart_and_sample_are_answered_by_the_node,
    tap_reaches_only_the_client_that_asked,
    actions_are_for_operators_and_answers_for_their_node,
    deployments_are_refused_one_by_one,
}

/// Events of a stream of one client.
pub(crate) struct Stream {
    response: reqwest::Response,
    decoder: Decoder,
    ready: std::collections::VecDeque<(String, Value)>,
}

impl Stream {
    pub(crate) async fn open(client: &ApiClient, path: &str) -> Self {
        let response = client.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { response, decoder: Decoder::default(), ready: Default::default() }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn try_next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await.expect("something comes");
            let chunk = chunk.ok().flatten()?;
            for item in self.decoder.push(&chunk).expect("events are bounded") {
                if let Item::Event { kind, data, .. } = item {
                    let data: Value = serde_json::from_str(&data).unwrap();
                    assert_eq!(data["type"], kind.as_str(), "the data repeat the type");
                    self.ready.push_back((kind, data));
                }
            }
        }
    }

    /// The next event of a type. Pings may come before it.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        loop {
            let (found, data) = self.try_next().await.unwrap_or_else(|| panic!("the stream ended before {kind}"));
            if found == kind {
                return data;
            }
            assert_eq!(found, "ping", "{data}");
        }
    }
}

async fn push(edge: &Edge) -> Stream {
    Stream::open(edge.node.client(), "/api/v1/agent/push").await
}

async fn answer(edge: &Edge, action: &Value, output: Value) -> Answer {
    let path = format!("/api/v1/agent/actions/{}", action["actionId"].as_str().unwrap());
    post(edge.node.client(), &path, &output).await
}

/// A node that runs the pipeline `orders`, so that it can be asked.
async fn running(collector: &TestCollector, name: &str) -> Edge {
    let mut edge = Edge::enroll(collector, name, &[]).await;
    edge.node.report(vec![systole_tests::harness::reports::pipeline("orders", "RUNNING")]).await;
    edge
}

async fn desired_state_is_fetched_once_per_generation(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let edge = Edge::enroll(&collector, "edge-1", &[]).await;
    let nothing = edge.desired().await;
    assert_eq!((nothing.generation, nothing.pipelines.len()), (0, 0));
    let config = format!("# {}\na: 1\n", "long ".repeat(1_000));
    apply(&admin, "orders", json!({"name": "Orders", "config": config, "logLevel": "info"})).await;
    edge.wait_for_version("orders", Some(1)).await;
    let get = || edge.node.client().request(Method::GET, "/api/v1/agent/desired");
    let plain = get().send().await.unwrap();
    assert_eq!(plain.headers()["cache-control"], "no-store");
    let tag = plain.headers()["etag"].to_str().unwrap().to_owned();
    let state: systole_shared::DesiredState = serde_json::from_slice(&plain.bytes().await.unwrap()).unwrap();
    assert_eq!(tag, format!("\"{}\"", state.generation));
    let wanted = &state.pipelines[0];
    assert_eq!((wanted.id.as_str(), wanted.name.as_str(), wanted.version), ("orders", "Orders", 1));
    assert_eq!((wanted.config.as_str(), wanted.log_level.as_deref()), (config.as_str(), Some("info")));
    assert_eq!(Answer::of(get().header("if-none-match", &tag)).await.status, 304);
    let other = Answer::of(get().header("if-none-match", "\"1\"")).await;
    assert_eq!(other.status, 200);
    let packed = get().header("accept-encoding", "gzip, zstd").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "zstd");
    let opened = zstd::decode_all(&*packed.bytes().await.unwrap()).unwrap();
    assert_eq!(opened, other.body);
    let packed = get().header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let mut opened = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed.bytes().await.unwrap()), &mut opened)
        .unwrap();
    assert_eq!(opened, other.body);
}

async fn pause_and_removal_reach_the_node(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let mut edge = Edge::enroll(&collector, "edge-1", &[]).await;
    apply(&admin, "orders", json!({"config": "a: 1\n"})).await;
    edge.wait_for_version("orders", Some(1)).await;
    let mut last = edge.desired().await.generation;
    for (method, path, expected) in [
        (Method::POST, "pause", Some(true)),
        (Method::POST, "resume", Some(false)),
        (Method::DELETE, "definition", None),
    ] {
        let answer = admin.send_empty(method, &format!("/api/v1/pipelines/orders/{path}")).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        let desired = edge.desired().await;
        assert!(desired.generation > last, "{path}: {} after {last}", desired.generation);
        last = desired.generation;
        assert_eq!(desired.pipelines.first().map(|pipeline| pipeline.paused), expected, "{path}");
        assert_eq!(edge.report().await.desired_generation, Some(last), "{path}");
    }
}

async fn change_reaches_a_push_stream_within_two_seconds(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let edge = Edge::enroll(&collector, "edge-1", &[]).await;
    let mut stream = push(&edge).await;
    let hello = stream.next("hello").await;
    assert_eq!(hello["generation"], 0);
    let begin = Instant::now();
    apply(&admin, "orders", json!({})).await;
    let desired = stream.next("desired").await;
    let taken = begin.elapsed();
    assert_eq!(desired["generation"], edge.desired().await.generation);
    // Two seconds, and room for a request and a commit on a busy machine.
    assert!(taken < Duration::from_secs(10), "{taken:?}");
}

async fn agent_without_a_push_stream_learns_of_a_change_from_its_report(database: DatabaseKind) {
    let collector = start(database).await;
    let admin = admin(&collector).await;
    let mut edge = Edge::enroll(&collector, "edge-1", &[]).await;
    assert_eq!(edge.report().await.desired_generation, None, "nothing was ever wanted");
    apply(&admin, "orders", json!({})).await;
    let generation = eventually("the answer has it", SOON, async || edge.report().await.desired_generation).await;
    assert_eq!(edge.desired().await.generation, generation);
}

async fn newest_push_stream_replaces_the_one_before(database: DatabaseKind) {
    let mut collector = start(database).await;
    let edge = Edge::enroll(&collector, "edge-1", &[]).await;
    let mut first = push(&edge).await;
    first.next("hello").await;
    let mut second = push(&edge).await;
    second.next("hello").await;
    let goodbye = first.next("goodbye").await;
    assert!(goodbye["retryMs"].as_u64().unwrap() >= 10_000, "{goodbye}");
    assert!(first.try_next().await.is_none());
    collector.stop().await;
    second.next("goodbye").await;
    assert!(second.try_next().await.is_none());
}

async fn restart_and_sample_are_answered_by_the_node(database: DatabaseKind) {
    let collector = start(database).await;
    let operator = operator(&collector).await;
    let mut edge = running(&collector, "edge-1").await;
    let id = edge.node.id;
    // Without a push stream it comes with the answer to a report.
    let path = "/api/v1/pipelines/orders/actions/restart";
    let body = json!({"node": id});
    let restarted = post(&operator, path, &body);
    let agent = async {
        let action = eventually("the action comes", SOON, async || {
            let report = vec![systole_tests::harness::reports::pipeline("orders", "RUNNING")];
            edge.node.report(report).await.actions.pop()
        })
        .await;
        let action = serde_json::to_value(action).unwrap();
        assert_eq!((&action["action"], &action["pipelineId"]), (&json!("restart"), &json!("orders")));
        assert_eq!(answer(&edge, &action, json!({"done": true})).await.status, 204);
        answer(&edge, &action, json!({"done": true})).await.problem(404);
    };
    let (restarted, ()) = tokio::join!(restarted, agent);
    assert_eq!(restarted.status, 200, "{restarted:?}");

    let mut stream = push(&edge).await;
    stream.next("hello").await;
    let path = "/api/v1/pipelines/orders/actions/sample";
    let body = json!({"node": id, "components": ["in", "out"], "limit": 1});
    let agent = async {
        let action = stream.next("action").await;
        assert_eq!(action["components"], json!(["in", "out"]));
        let event = |text: &str| json!({"at": 1, "componentId": "in", "event": text});
        let output = json!({"events": [event("{}"), event("[]")], "dropped": 3, "done": true});
        assert_eq!(answer(&edge, &action, output).await.status, 204);
    };
    let (sampled, ()) = tokio::join!(post(&operator, path, &body), agent);
    let sampled: Value = sampled.json();
    assert_eq!((sampled["events"].as_array().unwrap().len(), &sampled["dropped"]), (1, &json!(4)), "{sampled}");

    let agent = async {
        let action = stream.next("action").await;
        answer(&edge, &action, json!({"done": true, "error": "vector has no API"})).await
    };
    let (refused, _) = tokio::join!(post(&operator, path, &body), agent);
    let problem = refused.problem(409);
    assert!(problem["detail"].as_str().unwrap().ends_with("vector has no API"), "{problem}");

    let seventeen: Vec<String> = (0..17).map(|number| number.to_string()).collect();
    for (field, body) in [
        ("components", json!({"node": id, "components": []})),
        ("components", json!({"node": id, "components": seventeen})),
        ("limit", json!({"node": id, "components": ["in"], "limit": 1_001})),
        ("durationMs", json!({"node": id, "components": ["in"], "durationMs": 15_001})),
    ] {
        let problem = post(&operator, path, &body).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().starts_with(field), "{problem}");
    }
    post(&operator, "/api/v1/pipelines/bills/actions/restart", &json!({"node": id})).await.problem(404);
}

async fn tap_reaches_only_the_client_that_asked(database: DatabaseKind) {
    let mut collector = start(database).await;
    let operator = operator(&collector).await;
    let edge = running(&collector, "edge-1").await;
    let mut feed = collector.feed("").await;
    feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let mut stream = push(&edge).await;
    stream.next("hello").await;
    let path = format!("/api/v1/pipelines/orders/tap?node={}&component=in", edge.node.id);
    let mut taps = Vec::new();
    for _ in 0..3 {
        let tap = Stream::open(&operator, &path).await;
        let action = stream.next("action").await;
        assert_eq!((&action["action"], &action["component"]), (&json!("tap"), &json!("in")));
        taps.push((tap, action));
    }
    operator.get(&path).await.problem(429);
    let (mut other, other_action) = taps.pop().unwrap();
    let (mut tap, action) = taps.pop().unwrap();
    let event = json!({"at": 1, "componentId": "in", "event": "{\"secret\":1}"});
    assert_eq!(answer(&edge, &action, json!({"events": [event]})).await.status, 204);
    let seen = tap.next("tap_event").await;
    assert_eq!((&seen["componentId"], &seen["event"]), (&json!("in"), &json!("{\"secret\":1}")));
    answer(&edge, &action, json!({"dropped": 2})).await;
    assert_eq!(tap.next("tap_dropped").await["dropped"], 2);
    answer(&edge, &action, json!({"done": true, "error": "the component is gone"})).await;
    assert_eq!(tap.next("tap_stopped").await["reason"], "the component is gone");
    assert!(tap.try_next().await.is_none());
    // Its client leaves.
    let (first, first_action) = taps.pop().unwrap();
    drop(first);
    let stopped = stream.next("action").await;
    assert_eq!((&stopped["action"], &stopped["actionId"]), (&json!("stop_tap"), &first_action["actionId"]));
    answer(&edge, &first_action, json!({"done": true})).await.problem(404);
    answer(&edge, &other_action, json!({"done": true})).await;
    other.next("tap_stopped").await;
    // The same as a command.
    let agent = async {
        let action = stream.next("action").await;
        let event = json!({"at": 1, "componentId": "in", "event": "{\"n\":7}"});
        answer(&edge, &action, json!({"events": [event], "done": true})).await
    };
    let (printed, _) = tokio::join!(collector.cli(&["tap", "orders", "in", "--node", "edge-1"]), agent);
    assert_eq!(printed, "{\"n\":7}\n");
    assert!(feed.events().iter().all(|event| !event.kind.starts_with("tap")), "no one else sees it");
}

async fn actions_are_for_operators_and_answers_for_their_node(database: DatabaseKind) {
    let mut collector = start(database).await;
    collector.create_environment("other").await;
    let edge = running(&collector, "edge-1").await;
    let other = running(&collector, "edge-2").await;
    let viewer = collector.viewer().await;
    let operator = operator(&collector).await;
    let foreign = collector.create_token("operator", Some("other")).await;
    let foreign = collector.client().with_token(foreign.token.reveal());
    let id = edge.node.id;
    let tap = format!("/api/v1/pipelines/orders/tap?node={id}&component=in");
    let restart = "/api/v1/pipelines/orders/actions/restart";
    for (client, status) in [(&viewer, 403), (&foreign, 404), (edge.node.client(), 403), (&collector.client(), 401)] {
        post(client, restart, &json!({"node": id})).await.problem(status);
        client.get(&tap).await.problem(status);
    }
    for route in ["desired", "push"] {
        let path = format!("/api/v1/agent/{route}");
        for (client, status) in [(&viewer, 403), (&operator, 403), (&collector.client(), 401)] {
            client.get(&path).await.problem(status);
        }
    }
    let mut stream = push(&edge).await;
    stream.next("hello").await;
    let _tap = Stream::open(&operator, &tap).await;
    let action = stream.next("action").await;
    answer(&other, &action, json!({"events": []})).await.problem(404);
    let path = format!("/api/v1/agent/actions/{}", action["actionId"].as_str().unwrap());
    post(&operator, &path, &json!({"done": true})).await.problem(403);
    assert_eq!(answer(&edge, &action, json!({"events": []})).await.status, 204);

    let off = TestCollector::start_with_variables(database, &[("SYSTOLE_AGENT_PUSH", "false")]).await;
    let edge = Edge::enroll(&off, "edge-1", &[]).await;
    let problem = edge.node.client().get("/api/v1/agent/push").await.problem(404);
    assert!(problem["detail"].as_str().unwrap().contains("agent_push"), "{problem}");
}

async fn deployments_are_refused_one_by_one(database: DatabaseKind) {
    let mut collector = start(database).await;
    let mut edge = Edge::enroll(&collector, "edge-1", &[]).await;
    let mut feed = collector.feed("types=deployment").await;
    feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let report = |deployments: Value, node: &mut Edge| {
        let mut request = serde_json::to_value(node.node.next_request(Vec::new())).unwrap();
        request["reports"][0]["deployments"] = deployments;
        request
    };
    let good = json!({"pipelineId": "orders", "version": 1, "phase": "healthy", "runningVersion": 1});
    let bad = [
        json!({"pipelineId": "bills", "version": 1, "phase": "done"}),
        json!({"pipelineId": "", "version": 1, "phase": "healthy"}),
        json!({"pipelineId": "mail", "version": "one", "phase": "healthy"}),
        good.clone(),
    ];
    let mut all = vec![good.clone()];
    all.extend(bad.clone());
    let request = report(json!(all), &mut edge);
    let ack = edge.node.post(&request).await;
    assert_eq!(ack.refused.len(), bad.len(), "{:?}", ack.refused);
    assert!(ack.refused.iter().all(|refused| refused.detail.starts_with("deployments: ")), "{:?}", ack.refused);
    let phases = async |feed: &mut systole_tests::harness::Feed, count: usize| {
        feed.wait_until(&format!("{count} events"), SOON, |events| {
            let found = events.iter().filter(|event| event.kind == "deployment");
            let found: Vec<_> =
                found.map(|event| format!("{} {}", event.data["pipelineId"], event.data["phase"])).collect();
            (found.len() == count).then_some(found)
        })
        .await
    };
    assert_eq!(phases(&mut feed, 1).await, ["\"orders\" \"healthy\""]);
    // A list with a refused item says nothing of what it does not have.
    let request = report(json!([bad[0]]), &mut edge);
    edge.node.post(&request).await;
    let again = report(json!([good]), &mut edge);
    edge.node.post(&again).await;
    let none = report(json!([]), &mut edge);
    edge.node.post(&none).await;
    assert_eq!(phases(&mut feed, 2).await, ["\"orders\" \"healthy\"", "\"orders\" \"removed\""]);
    let mut database = collector.stop_and_open_database().await;
    assert_eq!(database.rows("deployments"), 0);
}
