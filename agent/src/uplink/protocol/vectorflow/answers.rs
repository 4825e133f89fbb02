//! Answers to samples and taps, as a VectorFlow server takes them.

use serde_json::Value;
use systole_shared::action::TappedEvent;
use systole_shared::vectorflow::{SampleResult, TapEvents};

use super::schema::schema_of;
use crate::model::action::{ActionAnswer, ComponentSample, NodeAction, NodeRequest};

/// Why a sample of a component that works has nothing.
const NO_EVENTS: &str = "no events came in time";

/// `status` of the last message of a tap.
const STOPPED: &str = "stopped";

/// The results of a sample; empty for an answer to something else. Those with events are first: after an error the
/// server takes no more.
pub(super) fn sample_results(action: &NodeAction, answer: &ActionAnswer) -> Vec<SampleResult> {
    let NodeRequest::Sample(request) = &action.request else { return Vec::new() };
    let mut results: Vec<_> = match answer {
        ActionAnswer::Sample { components, .. } => components.iter().map(|sample| result_of(action, sample)).collect(),
        ActionAnswer::Failed(error) => {
            let failed = |component: &String| error_of(action, component, error);
            request.components.iter().map(failed).collect()
        }
        _ => Vec::new(),
    };
    results.sort_by_key(|result| result.error.is_some());
    results
}

fn result_of(action: &NodeAction, sample: &ComponentSample) -> SampleResult {
    if sample.events.is_empty() {
        return error_of(action, &sample.component, sample.error.as_deref().unwrap_or(NO_EVENTS));
    }
    let events: Vec<Value> = sample.events.iter().map(value_of).collect();
    SampleResult {
        request_id: action.id.as_str().to_owned(),
        component_key: sample.component.clone(),
        schema: Some(schema_of(events.iter())),
        events: Some(events),
        error: None,
    }
}

fn error_of(action: &NodeAction, component: &str, error: &str) -> SampleResult {
    SampleResult {
        request_id: action.id.as_str().to_owned(),
        component_key: component.to_owned(),
        events: None,
        schema: None,
        error: Some(error.to_owned()),
    }
}

/// The messages of a tap; empty when there is nothing to send, or for an answer to something else.
pub(super) fn tap_events(action: &NodeAction, answer: &ActionAnswer) -> Vec<TapEvents> {
    let NodeRequest::Tap { component, .. } = &action.request else { return Vec::new() };
    let message = |events: Option<Vec<Value>>, reason: Option<String>| TapEvents {
        request_id: action.id.as_str().to_owned(),
        pipeline_id: action.pipeline.as_str().to_owned(),
        component_id: component.clone(),
        events,
        status: reason.is_some().then(|| STOPPED.to_owned()),
        reason,
    };
    let batch = |events: &[TappedEvent]| {
        (!events.is_empty()).then(|| message(Some(events.iter().map(value_of).collect()), None))
    };
    match answer {
        ActionAnswer::Events(events) => batch(&events.events).into_iter().collect(),
        ActionAnswer::TapEnded { rest, error } => {
            let end = message(None, Some(error.clone().unwrap_or_else(|| STOPPED.to_owned())));
            batch(&rest.events).into_iter().chain([end]).collect()
        }
        ActionAnswer::Failed(error) => vec![message(None, Some(error.clone()))],
        ActionAnswer::Done | ActionAnswer::Sample { .. } => Vec::new(),
    }
}

/// The event as JSON; one that was cut, or is no JSON, as a text.
fn value_of(event: &TappedEvent) -> Value {
    serde_json::from_str(&event.event).unwrap_or_else(|_| Value::String(event.event.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use systole_shared::PipelineId;

    use super::*;
    use crate::model::action::{ActionId, SampleRequest, TapBatch};

    fn action(request: NodeRequest) -> NodeAction {
        NodeAction { id: ActionId::new("r1"), pipeline: PipelineId::parse("cma").unwrap(), request }
    }

    fn event(text: &str) -> TappedEvent {
        TappedEvent { at: 0, component_id: "in".into(), event: text.into(), truncated: false }
    }

    #[test]
    fn results_with_events_precede_errors() {
        let components = ["a", "b", "c"].map(str::to_owned).to_vec();
        let request = SampleRequest { components, limit_each: 1, limit: 3, time_each: Duration::from_secs(1) };
        let action = action(NodeRequest::Sample(request));
        let sample = |component: &str, events: Vec<TappedEvent>, error: Option<&str>| ComponentSample {
            component: component.into(),
            events,
            error: error.map(str::to_owned),
        };
        let components = vec![
            sample("a", vec![], Some("it is a sink")),
            sample("b", vec![event("{\"n\":1}"), event("{\"cut")], Some("the tap ended")),
            sample("c", vec![], None),
        ];
        let found = sample_results(&action, &ActionAnswer::Sample { components, dropped: 0 });
        let found = serde_json::to_value(found).unwrap();
        assert_eq!(
            found,
            json!([
                {"requestId": "r1", "componentKey": "b", "events": [{"n": 1}, "{\"cut"],
                    "schema": [{"path": ".n", "type": "float", "sample": "1"}]},
                {"requestId": "r1", "componentKey": "a", "error": "it is a sink"},
                {"requestId": "r1", "componentKey": "c", "error": NO_EVENTS},
            ])
        );
        let failed = sample_results(&action, &ActionAnswer::Failed("no such pipeline".into()));
        assert_eq!(failed.iter().filter(|result| result.error.is_some()).count(), 3);
    }

    #[test]
    fn tap_ends_with_its_rest_and_a_reason() {
        let action = action(NodeRequest::Tap { component: "in".into(), time: Duration::from_secs(1) });
        let messages = |answer| serde_json::to_value(tap_events(&action, &answer)).unwrap();
        assert_eq!(messages(ActionAnswer::Events(TapBatch::default())), json!([]));
        let rest = TapBatch { events: vec![event("{}")], dropped: 2 };
        assert_eq!(
            messages(ActionAnswer::TapEnded { rest, error: None }),
            json!([
                {"requestId": "r1", "pipelineId": "cma", "componentId": "in", "events": [{}]},
                {"requestId": "r1", "pipelineId": "cma", "componentId": "in", "status": "stopped", "reason": "stopped"},
            ])
        );
        assert_eq!(messages(ActionAnswer::Failed("3 taps".into()))[0]["reason"], "3 taps");
    }
}
