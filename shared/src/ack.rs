//! The answer to `POST /api/v1/agent/reports`.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;

/// What the collector has of the boot that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReportAck {
    /// Highest report that was read.
    pub received_seq: u64,
    /// Highest report that is committed; the agent forgets everything up to here.
    pub durable_seq: u64,
    /// Items that were left out, the rest was taken. At most 200 ([`MAX_REFUSED_LISTED`]);
    /// see `refusedCount` for how many there were.
    pub refused: Vec<Refused>,
    /// How many items were left out, listed or not.
    #[serde(default)]
    pub refused_count: u64,
    /// How often the agent is to report.
    pub interval_ms: u64,
    /// The collector's clock.
    pub now: UnixMillis,
    /// A hole before the first report of the request, written down as a gap of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<SeqRange>,
}

/// Refused items that an answer lists; beyond it they are only counted.
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

/// One item that was left out.
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
    /// Why, for people: the field and its value.
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
    /// An id that stood in the same report before.
    DuplicateId,
    /// More pipelines than a report may have.
    TooManyPipelines,
    /// More components than a report may have.
    TooManyComponents,
    /// More log lines than a report may have.
    TooManyLogLines,
    /// Ends more than an hour in the future.
    InFuture,
    /// Older than what the collector keeps.
    TooOld,
    /// Of an interval that ends before it starts.
    InvalidInterval,
    /// A field has the wrong type; also a code that this version does not know.
    #[serde(other)]
    InvalidItem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_reads_as_the_protocol_has_it() {
        let json = r#"{"receivedSeq":41,"durableSeq":41,"refused":[{"seq":41,"pipelineId":"x","code":"negative_counter",
            "detail":"…"}],"intervalMs":5000,"now":1790000000000}"#;
        let ack: ReportAck = serde_json::from_str(json).unwrap();
        assert_eq!(ack.durable_seq, 41);
        assert_eq!(ack.refused[0].code, RefusalCode::NegativeCounter);
        let mut written = serde_json::to_value(&ack).unwrap();
        written.as_object_mut().unwrap().remove("refusedCount");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }
}
