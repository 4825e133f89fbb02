//! The VectorFlow agent protocol, version 1: what `vf-agent` and the VectorFlow server exchange.
//!
//! JSON in camel case under `/api/agent/`, with `Authorization: Bearer <node token>`. Success is 200. The agent uses
//! these types towards a VectorFlow server, the collector towards Go agents. Ids are text here: a VectorFlow server
//! has ids of its own form.
//!
//! Counters are totals since the start of the process. The Go agent omits a field that is zero.

mod checksum;
mod config;
mod enroll;
mod heartbeat;
mod logs;
mod push;
mod samples;
pub mod token;

pub use checksum::checksum;
pub use config::{CertFile, ConfigPipeline, ConfigResponse, PendingAction, SampleRequest};
pub use enroll::{EnrollRequest, EnrollResponse};
pub use heartbeat::{AgentHealth, Heartbeat, HeartbeatComponent, HeartbeatPipeline, HostMetrics};
pub use logs::LogBatch;
pub use push::{PushAction, PushEvent};
pub use samples::{SampleResult, SampleResults, SchemaField, TapEvents};

use serde::{Deserialize, Serialize};

/// Log lines of one batch of `POST /api/agent/logs`.
pub const MAX_LINES_PER_BATCH: usize = 500;

/// Bytes of the body of a request; a VectorFlow server answers 413 to a longer one.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Characters of `agentVersion`, `vectorVersion` and `runningAs`.
pub const MAX_VERSION_CHARS: usize = 100;

/// Characters of `updateError`.
pub const MAX_UPDATE_ERROR_CHARS: usize = 500;

/// Characters of `configChecksum`.
pub const MAX_CHECKSUM_CHARS: usize = 128;

/// Requests per token and minute that a VectorFlow server accepts.
pub mod rates {
    /// `GET /api/agent/config`.
    pub const CONFIG: u32 = 30;
    /// `POST /api/agent/heartbeat`.
    pub const HEARTBEAT: u32 = 30;
    /// `POST /api/agent/logs`.
    pub const LOGS: u32 = 60;
    /// `POST /api/agent/samples`.
    pub const SAMPLES: u32 = 60;
    /// `POST /api/agent/tap-events`.
    pub const TAP_EVENTS: u32 = 120;
}

/// `{"ok":true}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowOk))]
pub struct Accepted {
    /// Always true.
    pub ok: bool,
}

impl Accepted {
    /// The answer itself.
    pub const OK: Accepted = Accepted { ok: true };
}

/// The body of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowError))]
pub struct ErrorBody {
    /// What is wrong.
    pub error: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}
