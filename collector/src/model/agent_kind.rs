//! The program that reports for a node.

use serde::{Deserialize, Serialize};

/// Which agent a node has. What an agent cannot do follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AgentKind {
    /// `systole-agent`.
    #[default]
    Systole,
    /// The Go agent of VectorFlow, `vf-agent`, or another one that speaks its protocol.
    VectorFlow,
}

impl AgentKind {
    /// The name of the program, as the database and the API write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            AgentKind::Systole => "systole-agent",
            AgentKind::VectorFlow => "vf-agent",
        }
    }

    /// Reads what [`Self::as_str`] wrote; anything else is an agent of our own.
    pub(crate) fn from_text(text: &str) -> Self {
        match text {
            "vf-agent" => AgentKind::VectorFlow,
            _ => AgentKind::Systole,
        }
    }

    /// Why its version is not changed from here; `None` when it is.
    pub(crate) fn update_refusal(self) -> Option<&'static str> {
        match self {
            AgentKind::Systole => None,
            AgentKind::VectorFlow => Some("it has VectorFlow's agent; replace that by systole-agent on the host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_reads_what_it_wrote() {
        for kind in [AgentKind::Systole, AgentKind::VectorFlow] {
            assert_eq!(AgentKind::from_text(kind.as_str()), kind);
        }
    }
}
