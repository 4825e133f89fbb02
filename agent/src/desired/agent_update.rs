//! The version of the agent itself that the collector wants, handed to the upgrade.
//!
//! Each try fetches the program. So a wish that failed is not tried again before the collector names another
//! program, or after the time of the rules.

use std::sync::Arc;

use systole_shared::desired::{AgentUpdate, DeploymentPhase};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::deployments::Deployments;
use crate::metrics::AgentCounters;
use crate::model::upgrade::UpdateRules;
use crate::model::wanted::WantedState;
use crate::upgrade::{UpgradePhase, Upgrades, is_sha256};

/// Follows what the collector wants.
pub(crate) struct AgentUpdater {
    /// Carries it out.
    pub(crate) upgrades: Arc<Upgrades>,
    /// What the collector wants.
    pub(crate) desired: watch::Receiver<Arc<WantedState>>,
    /// An update that came by the push stream.
    pub(crate) pushed: watch::Receiver<Option<AgentUpdate>>,
    /// Where reports learn what became of it.
    pub(crate) deployments: Arc<Deployments>,
    /// Where the next heartbeat finds a failure.
    pub(crate) counters: Arc<AgentCounters>,
}

/// A wish that failed.
struct Failed {
    update: AgentUpdate,
    at: Instant,
}

impl AgentUpdater {
    /// Upgrades the agent when the collector wants another version. Never ends before the agent.
    pub(crate) async fn run(mut self) {
        let mut failed: Option<Failed> = None;
        let mut told = None;
        loop {
            let state = self.desired.borrow_and_update().clone();
            let rules = UpdateRules::of(state.terms);
            failed = failed.filter(|failed| !failed.is_over(&rules));
            // A push is one wish; a state repeats its own.
            let is_new = self.pushed.has_changed().unwrap_or(false);
            let pushed = self.pushed.borrow_and_update().clone().filter(|_| is_new);
            match pushed.or_else(|| state.agent_update.clone()) {
                None => self.deployments.set_agent(None),
                Some(update) if failed.as_ref().is_some_and(|failed| failed.holds(&update, &rules)) => {}
                Some(update) if self.upgrades.wants(&update, &rules) => {
                    self.deployments.set_agent(Some((DeploymentPhase::Starting, String::new())));
                    let error = self.upgrades.apply(&update, &rules).await.to_string();
                    self.counters.update_error.set(Some(&error));
                    self.deployments.set_agent(Some((DeploymentPhase::Rejected, error)));
                    failed = Some(Failed { update, at: Instant::now() });
                }
                Some(update) => {
                    let outcome = self.outcome_of(&update);
                    if let Some((_, reason)) = outcome.clone().filter(|outcome| told.as_ref() != Some(outcome)) {
                        self.counters.update_error.set(Some(&reason));
                        told.clone_from(&outcome);
                    }
                    self.deployments.set_agent(outcome);
                }
            }
            let again = async {
                match (rules.retry_after, &failed) {
                    (Some(wait), Some(failed)) => sleep_until(failed.at + wait).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.desired.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                // Not seen yet: the wish is read above.
                Ok(()) = self.pushed.changed() => self.pushed.mark_changed(),
                () = again => {}
            }
        }
    }

    /// What became of an update that was tried before, if it failed.
    fn outcome_of(&self, update: &AgentUpdate) -> Option<(DeploymentPhase, String)> {
        let marker = self.upgrades.last()?;
        let is_failed = marker.phase == UpgradePhase::RolledBack && is_sha256(&update.sha256, &marker.sha256);
        is_failed.then(|| (DeploymentPhase::RolledBack, marker.reason.unwrap_or_default()))
    }
}

impl Failed {
    /// Whether the wish is the one that failed.
    fn holds(&self, update: &AgentUpdate, rules: &UpdateRules) -> bool {
        match rules.retry_after {
            None => self.update == *update,
            Some(_) => self.update.version == update.version,
        }
    }

    /// Whether it may be tried again.
    fn is_over(&self, rules: &UpdateRules) -> bool {
        rules.retry_after.is_some_and(|wait| self.at.elapsed() >= wait)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::centre::CentreTerms;

    #[tokio::test(start_paused = true)]
    async fn failed_version_waits_for_the_time_of_the_rules() {
        let update = |version: &str, sha256: &str| AgentUpdate {
            version: version.into(),
            url: String::new(),
            sha256: sha256.into(),
            signature: None,
        };
        let failed = Failed { update: update("2", "a"), at: Instant::now() };
        let [consent, dedicated] = [CentreTerms::Consent, CentreTerms::Dedicated].map(UpdateRules::of);
        let holds = |version, sha256, rules| failed.holds(&update(version, sha256), rules);
        assert!(holds("2", "a", &consent) && !holds("2", "b", &consent));
        assert!(holds("2", "a", &dedicated) && holds("2", "b", &dedicated) && !holds("3", "a", &dedicated));
        assert!(!failed.is_over(&dedicated));
        tokio::time::advance(Duration::from_secs(300)).await;
        assert!(failed.is_over(&dedicated) && !failed.is_over(&consent));
    }
}
