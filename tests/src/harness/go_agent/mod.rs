//! An agent that behaves as VectorFlow's Go agent does towards its server: it enrols, polls before each heartbeat,
//! applies what it receives by that protocol's rules, holds a push stream, and answers samples and taps. Its processes
//! are imagined.

mod answers;
mod processes;
mod push;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::vectorflow::{
    Accepted, ConfigResponse, EnrollResponse, Heartbeat, HeartbeatPipeline, PushEvent, SampleResult,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use self::answers::Taps;
pub use self::processes::Process;
use self::processes::Processes;
use super::client::{Answer, ApiClient};
use super::collector::TestCollector;
use super::wait::{SOON, eventually};

/// Messages of the push stream that wait, as in the Go agent.
const PUSH_QUEUE: usize = 16;

/// After a message that changes something a heartbeat follows.
const HEARTBEAT_AFTER: Duration = Duration::from_secs(1);

/// How an agent differs from the others.
#[derive(Clone, Debug)]
pub struct GoAgentSetup {
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes the push URL that it receives.
    pub push: bool,
    /// Whether it restarts for the push action. The public Go agent polls instead.
    pub restarts: bool,
    /// The first interval; the collector's replaces it.
    pub interval: Duration,
}

impl Default for GoAgentSetup {
    fn default() -> Self {
        GoAgentSetup { labels: BTreeMap::new(), push: true, restarts: false, interval: Duration::from_secs(1) }
    }
}

/// A running agent. It ends when this is dropped.
#[derive(Debug)]
pub struct GoAgent {
    /// The id of its node.
    pub node_id: String,
    /// A client with its token, for requests beside its own.
    pub client: ApiClient,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// What a test reads of it.
#[derive(Debug, Default)]
struct State {
    processes: Processes,
    polls: u64,
    heartbeats: u64,
    errors: Vec<String>,
    push_events: Vec<PushEvent>,
    push_connections: u64,
    last_config: Option<ConfigResponse>,
    open_taps: usize,
}

impl GoAgent {
    /// Enrols a host, starts its agent, and waits for its first heartbeat.
    pub async fn start(collector: &TestCollector, name: &str, setup: GoAgentSetup) -> Self {
        let token = collector.create_token_with("enroll", None, &["--vectorflow"]).await;
        let body = json!({
            "token": token.token.reveal(), "hostname": name, "os": "linux/amd64", "agentVersion": "1.9.2",
            "vectorVersion": "vector 0.54.0", "labels": setup.labels,
        });
        let request = collector.client().request(Method::POST, "/api/agent/enroll");
        let answer = Answer::of(request.header("content-type", "application/json").body(body.to_string())).await;
        assert_eq!(answer.status, 200, "enrol: {answer:?}");
        let enrolled: EnrollResponse = answer.json();
        let client = collector.client().with_token(enrolled.node_token.reveal());
        let state = Arc::new(Mutex::new(State::default()));
        let runner = Runner {
            client: client.clone(),
            url: collector.url(),
            labels: setup.labels.clone(),
            setup,
            state: Arc::clone(&state),
            taps: Taps::default(),
            every_ms: None,
            sample_results: Arc::default(),
        };
        let agent = GoAgent { node_id: enrolled.node_id, client, state, task: tokio::spawn(runner.run()) };
        eventually("its first heartbeat", SOON, async || (agent.heartbeats() > 0).then_some(())).await;
        agent
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process of a pipeline.
    pub fn process(&self, pipeline: &str) -> Option<Process> {
        self.state().processes.get(pipeline).cloned()
    }

    /// The version that a pipeline runs.
    pub fn version(&self, pipeline: &str) -> Option<i64> {
        self.process(pipeline).map(|process| process.version)
    }

    /// Versions of a pipeline whose process was started, in order.
    pub fn starts(&self, pipeline: &str) -> Vec<i64> {
        self.state().processes.starts(pipeline)
    }

    /// Waits until a pipeline runs this version; `None`: until it does not run.
    pub async fn wait_for_version(&self, pipeline: &str, version: Option<i64>) {
        let what = format!("version {version:?} of {pipeline} on node {}", self.node_id);
        eventually(&what, SOON, async || (self.version(pipeline) == version).then_some(())).await;
    }

    /// Polls so far.
    pub fn polls(&self) -> u64 {
        self.state().polls
    }

    /// Heartbeats that were accepted so far.
    pub fn heartbeats(&self) -> u64 {
        self.state().heartbeats
    }

    /// Connections of its push stream so far.
    pub fn push_connections(&self) -> u64 {
        self.state().push_connections
    }

    /// Events of its push stream so far.
    pub fn push_events(&self) -> Vec<PushEvent> {
        self.state().push_events.clone()
    }

    /// Requests that were not answered with 200 so far.
    pub fn errors(&self) -> Vec<String> {
        self.state().errors.clone()
    }

    /// The answer to its last poll.
    pub fn last_config(&self) -> Option<ConfigResponse> {
        self.state().last_config.clone()
    }

    /// Taps that run.
    pub fn open_taps(&self) -> usize {
        self.state().open_taps
    }
}

impl Drop for GoAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The agent itself: one loop that polls, applies and beats, as the Go agent has it.
struct Runner {
    client: ApiClient,
    url: String,
    labels: BTreeMap<String, String>,
    setup: GoAgentSetup,
    state: Arc<Mutex<State>>,
    taps: Taps,
    /// How often the collector wants it to poll.
    every_ms: Option<u64>,
    /// Samples that the next heartbeat has.
    sample_results: Arc<Mutex<Vec<SampleResult>>>,
}

impl Runner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(mut self) {
        let (sender, mut messages) = mpsc::channel(PUSH_QUEUE);
        let mut push: Option<push::PushTask> = None;
        let mut every = self.setup.interval;
        let mut ticks = ticker(every);
        let mut heartbeat_at: Option<Instant> = None;
        loop {
            let soon = heartbeat_at.unwrap_or_else(|| Instant::now() + SOON);
            tokio::select! {
                _ = ticks.tick() => {
                    self.poll().await;
                    self.heartbeat().await;
                }
                () = sleep_until(soon) => {
                    heartbeat_at = None;
                    self.heartbeat().await;
                }
                Some(event) = messages.recv() => {
                    if let PushEvent::PollInterval { interval_ms } = &event {
                        self.every_ms = Some(*interval_ms);
                    }
                    if self.handle(event).await {
                        heartbeat_at = Some(Instant::now() + HEARTBEAT_AFTER);
                    }
                }
            }
            let config = self.state().last_config.clone().unwrap_or_default();
            if let Some(new) = self.every_ms.map(Duration::from_millis).filter(|new| *new != every) {
                every = new;
                ticks = ticker(every);
                ticks.reset();
            }
            // Only of the same scheme, host and port.
            let own = config.push_url.filter(|url| url.starts_with(&format!("{}/", self.url)));
            if let Some(url) = own.filter(|_| self.setup.push && push.is_none()) {
                let path = url[self.url.len()..].to_owned();
                push = Some(push::PushTask::start(
                    self.client.reconnected(),
                    path,
                    sender.clone(),
                    Arc::clone(&self.state),
                ));
            }
        }
    }

