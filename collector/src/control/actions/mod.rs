//! What operators ask of nodes at once: restarts, samples and taps. All of it is in memory: an action that outlives
//! the collector has failed, and its operator asks again.
//!
//! An action goes to the node's push stream, or waits for the answer to its next report. The answers of its agent go
//! to the request that asked, and to no one else. A request that ends takes its action with it; a tap is stopped then.
//!
//! Agents of VectorFlow do less: `polled` has what they can do without a push stream, `parts` the answers that they give
//! for each component, and `restarts` how a restart is seen that no agent answers.

mod parts;
mod polled;
mod restarts;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use systole_shared::PipelineId;
use systole_shared::action::{ActionOutput, ActionRequest, AgentAction, MAX_TAPS_PER_NODE};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::parts::Parts;
use self::restarts::AwaitedRestart;
use super::delivery::Delivery;
use crate::model::NodeKey;

/// Actions that are open at a time, of all nodes: each has a request that waits.
const MAX_OPEN: usize = 256;

/// Actions of one node that are open at a time: taps, and what an operator does beside them.
const MAX_OPEN_PER_NODE: usize = 8;

/// Taps that are open at a time, of all nodes. Each may wait with [`MAX_PENDING_BYTES`].
const MAX_TAPS: usize = 64;

/// Answers that wait for one request.
const MAX_PENDING: usize = 16;

/// Bytes of events that wait for a watcher that reads too slowly: some seconds of a busy tap. Later ones are dropped
/// and counted.
const MAX_PENDING_BYTES: usize = 2 << 20;

/// Why an action was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ActionError {
    /// Of all nodes.
    #[error("{MAX_OPEN} actions are open already")]
    Actions,
    /// Of this node.
    #[error("{MAX_OPEN_PER_NODE} actions of this node are open already")]
    ActionsOfNode,
    /// Taps of this node.
    #[error("this node has {MAX_TAPS_PER_NODE} taps already; close one of them")]
    TapsOfNode,
    /// Taps of all nodes.
    #[error("{MAX_TAPS} taps are open already; close one of them")]
    Taps,
}

/// Open actions.
#[derive(Debug)]
pub(crate) struct Actions {
    delivery: Arc<Delivery>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<Uuid, Open>,
    /// Actions that wait for the next report of their node.
    waiting: HashMap<NodeKey, VecDeque<AgentAction>>,
}

#[derive(Debug)]
struct Open {
    node: NodeKey,
    is_tap: bool,
    answers: mpsc::Sender<ActionOutput>,
    pending_bytes: Arc<AtomicUsize>,
    /// Events that were dropped here since the last answer that was handed on.
    dropped: u64,
    /// Of a sample that is answered component by component.
    parts: Parts,
    /// Of a restart that reports prove.
    restart: Option<AwaitedRestart>,
}

/// An action whose answers are awaited. Dropping it ends the action.
#[derive(Debug)]
pub(crate) struct OpenAction {
    actions: Arc<Actions>,
    node: NodeKey,
    action: AgentAction,
    answers: mpsc::Receiver<ActionOutput>,
    pending_bytes: Arc<AtomicUsize>,
    is_done: bool,
}

