//! `POST /api/agent/samples` and `POST /api/agent/tap-events`: the agent's answers to what an operator asks.
//!
//! An answer that no request waits for is accepted and dropped: the agent would only send it again with its next
//! heartbeat. A tap whose watcher has left is stopped.

use std::borrow::Cow;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{Data, Json, Payload};
use serde::Deserialize;
use serde_json::value::RawValue;
use systole_shared::PipelineId;
use systole_shared::action::{ActionOutput, ActionRequest, AgentAction, MAX_TAP_EVENT_BYTES, TappedEvent};
use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::vectorflow::{Accepted, MAX_BODY_BYTES};
use uuid::Uuid;

use super::{Agent, Answer};
use crate::app::App;
use crate::clock;
use crate::http::body_budget::Sender;
use crate::http::error::ApiError;
use crate::http::extract::{parse_json, read_body};
use crate::ingest::decompress;
use crate::model::NodeKey;

/// Longest id of a component in an event.
const MAX_COMPONENT_BYTES: usize = 512;

/// The events of one component, of which each stays as it came.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sampled<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow)]
    component_key: Cow<'a, str>,
    #[serde(borrow, default)]
    events: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct SampledList<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// Events of a tap, or its end.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tapped<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pipeline_id: Cow<'a, str>,
    #[serde(borrow, default)]
    component_id: Cow<'a, str>,
    #[serde(borrow, default)]
    events: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

pub(in crate::http) async fn submit_samples(
    app: Data<App>,
    agent: Agent,
    request: HttpRequest,
    payload: Payload,
) -> Answer<Accepted> {
    read(&app, agent.node, &request, payload, |body| {
        let list: SampledList<'_> = parse_json(body)?;
        take_samples(&app, agent.node, &list.results);
        Ok(())
    })
    .await
}

/// Takes the answers in a heartbeat, which is where older agents send them.
pub(super) fn take_sample_results(app: &App, node: NodeKey, results: &RawValue) {
    if let Ok(results) = serde_json::from_str::<Vec<&RawValue>>(results.get()) {
        take_samples(app, node, &results);
    }
}

/// One that cannot be read is left out alone.
fn take_samples(app: &App, node: NodeKey, results: &[&RawValue]) {
    for result in results.iter().filter_map(|raw| serde_json::from_str::<Sampled<'_>>(raw.get()).ok()) {
        let events = result.events.unwrap_or_default().into_iter().map(|event| event.get().to_owned());
        take_sample(app, node, &result.request_id, &result.component_key, events, result.error.as_deref());
    }
}

fn take_sample(
    app: &App,
    node: NodeKey,
    request_id: &str,
    component: &str,
    events: impl Iterator<Item = String>,
    error: Option<&str>,
) {
    let Ok(id) = request_id.parse::<Uuid>() else { return };
    let output = ActionOutput {
        events: events.map(|event| tapped_event(component, event)).collect(),
        error: error.filter(|error| !error.is_empty()).map(short),
        ..ActionOutput::default()
    };
    app.actions.answer_part(node, id, component, output);
}

pub(in crate::http) async fn submit_tap_events(
    app: Data<App>,
    agent: Agent,
    request: HttpRequest,
    payload: Payload,
) -> Answer<Accepted> {
    read(&app, agent.node, &request, payload, |body| {
        let tapped: Tapped<'_> = parse_json(body)?;
        let Ok(id) = tapped.request_id.parse::<Uuid>() else { return Ok(()) };
        let done = tapped.status.as_deref() == Some("stopped");
        let events = tapped.events.unwrap_or_default().into_iter();
        let output = ActionOutput {
            events: events.map(|event| tapped_event(&tapped.component_id, event.get().to_owned())).collect(),
            dropped: 0,
            done,
            error: done.then(|| short(tapped.reason.as_deref().unwrap_or("the agent has ended it"))),
        };
        if !app.actions.answer(agent.node, id, output)
            && !done
            && let Ok(pipeline_id) = PipelineId::parse(&tapped.pipeline_id)
        {
            let stop = AgentAction { action_id: id, pipeline_id, request: ActionRequest::StopTap };
            app.delivery.push.send(agent.node, stop);
        }
        Ok(())
    })
    .await
}

/// Reads a body within its bound, and lets `take` have it.
async fn read(
    app: &App,
    node: NodeKey,
    request: &HttpRequest,
    payload: Payload,
    take: impl FnOnce(&[u8]) -> Result<(), ApiError>,
) -> Answer<Accepted> {
    let body = read_body(app, Sender::Node(node), request, payload, MAX_BODY_BYTES).await?;
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    decompress::open(&body.bytes, encoding, take).map_err(ApiError::from)??;
    Ok(Json(Accepted::OK))
}

fn tapped_event(component: &str, mut event: String) -> TappedEvent {
    let end = event.floor_char_boundary(MAX_TAP_EVENT_BYTES);
    let truncated = end < event.len();
    event.truncate(end);
    let component_id = component[..component.floor_char_boundary(MAX_COMPONENT_BYTES)].to_owned();
    TappedEvent { at: clock::now_ms(), component_id, event, truncated }
}

fn short(text: &str) -> String {
    cut(text.trim(), MAX_SHORT_TEXT_BYTES).replace(char::is_control, "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use systole_shared::vectorflow::{SampleResult, SampleResults, TapEvents};

    use super::*;

    #[test]
    fn bodies_are_those_of_the_protocol() {
        let result = SampleResult {
            request_id: "r\"1".into(),
            component_key: "in".into(),
            events: Some(vec![serde_json::json!({"message": "a\nb"})]),
            schema: None,
            error: Some("none".into()),
        };
        let body = serde_json::to_string(&SampleResults { results: vec![result] }).unwrap();
        let list: SampledList<'_> = serde_json::from_str(&body).unwrap();
        let result: Sampled<'_> = serde_json::from_str(list.results[0].get()).unwrap();
        assert_eq!(
            (&*result.request_id, &*result.component_key, result.error.as_deref()),
            ("r\"1", "in", Some("none"))
        );
        assert_eq!(result.events.unwrap()[0].get(), r#"{"message":"a\nb"}"#);
        let tapped = TapEvents {
            request_id: "r".into(),
            pipeline_id: "orders".into(),
            component_id: "in".into(),
            events: None,
            status: Some("stopped".into()),
            reason: Some("cancelled".into()),
        };
        let body = serde_json::to_string(&tapped).unwrap();
        let read: Tapped<'_> = serde_json::from_str(&body).unwrap();
        assert_eq!((read.status.as_deref(), read.reason.as_deref()), (Some("stopped"), Some("cancelled")));
    }

    #[test]
    fn long_event_is_cut() {
        let event = tapped_event("in", "ä".repeat(MAX_TAP_EVENT_BYTES));
        assert!(event.truncated && event.event.len() <= MAX_TAP_EVENT_BYTES);
    }
}
