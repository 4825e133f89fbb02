//! Answers to samples, and taps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use systole_shared::vectorflow::{SampleResult, SampleResults, TapEvents};
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::{State, post_answer};
use crate::harness::client::ApiClient;

/// Taps at a time, as in the Go agent.
const MAX_TAPS: usize = 3;

/// Between two batches. The Go agent takes a second, or twenty events.
const BATCH_EVERY: Duration = Duration::from_millis(100);

/// Sends the answer of one component.
pub(super) fn send_sample(client: ApiClient, result: SampleResult) {
    tokio::spawn(async move {
        let body = serde_json::to_value(SampleResults { results: vec![result] }).expect("results are JSON");
        post_answer(&client, "/api/agent/samples", &body).await;
    });
}

/// Taps that run, by their request.
#[derive(Debug, Default)]
pub(super) struct Taps {
    running: HashMap<String, JoinHandle<()>>,
}

impl Taps {
    pub(super) fn start(
        &mut self,
        client: &ApiClient,
        state: &Arc<Mutex<State>>,
        request_id: String,
        pipeline_id: String,
        component_id: String,
    ) {
        self.running.retain(|_, task| !task.is_finished());
        if self.running.len() >= MAX_TAPS || self.running.contains_key(&request_id) {
            return;
        }
        let (client, state) = (client.clone(), Arc::clone(state));
        let tap = TapEvents {
            request_id: request_id.clone(),
            pipeline_id,
            component_id,
            events: None,
            status: None,
            reason: None,
        };
        self.running.insert(request_id, tokio::spawn(run(client, state, tap)));
    }

    pub(super) fn stop(&mut self, request_id: &str) {
        if let Some(task) = self.running.remove(request_id) {
            task.abort();
        }
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

/// Counts a tap while it runs.
struct Running(Arc<Mutex<State>>);

impl Running {
    fn begin(state: Arc<Mutex<State>>) -> Self {
        state.lock().unwrap_or_else(PoisonError::into_inner).open_taps += 1;
        Running(state)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open_taps -= 1;
    }
}

/// Two events each time. A component `ends` has one batch only, and one named `long` has long events.
async fn run(client: ApiClient, state: Arc<Mutex<State>>, tap: TapEvents) {
    let _running = Running::begin(state);
    let mut ticks = interval(BATCH_EVERY);
    let padding = if tap.component_id == "long" { 20_000 } else { 0 };
    for batch in 0_u64.. {
        ticks.tick().await;
        let event = |number: u64| json!({"message": format!("event {number}"), "padding": "x".repeat(padding)});
        let events = TapEvents { events: Some(vec![event(2 * batch), event(2 * batch + 1)]), ..tap.clone() };
        post_answer(&client, "/api/agent/tap-events", &serde_json::to_value(events).expect("it is JSON")).await;
        if tap.component_id == "ends" {
            break;
        }
    }
    let stopped = TapEvents { status: Some("stopped".into()), reason: Some("process exited".into()), ..tap };
    post_answer(&client, "/api/agent/tap-events", &serde_json::to_value(stopped).expect("it is JSON")).await;
}
