//! A rollout, its nodes, and what is known of the nodes that it concerns.

use std::collections::BTreeMap;

use systole_shared::{DeploymentPhase, UnixMillis};

use crate::model::definition::RolloutPolicy;
use crate::model::{NodeKey, RolloutKey};

/// Makes an enum of texts that the database and the API share.
macro_rules! states {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// As the database and the API write it.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }

            /// Reads what [`Self::as_str`] wrote.
            pub(crate) fn read(text: &str) -> Option<Self> {
                match text {
                    $($text => Some($name::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

states! {
    /// Where a rollout is.
    RolloutState {
        /// It brings the version to more nodes.
        Running = "running",
        /// Too many nodes failed, or none is healthy: it brings the version to no further node.
        Halted = "halted",
        /// Every node that can be reached has the version.
        Complete = "complete",
        /// Ended by an operator, or by another version.
        Aborted = "aborted",
    }
}

states! {
    /// Where a node is in a rollout.
    NodeState {
        /// It is still to get the version, or gets it again.
        Waiting = "waiting",
        /// It should run the version, and is not healthy yet.
        Deploying = "deploying",
        /// The version was up for as long as the policy asks.
        Healthy = "healthy",
        /// The version failed there. The node is back on the version before.
        Failed = "failed",
    }
}

/// A version on its way.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    pub key: RolloutKey,
    pub version: i64,
    /// What failed nodes go back to; `None`: to nothing.
    pub from_version: Option<i64>,
    pub policy: RolloutPolicy,
    pub state: RolloutState,
    pub reason: String,
    /// 0 for canaries, then batches.
    pub stage: i64,
    /// Nodes that it has reached.
    pub nodes: BTreeMap<NodeKey, RolloutNode>,
}

/// A node that a rollout has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RolloutNode {
    pub stage: i64,
    pub state: NodeState,
    pub reason: String,
    /// When the state began, or the node was back.
    pub changed_at: UnixMillis,
}

/// Whether a node can get a version now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It reports.
    Ready,
    /// It gets the version when it is back: it is silent, or in maintenance. Why.
    Away(&'static str),
    /// It never gets it: it does not accept pipelines, or has no such engine. Why.
    Unfit(String),
}

/// A node that a rollout selects.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub key: NodeKey,
    pub name: String,
    pub readiness: Readiness,
    pub is_canary: bool,
    /// What the node says of the version, if it says anything.
    pub report: Option<VersionReport>,
}

impl Candidate {
    pub(super) fn is_ready(&self) -> bool {
        self.readiness == Readiness::Ready
    }

    pub(super) fn is_fit(&self) -> bool {
        !matches!(self.readiness, Readiness::Unfit(_))
    }
}

/// How far a node says it is with the version of the rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionReport {
    pub phase: DeploymentPhase,
    pub reason: String,
    /// When the report came that first said so.
    pub since: UnixMillis,
}
