//! What collectors of one database share: which of them leads, and where the others are.
//!
//! Times are of the database's clock, so that clocks of hosts do not matter.

use async_trait::async_trait;
use systole_shared::UnixMillis;

use super::StoreError;

/// A collector as the others find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Made at each start.
    pub id: String,
    /// Where the others reach it.
    pub url: String,
    /// SHA-256 of its certificate, in hexadecimal; `None` without TLS.
    pub certificate: Option<String>,
    pub version: String,
    pub started_at: UnixMillis,
    /// How it is, as JSON.
    pub state: String,
}

/// A collector, and how long ago it wrote its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenMember {
    pub member: Member,
    pub silent_ms: i64,
}

/// The collector that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaderRow {
    /// Grows by one at each take-over.
    pub term: u64,
    /// `None`: it has given the role up, and no other has it yet.
    pub id: Option<String>,
    /// Where the others reach it; `None` when it has written no row.
    pub url: Option<String>,
    pub certificate: Option<String>,
    /// For how long it has written nothing.
    pub silent_ms: i64,
}

/// How to become the leader after this term. Of several that try, one succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// If the database has no session that leads.
    IfFree(u64),
    /// Also against one that was silent for too long: its session is ended, where that is permitted.
    Depose(u64),
}

impl Claim {
    /// The term that the caller knows.
    pub(crate) fn after(self) -> u64 {
        match self {
            Claim::IfFree(term) | Claim::Depose(term) => term,
        }
    }
}

/// The part of the database that makes several collectors one.
#[async_trait]
pub(crate) trait ClusterStore: Send + Sync {
    /// Makes this process the only one that commits. Returns its term; `None` when another one leads.
    async fn claim(&self, id: String, claim: Claim) -> Result<Option<u64>, StoreError>;
    /// Says that the leader of this term works; [`StoreError::Superseded`] when it leads no more.
    async fn renew(&self, term: u64) -> Result<(), StoreError>;
    /// Gives the role up, so that another process can claim it at once.
    async fn resign(&self) -> Result<(), StoreError>;
    /// Which process leads.
    async fn leader(&self) -> Result<LeaderRow, StoreError>;
    /// Writes this process's row, and removes rows of those that have written none for a day.
    async fn announce(&self, member: Member) -> Result<(), StoreError>;
    /// Removes this process's row.
    async fn leave(&self, id: String) -> Result<(), StoreError>;
    /// Every process, the oldest first.
    async fn members(&self) -> Result<Vec<SeenMember>, StoreError>;
    /// What collectors of this database identify themselves with to each other; made at the first call.
    async fn cluster_secret(&self) -> Result<String, StoreError>;
}
