//! Requests to the other collectors of the database, beside the connection to the leader.

use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;
use futures_util::future::join_all;
use reqwest::{Client, RequestBuilder};
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant, timeout};

use super::members::{self, MemberView};
use super::{Cluster, pinned};
use crate::model::NodeKey;
use crate::store::{ClusterStore, StoreError};

/// A request between collectors has this header with the secret of the cluster: it is not handed on again.
pub(crate) const PEER_HEADER: &str = "x-systole-peer";

/// Where a collector is asked whether it hears a node.
pub(crate) const HEARS_PATH: &str = "/api/v1/cluster/hears";

/// How long another collector may take to be reached, and to say whether it hears a node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HEARS_TIMEOUT: Duration = Duration::from_secs(1);

/// An agent reports to the same collector again within this time, unless that fails.
const HEARD_LATELY: Duration = Duration::from_secs(60);

/// A collector that does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("cannot set up TLS to another collector")]
    Tls(#[source] rustls::Error),
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Whether a collector hears a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Hears {
    /// It has the node's push stream.
    pub push: bool,
    /// Milliseconds since the node's last request to it.
    pub heard_ms: Option<u64>,
}

impl Hears {
    /// The better of two ways to a node has the smaller value.
    fn rank(self) -> (bool, u64) {
        (!self.push, self.heard_ms.unwrap_or(u64::MAX))
    }

    fn is_any(self) -> bool {
        self.push || self.heard_ms.is_some()
    }
}

/// Clients for other collectors, by the certificates that they have.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    clients: Mutex<HashMap<Option<String>, Client>>,
    /// When nodes last sent something to this collector.
    heard: Mutex<HashMap<NodeKey, Instant>>,
}

impl Peers {
    /// A node has sent something to this collector.
    pub(crate) fn note_heard(&self, node: NodeKey) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(node, Instant::now());
    }

    /// How long ago a node last sent something to this collector.
    pub(crate) fn heard(&self, node: NodeKey) -> Option<Duration> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(&node).map(Instant::elapsed).filter(|since| *since < HEARD_LATELY)
    }

    fn client(&self, certificate: Option<&str>) -> Result<Client, PeerError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&certificate.map(str::to_owned)) {
            return Ok(client.clone());
        }
        let client = pinned::client(certificate, CONNECT_TIMEOUT)?;
        // A certificate that was renewed leaves one behind; there are few.
        clients.insert(certificate.map(str::to_owned), client.clone());
        Ok(client)
    }
}

impl Cluster {
    /// The other collectors.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn others(&self, store: &Arc<dyn ClusterStore>) -> Result<Vec<MemberView>, StoreError> {
        let mut members = members::list(&**store).await?;
        members.retain(|member| member.id != self.id && !member.is_silent());
        Ok(members)
    }

    /// A request to another collector.
    ///
    /// # Errors
    ///
    /// When no client can be made for it.
    pub(crate) fn request_to(
        &self,
        member: &MemberView,
        method: reqwest::Method,
        path_and_query: &str,
    ) -> Result<RequestBuilder, PeerError> {
        let client = self.peers.client(member.certificate.as_deref())?;
        let secret = self.secret.as_deref().unwrap_or_default();
        Ok(client.request(method, format!("{}{path_and_query}", member.url)).header(PEER_HEADER, secret))
    }

    /// The collector that hears a node, if it is another one. `has_push`: this one has the node's push stream.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn hearing(
        &self,
        store: Option<&Arc<dyn ClusterStore>>,
        node: NodeKey,
        has_push: bool,
    ) -> Result<Option<MemberView>, StoreError> {
        let Some(store) = store.filter(|_| !has_push) else { return Ok(None) };
        let heard_ms = self.peers.heard(node).and_then(|since| u64::try_from(since.as_millis()).ok());
        let own = Hears { push: false, heard_ms };
        let others = self.others(store).await?;
        let answers = others.into_iter().map(|member| async {
            let hears = self.ask_whether_hears(&member, node).await.unwrap_or_default();
            (hears, member)
        });
        let best = join_all(answers).await.into_iter().min_by_key(|(hears, _)| hears.rank());
        Ok(best.filter(|(hears, _)| hears.is_any() && hears.rank() < own.rank()).map(|(_, member)| member))
    }

    async fn ask_whether_hears(&self, member: &MemberView, node: NodeKey) -> Option<Hears> {
        let request = self.request_to(member, reqwest::Method::GET, &format!("{HEARS_PATH}?node={}", node.0)).ok()?;
        let ask = async { request.send().await?.error_for_status()?.bytes().await };
        let body = timeout(HEARS_TIMEOUT, ask).await.ok()?.ok()?;
        serde_json::from_slice(&body).ok()
    }
}
