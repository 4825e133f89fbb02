//! Sends the messages for one target, oldest first, each until the target takes it.
//!
//! A message is removed when it was taken. A collector that is killed in between sends it again with the same key.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::driver::{Activation, Pacing, Task, TaskError};
use super::AlertTasks;
use super::results::noted;
use crate::alerts::message::Message;
use crate::alerts::target::SendError;
use crate::clock;
use crate::config::alerts::target::Target;

/// Pauses between two attempts.
const RETRY: BackoffPolicy = BackoffPolicy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(300),
    longest_asked: Duration::ZERO,
    jitter: Jitter::None,
};

/// A message that no attempt has delivered for this long is dropped: it is no news any more.
const GIVEN_UP_AFTER_MS: i64 = 24 * 3_600_000;

/// How often it is checked whether there is a message: it is woken for each.
const IDLE: Duration = Duration::from_secs(60);

/// The task.
pub(super) struct Delivery {
    parts: AlertTasks,
    target: Target,
    woken: Arc<Notify>,
    backoff: Backoff,
    not_before: Instant,
}

impl Delivery {
    pub(super) fn new(parts: AlertTasks, target: Target) -> Self {
        let woken = parts.board.delivery(&target.name);
        Delivery { parts, target, woken, backoff: Backoff::new(RETRY), not_before: Instant::now() }
    }
}

#[async_trait]
impl Task for Delivery {
    fn name(&self) -> &'static str {
        "alert_delivery"
    }

    fn pacing(&self) -> Pacing {
        Pacing {
            first: Duration::ZERO,
            between: Duration::ZERO,
            retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(30),
        }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        let wait = self.not_before.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Ok(Activation::IdleFor(wait));
        }
        let AlertTasks { store, board, sender, telemetry, .. } = &self.parts;
        let Some(row) = store.waiting_messages(self.target.name.clone(), 1).await?.pop() else {
            return Ok(Activation::IdleFor(IDLE));
        };
        let now = clock::now_ms();
        let result = if now.saturating_sub(row.created_at) > GIVEN_UP_AFTER_MS {
            tracing::warn!(target = self.target.name, "a notification is dropped after a day of attempts");
            Err(SendError::Message("it could not be delivered for a day".to_owned()))
        } else {
            match serde_json::from_str::<Message>(&row.message) {
                Ok(message) => sender.send(&self.target, &message).await,
                Err(error) => Err(SendError::Message(error.to_string())),
            }
        };
        let is_done = result.as_ref().err().is_none_or(SendError::is_final);
        let noted = noted(board, telemetry, &self.target, &result, clock::now_ms());
        store.finish_messages(is_done.then_some(row.id).into_iter().collect(), noted.clone()).await?;
        board.set_result(noted);
        if is_done {
            self.backoff = Backoff::new(RETRY);
            return Ok(Activation::MoreToDo);
        }
        let pause = self.backoff.next(0.0, None);
        self.not_before = Instant::now() + pause;
        Ok(Activation::IdleFor(pause))
    }

    async fn woken(&self) {
        self.woken.notified().await;
    }
}
