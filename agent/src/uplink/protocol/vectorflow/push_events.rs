//! The events of a VectorFlow server's push channel.

use std::time::Duration;

use serde_json::Value;
use systole_shared::PipelineId;
use systole_shared::action::MAX_TAP_MS;
use systole_shared::vectorflow::{PendingAction, PushAction, PushEvent};
use uuid::Uuid;

use super::wanted::{sample_of, update_of};
use crate::model::action::{ActionId, NodeAction, NodeRequest};
use crate::uplink::instructions::Instructions;

/// Passes on what an event asks for.
pub(in crate::uplink::protocol) fn heed(kind: &str, data: &str, instructions: &Instructions) {
    match read(kind, data) {
        Ok(event) => pass_on(event, instructions),
        // A later server may send more than this version knows.
        Err(error) => tracing::info!(kind, error, "an event of the push channel is not known"),
    }
}

/// The event. Its type is that of the stream, or in the data.
fn read(kind: &str, data: &str) -> Result<PushEvent, String> {
    let mut event: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
    let Value::Object(fields) = &mut event else { return Err("its data is no object".to_owned()) };
    fields.entry("type").or_insert_with(|| kind.into());
    serde_json::from_value(event).map_err(|error| error.to_string())
}

fn pass_on(event: PushEvent, instructions: &Instructions) {
    match event {
        PushEvent::ConfigChanged { pipeline_id, reason } => {
            tracing::debug!(pipeline = pipeline_id, reason, "the server says that the configuration has changed");
            instructions.ask();
        }
        PushEvent::SampleRequest(request) => {
            if let Some(action) = sample_of(request) {
                instructions.act(action);
            }
        }
        PushEvent::Action(action) => act(action, instructions),
        // 0 is no interval.
        PushEvent::PollInterval { interval_ms: 0 } => {}
        PushEvent::PollInterval { interval_ms } => instructions.set_interval(Duration::from_millis(interval_ms)),
        PushEvent::TapStart { request_id, pipeline_id, component_id } => {
            let time = Duration::from_millis(MAX_TAP_MS);
            let request = NodeRequest::Tap { component: component_id, time };
            act_on(&ActionId::new(&request_id), &pipeline_id, request, instructions);
        }
        PushEvent::TapStop { request_id } => {
            // The name of the tap is enough; the event has no pipeline.
            act_on(&ActionId::new(&request_id), "tap", NodeRequest::StopTap, instructions);
        }
    }
}

fn act(action: PushAction, instructions: &Instructions) {
    let PushAction { action, pipeline_id, target_version, download_url, checksum } = action;
    match (action.as_str(), pipeline_id) {
        ("restart", Some(pipeline)) => {
            let id = ActionId::new(&Uuid::new_v4().to_string());
            act_on(&id, &pipeline, NodeRequest::Restart, instructions);
        }
        ("self_update", _) => {
            let pending = PendingAction {
                kind: action,
                target_version: target_version.unwrap_or_default(),
                download_url: download_url.unwrap_or_default(),
                checksum: checksum.unwrap_or_default(),
                signature: None,
            };
            if let Some(update) = update_of(pending) {
                instructions.update(update);
            }
        }
        _ => {
            tracing::info!(action, "the server asks for an action that this agent does not know");
            instructions.ask();
        }
    }
}

fn act_on(id: &ActionId, pipeline: &str, request: NodeRequest, instructions: &Instructions) {
    match PipelineId::parse(pipeline) {
        Ok(pipeline) => instructions.act(NodeAction { id: id.clone(), pipeline, request }),
        Err(_) => tracing::warn!(action = %id, "the server asks for an action on a pipeline with an invalid id"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn event_has_its_type_in_the_stream_or_in_the_data() {
        let stop = PushEvent::TapStop { request_id: "r".into() };
        assert_eq!(read("tap_stop", "{\"requestId\":\"r\"}").unwrap(), stop);
        let data = json!({"type": "tap_stop", "requestId": "r", "later": 1}).to_string();
        assert_eq!(read("message", &data).unwrap(), stop);
        assert!(read("later", "{}").is_err() && read("tap_stop", "[]").is_err() && read("tap_stop", "{").is_err());
    }
}
