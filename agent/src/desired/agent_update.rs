//! The version of the agent itself that the collector wants, handed to the upgrade.
//!
//! A wish that failed is not tried again before the collector names another program: each try fetches it.

use std::sync::Arc;

use systole_shared::desired::{AgentUpdate, DeploymentPhase, DesiredState};
use tokio::sync::watch;

use super::deployments::Deployments;
use crate::upgrade::{UpgradePhase, Upgrades};

/// Follows what the collector wants.
pub(crate) struct AgentUpdater {
    /// Carries it out.
    pub(crate) upgrades: Arc<Upgrades>,
    /// What the collector wants.
    pub(crate) desired: watch::Receiver<Arc<DesiredState>>,
    /// Where reports learn what became of it.
    pub(crate) deployments: Arc<Deployments>,
}

impl AgentUpdater {
    /// Upgrades the agent when the collector wants another version. Never ends before the agent.
    pub(crate) async fn run(mut self) {
        let mut failed: Option<AgentUpdate> = None;
        loop {
            let wanted = self.desired.borrow_and_update().agent_update.clone();
            match wanted {
                None => self.deployments.set_agent(None),
                Some(update) if failed.as_ref() == Some(&update) => {}
                Some(update) if self.upgrades.wants(&update) => {
                    self.deployments.set_agent(Some((DeploymentPhase::Starting, String::new())));
                    let error = self.upgrades.apply(&update).await;
                    self.deployments.set_agent(Some((DeploymentPhase::Rejected, error.to_string())));
                    failed = Some(update);
                }
                Some(update) => self.deployments.set_agent(self.outcome_of(&update)),
            }
            if self.desired.changed().await.is_err() {
                return;
            }
        }
    }

    /// What became of an update that was tried before, if it failed.
    fn outcome_of(&self, update: &AgentUpdate) -> Option<(DeploymentPhase, String)> {
        let marker = self.upgrades.last()?;
        let is_failed =
            marker.phase == UpgradePhase::RolledBack && marker.sha256.eq_ignore_ascii_case(update.sha256.trim());
        is_failed.then(|| (DeploymentPhase::RolledBack, marker.reason.unwrap_or_default()))
    }
}
