//! What the collector wants of the node, on the way from either channel to those that do it.

use std::time::Duration;

use systole_shared::AgentUpdate;
use tokio::sync::{mpsc, watch};

use crate::model::action::NodeAction;

/// Intervals that a collector may ask for.
const INTERVAL_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(300));

/// Actions that wait: an operator asks for one at a time, and each begins at once.
const MAX_WAITING_ACTIONS: usize = 32;

/// Takes what the collector says, from answers to reports and from the push stream.
#[derive(Clone, Debug)]
pub(crate) struct Instructions {
    generation: watch::Sender<Option<u64>>,
    actions: mpsc::Sender<NodeAction>,
    interval: watch::Sender<Duration>,
    update: watch::Sender<Option<AgentUpdate>>,
}

impl Instructions {
    /// With the other ends: the generation of the desired state that was named last, and the actions. `interval` is
    /// that of reports until the collector names one.
    pub(crate) fn new(interval: Duration) -> (Self, watch::Receiver<Option<u64>>, mpsc::Receiver<NodeAction>) {
        let (generation, generations) = watch::channel(None);
        let (actions, receiver) = mpsc::channel(MAX_WAITING_ACTIONS);
        let (interval, update) = (watch::Sender::new(interval), watch::Sender::new(None));
        (Instructions { generation, actions, interval, update }, generations, receiver)
    }

    /// The interval of reports, and each later one.
    pub(crate) fn watch_interval(&self) -> watch::Receiver<Duration> {
        self.interval.subscribe()
    }

    /// The interval of reports.
    pub(super) fn interval(&self) -> Duration {
        *self.interval.borrow()
    }

    /// The collector wants reports at this interval.
    pub(crate) fn set_interval(&self, interval: Duration) {
        let interval = interval.clamp(INTERVAL_BOUNDS.0, INTERVAL_BOUNDS.1);
        self.interval.send_if_modified(|current| std::mem::replace(current, interval) != interval);
    }

    /// The collector names the generation of the desired state.
    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.send_if_modified(|known| known.replace(generation) != Some(generation));
    }

    /// The collector says that the desired state has changed, without a generation.
    pub(super) fn ask(&self) {
        self.generation.send_modify(|known| *known = Some(known.unwrap_or_default().wrapping_add(1)));
    }

    /// The last update of the agent that the collector has pushed, and each later one.
    pub(crate) fn watch_update(&self) -> watch::Receiver<Option<AgentUpdate>> {
        self.update.subscribe()
    }

    /// The collector pushes an update of the agent.
    pub(super) fn update(&self, update: AgentUpdate) {
        self.update.send_replace(Some(update));
    }

    /// The collector asks for an action.
    pub(super) fn act(&self, action: NodeAction) {
        if let Err(error) = self.actions.try_send(action) {
            // The collector lets it fail after its time, and the operator learns that.
            tracing::warn!(%error, "too many actions at once; one is not done");
        }
    }
}
