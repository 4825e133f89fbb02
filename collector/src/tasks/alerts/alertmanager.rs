//! Says to an Alertmanager which alerts fire, each minute and after each change.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use systole_shared::AlertState;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::driver::{Activation, Pacing, Task, TaskError};
use super::AlertTasks;
use super::results::noted;
use crate::alerts::board::ShownAlert;
use crate::alerts::message::MessageAlert;
use crate::alerts::target::alertmanager;
use crate::clock;
use crate::config::alerts::target::Target;

/// How often what fires is said again: well within the time after which an alert ends by itself.
const EVERY: Duration = Duration::from_secs(60);

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(10);

/// The least time between two rounds: changes of a moment are one request.
const SPACING: Duration = Duration::from_secs(1);

/// Alerts of one request.
const AT_ONCE: usize = 500;

/// The task.
pub(super) struct AlertmanagerPush {
    parts: AlertTasks,
    target: Target,
    woken: Arc<Notify>,
    not_before: Instant,
}

impl AlertmanagerPush {
    pub(super) fn new(parts: AlertTasks, target: Target) -> Self {
        let woken = parts.board.delivery(&target.name);
        AlertmanagerPush { parts, target, woken, not_before: Instant::now() }
    }

    /// Alerts that it should know: those that fire, and those that ended a few minutes ago.
    fn alerts(&self) -> Vec<MessageAlert> {
        let is_known = |shown: &&ShownAlert| match shown.alert.state {
            AlertState::Firing => shown.mute.is_none(),
            AlertState::Resolved => true,
            AlertState::Pending | AlertState::Cancelled => false,
        };
        let is_wanted = |shown: &&ShownAlert| {
            let notify = &shown.alert.rule.notify;
            notify.is_empty() || notify.contains(&self.target.name)
        };
        let alerts = self.parts.board.alerts();
        let told = alerts.iter().filter(is_known).filter(is_wanted).map(|shown| {
            let environment = self.parts.auth.environment_by_key(shown.alert.about.environment);
            MessageAlert::new(&shown.alert, environment.as_ref().map(|environment| environment.name.as_str()))
        });
        told.collect()
    }
}

#[async_trait]
impl Task for AlertmanagerPush {
    fn name(&self) -> &'static str {
        "alertmanager_push"
    }

    fn pacing(&self) -> Pacing {
        Pacing { first: SPACING, between: Duration::ZERO, retry: RETRY, max_retry: EVERY }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        tokio::time::sleep_until(self.not_before).await;
        self.not_before = Instant::now() + SPACING;
        let alerts = self.alerts();
        let AlertTasks { store, board, sender, telemetry, .. } = &self.parts;
        for part in alerts.chunks(AT_ONCE) {
            let result = sender.post(&self.target, &alertmanager::encode(part, clock::now_ms()), None).await;
            let row = noted(board, telemetry, &self.target, &result, clock::now_ms());
            store.finish_messages(Vec::new(), row.clone()).await?;
            board.set_result(row);
            if result.is_err() {
                self.not_before = Instant::now() + RETRY;
                return Ok(Activation::IdleFor(RETRY));
            }
        }
        Ok(Activation::IdleFor(EVERY))
    }

    async fn woken(&self) {
        self.woken.notified().await;
    }
}
