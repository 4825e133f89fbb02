//! The response to `POST /api/v1/agent/reports`.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::action::AgentAction;

/// What the collector has received and committed of the boot in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReportAck {
    /// Highest report that the collector has read.
    pub received_seq: u64,
    /// Highest report that is committed; the agent removes everything up to it.
    pub durable_seq: u64,
    /// Items that were refused; the rest was accepted. At most 200 ([`MAX_REFUSED_LISTED`]);
    /// `refusedCount` has the full number.
    pub refused: Vec<Refused>,
    /// How many items were refused, listed or not.
    #[serde(default)]
    pub refused_count: u64,
    /// The interval at which the agent reports.
    pub interval_ms: u64,
    /// The collector's clock.
    pub now: UnixMillis,
    /// Missing reports before the first one of the request, stored as a gap of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<SeqRange>,
    /// Generation of the node's desired state ([`crate::desired::DesiredState::generation`]); absent when nothing
    /// was ever wanted of the node. An agent that has another one fetches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_generation: Option<u64>,
    /// What an agent without a push stream is to do now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<AgentAction>,
}

/// Refused items that a response lists: enough to find a fault, in a bounded response. Further ones are only
/// counted.
pub const MAX_REFUSED_LISTED: usize = 200;

/// Reports by number, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeqRange {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// One item that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The report it was in.
    pub seq: u64,
    /// The pipeline, unless the whole report was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<String>,
    /// The component, when only that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_id: Option<String>,
    /// Why, for programs.
    pub code: RefusalCode,
    /// Why, for display: the field and its value.
    pub detail: String,
}

/// Why an item was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// A counter below zero.
    NegativeCounter,
    /// A counter above 2^63-1.
    CounterTooLarge,
    /// An id that is empty, too long, or has control characters.
    InvalidId,
    /// An id that occurs twice in a report.
    DuplicateId,
    /// More pipelines than a report may have.
    TooManyPipelines,
    /// More components than a report may have.
    TooManyComponents,
    /// More log lines than a report may have.
    TooManyLogLines,
    /// A new pipeline of a node that has as many as it may, or too many new ones in this hour.
    NodePipelineLimit,
    /// The same for an environment.
    EnvironmentPipelineLimit,
    /// Ends more than an hour in the future.
    InFuture,
    /// Older than what the collector keeps.
    TooOld,
    /// An interval that ends before it starts.
    InvalidInterval,
    /// A field has the wrong type.
    InvalidItem,
    /// A code that this version does not know, from a later collector. Only read, never sent.
    #[serde(other, skip_serializing)]
    Unrecognized,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_has_the_names_of_the_protocol() {
        let json = r#"{"receivedSeq":41,"durableSeq":41,"refused":[{"seq":41,"pipelineId":"x","code":"negative_counter",
            "detail":"…"}],"intervalMs":5000,"now":1790000000000}"#;
        let ack: ReportAck = serde_json::from_str(json).unwrap();
        assert_eq!(ack.durable_seq, 41);
        assert_eq!(ack.refused[0].code, RefusalCode::NegativeCounter);
        let mut written = serde_json::to_value(&ack).unwrap();
        written.as_object_mut().unwrap().remove("refusedCount");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }

    #[test]
    fn unknown_refusal_code_is_not_another_code() {
        assert_eq!(serde_json::from_str::<RefusalCode>("\"invalid_item\"").unwrap(), RefusalCode::InvalidItem);
        assert_eq!(serde_json::from_str::<RefusalCode>("\"too_heavy\"").unwrap(), RefusalCode::Unrecognized);
        assert!(serde_json::to_string(&RefusalCode::Unrecognized).is_err(), "it is never sent");
    }
}
