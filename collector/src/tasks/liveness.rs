//! The watchdog that notices when a node falls silent.
//!
//! The grace after a start applies only to nodes that this process has not received a report from.
//! A node that has reported since is UNREACHABLE after three intervals. A failing database is not a
//! silent fleet: a node whose report could not be committed receives the grace again, and so does every
//! node after two failed transactions in a row.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::ingest::committer::Committer;
use crate::ingest::fleet::Fleet;

/// How often the watchdog looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Hands overdue nodes to the committer, which looks again before it marks them.
pub(crate) async fn watch(fleet: Arc<Fleet>, committer: Committer, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for node in fleet.overdue(Instant::now()) {
            if !committer.mark_unreachable(node).await {
                return;
            }
        }
    }
}
