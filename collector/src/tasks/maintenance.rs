//! Ends the maintenance of nodes when its time is over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::clock;
use crate::control::audit::{self, Actor, DONE};
use crate::ingest::committer::{AdministerError, Committer, NodeAction};
use crate::model::directory::NodeDirectory;
use crate::store::Store;

/// How often the time is checked: people set an end to the minute.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The task. The committer checks again before it changes the node.
pub(crate) struct EndOfMaintenance {
    pub directory: Arc<NodeDirectory>,
    pub committer: Committer,
    pub store: Arc<dyn Store>,
}

#[async_trait]
impl Task for EndOfMaintenance {
    fn name(&self) -> &'static str {
        "maintenance"
    }

    fn pacing(&self) -> Pacing {
        Pacing { first: CHECK_INTERVAL, between: Duration::ZERO, retry: CHECK_INTERVAL, max_retry: CHECK_INTERVAL * 5 }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        for (node, id, environment) in self.directory.maintenance_over(clock::now_ms()) {
            match self.committer.administer(node, NodeAction::EndMaintenance).await {
                Ok(changed) if changed.is_empty() => {}
                Ok(_) => {
                    let (actor, subject) = (Actor::collector(), id.to_string());
                    audit::record(&*self.store, &actor, Some(environment), "node.maintenance_end", &subject, DONE)
                        .await;
                }
                // Removed in the meantime.
                Err(AdministerError::UnknownNode) => {}
                Err(_) => return Err(TaskError::Committer),
            }
        }
        Ok(Activation::IdleFor(CHECK_INTERVAL))
    }
}
