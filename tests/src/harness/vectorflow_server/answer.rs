//! How the stand-in answers a request.

use serde_json::{Value, json};
use systole_shared::vectorflow::MAX_BODY_BYTES;
use tokio::time::Instant;

use super::rules::{check_enrollment, check_heartbeat, check_logs};
use super::{ENROLL_TOKEN, Fault, Inner, State, Violation};
use crate::harness::message::body;

/// In refusals that the test itself asked for.
const BY_THE_TEST: &str = "by the test";

/// What is written on the connection.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) opens_push: bool,
    is_lost: bool,
    status: u16,
    is_page: bool,
    retry_after: Option<u64>,
    body: String,
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        Answer { status, body: body.to_string(), ..Answer::default() }
    }

    fn error(status: u16, text: &str) -> Self {
        Answer::json(status, &json!({"error": text}))
    }

    fn ok() -> Self {
        Answer::json(200, &json!({"ok": true}))
    }

    fn page(status: u16) -> Self {
        let body = "<!DOCTYPE html><html><head><title>Not here</title></head></html>".to_owned();
        Answer { status, is_page: true, body, ..Answer::default() }
    }

    /// The bytes; none for an answer that is lost.
    pub(super) fn text(&self) -> Option<String> {
        let kind = if self.is_page { "text/html" } else { "application/json" };
        let retry = self.retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {} X\r\ncontent-type: {kind}\r\n{retry}", self.status);
        (!self.is_lost).then(|| format!("{head}content-length: {}\r\n\r\n{}", self.body.len(), self.body))
    }
}

impl State {
    /// Carries out a request.
    pub(super) fn answer(&self, message: &[u8]) -> Answer {
        let head = String::from_utf8_lossy(&message[..message.len() - body(message).len()]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let Some(route) = path.strip_prefix("/api/agent/") else {
            // The pages of the server's own application.
            return Answer::page(404);
        };
        let mut inner = self.lock();
        let fault = inner.faults.get_mut(route).and_then(std::collections::VecDeque::pop_front);
        match fault {
            Some(Fault::Status(status)) => return Answer::error(status, "a fault of the test"),
            Some(Fault::Busy(seconds)) => {
                return Answer { retry_after: Some(seconds), ..Answer::error(429, "a fault of the test") };
            }
            Some(Fault::Page(status)) => return Answer::page(status),
            Some(Fault::LostAnswer) | None => {}
        }
        let mut answer = inner.route(route, &head, body(message));
        if matches!(answer.status, 400 | 413) || answer.retry_after.is_some() {
            let violation = Violation { status: answer.status, path, rule: answer.body.clone() };
            // What the test itself made unknown is no fault of the agent.
            if !answer.body.contains(BY_THE_TEST) {
                inner.violations.push(violation);
            }
        }
        answer.is_lost = fault == Some(Fault::LostAnswer);
        answer
    }
}

impl Inner {
    fn route(&mut self, route: &str, head: &str, content: &[u8]) -> Answer {
        if content.len() > MAX_BODY_BYTES {
            return Answer::error(413, "the body is too large");
        }
        if route == "enroll" {
            return self.enroll(content);
        }
        let authorization = format!("authorization: bearer {}", self.token.to_ascii_lowercase());
        if !head.lines().any(|line| line.to_ascii_lowercase() == authorization) {
            return Answer::error(401, "no such node");
        }
        if !self.rates.allow(route, Instant::now()) {
            return Answer { retry_after: Some(5), ..Answer::error(429, "too many requests") };
        }
        if route == "config" {
            self.polls += 1;
            return Answer::json(200, &self.config.clone());
        }
        if route == "push" {
            return if self.has_push { Answer { opens_push: true, ..Answer::default() } } else { Answer::page(404) };
        }
        if route == "logs" && content.len() > self.max_log_bytes {
            return Answer::error(413, &format!("the body is limited {BY_THE_TEST}"));
        }
        let Ok(content) = serde_json::from_slice::<Value>(content) else { return Answer::error(400, "no JSON") };
        match route {
            "heartbeat" => self.heartbeat(content),
            "logs" => self.logs(&content),
            "samples" | "tap-events" => {
                self.answers.entry(route.to_owned()).or_default().push(content);
                Answer::ok()
            }
            _ => Answer::page(404),
        }
    }

    fn enroll(&mut self, content: &[u8]) -> Answer {
        let content: Value = serde_json::from_slice(content).unwrap_or_default();
        if let Err(rule) = check_enrollment(&content) {
            return Answer::error(400, &rule);
        }
        if self.enrollment != 200 {
            return Answer::error(self.enrollment, "not now");
        }
        if content["token"] != ENROLL_TOKEN {
            return Answer::error(401, "no such token");
        }
        self.enrolled.push(content);
        let node = json!({"nodeId": "clx0node", "nodeToken": self.token, "environmentId": "clx0env",
            "environmentName": "Production"});
        Answer::json(200, &node)
    }

    fn heartbeat(&mut self, content: Value) -> Answer {
        if let Err(rule) = check_heartbeat(&content) {
            return Answer::error(400, &rule);
        }
        let has = |id: &String| {
            content["pipelines"].as_array().into_iter().flatten().any(|pipeline| pipeline["pipelineId"] == id.as_str())
        };
        if self.refused_states.iter().any(has) {
            return Answer::error(400, &format!("a state is refused {BY_THE_TEST}"));
        }
        let is_known = |pipeline: &&Value| !self.unknown.iter().any(|id| pipeline["pipelineId"] == id.as_str());
        self.sums.take(content["pipelines"].as_array().into_iter().flatten().filter(is_known));
        self.heartbeats.push(content);
        Answer::ok()
    }

    fn logs(&mut self, content: &Value) -> Answer {
        let ids = match check_logs(content) {
            Ok(ids) => ids,
            Err(rule) => return Answer::error(400, &rule),
        };
        // One deleted pipeline refuses the whole request.
        if let Some(unknown) = ids.iter().find(|id| self.unknown.contains(id)) {
            return Answer::error(403, &format!("pipeline {unknown} is not known, {BY_THE_TEST}"));
        }
        for batch in content.as_array().into_iter().flatten() {
            let id = batch["pipelineId"].as_str().unwrap_or_default();
            let lines = batch["lines"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            self.lines.entry(id.to_owned()).or_default().extend(lines);
        }
        Answer::ok()
    }
}
