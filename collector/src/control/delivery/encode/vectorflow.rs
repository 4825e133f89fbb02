//! Messages and desired states in VectorFlow's form, version 1.
//!
//! That form has no goodbye: a stream just ends, and its agent comes back within 1 to 30 s. It has no generations
//! either. An agent polls when something has changed, and the answer has everything.

use std::collections::BTreeMap;

use bytes::Bytes;
use systole_shared::action::{ActionRequest, AgentAction, PushMessage};
use systole_shared::vectorflow::{ConfigPipeline, PushAction, PushEvent, SampleRequest, checksum};
use systole_shared::{DesiredPipeline, PipelineId, UnixMillis};

use super::block;
use crate::control::delivery::yaml::{ConversionError, to_yaml};
use crate::model::report::{Given, GivenVersion};

/// The engine that these agents run.
pub(crate) const ENGINE: &str = "vector";

/// Bytes of a pipeline's id that are a file name with what is appended to it.
const MAX_FILE_STEM_BYTES: usize = 200;

/// A message as a comment or an event; empty when there is none for it.
pub(super) fn render(message: &PushMessage, report_every_ms: u64) -> Bytes {
    match message {
        PushMessage::Hello { .. } => {
            format!(": connected\n\n{}", event(&PushEvent::PollInterval { interval_ms: report_every_ms })).into()
        }
        PushMessage::Ping { .. } => Bytes::from_static(b": keepalive\n\n"),
        PushMessage::Desired { generation } => {
            event(&PushEvent::ConfigChanged { pipeline_id: None, reason: Some(format!("generation {generation}")) })
                .into()
        }
        PushMessage::Action(action) => event(&action_event(action)).into(),
        PushMessage::Goodbye { .. } => Bytes::new(),
    }
}

/// The agents read the type out of the data.
fn event(event: &PushEvent) -> String {
    block(event.name(), event)
}

fn action_event(action: &AgentAction) -> PushEvent {
    let (request_id, pipeline_id) = (action.action_id.to_string(), action.pipeline_id.to_string());
    match &action.request {
        ActionRequest::Restart => PushEvent::Action(PushAction {
            action: "restart".to_owned(),
            pipeline_id: Some(pipeline_id),
            ..PushAction::default()
        }),
        ActionRequest::Sample { components, limit, .. } => {
            PushEvent::SampleRequest(sample_request(action, components, *limit))
        }
        ActionRequest::Tap { component, .. } => {
            PushEvent::TapStart { request_id, pipeline_id, component_id: component.clone() }
        }
        ActionRequest::StopTap => PushEvent::TapStop { request_id },
    }
}

/// A sample as it is asked for. Its limit is per component here.
pub(crate) fn sample_request(action: &AgentAction, components: &[String], limit: usize) -> SampleRequest {
    SampleRequest {
        request_id: action.action_id.to_string(),
        pipeline_id: action.pipeline_id.to_string(),
        component_keys: components.to_vec(),
        limit: limit.div_ceil(components.len().max(1)) as u64,
    }
}

/// A pipeline as an agent of VectorFlow receives it, and the record of that. A pipeline that is paused or that
/// the agent cannot run is left out: the agent then stops it and deletes its files.
///
/// # Errors
///
/// When the configuration does not become YAML.
pub(crate) fn pipeline(
    desired: DesiredPipeline,
    now: UnixMillis,
) -> Result<(Option<ConfigPipeline>, GivenVersion), ConversionError> {
    let given_version = |given| GivenVersion {
        pipeline: desired.id.clone(),
        version: desired.version,
        healthy_for_ms: desired.healthy_for_ms,
        given,
        given_at: now,
    };
    if desired.paused {
        return Ok((None, given_version(Given::Paused)));
    }
    if let Some(reason) = refusal(&desired.id, &desired.engine) {
        return Ok((None, given_version(Given::Withheld(reason))));
    }
    let config_yaml = with_log_level(&to_yaml(&desired.config, desired.format)?, desired.log_level.as_deref());
    let secrets: BTreeMap<String, String> =
        desired.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect();
    let checksum = checksum(&config_yaml, &secrets);
    let given = given_version(Given::Run { checksum: checksum.clone() });
    let pipeline = ConfigPipeline {
        pipeline_id: desired.id.to_string(),
        pipeline_name: desired.name,
        version: desired.version,
        config_yaml,
        checksum,
        log_level: desired.log_level,
        secrets: (!secrets.is_empty()).then_some(secrets),
        cert_files: None,
    };
    Ok((Some(pipeline), given))
}

/// Why these agents cannot run a pipeline.
fn refusal(id: &PipelineId, engine: &str) -> Option<String> {
    if engine != ENGINE {
        return Some(format!("VectorFlow's agent runs the engine {ENGINE:?} only; this pipeline has {engine:?}"));
    }
    let id = id.as_str();
    let is_file_name = !id.contains(['/', '\\']) && !id.starts_with('.') && id.len() <= MAX_FILE_STEM_BYTES;
    (!is_file_name).then(|| format!("VectorFlow's agent keeps a file per pipeline, and {id:?} is no file name"))
}

/// The agents restart a pipeline only for another checksum, and the log level is not part of it. As a comment it is.
fn with_log_level(config: &str, level: Option<&str>) -> String {
    match level {
        Some(level) => format!("# log level: {level}\n{config}"),
        None => config.to_owned(),
    }
}

#[cfg(test)]
#[path = "vectorflow_tests.rs"]
mod tests;
