//! A collector with alerts that come within seconds, and the messages that it sends.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use systole_tests::harness::reports::pipeline;
use systole_tests::harness::{
    AlertSink, Answer, ApiClient, DatabaseKind, NodeClient, SOON, TestCollector, eventually, eventually_true,
};
use tempfile::TempDir;

/// Rules and pauses of a test: seconds instead of minutes.
const QUICK: &str = "startup_grace = '0s'\nalert_group_wait = '0s'\nalert_update_every = '0s'\n\
    max_enrolments_per_minute = 0\n\
    [alerts.node-unreachable]\nfor = '0s'\nclear_for = '0s'\n\
    [alerts.pipeline-crash-loop]\nfor = '0s'\nclear_for = '0s'\n\
    [alerts.pipeline-unhealthy]\nfor = '0s'\nclear_for = '0s'\n\
    [alerts.errors]\nclear_for = '0s'\n[alerts.events-discarded]\nfor = '0s'\nclear_for = '0s'\n\
    [alerts.buffer-full]\nfor = '0s'\nclear_for = '0s'\n[alerts.log-lines-lost]\nclear_for = '0s'\n\
    [alerts.clock-skew]\nfor = '0s'\nclear_for = '0s'\n[alerts.duplicate-identity]\nclear_for = '0s'\n\
    [alerts.collector-disk-low]\nclear_for = '0s'\n[alerts.target-failing]\nfor = '1s'\nclear_for = '0s'\n";

/// A collector, and a webhook that takes its messages.
pub(crate) struct Scene {
    pub(crate) collector: TestCollector,
    pub(crate) sink: AlertSink,
    pub(crate) operator: ApiClient,
    config: PathBuf,
    _directory: TempDir,
}

impl Scene {
    /// With one webhook.
    pub(crate) async fn start(database: DatabaseKind) -> Self {
        let sink = AlertSink::start().await;
        let notify = format!("notify = ['webhook+http://{}/hook']\n", sink.address());
        Self::start_with(database, sink, &format!("{notify}{QUICK}")).await
    }

    /// The same with more settings at the top.
    pub(crate) async fn start_with_settings(database: DatabaseKind, settings: &str) -> Self {
        let sink = AlertSink::start().await;
        let notify = format!("notify = ['webhook+http://{}/hook']\n", sink.address());
        Self::start_with(database, sink, &format!("{notify}{settings}{QUICK}")).await
    }

    /// With targets of the test's own.
    pub(crate) async fn start_with_targets(database: DatabaseKind, targets: &str) -> Self {
        let sink = AlertSink::start().await;
        Self::start_with(database, sink, &format!("{targets}{QUICK}")).await
    }

    async fn start_with(database: DatabaseKind, sink: AlertSink, text: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("systole-alerts-").tempdir().unwrap();
        let config = directory.path().join("collector.toml");
        std::fs::write(&config, text).unwrap();
        let options = ["--config", config.to_str().unwrap(), "--interval", "2s"];
        let collector = TestCollector::start_on_with(database, &options).await;
        let token = collector.create_token("operator", None).await;
        let operator = collector.client().with_token(token.token.reveal());
        Scene { collector, sink, operator, config, _directory: directory }
    }

    /// The configuration, to be changed before a restart.
    pub(crate) fn config(&self) -> &PathBuf {
        &self.config
    }

    /// An enrolled node.
    pub(crate) async fn node(&self, name: &str) -> NodeClient {
        NodeClient::enroll(&self.collector, None, name).await
    }

    /// Kills the collector and starts it again.
    pub(crate) async fn kill_and_run(&mut self) {
        self.collector.kill().await;
        self.collector.run().await;
    }

    /// Alerts that are pending or fire, of one rule.
    pub(crate) async fn active(&self, rule: &str) -> Vec<Value> {
        self.operator.list(&format!("/api/v1/alerts?rule={rule}")).await
    }

    /// Waits until this many alerts of a rule fire.
    pub(crate) async fn until_firing(&self, rule: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} alerts of {rule} fire"), SOON, async || {
            let alerts = self.active(rule).await;
            let firing: Vec<Value> = alerts.into_iter().filter(|alert| alert["state"] == "firing").collect();
            (firing.len() == count).then_some(firing)
        })
        .await
    }

    /// Waits until no alert of a rule is pending or fires.
    pub(crate) async fn until_clear(&self, rule: &str) {
        eventually_true(&format!("{rule} is clear"), SOON, async || self.active(rule).await.is_empty()).await;
    }

    /// States of the changes of a rule's alerts, oldest first.
    pub(crate) async fn history(&self, rule: &str) -> Vec<String> {
        let changes = self.operator.list("/api/v1/alerts/history").await;
        let own = changes.iter().filter(|change| change["rule"] == rule);
        own.map(|change| change["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Statuses and rules of the messages that came, such as `firing errors`.
    pub(crate) fn told(&self) -> Vec<String> {
        self.sink.messages().iter().map(told).collect()
    }

    /// Waits until this many messages came.
    pub(crate) async fn until_told(&self, count: usize) -> Vec<String> {
        eventually_true(&format!("{count} messages"), SOON, async || self.sink.messages().len() >= count).await;
        self.told()
    }

    /// Silences alerts for an hour. Returns the id.
    pub(crate) async fn silence(&self, condition: &str) -> i64 {
        let body = json!({"matchers": [condition], "duration": "1h", "note": "a test"});
        let request =
            self.operator.request(Method::POST, "/api/v1/silences").header("content-type", "application/json");
        let answer = Answer::of(request.body(body.to_string())).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let silence: Value = answer.json();
        silence["id"].as_i64().unwrap()
    }

    /// Ends a silence.
    pub(crate) async fn end_silence(&self, id: i64) {
        let answer = Answer::of(self.operator.request(Method::DELETE, &format!("/api/v1/silences/{id}"))).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

/// Status and rules of a message.
pub(crate) fn told(message: &Value) -> String {
    let alerts = message["alerts"].as_array().unwrap();
    let mut rules: Vec<&str> = alerts.iter().filter_map(|alert| alert["labels"]["alertname"].as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    format!("{} {}", message["status"].as_str().unwrap(), rules.join(","))
}

/// Reports one pipeline in a state.
pub(crate) async fn report_state(node: &mut NodeClient, id: &str, status: &str) {
    node.report(vec![pipeline(id, status)]).await;
}