impl Actions {
    /// Without any.
    pub(crate) fn new(delivery: Arc<Delivery>) -> Arc<Self> {
        Arc::new(Actions { delivery, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an action to a node.
    ///
    /// # Errors
    ///
    /// When too many are open.
    pub(crate) fn begin(
        self: &Arc<Self>,
        node: NodeKey,
        pipeline_id: PipelineId,
        request: ActionRequest,
    ) -> Result<OpenAction, ActionError> {
        self.open(node, pipeline_id, request, None)
    }

    fn open(
        self: &Arc<Self>,
        node: NodeKey,
        pipeline_id: PipelineId,
        request: ActionRequest,
        restart: Option<AwaitedRestart>,
    ) -> Result<OpenAction, ActionError> {
        let is_tap = matches!(request, ActionRequest::Tap { .. });
        let parts = Parts::of(&request);
        let action = AgentAction { action_id: Uuid::new_v4(), pipeline_id, request };
        let (sender, answers) = mpsc::channel(MAX_PENDING);
        let pending_bytes = Arc::new(AtomicUsize::new(0));
        {
            let mut inner = self.lock();
            inner.check(node, is_tap)?;
            let pending_bytes = Arc::clone(&pending_bytes);
            let open = Open { node, is_tap, answers: sender, pending_bytes, dropped: 0, parts, restart };
            inner.open.insert(action.action_id, open);
        }
        self.deliver(node, action.clone());
        Ok(OpenAction { actions: Arc::clone(self), node, action, answers, pending_bytes, is_done: false })
    }

    /// By the push stream, else with the answer to the next report.
    fn deliver(&self, node: NodeKey, action: AgentAction) {
        if self.delivery.push.send(node, action.clone()) {
            return;
        }
        let mut inner = self.lock();
        let waiting = inner.waiting.entry(node).or_default();
        if waiting.len() >= 2 * MAX_OPEN_PER_NODE {
            waiting.pop_front();
        }
        waiting.push_back(action);
    }

    /// What an agent without a push stream is to do now. What no request waits for any more is left out.
    pub(crate) fn take_waiting(&self, node: NodeKey) -> Vec<AgentAction> {
        let mut inner = self.lock();
        let Some(waiting) = inner.waiting.remove(&node) else { return Vec::new() };
        let is_wanted = |action: &AgentAction| {
            action.request == ActionRequest::StopTap || inner.open.contains_key(&action.action_id)
        };
        waiting.into_iter().filter(is_wanted).collect()
    }

    /// Whether an action still waits for a report of its node.
    pub(crate) fn is_waiting(&self, node: NodeKey, action: &OpenAction) -> bool {
        let inner = self.lock();
        inner.waiting.get(&node).is_some_and(|waiting| waiting.iter().any(|one| one.action_id == action.id()))
    }

    /// Hands an agent's answer to the request that waits for it. False when none does: then the agent stops.
    pub(crate) fn answer(&self, node: NodeKey, id: Uuid, output: ActionOutput) -> bool {
        self.lock().answer(node, id, output)
    }

    /// Ends the actions of a node that was removed.
    pub(crate) fn forget(&self, node: NodeKey) {
        let mut inner = self.lock();
        inner.waiting.remove(&node);
        inner.open.retain(|_, open| open.node != node);
    }

    /// Open actions.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().open.len()
    }
}

impl Inner {
    fn answer(&mut self, node: NodeKey, id: Uuid, mut output: ActionOutput) -> bool {
        let Some(open) = self.open.get_mut(&id).filter(|open| open.node == node) else { return false };
        let bytes: usize = output.events.iter().map(|event| event.event.len()).sum();
        if open.is_tap && open.pending_bytes.load(Ordering::Relaxed) + bytes > MAX_PENDING_BYTES {
            open.dropped += output.events.len() as u64 + output.dropped;
            if !output.done {
                return true;
            }
            output.events.clear();
        }
        output.dropped += open.dropped;
        let events = output.events.len() as u64;
        let (done, dropped) = (output.done, output.dropped);
        let bytes = if output.events.is_empty() { 0 } else { bytes };
        // Before it is sent: the request may take it at once.
        open.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        match open.answers.try_send(output) {
            Ok(()) => open.dropped = 0,
            Err(mpsc::error::TrySendError::Full(_)) => {
                open.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
                open.dropped = dropped + events;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
        }
        if done {
            // The request sees the end of its answers, also when the last one did not fit.
            self.open.remove(&id);
        }
        true
    }

    fn check(&self, node: NodeKey, is_tap: bool) -> Result<(), ActionError> {
        let count = |of: &dyn Fn(&Open) -> bool| self.open.values().filter(|open| of(open)).count();
        if self.open.len() >= MAX_OPEN {
            return Err(ActionError::Actions);
        }
        if is_tap && count(&|open| open.is_tap) >= MAX_TAPS {
            return Err(ActionError::Taps);
        }
        if is_tap && count(&|open| open.is_tap && open.node == node) >= MAX_TAPS_PER_NODE {
            return Err(ActionError::TapsOfNode);
        }
        if count(&|open| open.node == node) >= MAX_OPEN_PER_NODE {
            return Err(ActionError::ActionsOfNode);
        }
        Ok(())
    }
}

impl OpenAction {
    /// The id of the action.
    pub(crate) fn id(&self) -> Uuid {
        self.action.action_id
    }

    /// The next answer; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<ActionOutput> {
        let output = self.answers.recv().await;
        match &output {
            Some(output) => {
                let bytes: usize = output.events.iter().map(|event| event.event.len()).sum();
                self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.is_done |= output.done;
            }
            None => self.is_done = true,
        }
        output
    }
}

impl Drop for OpenAction {
    fn drop(&mut self) {
        self.actions.lock().open.remove(&self.action.action_id);
        if !self.is_done && matches!(self.action.request, ActionRequest::Tap { .. }) {
            self.actions.deliver(self.node, AgentAction { request: ActionRequest::StopTap, ..self.action.clone() });
        }
    }
}

#[cfg(test)]
mod tests;
