//! The collectors of a database: each writes every second how it is, and anyone can read it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

use super::{Cluster, Role};
use crate::feed::Feed;
use crate::store::{ClusterStore, Member, StoreError};
use crate::tasks::driver::{Activation, Pacing, Task, TaskError};
use crate::telemetry::Telemetry;

/// How often a collector writes its row.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);

/// A collector that has written nothing for so long counts as gone.
pub(crate) const GONE_AFTER_MS: i64 = 10_000;

/// How a collector is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MemberState {
    pub role: String,
    pub term: u64,
    /// Highest sequence number that it has published.
    pub head: u64,
    /// Milliseconds since it heard of the leader; null when it has heard of none.
    pub lag_ms: Option<u64>,
    /// Streams of subscribers.
    pub streams: u64,
}

/// Writes this collector's row.
pub(crate) struct Announcement {
    pub cluster: Arc<Cluster>,
    pub store: Arc<dyn ClusterStore>,
    pub feed: Arc<Feed>,
    pub telemetry: Arc<Telemetry>,
    /// SHA-256 of the certificate that is served; it may be renewed.
    pub certificate: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    pub started_at: UnixMillis,
}

/// A collector that has written nothing for so long may not be there any more.
const SILENT_AFTER_MS: i64 = 3_000;

impl MemberView {
    /// Whether it may not be there any more.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent_ms >= SILENT_AFTER_MS
    }

    /// Whether it leads, as far as it has written.
    pub(crate) fn leads(&self) -> bool {
        !self.is_silent() && self.state.role == Role::Leader.as_str()
    }
}

impl Announcement {
    /// Writes the row.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn write(&self) -> Result<(), StoreError> {
        let state = self.state();
        let state = serde_json::to_string(&state).unwrap_or_default();
        self.store
            .announce(Member {
                id: self.cluster.id.clone(),
                url: self.cluster.url.clone(),
                certificate: (self.certificate)(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at: self.started_at,
                state,
            })
            .await
    }

    fn state(&self) -> MemberState {
        MemberState {
            role: self.cluster.role().as_str().to_owned(),
            term: self.cluster.term(),
            head: self.feed.head(),
            lag_ms: self.cluster.lag().and_then(|lag| u64::try_from(lag.as_millis()).ok()),
            streams: u64::try_from(self.telemetry.feed_subscribers.get()).unwrap_or(0),
        }
    }
}

#[async_trait]
impl Task for Announcement {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn pacing(&self) -> Pacing {
        Pacing {
            first: ANNOUNCE_INTERVAL,
            between: Duration::ZERO,
            retry: ANNOUNCE_INTERVAL,
            max_retry: ANNOUNCE_INTERVAL * 5,
        }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        self.write().await?;
        Ok(Activation::IdleFor(ANNOUNCE_INTERVAL))
    }

    async fn finish(&mut self) {
        // The others see its silence otherwise.
        let _ = self.store.leave(self.cluster.id.clone()).await;
    }
}

/// A collector of this database, for readers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MemberView {
    pub id: String,
    pub url: String,
    pub certificate: Option<String>,
    pub version: String,
    pub started_at: UnixMillis,
    pub silent_ms: i64,
    pub state: MemberState,
}

/// Every collector that was heard of lately, the oldest first.
///
/// # Errors
///
/// When the database fails.
pub(crate) async fn list(store: &dyn ClusterStore) -> Result<Vec<MemberView>, StoreError> {
    let members = store.members().await?;
    let view = |seen: crate::store::SeenMember| MemberView {
        state: serde_json::from_str(&seen.member.state).unwrap_or_default(),
        id: seen.member.id,
        url: seen.member.url,
        certificate: seen.member.certificate,
        version: seen.member.version,
        started_at: seen.member.started_at,
        silent_ms: seen.silent_ms,
    };
    Ok(members.into_iter().filter(|seen| seen.silent_ms < GONE_AFTER_MS).map(view).collect())
}
