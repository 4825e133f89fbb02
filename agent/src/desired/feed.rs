//! What the rest of the agent sees of what the centre wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};

use crate::model::centre::{CentreConfig, CentreTerms};
use crate::model::wanted::WantedState;

const TERMS: [CentreTerms; 2] = [CentreTerms::Consent, CentreTerms::Dedicated];

/// The state, and whether its pipelines are accepted.
#[derive(Debug)]
pub(crate) struct DesiredFeed {
    state: watch::Sender<Arc<WantedState>>,
    /// Under each of the terms that a centre may have.
    accepts: [AtomicBool; 2],
    /// The state must be fetched again, though it is known.
    stale: Notify,
}

impl DesiredFeed {
    /// Begins with this state.
    pub(super) fn new(state: WantedState, centre: &CentreConfig) -> Self {
        DesiredFeed {
            state: watch::Sender::new(Arc::new(state)),
            accepts: TERMS.map(|terms| AtomicBool::new(centre.accepts(terms))),
            stale: Notify::new(),
        }
    }

    /// The state as it is, and each later one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<WantedState>> {
        self.state.subscribe()
    }

    /// The node's file says whether pipelines are accepted. An agent that accepts none has no secrets of them, so
    /// that it must fetch the state when it does.
    pub(crate) fn set_accepts(&self, centre: &CentreConfig) {
        for (known, terms) in self.accepts.iter().zip(TERMS) {
            let accepts = centre.accepts(terms);
            if known.swap(accepts, Ordering::Relaxed) != accepts {
                self.stale.notify_one();
            }
        }
    }

    /// Whether pipelines of a centre with these terms are accepted.
    pub(super) fn accepts(&self, terms: CentreTerms) -> bool {
        self.accepts.iter().zip(TERMS).any(|(accepts, of)| of == terms && accepts.load(Ordering::Relaxed))
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
