//! A stand-in for the collector, as one agent sees it: it wants pipelines, asks for actions, and records what
//! the agent sends. For tests of the agent's side alone; it has no database and one node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use systole_shared::action::{ActionOutput, ActionRequest, AgentAction, PushMessage};
use systole_shared::desired::{AgentUpdate, ConfigFormat, DesiredPipeline, DesiredState, SecretValue};
use systole_shared::{EnvironmentId, NodeId, PipelineId};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use super::message::{body, length, read_message};
use super::ports::free_address;
use super::wait::eventually;
use crate::clock;

/// Messages that a push stream may be behind.
const PUSH_BACKLOG: usize = 64;

/// How often a push stream says that it lives.
const PING: Duration = Duration::from_millis(500);

/// The interval at which agents report.
const INTERVAL_MS: u64 = 300;

/// A running stand-in.
#[derive(Debug)]
pub struct FakeCollector {
    address: SocketAddr,
    state: Arc<State>,
    /// Accepts and holds the connections, while it runs.
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    push: broadcast::Sender<PushMessage>,
}

#[derive(Debug, Default)]
struct Inner {
    desired: DesiredState,
    /// The answer to every request.
    status: Option<&'static str>,
    /// The numbers of the reports that came, by the boots of their agents.
    seqs: BTreeMap<String, Vec<u64>>,
    /// Whether there is a push stream.
    has_push: bool,
    push_asked: usize,
    fetches: usize,
    /// For the next answer to a report.
    actions: Vec<AgentAction>,
    /// The newest of each kind, and all lines.
    report: Value,
    /// Events that pipelines received, by all reports.
    events_in: BTreeMap<String, u64>,
    removed: Vec<(String, i64)>,
    outputs: BTreeMap<Uuid, Vec<ActionOutput>>,
    /// Actions that no one waits for any more.
    abandoned: Vec<Uuid>,
    /// Everything that came, as text.
    received: String,
}

/// A pipeline that is wanted, version 1, of the engine `vector`.
pub fn wanted(id: &str, version: i64, config: &str) -> DesiredPipeline {
    DesiredPipeline {
        id: PipelineId::parse(id).expect("an id"),
        name: id.to_owned(),
        version,
        checksum: sha256(config),
        engine: "vector".to_owned(),
        config: config.to_owned(),
        format: ConfigFormat::Yaml,
        env: BTreeMap::new(),
        log_level: None,
        healthy_for_ms: 1_000,
        paused: false,
    }
}

/// SHA-256 in hexadecimal digits.
fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same pipeline with a secret in its environment.
pub fn with_secret(mut pipeline: DesiredPipeline, name: &str, value: &str) -> DesiredPipeline {
    pipeline.env.insert(name.to_owned(), SecretValue::new(value.to_owned()));
    pipeline
}

impl FakeCollector {
    /// Starts one that wants nothing.
    pub async fn start() -> Self {
        let inner = Inner { has_push: true, ..Inner::default() };
        let state = Arc::new(State { inner: Mutex::new(inner), push: broadcast::Sender::new(PUSH_BACKLOG) });
        let mut collector = FakeCollector { address: free_address(), state, task: None };
        collector.run().await;
        collector
    }

