//! What the collector wants of the node, on the way from either channel to those that do it.

use systole_shared::action::AgentAction;
use tokio::sync::{mpsc, watch};

/// Actions that wait: an operator asks for one at a time, and each begins at once.
const MAX_WAITING_ACTIONS: usize = 32;

/// Takes what the collector says, from answers to reports and from the push stream.
#[derive(Clone, Debug)]
pub(crate) struct Instructions {
    generation: watch::Sender<Option<u64>>,
    actions: mpsc::Sender<AgentAction>,
}

impl Instructions {
    /// With the other ends: the generation of the desired state that was named last, and the actions.
    pub(crate) fn new() -> (Self, watch::Receiver<Option<u64>>, mpsc::Receiver<AgentAction>) {
        let (generation, generations) = watch::channel(None);
        let (actions, receiver) = mpsc::channel(MAX_WAITING_ACTIONS);
        (Instructions { generation, actions }, generations, receiver)
    }

    /// The collector names the generation of the desired state.
    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.send_if_modified(|known| known.replace(generation) != Some(generation));
    }

    /// The collector asks for an action.
    pub(super) fn act(&self, action: AgentAction) {
        if let Err(error) = self.actions.try_send(action) {
            // The collector lets it fail after its time, and the operator learns that.
            tracing::warn!(%error, "too many actions at once; one is not done");
        }
    }
}
