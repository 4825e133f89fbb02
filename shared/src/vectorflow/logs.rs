//! The body of `POST /api/agent/logs`: a bare array.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Lines of one pipeline, oldest first; at most 500 ([`super::MAX_LINES_PER_BATCH`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VectorFlowLogBatch))]
#[serde(rename_all = "camelCase")]
pub struct LogBatch<'a> {
    /// The pipeline.
    #[serde(borrow)]
    pub pipeline_id: Text<'a>,
    /// Its lines, without time or stream.
    #[serde(borrow)]
    pub lines: Vec<Text<'a>>,
}
