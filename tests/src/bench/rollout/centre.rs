//! The centre's side of a rollout, through its HTTP interface.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, ApiClient, TestCollector, eventually};

/// The pipeline of these rollouts.
pub const PIPELINE: &str = "orders";

/// An administrator.
#[derive(Clone, Debug)]
pub struct Centre(ApiClient);

/// What came of a change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The number of the newest version.
    pub version: i64,
    /// The rollout, if the content is new.
    pub rollout: Option<i64>,
}

impl Centre {
    /// An administrator of all environments.
    pub async fn of(collector: &TestCollector) -> Self {
        let token = collector.create_token("admin", None).await;
        Centre(collector.client().with_token(token.token.reveal()))
    }

    /// Nodes that report.
    pub async fn nodes_up(&self) -> usize {
        let nodes = self.0.list("/api/v1/nodes?limit=500").await;
        nodes.iter().filter(|node| node["status"] == "HEALTHY").count()
    }

    /// Applies a configuration to all nodes.
    pub async fn apply(&self, config: &str, policy: &Value) -> Change {
        let body =
            json!({"selector": ["*"], "engine": "vector", "config": config, "format": "yaml", "rollout": policy});
        self.change(Method::PUT, "definition", &body).await
    }

    /// Goes back to an earlier version.
    pub async fn roll_back(&self, version: i64) -> Change {
        self.change(Method::POST, &format!("rollback?to={version}"), &json!({})).await
    }

    async fn change(&self, method: Method, what: &str, body: &Value) -> Change {
        let request = self.0.request(method, &format!("/api/v1/pipelines/{PIPELINE}/{what}"));
        let answer = Answer::of(request.header("content-type", "application/json").body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        let change: Value = answer.json();
        let version = change["version"].as_i64().unwrap_or_else(|| panic!("no version in {change}"));
        Change { version, rollout: change["rolloutId"].as_i64() }
    }

    /// A rollout with its nodes.
    pub async fn rollout(&self, id: i64) -> Value {
        self.0.get_json(&format!("/api/v1/rollouts/{id}")).await
    }

    /// Waits until a rollout is in a state.
    pub async fn rollout_in(&self, id: i64, state: &str, limit: Duration) -> Value {
        let mut last = Value::Null;
        eventually(&format!("rollout {id} is {state}"), limit, async || {
            last = self.rollout(id).await;
            let seen = last["state"].as_str().unwrap_or_default();
            let is_over = state != seen && matches!(seen, "halted" | "complete" | "aborted");
            assert!(!is_over, "rollout {id} should be {state}: {last:#}");
            (seen == state).then_some(())
        })
        .await;
        last
    }
}
