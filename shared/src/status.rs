//! The states of pipelines and nodes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Running, but something is wrong that a person should look at.
    Degraded,
    /// Stopped on purpose.
    Stopped,
    /// Ended by itself; it will be started again.
    Crashed,
    /// Ended by itself too often; it waits for a change or a person.
    CrashLoop,
    /// A state that this version does not know, or nothing known yet. On the wire an unknown
    /// state is never an error.
    #[serde(other)]
    Unknown,
}

impl PipelineStatus {
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

    /// Whether the pipeline's process lives and works, as `pipelinesRunning` counts it.
    pub fn is_running(self) -> bool {
        matches!(self, PipelineStatus::Running | PipelineStatus::Degraded)
    }
}

impl fmt::Display for PipelineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a node does, as the collector sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeStatus {
    /// Reports come, and no pipeline needs a person.
    Healthy,
    /// Reports come, but a pipeline is CRASHED, CRASH_LOOP or DEGRADED, or two machines share one
    /// identity.
    Degraded,
    /// No report for three intervals.
    Unreachable,
    /// Enrolled, never reported.
    #[serde(other)]
    Unknown,
}

impl NodeStatus {
    /// The state as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeStatus::Healthy => "HEALTHY",
            NodeStatus::Degraded => "DEGRADED",
            NodeStatus::Unreachable => "UNREACHABLE",
            NodeStatus::Unknown => "UNKNOWN",
        }
    }

    /// Reads what [`Self::as_str`] wrote; anything else is [`NodeStatus::Unknown`].
    pub fn from_wire(text: &str) -> Self {
        match text {
            "HEALTHY" => NodeStatus::Healthy,
            "DEGRADED" => NodeStatus::Degraded,
            "UNREACHABLE" => NodeStatus::Unreachable,
            _ => NodeStatus::Unknown,
        }
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
    fn serde_and_the_database_spell_a_status_alike() {
        use PipelineStatus::*;
        for status in [Pending, Starting, Running, Degraded, Stopped, Crashed, CrashLoop, Unknown] {
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{}\"", status.as_str()));
            assert_eq!(PipelineStatus::from_wire(status.as_str()), status);
            assert_eq!(serde_json::from_str::<PipelineStatus>(&json).unwrap(), status);
        }
        use NodeStatus as N;
        for status in [N::Healthy, N::Degraded, N::Unreachable, N::Unknown] {
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{}\"", status.as_str()));
            assert_eq!(N::from_wire(status.as_str()), status);
        }
    }

    #[test]
    fn a_status_of_a_later_version_is_unknown_and_no_error() {
        assert_eq!(serde_json::from_str::<PipelineStatus>("\"PAUSED\"").unwrap(), PipelineStatus::Unknown);
    }
}
