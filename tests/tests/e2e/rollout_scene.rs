//! Nodes that take pipelines of the centre, for tests of rollouts: they send what an agent reports of versions.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::{AgentInfo, DeploymentReport, DesiredState, ReportAck};
use systole_tests::harness::{Answer, ApiClient, DatabaseKind, NodeClient, TestCollector, eventually};

/// Longest wait for something that happens at once, on a machine that builds and tests.
pub(crate) const SOON: Duration = systole_tests::harness::SOON;

/// A node whose agent accepts pipelines.
pub(crate) struct Edge {
    pub(crate) node: NodeClient,
    labels: BTreeMap<String, String>,
    engines: Option<Vec<&'static str>>,
    /// What its agent reports of each pipeline: version, phase, running version, reason.
    deployments: BTreeMap<String, (i64, &'static str, Option<i64>, String)>,
    pub(crate) agent_version: String,
}

impl Edge {
    /// Enrols a node with labels and the engine `vector`, and reports once.
    pub(crate) async fn enroll(collector: &TestCollector, name: &str, labels: &[(&str, &str)]) -> Self {
        Self::enroll_with(collector, name, labels, Some(vec!["vector"])).await
    }

    /// The same with other engines; `None` for an agent that accepts no pipelines.
    pub(crate) async fn enroll_with(
        collector: &TestCollector,
        name: &str,
        labels: &[(&str, &str)],
        engines: Option<Vec<&'static str>>,
    ) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut edge = Edge {
            node: NodeClient::enroll(collector, None, name).await,
            labels,
            engines,
            deployments: BTreeMap::new(),
            agent_version: "0.1.0".to_owned(),
        };
        edge.report().await;
        edge
    }

    /// Sends a report with everything that the agent says.
    pub(crate) async fn report(&mut self) -> ReportAck {
        let mut request = self.node.next_request(Vec::new());
        let report = &mut request.reports[0];
        report.agent = Some(AgentInfo {
            version: Some(self.agent_version.clone().into()),
            engines: self
                .engines
                .as_ref()
                .map(|engines| engines.iter().map(|name| (*name).to_owned().into()).collect()),
            labels: self.labels.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect(),
            ..AgentInfo::default()
        });
        let deployment =
            |(id, (version, phase, running, reason)): (&String, &(i64, &'static str, Option<i64>, String))| {
                DeploymentReport {
                    pipeline_id: id.clone().into(),
                    version: *version,
                    phase: (*phase).to_owned().into(),
                    running_version: *running,
                    reason: reason.clone().into(),
                }
            };
        report.deployments = self.deployments.iter().map(deployment).collect();
        self.node.post(&request).await
    }

    /// What its agent fetches.
    pub(crate) async fn desired(&self) -> DesiredState {
        serde_json::from_value(self.node.client().get_json("/api/v1/agent/desired").await).unwrap()
    }

    /// The version of a pipeline that it should run.
    pub(crate) async fn desired_version(&self, pipeline: &str) -> Option<i64> {
        let state = self.desired().await;
        state.pipelines.iter().find(|wanted| wanted.id.as_str() == pipeline).map(|wanted| wanted.version)
    }

    /// Waits until it should run this version.
    pub(crate) async fn wait_for_version(&self, pipeline: &str, version: Option<i64>) {
        let what = format!("{} should run version {version:?} of {pipeline}", self.node.id);
        eventually(&what, SOON, async || (self.desired_version(pipeline).await == version).then_some(())).await;
    }

    /// What its agent says of a pipeline from now on.
    pub(crate) async fn says(&mut self, pipeline: &str, version: i64, phase: &'static str, reason: &str) -> ReportAck {
        let running = matches!(phase, "starting" | "healthy").then_some(version);
        self.deployments.insert(pipeline.to_owned(), (version, phase, running, reason.to_owned()));
        self.report().await
    }

    /// Its agent no longer has a pipeline.
    pub(crate) async fn drops(&mut self, pipeline: &str) -> ReportAck {
        self.deployments.remove(pipeline);
        self.report().await
    }

    /// Takes the version that it should run, and says that it is healthy.
    pub(crate) async fn obeys(&mut self, pipeline: &str, version: i64) {
        self.wait_for_version(pipeline, Some(version)).await;
        self.says(pipeline, version, "healthy", "").await;
    }
}

/// Starts a collector that does not take these nodes for silent: they report only when a test says so.
pub(crate) async fn start(database: DatabaseKind) -> TestCollector {
    TestCollector::start_on_with(database, &["--interval", "60s"]).await
}

/// A client that decides what runs.
pub(crate) async fn admin(collector: &TestCollector) -> ApiClient {
    let token = collector.create_token("admin", None).await;
    collector.client().with_token(token.token.reveal())
}

/// A client that acts on what runs.
pub(crate) async fn operator(collector: &TestCollector) -> ApiClient {
    let token = collector.create_token("operator", None).await;
    collector.client().with_token(token.token.reveal())
}

/// POST of JSON; any answer.
pub(crate) async fn post(client: &ApiClient, path: &str, body: &Value) -> Answer {
    let request = client.request(Method::POST, path).header("content-type", "application/json");
    Answer::of(request.body(body.to_string())).await
}

/// Waits until a rollout is in a state, and returns it.
pub(crate) async fn rollout_in(client: &ApiClient, id: i64, state: &str) -> Value {
    eventually(&format!("rollout {id} is {state}"), SOON, async || {
        let rollout = client.get_json(&format!("/api/v1/rollouts/{id}")).await;
        (rollout["state"] == state).then_some(rollout)
    })
    .await
}

/// The node of a rollout with this name.
pub(crate) fn node_of<'a>(rollout: &'a Value, name: &str) -> &'a Value {
    let nodes = rollout["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["nodeName"] == name).unwrap_or_else(|| panic!("no {name} in {rollout:#}"))
}

/// Applies a pipeline of the engine `vector`, with the fields of a definition, and returns the number of the rollout.
pub(crate) async fn apply(client: &ApiClient, id: &str, definition: Value) -> i64 {
    let mut body = json!({"selector": ["*"], "engine": "vector", "config": "a: 1\n", "format": "yaml"});
    for (key, value) in definition.as_object().unwrap() {
        body[key] = value.clone();
    }
    let path = format!("/api/v1/pipelines/{id}/definition");
    let request = client.request(Method::PUT, &path).header("content-type", "application/json");
    let answer = Answer::of(request.body(body.to_string())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let applied: Value = answer.json();
    applied["rolloutId"].as_i64().unwrap_or_else(|| panic!("no rollout: {applied}"))
}
