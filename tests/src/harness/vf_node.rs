//! A node of VectorFlow's agent, one heartbeat at a time. [`super::GoAgent`] runs by itself; here a test says what
//! happens, and when.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::client::{Answer, ApiClient};
use super::collector::TestCollector;
use crate::stub::totals::Counts;

/// Between two attempts while the collector is away.
const RETRY: Duration = Duration::from_millis(20);

/// An enrolled node.
#[derive(Clone, Debug)]
pub struct VfNode {
    client: ApiClient,
    /// The node.
    pub id: String,
}

impl VfNode {
    /// Creates an enrolment token in VectorFlow's shape and enrols a node.
    pub async fn enroll(collector: &TestCollector, name: &str) -> Self {
        let token = collector.create_token_with("enroll", None, &["--vectorflow"]).await;
        let answer = Self::try_enroll(&collector.client(), token.token.reveal(), name).await;
        assert_eq!(answer.status, 200, "enrol: {answer:?}");
        let answer: Value = answer.json();
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"));
        VfNode { client: collector.client().with_token(text("nodeToken")), id: text("nodeId").to_owned() }
    }

    /// Requests enrolment; any response.
    pub async fn try_enroll(client: &ApiClient, token: &str, name: &str) -> Answer {
        let body = json!({
            "token": token, "hostname": name, "os": "linux/amd64", "agentVersion": "1.9.2",
            "vectorVersion": "vector 0.54.0", "labels": {"vf.io/hostname": name},
        });
        let request = client.request(Method::POST, "/api/agent/enroll");
        Answer::of(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// A client with this node's token.
    pub fn client(&self) -> &ApiClient {
        &self.client
    }

    /// Sends a heartbeat with these pipelines; asserts that it is taken whole.
    pub async fn heartbeat(&self, pipelines: &[Value]) {
        let answer = self.post("/api/agent/heartbeat", &heartbeat(pipelines)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json::<Value>(), json!({"ok": true}));
    }

    /// Sends a heartbeat until it is answered: one without a response, or with a 5xx, is sent again unchanged.
    pub async fn heartbeat_until_accepted(&self, pipelines: &[Value]) {
        let body = heartbeat(pipelines);
        loop {
            match Answer::try_of(self.request("/api/agent/heartbeat", body.to_string().into_bytes())).await {
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
                Err(_) => {}
            }
            sleep(RETRY).await;
        }
    }

    /// Sends lines; any response.
    pub async fn logs(&self, batches: &Value) -> Answer {
        self.post("/api/agent/logs", batches).await
    }

    /// Sends a body to a route; any response.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, body.to_string().into_bytes()).await
    }

    /// The same of bytes.
    pub async fn post_bytes(&self, path: &str, body: Vec<u8>) -> Answer {
        Answer::of(self.request(path, body)).await
    }

    fn request(&self, path: &str, body: Vec<u8>) -> reqwest::RequestBuilder {
        self.client.request(Method::POST, path).header("content-type", "application/json").body(body)
    }
}

/// A heartbeat of these pipelines.
pub fn heartbeat(pipelines: &[Value]) -> Value {
    json!({
        "pipelines": pipelines,
        "hostMetrics": {"memoryTotalBytes": 8_000_000_000_u64, "loadAvg1": 0.5},
        "agentVersion": "1.9.2",
        "vectorVersion": "vector 0.54.0",
        "deploymentMode": "STANDALONE",
        "runningAs": "vector",
        "labels": {"site": "lab"},
        "agentHealth": {
            "pollErrorsTotal": 0, "pushReconnectsTotal": 0, "heartbeatErrorsTotal": 0, "pushConnected": true,
            "pipelinesRunning": pipelines.len(), "uptimeSeconds": 60,
        },
    })
}

/// A Vector process: its totals since its start.
#[derive(Clone, Debug)]
pub struct VfProcess {
    pipeline: String,
    pid: u32,
    uptime_seconds: u64,
    totals: Counts,
    /// The totals of the sink's events, which Vector drops when they are idle.
    sink_is_dropped: bool,
}

impl VfProcess {
    /// A process that has just started.
    pub fn start(pipeline: &str) -> Self {
        VfProcess {
            pipeline: pipeline.to_owned(),
            pid: next_pid(),
            uptime_seconds: 0,
            totals: Counts::default(),
            sink_is_dropped: false,
        }
    }

    /// Another process in its place: its totals begin at zero.
    pub fn restart(&mut self) {
        *self = VfProcess::start(&self.pipeline);
    }

    /// Counts more.
    pub fn count(&mut self, more: Counts) {
        self.sink_is_dropped = false;
        self.totals = [self.totals, more].into_iter().sum();
    }

    /// Vector drops the counters of the sink, which were idle for 300 s: they begin at zero again.
    pub fn drop_idle_sink(&mut self) {
        let Counts { events_in, bytes_in, .. } = self.totals;
        self.totals = Counts { events_in, bytes_in, ..Counts::default() };
        self.sink_is_dropped = true;
    }

    /// Grows older.
    pub fn wait(&mut self, seconds: u64) {
        self.uptime_seconds += seconds;
    }

    /// The process as it is running, with the totals of its scrape. A field that is zero is left out.
    pub fn running(&mut self) -> Value {
        let totals = self.totals;
        let mut running = self.failed_scrape();
        extend(
            &mut running,
            [
                ("eventsIn", totals.events_in),
                ("eventsOut", totals.events_out),
                ("errorsTotal", totals.errors),
                ("eventsDiscarded", totals.discarded),
                ("bytesIn", totals.bytes_in),
                ("bytesOut", totals.bytes_out),
            ],
        );
        let mut source = json!({
            "componentId": "in", "componentKind": "source",
            "receivedEvents": totals.events_in, "sentEvents": totals.events_in,
        });
        extend(&mut source, [("receivedBytes", totals.bytes_in)]);
        let mut sink = json!({
            "componentId": "out", "componentKind": "sink",
            "receivedEvents": totals.events_out, "sentEvents": totals.events_out,
        });
        extend(
            &mut sink,
            [("sentBytes", totals.bytes_out), ("errorsTotal", totals.errors), ("discardedEvents", totals.discarded)],
        );
        let components = if self.sink_is_dropped { json!([source]) } else { json!([source, sink]) };
        running["componentMetrics"] = components;
        running
    }

    /// The process as it is running, without a scrape.
    pub fn failed_scrape(&mut self) -> Value {
        self.uptime_seconds += 1;
        json!({
            "pipelineId": self.pipeline, "version": 1, "status": "RUNNING", "pid": self.pid,
            "uptimeSeconds": self.uptime_seconds, "recentLogs": ["INFO vector: still here"], "configChecksum": "c0",
        })
    }

    /// The pipeline after the end of its process.
    pub fn ended(&self, status: &str) -> Value {
        json!({
            "pipelineId": self.pipeline, "version": 1, "status": status, "recentLogs": ["ERROR vector: out of memory"],
        })
    }
}

/// Adds the numbers that are not zero.
fn extend<const N: usize>(object: &mut Value, numbers: [(&str, u64); N]) {
    let fields: &mut Map<String, Value> = object.as_object_mut().expect("it is an object");
    fields.extend(
        numbers.into_iter().filter(|(_, value)| *value > 0).map(|(name, value)| (name.to_owned(), value.into())),
    );
}

fn next_pid() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(1_000);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
