//! The states of pipelines and nodes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PipelineStatus {
    /// Known, not started yet.
    Pending,
    /// Started, not ready yet.
    Starting,
    /// Running and ready.
    Running,
    /// Running, with a problem that needs attention.
    Degraded,
    /// Stopped on purpose.
    Stopped,
    /// Ended by itself; it will be started again.
    Crashed,
    /// Ended by itself too often; it waits for a change of its configuration or a reload.
    CrashLoop,
    /// A state that this version does not know, or no state yet. The text of an unknown state is kept beside
    /// it ([`crate::PipelineReport::status`]).
    #[serde(other)]
    Unknown,
}

impl PipelineStatus {
    /// Every state that this version sends.
    pub const ALL: [PipelineStatus; 8] = [
        PipelineStatus::Pending,
        PipelineStatus::Starting,
        PipelineStatus::Running,
        PipelineStatus::Degraded,
        PipelineStatus::Stopped,
        PipelineStatus::Crashed,
        PipelineStatus::CrashLoop,
        PipelineStatus::Unknown,
    ];

    /// The state as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            PipelineStatus::Pending => "PENDING",
            PipelineStatus::Starting => "STARTING",
            PipelineStatus::Running => "RUNNING",
            PipelineStatus::Degraded => "DEGRADED",
            PipelineStatus::Stopped => "STOPPED",
            PipelineStatus::Crashed => "CRASHED",
            PipelineStatus::CrashLoop => "CRASH_LOOP",
            PipelineStatus::Unknown => "UNKNOWN",
        }
    }

    /// Reads what [`Self::as_str`] wrote; anything else is [`PipelineStatus::Unknown`].
    pub fn from_wire(text: &str) -> Self {
        match text {
            "PENDING" => PipelineStatus::Pending,
            "STARTING" => PipelineStatus::Starting,
            "RUNNING" => PipelineStatus::Running,
            "DEGRADED" => PipelineStatus::Degraded,
            "STOPPED" => PipelineStatus::Stopped,
            "CRASHED" => PipelineStatus::Crashed,
            "CRASH_LOOP" => PipelineStatus::CrashLoop,
            _ => PipelineStatus::Unknown,
        }
    }

    /// Whether a pipeline in this state makes its node DEGRADED.
    pub fn degrades_node(self) -> bool {
        matches!(self, PipelineStatus::Crashed | PipelineStatus::CrashLoop | PipelineStatus::Degraded)
    }

    /// Whether the pipeline's process runs, as `pipelinesRunning` counts it.
    pub fn is_running(self) -> bool {
        matches!(self, PipelineStatus::Running | PipelineStatus::Degraded)
    }
}

impl fmt::Display for PipelineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a node, as the collector sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeStatus {
    /// Reports arrive, and every pipeline is well.
    Healthy,
    /// Reports arrive, but a pipeline is CRASHED, CRASH_LOOP or DEGRADED, or two machines share one
    /// identity.
    Degraded,
    /// No report for three intervals.
    Unreachable,
    /// The agent stopped in order, as its last report said.
    Offline,
    /// Enrolled, without a report yet.
    Unknown,
    /// A state that this version does not know, from a later collector. Only read, never sent.
    #[serde(other, skip_serializing)]
    #[cfg_attr(feature = "ts", ts(skip))]
    Unrecognized,
}

impl NodeStatus {
    /// Every state that this version sends.
    pub const ALL: [NodeStatus; 5] =
        [NodeStatus::Healthy, NodeStatus::Degraded, NodeStatus::Unreachable, NodeStatus::Offline, NodeStatus::Unknown];

    /// The state as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeStatus::Healthy => "HEALTHY",
            NodeStatus::Degraded => "DEGRADED",
            NodeStatus::Unreachable => "UNREACHABLE",
            NodeStatus::Offline => "OFFLINE",
            NodeStatus::Unknown => "UNKNOWN",
            NodeStatus::Unrecognized => "UNRECOGNIZED",
        }
    }

    /// Whether the node is known not to report: its pipelines are UNKNOWN.
    pub fn is_silent(self) -> bool {
        matches!(self, NodeStatus::Unreachable | NodeStatus::Offline)
    }

    /// Reads a state that this version sends; anything else is none.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_one_spelling_on_wire_and_database() {
        use PipelineStatus::*;
        for status in [Pending, Starting, Running, Degraded, Stopped, Crashed, CrashLoop, Unknown] {
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{}\"", status.as_str()));
            assert_eq!(PipelineStatus::from_wire(status.as_str()), status);
            assert_eq!(serde_json::from_str::<PipelineStatus>(&json).unwrap(), status);
        }
        for status in NodeStatus::ALL {
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{}\"", status.as_str()));
            assert_eq!(serde_json::from_str::<NodeStatus>(&json).unwrap(), status);
            assert_eq!(NodeStatus::from_wire(status.as_str()), Some(status));
        }
    }

    #[test]
    fn unknown_status_is_not_an_error() {
        assert_eq!(serde_json::from_str::<PipelineStatus>("\"PAUSED\"").unwrap(), PipelineStatus::Unknown);
        // For a node, UNKNOWN is a state of its own: no report yet.
        assert_eq!(serde_json::from_str::<NodeStatus>("\"DRAINING\"").unwrap(), NodeStatus::Unrecognized);
        assert_eq!(NodeStatus::from_wire("DRAINING"), None);
        assert!(serde_json::to_string(&NodeStatus::Unrecognized).is_err(), "it is never sent");
    }
}
