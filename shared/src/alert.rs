//! Alerts: what a rule says of a subject.

use serde::{Deserialize, Serialize};

use crate::{EnvironmentId, NodeId, PipelineId, UnixMillis};

/// How far an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition holds, not yet for as long as the rule asks for.
    Pending,
    /// The condition has held for long enough.
    Firing,
    /// It fired, and the condition no longer holds.
    Resolved,
    /// The condition ended before the alert fired.
    Cancelled,
}

impl AlertState {
    /// Every state.
    pub const ALL: [AlertState; 4] =
        [AlertState::Pending, AlertState::Firing, AlertState::Resolved, AlertState::Cancelled];

    /// The state as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
            AlertState::Cancelled => "cancelled",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether the condition still holds.
    pub fn is_active(self) -> bool {
        matches!(self, AlertState::Pending | AlertState::Firing)
    }
}

/// How severe an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum AlertSeverity {
    /// To be known.
    Info,
    /// It needs attention during the day.
    Warning,
    /// It needs attention now.
    Critical,
}

impl AlertSeverity {
    /// Every severity, the least severe first.
    pub const ALL: [AlertSeverity; 3] = [AlertSeverity::Info, AlertSeverity::Warning, AlertSeverity::Critical];

    /// The severity as the wire, the database and the configuration write it.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertSeverity::Info => "info",
            AlertSeverity::Warning => "warning",
            AlertSeverity::Critical => "critical",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// An alert changed its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct AlertChange {
    /// The rule.
    pub rule: String,
    /// What the alert is about, for people: a node, a pipeline on a node as `node/pipeline`, or a part of the collector.
    pub subject: String,
    /// The environment; absent for an alert about the collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ts", ts(optional))]
    pub environment_id: Option<EnvironmentId>,
    /// The node; absent for an alert about the collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ts", ts(optional))]
    pub node_id: Option<NodeId>,
    /// The pipeline on the node, if the alert is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ts", ts(optional))]
    pub pipeline_id: Option<PipelineId>,
    /// The state now.
    pub state: AlertState,
    /// How severe it is.
    pub severity: AlertSeverity,
    /// What the rule measured; null when it measures nothing.
    pub value: Option<f64>,
    /// Since when the condition holds, or held.
    pub since: UnixMillis,
    /// What is wrong, for people.
    pub text: String,
    /// When the state changed.
    pub timestamp: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_severities_have_one_spelling() {
        for state in AlertState::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.as_str()));
            assert_eq!(AlertState::from_wire(state.as_str()), Some(state));
        }
        for severity in AlertSeverity::ALL {
            assert_eq!(serde_json::to_string(&severity).unwrap(), format!("\"{}\"", severity.as_str()));
            assert_eq!(AlertSeverity::from_wire(severity.as_str()), Some(severity));
        }
        assert!(AlertSeverity::Critical > AlertSeverity::Warning);
    }
}
