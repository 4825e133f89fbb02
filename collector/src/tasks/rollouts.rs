//! Moves rollouts on: reads what nodes say, decides, and writes.
//!
//! It is woken when a report changes a deployment or the state of a node, and when an operator changes something. While
//! a rollout runs it also checks each second, for the time-outs. A collector that was killed begins with the state that
//! the database has, as after any other pause.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::clock;
use crate::control::delivery::Delivery;
use crate::control::rollout::changes::{Versions, plan};
use crate::control::rollout::state::RolloutState;
use crate::control::rollout::world::{VersionTarget, needed_versions};
use crate::model::DefinitionKey;
use crate::store::{RolloutChange, RolloutSnapshot, Store};
use crate::telemetry::logging::chain;

/// How often time-outs are checked while a rollout runs.
const WHILE_RUNNING: Duration = Duration::from_secs(1);

/// How often it is checked what should run where when no rollout runs: a maintenance ends by itself.
const WHILE_IDLE: Duration = Duration::from_secs(10);

/// The pause after a reading is at least this many times as long as it took: in a fleet whose nodes come and go all
/// the time it takes a tenth of one reader.
const REST_FACTOR: u32 = 9;

/// The longest such pause.
const MAX_REST: Duration = Duration::from_secs(5);

/// Graphs of configurations that are no longer kept are removed this often.
const TRIM_EVERY: Duration = Duration::from_secs(600);

/// The task.
pub(crate) struct Rollouts {
    store: Arc<dyn Store>,
    delivery: Arc<Delivery>,
    woken: Arc<Notify>,
    versions: Versions,
    /// Versions that cannot be read, which are logged once.
    unreadable: HashSet<(DefinitionKey, i64)>,
    rest_until: Instant,
    trim_at: Instant,
}

impl Rollouts {
    /// `woken` is notified when there may be something to do.
    pub(crate) fn new(store: Arc<dyn Store>, delivery: Arc<Delivery>, woken: Arc<Notify>) -> Self {
        let now = Instant::now();
        let (versions, unreadable) = (Versions::new(), HashSet::new());
        Rollouts { store, delivery, woken, versions, unreadable, rest_until: now, trim_at: now + TRIM_EVERY }
    }

    /// Reads the versions that the snapshot needs, and forgets those that it does not.
    async fn read_versions(&mut self, snapshot: &RolloutSnapshot) -> Result<(), TaskError> {
        let needed: HashSet<(DefinitionKey, i64)> = needed_versions(snapshot).into_iter().collect();
        self.versions.retain(|key, _| needed.contains(key));
        self.unreadable.retain(|key| needed.contains(key));
        for key in needed {
            if self.versions.contains_key(&key) || self.unreadable.contains(&key) {
                continue;
            }
            let Some(body) = self.store.version_body(key.0, key.1).await? else { continue };
            match VersionTarget::read(&body) {
                Ok(version) => {
                    self.versions.insert(key, version);
                }
                Err(error) => {
                    tracing::error!(definition = key.0.0, version = key.1, error = %chain(&error), "a version cannot be rolled out");
                    self.unreadable.insert(key);
                }
            }
        }
        Ok(())
    }

    async fn write(&self, change: RolloutChange) -> Result<(), TaskError> {
        let update = change.rollout.clone();
        let Some(generations) = self.store.apply_step(change).await? else {
            // An operator has changed it meanwhile, and has woken this task.
            return Ok(());
        };
        self.delivery.update(&generations);
        if let Some(update) = update {
            tracing::info!(
                rollout = update.key.0,
                state = update.state,
                stage = update.stage,
                reason = update.reason,
                nodes = generations.len(),
                "rollout moved"
            );
        }
        Ok(())
    }
}

#[async_trait]
impl Task for Rollouts {
    fn name(&self) -> &'static str {
        "rollouts"
    }

    fn pacing(&self) -> Pacing {
        Pacing {
            first: Duration::ZERO,
            between: Duration::ZERO,
            retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(10),
        }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        tokio::time::sleep_until(self.rest_until).await;
        let begin = Instant::now();
        if begin >= self.trim_at {
            self.trim_at = begin + TRIM_EVERY;
            self.store.trim_topologies().await?;
        }
        let snapshot = self.store.load_rollouts().await?;
        self.read_versions(&snapshot).await?;
        // Also what other parts and commands have changed.
        self.delivery.update(&self.store.desired_generations().await?);
        let changes = plan(&snapshot, &self.versions, clock::now_ms());
        let has_changes = !changes.is_empty();
        for change in changes {
            self.write(change).await?;
        }
        self.rest_until = Instant::now() + (begin.elapsed() * REST_FACTOR).min(MAX_REST);
        let is_running = snapshot.rollouts.iter().any(|row| row.state == RolloutState::Running.as_str());
        Ok(match (has_changes, is_running) {
            // One decision may lead to the next.
            (true, _) => Activation::MoreToDo,
            (false, true) => Activation::IdleFor(WHILE_RUNNING),
            (false, false) => Activation::IdleFor(WHILE_IDLE),
        })
    }

    async fn woken(&self) {
        self.woken.notified().await;
    }
}
