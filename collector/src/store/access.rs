//! Identities in the store: environments, tokens, and nodes with their last applied reports.

use std::collections::BTreeMap;
use std::sync::Arc;

use systole_shared::events::EventType;
use systole_shared::{BootId, NodeId, NodeStatus, PipelineStatus, TokenHash, TokenId, TokenKind, UnixMillis};

use super::{DeploymentRow, FlushMark, PipelineStatusRow, StoredEnvironment, WalRow};
use crate::model::node::{Labels, NodeSettings};
use crate::model::{EnvironmentKey, NodeKey};
use crate::model::{PipelineKey, SeriesKey};

/// The lowest number from which on nothing is missing, for lines and status changes: their retentions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Oldest {
    pub log: u64,
    pub event: u64,
}

impl Oldest {
    /// Lowest sequence number from which on every event of a type is still kept.
    pub(crate) fn of(self, kind: EventType) -> u64 {
        match kind {
            EventType::LogEntry => self.log,
            _ => self.event,
        }
    }

    /// The same for every type.
    pub(crate) fn of_all(self) -> u64 {
        self.log.max(self.event)
    }
}

/// The feed's epoch and the ends of its sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedPosition {
    pub epoch: Arc<str>,
    /// Highest sequence number that is committed.
    pub head: u64,
    pub oldest: Oldest,
}

/// A token without its secret.
#[derive(Clone, Debug)]
pub(crate) struct StoredToken {
    pub id: TokenId,
    pub kind: TokenKind,
    /// `None`: every environment.
    pub environment: Option<EnvironmentKey>,
    pub node: Option<NodeKey>,
    /// Of a session: the token that opened it.
    pub parent: Option<TokenId>,
    pub hash: TokenHash,
    pub hint: String,
    pub created_at: UnixMillis,
    pub expires_at: Option<UnixMillis>,
    pub revoked_at: Option<UnixMillis>,
    pub last_used_at: Option<UnixMillis>,
    pub label: TokenLabel,
}

/// What people wrote on a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenLabel {
    pub name: Option<String>,
    pub note: Option<String>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub kind: TokenKind,
    pub environment: Option<EnvironmentKey>,
    /// The token that a session is made from.
    pub parent: Option<TokenId>,
    pub label: TokenLabel,
    pub hash: TokenHash,
    pub hint: String,
    pub created_at: UnixMillis,
    pub expires_at: Option<UnixMillis>,
}

/// Tokens and environments at one version.
#[derive(Clone, Debug)]
pub(crate) struct AccessSnapshot {
    pub version: i64,
    pub environments: Vec<StoredEnvironment>,
    /// Without revoked ones.
    pub tokens: Vec<StoredToken>,
}

/// A host that asks to become a node.
#[derive(Clone, Debug)]
pub(crate) struct NewEnrolment {
    pub environment: EnvironmentKey,
    pub name: String,
    pub machine_id: Option<String>,
    pub os: String,
    pub agent_version: String,
    pub labels: BTreeMap<String, String>,
    pub hash: TokenHash,
    pub hint: String,
    pub now: UnixMillis,
    /// The older tokens of the node stay valid until this time.
    pub old_tokens_until: UnixMillis,
}

/// Which node a host becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnrolAs {
    /// The node of its machine id, or a new one.
    NodeOfMachine,
    /// A new node; [`StoreError::Exists`](super::StoreError::Exists) when the machine id has one by now.
    New,
    /// This node.
    Known(NodeKey),
    /// A new node beside the one whose machine id it also has.
    TwinOf(NodeKey),
}

/// A node and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeName {
    pub key: NodeKey,
    pub id: NodeId,
    pub name: String,
}

/// A host that is a node now.
#[derive(Clone, Debug)]
pub(crate) struct EnrolledNode {
    pub key: NodeKey,
    pub id: NodeId,
    pub token: StoredToken,
    /// Tokens of the node with a changed expiry.
    pub old_tokens: Vec<StoredToken>,
}

/// The reason of a node's first state.
pub(crate) const ENROLLED: &str = "enrolled";

/// The state that the committer loads before its first report.
#[derive(Clone, Debug)]
pub(crate) struct IngestSnapshot {
    pub position: FeedPosition,
    pub nodes: Vec<StoredNode>,
    /// Key, environment, id and name of every pipeline.
    pub pipelines: Vec<(PipelineKey, EnvironmentKey, String, String)>,
    pub last_series: SeriesKey,
    /// The oldest first.
    pub wal: Vec<WalRow>,
    pub mark: FlushMark,
}

/// A node as the committer knows it.
#[derive(Clone, Debug)]
pub(crate) struct StoredNode {
    pub key: NodeKey,
    pub id: NodeId,
    pub environment: EnvironmentKey,
    /// As the agent reports it, like the labels.
    pub name: String,
    pub reported_labels: Labels,
    pub settings: NodeSettings,
    pub status: NodeStatus,
    pub status_reason: String,
    /// Least recently seen first.
    pub boots: Vec<(BootId, u64)>,
    pub enrolled_at: UnixMillis,
    pub agent_version: Option<String>,
    /// When the last report came; 0 when none did.
    pub last_seen: UnixMillis,
    /// The last totals that its agent reported, packed.
    pub totals: Option<Vec<u8>>,
    pub statuses: Vec<(PipelineStatus, PipelineStatusRow)>,
    /// Pipeline, component ("" for the pipeline itself) and key.
    pub series: Vec<(PipelineKey, String, SeriesKey)>,
    pub deployments: Vec<DeploymentRow>,
}
