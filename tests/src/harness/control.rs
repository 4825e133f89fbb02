//! Pipelines of the centre and secrets, as an administrator's program changes them.

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, ApiClient};

/// A definition with this configuration for every node.
pub fn definition(config: &str) -> Value {
    json!({"selector": ["*"], "engine": "vector", "config": config, "format": "yaml"})
}

impl ApiClient {
    /// A request with a body of JSON, whatever the answer is.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path).header("content-type", "application/json");
        Answer::of(request.body(body.to_string())).await
    }

    /// A request without a body, whatever the answer is.
    pub async fn send_empty(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path)).await
    }

    /// Applies a definition; `query` is empty or begins with `?`.
    pub async fn try_apply(&self, id: &str, query: &str, definition: &Value) -> Answer {
        self.send(Method::PUT, &format!("/api/v1/pipelines/{id}/definition{query}"), definition).await
    }

    /// Applies a definition that is accepted.
    pub async fn apply(&self, id: &str, query: &str, definition: &Value) -> Value {
        let answer = self.try_apply(id, query, definition).await;
        assert_eq!(answer.status, 200, "apply {id}: {answer:?}");
        answer.json()
    }

    /// Sets a secret, whatever the answer is. A slash in its name is part of the name.
    pub async fn try_set_secret(&self, name: &str, value: &str) -> Answer {
        let path = format!("/api/v1/secrets/{}", name.replace('/', "%2F"));
        self.send(Method::PUT, &path, &json!({"value": value})).await
    }

    /// Sets a secret that is accepted.
    pub async fn set_secret(&self, name: &str, value: &str) -> Value {
        let answer = self.try_set_secret(name, value).await;
        assert_eq!(answer.status, 200, "set {name}: {answer:?}");
        answer.json()
    }
}
