//! What the store keeps of identities: environments, tokens, nodes and how far they are applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use systole_shared::events::EventType;
use systole_shared::{BootId, NodeId, NodeStatus, PipelineStatus, TokenHash, TokenId, TokenKind, UnixMillis};

use super::{FlushMark, PipelineStatusRow, StoredEnvironment, WalRow};
use crate::model::{EnvironmentKey, NodeKey};
use crate::model::{PipelineKey, SeriesKey};

/// From where on nothing is missing: lines and status changes are kept for different times.
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
}

/// A token to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub kind: TokenKind,
    pub environment: Option<EnvironmentKey>,
    /// The token that a session is made from.
    pub parent: Option<TokenId>,
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
    /// Tokens that the node had before stay valid until then.
    pub old_tokens_until: UnixMillis,
}

/// A host that is a node now.
#[derive(Clone, Debug)]
pub(crate) struct EnrolledNode {
    pub key: NodeKey,
    pub id: NodeId,
    pub token: StoredToken,
    /// Tokens of the node whose end has moved.
    pub old_tokens: Vec<StoredToken>,
}

/// What the committer must know before its first report.
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
    pub status: NodeStatus,
    /// Least recently seen first.
    pub boots: Vec<(BootId, u64)>,
    pub statuses: Vec<(PipelineStatus, PipelineStatusRow)>,
    /// Pipeline, component ("" for the pipeline itself) and key.
    pub series: Vec<(PipelineKey, String, SeriesKey)>,
}