    /// Polls, and applies the answer.
    async fn poll(&mut self) {
        let Some(config) = self.call::<ConfigResponse>(Method::GET, "/api/agent/config", None).await else { return };
        let samples = config.sample_requests.clone();
        let every_ms;
        {
            let mut state = self.state();
            state.polls += 1;
            state.processes.apply(&config.pipelines);
            every_ms = config.poll_interval_ms;
            state.last_config = Some(config);
        }
        self.every_ms = every_ms.or(self.every_ms);
        // What comes with a poll is answered with a heartbeat.
        for request in samples {
            let results = self.state().processes.sample(&request);
            self.sample_results.lock().unwrap_or_else(PoisonError::into_inner).extend(results);
        }
    }

    async fn heartbeat(&mut self) {
        let results = std::mem::take(&mut *self.sample_results.lock().unwrap_or_else(PoisonError::into_inner));
        let body = {
            let mut state = self.state();
            let pipelines: Vec<HeartbeatPipeline<'static>> = state.processes.report();
            serde_json::to_value(Heartbeat {
                pipelines,
                agent_version: Some("1.9.2".into()),
                vector_version: Some("vector 0.54.0".into()),
                deployment_mode: Some("STANDALONE".into()),
                running_as: Some("root".into()),
                labels: Some(
                    self.labels.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect(),
                ),
                sample_results: (!results.is_empty()).then_some(results),
                ..Heartbeat::default()
            })
            .expect("a heartbeat is JSON")
        };
        if self.call::<Value>(Method::POST, "/api/agent/heartbeat", Some(body)).await.is_some() {
            self.state().heartbeats += 1;
        }
    }

    /// Does what a message asks. Returns whether a heartbeat follows.
    async fn handle(&mut self, event: PushEvent) -> bool {
        match event {
            PushEvent::ConfigChanged { .. } => {
                self.poll().await;
                true
            }
            PushEvent::Action(action) if action.action == "restart" => {
                if self.setup.restarts {
                    self.state().processes.restart(action.pipeline_id.as_deref().unwrap_or_default());
                } else {
                    self.poll().await;
                }
                true
            }
            PushEvent::SampleRequest(request) => {
                // One answer per component, as they are ready.
                for result in self.state().processes.sample(&request) {
                    answers::send_sample(self.client.clone(), result);
                }
                false
            }
            PushEvent::TapStart { request_id, pipeline_id, component_id } => {
                self.taps.start(&self.client, &self.state, request_id, pipeline_id, component_id);
                false
            }
            PushEvent::TapStop { request_id } => {
                self.taps.stop(&request_id);
                false
            }
            PushEvent::Action(_) | PushEvent::PollInterval { .. } => false,
        }
    }

    /// A request of which only 200 is a success.
    async fn call<T: serde::de::DeserializeOwned>(&self, method: Method, path: &str, body: Option<Value>) -> Option<T> {
        let request = self.client.request(method, path);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        match Answer::try_of(request).await {
            Ok(answer) if answer.status == 200 => Some(answer.json()),
            Ok(answer) => {
                self.state().errors.push(format!("{path}: {answer:?}"));
                None
            }
            // The collector is away.
            Err(_) => None,
        }
    }
}

fn ticker(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Sends a body to a route of answers.
async fn post_answer(client: &ApiClient, path: &str, body: &Value) -> Option<Accepted> {
    let request = client.request(Method::POST, path).header("content-type", "application/json");
    let answer = Answer::try_of(request.body(body.to_string())).await.ok()?;
    (answer.status == 200).then(|| answer.json())
}