    /// Listens again at the same address.
    pub async fn run(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its port is free");
        let shared = Arc::clone(&self.state);
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        }));
    }

    /// Closes its port and all connections, like a collector that was killed.
    pub async fn stop(&mut self) {
        let task = self.task.take().expect("it runs");
        task.abort();
        let _ = task.await;
    }

    /// Answers each request but that for the push stream with this status from now on.
    pub fn answer_with(&self, status: Option<&'static str>) {
        self.state.lock().status = status;
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether it has push streams, from the next one on.
    pub fn set_push(&self, has_push: bool) {
        self.state.lock().has_push = has_push;
    }

    /// How often a push stream was asked for.
    pub fn push_asked(&self) -> usize {
        self.state.lock().push_asked
    }

    /// How often the desired state was fetched.
    pub fn fetches(&self) -> usize {
        self.state.lock().fetches
    }

    /// Wants these pipelines, and no others.
    pub fn want(&self, pipelines: &[DesiredPipeline]) {
        let mut inner = self.state.lock();
        let generation = inner.desired.generation + 1;
        inner.desired = DesiredState { generation, pipelines: pipelines.to_vec(), agent_update: None };
        drop(inner);
        let _ = self.state.push.send(PushMessage::Desired { generation });
    }

    /// Wants this version of the agent itself.
    pub fn want_agent(&self, update: AgentUpdate) {
        let mut inner = self.state.lock();
        inner.desired.generation += 1;
        inner.desired.agent_update = Some(update);
        let generation = inner.desired.generation;
        drop(inner);
        let _ = self.state.push.send(PushMessage::Desired { generation });
    }

    /// Asks for an action through the push stream, or with the next answer when there is none.
    pub fn act(&self, pipeline: &str, request: ActionRequest) -> Uuid {
        let id = Uuid::new_v4();
        self.act_as(id, pipeline, request);
        id
    }

    /// The same with an id.
    pub fn act_as(&self, action_id: Uuid, pipeline: &str, request: ActionRequest) {
        let action = AgentAction { action_id, pipeline_id: PipelineId::parse(pipeline).expect("an id"), request };
        let mut inner = self.state.lock();
        // Without a stream, as of an agent that has just started, it comes with the next answer.
        if !inner.has_push || self.state.push.send(PushMessage::Action(action.clone())).is_err() {
            inner.actions.push(action);
        }
    }

    /// No one waits for the action any more.
    pub fn abandon(&self, action: Uuid) {
        self.state.lock().abandoned.push(action);
    }

    /// The answers to an action so far.
    pub fn outputs(&self, action: Uuid) -> Vec<ActionOutput> {
        self.state.lock().outputs.get(&action).cloned().unwrap_or_default()
    }

    /// Waits for the last answer to an action.
    pub async fn last_output(&self, action: Uuid, limit: Duration) -> ActionOutput {
        eventually("the last answer", limit, async || self.outputs(action).pop().filter(|output| output.done)).await
    }

    /// The newest report.
    pub fn report(&self) -> Value {
        self.state.lock().report.clone()
    }

    /// What the newest report says of a pipeline of the centre; null when it says nothing.
    pub fn deployment(&self, id: &str) -> Value {
        find(&self.report()["deployments"], "pipelineId", id)
    }

    /// The pipeline in the newest report; null when it has none.
    pub fn pipeline(&self, id: &str) -> Value {
        find(&self.report()["pipelines"], "id", id)
    }

    /// Waits until a version is in a phase, and returns what the report says of it.
    pub async fn wait_for(&self, id: &str, version: i64, phase: &str, limit: Duration) -> Value {
        eventually(&format!("version {version} of {id} is {phase}"), limit, async || {
            let deployment = self.deployment(id);
            (deployment["version"] == version && deployment["phase"] == phase).then_some(deployment)
        })
        .await
    }

    /// Events that a pipeline has received, by all reports so far.
    pub fn events_in(&self, id: &str) -> u64 {
        self.state.lock().events_in.get(id).copied().unwrap_or_default()
    }

    /// Which pipelines were reported as removed, with their versions.
    pub fn removed(&self) -> Vec<(String, i64)> {
        self.state.lock().removed.clone()
    }

    /// The numbers of the reports that came, by the boots of their agents.
    pub fn seqs(&self) -> BTreeMap<String, Vec<u64>> {
        self.state.lock().seqs.clone()
    }

    /// Everything that came from the agent, as text.
    pub fn received(&self) -> String {
        self.state.lock().received.clone()
    }
}

fn find(list: &Value, key: &str, id: &str) -> Value {
    let items = list.as_array().into_iter().flatten();
    items.into_iter().find(|item| item[key] == id).cloned().unwrap_or_default()
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers requests of one connection.
async fn serve(mut stream: TcpStream, state: Arc<State>) {
    loop {
        let mut message = Vec::new();
        if read_message(&mut stream, &mut message).await.is_err() {
            return;
        }
        message.truncate(length(&message).unwrap_or(message.len()));
        let head = String::from_utf8_lossy(&message).lines().next().unwrap_or_default().to_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if path == "/api/v1/agent/push" {
            let has_push = {
                let mut inner = state.lock();
                inner.push_asked += 1;
                inner.has_push
            };
            if has_push {
                return push(stream, &state).await;
            }
        }
        let (status, etag, answer) = state.answer(&path, &message);
        let etag = etag.map(|etag| format!("etag: {etag}\r\n")).unwrap_or_default();
        let kind = if status.starts_with('4') { "application/problem+json" } else { "application/json" };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{etag}content-length: {}\r\n\r\n", answer.len());
        if stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).await.is_err() {
            return;
        }
    }
}

