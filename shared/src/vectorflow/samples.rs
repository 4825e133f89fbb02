//! The bodies of `POST /api/agent/samples` and `POST /api/agent/tap-events`.

use serde::{Deserialize, Serialize};

/// Answers to sample requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowSampleResults))]
pub struct SampleResults {
    /// One per component.
    pub results: Vec<SampleResult>,
}

/// The events of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowSampleResult))]
#[serde(rename_all = "camelCase")]
pub struct SampleResult {
    /// The request.
    pub request_id: String,
    /// The component.
    pub component_key: String,
    /// Events as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<serde_json::Value>>,
    /// The fields of these events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Vec<SchemaField>>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A field of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowSchemaField))]
pub struct SchemaField {
    /// Like `.a.b`.
    pub path: String,
    /// `string`, `float`, `boolean`, `object`, `array` or `null`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A value, cut at 64 characters.
    pub sample: String,
}

/// Events of a tap, or its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowTapEvents))]
#[serde(rename_all = "camelCase")]
pub struct TapEvents {
    /// The tap.
    pub request_id: String,
    /// The pipeline.
    pub pipeline_id: String,
    /// The component.
    pub component_id: String,
    /// Events as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<serde_json::Value>>,
    /// `stopped` in the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Why it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
