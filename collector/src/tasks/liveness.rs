//! The watchdog that detects silent nodes.
//!
//! The grace after a start applies only to nodes that this process has not received a report from.
//! A node that has reported since is UNREACHABLE after three intervals. A failing database is not a
//! silent fleet: a node whose report could not be committed receives the grace again, and so does every
//! node after two failed transactions in a row.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::ingest::committer::Committer;
use crate::ingest::fleet::Fleet;

/// How often the watchdog checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Hands overdue nodes to the committer, which checks again before it marks them.
pub(crate) struct Liveness {
    pub fleet: Arc<Fleet>,
    pub committer: Committer,
}

#[async_trait]
impl Task for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn pacing(&self) -> Pacing {
        Pacing { first: Duration::ZERO, between: Duration::ZERO, retry: CHECK_INTERVAL, max_retry: CHECK_INTERVAL }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        for node in self.fleet.overdue(Instant::now()) {
            if !self.committer.mark_unreachable(node).await {
                return Err(TaskError::Committer);
            }
        }
        Ok(Activation::IdleFor(CHECK_INTERVAL))
    }
}
