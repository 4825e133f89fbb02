//! What the rest of the agent sees of what the centre wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};

use crate::model::wanted::WantedState;

/// The state, and whether its pipelines are accepted.
#[derive(Debug)]
pub(crate) struct DesiredFeed {
    state: watch::Sender<Arc<WantedState>>,
    accepts: AtomicBool,
    /// The state must be fetched again, though it is known.
    stale: Notify,
}

impl DesiredFeed {
    /// Begins with this state.
    pub(super) fn new(state: WantedState, accepts: bool) -> Self {
        DesiredFeed {
            state: watch::Sender::new(Arc::new(state)),
            accepts: AtomicBool::new(accepts),
            stale: Notify::new(),
        }
    }

    /// The state as it is, and each later one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<WantedState>> {
        self.state.subscribe()
    }

    /// The node's file says whether pipelines are accepted. An agent that accepts none has no secrets of them, so
    /// that it must fetch the state when it does.
    pub(crate) fn set_accepts(&self, accepts: bool) {
        if self.accepts.swap(accepts, Ordering::Relaxed) != accepts {
            self.stale.notify_one();
        }
    }

    /// Whether pipelines are accepted.
    pub(super) fn accepts(&self) -> bool {
        self.accepts.load(Ordering::Relaxed)
    }

    /// Waits until the state must be fetched again.
    pub(super) async fn stale(&self) {
        self.stale.notified().await;
    }

    /// The state as it is.
    pub(super) fn state(&self) -> Arc<WantedState> {
        self.state.borrow().clone()
    }

    /// There is another state.
    pub(super) fn publish(&self, state: WantedState) {
        self.state.send_replace(Arc::new(state));
    }
}
