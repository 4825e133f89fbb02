//! What the collector asks of an agent while it runs: the push stream `GET /api/v1/agent/push`, and the answers
//! `POST /api/v1/agent/actions/{id}`.
//!
//! An action is not repeated: one that reaches no agent within [`ACTION_TIMEOUT_MS`] has failed, and so
//! the request of the operator fails.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{PipelineId, UnixMillis};

/// How long an action waits for its agent: two reports of an agent without a push stream, and some.
pub const ACTION_TIMEOUT_MS: u64 = 15_000;

/// Components of one sample.
pub const MAX_SAMPLE_COMPONENTS: usize = 16;

/// Events of one sample, in all.
pub const MAX_SAMPLE_EVENTS: usize = 1_000;

/// The longest time that one sample takes.
pub const MAX_SAMPLE_MS: u64 = 15_000;

/// Live taps of one node at once.
pub const MAX_TAPS_PER_NODE: usize = 3;

/// The longest time that one tap lives.
pub const MAX_TAP_MS: u64 = 5 * 60_000;

/// Events that a tap sends in a second. The agent counts the rest in [`ActionOutput::dropped`].
pub const MAX_TAP_EVENTS_PER_SECOND: usize = 100;

/// Bytes of one event of a sample or tap. The agent cuts a longer one.
pub const MAX_TAP_EVENT_BYTES: usize = 16 * 1024;

/// A message of the push stream. Its type is the `event:` of the stream too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PushMessage {
    /// The first message: the generation of the node's desired state.
    #[serde(rename_all = "camelCase")]
    Hello {
        /// The generation of the desired state.
        generation: u64,
        /// A ping comes at least this often.
        ping_ms: u64,
    },
    /// The stream lives.
    Ping {
        /// The collector's clock.
        now: UnixMillis,
    },
    /// The desired state has changed: fetch it.
    Desired {
        /// The generation of the desired state.
        generation: u64,
    },
    /// Something to do now.
    Action(AgentAction),
    /// The collector closes the stream on purpose.
    #[serde(rename_all = "camelCase")]
    Goodbye {
        /// Milliseconds to wait before the next connection.
        retry_ms: u64,
    },
}

impl PushMessage {
    /// The name that `event:` has.
    pub fn name(&self) -> &'static str {
        match self {
            PushMessage::Hello { .. } => "hello",
            PushMessage::Ping { .. } => "ping",
            PushMessage::Desired { .. } => "desired",
            PushMessage::Action(_) => "action",
            PushMessage::Goodbye { .. } => "goodbye",
        }
    }
}

/// One action for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentAction {
    /// The name of this action in its answers.
    pub action_id: Uuid,
    /// The pipeline.
    pub pipeline_id: PipelineId,
    /// What to do.
    #[serde(flatten)]
    pub request: ActionRequest,
}

/// What an agent can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ActionRequest {
    /// Stop the process and start it again.
    Restart,
    /// Collect events of components and answer once.
    #[serde(rename_all = "camelCase")]
    Sample {
        /// At most 16 ([`MAX_SAMPLE_COMPONENTS`]).
        components: Vec<String>,
        /// At most 1,000 in all ([`MAX_SAMPLE_EVENTS`]).
        limit: usize,
        /// At most 15 s ([`MAX_SAMPLE_MS`]).
        duration_ms: u64,
    },
    /// Send the events of a component as they come, until `stop_tap` or the end of its time.
    #[serde(rename_all = "camelCase")]
    Tap {
        /// The component.
        component: String,
        /// At most 5 minutes ([`MAX_TAP_MS`]).
        duration_ms: u64,
    },
    /// End the tap that has this action's id.
    StopTap,
}

/// An agent's answer to an action. A tap has many; the last one is `done`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ActionOutput {
    /// Events, in order. Values that the agent redacts are `"[redacted]"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<TappedEvent>,
    /// Events since the last answer that were not sent: too many, or too slow a way to the collector.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// Whether this is the last answer.
    pub done: bool,
    /// Why the action failed or ended early; absent when it did what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One event that passed a component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct TappedEvent {
    /// When the agent received it.
    pub at: UnixMillis,
    /// The component that sent it.
    pub component_id: String,
    /// The event as JSON text, cut at 16 KiB ([`MAX_TAP_EVENT_BYTES`]).
    pub event: String,
    /// Whether it was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// A message of the stream of a tap, `GET /api/v1/pipelines/{id}/tap`. Its type is the `event:` of the stream too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TapMessage {
    /// An event that passed the component.
    TapEvent(TappedEvent),
    /// The last message.
    TapStopped {
        /// Why.
        reason: String,
    },
    /// Events were dropped: too many, or the client reads too slowly.
    TapDropped {
        /// How many since the last message.
        dropped: u64,
    },
    /// The stream lives.
    Ping {
        /// The collector's clock.
        now: UnixMillis,
    },
}

impl TapMessage {
    /// The name that `event:` has.
    pub fn name(&self) -> &'static str {
        match self {
            TapMessage::TapEvent(_) => "tap_event",
            TapMessage::TapStopped { .. } => "tap_stopped",
            TapMessage::TapDropped { .. } => "tap_dropped",
            TapMessage::Ping { .. } => "ping",
        }
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_messages_have_the_names_of_the_protocol() {
        let action = AgentAction {
            action_id: Uuid::nil(),
            pipeline_id: PipelineId::parse("orders").unwrap(),
            request: ActionRequest::Tap { component: "parse".into(), duration_ms: 60_000 },
        };
        let text = serde_json::to_value(PushMessage::Action(action.clone())).unwrap();
        assert_eq!(
            text,
            serde_json::json!({
                "type": "action", "actionId": Uuid::nil(), "pipelineId": "orders",
                "action": "tap", "component": "parse", "durationMs": 60_000
            })
        );
        assert_eq!(serde_json::from_value::<PushMessage>(text).unwrap(), PushMessage::Action(action));
        let hello = PushMessage::Hello { generation: 7, ping_ms: 10_000 };
        assert_eq!(
            serde_json::to_value(&hello).unwrap(),
            serde_json::json!({"type": "hello", "generation": 7, "pingMs": 10_000})
        );
        assert_eq!(hello.name(), "hello");
    }
}
