//! The answer of `GET /api/agent/config`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What the node is to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowConfig))]
#[serde(rename_all = "camelCase")]
pub struct ConfigResponse {
    /// Every pipeline; one that is missing is stopped and deleted.
    pub pipelines: Vec<ConfigPipeline>,
    /// Milliseconds between two polls, and between two heartbeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval_ms: Option<u64>,
    /// `BUILTIN`, `VAULT`, `AWS_SM` or `EXEC`. `AWS_SM` and `EXEC` come without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_backend: Option<String>,
    /// Settings of that back end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_backend_config: Option<serde_json::Value>,
    /// Where the push channel is. Absent in maintenance, where an open one stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_url: Option<String>,
    /// Samples that wait for this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample_requests: Vec<SampleRequest>,
    /// Something to do once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_action: Option<PendingAction>,
}

/// One pipeline. It does not print its configuration or secrets: both can contain a password.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowConfigPipeline))]
#[serde(rename_all = "camelCase")]
pub struct ConfigPipeline {
    /// Unique on the server; it is a file name on the node.
    pub pipeline_id: String,
    /// The name for display.
    #[serde(default)]
    pub pipeline_name: String,
    /// The version of the configuration.
    #[serde(default)]
    pub version: i64,
    /// The configuration of Vector.
    pub config_yaml: String,
    /// SHA-256 of `configYaml`, followed by the JSON of the secrets with sorted keys if there are any.
    pub checksum: String,
    /// `VECTOR_LOG` of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Variables of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<BTreeMap<String, String>>,
    /// Files beside the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_files: Option<Vec<CertFile>>,
}

impl fmt::Debug for ConfigPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigPipeline")
            .field("pipeline_id", &self.pipeline_id)
            .field("version", &self.version)
            .field("checksum", &self.checksum)
            .finish_non_exhaustive()
    }
}

/// A file in `certs/`. It does not print its data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowCertFile))]
pub struct CertFile {
    /// The name for display.
    #[serde(default)]
    pub name: String,
    /// The name of the file; only its last part is used.
    pub filename: String,
    /// The content in base64.
    pub data: String,
}

impl fmt::Debug for CertFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertFile").field("filename", &self.filename).finish_non_exhaustive()
    }
}

/// Events of components are asked for once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowSampleRequest))]
#[serde(rename_all = "camelCase")]
pub struct SampleRequest {
    /// The name of the request in its answers.
    pub request_id: String,
    /// The pipeline.
    pub pipeline_id: String,
    /// At most 16 are answered.
    pub component_keys: Vec<String>,
    /// Events per component, 1 to 1,000.
    pub limit: u64,
}

/// Something to do once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowPendingAction))]
#[serde(rename_all = "camelCase")]
pub struct PendingAction {
    /// `self_update`, the only one.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version to change to.
    #[serde(default)]
    pub target_version: String,
    /// Where the program is, over HTTPS.
    #[serde(default)]
    pub download_url: String,
    /// Its SHA-256 in hexadecimal digits, with or without `sha256:`.
    #[serde(default)]
    pub checksum: String,
    /// Ed25519 over the 32 bytes of the SHA-256, in base64. A VectorFlow server sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}
