//! A stand-in for a VectorFlow server, as strict as the real one: a body that breaks a rule of the protocol, or a
//! request beyond the limits per minute, is refused and recorded. It computes deltas as that server does.
//!
//! For tests of the agent's side alone; it has one node.

mod answer;
mod rules;
mod sums;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use systole_shared::vectorflow::PushEvent;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use self::rules::Rates;
use self::sums::Sums;
use super::message::{length, read_message};
use super::wait::eventually;
use crate::stub::totals::Counts;

/// Messages that a push channel may be behind.
const PUSH_BACKLOG: usize = 64;

/// Between two keepalive comments of a push channel; the real server has 30 s.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// The token that hosts enrol with.
pub const ENROLL_TOKEN: &str =
    "vf_enroll_default_0123456789abcdef_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The token of its node.
pub const NODE_TOKEN: &str =
    "vf_node_default_fedcba9876543210_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Something that goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out, and the connection ends without an answer.
    LostAnswer,
    /// It is answered with this status and an error of the server's own.
    Status(u16),
    /// It is answered with 429 and asks to wait for so many seconds.
    Busy(u64),
    /// A proxy in front of the server answers with this status and a page of its own.
    Page(u16),
}

/// A request that the server refused because it broke a rule.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The status of the answer.
    pub status: u16,
    /// The path.
    pub path: String,
    /// The rule.
    pub rule: String,
}

/// A running stand-in.
#[derive(Debug)]
pub struct VectorFlowServer {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    push: broadcast::Sender<PushEvent>,
}

#[derive(Debug)]
struct Inner {
    /// Connections end without an answer.
    is_down: bool,
    /// The status of an answer to an enrolment.
    enrollment: u16,
    enrolled: Vec<Value>,
    /// The token of the node.
    token: String,
    config: Value,
    polls: usize,
    push_opened: usize,
    has_push: bool,
    heartbeats: Vec<Value>,
    sums: Sums,
    lines: BTreeMap<String, Vec<String>>,
    /// Pipelines that the server does not know: their lines are refused.
    unknown: Vec<String>,
    /// Pipelines whose state is refused, with the whole heartbeat.
    refused_states: Vec<String>,
    /// Longest body of log lines.
    max_log_bytes: usize,
    /// Bodies of `samples` and `tap-events`.
    answers: BTreeMap<String, Vec<Value>>,
    rates: Rates,
    violations: Vec<Violation>,
    faults: BTreeMap<String, VecDeque<Fault>>,
}

