//! The rules of VectorFlow's protocol, as its server checks them: one broken rule refuses the whole request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;
use systole_shared::vectorflow::{
    MAX_CHECKSUM_CHARS, MAX_LINES_PER_BATCH, MAX_UPDATE_ERROR_CHARS, MAX_VERSION_CHARS, rates,
};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// States that the server knows.
const STATUSES: [&str; 5] = ["RUNNING", "STARTING", "STOPPED", "CRASHED", "PENDING"];

const KINDS: [&str; 3] = ["source", "transform", "sink"];

const PIPELINE_COUNTERS: [&str; 6] = ["eventsIn", "eventsOut", "errorsTotal", "bytesIn", "bytesOut", "eventsDiscarded"];

/// The requests of the last minute, by route.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<&'static str, VecDeque<Instant>>);

impl Rates {
    /// Counts a request. Returns false when the route has had its share of the last minute.
    pub(super) fn allow(&mut self, route: &str, now: Instant) -> bool {
        let (name, limit) = match route {
            "config" => ("config", rates::CONFIG),
            "heartbeat" => ("heartbeat", rates::HEARTBEAT),
            "logs" => ("logs", rates::LOGS),
            "samples" => ("samples", rates::SAMPLES),
            "tap-events" => ("tap-events", rates::TAP_EVENTS),
            _ => return true,
        };
        let times = self.0.entry(name).or_default();
        while times.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
            times.pop_front();
        }
        times.push_back(now);
        times.len() <= limit as usize
    }
}

/// Checks a heartbeat.
///
/// # Errors
///
/// The rule that it breaks.
pub(super) fn check_heartbeat(body: &Value) -> Result<(), String> {
    for (field, max) in [
        ("agentVersion", MAX_VERSION_CHARS),
        ("vectorVersion", MAX_VERSION_CHARS),
        ("runningAs", MAX_VERSION_CHARS),
        ("updateError", MAX_UPDATE_ERROR_CHARS),
    ] {
        text(body, field, max)?;
    }
    one_of(body, "deploymentMode", &["STANDALONE", "DOCKER"], false)?;
    let health = &body["agentHealth"];
    if !health.is_null() && !health["pushConnected"].is_boolean() {
        return Err(format!("agentHealth is {health}"));
    }
    for (name, value) in body["labels"].as_object().into_iter().flatten() {
        value.as_str().ok_or_else(|| format!("label {name} is no text"))?;
    }
    for (name, value) in body["hostMetrics"].as_object().into_iter().flatten() {
        value.as_f64().filter(|number| *number >= 0.0).ok_or_else(|| format!("hostMetrics.{name} is {value}"))?;
    }
    for pipeline in body["pipelines"].as_array().ok_or("pipelines is no list")? {
        check_pipeline(pipeline).map_err(|rule| format!("{rule} in {pipeline}"))?;
    }
    Ok(())
}

fn check_pipeline(pipeline: &Value) -> Result<(), String> {
    pipeline["pipelineId"].as_str().filter(|id| !id.is_empty()).ok_or("no pipelineId")?;
    whole(pipeline, "version", true)?;
    one_of(pipeline, "status", &STATUSES, true)?;
    text(pipeline, "configChecksum", MAX_CHECKSUM_CHARS)?;
    for counter in PIPELINE_COUNTERS {
        whole(pipeline, counter, false)?;
    }
    whole(pipeline, "uptimeSeconds", false)?;
    whole(pipeline, "pid", false)?;
    let components = &pipeline["componentMetrics"];
    // All counters or none: an absent one is zero to the server, and its next value counts as a whole.
    for counter in PIPELINE_COUNTERS {
        if pipeline[counter].is_null() != pipeline["eventsIn"].is_null() {
            return Err(format!("{counter} without the others, or they without it"));
        }
    }
    if pipeline["eventsIn"].is_null() && !components.is_null() {
        return Err("components without counters".to_owned());
    }
    for component in components.as_array().into_iter().flatten() {
        component["componentId"].as_str().filter(|id| !id.is_empty()).ok_or("no componentId")?;
        one_of(component, "componentKind", &KINDS, true)?;
        whole(component, "receivedEvents", true)?;
        whole(component, "sentEvents", true)?;
        for counter in ["receivedBytes", "sentBytes", "errorsTotal", "discardedEvents"] {
            whole(component, counter, false)?;
        }
    }
    Ok(())
}

/// Checks lines. Returns the pipelines in them.
///
/// # Errors
///
/// The rule that they break.
pub(super) fn check_logs(body: &Value) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    for batch in body.as_array().ok_or("no bare list")? {
        ids.push(batch["pipelineId"].as_str().ok_or("no pipelineId")?.to_owned());
        let lines = batch["lines"].as_array().ok_or("no lines")?;
        if lines.len() > MAX_LINES_PER_BATCH {
            return Err(format!("{} lines in a batch", lines.len()));
        }
        if !lines.iter().all(Value::is_string) {
            return Err("a line that is no text".to_owned());
        }
    }
    Ok(ids)
}

/// Checks an enrolment.
///
/// # Errors
///
/// The rule that it breaks.
pub(super) fn check_enrollment(body: &Value) -> Result<(), String> {
    for field in ["token", "hostname", "os", "agentVersion", "vectorVersion"] {
        body[field].as_str().ok_or_else(|| format!("no {field}"))?;
    }
    let os = body["os"].as_str().unwrap_or_default();
    os.split_once('/').map(drop).ok_or_else(|| format!("os is {os}"))
}

fn text(of: &Value, field: &str, max: usize) -> Result<(), String> {
    match &of[field] {
        Value::Null => Ok(()),
        // JavaScript counts UTF-16 units.
        Value::String(text) if text.encode_utf16().count() <= max => Ok(()),
        other => Err(format!("{field} is {other:.80}")),
    }
}

fn one_of(of: &Value, field: &str, known: &[&str], is_required: bool) -> Result<(), String> {
    match &of[field] {
        Value::Null if !is_required => Ok(()),
        Value::String(text) if known.contains(&text.as_str()) => Ok(()),
        other => Err(format!("{field} is {other}")),
    }
}

fn whole(of: &Value, field: &str, is_required: bool) -> Result<(), String> {
    match &of[field] {
        Value::Null if !is_required => Ok(()),
        value if value.as_u64().is_some() => Ok(()),
        other => Err(format!("{field} is {other}")),
    }
}
