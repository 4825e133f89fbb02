//! What an administrator does to a node, in its turn between reports: so that it is in the same order as what the node
//! reports, and no report can bring back what was removed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Committer, CommitterTask, IngestState, SubmitError, Work};
use crate::clock;
use crate::ingest::administer::{self, ChangeError};
use crate::ingest::changes::Changes;
use crate::model::NodeKey;
use crate::model::node::NodeUpdate;
use crate::store::StoreError;

/// What an administrator does to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeAction {
    Change(NodeUpdate),
    /// Ends a maintenance whose time is over.
    EndMaintenance,
    Remove,
}

/// A reason why an action of an administrator was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdministerError {
    #[error("this node is no longer known")]
    UnknownNode,
    #[error(transparent)]
    Refused(#[from] ChangeError),
    #[error("the collector is stopping")]
    Stopping,
    #[error("cannot write to the database")]
    Store(#[source] Arc<StoreError>),
    /// No collector leads at the moment, or its answer was lost.
    #[error("no collector leads at the moment")]
    NoLeader,
    /// The collector that leads could not write.
    #[error("the collector that leads cannot write to the database: {0}")]
    Leader(String),
}

/// The way back to the caller: what was changed, for people.
pub(super) type Administered = oneshot::Sender<Result<Vec<String>, AdministerError>>;

impl Committer {
    /// Does what an administrator asks, after the reports that came before. Returns what was changed, for people.
    pub(crate) async fn administer(&self, node: NodeKey, action: NodeAction) -> Result<Vec<String>, AdministerError> {
        let (answer, receiver) = oneshot::channel();
        let sent = self.work.send(Work::Administer(node, action, answer)).await;
        sent.map_err(|_| AdministerError::Stopping)?;
        receiver.await.map_err(|_| AdministerError::Stopping)?
    }
}

impl CommitterTask {
    pub(super) async fn administer(
        &mut self,
        key: NodeKey,
        action: &NodeAction,
        changes: &mut Changes,
    ) -> Result<Vec<String>, AdministerError> {
        if changes.removed.contains_key(&key) {
            return Err(AdministerError::UnknownNode);
        }
        self.ensure_node(key).await.map_err(|error| match error {
            SubmitError::Store(error) => AdministerError::Store(error),
            _ => AdministerError::UnknownNode,
        })?;
        let IngestState { nodes, dimensions, .. } = &mut self.state;
        let now = clock::now_ms();
        let node = nodes.get_mut(&key).ok_or(AdministerError::UnknownNode)?;
        match action {
            NodeAction::Change(update) => Ok(administer::change(node, update, now, changes)?),
            NodeAction::EndMaintenance => {
                let is_over = administer::end_maintenance(node, now, changes);
                Ok(is_over.then(|| "maintenance ended".to_owned()).into_iter().collect())
            }
            NodeAction::Remove => {
                administer::remove(node, dimensions, now, changes);
                nodes.remove(&key);
                Ok(vec!["removed".to_owned()])
            }
        }
    }

    /// Filters and rings follow what was committed, before its events are published.
    pub(super) fn note_administered(&self, changes: &mut Changes) {
        for key in std::mem::take(&mut changes.listed_anew) {
            self.state.nodes.get(&key).into_iter().for_each(|node| self.parts.directory.put(node.entry()));
        }
        for (key, id) in &changes.removed {
            self.parts.fleet.remove(*key);
            self.parts.recent_samples.remove_node(*key);
            self.parts.directory.mark_removed(*id);
            tracing::info!(node = %id, "node removed");
        }
    }
}