async fn push(mut stream: TcpStream, state: &State) {
    let mut messages = state.push.subscribe();
    let generation = state.lock().desired.generation;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned();
    let hello = PushMessage::Hello { generation, ping_ms: 2 * PING.as_millis() as u64 };
    let mut next = head + &event(&hello);
    while stream.write_all(next.as_bytes()).await.is_ok() {
        next = tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => event(&message),
                Err(_) => return,
            },
            () = tokio::time::sleep(PING) => event(&PushMessage::Ping { now: clock::now_ms() }),
        };
    }
}

fn event(message: &PushMessage) -> String {
    let data = serde_json::to_string(message).expect("a message is JSON");
    format!("event: {}\ndata: {data}\n\n", message.name())
}

impl State {
    fn answer(&self, path: &str, message: &[u8]) -> (&'static str, Option<String>, String) {
        let mut inner = self.lock();
        let content = body(message);
        let content = zstd::decode_all(content).unwrap_or_else(|_| content.to_vec());
        inner.received.push_str(&String::from_utf8_lossy(&content));
        let content: Value = serde_json::from_slice(&content).unwrap_or_default();
        if let Some(status) = inner.status {
            return (status, None, json!({"detail": "of the test"}).to_string());
        }
        if let Some(id) = path.strip_prefix("/api/v1/agent/actions/") {
            let id: Uuid = id.parse().expect("an id of an action");
            if inner.abandoned.contains(&id) {
                return ("404 Not Found", None, json!({"status": 404, "detail": "no such action"}).to_string());
            }
            inner.outputs.entry(id).or_default().push(serde_json::from_value(content).expect("an answer"));
            return ("204 No Content", None, String::new());
        }
        match path {
            // An agent asks for the protocol.
            "/api/v1/agent/enroll" if message.starts_with(b"GET ") => {
                ("405 Method Not Allowed", None, json!({"status": 405, "detail": "POST only"}).to_string())
            }
            "/api/v1/agent/enroll" => {
                let answer = json!({"nodeId": NodeId(Uuid::nil()), "nodeToken": "systole_node_test", "protocol": 1,
                    "environmentId": EnvironmentId(Uuid::nil()), "environmentName": "default"});
                ("200 OK", None, answer.to_string())
            }
            "/api/v1/agent/reports" => {
                let reports = content["reports"].as_array().cloned().unwrap_or_default();
                let boot = content["bootId"].as_str().unwrap_or_default().to_owned();
                let numbers = reports.iter().filter_map(|report| report["seq"].as_u64());
                inner.seqs.entry(boot).or_default().extend(numbers);
                for deployment in reports.iter().filter_map(|report| report["deployments"].as_array()).flatten() {
                    if deployment["phase"] == "removed" {
                        let id = deployment["pipelineId"].as_str().unwrap_or_default().to_owned();
                        inner.removed.push((id, deployment["version"].as_i64().unwrap_or_default()));
                    }
                }
                for pipeline in reports.iter().filter_map(|report| report["pipelines"].as_array()).flatten() {
                    let id = pipeline["id"].as_str().unwrap_or_default().to_owned();
                    let events = pipeline["sample"]["eventsIn"].as_u64().unwrap_or_default();
                    *inner.events_in.entry(id).or_default() += events;
                }
                let seq = reports.last().map_or(0, |report| report["seq"].as_u64().unwrap_or_default());
                inner.report = reports.into_iter().next_back().unwrap_or_default();
                let mut answer = json!({"receivedSeq": seq, "durableSeq": seq, "refused": [], "intervalMs": INTERVAL_MS,
                    "now": clock::now_ms(), "actions": std::mem::take(&mut inner.actions)});
                if inner.desired.generation > 0 {
                    answer["desiredGeneration"] = json!(inner.desired.generation);
                }
                ("200 OK", None, answer.to_string())
            }
            "/api/v1/agent/desired" => {
                inner.fetches += 1;
                let etag = format!("\"{}\"", inner.desired.generation);
                let known = format!("if-none-match: {etag}");
                if String::from_utf8_lossy(message).to_ascii_lowercase().contains(&known) {
                    return ("304 Not Modified", Some(etag), String::new());
                }
                let answer = serde_json::to_string(&inner.desired).expect("a state is JSON");
                ("200 OK", Some(etag), answer)
            }
            _ => ("404 Not Found", None, json!({"status": 404, "detail": "no such route"}).to_string()),
        }
    }
}