impl VectorFlowServer {
    /// Starts one without pipelines.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let inner = Inner {
            is_down: false,
            enrollment: 200,
            enrolled: Vec::new(),
            token: NODE_TOKEN.to_owned(),
            config: json!({"pipelines": [], "pollIntervalMs": 5_000, "secretBackend": "BUILTIN"}),
            polls: 0,
            push_opened: 0,
            has_push: true,
            heartbeats: Vec::new(),
            sums: Sums::default(),
            lines: BTreeMap::new(),
            unknown: Vec::new(),
            refused_states: Vec::new(),
            max_log_bytes: usize::MAX,
            answers: BTreeMap::new(),
            rates: Rates::default(),
            violations: Vec::new(),
            faults: BTreeMap::new(),
        };
        let state = Arc::new(State { inner: Mutex::new(inner), push: broadcast::Sender::new(PUSH_BACKLOG) });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        VectorFlowServer { address, state }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers nothing, or answers again.
    pub fn set_down(&self, is_down: bool) {
        self.state.lock().is_down = is_down;
    }

    /// Answers enrolments with this status; 200 takes the host.
    pub fn set_enrollment(&self, status: u16) {
        self.state.lock().enrollment = status;
    }

    /// Knows another token of the node from here on, or the usual one.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.state.lock().token);
    }

    /// Whether it has push channels, from the next one on.
    pub fn set_push(&self, has_push: bool) {
        self.state.lock().has_push = has_push;
    }

    /// Answers polls with this configuration.
    pub fn set_config(&self, config: Value) {
        self.state.lock().config = config;
    }

    /// Sends an event to the push channels that are open.
    pub fn push(&self, event: PushEvent) {
        let _ = self.state.push.send(event);
    }

    /// Does not know a pipeline: drops its state, and refuses its lines.
    pub fn forget_pipeline(&self, id: &str) {
        self.state.lock().unknown.push(id.to_owned());
    }

    /// Refuses every heartbeat with the state of a pipeline.
    pub fn refuse_state_of(&self, id: &str) {
        self.state.lock().refused_states.push(id.to_owned());
    }

    /// Knows all pipelines again, and refuses none.
    pub fn know_all_pipelines(&self) {
        let mut inner = self.state.lock();
        inner.unknown.clear();
        inner.refused_states.clear();
    }

    /// Refuses bodies of log lines that are longer.
    pub fn limit_logs(&self, max_bytes: usize) {
        self.state.lock().max_log_bytes = max_bytes;
    }

    /// Lets the next requests to a route (`heartbeat`, `logs`, `enroll`, …) fail, one after the other.
    pub fn fail_next(&self, route: &str, faults: &[Fault]) {
        self.state.lock().faults.entry(route.to_owned()).or_default().extend(faults);
    }

    /// How many of these faults are left.
    pub fn faults_left(&self) -> usize {
        self.state.lock().faults.values().map(VecDeque::len).sum()
    }

    /// The bodies of enrolments that were accepted.
    pub fn enrolled(&self) -> Vec<Value> {
        self.state.lock().enrolled.clone()
    }

    /// How often the configuration was asked for with the node's token.
    pub fn polls(&self) -> usize {
        self.state.lock().polls
    }

    /// How often a push channel was opened.
    pub fn push_opened(&self) -> usize {
        self.state.lock().push_opened
    }

    /// The bodies of all heartbeats that were accepted.
    pub fn heartbeats(&self) -> Vec<Value> {
        self.state.lock().heartbeats.clone()
    }

    /// The newest heartbeat that was accepted; null before.
    pub fn heartbeat(&self) -> Value {
        self.state.lock().heartbeats.last().cloned().unwrap_or_default()
    }

    /// A pipeline in the newest heartbeat; null when it has none.
    pub fn pipeline(&self, id: &str) -> Value {
        let heartbeat = self.heartbeat();
        let pipelines = heartbeat["pipelines"].as_array().into_iter().flatten();
        pipelines.into_iter().find(|pipeline| pipeline["pipelineId"] == id).cloned().unwrap_or_default()
    }

    /// The sums of deltas of a pipeline, as the server computes them.
    pub fn sums(&self, pipeline: &str) -> Counts {
        self.state.lock().sums.of(pipeline)
    }

    /// The sum of events that a component received.
    pub fn received_events(&self, pipeline: &str, component: &str) -> u64 {
        self.state.lock().sums.received_by(pipeline, component)
    }

    /// The lines of a pipeline, in the order in which they came.
    pub fn lines(&self, pipeline: &str) -> Vec<String> {
        self.state.lock().lines.get(pipeline).cloned().unwrap_or_default()
    }

    /// The bodies that came to `samples` or `tap-events`.
    pub fn answers(&self, route: &str) -> Vec<Value> {
        self.state.lock().answers.get(route).cloned().unwrap_or_default()
    }

    /// What broke a rule.
    pub fn violations(&self) -> Vec<Violation> {
        self.state.lock().violations.clone()
    }

    /// Waits for a heartbeat in which a pipeline has this state.
    pub async fn wait_for(&self, id: &str, status: &str, limit: Duration) -> Value {
        eventually(&format!("{id} is {status}"), limit, async || {
            let pipeline = self.pipeline(id);
            (pipeline["status"] == status).then_some(pipeline)
        })
        .await
    }
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
        if state.lock().is_down {
            return;
        }
        let answer = state.answer(&message);
        if answer.opens_push {
            return push(stream, &state).await;
        }
        let Some(text) = answer.text() else { return };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn push(mut stream: TcpStream, state: &State) {
    let mut events = state.push.subscribe();
    state.lock().push_opened += 1;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: connected\n\n";
    let mut next = head.to_owned();
    while stream.write_all(next.as_bytes()).await.is_ok() {
        if state.lock().is_down {
            return;
        }
        next = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => frame(&event),
                Err(_) => return,
            },
            () = tokio::time::sleep(KEEPALIVE) => ": keepalive\n\n".to_owned(),
        };
    }
}

fn frame(event: &PushEvent) -> String {
    let data = serde_json::to_string(event).expect("an event is JSON");
    format!("event: {}\ndata: {data}\n\n", event.name())
}
