//! The events of `GET /api/agent/push`. The first line is the comment `: connected`, and a comment comes every 30 s.

use serde::{Deserialize, Serialize};

/// An event: `event: <type>`, and `data:` with the other fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowPushEvent))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PushEvent {
    /// Poll now, and send a heartbeat one second later.
    #[serde(rename_all = "camelCase")]
    ConfigChanged {
        /// The pipeline that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pipeline_id: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Collect events and send them to `/api/agent/samples`.
    SampleRequest(super::SampleRequest),
    /// Restart a pipeline, or change the agent's version.
    Action(PushAction),
    /// Poll and report at this interval.
    #[serde(rename_all = "camelCase")]
    PollInterval {
        /// Milliseconds.
        interval_ms: u64,
    },
    /// Send the events of a component to `/api/agent/tap-events`.
    #[serde(rename_all = "camelCase")]
    TapStart {
        /// The tap.
        request_id: String,
        /// The pipeline.
        pipeline_id: String,
        /// The component.
        component_id: String,
    },
    /// End a tap.
    #[serde(rename_all = "camelCase")]
    TapStop {
        /// The tap.
        request_id: String,
    },
}

impl PushEvent {
    /// The name that `event:` has.
    pub fn name(&self) -> &'static str {
        match self {
            PushEvent::ConfigChanged { .. } => "config_changed",
            PushEvent::SampleRequest(_) => "sample_request",
            PushEvent::Action(_) => "action",
            PushEvent::PollInterval { .. } => "poll_interval",
            PushEvent::TapStart { .. } => "tap_start",
            PushEvent::TapStop { .. } => "tap_stop",
        }
    }
}

/// What `action` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowPushAction))]
#[serde(rename_all = "camelCase")]
pub struct PushAction {
    /// `self_update` or `restart`.
    pub action: String,
    /// The pipeline of a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<String>,
    /// The version of an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_version: Option<String>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_url: Option<String>,
    /// Its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}
